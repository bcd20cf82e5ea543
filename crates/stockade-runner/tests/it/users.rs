//! Whom blocks run as: the user that the session names, with that user's groups, home and scratch folders, and
//! nobody who could look into the runner.

use std::{fs, os::unix::fs::PermissionsExt};

use stockade_runner::wire::message::{Failure, Ownership, Refusal, Reply, Request};

use crate::harness::{
    Runner, Setup, block, exited,
    needs::{MOUNTS, Need, unshare},
    processes::children,
    sh,
};

/// A user and a group that no machine knows.
const NOBODY: &str = "51234:51235";

/// A session whose blocks run as `user`, who may write to the workspace.
fn as_user(user: &str) -> Setup {
    let mut setup = Setup::new();
    setup.session.user = Some(user.to_owned());
    setup.session.ownership = Ownership::User;
    setup
}

#[track_caller]
fn shown(runner: &mut Runner, code: &str) -> String {
    let ran = runner.ran(sh(code));
    assert_eq!(ran.status(), exited(0), "{ran:?}");
    ran.stdout()
}

#[track_caller]
fn refused(setup: Setup) -> (Refusal, Failure) {
    let session = setup.session.clone();
    let mut runner = setup.connect();
    runner.send(&Request::Start(session));
    let refused = runner.wait_for("the answer", |reply| match reply {
        Reply::StartFailed { refusal, failure } => Some(Ok((*refusal, failure.clone()))),
        Reply::Ready { .. } => Some(Err("the session has started")),
        _ => None,
    });
    refused.expect("the session is refused")
}

/// A place of its own with one user in it, `ada`, who is a member of two groups more.
fn with_ada() -> Vec<String> {
    const CODE: &str = "folder=$(mktemp -d); \
        echo ada:x:51234:51235:Ada:/home/ada:/bin/sh > $folder/passwd; \
        printf 'staff:x:51235:\\nlab:x:51236:bob,ada\\ncrew:x:51237:ada\\n' > $folder/group; \
        mount --bind $folder/passwd /etc/passwd; mount --bind $folder/group /etc/group; \
        rm -r $folder; exec \"$@\"";
    let words = unshare(MOUNTS).into_iter().chain(["sh", "-c", CODE, "sh"]);
    words.map(str::to_owned).collect()
}

const WHO: &str = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort | tr '\\n' ' ') $HOME $USER $LOGNAME";

#[test]
fn a_named_user_has_his_numbers_groups_and_home() {
    if !Need::Root.is_there() || !Need::Mount.is_there() {
        return;
    }
    for user in ["ada", "51234"] {
        let mut runner = as_user(user).through(with_ada()).start();
        assert_eq!(shown(&mut runner, WHO), "51234 51235 51235 51236 51237 /home/ada ada ada\n");
    }
    let mut runner = as_user("ada:lab").through(with_ada()).start();
    assert_eq!(shown(&mut runner, WHO), "51234 51236 51236 /home/ada ada ada\n");
}

#[test]
fn a_number_that_nobody_knows_is_a_user_without_a_name() {
    if !Need::Root.is_there() {
        return;
    }
    let outer =
        || as_user(NOBODY).outer_env("HOME", "/root").outer_env("USER", "root").outer_env("LOGNAME", "root");
    assert_eq!(shown(&mut outer().start(), WHO), "51234 51235 51235 /\n");
    let mut runner = outer().env("HOME", "/mine").env("USER", "me").start();
    assert_eq!(shown(&mut runner, WHO), "51234 51235 51235 /mine me\n", "the caller's go before");
}

#[test]
fn blocks_have_no_right_of_root_left() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner =
        as_user(NOBODY).through(["setpriv", "--inh-caps=+chown", "--ambient-caps=+chown"]).start();
    let code = "grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status | tr -d '\\t'";
    assert_eq!(
        shown(&mut runner, code),
        "CapPrm:0000000000000000\nCapEff:0000000000000000\nCapAmb:0000000000000000\n"
    );
    assert_eq!(shown(&mut runner, "cat /etc/shadow 2> /dev/null || echo denied"), "denied\n");
}

