//! What a block that ended by itself left behind: it goes on until the session's end, delays nothing, and is
//! read.

use stockade_runner::{
    outcome::Status,
    wire::message::{Reply, Request, RunId, Stream},
};

use crate::harness::{Runner, exited, sh, soon_out_of_time, until_file, wait_until, wait_until_equal};

#[test]
fn a_process_that_a_block_left_behind_goes_on_until_the_session_ends() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("setsid sleep 987 & echo done"));
    assert_eq!(ran.status_and_stdout(), (exited(0), "done\n".into()));
    let left = left_behind(&runner);
    assert_eq!(runner.ran(soon_out_of_time(sh("sleep 987"))).status(), Status::TimedOut);
    assert_eq!(runner.survivors(), left, "the timeout of another block is not theirs");
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn what_sixteen_blocks_left_behind_survives_the_timeouts_of_sixteen_others() {
    let mut runner = Runner::start();
    let leaving = |number| sh(format!("# {number}\nsleep 987 & (trap '' TERM; sleep 987) & echo done"));
    let leaving: Vec<RunId> = (0..16).map(|number| runner.run(leaving(number))).collect();
    let ending: Vec<RunId> =
        (0..16).map(|number| runner.run(soon_out_of_time(sh(format!("# {number}\nsleep 986"))))).collect();
    for run in leaving {
        assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "done\n".into()));
    }
    for run in ending {
        assert_eq!(runner.finished(run).status(), Status::TimedOut);
    }
    let sleeping =
        |seconds: &str| runner.survivors().iter().filter(|process| process.ends_with(seconds)).count();
    wait_until_equal("what the sixteen left", 32, || sleeping(" sleep 987"));
    assert_eq!(sleeping(" sleep 986"), 0);
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_process_that_holds_the_output_does_not_delay_the_end_of_the_block() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("sleep 987 & echo done; exit 3"));
    assert_eq!(ran.status_and_stdout(), (exited(3), "done\n".into()));
    assert_eq!(runner.survivors().len(), 1);
}

#[test]
fn a_process_that_floods_the_output_does_not_delay_the_end_of_the_block() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("echo first; yes & exit 3"));
    assert_eq!(ran.status(), exited(3));
    assert!(ran.stdout().starts_with("first\n"));
    assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
    assert_eq!(runner.stop(), [0; 0]);
}

/// Waits until the one process that a block left behind is the program that it is to be.
fn left_behind(runner: &Runner) -> Vec<String> {
    wait_until("sleep", || {
        Some(runner.survivors()).filter(|left| left.len() == 1 && left[0].ends_with(": sleep 987"))
    })
}

/// Leaves a process behind that prints when it is told to, more than a pipe holds, and says so afterwards.
const LATE: &str = "; head -c 1000000 /dev/zero && echo late && touch printed; sleep 987) & echo done";

#[test]
fn what_is_printed_after_the_end_of_the_block_is_read_and_counted() {
    let mut runner = Runner::start();
    let run = runner.run(sh(format!("({}{LATE}", until_file("go"))));
    assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "done\n".into()));
    runner.touch("go");
    let (bytes, data) = background(&mut runner, run, 1_000_005);
    assert_eq!((bytes, data.len()), (1_000_005, 0), "nobody asked for what it was");
    runner.file("printed");
}

#[test]
fn what_is_printed_after_the_end_of_the_block_is_shown_to_who_asks() {
    let mut runner = Runner::start();
    runner.send(&Request::WatchBackground);
    let run = runner.run(sh(format!("({}{LATE}", until_file("go"))));
    assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), "done\n".into()));
    runner.touch("go");
    let (bytes, data) = background(&mut runner, run, 1_000_005);
    assert_eq!((bytes, data.len()), (1_000_005, 1_000_005));
    assert!(data.ends_with(b"\0late\n"));
    runner.file("printed");
}

/// Waits for so much background output.
fn background(runner: &mut Runner, wanted: RunId, length: u64) -> (u64, Vec<u8>) {
    let (mut total, mut all) = (0, Vec::new());
    runner.wait_for("all of the late output", |reply| match reply {
        Reply::Background { run, stream: Stream::Stdout, bytes, data } if *run == wanted => {
            total += bytes;
            all.extend_from_slice(data);
            (total >= length).then_some(())
        }
        _ => None,
    });
    (total, all)
}
