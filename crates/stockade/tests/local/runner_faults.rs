//! A runner that is killed, or hangs, in the middle of a block: an error that says so, in time; nothing survives;
//! and a new session is all that it takes.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stockade::{CancellationToken, Error, Fault, RestartableExecutor, Session, Status};

use crate::{
    probe::{self, builder, runner, start},
    support::{
        Mark, Running, eventually,
        mark::{ESCAPED, escapes},
        need, outcome, output, python, sh,
    },
};

const LINGER: &str = "ignore_term()\nwhile True: time.sleep(600)";

/// A call whose second block runs on.
async fn under_way(session: &Session, mark: &Mark, timeout: Duration) -> Running {
    let call = session.call(vec![sh("echo first"), escapes(LINGER)]).env(mark.name(), mark.value());
    let running = Running::until(call.timeout(timeout), "ready").await;
    mark.count_on_host(ESCAPED + 1).await;
    running
}

/// The error of a call that was under way, with the outcome of the block that had finished, and that of every
/// later one.
async fn assert_fault(session: Session, running: Running, is_expected: impl Fn(&Fault) -> bool) {
    let error = running.end().await.expect_err("the runner is gone");
    let Error::SessionEnded { fault, finished } = &error else { panic!("{error:?}") };
    assert!(is_expected(fault), "{fault:?}");
    assert_eq!(finished.iter().map(|block| block.output.text()).collect::<Vec<_>>(), ["first\n"]);
    assert!(error.to_string().starts_with("failed to run the blocks: the session's runner"), "{error}");
    let asked = Instant::now();
    let later = session.execute_code_blocks(&[sh(":")], &CancellationToken::new()).await.expect_err("ended");
    assert_eq!((later.to_string(), later.kind()), (error.to_string(), "session_ended"));
    assert!(session.languages().await.is_err() && session.put_file("x", "").await.is_err());
    let stopped = session.stop().await.expect_err("it did not end in order");
    assert_eq!(stopped.to_string(), error.to_string());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_killed_runner_is_an_error_and_takes_everything_with_it() {
    if !need::has_program("python", "python3", &["-c", ""]) {
        return;
    }
    let (session, mark) = (start(builder()).await, Mark::new());
    let (runner, work_dir) = (runner(&session).await, session.work_dir().to_owned());
    let running = under_way(&session, &mark, Duration::from_secs(600)).await;
    probe::signal(runner, Signal::KILL);
    let killed = |fault: &Fault| match fault {
        Fault::RunnerDied { how } => how.as_ref().is_some_and(|how| how.contains("SIGKILL")),
        _ => false,
    };
    assert_fault(session, running, killed).await;
    mark.gone_from_host().await;
    eventually("the end of the workspace", || (!work_dir.exists()).then_some(())).await;
}

#[tokio::test]
async fn a_stopped_runner_is_an_error_by_the_deadline_and_takes_everything_with_it() {
    if !need::has_program("python", "python3", &["-c", ""]) {
        return;
    }
    let (session, mark) = (start(builder()).await, Mark::new());
    let runner = runner(&session).await;
    let timeout = Duration::from_secs(4);
    let running = under_way(&session, &mark, timeout).await;
    probe::signal(runner, Signal::STOP);
    let started = Instant::now();
    assert_fault(session, running, |fault| matches!(fault, Fault::Unresponsive { .. })).await;
    assert!(started.elapsed() < timeout + Duration::from_secs(2 + 14), "{:?}", started.elapsed());
    mark.gone_from_host().await;
    probe::ended(runner).await;
}

#[tokio::test]
async fn a_call_of_a_runner_that_was_stopped_before_it_fails_by_the_deadline() {
    let session = start(builder()).await;
    probe::signal(runner(&session).await, Signal::STOP);
    let started = Instant::now();
    let error = session.call(vec![sh(":")]).timeout(Duration::from_secs(1)).run().await.expect_err("stopped");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::Unresponsive { .. }, .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_session_whose_runner_is_stopped_can_be_stopped() {
    let session = start(builder()).await;
    let runner = runner(&session).await;
    probe::signal(runner, Signal::STOP);
    let error = session.stop().await.expect_err("it did not end in order");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::Unresponsive { .. }, .. }), "{error:?}");
    probe::ended(runner).await;
}

#[tokio::test]
async fn an_executor_whose_runner_is_gone_can_be_restarted() {
    let executor = RestartableExecutor::new(builder().build().expect("the options are valid"));
    let token = CancellationToken::new();
    for signal in [Signal::KILL, Signal::STOP] {
        executor.restart().await.expect("it starts");
        let session = executor.session().await.expect("it has started");
        probe::signal(runner(&session).await, signal);
        let call = session.call(vec![sh("echo lost")]).timeout(Duration::from_millis(500));
        assert!(matches!(call.run().await, Err(Error::SessionEnded { .. })));
        executor.restart().await.expect("it starts again");
        let result = executor.execute_code_blocks(&[sh("echo hello")], &token).await.expect("it runs");
        assert_eq!(result.output, "hello\n");
    }
    executor.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_block_that_kills_its_keeper_ends_and_the_session_goes_on() {
    let (session, mark) = (start(builder()).await, Mark::new());
    let call = session.call(vec![sh("sleep 600 & echo before; kill -KILL $PPID; sleep 600")]);
    let result = call.env(mark.name(), mark.value()).run().await.expect("it runs");
    let outcome_of_it = &result.blocks[0];
    assert_eq!((outcome_of_it.status, outcome_of_it.signal), (Status::Signaled, Some(9)));
    assert_eq!(outcome_of_it.stdout.text(), "before\n");
    assert!(outcome_of_it.output.text().contains("watches over the block"), "{}", outcome_of_it.output);
    mark.gone_from_host().await;
    assert_eq!(outcome(&session, sh("exit 3")).await.exit_code, 3);
    assert_eq!(output(&session, sh("echo goes on")).await, "goes on\n");
}

#[tokio::test]
async fn a_cancel_is_bounded_though_the_runner_is_stopped() {
    let session = start(builder()).await;
    let runner = runner(&session).await;
    let token = CancellationToken::new();
    let call = session.call(vec![sh("echo started; sleep 600")]).timeout(Duration::from_secs(600));
    let running = Running::until(call.cancellation_token(&token), "started").await;
    probe::signal(runner, Signal::STOP);
    let cancelled = Instant::now();
    token.cancel();
    let error = running.end().await.expect_err("nobody ends the block");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::Unresponsive { .. }, .. }), "{error:?}");
    assert!(cancelled.elapsed() < Duration::from_secs(20), "{:?}", cancelled.elapsed());
}

#[tokio::test]
async fn a_block_that_asks_to_be_traced_by_its_keeper_runs_on() {
    if !need::has_program("python", "python3", &["-c", "import ctypes"]) {
        return;
    }
    let session = start(builder()).await;
    let code = "import ctypes, os, signal\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\n\
                os.kill(os.getpid(), signal.SIGCONT)\nprint('goes on')";
    let block = outcome(&session, python(code)).await;
    assert_eq!(
        (block.status, block.exit_code, block.stdout.text().as_ref()),
        (Status::Exited, 0, "goes on\n")
    );
    session.stop().await.expect("it stops");
}
