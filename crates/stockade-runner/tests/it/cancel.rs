//! Cancelling: exactly the run that was asked for ends, with all its processes, and keeps what it printed.

use stockade_runner::{
    outcome::Status,
    wire::message::{Request, RunId},
};

use crate::harness::{Runner, exited, sh, until_file, wait_until};

#[test]
fn of_ten_runs_of_the_same_code_one_is_cancelled() {
    let mut runner = Runner::start();
    let code = format!("echo begun; {}; echo done", until_file("go"));
    let runs: Vec<RunId> = (0..10).map(|_| runner.run(sh(&code))).collect();
    runs.iter().for_each(|run| runner.started(*run));
    let cancelled = runs[4];
    runner.send(&Request::Cancel { run: cancelled });
    let ran = runner.finished(cancelled);
    assert_eq!(ran.status(), Status::Cancelled);
    assert_eq!(ran.notice(), "Cancelled: the block was ended on request");
    runner.touch("go");
    for run in runs.into_iter().filter(|run| *run != cancelled) {
        assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "begun\ndone\n".into()));
    }
}

#[test]
fn a_cancelled_run_keeps_what_it_printed_and_leaves_nothing() {
    let mut runner = Runner::start();
    let code = "echo out; echo err >&2; setsid sleep 987 & (trap '' TERM; touch ready; sleep 987) & wait";
    let run = runner.run(sh(code));
    runner.file("ready");
    assert_ne!(runner.survivors(), [""; 0]);
    runner.send(&Request::Cancel { run });
    let ran = runner.finished(run);
    assert_eq!(runner.survivors(), [""; 0]);
    assert_eq!(ran.status_and_stdout(), (Status::Cancelled, "out\n".into()));
    assert_eq!(ran.stderr(), "err\n");
}

#[test]
fn a_run_that_waits_for_its_file_is_cancelled_before_it_starts() {
    let mut runner = Runner::start();
    let holder = runner.run(sh(format!("# filename: same.sh\n{}; cat same.sh", until_file("go"))));
    runner.started(holder);
    let waiting = runner.run(sh("# filename: same.sh\ntouch ran"));
    runner.send(&Request::Cancel { run: waiting });
    let ran = runner.finished(waiting);
    assert_eq!((ran.status(), ran.notice()), (Status::Cancelled, "Cancelled: the block had not started"));
    assert_eq!((ran.outcome().file.as_ref(), ran.outcome().wall_us), (None, 0));
    runner.touch("go");
    let held = runner.finished(holder);
    assert!(held.stdout().contains("cat same.sh"), "{held:?}");
    runner.round_trip();
    assert_eq!(runner.names(), ["go", "same.sh"]);
}

#[test]
fn cancelling_what_is_unknown_or_finished_does_nothing() {
    let mut runner = Runner::start();
    runner.send(&Request::Cancel { run: 0 });
    runner.send(&Request::Cancel { run: u64::MAX });
    runner.send(&Request::Cancel { run: 1 << 63 });
    let run = runner.run(sh("echo done"));
    assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "done\n".into()));
    runner.send(&Request::Cancel { run });
    assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
}

#[test]
fn cancelling_twice_is_cancelling_once() {
    let mut runner = Runner::start();
    let run = runner.run(sh("trap '' TERM; echo ready > ready; while :; do sleep 0.05; done"));
    runner.file("ready");
    for _ in 0..3 {
        runner.send(&Request::Cancel { run });
    }
    assert_eq!(runner.finished(run).status(), Status::Cancelled);
    let count = runner.heard().len();
    runner.round_trip();
    assert_eq!(runner.heard().len(), count + 1, "it is told once");
}

#[test]
fn a_run_that_is_cancelled_before_its_process_is_there_is_ended_within_the_grace() {
    let mut runner = Runner::start();
    let wall = |runner: &mut Runner| {
        let run = runner.run_and(sh("sleep 987"), |run| Request::Cancel { run });
        let ran = runner.finished(run);
        assert_eq!(ran.status(), Status::Cancelled);
        ran.outcome().wall_us
    };
    // A busy machine can take a second for anything, though hardly each time.
    let walls: Vec<u64> = (0..3).map(|_| wall(&mut runner)).collect();
    assert!(walls.iter().any(|wall| *wall < 900_000), "nobody asked the process to end: {walls:?}");
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn what_an_earlier_block_left_behind_is_not_cancelled_with_a_later_one() {
    let mut runner = Runner::start();
    assert_eq!(runner.ran(sh("sleep 987 &")).status(), exited(0));
    let sleeping = || {
        Some(runner.survivors())
            .filter(|left| left.iter().all(|left| left.ends_with(": sleep 987")) && !left.is_empty())
    };
    let left = wait_until("sleep", sleeping);
    let run = runner.run(sh("sleep 986"));
    runner.started(run);
    runner.send(&Request::Cancel { run });
    assert_eq!(runner.finished(run).status(), Status::Cancelled);
    assert_eq!((runner.survivors(), left.len()), (left.clone(), 1));
}