#[test]
fn the_blocks_user_owns_the_workspace_and_reads_what_is_saved_there() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = as_user(NOBODY).through(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).start();
    let code = "# filename: a/b/code.sh\nstat -c '%u:%g' . a a/b a/b/code.sh; echo x > a/b/made; stat -c '%u:%g' a/b/made";
    assert_eq!(shown(&mut runner, code), format!("{NOBODY}\n").repeat(5));
    // Somebody else's file, as a bind mount may hold it.
    let mut foreign = Setup::new().through(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    foreign.session.user = Some(NOBODY.to_owned());
    let mut foreign = foreign.start();
    fs::set_permissions(foreign.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    assert_eq!(
        shown(&mut foreign, "stat -c %u \"$0\"; touch new 2> /dev/null || echo denied"),
        "0\ndenied\n"
    );
}

#[test]
fn a_compiled_program_is_the_users_own() {
    if !Need::Root.is_there() || !Need::Cc.is_there() {
        return;
    }
    let mut runner = as_user(NOBODY).start();
    let code = "#include <stdio.h>\n#include <unistd.h>\nint main() { printf(\"%d\\n\", getuid()); }";
    let ran = runner.ran(block("c", code));
    assert_eq!(ran.status_and_stdout(), (exited(0), "51234\n".into()), "{ran:?}");
}

#[test]
fn blocks_of_another_user_end_as_any_other() {
    if !Need::Root.is_there() {
        return;
    }
    let mut runner = as_user(NOBODY).start();
    let ran = runner
        .ran(crate::harness::soon_out_of_time(sh("trap '' TERM; setsid sleep 987 & sleep 987; sleep 987")));
    assert_eq!(ran.status(), stockade_runner::outcome::Status::TimedOut);
    assert_eq!(runner.survivors(), [""; 0]);
    assert_eq!(shown(&mut runner, "kill -9 $PPID 2> /dev/null || echo denied"), "denied\n");
}

#[test]
fn a_user_who_is_not_there_is_refused_by_name() {
    let (refusal, failure) = refused(as_user("no-such-user"));
    assert_eq!(refusal, Refusal::User);
    assert_eq!(
        failure.to_string(),
        "failed to run the code as the user no-such-user: /etc/passwd has no user no-such-user"
    );
    let (refusal, failure) = refused(as_user("0:no-such-group"));
    assert_eq!(refusal, Refusal::User);
    assert!(failure.why.contains("/etc/group has no group no-such-group"), "{failure}");
}

#[test]
fn who_is_not_root_starts_processes_as_himself_only() {
    if !Need::Capabilities.is_there() {
        return;
    }
    let unprivileged = |user| {
        let mut setup =
            as_user(user).through(["setpriv", "--reuid=51234", "--regid=51235", "--clear-groups"]);
        setup.session.workspace = b"/tmp".to_vec().into();
        setup
    };
    for other in ["0", "51234", "51234:51236", "51233:51235"] {
        let (refusal, failure) = refused(unprivileged(other));
        assert_eq!(refusal, Refusal::User, "{other}");
        assert!(
            failure.why.starts_with("this process may not start processes as another user: "),
            "{failure}"
        );
    }
    let setup = unprivileged(NOBODY);
    let session = setup.session.clone();
    let mut runner = setup.connect();
    runner.send(&Request::Start(session));
    runner.wait_for("the start", |reply| matches!(reply, Reply::Ready { .. }).then_some(()));
}

#[test]
fn a_user_whose_processes_could_not_be_ended_is_refused() {
    if !Need::Root.is_there() || !Need::Capabilities.is_there() {
        return;
    }
    let without_kill = |user| as_user(user).through(["setpriv", "--bounding-set=-kill"]);
    let (refusal, failure) = refused(without_kill(NOBODY));
    assert_eq!(refusal, Refusal::User);
    assert_eq!(
        failure.why,
        "this process may not end processes of another user: it lacks the capability KILL"
    );
    shown(&mut without_kill("0").start(), "true");
}

// Looking into the runner.

/// What a container's root doesn't have. The last two show what a process was started with, on newer kernels.
const NO_TRACING: &str = "--bounding-set=-sys_ptrace,-sys_admin,-perfmon";

/// A block that opens what shows a process, and prints what it could open.
fn look_into(pid: u32) -> String {
    format!(
        "for file in mem environ exe fd/0 root/etc/passwd; do \
         if (: < /proc/{pid}/$file) 2> /dev/null; then echo $file; fi; done; echo looked"
    )
}

/// Neither the runner nor one of its helpers shows itself to blocks, which do see themselves.
#[track_caller]
fn assert_closed(runner: &mut Runner) {
    shown(runner, "true");
    for pid in children(runner.pid).iter().map(|child| child.pid).chain([runner.pid]) {
        assert_eq!(shown(runner, &look_into(pid)), "looked\n");
    }
    let code = "for file in mem environ exe fd/0; do (: < /proc/$$/$file) && echo $file; done";
    assert_eq!(shown(runner, code), "mem\nenviron\nexe\nfd/0\n");
}

#[test]
fn blocks_of_another_user_do_not_look_into_the_runner_or_its_helpers() {
    if !Need::Root.is_there() {
        return;
    }
    let mut setup = as_user(NOBODY);
    setup.session.concealed = true;
    let mut runner = setup.start();
    assert_closed(&mut runner);
}

#[test]
fn root_that_may_trace_is_refused_where_the_runner_is_to_be_concealed() {
    if !Need::Root.is_there() || !Need::Capabilities.is_there() {
        return;
    }
    let concealed = || {
        let mut setup = Setup::new();
        setup.session.concealed = true;
        setup
    };
    let (refusal, failure) = refused(concealed());
    assert_eq!(refusal, Refusal::Exposed);
    assert_eq!(
        failure.to_string(),
        "failed to keep the runner out of the code's reach: the code would run as root with the capability \
         SYS_PTRACE, and could look into the runner"
    );
    let mut runner = concealed().through(["setpriv", NO_TRACING]).start();
    assert_closed(&mut runner);
}
