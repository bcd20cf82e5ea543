//! Sessions live on a thread of their own: no runtime of the caller's is needed, and none that is blocked, gone or
//! forgotten disturbs them.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use stockade::{
    Call, CancellationToken, Error, Event, Events, LocalCommandLineCodeExecutor, RestartableExecutor,
    Session, Status,
};

use crate::{
    probe::{builder, start},
    support::{PATIENCE, output, run, sh},
};

#[test]
fn any_executor_of_futures_will_do() {
    pollster::block_on(async {
        let session = start(builder()).await;
        assert_eq!(output(&session, sh("echo hello")).await, "hello\n");
        let late = session.call(vec![sh("echo partial; sleep 600")]).timeout(Duration::from_millis(500));
        let late = late.run().await.expect("it runs");
        assert_eq!(
            (late.blocks[0].status, late.blocks[0].stdout.text()),
            (Status::TimedOut, "partial\n".into())
        );
        let token = CancellationToken::new();
        let call = session.call(vec![sh("echo ready; sleep 600")]).cancellation_token(&token);
        let mut events = call.events().expect("the call is valid");
        let mut status = None;
        while let Some(event) = events.next().await {
            match event.expect("Stockade does its part") {
                Event::Output { .. } => token.cancel(),
                Event::Finished(result) => status = Some(result.blocks[0].status),
                _ => {}
            }
        }
        assert_eq!(status, Some(Status::Cancelled));
        session.put_file("file", "x").await.expect("it is saved");
        assert!(!session.languages().await.expect("it answers").is_empty());
        session.stop().await.expect("it stops");
    });
}

#[test]
fn any_executor_will_do_for_a_virtual_environment_and_for_what_is_wrong_with_it() {
    let parent = tempfile::tempdir().expect("a directory can be made");
    fs::write(parent.path().join("notes.txt"), "mine").expect("it is written");
    let executor = builder().virtual_env(parent.path()).build().expect("the options are valid");
    let error = pollster::block_on(executor.start()).expect_err("it is no environment");
    assert!(error.to_string().contains("neither a virtual environment nor an empty directory"), "{error}");
}

/// Blocks the thread until a file is there.
fn block_until_there(path: &std::path::Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {}", path.display());
        thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_blocked_runtime_does_not_hold_up_a_session() {
    let session = start(builder()).await;
    // Nobody on this runtime reads what it prints, tells it that we live, or minds its deadline.
    let code = "head -c 10000000 /dev/zero; sleep 3; touch finished";
    let mut events = session.call(vec![sh(code)]).events().expect("the call is valid");
    let started = events.next().await;
    assert!(matches!(started, Some(Ok(Event::BlockStarted { .. }))), "{started:?}");
    block_until_there(&session.work_dir().join("finished"));
    let mut result = None;
    while let Some(event) = events.next().await {
        if let Event::Finished(finished) = event.expect("Stockade does its part") {
            result = Some(finished);
        }
    }
    assert_eq!(result.expect("the last event").exit_code, 0);
    assert_eq!(run(&session, &[sh("echo goes on")]).await.output, "goes on\n");
}

#[test]
fn a_session_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let session = runtime().block_on(start(builder()));
    for number in 0..3 {
        let printed = runtime().block_on(output(&session, sh(format!("echo {number}"))));
        assert_eq!(printed, format!("{number}\n"));
    }
    runtime().block_on(session.stop()).expect("it stops");
}

#[test]
fn a_session_can_be_dropped_where_there_is_no_runtime() {
    let session = pollster::block_on(start(builder()));
    let work_dir = session.work_dir().to_owned();
    thread::spawn(move || drop(session)).join().expect("no panic");
    let started = Instant::now();
    while work_dir.exists() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for the end of the workspace");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sessions_and_calls_go_to_any_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_send<T: Send>() {}
    is_send_and_sync::<Session>();
    is_send_and_sync::<LocalCommandLineCodeExecutor>();
    is_send_and_sync::<RestartableExecutor>();
    is_send_and_sync::<Error>();
    is_send::<Call<'static>>();
    is_send::<Events>();
}
