//! What can go wrong with Stockade itself. What becomes of the code is never an error. Owns the sentences: what
//! was being tried and why it failed; what to do about it is a [`hint`](Error::hint), apart from the failure.

use std::{fmt, io, path::PathBuf, time::Duration};

use stockade_runner::wire::{frame::FrameError, message::Failure};

use crate::{BlockOutcome, runner_image::ImageError};

/// How the hint of every sandbox that can't be had goes on, after what helps at its levels.
pub(crate) const ELSEWHERE: &str = "run the code in a container (`--docker`)";
/// What to do where the machine refuses, and nothing better is known.
pub(crate) const ASK_DOCTOR: &str = "`stockade doctor` shows what this machine allows";

/// A result whose error is Stockade's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Stockade failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option's value can't be used.
    #[error("failed to configure the executor: {option} {why}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What is wrong with its value, a fragment that follows the name.
        why: String,
    },
    /// The workspace can't be used.
    #[error("failed to use {} as the work_dir: {source}", path.display())]
    WorkDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The runner did not start.
    #[error("failed to start the runner: {doing}")]
    RunnerStart {
        /// What was being done, a fragment that follows "failed to".
        doing: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sandbox can't keep what was asked of it on this host.
    #[error("failed to start the sandbox: {why}")]
    Sandbox {
        /// What can't be had, and why; a line for each level that was tried.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// The virtual environment can't be made or used.
    #[error("failed to make the virtual environment {}: {why}", path.display())]
    VirtualEnv {
        /// The directory.
        path: PathBuf,
        /// What was tried, and what it printed.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// The packages of the functions module were not installed.
    #[error("Pip install failed. {output}")]
    PipInstall {
        /// What pip printed, or that it timed out.
        output: String,
    },
    /// The functions module raised an error when it was loaded.
    #[error("Functions failed to load: {output}")]
    FunctionsLoad {
        /// What Python printed.
        output: String,
    },
    /// Modules that were to be preloaded can't be imported.
    #[error("failed to preload the modules: {why}")]
    Preload {
        /// Which one, and what Python says of it.
        why: String,
    },
    /// The session has ended, or ended while the call ran.
    #[error("failed to run the blocks: {fault}")]
    SessionEnded {
        /// Why it ended.
        fault: Fault,
        /// The outcomes of the blocks that had finished.
        finished: Vec<BlockOutcome>,
    },
    /// The runner could not do its part for a block; the session goes on.
    #[error("{failure}")]
    Runner {
        /// What it tried, and why it failed.
        failure: Failure,
        /// The outcomes of the blocks that had finished.
        finished: Vec<BlockOutcome>,
    },
    /// A block's code is larger than a message to the runner can be.
    #[error("failed to send block {index} to the runner: {source}")]
    BlockTooLarge {
        /// Its place in the call, from 0.
        index: usize,
        /// Its size and the limit.
        source: FrameError,
        /// The outcomes of the blocks that had finished.
        finished: Vec<BlockOutcome>,
    },
    /// Files could not be copied between this host and a workspace that it does not share.
    #[error("failed to {doing}: {}: {source}", path.display())]
    Copy {
        /// What was being done, a fragment that follows "failed to".
        doing: String,
        /// The file or directory on this host.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// The outcomes of the blocks that had finished.
        finished: Vec<BlockOutcome>,
    },
    /// No container daemon answered.
    #[error("failed to {tried}")]
    DaemonUnreachable {
        /// What was tried, and why each failed, a line for each; a fragment that follows "failed to".
        tried: String,
        /// What to do about it.
        hint: String,
    },
    /// The image can't be had.
    #[error("failed to {why}")]
    Image {
        /// Which image, and why; a fragment that follows "failed to".
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The daemon did not do what a session needs.
    #[error("failed to {doing}: {why}")]
    Container {
        /// What was being done, a fragment that follows "failed to".
        doing: String,
        /// Why, mostly in the daemon's words.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The `init_command` failed.
    #[error("failed to prepare the container: the init_command ended with exit code {exit_code}:\n{output}")]
    InitCommand {
        /// Of the command.
        exit_code: i32,
        /// What it printed.
        output: String,
    },
    /// The session was asked to run blocks before `start` or after `stop`.
    #[error("failed to run the blocks: the executor is not started")]
    NotStarted,
    /// No session of the pool became free in time.
    #[error(
        "failed to acquire a session within {waited:.1?}: of at most {max_total} (max_total), {in_use} are in use and \
         {starting} are being started"
    )]
    PoolExhausted {
        /// How long it was waited for.
        waited: Duration,
        /// The most that there can be.
        max_total: usize,
        /// How many were in use when the time was over.
        in_use: usize,
        /// How many were being started then.
        starting: usize,
    },
    /// The pool gives no sessions out any more.
    #[error("failed to acquire a session: the pool is closed")]
    PoolClosed,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It was stopped.
    Stopped,
    /// Its time in its pool was over.
    Expired {
        /// How long that was, [`PoolBuilder::max_lifetime`](crate::PoolBuilder::max_lifetime).
        lifetime: Duration,
    },
    /// Its pool was closed.
    PoolClosed,
    /// The runner ended by itself or was killed.
    RunnerDied {
        /// How, where that is known.
        how: Option<String>,
    },
    /// The runner did not answer within this time and was killed.
    Unresponsive {
        /// From the deadline of what was asked.
        after: Duration,
    },
    /// The runner said something that no runner says.
    Protocol {
        /// What was wrong with it.
        why: String,
    },
    /// Processes of a block could not be ended.
    Survivors {
        /// Their process ids.
        pids: Vec<u32>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Stopped => write!(formatter, "the session was stopped"),
            Fault::Expired { lifetime } => {
                write!(formatter, "the session's time in its pool was over (max_lifetime, {lifetime:.1?})")
            }
            Fault::PoolClosed => write!(formatter, "the pool of the session was closed"),
            Fault::RunnerDied { how: None } => write!(formatter, "the session's runner has ended"),
            Fault::RunnerDied { how: Some(how) } => {
                write!(formatter, "the session's runner has ended ({how})")
            }
            Fault::Unresponsive { after } => {
                write!(formatter, "the session's runner did not answer for {after:.1?} and was killed")
            }
            Fault::Protocol { why } => {
                write!(formatter, "the session's runner is not to be understood: {why}")
            }
            Fault::Survivors { pids } => {
                write!(formatter, "processes of an earlier block could not be ended: {pids:?}")
            }
        }
    }
}

impl Fault {
    /// Whether somebody had it end.
    pub(crate) fn is_asked_for(&self) -> bool {
        matches!(self, Fault::Stopped | Fault::Expired { .. } | Fault::PoolClosed)
    }
}

impl Error {
    /// A stable word for this kind of failure, as `--json` has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::InvalidOption { .. } => "invalid_option",
            Error::WorkDir { .. } => "work_dir_unavailable",
            Error::RunnerStart { .. } => "runner_not_started",
            Error::Sandbox { .. } => "sandbox_unavailable",
            Error::VirtualEnv { .. } => "virtual_env_unavailable",
            Error::PipInstall { .. } => "pip_install_failed",
            Error::FunctionsLoad { .. } => "functions_failed_to_load",
            Error::Preload { .. } => "preload_failed",
            Error::SessionEnded { .. } => "session_ended",
            Error::Runner { .. } => "runner_failed",
            Error::BlockTooLarge { .. } => "block_too_large",
            Error::Copy { .. } => "copy_failed",
            Error::DaemonUnreachable { .. } => "daemon_unreachable",
            Error::Image { .. } => "image_unavailable",
            Error::Container { .. } => "container_failed",
            Error::InitCommand { .. } => "init_command_failed",
            Error::NotStarted => "not_started",
            Error::PoolExhausted { .. } => "pool_exhausted",
            Error::PoolClosed => "pool_closed",
        }
    }

    /// What failed and all that caused it, in one sentence.
    ///
    /// ```
    /// use std::io;
    /// use stockade::Error;
    ///
    /// let source = io::Error::from(io::ErrorKind::OutOfMemory).into();
    /// let error = Error::RunnerStart { doing: "read its image".to_owned(), source };
    /// assert_eq!(error.to_string(), "failed to start the runner: read its image");
    /// assert_eq!(error.message(), "failed to start the runner: read its image: out of memory");
    /// ```
    pub fn message(&self) -> String {
        chain(self)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::InvalidOption { .. } | Error::FunctionsLoad { .. } | Error::InitCommand { .. } => {
                return None;
            }
            Error::DaemonUnreachable { hint, .. }
            | Error::Sandbox { hint, .. }
            | Error::VirtualEnv { hint, .. } => hint,
            Error::Image { hint, .. } | Error::Container { hint, .. } => return hint.clone(),
            Error::WorkDir { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "choose a work_dir whose parent folders exist or can be made"
            }
            Error::WorkDir { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                "have it copied (in a container `workspace` \"copy\", on this host a `workspace_size`), or start a session \
                 of its own in it, without the pool"
            }
            Error::WorkDir { source, .. } => return hint_for(source.raw_os_error(), source.kind()),
            Error::RunnerStart { .. } => ASK_DOCTOR,
            Error::PipInstall { .. } => "check the package names and the network, or install them beforehand",
            Error::Preload { .. } => "install the module where the code runs, or leave it out of `preload`",
            Error::SessionEnded { fault: Fault::Expired { .. }, .. } => {
                "acquire another session, or let them live longer (`max_lifetime`)"
            }
            Error::SessionEnded { fault: Fault::PoolClosed, .. } => "close the pool after its sessions",
            Error::SessionEnded { .. } => "start a new session",
            Error::Runner { failure, .. } => {
                let error = failure.errno.map(io::Error::from_raw_os_error);
                // It is one file that is not there.
                if failure.doing.starts_with("read ") {
                    return None;
                }
                return hint_for(failure.errno, error.map_or(io::ErrorKind::Other, |error| error.kind()));
            }
            Error::BlockTooLarge { .. } => "put the data into a file in the work_dir and read it from there",
            Error::Copy { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                "choose a smaller work_dir, or a session that shares it: a local one without a `--workspace-size`, or a \
                 container of a daemon that shares this host's files"
            }
            Error::Copy { source, .. } => return hint_for(source.raw_os_error(), source.kind()),
            Error::NotStarted => "call `start` first",
            Error::PoolExhausted { max_total, in_use, .. } if in_use < max_total => {
                "starts take longer than that: keep more sessions idle (`min_idle`), or wait longer \
                 (`acquire_timeout`)"
            }
            Error::PoolExhausted { .. } => {
                "stop sessions as soon as they have done their work, allow more (`max_total`), or wait longer \
                 (`acquire_timeout`)"
            }
            Error::PoolClosed => "make a new pool",
        };
        Some(hint.to_owned())
    }

    /// The outcomes of the blocks of the call that had finished before the failure.
    pub fn finished_blocks(&self) -> &[BlockOutcome] {
        match self {
            Error::SessionEnded { finished, .. }
            | Error::Runner { finished, .. }
            | Error::BlockTooLarge { finished, .. }
            | Error::Copy { finished, .. } => finished,
            _ => &[],
        }
    }

    pub(crate) fn with_finished(mut self, outcomes: Vec<BlockOutcome>) -> Self {
        if let Error::SessionEnded { finished, .. }
        | Error::Runner { finished, .. }
        | Error::BlockTooLarge { finished, .. }
        | Error::Copy { finished, .. } = &mut self
        {
            *finished = outcomes;
        }
        self
    }

    /// Says which block of the call it is about.
    pub(crate) fn at_block(mut self, number: usize) -> Self {
        if let Error::BlockTooLarge { index, .. } = &mut self {
            *index = number;
        }
        self
    }

    pub(crate) fn ended(fault: Fault) -> Self {
        Error::SessionEnded { fault, finished: Vec::new() }
    }

    pub(crate) fn runner(failure: Failure) -> Self {
        Error::Runner { failure, finished: Vec::new() }
    }

    pub(crate) fn start(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::RunnerStart { doing: doing.into(), source: source.into() }
    }
}

/// What to do about a file system's refusal.
fn hint_for(errno: Option<i32>, kind: io::ErrorKind) -> Option<String> {
    const EMFILE: i32 = 24;
    let hint = match kind {
        _ if errno == Some(EMFILE) => "raise the limit of open files (`ulimit -n`)",
        io::ErrorKind::WouldBlock => "raise the limit of processes (`ulimit -u`), or end some",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there, make a workspace that has a size larger (`--workspace-size`), or choose another \
             work_dir"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a work_dir on a file system that can be written to",
        io::ErrorKind::PermissionDenied => {
            "choose a work_dir that this user may write to, or change its permissions"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "choose a directory as the work_dir",
        io::ErrorKind::NotFound => "make the work_dir again; the session goes on with it",
        _ => return None,
    };
    Some(hint.to_owned())
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Error::start(error.to_string(), error)
    }
}

/// An error with all that caused it, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their source in their own text.
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}
