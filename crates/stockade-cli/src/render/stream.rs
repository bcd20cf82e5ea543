//! One of the two streams on which a block's output is passed on. Owns the difference between a terminal, which
//! is shielded from control sequences, and everything else, which gets every byte as it is.

use std::io::{self, IsTerminal, Write};

use crate::{error::Error, terminal::TerminalFilter};

/// Stdout or stderr, as blocks write to it.
pub(super) struct BlockStream {
    name: &'static str,
    target: Box<dyn Write + Send>,
    filter: Option<TerminalFilter>,
    /// Bytes of the current block that have come through here.
    passed: u64,
    in_line: bool,
}

impl BlockStream {
    pub(super) fn stdout() -> Self {
        Self::new("stdout", Box::new(io::stdout()), io::stdout().is_terminal())
    }

    pub(super) fn stderr() -> Self {
        Self::new("stderr", Box::new(io::stderr()), io::stderr().is_terminal())
    }

    fn new(name: &'static str, target: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        let filter = is_terminal.then(TerminalFilter::default);
        Self { name, target, filter, passed: 0, in_line: false }
    }

    /// Passes on what the block printed.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.passed += bytes.len() as u64;
        match &mut self.filter {
            Some(filter) => {
                let kept = filter.filter(bytes);
                self.write(&kept)
            }
            None => self.write(bytes),
        }
    }

    /// Passes on what is missing after what has been passed on, and gives how many bytes are missing for good.
    /// `kept` is all that the block printed, or the beginning and the end of it with a mark in between.
    pub(super) fn catch_up(&mut self, kept: &[u8]) -> Result<usize, Error> {
        let passed = usize::try_from(self.passed).unwrap_or(usize::MAX);
        let Some(gap) = Gap::find(kept) else {
            self.pass(kept.get(passed..).unwrap_or_default())?;
            return Ok(0);
        };
        self.pass(kept.get(passed..gap.start).unwrap_or_default())?;
        let gap_end = gap.start.saturating_add(gap.bytes);
        let missing = gap_end.saturating_sub(passed.max(gap.start));
        if missing > 0 {
            self.pass(mark(missing).as_bytes())?;
        }
        let known = passed.saturating_sub(gap_end);
        self.pass(kept.get(gap.end + known..).unwrap_or_default())?;
        Ok(missing)
    }

    /// Ends the block's output: its colours and its unfinished sequences don't reach what follows.
    pub(super) fn end_block(&mut self) -> Result<(), Error> {
        self.passed = 0;
        if let Some(filter) = &mut self.filter
            && std::mem::take(filter).is_styled()
        {
            let in_line = self.in_line;
            self.write(b"\x1b[0m")?;
            self.in_line = in_line;
        }
        Ok(())
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether the last line is unfinished.
    pub(super) fn is_in_line(&self) -> bool {
        self.in_line
    }

    /// Somebody else has ended the line.
    pub(super) fn line_ended(&mut self) {
        self.in_line = false;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(last) = bytes.last() else { return Ok(()) };
        self.in_line = *last != b'\n';
        let written = self.target.write_all(bytes).and_then(|()| self.target.flush());
        written.map_err(|source| Error::Unwritable { stream: self.name, source })
    }
}

/// Where the library dropped output, as the last mark of the kept output says. A block can print such a mark too:
/// it then garbles its own output here, and nothing else.
struct Gap {
    start: usize,
    end: usize,
    bytes: usize,
}

impl Gap {
    fn find(kept: &[u8]) -> Option<Self> {
        let (open, close) = ("\n[… ".as_bytes(), " bytes dropped …]\n".as_bytes());
        let start = kept.windows(open.len()).rposition(|part| part == open)?;
        let text = &kept[start + open.len()..];
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let bytes = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
        text[digits..].starts_with(close).then_some(Self {
            start,
            end: start + open.len() + digits + close.len(),
            bytes,
        })
    }
}

/// The library's mark for dropped output.
pub(super) fn mark(bytes: impl std::fmt::Display) -> String {
    format!("\n[… {bytes} bytes dropped …]\n")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stream(is_terminal: bool) -> (BlockStream, Sink) {
        let sink = Sink::default();
        (BlockStream::new("stdout", Box::new(sink.clone()), is_terminal), sink)
    }

    #[test]
    fn pipe_gets_every_byte() {
        let (mut stream, sink) = stream(false);
        stream.pass(b"\x1b]0;x\x07\xff\0\x1b[31m").expect("a sink takes all");
        stream.end_block().expect("a sink takes all");
        assert_eq!(*sink.0.lock().expect("not poisoned"), b"\x1b]0;x\x07\xff\0\x1b[31m");
    }

    fn caught_up(passed: &str, kept: &str) -> (String, usize) {
        let (mut stream, sink) = stream(false);
        stream.pass(passed.as_bytes()).expect("a sink takes all");
        let missing = stream.catch_up(kept.as_bytes()).expect("a sink takes all");
        (String::from_utf8(sink.0.lock().expect("not poisoned").clone()).expect("text"), missing)
    }

    #[test]
    fn pipe_that_fell_behind_gets_the_rest() {
        assert_eq!(caught_up("abc", "abcdef"), ("abcdef".into(), 0));
        assert_eq!(caught_up("abc", "abc"), ("abc".into(), 0));
        assert_eq!(caught_up("", "\n[… "), ("\n[… ".into(), 0));
    }

    #[test]
    fn pipe_that_fell_behind_too_far_gets_a_mark_and_the_end() {
        let kept = "abc\n[… 9 bytes dropped …]\nxyz";
        assert_eq!(caught_up("ab", kept), (kept.into(), 9));
        assert_eq!(caught_up("abcdefg", kept), ("abcdefg\n[… 5 bytes dropped …]\nxyz".into(), 5));
        assert_eq!(caught_up("abcdefghijklxy", kept), ("abcdefghijklxyz".into(), 0));
        let forged = format!("\n[… {} bytes dropped …]\nxyz", usize::MAX);
        assert!(caught_up("abc", &forged).0.ends_with("dropped …]\nxyz"));
    }

    #[test]
    fn colours_of_a_block_end_with_it_on_a_terminal() {
        let (mut stream, sink) = stream(true);
        stream.pass(b"\x1b[31mred\n\x1b]0;unfinished").expect("a sink takes all");
        stream.end_block().expect("a sink takes all");
        assert!(!stream.is_in_line());
        stream.pass(b"next").expect("a sink takes all");
        stream.end_block().expect("a sink takes all");
        assert_eq!(*sink.0.lock().expect("not poisoned"), b"\x1b[31mred\n\x1b[0mnext");
        assert!(stream.is_in_line());
    }
}
