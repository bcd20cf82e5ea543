//! The sandbox of local sessions: what the code may see and do on this host. Owns what can be asked for, and what is
//! refused because it makes no sense; the modules find out what that means here. Starting a runner in it is the local
//! executor's part.
//!
//! ```text
//! view           which files the code sees, and what it may do with them
//! installation   where the interpreters are that are found on PATH
//! secrets        what of /etc is nobody's business
//! writable       where the code can change files, and so what a path leads to
//! bubblewrap     the view as a command line of bubblewrap's
//! landlock       the view as rules of the kernel's, inside the other or by itself
//! policy         what was applied, as a session tells it
//! ```

mod bubblewrap;
mod installation;
mod landlock;
mod policy;
mod secrets;
mod view;
mod writable;

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::Serialize;

pub use self::policy::{Control, Degraded, SandboxLimits, SandboxPolicy};
pub(crate) use self::{
    bubblewrap::{Bubblewrap, remedy},
    landlock::{Applied, confinement},
    policy::report,
    view::{Surroundings, View, check_way_to_work_dir},
    writable::{Writable, place_of},
};
use crate::error::{Error, Result};

/// What the code of a local session may see and do.
///
/// By default it sees the system's programs and libraries, read-only, the interpreters that are found on PATH, and its
/// work_dir; it has a home, `/tmp` and `/dev/shm` of its own, no network, and no way to other processes. What was asked
/// for holds, or the session does not start.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor, Sandbox};
///
/// let executor = LocalCommandLineCodeExecutor::builder().sandbox(Sandbox::default().open_files(64)).build()?;
/// # let executor = LocalCommandLineCodeExecutor::builder().sandbox(Sandbox::default().best_effort()).build()?;
/// let session = executor.start().await?;
/// let blocks = [CodeBlock::new("sh", "ls /home; cat /etc/shadow")];
/// let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
/// assert_ne!(result.exit_code, 0);
/// # session.stop().await?;
/// # Ok::<(), stockade::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "a sandbox is for an executor's builder"]
pub struct Sandbox {
    pub(crate) level: SandboxLevel,
    pub(crate) best_effort: bool,
    pub(crate) network: SandboxNetwork,
    pub(crate) is_strict: bool,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) read_write: Vec<PathBuf>,
    pub(crate) limits: Limits,
}

/// By what the code is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxLevel {
    /// The strongest that works here.
    #[default]
    Auto,
    /// Namespaces of the session's own, by bubblewrap, and inside them Landlock and seccomp.
    Namespaces,
    /// Landlock and seccomp alone, where there are no namespaces to be had. Names and arguments of other processes stay
    /// visible, `/tmp` and `/dev/shm` are out of reach instead of private, and without the host's network there are no sockets but
    /// connected pairs.
    Landlock,
}

/// What network the code has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxNetwork {
    /// None but a loopback interface of its own, where the level has that.
    #[default]
    None,
    /// This host's. Its sockets with a name (of daemons, of a desktop) stay out of reach.
    Host,
}

/// Limits of all processes of a session together, and of each.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Limits {
    pub(crate) memory: Option<u64>,
    pub(crate) pids: Option<u32>,
    pub(crate) cpus: Option<f64>,
    pub(crate) cpu_time: Option<Duration>,
    pub(crate) open_files: Option<u64>,
    pub(crate) file_size: Option<u64>,
    pub(crate) workspace_size: Option<u64>,
}

impl Limits {
    /// The limit of processor time as the kernel takes it: whole seconds, rounded up.
    fn cpu_seconds(&self) -> Option<u64> {
        self.cpu_time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }
}

impl Sandbox {
    /// Nothing but the work_dir, and what the interpreters need: of `/etc` only what programs look up names with, no
    /// sockets but connected pairs, and nothing else of the host.
    pub fn strict() -> Self {
        Self { is_strict: true, ..Self::default() }
    }

    /// By what the code is held back; [`SandboxLevel::Auto`] by default.
    pub fn level(mut self, level: SandboxLevel) -> Self {
        self.level = level;
        self
    }

