//! A workspace that goes away or is full: our failure, said so, and not the end of the session.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use stockade_runner::wire::message::{Failure, Refusal, Reply, Request, Stream};

use crate::harness::{
    Runner, Setup, exited,
    needs::{MOUNTS, Need, unshare},
    sh, until_file,
};

#[test]
fn a_workspace_that_was_deleted_is_a_failure_until_it_is_there_again() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let workspace = folder.path().join("workspace");
    fs::create_dir(&workspace).expect("a directory");
    let mut runner = Setup::at(&workspace).start();
    let go = folder.path().join("go");
    let run = runner.run(sh(format!("touch ready; {}; echo done", until_file(go.to_str().expect("text")))));
    runner.file("ready");
    fs::remove_dir_all(&workspace).expect("removed");
    fs::write(&go, "").expect("written");
    assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "done\n".into()), "it ran already");
    let failure = Failure {
        doing: format!("use {} as the workspace", workspace.display()),
        why: "No such file or directory (os error 2)".into(),
        errno: Some(2),
    };
    assert_eq!(runner.ran(sh("echo lost")).failure(), &failure);
    assert_eq!(runner.ran(sh("# filename: named\necho lost")).failure(), &failure);
    fs::create_dir(&workspace).expect("a directory");
    assert_eq!(runner.ran(sh("echo back")).status_and_stdout(), (exited(0), "back\n".into()));
    assert_eq!(runner.names().len(), 1);
}

#[test]
fn a_workspace_that_became_a_file_is_a_failure() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let workspace = folder.path().join("workspace");
    fs::create_dir(&workspace).expect("a directory");
    let mut runner = Setup::at(&workspace).start();
    fs::remove_dir(&workspace).expect("removed");
    fs::write(&workspace, "").expect("written");
    assert_eq!(runner.ran(sh("echo lost")).failure().errno, Some(20));
}

#[test]
fn a_workspace_may_have_any_name() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let workspace = folder.path().join(OsStr::from_bytes(b"-odd \xff\n'\"$(touch x)"));
    fs::create_dir(&workspace).expect("a directory");
    let mut runner = Setup::at(&workspace).start();
    let ran = runner.ran(sh("# filename: a b.sh\nprintf %s \"$0\"; cat \"$0\" > copy"));
    assert_eq!(ran.bytes(Stream::Stdout), workspace.join("a b.sh").as_os_str().as_bytes());
    assert_eq!(runner.names(), ["a b.sh", "copy"]);
}

#[test]
fn a_folder_that_was_deleted_is_made_again() {
    let mut runner = Runner::start();
    for _ in 0..2 {
        assert_eq!(runner.ran(sh("# filename: folder/named.sh\necho ok")).stdout(), "ok\n");
        fs::remove_dir_all(runner.path("folder")).expect("it was made");
    }
}

/// A runner whose workspace is a file system of its own, 64 KiB large.
fn on_small_disk() -> Runner {
    let mount = "mount -t tmpfs -o size=64k tmpfs \"$WORKSPACE\" && exec \"$@\"";
    let setup = Setup::new();
    let workspace = String::from_utf8(setup.session.workspace.to_vec()).expect("text");
    let through = [unshare(MOUNTS), vec!["sh", "-c", mount, "sh"]].concat();
    setup.outer_env("WORKSPACE", workspace).through(through).start()
}

#[test]
fn a_full_disk_is_a_failure_and_what_fits_still_runs() {
    if !Need::Mount.is_there() {
        return;
    }
    let mut runner = on_small_disk();
    let large = format!("# {}\necho large", "x".repeat(200_000));
    let failure = Failure {
        doing: "save the block's file in the workspace".into(),
        why: "No space left on device (os error 28)".into(),
        errno: Some(28),
    };
    for code in [large.clone(), format!("# filename: named.sh\n{large}")] {
        assert_eq!(runner.ran(sh(code)).failure(), &failure);
        assert_eq!(runner.ran(sh("echo small")).status_and_stdout(), (exited(0), "small\n".into()));
    }
}

#[test]
fn a_disk_that_the_block_fills_is_the_blocks_affair() {
    if !Need::Mount.is_there() {
        return;
    }
    let mut runner = on_small_disk();
    let ran = runner.ran(sh("head -c 1000000 /dev/zero > big || echo full; rm big"));
    assert_eq!(ran.status_and_stdout(), (exited(0), "full\n".into()));
}

#[test]
fn a_workspace_that_can_not_be_written_to_is_refused_at_the_start() {
    if !Need::Mount.is_there() {
        return;
    }
    let mount = "mount -t tmpfs -o ro tmpfs \"$WORKSPACE\" && exec \"$@\"";
    let setup = Setup::new();
    let session = setup.session.clone();
    let workspace = String::from_utf8(session.workspace.to_vec()).expect("text");
    let through = [unshare(MOUNTS), vec!["sh", "-c", mount, "sh"]].concat();
    let mut runner = setup.outer_env("WORKSPACE", &workspace).through(through).connect();
    runner.reply();
    runner.send(&Request::Start(session));
    let failure = Failure {
        doing: format!("use {workspace} as the workspace"),
        why: "Read-only file system (os error 30)".into(),
        errno: Some(30),
    };
    assert_eq!(runner.reply(), Some(Reply::StartFailed { refusal: Refusal::Workspace, failure }));
}
