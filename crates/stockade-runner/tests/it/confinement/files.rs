//! Which files confined code can use, and how.

use std::{fs, path::Path};

use super::{confined, confined_as, outside, paths, python_block, shown, with_calls};
use crate::harness::{Runner, Setup, exited, needs::Need, sh};

/// Tries everything with a folder, and prints what could be done.
const TRY_FOLDER: &str = r#"
import os, sys
folder = os.environ["FOLDER"]
def attempt(name, action):
    try:
        action()
        print(name)
    except OSError:
        pass
attempt("list", lambda: os.listdir(folder))
attempt("read", lambda: open(folder + "/secret").read())
attempt("append", lambda: open(folder + "/secret", "a").write("x"))
attempt("truncate", lambda: os.truncate(folder + "/secret", 4))
attempt("make", lambda: open(folder + "/new", "w"))
attempt("mkdir", lambda: os.mkdir(folder + "/below"))
attempt("link", lambda: os.link(folder + "/secret", "linked"))
attempt("rename", lambda: os.rename(folder + "/new", "taken"))
attempt("remove", lambda: os.remove(folder + "/secret"))
attempt("rmdir", lambda: os.rmdir(folder + "/below"))
"#;

fn could(setup: Setup, folder: &Path) -> Vec<String> {
    let printed = shown(&mut setup.env("FOLDER", folder).start(), python_block(TRY_FOLDER));
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn a_folder_can_be_used_as_it_was_listed_and_no_further() {
    if !Need::Landlock.is_there() {
        return;
    }
    let everything =
        ["list", "read", "append", "truncate", "make", "mkdir", "link", "rename", "remove", "rmdir"];
    let folder = outside();
    let here = || paths([folder.path()]);
    let none: [&str; 0] = [];
    assert_eq!(could(confined_as(|_| ()), folder.path()), none);
    assert_eq!(could(confined_as(|confinement| confinement.listable = here()), folder.path()), ["list"]);
    assert_eq!(
        could(confined_as(|confinement| confinement.readable.extend(here())), folder.path()),
        ["list", "read"]
    );
    let devices = could(confined_as(|confinement| confinement.devices.extend(here())), folder.path());
    assert_eq!(devices, ["list", "read", "append", "truncate"]);
    assert_eq!(
        could(confined_as(|confinement| confinement.writable.extend(here())), folder.path()),
        everything
    );
    let folder = outside();
    assert_eq!(could(Setup::new(), folder.path()), everything);
}

#[test]
fn a_file_can_be_listed_by_itself() {
    if !Need::Landlock.is_there() {
        return;
    }
    let folder = outside();
    fs::write(folder.path().join("other"), "").expect("it is writable");
    let file = folder.path().join("secret");
    let mut runner = confined_as(|confinement| confinement.writable.extend(paths([&file])))
        .env("FOLDER", folder.path())
        .start();
    let code = "cat $FOLDER/secret; echo more > $FOLDER/secret; cat $FOLDER/secret; \
                cat $FOLDER/other 2> /dev/null || echo denied";
    assert_eq!(shown(&mut runner, sh(code)), "toldmore\ndenied\n");
}

#[test]
fn listed_devices_work_and_others_do_not() {
    if !Need::Landlock.is_there() {
        return;
    }
    let code = "echo x > /dev/null && echo null; head -c 1 /dev/zero | wc -c; \
                (: < /dev/full) 2> /dev/null && echo full; true";
    assert_eq!(shown(&mut confined(), sh(code)), "null\n1\n");
    assert_eq!(shown(&mut Runner::start(), sh(code)), "null\n1\nfull\n");
}

#[test]
fn files_are_locked_and_no_lease_keeps_others_from_opening_them() {
    if !Need::Landlock.is_there() {
        return;
    }
    let code = with_calls(
        r#"
import fcntl
with open("file", "w"):
    pass
file = open("file", "r")
folder = os.open(".", os.O_RDONLY)
print(attempt(lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)))
print(attempt(lambda: fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_CREATE)))
fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
print(fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_UNLCK)
"#,
    );
    assert_eq!(shown(&mut confined(), code.clone()), "EPERM\nEPERM\nTrue\n");
    assert_eq!(shown(&mut Runner::start(), code), "ok\nok\nFalse\n");
}

#[test]
fn attributes_are_read_of_files_that_were_opened_and_of_no_others() {
    if !Need::Landlock.is_there() {
        return;
    }
    let folder = outside();
    let secret = folder.path().join("secret");
    let set = rustix::fs::setxattr(&secret, "user.note", b"told", rustix::fs::XattrFlags::empty());
    if set == Err(rustix::io::Errno::NOTSUP) {
        return;
    }
    assert_eq!(set, Ok(()));
    let code = with_calls(
        r#"
secret = os.environ["FOLDER"] + "/secret"
print(*(attempt(lambda: os.getxattr(secret, "user.note", follow_symlinks=follow)) for follow in (True, False)))
print(*(attempt(lambda: os.listxattr(secret, follow_symlinks=follow)) for follow in (True, False)))
with open("own", "w") as file:
    os.setxattr(file.fileno(), "user.note", b"kept")
    print(os.getxattr(file.fileno(), "user.note"), "user.note" in os.listxattr(file.fileno()))
"#,
    );
    let no = "ENOTSUP";
    let setup = |setup: Setup| setup.env("FOLDER", folder.path());
    let own = "b'kept' True";
    assert_eq!(
        shown(&mut setup(confined_as(|_| ())).start(), code.clone()),
        format!("{no} {no}\n{no} {no}\n{own}\n")
    );
    let spaces = confined_as(|confinement| confinement.own_namespaces = true);
    for open in [spaces, Setup::new()] {
        assert_eq!(shown(&mut setup(open).start(), code.clone()), format!("ok ok\nok ok\n{own}\n"));
    }
}

#[test]
fn nothing_in_proc_can_be_written() {
    if !Need::Landlock.is_there() {
        return;
    }
    let code = "(echo a > /proc/self/comm) 2> /dev/null && echo written; cat /proc/self/comm";
    assert_eq!(shown(&mut confined(), sh(code)), "cat\n");
    assert_eq!(shown(&mut Runner::start(), sh(code)), "written\ncat\n");
}

#[test]
fn the_workspace_goes_on_as_before() {
    if !Need::Landlock.is_there() {
        return;
    }
    let mut runner = confined_as(|_| ()).cleanup_temp_files().start();
    let code = "mkdir a b; echo 1 > a/one; mv a/one b/two; ln -s two b/link; ln b/two three; cat b/link three; \
                mkfifo pipe; rm -r a b pipe";
    let ran = runner.ran(sh(code));
    assert_eq!((ran.status(), ran.stdout()), (exited(0), "1\n1\n".to_owned()), "{}", ran.stderr());
    assert_eq!(ran.files().len(), 1, "{:?}", ran.files());
    assert_eq!(shown(&mut runner, sh("# filename: kept.sh\necho named")), "named\n");
    assert_eq!(runner.names(), ["kept.sh", "three"]);
    assert_eq!(runner.ran(sh("exit 3")).status(), exited(3));
}
