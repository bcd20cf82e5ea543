//! The ends of sessions, in every order: nothing is left of any.

use std::time::{Duration, Instant};

use stockade::{Error, Fault, Status};

use crate::{
    probe::{builder, children, ended, runner, start},
    support::{
        Running, eventually, need, outcome, output, patiently, python,
        respawn::{Respawned, is_respawned},
        sh,
    },
};

#[tokio::test]
async fn stop_gives_the_calls_that_are_under_way_as_cancelled() {
    let session = start(builder()).await;
    let mut calls = Vec::new();
    for number in 0..5 {
        let code = format!("# filename: {number}.sh\necho ready; sleep 600");
        calls.push(Running::until(session.call(vec![sh(code), sh(":")]), "ready").await);
    }
    let mut waiting = Running::new(session.call(vec![sh("# filename: 0.sh\necho its turn")]));
    assert!(tokio::time::timeout(Duration::from_millis(1), waiting.next()).await.is_err(), "it waits");
    let unasked = Running::new(session.call(vec![sh("echo its turn")]));
    let (runner, started) = (runner(&session).await, Instant::now());
    session.stop().await.expect("everything could be ended");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    ended(runner).await;
    for call in calls {
        let result = call.result().await;
        assert_eq!((result.blocks.len(), result.exit_code), (1, 125));
        assert_eq!(result.blocks[0].status, Status::Cancelled);
        assert_eq!(result.blocks[0].stdout.text(), "ready\n");
    }
    let waiting = waiting.result().await;
    assert_eq!((waiting.blocks[0].status, &waiting.code_file), (Status::Cancelled, &None));
    // It had not been sent when the session ended, for nobody had asked for its events.
    let late = unasked.end().await.expect_err("the session has ended");
    assert!(matches!(late, Error::SessionEnded { fault: Fault::Stopped, .. }), "{late:?}");
}

#[tokio::test]
async fn dropping_a_session_ends_its_calls() {
    let session = start(builder()).await;
    let running = Running::until(session.call(vec![sh("echo ready; sleep 600")]), "ready").await;
    let runner = runner(&session).await;
    drop(session);
    let error = running.end().await.expect_err("the session has ended");
    assert!(matches!(error, Error::SessionEnded { fault: Fault::Stopped, .. }), "{error:?}");
    ended(runner).await;
}

#[tokio::test]
async fn a_stop_that_is_dropped_ends_the_session_all_the_same() {
    let session = start(builder()).await;
    output(&session, sh("trap '' TERM; sleep 600 &")).await;
    let (runner, work_dir) = (runner(&session).await, session.work_dir().to_owned());
    let mut stop = Box::pin(session.stop());
    // Polled once, then dropped.
    let begun = tokio::time::timeout(Duration::ZERO, &mut stop).await;
    drop((begun, stop));
    ended(runner).await;
    eventually("the end of the workspace", || (!work_dir.exists()).then_some(())).await;
}

#[tokio::test]
async fn no_process_is_left_however_sessions_end() {
    if !is_respawned() {
        return Respawned::new("stopping::no_process_is_left_however_sessions_end").succeed();
    }
    let executor = builder().build().expect("the options are valid");
    for patience in [0, 1, 2, 5, 10, 20, 50] {
        // Dropped at some point of its start.
        let _ = tokio::time::timeout(Duration::from_millis(patience), executor.start()).await;
    }
    for _ in 0..10 {
        let session = executor.start().await.expect("it starts");
        output(&session, sh("sleep 600 & echo x")).await;
        drop(session);
    }
    let session = executor.start().await.expect("it starts");
    drop(session.call(vec![sh("sleep 600")]).events().expect("the call is valid"));
    patiently("the end", session.stop()).await.expect("it stops");
    eventually("the end of all children", || children().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_temporary_work_dir_goes_however_deep_the_code_has_made_it() {
    if !need::has_program("python", "python3", &["-c", ""]) {
        return;
    }
    let session = start(builder()).await;
    let work_dir = session.work_dir().to_owned();
    let code =
        "import os\nfor _ in range(20000):\n    os.mkdir('d'); os.chdir('d')\nopen('end', 'w').close()";
    assert_eq!(outcome(&session, python(code)).await.exit_code, 0);
    session.stop().await.expect("it stops");
    assert!(!work_dir.exists());
}
