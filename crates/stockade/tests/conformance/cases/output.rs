//! Line 8: output is bytes of any kind and any amount.

use stockade::{CodeBlock, Error};

use crate::{
    harness::{Options, Place, start, start_with},
    support::{outcome, python, run, sh},
};

every_place!(
    what_is_not_text_is_kept_as_bytes_and_shown_as_text,
    both_streams_are_apart_and_in_order_together,
    merged_streams_have_their_exact_order,
    streams_can_be_merged_for_one_call,
    what_is_beyond_the_limit_is_dropped_from_the_middle_and_counted,
    what_just_fits_is_kept_whole,
    a_limit_of_nothing_keeps_nothing,
    a_limit_beyond_all_bounds_is_refused,
    a_mebibyte_of_each_stream_is_kept_by_default,
    a_block_can_print_any_amount,
    empty_output_is_empty,
);

/// Writes to either stream, and goes on when that has been read: so the order of reading is known.
const IN_ORDER: &str = r"
import fcntl, os, struct, termios, time
def write(stream, data):
    os.write(stream, data)
    while struct.unpack('i', fcntl.ioctl(stream, termios.FIONREAD, b'    '))[0]:
        time.sleep(0.001)
";

fn in_order(rest: &str) -> CodeBlock {
    python(format!("{IN_ORDER}{rest}"))
}

async fn what_is_not_text_is_kept_as_bytes_and_shown_as_text(place: &dyn Place) {
    let session = start(place).await;
    let outcome = outcome(&session, sh(r"printf 'caf\351 \000\n\342\202'")).await;
    assert_eq!(outcome.stdout.as_bytes(), b"caf\xe9 \0\n\xe2\x82");
    assert_eq!(outcome.stdout.text(), "caf\u{fffd} \0\n\u{fffd}");
    assert_eq!(outcome.exit_code, 0);
}

async fn both_streams_are_apart_and_in_order_together(place: &dyn Place) {
    let session = start(place).await;
    let code = "for number in range(20): write(1 + number % 2, b'%d\\n' % number)";
    let outcome = outcome(&session, in_order(code)).await;
    let numbers = |step| (0..20).step_by(step).map(|number| format!("{number}\n"));
    assert_eq!(outcome.output.text(), numbers(1).collect::<String>());
    assert_eq!(outcome.stdout.text(), numbers(2).collect::<String>());
    assert_eq!(outcome.stderr.text(), (1..20).step_by(2).map(|n| format!("{n}\n")).collect::<String>());
}

/// Writes to both streams by turns as fast as it can.
const BY_TURNS: &str = "import os\nfor number in range(2000): os.write(1 + number % 2, b'%d\\n' % number)";

fn by_turns() -> String {
    (0..2000).map(|number| format!("{number}\n")).collect()
}

async fn merged_streams_have_their_exact_order(place: &dyn Place) {
    let session = start_with(place, Options { merge_streams: Some(true), ..Options::default() }).await;
    let outcome = outcome(&session, python(BY_TURNS)).await;
    assert_eq!((outcome.stdout.text().as_ref(), outcome.stderr.is_empty()), (by_turns().as_str(), true));
    assert_eq!(outcome.output, outcome.stdout);
}

async fn streams_can_be_merged_for_one_call(place: &dyn Place) {
    let session = start(place).await;
    let merged = session.call(vec![python(BY_TURNS)]).merge_streams(true).run().await.expect("it runs");
    assert_eq!((merged.output, merged.blocks[0].stderr.is_empty()), (by_turns(), true));
    let apart = run(&session, &[python(BY_TURNS)]).await;
    assert!(!apart.blocks[0].stderr.is_empty());
}

async fn limited(place: &dyn Place, bytes: u64) -> stockade::Session {
    start_with(place, Options { output_limit: Some(bytes), ..Options::default() }).await
}

async fn what_is_beyond_the_limit_is_dropped_from_the_middle_and_counted(place: &dyn Place) {
    let session = limited(place, 1000).await;
    let code = "import os\nfor letter in b'abcdefghij': os.write(1, bytes([letter]) * 1000)\n\
        os.write(2, b'short')";
    let outcome = outcome(&session, python(code)).await;
    let (head, tail) = ("a".repeat(500), "j".repeat(500));
    assert_eq!(outcome.stdout.text(), format!("{head}\n[\u{2026} 9000 bytes dropped \u{2026}]\n{tail}"));
    assert_eq!((outcome.stderr.text().as_ref(), outcome.dropped_bytes), ("short", 9000));
    assert!(outcome.output.text().contains("9000 bytes dropped"));
    assert_eq!(outcome.exit_code, 0);
}

async fn what_just_fits_is_kept_whole(place: &dyn Place) {
    let session = limited(place, 1000).await;
    let code = "import os\nos.write(1, b'o' * 1000)\nos.write(2, b'e' * 1000)";
    let outcome = outcome(&session, python(code)).await;
    assert_eq!((outcome.stdout.text(), outcome.dropped_bytes), ("o".repeat(1000).into(), 0));
    assert_eq!(outcome.stderr.text(), "e".repeat(1000));
}

async fn a_limit_of_nothing_keeps_nothing(place: &dyn Place) {
    let session = limited(place, 0).await;
    let outcome = outcome(&session, sh("echo hello; echo oh >&2; exit 3")).await;
    assert_eq!((outcome.exit_code, outcome.dropped_bytes), (3, 9));
    assert!(outcome.stdout.text().contains("6 bytes dropped"), "{}", outcome.stdout);
}

async fn a_limit_beyond_all_bounds_is_refused(place: &dyn Place) {
    let refused = place.executor(Options { output_limit: Some(u64::MAX), ..Options::default() });
    assert!(matches!(refused, Err(Error::InvalidOption { option: "output_limit", .. })), "{refused:?}");
}

async fn a_mebibyte_of_each_stream_is_kept_by_default(place: &dyn Place) {
    let session = start(place).await;
    let code = "import sys\nsys.stdout.write('o' * (3 << 20)); sys.stderr.write('e' * (1 << 20))";
    let outcome = outcome(&session, python(code)).await;
    assert_eq!(outcome.dropped_bytes, 2 << 20);
    assert_eq!(
        outcome.stdout.as_bytes().iter().filter(|&&byte| byte == b'o').count(),
        (1 << 20) + 1,
        "one is the mark's"
    );
    assert_eq!(outcome.stderr.as_bytes().len(), 1 << 20);
}

async fn a_block_can_print_any_amount(place: &dyn Place) {
    let session = limited(place, 4096).await;
    let code = "import os\npiece = b'x' * (1 << 20)\nleft = 64 << 20\n\
        while left: left -= os.write(1, piece[:left])";
    let outcome = outcome(&session, python(code)).await;
    assert_eq!((outcome.exit_code, outcome.dropped_bytes), (0, (64 << 20) - 4096));
}

async fn empty_output_is_empty(place: &dyn Place) {
    let outcome = outcome(&start(place).await, sh(":")).await;
    assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty() && outcome.output.is_empty());
    assert_eq!(outcome.dropped_bytes, 0);
}
