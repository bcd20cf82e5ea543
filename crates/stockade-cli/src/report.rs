//! The result of a whole run, and its JSON. A run is one call of the library, or several when --confirm asks in
//! between; here they become one result again. The shape of the JSON is fixed, others build on it.

use std::path::PathBuf;

use serde::{Serialize, Serializer};
use stockade::{BlockOutcome, CommandLineCodeResult, SessionInfo};

use crate::error::Error;

/// What came of all blocks.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Of the last block that was run; 0 when none was.
    pub(crate) exit_code: i32,
    /// What all blocks printed.
    pub(crate) output: String,
    /// The file of the first block.
    #[serde(serialize_with = "as_text")]
    pub(crate) code_file: Option<PathBuf>,
    /// Where the blocks ran, and what was enforced.
    pub(crate) session: SessionInfo,
    /// One for each block that was reached.
    pub(crate) blocks: Vec<BlockOutcome>,
}

impl Report {
    /// The report of a session in which nothing has run.
    pub(crate) fn new(session: SessionInfo) -> Self {
        Self { exit_code: 0, output: String::new(), code_file: None, session, blocks: Vec::new() }
    }

    /// Adds the result of a call, whose blocks stand in the run from `first` on.
    pub(crate) fn add(&mut self, result: CommandLineCodeResult, first: usize) {
        if !result.blocks.is_empty() {
            self.exit_code = result.exit_code;
        }
        self.output.push_str(&result.output);
        self.code_file = self.code_file.take().or(result.code_file);
        self.add_blocks(result.blocks, first);
    }

    /// Adds what had finished in a call that failed.
    pub(crate) fn add_blocks(&mut self, blocks: Vec<BlockOutcome>, first: usize) {
        self.blocks.extend(blocks.into_iter().map(|mut block| {
            block.index += first;
            block
        }));
    }
}

/// A failure of Stockade's own, with what had finished before it.
#[derive(Debug, Serialize)]
pub(crate) struct FailureReport<'a> {
    error: Failure,
    blocks: &'a [BlockOutcome],
}

#[derive(Debug, Serialize)]
struct Failure {
    kind: &'static str,
    message: String,
    hint: Option<String>,
}

impl<'a> FailureReport<'a> {
    /// The report of `error`, after `blocks`.
    pub(crate) fn new(error: &Error, blocks: &'a [BlockOutcome]) -> Self {
        Self { error: Failure { kind: error.kind(), message: error.message(), hint: error.hint() }, blocks }
    }
}

/// A path need not be text, and JSON must be.
fn as_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}
