//! What `run` prints, in each format. Owns the choice between them; stdout carries only what was asked for,
//! and everything that Stockade has to say besides goes to stderr.

mod json;
mod stream;
mod summary;
mod text;

use std::io::Write;

use anstyle::{AnsiColor, Style};
use stockade::{BlockOutcome, Event};

pub(crate) use json::print as print_json;

use crate::{args::Format, error::Error, input::SourcedBlock, report::Report, terminal::visible};

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Prints events and the end of a run.
pub(crate) enum Renderer {
    /// For people.
    Text(Box<text::Text>),
    /// One object at the end.
    Json,
    /// One event a line.
    Jsonl,
}

impl Renderer {
    /// The renderer of a format.
    pub(crate) fn new(format: Format) -> Self {
        match format {
            Format::Text => Renderer::Text(Box::default()),
            Format::Json => Renderer::Json,
            Format::Jsonl => Renderer::Jsonl,
        }
    }

    /// Takes note of what is to be run, and of whether its files outlive the run.
    pub(crate) fn plan(&mut self, blocks: &[SourcedBlock], files_stay: bool) {
        if let Renderer::Text(text) = self {
            text.plan(blocks, files_stay);
        }
    }

    /// Prints something that happened; block numbers count through the run.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), Error> {
        match self {
            Renderer::Text(text) => text.event(event),
            Renderer::Json => Ok(()),
            Renderer::Jsonl => json::event(event),
        }
    }

    /// Prints the end of a run that Stockade carried out.
    pub(crate) fn finish(&mut self, report: &Report) -> Result<(), Error> {
        match self {
            Renderer::Text(text) => {
                text.finish(report);
                Ok(())
            }
            Renderer::Json => json::object(report),
            Renderer::Jsonl => json::last_line("finished", report),
        }
    }

    /// Prints why Stockade failed, and for machines what had finished before.
    pub(crate) fn fail(&mut self, error: &Error, finished: &[BlockOutcome]) {
        if error.is_broken_pipe() {
            return;
        }
        // The error is on stderr in any case: a stdout that can't be written to changes nothing about it.
        let _ = match self {
            Renderer::Text(text) => {
                text.interrupt();
                Ok(())
            }
            Renderer::Json => json::failure(error, finished),
            Renderer::Jsonl => json::failure_line(error, finished),
        };
        show_error(error);
    }
}

/// Prints text to stdout, coloured when that is a terminal.
pub(crate) fn print_text(text: &str) -> Result<(), Error> {
    let mut stdout = anstream::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    printed.map_err(|source| Error::Unwritable { stream: "stdout", source })
}

/// The exit status of a command that only prints, after saying why it failed.
pub(crate) fn status(printed: Result<(), Error>) -> u8 {
    match printed {
        Ok(()) => 0,
        Err(error) => {
            if !error.is_broken_pipe() {
                show_error(&error);
            }
            error.exit_status()
        }
    }
}

/// Prints an error and what to do about it.
fn show_error(error: &Error) {
    message("error", ERROR, &error.message());
    if let Some(hint) = error.hint() {
        message("hint", HINT, &hint);
    }
}

/// Prints something that is worth knowing and stops nothing.
pub(crate) fn show_warning(text: &str) {
    message("warning", WARNING, text);
}

/// Prints something that may explain what follows.
pub(crate) fn show_note(text: &str) {
    message("note", BOLD, text);
}

fn message(label: &str, style: Style, text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(anstream::stderr(), "{style}{label}:{style:#} {}", paragraph(text));
}

/// Text that may have several lines. All but the first are indented, so that none passes for a message of
/// ours.
fn paragraph(text: &str) -> String {
    const INDENT: &str = "  ";
    let line = |line: &str| {
        let indent = if line.starts_with(INDENT) || line.is_empty() { "" } else { INDENT };
        format!("{indent}{}", visible(line))
    };
    let mut lines = text.trim_end().lines();
    let first = lines.next().map(|line| visible(line).into_owned());
    first.into_iter().chain(lines.map(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_message_passes_for_another() {
        assert_eq!(paragraph("one\x07"), "one\\u{7}");
        assert_eq!(paragraph("one\n  two\n\nhint: three\n"), "one\n  two\n\n  hint: three");
    }
}
