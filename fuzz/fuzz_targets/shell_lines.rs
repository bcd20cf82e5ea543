//! Shell lines in Python against any bytes: lines keep their numbers, and only those that start with `!`, and
//! those that they join to themselves, change.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_runner::shell_lines::rewrite;

fuzz_target!(|code: &[u8]| {
    let rewritten = rewrite(code);
    let (before, after) = (lines(code), lines(&rewritten));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || after.is_empty() || after.ends_with(b"\"})"), "{}", before.escape_ascii());
    }
    assert_eq!(rewrite(&rewritten), rewritten);
});

/// The lines as Python has them: `\n`, `\r\n` and `\r` end one.
fn lines(code: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = code;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix(b"\r\n").unwrap_or(&rest[end + 1..]);
    }
    lines.push(rest);
    lines
}
