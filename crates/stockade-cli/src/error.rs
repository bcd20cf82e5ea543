//! What can go wrong with the command itself, and every exit status that is not a result's own. What the code
//! of a block did is never an error.

use std::{io, path::PathBuf};

/// The command was called in a way that makes no sense; clap exits with the same.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Stockade itself failed (`EX_SOFTWARE` of sysexits.h).
pub(crate) const EXIT_FAILURE: u8 = 70;
/// The run was cancelled, or was left from the prompt of --confirm.
pub(crate) const EXIT_CANCELLED: u8 = 125;
/// Nobody reads stdout any more: what a shell reports for a program that SIGPIPE ended.
pub(crate) const EXIT_BROKEN_PIPE: u8 = 128 + 13;

/// The exit status for a result's exit code. What doesn't fit into a status must not come out as success.
pub(crate) fn exit_status(exit_code: i32) -> u8 {
    u8::try_from(exit_code).unwrap_or(1)
}

/// Why the command can't do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// An input that can't be read.
    #[error("failed to read {}: {source}", path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        source: io::Error,
    },
    /// Standard input can't be read.
    #[error("failed to read stdin: {source}")]
    UnreadableStdin { source: io::Error },
    /// `-` was given more than once.
    #[error("`-` was given twice, but stdin can be read only once")]
    StdinTwice,
    /// The ending of a file names no language that runs.
    #[error("failed to tell the language of {}", path.display())]
    UnknownEnding {
        /// As given.
        path: PathBuf,
    },
    /// None of the Markdown inputs has a block to run.
    #[error("no code blocks in {}", inputs.join(", "))]
    NoBlocks {
        /// Their names.
        inputs: Vec<String>,
        /// What was left out of them, and why.
        notes: Vec<String>,
    },
    /// --confirm has nobody to ask.
    #[error("failed to open a terminal for --confirm: {source}")]
    NoTerminal { source: io::Error },
    /// The terminal of --confirm went away.
    #[error("failed to ask on the terminal: {source}")]
    Terminal { source: io::Error },
    /// What the blocks print can't be passed on.
    #[error("failed to write to {stream}: {source}")]
    Unwritable {
        /// `stdout` or `stderr`.
        stream: &'static str,
        source: io::Error,
    },
    /// The command's own threads can't be started.
    #[error("failed to start the threads of this command: {source}")]
    Threads { source: io::Error },
    /// A signal came before the first block.
    #[error("cancelled before the first block was run")]
    Cancelled,
    /// A flag's value that no executor can be given.
    #[error("failed to configure the executor: --{flag} {why}")]
    InvalidFlag {
        /// Without its dashes.
        flag: String,
        /// What is wrong with its value, a fragment that follows the flag.
        why: String,
    },
    /// The library failed.
    #[error(transparent)]
    Stockade(#[from] stockade::Error),
}

impl Error {
    /// Why an executor could not be made of the flags, in the flags' words.
    pub(crate) fn refused(error: stockade::Error) -> Self {
        match error {
            stockade::Error::InvalidOption { option, why } => {
                let flag = match option {
                    "container_name" => "name",
                    "cpu_time" | "open_files" | "file_size" => "ulimit",
                    option => option,
                };
                Error::InvalidFlag { flag: flag.replace('_', "-"), why }
            }
            error => error.into(),
        }
    }

    /// Why there is no such sandbox.
    pub(crate) fn sandbox(why: String) -> Self {
        Error::InvalidFlag { flag: "sandbox".to_owned(), why }
    }

    /// A stable word for `--json`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Error::Unreadable { .. } | Error::UnreadableStdin { .. } => "input_unreadable",
            Error::StdinTwice => "usage",
            Error::UnknownEnding { .. } => "unknown_file_ending",
            Error::NoBlocks { .. } => "no_code_blocks",
            Error::NoTerminal { .. } => "no_terminal",
            Error::Terminal { .. } => "terminal_lost",
            Error::Unwritable { .. } => "output_unwritable",
            Error::Threads { .. } => "no_threads",
            Error::Cancelled => "cancelled",
            Error::InvalidFlag { .. } => "invalid_option",
            Error::Stockade(error) => error.kind(),
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Unreadable { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                "give the files in it, for example with a pattern of the shell: DIR/*.md"
            }
            Error::Unreadable { .. } => "check the path and its permissions",
            Error::UnreadableStdin { .. } => "give a file, or connect something to stdin",
            Error::StdinTwice => "give `-` once",
            Error::UnknownEnding { .. } => {
                "name it with -l LANGUAGE (`stockade languages` lists them), or use an ending such as .py or .md"
            }
            Error::NoBlocks { notes, .. } if !notes.is_empty() => return Some(notes.join("; ")),
            Error::NoBlocks { .. } => "a block is fenced by ``` or ~~~ and names its language: ```python",
            Error::NoTerminal { .. } => "run it in a terminal, or leave out --confirm",
            Error::Terminal { .. } | Error::Threads { .. } | Error::Cancelled | Error::InvalidFlag { .. } => {
                return None;
            }
            Error::Unwritable { .. } => "check where the output goes: is the disk full?",
            Error::Stockade(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }

    /// The exit status that stands for it.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Error::Unreadable { .. }
            | Error::UnreadableStdin { .. }
            | Error::StdinTwice
            | Error::UnknownEnding { .. }
            | Error::NoBlocks { .. }
            | Error::NoTerminal { .. }
            | Error::InvalidFlag { .. } => EXIT_USAGE,
            Error::Cancelled => EXIT_CANCELLED,
            Error::Unwritable { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                EXIT_BROKEN_PIPE
            }
            Error::Terminal { .. }
            | Error::Unwritable { .. }
            | Error::Threads { .. }
            | Error::Stockade(_) => EXIT_FAILURE,
        }
    }

    /// Whether to say nothing: whoever stopped reading stdout wants to hear no more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Unwritable { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What was tried, and all that it failed for.
    pub(crate) fn message(&self) -> String {
        match self {
            Error::Stockade(error) => error.message(),
            error => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_that_does_not_fit_is_not_success() {
        assert_eq!([0, 1, 255, 256, -1].map(exit_status), [0, 1, 255, 1, 1]);
    }

    #[test]
    fn value_that_no_executor_can_be_given_is_wrong_usage_of_its_flag() {
        let refused =
            |option| Error::refused(stockade::Error::InvalidOption { option, why: "is odd".into() });
        assert_eq!(refused("pids_limit").message(), "failed to configure the executor: --pids-limit is odd");
        assert_eq!(refused("container_name").message(), "failed to configure the executor: --name is odd");
        assert_eq!(refused("memory").exit_status(), EXIT_USAGE);
        assert_eq!(Error::refused(stockade::Error::NotStarted).exit_status(), EXIT_FAILURE);
    }

    #[test]
    fn message_says_what_was_tried_and_why_it_failed() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = Error::Unreadable { path: "no.md".into(), source };
        assert_eq!(error.message(), "failed to read no.md: entity not found");
    }
}
