//! What is kept and told of a block's output: all bytes as they are, in order, within a bound that is exact,
//! and live while the block runs.

use serde_bytes::ByteBuf;
use stockade_runner::{
    outcome::Status,
    wire::message::{Piece, Reply, RunSpec, Stream},
};

use crate::harness::{Runner, exited, sh, soon_out_of_time, until_file};

fn data(stream: Stream, bytes: impl AsRef<[u8]>) -> Piece {
    Piece::Data(stream, ByteBuf::from(bytes.as_ref()))
}

#[test]
fn of_too_much_output_head_and_tail_are_kept_and_the_rest_is_counted() {
    let mut runner = Runner::start();
    // Lines of eight bytes, ten million bytes in all.
    let ran = runner.ran(RunSpec { output_limit: 1000, ..sh("seq 1000000 2249999; echo err >&2") });
    let lines = |from: u32| (from..).flat_map(|number| format!("{number}\n").into_bytes());
    let head: Vec<u8> = lines(1_000_000).take(500).collect();
    let tail: Vec<u8> = lines(2_249_937).skip(4).take(500).collect();
    assert!(tail.ends_with(b"\n2249999\n"));
    assert_eq!(ran.bytes(Stream::Stdout), [head, tail].concat());
    let dropped = ran.pieces.iter().filter(|piece| matches!(piece, Piece::Dropped(..)));
    assert_eq!(dropped.collect::<Vec<_>>(), [&Piece::Dropped(Stream::Stdout, 9_999_000)]);
    assert_eq!(ran.stderr(), "err\n", "each stream has its own bound");
}

#[test]
fn output_of_exactly_the_limit_is_kept_whole() {
    let mut runner = Runner::start();
    for (printed, dropped) in [(999, 0), (1000, 0), (1001, 1)] {
        let code = format!("head -c {printed} /dev/zero | tr '\\0' x");
        let ran = runner.ran(RunSpec { output_limit: 1000, ..sh(code) });
        assert_eq!(ran.stdout(), "x".repeat(printed.min(1000)));
        let counts: Vec<&Piece> =
            ran.pieces.iter().filter(|piece| matches!(piece, Piece::Dropped(..))).collect();
        let expected = Piece::Dropped(Stream::Stdout, dropped);
        assert_eq!(counts, if dropped > 0 { vec![&expected] } else { vec![] });
    }
}

#[test]
fn with_a_limit_of_nothing_everything_is_counted() {
    let mut runner = Runner::start();
    let ran = runner.ran(RunSpec { output_limit: 0, ..sh("printf 12345; printf 123 >&2") });
    let mut pieces = ran.pieces;
    pieces.sort_by_key(|piece| matches!(piece, Piece::Dropped(Stream::Stderr, _)));
    assert_eq!(pieces, [Piece::Dropped(Stream::Stdout, 5), Piece::Dropped(Stream::Stderr, 3)]);
}

#[test]
fn the_order_of_the_streams_is_that_in_which_they_were_written() {
    let mut runner = Runner::start();
    let (one, two) = (until_file("one"), until_file("two"));
    let code = format!("echo a; {one}; echo b >&2; {two}; echo c; echo d");
    let run = runner.run(RunSpec { live: true, ..sh(code) });
    // Each is read before the next is written.
    for (wanted, go) in [("a\n", "one"), ("b\n", "two")] {
        runner.wait_for(wanted, |reply| {
            matches!(reply, Reply::Live { data, .. } if data.as_slice() == wanted.as_bytes()).then_some(())
        });
        runner.touch(go);
    }
    let ran = runner.finished(run);
    assert_eq!(ran.bytes(Stream::Stdout), b"a\nc\nd\n");
    let first = [data(Stream::Stdout, "a\n"), data(Stream::Stderr, "b\n")];
    assert_eq!(ran.pieces[..2], first);
    assert_eq!(ran.live, b"a\nb\nc\nd\n");
}

#[test]
fn merged_streams_are_in_their_exact_order() {
    let mut runner = Runner::start();
    let code = "i=0; while [ $i -lt 500 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done";
    let ran = runner.ran(RunSpec { merge_streams: true, live: true, ..sh(code) });
    let expected: String = (0..500).map(|number| format!("out{number}\nerr{number}\n")).collect();
    assert_eq!((ran.stdout(), ran.stderr()), (expected.clone(), String::new()));
    assert_eq!(ran.live, expected.into_bytes());
}

#[test]
fn streams_that_are_not_merged_stay_apart() {
    let mut runner = Runner::start();
    let ran = runner.ran(sh("echo out; echo err >&2"));
    assert_eq!((ran.stdout().as_str(), ran.stderr().as_str()), ("out\n", "err\n"));
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let mut runner = Runner::start();
    // The second character was cut in two, and the code is no text either.
    let ran = runner.ran(sh(b"printf '\\377\\000\\303\\251\\303'; printf '\xff\xfe' >&2"));
    assert_eq!(ran.bytes(Stream::Stdout), b"\xff\0\xc3\xa9\xc3");
    assert_eq!(ran.bytes(Stream::Stderr), b"\xff\xfe");
}

#[test]
fn a_block_that_prints_nothing_has_no_output() {
    let mut runner = Runner::start();
    let ran = runner.ran(RunSpec { live: true, ..sh("true") });
    assert_eq!((ran.status(), ran.pieces, ran.live), (exited(0), vec![], vec![]));
}

#[test]
fn blocks_that_print_without_end_hold_up_no_other_and_are_ended() {
    let mut runner = Runner::start();
    let floods: Vec<_> =
        (0..4).map(|number| runner.run(soon_out_of_time(sh(format!("yes {number}"))))).collect();
    assert_eq!(runner.ran(sh("echo ok")).status_and_stdout(), (exited(0), "ok\n".into()));
    for (number, run) in floods.into_iter().enumerate() {
        let ran = runner.finished(run);
        assert_eq!(ran.status(), Status::TimedOut);
        let kept = ran.bytes(Stream::Stdout);
        assert_eq!((kept.len(), kept[0]), (1 << 20, b'0' + number as u8));
    }
}

#[test]
fn the_runner_does_not_grow_with_what_a_block_prints() {
    const PRINTED: u64 = 1 << 30;
    let mut runner = Runner::start();
    let ran = runner.ran(sh(format!("head -c {PRINTED} /dev/zero")));
    assert_eq!((ran.status(), ran.stdout().len()), (exited(0), 1 << 20));
    let dropped = ran.pieces.iter().filter(|piece| matches!(piece, Piece::Dropped(..)));
    assert_eq!(dropped.collect::<Vec<_>>(), [&Piece::Dropped(Stream::Stdout, PRINTED - (1 << 20))]);
    let peak = runner.peak_memory();
    assert!(peak < 32 << 20, "{peak}");
}
