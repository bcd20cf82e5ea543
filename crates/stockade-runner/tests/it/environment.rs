//! A block's variables: what quietens interpreters, under the runner's own, under the session's, under the
//! run's.

use stockade_runner::wire::message::RunSpec;

use crate::harness::{Runner, Setup, exited, sh, variable};

#[track_caller]
fn shown(runner: &mut Runner, spec: RunSpec) -> String {
    let ran = runner.ran(spec);
    assert_eq!(ran.status(), exited(0));
    ran.stdout()
}

const SHOW: &str = "echo \"$PAGER $TERM $MINE\"";

#[test]
fn interpreters_are_quietened() {
    let code =
        "echo $PYTHONUNBUFFERED $PIP_NO_INPUT $MPLBACKEND $DEBIAN_FRONTEND $GIT_TERMINAL_PROMPT $PAGER $TERM";
    assert_eq!(shown(&mut Runner::start(), sh(code)), "1 1 Agg noninteractive 0 cat dumb\n");
}

#[test]
fn each_layer_goes_over_the_one_below() {
    assert_eq!(shown(&mut Runner::start(), sh(SHOW)), "cat dumb \n");
    let outer =
        || Setup::new().outer_env("PAGER", "outer").outer_env("TERM", "outer").outer_env("MINE", "outer");
    assert_eq!(shown(&mut outer().start(), sh(SHOW)), "outer outer outer\n");
    let mut runner = outer().env("TERM", "session").env("MINE", "session").start();
    assert_eq!(shown(&mut runner, sh(SHOW)), "outer session session\n");
    let env = vec![variable("MINE", "run")];
    assert_eq!(shown(&mut runner, RunSpec { env, ..sh(SHOW) }), "outer session run\n");
    assert_eq!(shown(&mut runner, sh(SHOW)), "outer session session\n", "of one run only");
}

#[test]
fn a_value_is_any_bytes() {
    let mut runner = Runner::start();
    let env = vec![variable("ODD", b"a=b\n\xff c"), variable("EMPTY", "")];
    let ran = runner.ran(RunSpec { env, ..sh("printf %s \"$ODD\"; echo ${EMPTY+set}") });
    assert_eq!(ran.bytes(stockade_runner::wire::message::Stream::Stdout), b"a=b\n\xff cset\n");
}

#[test]
fn a_large_environment_reaches_the_block() {
    let mut runner = Runner::start();
    let env = (0..1000).map(|number| variable(&format!("V{number}"), "x".repeat(1000))).collect();
    assert_eq!(shown(&mut runner, RunSpec { env, ..sh("echo ${#V0} ${#V999}") }), "1000 1000\n");
}

#[test]
fn an_environment_that_no_process_can_be_given_is_said_to_be_too_large() {
    let mut runner = Runner::start();
    // Longer than the kernel takes in one string.
    let env = vec![variable("HUGE", "x".repeat(200_000))];
    let ran = runner.ran(RunSpec { env, ..sh("echo never") });
    let said = match &ran.result {
        Ok(outcome) => outcome.notice.clone().unwrap_or_default(),
        Err(failure) => failure.to_string(),
    };
    assert!(said.contains("Argument list too long"), "{ran:?}");
    assert_eq!(shown(&mut runner, sh("echo next")), "next\n");
}
