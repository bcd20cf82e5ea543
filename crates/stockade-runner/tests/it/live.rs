//! Output while the block runs: how much of it is on its way at once, and who waits when the host does not
//! take it.

use stockade_runner::{
    outcome::Status,
    wire::message::{LIVE_WINDOW, Reply, Request, RunId, RunSpec, Stream},
};

use crate::harness::{Ran, Runner, exited, sh, soon_out_of_time, until_file};

#[test]
fn live_output_comes_while_the_block_runs() {
    let mut runner = Runner::start();
    let run =
        runner.run(RunSpec { live: true, ..sh(format!("echo first; {}; echo last", until_file("go"))) });
    runner.wait_for("the first line", |reply| match reply {
        Reply::Live { run: of, stream: Stream::Stdout, data, lost: 0 } if *of == run => {
            (data.as_slice() == b"first\n").then_some(())
        }
        _ => None,
    });
    runner.touch("go");
    let ran = runner.finished(run);
    assert_eq!((ran.live.as_slice(), ran.live_lost), (&b"first\nlast\n"[..], 0));
    assert_eq!(ran.stdout(), "first\nlast\n");
}

#[test]
fn there_is_no_live_output_unless_it_was_asked_for() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("echo first"));
    assert_eq!((ran.stdout().as_str(), ran.live.as_slice()), ("first\n", &b""[..]));
}

#[test]
fn live_output_that_a_host_does_not_read_is_lost_and_counted_and_holds_nobody_up() {
    const PRINTED: u64 = 64 << 20;
    let mut runner = Runner::start();
    let code = format!("head -c {PRINTED} /dev/zero; echo done > done");
    let run = runner.run(RunSpec { live: true, ..sh(code) });
    runner.file("done");
    let ran = runner.finished(run);
    assert!(ran.live_lost > 0);
    assert_eq!(ran.live.len() as u64 + ran.live_lost, PRINTED);
    assert!(ran.live.iter().all(|&byte| byte == 0));
    let kept = ran.bytes(Stream::Stdout);
    assert_eq!((ran.status(), kept.len()), (exited(0), 1 << 20), "the result loses nothing to it");
}

// Blocks that wait for the host.

/// More than the window and the largest pipe hold.
const MUCH: u64 = 8 << 20;

/// A block that prints much, and waits for the host to take it.
fn waiting_for_host() -> RunSpec {
    let code = format!("head -c {MUCH} /dev/zero; echo done > done; setsid sleep 987 &");
    RunSpec { live: true, backpressure: true, output_limit: 2 * MUCH, ..sh(code) }
}

/// Takes live output until so much has come.
fn take(runner: &mut Runner, wanted: RunId, length: u64) {
    let mut taken = 0;
    runner.wait_for("so much live output", |reply| match reply {
        Reply::Live { run, data, lost: 0, .. } if *run == wanted => {
            taken += data.len() as u64;
            (taken >= length).then_some(())
        }
        _ => None,
    });
}

#[test]
fn a_block_that_waits_for_its_host_prints_on_when_the_host_has_taken_what_came() {
    let mut runner = Runner::start();
    let run = runner.run(waiting_for_host());
    take(&mut runner, run, LIVE_WINDOW);
    runner.round_trip();
    assert!(!runner.path("done").exists(), "nobody took the rest");
    for taken in 2..=MUCH / LIVE_WINDOW {
        runner.send(&Request::Credit { run, bytes: LIVE_WINDOW });
        take(&mut runner, run, taken * LIVE_WINDOW);
    }
    let ran = runner.finished(run);
    assert_eq!((ran.status(), ran.live.len() as u64, ran.live_lost), (exited(0), MUCH, 0));
    assert_eq!(ran.bytes(Stream::Stdout), ran.live);
}

#[test]
fn a_block_that_ends_while_it_waits_loses_nothing() {
    let mut runner = Runner::start();
    // What is over the window fits into the pipe.
    let code = format!("head -c {} /dev/zero; echo end", LIVE_WINDOW + 30_000);
    let run = runner.run(RunSpec { live: true, backpressure: true, output_limit: MUCH, ..sh(code) });
    let ran = runner.finished(run);
    assert_eq!((ran.status(), ran.live.len() as u64, ran.live_lost), (exited(0), LIVE_WINDOW + 30_004, 0));
    assert_eq!(ran.bytes(Stream::Stdout), ran.live);
}

/// It has printed the window, and what its pipe held when it was ended.
#[track_caller]
fn assert_ended_while_it_waited(runner: &Runner, ran: &Ran, status: Status) {
    assert_eq!((ran.status(), ran.live_lost), (status, 0));
    let printed = ran.live.len() as u64;
    assert!((LIVE_WINDOW..=3 * LIVE_WINDOW).contains(&printed), "{printed}");
    assert_eq!(ran.bytes(Stream::Stdout), ran.live);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_block_that_waits_for_its_host_is_ended_at_its_deadline() {
    let mut runner = Runner::start();
    let ran = runner.ran(soon_out_of_time(waiting_for_host()));
    assert_ended_while_it_waited(&runner, &ran, Status::TimedOut);
}

#[test]
fn a_block_that_waits_for_its_host_is_cancelled() {
    let mut runner = Runner::start();
    let run = runner.run(waiting_for_host());
    take(&mut runner, run, LIVE_WINDOW);
    runner.send(&Request::Cancel { run });
    let ran = runner.finished(run);
    assert_ended_while_it_waited(&runner, &ran, Status::Cancelled);
}

#[test]
fn a_block_that_waits_for_its_host_ends_with_it() {
    let mut runner = Runner::start();
    let run = runner.run(waiting_for_host());
    take(&mut runner, run, LIVE_WINDOW);
    runner.hang_up();
    runner.exit();
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_block_that_waits_for_its_host_holds_up_no_other() {
    let mut runner = Runner::start();
    let run = runner.run(waiting_for_host());
    take(&mut runner, run, LIVE_WINDOW);
    let ran = runner.ran(RunSpec { live: true, ..sh("echo other") });
    assert_eq!(ran.status_and_stdout(), (exited(0), "other\n".into()));
    runner.send(&Request::Credit { run, bytes: u64::MAX });
    runner.send(&Request::Credit { run, bytes: u64::MAX });
    assert_eq!(runner.finished(run).live.len() as u64, MUCH);
    for run in [run, 12345, u64::MAX] {
        runner.send(&Request::Credit { run, bytes: 1 });
    }
    assert_eq!(runner.ran(sh("echo next")).status_and_stdout(), (exited(0), "next\n".into()));
}

#[test]
fn what_a_block_left_behind_does_not_wait_for_the_host() {
    let mut runner = Runner::start();
    let later = format!("({}; head -c {MUCH} /dev/zero; touch printed) & echo done", until_file("go"));
    let full = format!("head -c {LIVE_WINDOW} /dev/zero; {later}");
    for code in [later, full] {
        let ran = runner.ran(RunSpec { live: true, backpressure: true, ..sh(code) });
        assert!(ran.stdout().ends_with("done\n"));
        runner.touch("go");
        runner.file("printed");
        runner.ran(sh("rm go printed"));
    }
}
