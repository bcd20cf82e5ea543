//! Line 7: a cancel ends the run that it was asked for and no other, and keeps what that had printed.

use futures_core::Stream;
use stockade::{CancellationToken, CodeBlock, Session, Status};

use crate::{
    harness::{Place, start},
    support::{Mark, Running, output, patiently, sh, wait_for_file},
};

every_place!(
    a_cancel_keeps_the_partial_output,
    a_cancelled_call_does_not_go_on,
    one_of_ten_identical_calls_is_cancelled,
    a_call_that_was_cancelled_before_it_began_runs_nothing,
    a_cancel_after_the_end_changes_nothing,
    a_call_that_waits_for_a_file_can_be_cancelled,
    dropping_the_future_of_a_call_cancels_it,
    dropping_the_events_of_a_call_cancels_it,
    a_call_that_was_only_made_does_nothing,
);

fn until_go(before: &str, after: &str) -> CodeBlock {
    sh(format!("{before}\n{}{after}", wait_for_file("go")))
}

async fn a_cancel_keeps_the_partial_output(place: &dyn Place) {
    let (session, token) = (start(place).await, CancellationToken::new());
    let block = sh("echo error >&2; echo x > file; echo out; sleep 600");
    let running = Running::until(session.call(vec![block]).cancellation_token(&token), "out").await;
    token.cancel();
    let result = running.result().await;
    let outcome = &result.blocks[0];
    assert_eq!((outcome.status, outcome.exit_code, result.exit_code), (Status::Cancelled, 125, 125));
    assert_eq!((outcome.stdout.text(), outcome.stderr.text()), ("out\n".into(), "error\n".into()));
    assert!(outcome.output.text().contains("Cancelled"), "{}", outcome.output);
    assert_eq!(outcome.files[0].path.to_str(), Some("file"));
}

async fn a_cancelled_call_does_not_go_on(place: &dyn Place) {
    let (session, token) = (start(place).await, CancellationToken::new());
    let blocks = vec![sh("echo one"), sh("echo two; sleep 600"), sh("touch it_ran")];
    let call = session.call(blocks).keep_going(true).cancellation_token(&token);
    let running = Running::until(call, "two").await;
    token.cancel();
    let statuses: Vec<Status> = running.result().await.blocks.iter().map(|block| block.status).collect();
    assert_eq!(statuses, [Status::Exited, Status::Cancelled]);
    assert_eq!(output(&session, sh("ls it_ran 2>/dev/null || echo none")).await, "none\n");
}

async fn one_of_ten_identical_calls_is_cancelled(place: &dyn Place) {
    const CHOSEN: usize = 3;
    let session = start(place).await;
    let tokens: Vec<CancellationToken> = (0..10).map(|_| CancellationToken::new()).collect();
    let mut calls = Vec::new();
    for token in &tokens {
        let call = session.call(vec![until_go("echo ready", "echo done")]).cancellation_token(token);
        calls.push(Running::until(call, "ready").await);
    }
    tokens[CHOSEN].cancel();
    let cancelled = calls.remove(CHOSEN).result().await;
    assert_eq!(cancelled.blocks[0].status, Status::Cancelled);
    assert_eq!(cancelled.blocks[0].stdout.text(), "ready\n");
    session.put_file("go", "").await.expect("it is saved");
    for call in calls {
        let result = call.result().await;
        assert_eq!((result.exit_code, result.output.as_str()), (0, "ready\ndone\n"));
    }
}

async fn a_call_that_was_cancelled_before_it_began_runs_nothing(place: &dyn Place) {
    let (session, token) = (start(place).await, CancellationToken::new());
    token.cancel();
    let blocks = [sh("touch it_ran"), sh("touch it_ran")];
    let result = session.execute_code_blocks(&blocks, &token).await.expect("a cancel is no error");
    assert_eq!((result.exit_code, result.blocks.len()), (125, 1));
    assert_eq!((result.blocks[0].status, &result.code_file), (Status::Cancelled, &None));
    assert_eq!(output(&session, sh("ls it_ran 2>/dev/null || echo none")).await, "none\n");
}

async fn a_cancel_after_the_end_changes_nothing(place: &dyn Place) {
    let (session, token) = (start(place).await, CancellationToken::new());
    let result = session.execute_code_blocks(&[sh("echo done")], &token).await.expect("it runs");
    token.cancel();
    assert_eq!((result.exit_code, result.output.as_str()), (0, "done\n"));
    assert_eq!(output(&session, sh("echo next")).await, "next\n");
}

async fn a_call_that_waits_for_a_file_can_be_cancelled(place: &dyn Place) {
    let (session, token) = (start(place).await, CancellationToken::new());
    let holder = until_go("# filename: one.sh\necho ready", "echo done");
    let holder = Running::until(session.call(vec![holder]), "ready").await;
    let waiting = vec![sh("# filename: one.sh\ntouch it_ran")];
    let waiting = Running::new(session.call(waiting).cancellation_token(&token));
    token.cancel();
    let cancelled = waiting.result().await;
    assert_eq!(cancelled.blocks[0].status, Status::Cancelled);
    session.put_file("go", "").await.expect("it is saved");
    assert_eq!(holder.result().await.output, "ready\ndone\n");
    assert_eq!(output(&session, sh("ls it_ran 2>/dev/null || echo none")).await, "none\n");
}

/// Waits until a marked process of the session runs, or until none does.
async fn wait_until_marked(session: &Session, mark: &Mark, runs: bool) {
    patiently("the marked processes", async { while mark.seen_inside(session).await.is_empty() == runs {} })
        .await;
}

async fn dropping_the_future_of_a_call_cancels_it(place: &dyn Place) {
    let (session, mark) = (start(place).await, Mark::new());
    let call = session.call(vec![sh("trap '' TERM; sleep 600; touch it_ran")]);
    let future = call.env(mark.name(), mark.value()).run();
    tokio::select! {
        result = future => panic!("it goes on: {result:?}"),
        () = wait_until_marked(&session, &mark, true) => {}
    }
    wait_until_marked(&session, &mark, false).await;
    assert_eq!(output(&session, sh("ls it_ran 2>/dev/null || echo none")).await, "none\n");
}

async fn dropping_the_events_of_a_call_cancels_it(place: &dyn Place) {
    let (session, mark) = (start(place).await, Mark::new());
    let call = session.call(vec![sh("echo ready; sleep 600")]).env(mark.name(), mark.value());
    let running = Running::until(call, "ready").await;
    wait_until_marked(&session, &mark, true).await;
    drop(running);
    wait_until_marked(&session, &mark, false).await;
}

async fn a_call_that_was_only_made_does_nothing(place: &dyn Place) {
    fn is_stream(_: &impl Stream) {}
    let session = start(place).await;
    drop(session.call(vec![sh("touch it_ran")]).run());
    let events = session.call(vec![sh("touch it_ran")]).events().expect("the call is valid");
    is_stream(&events);
    drop(events);
    assert_eq!(output(&session, sh("ls it_ran 2>/dev/null || echo none")).await, "none\n");
}
