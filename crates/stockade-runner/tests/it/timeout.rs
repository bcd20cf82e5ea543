//! A block's deadline: TERM, a grace of one second, KILL; and what was printed until then is kept.

use stockade_runner::{
    outcome::Status,
    wire::message::{RunSpec, Stream},
};

use crate::harness::{Runner, block, exited, needs::Need, sh, soon_out_of_time, until_file};

/// From the deadline to the call's return (contract, line 4), and all that a busy machine may add.
const LATE: u64 = 10_000_000;

#[test]
fn a_block_that_is_out_of_time_is_ended_and_keeps_what_it_printed() {
    let mut runner = Runner::start();
    let ran = runner.ran(soon_out_of_time(sh("echo out; echo err >&2; sleep 987; echo never")));
    assert_eq!(runner.survivors(), [""; 0]);
    assert_eq!(ran.status(), Status::TimedOut);
    assert_eq!((ran.stdout().as_str(), ran.stderr().as_str()), ("out\n", "err\n"));
    assert!(ran.notice().starts_with("Timeout: the block was ended after "), "{}", ran.notice());
    let wall = ran.outcome().wall_us;
    assert!((1_000_000..LATE).contains(&wall), "{wall}");
}

#[test]
fn a_block_within_its_time_ends_by_itself() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("echo out; sleep 0.1; echo more"));
    assert_eq!(ran.status_and_stdout(), (exited(0), "out\nmore\n".into()));
    assert_eq!(ran.outcome().notice, None);
}

#[test]
fn a_block_may_clean_up_when_its_time_is_up() {
    let mut runner = Runner::start();
    let code = "trap 'echo cleaned > cleaned; echo bye; exit 0' TERM; echo ready; sleep 987 & wait";
    let ran = runner.ran(soon_out_of_time(sh(code)));
    assert_eq!(ran.status_and_stdout(), (Status::TimedOut, "ready\nbye\n".into()));
    assert_eq!(runner.file("cleaned"), "cleaned\n");
}

#[test]
fn a_block_that_ignores_the_request_is_killed_after_the_grace() {
    let mut runner = Runner::start();
    let ran = runner.ran(soon_out_of_time(sh("trap '' TERM; echo mine; while :; do sleep 0.05; done")));
    assert_eq!(runner.survivors(), [""; 0]);
    assert_eq!(ran.status_and_stdout(), (Status::TimedOut, "mine\n".into()));
    let wall = ran.outcome().wall_us;
    assert!((2_000_000..LATE).contains(&wall), "{wall}");
}

#[test]
fn what_is_printed_in_the_grace_is_kept() {
    let mut runner = Runner::start();
    let code = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; echo on >&2; done";
    let ran = runner.ran(soon_out_of_time(sh(code)));
    assert_eq!(ran.status_and_stdout(), (Status::TimedOut, "ready\nasked\n".into()));
}

#[test]
fn python_that_never_flushed_has_its_output_kept() {
    if !Need::Python.is_there() {
        return;
    }
    let mut runner = Runner::start();
    let code = "import time\nprint('unflushed')\nopen('printed', 'w')\ntime.sleep(987)";
    let ran = runner.ran(RunSpec { timeout_ms: 3000, ..block("python", code) });
    assert_eq!(ran.status_and_stdout(), (Status::TimedOut, "unflushed\n".into()));
}

#[test]
fn a_deadline_of_no_time_at_all_ends_the_block_at_once() {
    let mut runner = Runner::start();
    let ran = runner.ran(RunSpec { timeout_ms: 0, ..sh("sleep 987") });
    assert_eq!(ran.status(), Status::TimedOut);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_deadline_beyond_what_a_clock_can_show_never_comes() {
    let mut runner = Runner::start();
    for timeout_ms in [u64::MAX, u64::MAX / 1_000_000, i64::MAX as u64, u64::from(u32::MAX)] {
        let ran = runner.ran(RunSpec { timeout_ms, ..sh("echo ok") });
        assert_eq!(ran.status_and_stdout(), (exited(0), "ok\n".into()));
    }
}

#[test]
fn each_of_many_blocks_has_its_own_deadline() {
    let mut runner = Runner::start();
    let patient = runner.run(sh(format!("{}; echo patient", until_file("go"))));
    let hasty: Vec<_> = (0..6)
        .map(|number| {
            let code = format!("echo {number}; sleep 987");
            runner.run(RunSpec { timeout_ms: 1500 - 100 * number, ..sh(code) })
        })
        .collect();
    for (number, run) in hasty.into_iter().enumerate() {
        let ran = runner.finished(run);
        assert_eq!(ran.status_and_stdout(), (Status::TimedOut, format!("{number}\n")));
    }
    runner.touch("go");
    assert_eq!(runner.finished(patient).status_and_stdout(), (exited(0), "patient\n".into()));
}

#[test]
fn a_block_that_stopped_its_own_process_is_ended_too() {
    let mut runner = Runner::start();
    let ran = runner.ran(soon_out_of_time(sh("echo first; kill -STOP $$; echo never")));
    assert_eq!(ran.status_and_stdout(), (Status::TimedOut, "first\n".into()));
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_block_that_closed_its_output_is_still_waited_for() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("echo first; exec >&- 2>&-; sleep 0.2; exit 5"));
    assert_eq!(ran.status_and_stdout(), (exited(5), "first\n".into()));
    let ran = runner.ran(soon_out_of_time(sh("exec >&- 2>&-; sleep 987")));
    assert_eq!((ran.status(), ran.bytes(Stream::Stderr)), (Status::TimedOut, vec![]));
}

#[test]
fn an_exit_code_of_124_is_the_blocks_own() {
    let mut runner = Runner::start();
    assert_eq!(runner.ran(sh("exit 124")).status(), exited(124));
    assert_eq!(runner.ran(sh("kill -INT $$")).status(), Status::Signaled { signal: 2 });
}
