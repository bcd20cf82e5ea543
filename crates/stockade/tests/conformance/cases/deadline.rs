//! Line 4: every block has its time, and what it printed until then is kept.

use std::time::{Duration, Instant};

use stockade::{BlockOutcome, CodeBlock, Error, Status};

use crate::{
    harness::{Options, Place, start, start_with},
    support::{output, python, run, sh},
};

every_place!(
    a_block_that_takes_too_long_is_ended_and_keeps_its_output,
    python_that_never_flushed_keeps_its_output,
    a_block_has_a_second_to_end_in_order,
    a_block_that_does_not_heed_its_end_is_killed,
    a_block_that_is_busy_or_stopped_is_ended,
    each_block_of_a_call_has_the_whole_time,
    a_call_can_have_a_timeout_of_its_own,
    a_timeout_that_is_none_is_refused,
    a_session_goes_on_after_a_timeout,
);

const SHORT: Duration = Duration::from_secs(1);

/// What the contract allows a call beyond its deadline, and what a busy machine may add.
const AFTER: Duration = Duration::from_secs(2 + 8);

/// Runs a block that must time out, and gives its outcome.
async fn time_out(place: &dyn Place, block: CodeBlock) -> BlockOutcome {
    let session = start_with(place, Options { timeout: Some(SHORT), ..Options::default() }).await;
    let started = Instant::now();
    let mut result = run(&session, &[block, sh("touch it_ran")]).await;
    assert!(started.elapsed() < SHORT + AFTER, "{:?}", started.elapsed());
    assert_eq!((result.exit_code, result.blocks.len()), (124, 1), "{}", result.output);
    let outcome = result.blocks.remove(0);
    assert_eq!((outcome.status, outcome.exit_code, outcome.signal), (Status::TimedOut, 124, None));
    assert!(outcome.duration >= SHORT, "{:?}", outcome.duration);
    assert!(outcome.output.text().contains("Timeout"), "{}", outcome.output);
    outcome
}

async fn a_block_that_takes_too_long_is_ended_and_keeps_its_output(place: &dyn Place) {
    let outcome = time_out(place, sh("printf partial; echo error >&2; echo x > file; sleep 600")).await;
    assert_eq!((outcome.stdout.text(), outcome.stderr.text()), ("partial".into(), "error\n".into()));
    assert_eq!(outcome.files.iter().map(|file| file.path.to_str()).collect::<Vec<_>>(), [Some("file")]);
}

async fn python_that_never_flushed_keeps_its_output(place: &dyn Place) {
    let code = "import sys, time\nprint('one')\nsys.stdout.write('two')\ntime.sleep(600)";
    assert_eq!(time_out(place, python(code)).await.stdout.text(), "one\ntwo");
}

async fn a_block_has_a_second_to_end_in_order(place: &dyn Place) {
    let outcome = time_out(place, sh("trap 'echo last words; exit 0' TERM\nsleep 600 & wait")).await;
    assert_eq!(outcome.stdout.text(), "last words\n");
}

async fn a_block_that_does_not_heed_its_end_is_killed(place: &dyn Place) {
    let code = "trap 'echo no' TERM INT HUP\necho up\nwhile :; do sleep 0.1; done";
    assert!(time_out(place, sh(code)).await.stdout.text().starts_with("up\n"));
}

async fn a_block_that_is_busy_or_stopped_is_ended(place: &dyn Place) {
    assert_eq!(time_out(place, sh("echo busy; while :; do :; done")).await.stdout.text(), "busy\n");
    assert_eq!(time_out(place, sh("echo stopped; kill -STOP $$")).await.stdout.text(), "stopped\n");
}

async fn each_block_of_a_call_has_the_whole_time(place: &dyn Place) {
    let timeout = Some(Duration::from_millis(2500));
    let session = start_with(place, Options { timeout, ..Options::default() }).await;
    let result = run(&session, &[sh("sleep 1; echo 1"), sh("sleep 1; echo 2"), sh("sleep 1; echo 3")]).await;
    assert_eq!((result.exit_code, result.output.as_str()), (0, "1\n2\n3\n"));
}

async fn a_call_can_have_a_timeout_of_its_own(place: &dyn Place) {
    let session = start_with(place, Options { timeout: Some(SHORT), ..Options::default() }).await;
    let blocks = [sh("sleep 1.5; echo done")];
    let patient = session.call(&blocks[..]).timeout(Duration::from_secs(60)).run().await.expect("it runs");
    assert_eq!((patient.exit_code, patient.output.as_str()), (0, "done\n"));
    assert_eq!(run(&session, &blocks).await.exit_code, 124, "the next call has the executor's again");
}

async fn a_timeout_that_is_none_is_refused(place: &dyn Place) {
    let session = start(place).await;
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let refused = place.executor(Options { timeout: Some(timeout), ..Options::default() });
        assert!(matches!(refused, Err(Error::InvalidOption { option: "timeout", .. })), "{refused:?}");
        let refused = session.call(vec![sh("echo ran")]).timeout(timeout).run().await;
        assert!(matches!(refused, Err(Error::InvalidOption { option: "timeout", .. })), "{refused:?}");
    }
    let long = session.call(vec![sh("echo ran")]).timeout(Duration::from_secs(365 * 24 * 3600)).run().await;
    assert_eq!(long.expect("a year is a time").output, "ran\n");
}

async fn a_session_goes_on_after_a_timeout(place: &dyn Place) {
    let session = start(place).await;
    let late = session.call(vec![sh("echo kept > file; sleep 600")]).timeout(SHORT).run().await;
    assert_eq!(late.expect("it runs").exit_code, 124);
    assert_eq!(output(&session, sh("cat file")).await, "kept\n");
}
