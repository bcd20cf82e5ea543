//! Line 14: an error is a failure of Stockade's. It says what was tried, why it failed and what to do, and carries
//! what had become of the blocks before.

use stockade::{CancellationToken, CodeBlock, Error, Fault};

use crate::{
    harness::{Options, Place, start},
    support::{Running, output, sh},
};

every_place!(
    a_block_that_is_too_large_is_an_error_with_the_blocks_before,
    a_call_after_the_end_is_an_error_that_says_so,
    an_executor_that_was_stopped_says_so_and_starts_again,
    starting_and_stopping_twice_is_harmless,
);

async fn a_block_that_is_too_large_is_an_error_with_the_blocks_before(place: &dyn Place) {
    let session = start(place).await;
    let blocks = [sh("echo one"), sh("echo two"), sh(vec![b' '; 65 << 20]), sh("touch it_ran")];
    let error = session.execute_code_blocks(&blocks, &CancellationToken::new()).await.expect_err("too large");
    assert!(matches!(error, Error::BlockTooLarge { index: 2, .. }), "{error:?}");
    let finished: Vec<_> = error.finished_blocks().iter().map(|block| block.output.text()).collect();
    assert_eq!(finished, ["one\n", "two\n"]);
    assert!(error.to_string().starts_with("failed to send block 2"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(output(&session, sh("ls it_ran 2>/dev/null || echo none")).await, "none\n");
}

async fn a_call_after_the_end_is_an_error_that_says_so(place: &dyn Place) {
    let session = start(place).await;
    let (late, events) = (session.call(vec![sh(":")]), session.call(vec![sh(":")]));
    session.stop().await.expect("it stops");
    for error in [late.run().await, Running::new(events).end().await].map(|result| result.expect_err("ended"))
    {
        assert!(matches!(error, Error::SessionEnded { fault: Fault::Stopped, .. }), "{error:?}");
        assert_eq!(error.to_string(), "failed to run the blocks: the session was stopped");
        assert_eq!((error.kind(), error.hint().as_deref()), ("session_ended", Some("start a new session")));
    }
}

/// The facade that is started, stopped and restarted in place.
fn restartable(place: &dyn Place) -> stockade::RestartableExecutor {
    let executor = place.executor(Options::default()).expect("the options are valid");
    stockade::RestartableExecutor::new(executor)
}

async fn an_executor_that_was_stopped_says_so_and_starts_again(place: &dyn Place) {
    let (executor, token) = (restartable(place), CancellationToken::new());
    let blocks = [CodeBlock::new("sh", "echo hello; touch file; ls")];
    let before = executor.execute_code_blocks(&blocks, &token).await;
    assert!(matches!(before, Err(Error::NotStarted)), "{before:?}");
    executor.start().await.expect("it starts");
    let result = executor.execute_code_blocks(&blocks, &token).await.expect("it runs");
    assert!(result.output.starts_with("hello\nfile\n"), "{}", result.output);
    executor.restart().await.expect("it restarts");
    assert_eq!(executor.execute_code_blocks(&blocks, &token).await.expect("it runs").exit_code, 0);
    executor.stop().await.expect("it stops");
    let after = executor.execute_code_blocks(&blocks, &token).await.expect_err("stopped");
    assert_eq!((after.kind(), after.hint().as_deref()), ("not_started", Some("call `start` first")));
}

async fn starting_and_stopping_twice_is_harmless(place: &dyn Place) {
    let executor = restartable(place);
    executor.stop().await.expect("there is nothing to stop");
    executor.start().await.expect("it starts");
    let first = executor.session().await.expect("it has started");
    executor.start().await.expect("it has started already");
    let second = executor.session().await.expect("it has started");
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    executor.stop().await.expect("it stops");
    executor.stop().await.expect("there is nothing to stop");
    assert!(executor.session().await.is_none());
    executor.restart().await.expect("it starts");
    executor.stop().await.expect("it stops");
}
