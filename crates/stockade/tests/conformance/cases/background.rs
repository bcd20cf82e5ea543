//! Line 6: the exit of a block is not the end of its output. What a block leaves running neither delays its result
//! nor disturbs the next ones, and goes on until the session ends.

use std::time::{Duration, Instant};

use stockade::Session;

use crate::{
    harness::{Options, Place, start, start_with},
    support::{Mark, eventually, outcome, output, patiently, python, run, sh, wait_for_file},
};

every_place!(
    a_process_that_holds_the_pipes_does_not_delay_the_result,
    all_that_was_printed_before_the_exit_is_in_the_result,
    a_background_process_serves_later_blocks,
    what_is_printed_in_the_background_is_read_and_counted,
    what_is_printed_in_the_background_is_in_no_later_result,
    background_output_can_be_watched,
    a_background_process_outlives_the_timeout_and_the_end_of_other_blocks,
);

async fn a_process_that_holds_the_pipes_does_not_delay_the_result(place: &dyn Place) {
    let session = start(place).await;
    let started = Instant::now();
    let outcome = outcome(&session, sh("sleep 600 & sleep 600 >&2 &\necho done")).await;
    assert_eq!((outcome.exit_code, outcome.output.text()), (0, "done\n".into()));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

async fn all_that_was_printed_before_the_exit_is_in_the_result(place: &dyn Place) {
    let session = start(place).await;
    let code = "import os, sys\n\
        if os.fork() == 0:\n    \
            import time; time.sleep(600)\n\
        os.write(1, b'o' * 60_000); os.write(2, b'e' * 60_000)\n\
        os._exit(0)";
    for _ in 0..5 {
        let outcome = outcome(&session, python(code)).await;
        assert_eq!((outcome.stdout.as_bytes().len(), outcome.stderr.as_bytes().len()), (60_000, 60_000));
    }
}

async fn a_background_process_serves_later_blocks(place: &dyn Place) {
    let session = start(place).await;
    let server =
        format!("({}cat question > answer.part; mv answer.part answer) &", wait_for_file("question"));
    output(&session, sh(server)).await;
    let client =
        format!("echo 42 > question.part; mv question.part question\n{}cat answer", wait_for_file("answer"));
    assert_eq!(output(&session, sh(client)).await, "42\n");
}

/// More than a pipe holds.
const MUCH: u64 = 300_000;

/// Leaves a process that prints [`MUCH`] when told `go`, says `finished`, and goes on.
async fn leave_printer(session: &Session) {
    let code = "import os, time\n\
        if os.fork() == 0:\n    \
            while not os.path.exists('go'): time.sleep(0.02)\n    \
            for _ in range(300): os.write(1, b'x' * 1000)\n    \
            open('finished', 'w').close()\n    \
            time.sleep(600)\n\
        os._exit(0)";
    assert_eq!(output(session, python(code)).await, "");
}

async fn what_is_printed_in_the_background_is_read_and_counted(place: &dyn Place) {
    let session = start(place).await;
    leave_printer(&session).await;
    assert_eq!(session.background_bytes(), 0);
    // It finishes only if somebody reads, and only if no SIGPIPE ends it.
    output(&session, sh(format!("touch go\n{}", wait_for_file("finished")))).await;
    eventually("the count", || (session.background_bytes() == MUCH).then_some(())).await;
}

async fn what_is_printed_in_the_background_is_in_no_later_result(place: &dyn Place) {
    let session = start(place).await;
    leave_printer(&session).await;
    let later = format!("echo mine; touch go\n{}echo mine too", wait_for_file("finished"));
    assert_eq!(output(&session, sh(later)).await, "mine\nmine too\n");
}

async fn background_output_can_be_watched(place: &dyn Place) {
    let session = start(place).await;
    leave_printer(&session).await;
    let mut background = session.background_output().expect("the session lives");
    // Requests are taken in order: once this is answered, the one to watch has been taken too.
    session.put_file("go", "").await.expect("it is saved");
    let (mut bytes, mut data) = (0, 0);
    while bytes < MUCH {
        let output = patiently("background output", background.next()).await.expect("there is more");
        assert!(output.data.as_bytes().iter().all(|&byte| byte == b'x'));
        assert!(output.data.as_bytes().len() as u64 <= output.bytes);
        bytes += output.bytes;
        data += output.data.as_bytes().len();
    }
    assert_eq!(bytes, MUCH);
    assert!(data > 0);
    session.stop().await.expect("it stops");
    assert_eq!(patiently("the end", background.next()).await, None);
}

async fn a_background_process_outlives_the_timeout_and_the_end_of_other_blocks(place: &dyn Place) {
    let timeout = Some(Duration::from_secs(1));
    let (session, mark) = (start_with(place, Options { timeout, ..Options::default() }).await, Mark::new());
    let leave = session.call(vec![sh("sleep 600 & sleep 600 &")]).env(mark.name(), mark.value());
    assert_eq!(leave.run().await.expect("it runs").exit_code, 0);
    let results = [run(&session, &[sh("sleep 600")]).await, run(&session, &[sh("exit 1")]).await];
    assert_eq!(results.map(|result| result.exit_code), [124, 1]);
    let look = session.call(vec![mark.look()]).timeout(Duration::from_secs(60));
    assert_eq!(look.run().await.expect("it runs").output.lines().count(), 2);
    if place.offers().processes_on_host {
        mark.count_on_host(2).await;
        session.stop().await.expect("it stops");
        assert_eq!(mark.seen_on_host(), Vec::<String>::new());
    }
}
