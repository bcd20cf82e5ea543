//! What happens during a call, as it happens.

use std::path::PathBuf;

use serde::Serialize;

use crate::{BlockOutcome, CommandLineCodeResult, Output, Stream};

/// Something that happened during a call. As JSON each has its name in the field `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A block's process runs. A block that gets no process has no such event.
    BlockStarted {
        /// The block's place in the call, from 0.
        index: usize,
        /// The canonical name of its language.
        language: String,
        /// The absolute path of its file.
        #[serde(serialize_with = "crate::outcome::as_text")]
        code_file: PathBuf,
    },
    /// A block printed something.
    Output {
        /// The block's place in the call.
        index: usize,
        /// Which stream.
        stream: Stream,
        /// What was read. A character is never divided between two events, unless its bytes came late.
        data: Output,
    },
    /// The listener was slower than the block, and this much of its output was left out of the events here. The
    /// outcome is not affected.
    OutputLost {
        /// The block's place in the call.
        index: usize,
        /// How much.
        bytes: u64,
    },
    /// A block ended.
    BlockFinished(BlockOutcome),
    /// The call ended: the last event.
    Finished(CommandLineCodeResult),
}
