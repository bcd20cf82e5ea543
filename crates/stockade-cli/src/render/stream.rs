//! One of the two streams on which a block's output is passed on. Owns the difference between a terminal, which
//! is shielded from control sequences, and everything else, which gets every byte as it is.

use std::io::{self, IsTerminal, Write};

use crate::{error::Error, terminal::TerminalFilter};

/// Stdout or stderr, as blocks write to it.
pub(super) struct BlockStream {
    name: &'static str,
    target: Box<dyn Write + Send>,
    filter: Option<TerminalFilter>,
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
        Self { name, target, filter, in_line: false }
    }

    /// Passes on what the block printed.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.filter {
            Some(filter) => {
                let kept = filter.filter(bytes);
                self.write(&kept)
            }
            None => self.write(bytes),
        }
    }

    /// Ends the block's output: its colours and its unfinished sequences don't reach what follows.
    pub(super) fn end_block(&mut self) -> Result<(), Error> {
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
