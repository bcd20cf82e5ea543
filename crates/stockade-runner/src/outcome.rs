//! How one block ended: data, never an error. Owns the statuses and the exit codes that stand for them.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// How one block ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The canonical name, or as asked for when it is unknown.
    pub language: String,
    /// The absolute path of the block's file; `None` when none was saved.
    pub file: Option<ByteBuf>,
    /// What became of it.
    pub status: Status,
    /// A sentence for whoever reads the output: why it was not run, that the time was up.
    pub notice: Option<String>,
    /// From the start of the process to its end, in microseconds.
    pub wall_us: u64,
    /// User and system time of the block's processes that had been waited for at its end, in microseconds.
    pub cpu_us: u64,
    /// The largest resident set of any one of them, in bytes.
    pub max_rss_bytes: u64,
    /// Files that were created or changed while the block ran.
    pub files: Vec<FileChange>,
    /// The scan ran out of its budget: there may be more files.
    pub files_truncated: bool,
    /// Processes that could not be ended; the session is failed then.
    pub survivors: Vec<u32>,
}

impl Outcome {
    /// Of a block that got no process; the notice says why.
    pub fn without_process(language: &str, status: Status, file: Option<ByteBuf>, notice: String) -> Self {
        Self {
            language: language.to_owned(),
            file,
            status,
            notice: Some(notice),
            wall_us: 0,
            cpu_us: 0,
            max_rss_bytes: 0,
            files: Vec::new(),
            files_truncated: false,
            survivors: Vec::new(),
        }
    }
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Its process ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// Its process was ended by a signal that was not ours.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// Its time was up, and it was ended.
    TimedOut,
    /// It was ended on request.
    Cancelled,
    /// The kernel ended it for its memory limit.
    OutOfMemory,
    /// There was no process.
    NotRun {
        /// 0 when it was only to be saved, 1 for a bad name, language or request, 126 and 127 as in a shell.
        code: i32,
    },
}

impl Status {
    /// The exit code that stands for this, as a shell and AutoGen would say it: 124 timed out, 125 cancelled,
    /// 137 out of memory, 128+n for signal n.
    pub fn exit_code(self) -> i32 {
        match self {
            Status::Exited { code } | Status::NotRun { code } => code,
            Status::Signaled { signal } => 128 + signal,
            Status::TimedOut => 124,
            Status::Cancelled => 125,
            Status::OutOfMemory => 137,
        }
    }
}

/// A file that was created or changed while a block ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Relative to the workspace.
    pub path: ByteBuf,
    /// In bytes.
    pub size: u64,
    /// Whether it was there before.
    pub change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// It was not there before.
    Created,
    /// It was there before, or the file system keeps no time of birth.
    Changed,
}
