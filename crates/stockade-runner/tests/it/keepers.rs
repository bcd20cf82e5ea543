//! The runner's own helpers, killed or stopped by the code that they watch over: the run ends with an
//! outcome, its processes are ended, the session goes on.

use rustix::process::Signal;
use stockade_runner::{
    outcome::Status,
    wire::message::{Request, RunId},
};

use crate::harness::{
    Runner, exited,
    processes::{Process, children, descendants},
    sh, soon_out_of_time, until_file, wait_until,
};

const KILLED: Status = Status::Signaled { signal: 9 };

/// The process from which the keepers are cloned, and the keepers.
fn helpers(runner: &Runner) -> (Process, Vec<Process>) {
    let mut keepers = wait_until("the first keeper", || {
        let children = children(runner.pid);
        (children.len() >= 2).then_some(children)
    });
    (keepers.remove(0), keepers)
}

#[track_caller]
fn assert_goes_on(runner: &mut Runner) {
    let runs: Vec<RunId> = (0..3).map(|number| runner.run(sh(format!("echo {number}")))).collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), format!("{number}\n")));
    }
}

#[test]
fn a_block_that_kills_its_keeper_is_ended_with_all_its_processes() {
    let mut runner = Runner::start();
    let code =
        "echo before; sleep 987 & setsid sleep 987 & (trap '' TERM; sleep 987) & kill -9 $PPID; sleep 987";
    let ran = runner.ran(sh(code));
    assert_eq!(ran.status_and_stdout(), (KILLED, "before\n".into()));
    assert_eq!(ran.notice(), "The process that watches over the block was killed, and the block with it");
    runner.wait_for_no_survivor();
    assert_goes_on(&mut runner);
}

#[test]
fn a_block_that_stops_its_keeper_is_ended_at_its_deadline() {
    let mut runner = Runner::start();
    let ran = runner.ran(soon_out_of_time(sh("echo before; setsid sleep 987 & kill -STOP $PPID; sleep 987")));
    assert_eq!(ran.status_and_stdout(), (Status::TimedOut, "before\n".into()));
    assert_eq!(runner.survivors(), [""; 0]);
    assert_goes_on(&mut runner);
}

#[test]
fn a_block_that_stops_its_keeper_is_ended_when_it_is_cancelled() {
    let mut runner = Runner::start();
    let run = runner.run(sh("(trap '' TERM; sleep 987) & kill -STOP $PPID; touch ready; sleep 987"));
    runner.file("ready");
    runner.send(&Request::Cancel { run });
    assert_eq!(runner.finished(run).status(), Status::Cancelled);
    assert_eq!(runner.survivors(), [""; 0]);
    assert_goes_on(&mut runner);
}

#[test]
fn a_stopped_keeper_does_not_keep_the_session_from_its_end() {
    let mut runner = Runner::start();
    runner.run(sh("setsid sleep 987 & kill -STOP $PPID; touch ready; sleep 987"));
    runner.file("ready");
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn what_was_left_behind_ends_when_its_keeper_is_killed() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("sleep 987 & echo $PPID"));
    let keeper: u32 = ran.stdout().trim().parse().expect("a pid");
    assert_eq!(runner.survivors().len(), 1);
    let (_, keepers) = helpers(&runner);
    keepers.iter().find(|process| process.pid == keeper).expect("a keeper").signal(Signal::KILL);
    runner.wait_for_no_survivor();
    assert_goes_on(&mut runner);
}

/// Kills some of the runner's children, and waits until it has reaped them.
fn kill(runner: &Runner, doomed: &[Process]) {
    doomed.iter().for_each(|process| process.signal(Signal::KILL));
    let there = || children(runner.pid).iter().any(|child| doomed.contains(child));
    wait_until("the dead to be reaped", || (!there()).then_some(()));
}

#[test]
fn the_session_goes_on_when_its_idle_keepers_are_killed() {
    let mut runner = Runner::start();
    assert_goes_on(&mut runner);
    for _ in 0..3 {
        kill(&runner, &helpers(&runner).1);
        assert_goes_on(&mut runner);
    }
}

#[test]
fn the_session_goes_on_when_its_zygote_is_killed() {
    let mut runner = Runner::start();
    for _ in 0..3 {
        kill(&runner, &[helpers(&runner).0]);
        assert_goes_on(&mut runner);
    }
}

#[test]
fn the_session_goes_on_when_all_helpers_are_killed_at_once() {
    let mut runner = Runner::start();
    assert_goes_on(&mut runner);
    kill(&runner, &children(runner.pid));
    assert_goes_on(&mut runner);
}

#[test]
fn a_stopped_zygote_stops_nothing_else() {
    let mut runner = Runner::start();
    let (zygote, _) = helpers(&runner);
    zygote.signal(Signal::STOP);
    // More than the keepers that were made ahead.
    assert_goes_on(&mut runner);
}

#[test]
fn a_killed_keeper_does_not_disturb_other_runs() {
    let mut runner = Runner::start();
    let other = runner.run(sh(format!("echo begun; sleep 987 & {}; echo done", until_file("go"))));
    runner.started(other);
    assert_eq!(runner.ran(sh("kill -9 $PPID; sleep 987")).status(), KILLED);
    assert_eq!(runner.ran(sh("kill -9 $PPID; sleep 987 #")).status(), KILLED);
    runner.touch("go");
    assert_eq!(runner.finished(other).status_and_stdout(), (exited(0), "begun\ndone\n".into()));
}

#[test]
fn keepers_end_their_trees_when_the_runner_is_killed() {
    let mut runner = Runner::start();
    assert_eq!(runner.ran(sh("setsid sleep 987 & nohup sleep 987 2> /dev/null &")).status(), exited(0));
    runner.run(sh("(trap '' TERM; sleep 987) & setsid sleep 987 & touch ready; sleep 987"));
    runner.file("ready");
    assert!(runner.survivors().len() >= 5);
    let all = descendants(runner.pid);
    runner.signal(Signal::KILL);
    assert_eq!(runner.exit().code(), None);
    runner.wait_for_no_survivor();
    wait_until("the end of all that the runner started", || {
        (!all.iter().any(|process| process.runs())).then_some(())
    });
}

#[test]
fn keepers_end_what_they_started_in_the_moment_when_the_runner_was_killed() {
    for _ in 0..20 {
        let mut runner = Runner::start();
        runner.run(sh("setsid sleep 987 & sleep 987"));
        runner.signal(Signal::KILL);
        runner.exit();
        runner.wait_for_no_survivor();
    }
}