    /// Starts the session with whatever this host has, and tells what is missing in the session's
    /// [`Policy`](crate::Policy), instead of refusing.
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }

    /// What network the code has; none by default.
    pub fn network(mut self, network: SandboxNetwork) -> Self {
        self.network = network;
        self
    }

    /// Shows a file or directory, with all beneath it. An absolute path; the start fails when nothing is there, and when it
    /// lies where the code can change files, which would choose what is shown.
    pub fn read_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only.push(path.into());
        self
    }

    /// Lets the code change a file or directory, with all beneath it. An absolute path; the start fails when nothing is
    /// there, and when it or the work_dir lies in what the code can change besides.
    pub fn read_write(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_write.push(path.into());
        self
    }

    /// The most memory, in bytes, that all processes of the session may have together: 6 MiB at least, no limit by
    /// default. Needs a control group: root, or a delegated one.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.limits.memory = Some(bytes);
        self
    }

    /// The most processes and threads of the session, its runner's few included: 8 at least, no limit by default. Needs a
    /// control group.
    pub fn pids_limit(mut self, count: u32) -> Self {
        self.limits.pids = Some(count);
        self
    }

    /// The most CPU time per time of all processes of the session together, in CPUs: `1.5`. It is 0.01 at least, and there
    /// is no limit by default. Needs a control group.
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.limits.cpus = Some(cpus);
        self
    }

    /// The most processor time of any one process: more than zero, rounded up to whole seconds, no limit by default. It is
    /// ended then (SIGKILL).
    pub fn cpu_time(mut self, time: Duration) -> Self {
        self.limits.cpu_time = Some(time);
        self
    }

    /// The most files that any one process may have open: 16 at least, the host's limit by default.
    pub fn open_files(mut self, count: u64) -> Self {
        self.limits.open_files = Some(count);
        self
    }

    /// The largest file, in bytes, that any process may make; no limit by default.
    pub fn file_size(mut self, bytes: u64) -> Self {
        self.limits.file_size = Some(bytes);
        self
    }

    /// The most bytes that all files in the workspace may have together: 64 KiB at least, no limit by default. Writing more
    /// fails for want of space. Needs the level of namespaces.
    ///
    /// The workspace is then a copy of the work_dir, of at most 10 000 files and 256 MiB, in a file system in memory of
    /// this size. What blocks create or change is copied back after each; what they delete is reported and stays.
    pub fn workspace_size(mut self, bytes: u64) -> Self {
        self.limits.workspace_size = Some(bytes);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Limits { memory, pids, cpus, cpu_time, open_files, workspace_size, .. } = self.limits;
        let invalid =
            |option: &'static str, why: &str| Err(Error::InvalidOption { option, why: why.to_owned() });
        match () {
            () if memory.is_some_and(|bytes| bytes < LEAST_MEMORY) => {
                invalid("memory", "must be at least 6 MiB")
            }
            () if pids.is_some_and(|count| count < LEAST_PIDS) => invalid("pids_limit", "must be at least 8"),
            () if cpus.is_some_and(|cpus| !(0.01..=1e6).contains(&cpus)) => {
                invalid("cpus", "must be at least 0.01 and at most a million")
            }
            () if cpu_time.is_some_and(|time| time.is_zero()) => {
                invalid("cpu_time", "must be more than nothing")
            }
            () if open_files.is_some_and(|count| count < LEAST_FILES) => {
                invalid("open_files", "must be at least 16")
            }
            () if workspace_size.is_some_and(|bytes| bytes < LEAST_WORKSPACE) => {
                invalid("workspace_size", "must be at least 64 KiB")
            }
            () if self.shown().any(|path| !path.is_absolute()) => {
                invalid("sandbox", "takes absolute paths of what is to be shown")
            }
            () => Ok(()),
        }
    }

    fn shown(&self) -> impl Iterator<Item = &PathBuf> {
        self.read_only.iter().chain(&self.read_write)
    }
}

/// Docker's least, too: below it nothing starts.
const LEAST_MEMORY: u64 = 6 << 20;
/// The runner, its helpers and one block.
const LEAST_PIDS: u32 = 8;
/// A few pages of memory: a block's file and one that it makes.
const LEAST_WORKSPACE: u64 = 64 << 10;
/// Below it the dynamic loader fails.
const LEAST_FILES: u64 = 16;

impl fmt::Display for SandboxLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            SandboxLevel::Auto => "auto",
            SandboxLevel::Namespaces => "namespaces",
            SandboxLevel::Landlock => "landlock",
        })
    }
}

/// A word that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no level {0:?}: there are auto, namespaces and landlock")]
pub struct ParseSandboxLevelError(String);

impl FromStr for SandboxLevel {
    type Err = ParseSandboxLevelError;

    fn from_str(word: &str) -> std::result::Result<Self, Self::Err> {
        match word {
            "auto" => Ok(SandboxLevel::Auto),
            "namespaces" => Ok(SandboxLevel::Namespaces),
            "landlock" => Ok(SandboxLevel::Landlock),
            other => Err(ParseSandboxLevelError(other.to_owned())),
        }
    }
}
