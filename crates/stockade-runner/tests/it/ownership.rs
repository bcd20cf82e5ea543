//! Who owns what blocks make. Here blocks run as root and the workspace is somebody else's, as with a container's
//! root and a directory of the host.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use stockade_runner::{
    outcome::Change,
    wire::message::{Entry, Ownership},
};

use crate::harness::{
    Runner, Setup, block, exited,
    needs::{MOUNTS, Need, unshare},
    sh, until_file, wait_until, whole,
};

const OWNER: (u32, u32) = (51234, 51235);

/// A workspace of the owner's, with a session that gives him what is made there.
fn setup() -> Setup {
    let mut setup = Setup::new();
    setup.session.ownership = Ownership::Workspace;
    chown(path_of(&setup), Some(OWNER.0), Some(OWNER.1)).expect("we are root");
    setup
}

#[track_caller]
fn ran(runner: &mut Runner, code: &str) {
    let ran = runner.ran(sh(code));
    assert_eq!(ran.status(), exited(0), "{ran:?}");
}

fn path_of(setup: &Setup) -> PathBuf {
    PathBuf::from(std::str::from_utf8(&setup.session.workspace).expect("temporary paths are text"))
}

/// Waits until what changes now has a later time than the file, by the clock of file systems.
fn wait_for_a_tick_after(file: &Path) {
    let changed = |path: &Path| {
        let found = fs::metadata(path).expect("it is there");
        (found.ctime(), found.ctime_nsec())
    };
    let probe = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    wait_until("the clock to go on", || {
        fs::write(probe.path(), "x").expect("it is ours");
        (changed(probe.path()) > changed(file)).then_some(())
    });
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let found = fs::symlink_metadata(path).expect("it is there");
    (found.uid(), found.gid())
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn what_a_block_makes_belongs_to_the_owner_of_the_workspace() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    let made = [
        "a",
        "a/b",
        "a/b/code.sh",
        "made",
        ".hidden",
        "__pycache__",
        "__pycache__/x.pyc",
        "venv/pyvenv.cfg",
        "venv/lib",
        "node_modules/m/index.js",
        "pipe",
        "hard",
        "closed",
        "closed/file",
    ];
    let code = "# filename: a/b/code.sh\nmkdir __pycache__ venv venv/lib node_modules node_modules/m closed; \
        touch made .hidden __pycache__/x.pyc venv/pyvenv.cfg node_modules/m/index.js closed/file; mkfifo pipe; \
        ln made hard; chmod 000 closed";
    ran(&mut runner, code);
    for name in made {
        assert_eq!(owner(runner.path(name)), OWNER, "{name}");
    }
    assert_eq!(mode(runner.path("closed")), 0);
}

#[test]
fn what_python_caches_belongs_to_the_owner_of_the_workspace() {
    if !Need::Root.is_there() || !Need::Python.is_there() {
        return;
    }
    let mut runner = setup().start();
    fs::write(runner.path("part.py"), "").expect("the workspace is there");
    let ran = runner.ran(block("python", "import part"));
    assert_eq!(ran.status(), exited(0), "{ran:?}");
    let cached = fs::read_dir(runner.path("__pycache__")).expect("python caches").flatten();
    let cached: Vec<_> = cached.map(|entry| owner(entry.path())).collect();
    assert_eq!((cached, owner(runner.path("__pycache__"))), (vec![OWNER], OWNER));
}

