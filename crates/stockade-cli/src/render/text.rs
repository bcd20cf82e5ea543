//! The text format, for people. Owns the order on the screen: a header before each block's output, its output
//! as it comes, and the summary. Headers and summary go to stderr, so that stdout is the code's alone.

use std::io::Write;

use stockade::{BlockOutcome, Event, Status, Stream};

use super::{DIM, show_warning, stream::BlockStream, summary};
use crate::{error::Error, input::SourcedBlock, report::Report, terminal::visible};

/// Prints a run as text.
pub(crate) struct Text {
    origins: Vec<String>,
    /// The blocks' files outlive the run.
    files_stay: bool,
    stdout: BlockStream,
    stderr: BlockStream,
    /// The block whose header was printed last.
    shown: Option<usize>,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            files_stay: false,
            stdout: BlockStream::stdout(),
            stderr: BlockStream::stderr(),
            shown: None,
        }
    }
}

impl Text {
    pub(super) fn plan(&mut self, blocks: &[SourcedBlock], files_stay: bool) {
        self.files_stay = files_stay;
        self.origins = blocks.iter().map(|block| visible(&block.origin).into_owned()).collect();
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            Event::BlockStarted { index, language, .. } => self.header(*index, language),
            Event::Output { stream, data, .. } => self.stream(*stream).pass(data.as_bytes())?,
            Event::BlockFinished(outcome) => self.end_block(outcome)?,
            _ => {}
        }
        Ok(())
    }

    /// Prints the summary.
    pub(super) fn finish(&mut self, report: &Report) {
        self.interrupt();
        let summary = summary::summary(report, &self.origins, self.files_stay);
        let _ = write!(anstream::stderr(), "{summary}");
    }

    /// Ends an unfinished line, for something else is to be said.
    pub(super) fn interrupt(&mut self) {
        let on_screen = self.stdout.is_terminal() && self.stderr.is_terminal() && self.stdout.is_in_line();
        if on_screen || self.stderr.is_in_line() {
            let _ = writeln!(anstream::stderr());
            self.stdout.line_ended();
            self.stderr.line_ended();
        }
    }

    fn header(&mut self, index: usize, language: &str) {
        self.shown = Some(index);
        let total = self.origins.len();
        if total < 2 {
            return;
        }
        self.interrupt();
        let origin = self.origins.get(index).map_or("", String::as_str);
        let language = visible(language);
        let _ = writeln!(anstream::stderr(), "{DIM}[{}/{total}] {language}  {origin}{DIM:#}", index + 1);
    }

    fn end_block(&mut self, outcome: &BlockOutcome) -> Result<(), Error> {
        if self.shown != Some(outcome.index) {
            self.header(outcome.index, &outcome.language);
        }
        if outcome.status == Status::NotRun {
            // No process printed this: it is what Stockade has to say about the block.
            self.stderr.pass(outcome.output.as_bytes())?;
        }
        self.stdout.end_block()?;
        self.stderr.end_block()?;
        if let Some(notice) = &outcome.files_notice {
            self.interrupt();
            show_warning(notice);
        }
        if let Some(hint) = &outcome.hint {
            self.interrupt();
            let _ = writeln!(anstream::stderr(), "{DIM}hint: {hint}{DIM:#}");
        }
        Ok(())
    }

    fn stream(&mut self, stream: Stream) -> &mut BlockStream {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}
