//! Line 11: calls that run at the same time don't disturb each other, in one session or in two that share their
//! work_dir.

use std::time::Duration;

use stockade::{CodeBlock, Session};
use tokio::task::JoinSet;

use crate::{
    harness::{Options, Place, start, start_with},
    support::{Running, output, run, sh, wait_for_file},
};

every_place!(
    many_calls_run_at_the_same_time,
    a_call_waits_for_the_file_that_another_runs,
    the_deadline_of_a_call_that_waited_starts_when_it_runs,
    identical_calls_share_their_file,
    sessions_that_share_a_work_dir_wait_for_each_others_files,
    sessions_that_share_a_work_dir_share_identical_code,
    sessions_have_workspaces_of_their_own,
);

async fn many_calls_run_at_the_same_time(place: &dyn Place) {
    const CALLS: usize = 12;
    let session = start(place).await;
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        // Each waits until all of them are there: one after the other they would never end.
        let code = format!(
            "touch here_{number}\nuntil [ $(ls here_* | wc -l) -eq {CALLS} ]; do sleep 0.02; done\n\
             echo {number}; echo error {number} >&2; exit {number}"
        );
        let call = session.call(vec![sh(code)]);
        calls.spawn(async move { (number, call.run().await.expect("it runs")) });
    }
    while let Some(done) = calls.join_next().await {
        let (number, result) = done.expect("no panic");
        let outcome = &result.blocks[0];
        assert_eq!(outcome.exit_code, number as i32, "{}", outcome.output);
        assert_eq!(outcome.stdout.text(), format!("{number}\n"));
        assert_eq!(outcome.stderr.text(), format!("error {number}\n"));
    }
}

/// Runs `one.sh` until told `go`, and says what is in it at the end.
fn holder() -> CodeBlock {
    sh(format!("# filename: one.sh\necho holder\n{}grep -c holder one.sh", wait_for_file("go")))
}

const SUCCESSOR: &str = "# filename: one.sh\n[ -e go ] && echo its turn";

/// The second session's call waits while the first's runs the file of the same name.
async fn assert_waits(first: &Session, second: &Session) {
    let holder = Running::until(first.call(vec![holder()]), "holder").await;
    let successor = tokio::spawn(second.call(vec![sh(SUCCESSOR)]).run());
    // Calls that name other files don't wait, and while some have passed by the successor has not.
    for number in 0..5 {
        output(second, sh(format!("# filename: other_{number}.sh\n:"))).await;
        output(second, sh(format!(": {number}"))).await;
    }
    assert!(!successor.is_finished());
    first.put_file("go", "").await.expect("it is saved");
    let (held, waited) = (holder.result().await, successor.await.expect("no panic").expect("it runs"));
    assert_eq!((held.exit_code, held.output.lines().next()), (0, Some("holder")));
    // The code mentions the word twice: it still was the holder's own.
    assert_eq!(held.output.lines().last(), Some("2"));
    assert_eq!((waited.exit_code, waited.output.as_str()), (0, "its turn\n"));
}

async fn a_call_waits_for_the_file_that_another_runs(place: &dyn Place) {
    let session = start(place).await;
    assert_waits(&session, &session).await;
}

async fn the_deadline_of_a_call_that_waited_starts_when_it_runs(place: &dyn Place) {
    let session = start(place).await;
    let holder = sh("# filename: one.sh\necho ready; sleep 2.2");
    let holder = Running::until(session.call(vec![holder]), "ready").await;
    let waiting = session.call(vec![sh("# filename: one.sh\necho in time")]);
    let result = waiting.timeout(Duration::from_secs(2)).run().await.expect("it runs");
    assert_eq!((result.exit_code, result.output.as_str()), (0, "in time\n"));
    assert_eq!(holder.result().await.exit_code, 0);
}

/// Identical calls of both sessions run at the same time, and none takes the file from another that runs on.
async fn assert_shared(first: &Session, second: &Session) {
    // Whoever makes the directory is the first, and waits to the end; the others end at once.
    let code = format!(
        "if mkdir first 2>/dev/null; then echo first\n{}cat \"$0\" > copy; else echo other; fi",
        wait_for_file("go")
    );
    let running = Running::until(first.call(vec![sh(code.as_str())]), "first").await;
    for session in [first, second, first, second] {
        assert_eq!(output(session, sh(code.as_str())).await, "other\n");
    }
    first.put_file("go", "").await.expect("it is saved");
    assert_eq!(running.result().await.exit_code, 0);
    assert_eq!(output(first, sh("cat copy")).await, code);
    assert_eq!(output(first, sh("ls tmp_code_* | wc -l")).await.trim(), "1", "that of the list itself");
}

async fn identical_calls_share_their_file(place: &dyn Place) {
    let session = start_with(place, Options::cleaning_up()).await;
    assert_shared(&session, &session).await;
}

/// Two sessions in one directory of this host.
async fn neighbours(place: &dyn Place) -> Option<(tempfile::TempDir, Session, Session)> {
    if !place.offers().shared_work_dir {
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory can be made");
    let options = || Options { work_dir: Some(directory.path().to_owned()), ..Options::cleaning_up() };
    let (first, second) = (start_with(place, options()).await, start_with(place, options()).await);
    Some((directory, first, second))
}

async fn sessions_that_share_a_work_dir_wait_for_each_others_files(place: &dyn Place) {
    let Some((_directory, first, second)) = neighbours(place).await else { return };
    assert_waits(&first, &second).await;
}

async fn sessions_that_share_a_work_dir_share_identical_code(place: &dyn Place) {
    let Some((_directory, first, second)) = neighbours(place).await else { return };
    assert_shared(&first, &second).await;
}

async fn sessions_have_workspaces_of_their_own(place: &dyn Place) {
    let (first, second) = (start(place).await, start(place).await);
    run(&first, &[sh("touch mine")]).await;
    assert_eq!(output(&second, sh("ls mine 2>/dev/null || echo none")).await, "none\n");
    first.stop().await.expect("it stops");
    assert_eq!(output(&second, sh("echo goes on")).await, "goes on\n");
}