#[test]
fn what_was_there_and_is_not_changed_stays_whose_it_is() {
    if !Need::Root.is_there() {
        return;
    }
    let setup = setup();
    let workspace = path_of(&setup);
    fs::create_dir(workspace.join("kept")).expect("the workspace is there");
    for name in ["kept/file", "other"] {
        fs::write(workspace.join(name), "x").expect("the workspace is there");
        fs::set_permissions(workspace.join(name), fs::Permissions::from_mode(0o4755)).expect("it is ours");
    }
    wait_for_a_tick_after(&workspace.join("other"));
    let mut runner = setup.start();
    ran(&mut runner, "echo changed > other; touch new");
    let owners = |runner: &Runner| ["kept", "kept/file", "other", "new"].map(|name| owner(runner.path(name)));
    assert_eq!(owners(&runner), [(0, 0), (0, 0), OWNER, OWNER]);
    assert_eq!([mode(runner.path("kept/file")), mode(runner.path("other"))], [0o4755, 0o755]);
    runner.stop();
    assert_eq!(owners(&runner), [(0, 0), (0, 0), OWNER, OWNER]);
}

#[test]
fn what_the_host_puts_there_has_the_workspaces_owner() {
    if !Need::Root.is_there() {
        return;
    }
    let mut of_user = setup();
    of_user.session.ownership = Ownership::User;
    of_user.session.user = Some("4321:8765".to_owned());
    let mut of_maker = setup();
    of_maker.session.ownership = Ownership::Maker;
    for (setup, expected) in [(setup(), OWNER), (of_user, (4321, 8765)), (of_maker, (0, 0))] {
        let mut runner = setup.start();
        runner.save("a/b/file", whole("x")).expect("saved");
        runner.save("a/folder", Entry::Directory).expect("saved");
        runner.save("a/link", Entry::Symlink { target: b"file".to_vec().into() }).expect("saved");
        let names = ["a", "a/b", "a/b/file", "a/folder", "a/link"];
        assert_eq!(names.map(|name| owner(runner.path(name))), [expected; 5]);
    }
}

#[test]
fn nothing_in_the_workspace_lends_its_owners_rights() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    let code = "cp /bin/true suid; chmod 6755 suid; touch sgid; chmod 2644 sgid; mkdir shared; chmod 2775 shared; \
        touch his; chown 51234:51235 his; chmod 4755 his; mknod null c 1 3; chmod 666 null";
    ran(&mut runner, code);
    assert_eq!([mode(runner.path("suid")), mode(runner.path("sgid"))], [0o755, 0o644]);
    assert_eq!((mode(runner.path("his")), owner(runner.path("his"))), (0o755, OWNER));
    assert_eq!((mode(runner.path("shared")), owner(runner.path("shared"))), (0o2775, OWNER));
    // A device is nobody's.
    assert_eq!((mode(runner.path("null")), owner(runner.path("null"))), (0, (0, 0)));
}

#[test]
fn no_file_in_the_workspace_gives_capabilities() {
    const SETCAP: &[u8] = b"import os\nopen('able', 'w').close()\n\
        os.setxattr('able', 'security.capability', bytes([1, 0, 0, 2, 1] + [0] * 15))\nopen('plain', 'w').close()\n";
    if !Need::Root.is_there() || !Need::Python.is_there() {
        return;
    }
    let mut runner = setup().start();
    let ran = runner.ran(block("python", SETCAP));
    assert_eq!(ran.status(), exited(0), "{ran:?}");
    let mut value = [0; 64];
    let found = rustix::fs::getxattr(runner.path("able"), "security.capability", &mut value);
    assert_eq!(found, Err(rustix::io::Errno::NODATA));
    // Its twin, in a session whose files are their makers'.
    let mut runner = Runner::start();
    assert_eq!(runner.ran(block("python", SETCAP)).status(), exited(0));
    let found = rustix::fs::getxattr(runner.path("able"), "security.capability", &mut value);
    assert_eq!(found, Ok(20));
}

