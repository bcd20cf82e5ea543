//! The runner's helpers, killed by the code that they watch over: whoever takes their place is confined as they were.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use stockade_runner::outcome::Status;

use super::{confined, confinement, kill, outside, paths, shown};
use crate::harness::{Runner, Setup, exited, needs::Need, processes::children, sh, until_file, wait_until};

/// Whether a block is confined in every way that one can see from inside.
#[track_caller]
fn assert_confined(runner: &mut Runner, secret: &Path) {
    let code = format!(
        "grep -c '^Seccomp:.2' /proc/self/status; grep -c '^NoNewPrivs:.1' /proc/self/status; \
         cat {} 2> /dev/null || echo denied",
        secret.display()
    );
    assert_eq!(shown(runner, sh(code)), "1\n1\ndenied\n");
}

#[test]
fn helpers_that_take_the_place_of_killed_ones_are_confined() {
    if !Need::Landlock.is_there() {
        return;
    }
    let folder = outside();
    let secret = folder.path().join("secret");
    let mut runner = confined();
    assert_confined(&mut runner, &secret);
    for _ in 0..3 {
        kill(&runner, |at| at == 0);
        assert_confined(&mut runner, &secret);
        kill(&runner, |_| true);
        assert_confined(&mut runner, &secret);
    }
    // Several at once, so that new keepers are needed.
    let waiting = runner.run(sh(until_file("go")));
    runner.started(waiting);
    kill(&runner, |at| at == 0);
    assert_confined(&mut runner, &secret);
    runner.touch("go");
    assert_eq!(runner.finished(waiting).status(), exited(0));
}

#[test]
fn a_block_that_kills_every_process_it_can_gets_nobody_out() {
    if !Need::Landlock.is_there() {
        return;
    }
    let folder = outside();
    let mut runner = confined();
    let ran = runner.ran(sh("trap '' TERM; kill -9 -1; sleep 987"));
    assert_eq!(ran.status(), Status::Signaled { signal: 9 });
    assert_confined(&mut runner, &folder.path().join("secret"));
}

#[test]
fn putting_something_else_in_a_listed_place_opens_nothing() {
    if !Need::Landlock.is_there() {
        return;
    }
    let folder = outside();
    let secret = folder.path().join("secret");
    let setup = Setup::new();
    let listed = Path::new(OsStr::from_bytes(&setup.session.workspace)).join("listed");
    fs::create_dir(&listed).expect("the workspace is writable");
    let mut confinement = confinement(&setup);
    confinement.writable.extend(paths([&listed]));
    let mut setup = setup;
    setup.session.confinement = Some(confinement);
    let mut runner = setup.start();
    assert_confined(&mut runner, &secret);
    fs::remove_dir(&listed).expect("it is empty");
    symlink(folder.path(), &listed).expect("the workspace is writable");
    kill(&runner, |_| true);
    assert_confined(&mut runner, &secret);
    assert_eq!(shown(&mut runner, sh("cat listed/secret 2> /dev/null || echo denied")), "denied\n");
}

#[test]
fn nothing_is_left_of_the_helpers_that_were_there_before() {
    if !Need::Landlock.is_there() {
        return;
    }
    let mut runner = confined();
    assert_eq!(shown(&mut runner, sh("echo first")), "first\n");
    wait_until("one zygote and one keeper", || (children(runner.pid).len() == 2).then_some(()));
    let seccomp = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        status.lines().any(|line| line == "Seccomp:\t2")
    };
    assert!(children(runner.pid).iter().all(|child| seccomp(child.pid)));
    assert!(!seccomp(runner.pid), "the runner stays outside");
}
