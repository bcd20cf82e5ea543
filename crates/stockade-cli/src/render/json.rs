//! JSON for machines. Owns the lines of `jsonl` and the object of `json`; their contents are the library's
//! events and the report.

use std::io::{self, Write};

use serde::Serialize;
use stockade::{BlockOutcome, Event};

use crate::{
    error::Error,
    report::{FailureReport, Report},
};

/// A line of `jsonl` that is not one of the library's events.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    contents: T,
}

pub(super) fn event(event: &Event) -> Result<(), Error> {
    print(event)
}

/// The last line of a run.
pub(super) fn last_line(event: &str, report: &Report) -> Result<(), Error> {
    print(&Line { event, contents: report })
}

pub(super) fn object(report: &Report) -> Result<(), Error> {
    print(report)
}

pub(super) fn failure(error: &Error, finished: &[BlockOutcome]) -> Result<(), Error> {
    print(&FailureReport::new(error, finished))
}

pub(super) fn failure_line(error: &Error, finished: &[BlockOutcome]) -> Result<(), Error> {
    print(&Line { event: "failed", contents: FailureReport::new(error, finished) })
}

/// Prints a value as one line of JSON to stdout.
pub(crate) fn print(value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::from).map_err(unwritable)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(unwritable)
}

fn unwritable(source: io::Error) -> Error {
    Error::Unwritable { stream: "stdout", source }
}