#[test]
fn a_link_is_given_and_not_what_it_leads_to() {
    if !Need::Root.is_there() {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(outside.path().join("file"), "x").expect("writable");
    fs::set_permissions(outside.path().join("file"), fs::Permissions::from_mode(0o4755)).expect("ours");
    let mut runner = setup().env("OUTSIDE", outside.path()).start();
    ran(
        &mut runner,
        "ln -s $OUTSIDE folder; ln -s $OUTSIDE/file file; ln -s nowhere dangling; touch $OUTSIDE/file",
    );
    for link in ["folder", "file", "dangling"] {
        assert_eq!(owner(runner.path(link)), OWNER, "{link}");
    }
    let outside = [outside.path().to_owned(), outside.path().join("file")];
    assert_eq!(outside.clone().map(owner), [(0, 0); 2]);
    assert_eq!(mode(&outside[1]), 0o4755);
}

#[test]
fn the_workspace_stays_its_owners_when_a_block_gives_it_away() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    ran(&mut runner, "chown 4321:4321 .; touch made");
    assert_eq!([owner(runner.path("")), owner(runner.path("made"))], [OWNER; 2]);
}

#[test]
fn another_mount_below_the_workspace_is_not_entered() {
    if !Need::Root.is_there() || !Need::Mount.is_there() {
        return;
    }
    let mut runner = setup().through(unshare(MOUNTS)).start();
    let code = "mkdir mounted bound source; mount -t tmpfs none mounted; mount --bind source bound; \
        touch mounted/file source/file one two; mount --bind one two; touch two";
    ran(&mut runner, code);
    // A block sees the mounts, as the runner does.
    let shown = runner
        .ran(sh("stat -c %u mounted mounted/file two; umount two; stat -c %u one two source source/file"));
    assert_eq!(shown.stdout(), "0\n0\n51234\n51234\n0\n51234\n51234\n");
    // What a mount had hidden.
    runner.stop();
    assert_eq!(owner(runner.path("two")), OWNER);
}

#[test]
fn a_deep_tree_is_given_to_its_end() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    ran(&mut runner, "i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; touch last");
    let mut deepest = runner.path("");
    for _ in 0..300 {
        deepest.push("d");
        assert_eq!(owner(&deepest), OWNER);
    }
    assert_eq!(owner(deepest.join("last")), OWNER);
}

#[test]
fn what_a_background_process_made_is_given_at_the_end() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    let code = format!(
        "({}; mkdir late; cp /bin/true late/suid; chmod 4755 late/suid; touch done; sleep 987) &",
        until_file("go")
    );
    ran(&mut runner, &code);
    runner.touch("go");
    runner.file("done");
    assert_eq!((owner(runner.path("late/suid")), mode(runner.path("late/suid"))), ((0, 0), 0o4755));
    runner.stop();
    assert_eq!((owner(runner.path("late/suid")), mode(runner.path("late/suid"))), (OWNER, 0o755));
    assert_eq!(owner(runner.path("late")), OWNER);
}

#[test]
fn what_is_given_is_given_when_the_host_is_gone() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    runner.run(sh("mkdir made; touch made/ready; sleep 987"));
    runner.file("made/ready");
    runner.hang_up();
    runner.exit();
    assert_eq!([owner(runner.path("made")), owner(runner.path("made/ready"))], [OWNER; 2]);
}

#[test]
fn giving_is_no_change_of_a_file() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = setup().start();
    for round in 0..20 {
        let name = format!("made{round}");
        let ran = runner.ran(sh(format!("# filename: code.sh\necho x > {name}")));
        assert_eq!(ran.files(), [(name, 2, Change::Created)]);
    }
}

#[test]
fn otherwise_files_are_their_makers() {
    if !Need::Root.is_there() {
        return;
    }
    let mut setup = setup();
    setup.session.ownership = Ownership::Maker;
    let mut runner = setup.start();
    ran(&mut runner, "# filename: a/code.sh\ncp /bin/true suid; chmod 4755 suid");
    assert_eq!((owner(runner.path("suid")), mode(runner.path("suid"))), ((0, 0), 0o4755));
    assert_eq!([owner(runner.path("a")), owner(runner.path("a/code.sh"))], [(0, 0); 2]);
    runner.stop();
    assert_eq!(owner(runner.path("suid")), (0, 0));
}
