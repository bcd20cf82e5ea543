//! Stockade runs code blocks that a language model wrote. Each is saved to a file and run in a new process; back
//! come what it printed, how it ended and the files it made.
//!
//! An executor is a template of sessions: [`LocalCommandLineCodeExecutor`] runs blocks on this host, in a [`Sandbox`]
//! unless that is turned off, and [`DockerCommandLineCodeExecutor`] in a container. What this machine can hold code to,
//! [`examine`] tells. A [`Pool`] starts sessions ahead. A [`Session`] runs blocks, in calls that may overlap. What becomes of the code is data, a
//! [`BlockOutcome`] for each block; an [`Error`] means that Stockade failed.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor};
//!
//! let session = LocalCommandLineCodeExecutor::builder().build()?.start().await?;
//! let blocks = [CodeBlock::new("python", "print('hello')\nopen('made.txt', 'w').write('x')")];
//! let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
//! assert_eq!((result.exit_code, result.output.as_str()), (0, "hello\n"));
//! assert_eq!(result.blocks[0].files[0].path.to_str(), Some("made.txt"));
//! session.stop().await?;
//! # Ok::<(), stockade::Error>(()) }).unwrap();
//! ```
//!
//! # Limits
//!
//! A block has 60 s by default, then its whole tree of processes is ended: TERM, a second of grace, KILL. 1 MiB
//! of each stream is kept, from its beginning and its end. Its stdin is empty and it has no terminal. Its
//! environment is an allow-list of this process's and what the caller sets. Nothing that it starts outlives the
//! session, nor this process, however that ends.
//!
//! The futures of this crate can be awaited on any executor; all input and output is done on a thread of its own.

mod call;
mod client;
mod code;
mod doctor;
mod environment;
mod error;
mod events;
mod executor;
mod files;
mod functions;
mod hint;
mod io_thread;
mod languages;
mod markdown;
mod options;
mod outcome;
mod pool;
mod preload;
mod runner_image;
mod sandbox;
mod session;
mod utf8;
mod virtual_env;

pub use stockade_runner::wire::message::Failure;
pub use tokio_util::sync::CancellationToken;

pub use crate::{
    call::{Call, Events},
    code::CodeBlock,
    doctor::{Examination, Finding, State, Subject, examine},
    error::{Error, Fault, Result},
    events::Event,
    executor::{
        BoxFuture, Capabilities, CodeExecutor, ContainerPolicy, DeviceRequest, DockerCommandLineCodeExecutor,
        DockerCommandLineCodeExecutorBuilder, Life, LocalCommandLineCodeExecutor,
        LocalCommandLineCodeExecutorBuilder, ParseOptionError, ParsePullError, Pull, PullProgress,
        RestartableExecutor, SessionContainer, Ulimit, Volume, prune_session_containers, session_containers,
    },
    functions::Functions,
    languages::{Command, Language, LanguageReport, Languages},
    markdown::{FencedBlock, code_blocks, fenced_blocks},
    outcome::{BlockOutcome, Change, CommandLineCodeResult, FileChange, Output, Status, Stream},
    pool::{Acquire, Pool, PoolBuilder, PoolCounts, PoolMetrics, PoolTimes},
    preload::Preload,
    sandbox::{
        Control, Degraded, ParseSandboxLevelError, Sandbox, SandboxLevel, SandboxLimits, SandboxNetwork,
        SandboxPolicy,
    },
    session::{Background, BackgroundOutput, ContainerInfo, Policy, Session, SessionInfo, WorkspaceMode},
};

/// The README's example, as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
