//! What the host and the runner say to each other. Owns the types and the version; how they become bytes is
//! `frame`'s part. Paths, code and output are bytes: neither side may assume that they are text.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use super::confinement::{Confined, Confinement, ProcessLimits, Sockets};
use crate::{language::Language, outcome::Outcome};

/// The version of these messages. A host refuses a runner that says another one in its [`Reply::Hello`].
pub const VERSION: u32 = 5;

/// Bytes of a run's live output that may be on their way without having been taken.
pub const LIVE_WINDOW: u64 = 1 << 20;

/// An environment variable: name and value.
pub type Variable = (ByteBuf, ByteBuf);

/// Names one run within its session; chosen by the host, never used twice.
pub type RunId = u64;

/// What the host asks of the runner.
#[expect(clippy::large_enum_variant, reason = "each is sent and taken by itself, and the large one once")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The first request of a stream, and only the first. Answered by [`Reply::Ready`] or
    /// [`Reply::StartFailed`].
    Start(SessionSpec),
    /// Run a block. Answered by [`Reply::Started`] (unless it can't start) and [`Reply::Finished`].
    Run(RunSpec),
    /// End a run that was asked for. A run that is unknown or finished is left alone.
    Cancel {
        /// The run to end.
        run: RunId,
    },
    /// The host has taken this much of a run's live output, and there is room for as much again.
    Credit {
        /// The run.
        run: RunId,
        /// Of [`Reply::Live`] data.
        bytes: u64,
    },
    /// Import Python modules, once and for all blocks: Python blocks that would be started alike are forked from the
    /// process that has done so. Sent once. Answered by [`Reply::Preloaded`].
    Preload {
        /// Their names, as `import` takes them.
        modules: Vec<String>,
        /// Set over the session's environment, as for the runs that are to begin with them.
        env: Vec<Variable>,
        /// How long the import may take.
        timeout_ms: u64,
    },
    /// Look for the interpreter of every language. Answered by [`Reply::Languages`].
    Languages,
    /// Save something in the workspace, with the rules of a block's own file. Answered by [`Reply::Written`].
    Write {
        /// Names this request in its answer.
        id: u64,
        /// Relative to the workspace.
        path: ByteBuf,
        /// What is to be there.
        entry: Entry,
    },
    /// Read a part of a regular file in the workspace. Answered by [`Reply::Read`].
    Read {
        /// Names this request in its answer.
        id: u64,
        /// Relative to the workspace. No symbolic link on the way is followed.
        path: ByteBuf,
        /// Where the part begins.
        offset: u64,
        /// The most bytes that the part may have.
        length: u64,
    },
    /// Tell what has changed in the workspace since this was last asked; all that is there, the first time. Answered
    /// by [`Reply::Changes`].
    Changes {
        /// Names this request in its answer.
        id: u64,
    },
    /// From now on send what background processes print, not only how much.
    WatchBackground,
    /// Proof that the host lives. Answered by [`Reply::Heartbeat`].
    Heartbeat,
    /// End everything and exit. Answered by [`Reply::Stopped`].
    Stop,
}

/// What a session is started with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionSpec {
    /// An absolute path to a directory that exists.
    pub workspace: ByteBuf,
    /// Set over the runner's own environment, for every block.
    pub env: Vec<Variable>,
    /// Remove generated files when nobody runs them any more.
    pub cleanup_temp_files: bool,
    /// Remove the workspace itself at the end, however the end comes.
    pub remove_workspace: bool,
    /// Added to the built-in languages; one of the same name or alias takes its place.
    pub languages: Vec<Language>,
    /// End when nothing was heard from the host for this long, in milliseconds.
    pub heartbeat_timeout_ms: Option<u64>,
    /// A file, relative to the workspace, that the host has just made there: without it the workspace is not the
    /// host's ([`Refusal::Elsewhere`]).
    pub witness: Option<ByteBuf>,
    /// Whom the blocks run as, as in `docker run --user`: `name`, `uid`, `name:group`, `uid:gid`, by the place's own
    /// user database. The runner's own user by default.
    pub user: Option<String>,
    /// Who owns the files that blocks make.
    pub ownership: Ownership,
    /// Start only if the blocks' user has no means to look into this process (tracing it as its own user's, or by
    /// right of a capability); else it is a [`Refusal::Exposed`].
    pub concealed: bool,
    /// The place has a memory limit, and blocks that the kernel ended for it are told apart
    /// ([`Status::OutOfMemory`](crate::outcome::Status::OutOfMemory)).
    pub memory_limit: bool,
    /// Where the host can come back: who knows this token may be the next host, once this one is gone
    /// ([`Transport::Linger`](crate::Transport::Linger)).
    pub token: Option<ByteBuf>,
    /// What the kernel is to deny the code. It is told what became of it ([`Confined`]).
    pub confinement: Option<Confinement>,
    /// An absolute path to a directory that is the session's own, and is removed at the end as the workspace is.
    pub scratch: Option<ByteBuf>,
    /// Python interpreters that wait for the next blocks, once a block has used one.
    pub spares: u32,
    /// Interpreters that waited, or were forked, take their modules apart at their end, as others do.
    pub teardown: bool,
}

/// Who owns the files that blocks make in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Ownership {
    /// Whoever made them.
    #[default]
    Maker,
    /// The owner of the workspace gets what was changed, after each block and at the end, and no setuid or setgid bit
    /// stays on a file of it; on a directory setgid only says whose group is inherited.
    Workspace,
    /// The workspace itself is given to the blocks' user: it is the place's own, and nobody else's.
    User,
}

/// What a request saves in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A directory; one that is there stays as it is.
    Directory,
    /// A regular file, or a part of one: at offset 0 it is made or emptied, and each next part follows the last.
    File {
        /// Where the part begins.
        offset: u64,
        /// It may be executed.
        executable: bool,
        /// What it is to hold from there on.
        contents: ByteBuf,
    },
    /// A symbolic link, in the place of whatever link was there.
    Symlink {
        /// What it says.
        target: ByteBuf,
    },
}

/// What one block is run with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunSpec {
    /// Chosen by the host.
    pub run: RunId,
    /// As the author of the block wrote it, any case, name or alias.
    pub language: String,
    /// What is to be run.
    pub code: ByteBuf,
    /// The deadline, counted from the block's start.
    pub timeout_ms: u64,
    /// Set over the session's environment.
    pub env: Vec<Variable>,
    /// Send output as it is read ([`Reply::Live`]), [`LIVE_WINDOW`] bytes and as many more as the host gives credit
    /// for.
    pub live: bool,
    /// Stop reading the block's output while there is no credit, so that the block waits for the host. Otherwise
    /// the block never waits, and live output without credit is left out.
    pub backpressure: bool,
    /// One pipe for both streams: the merged order is exact, and all of it counts as stdout.
    pub merge_streams: bool,
    /// Bytes kept of each stream.
    pub output_limit: u64,
    /// The block is Stockade's own: its file is generated and removed, whatever the session does with such files.
    pub discard_file: bool,
}

/// What the runner answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The first reply of a stream, sent before anything is asked.
    Hello {
        /// [`VERSION`] of the runner.
        version: u32,
    },
    /// The session has started.
    Ready {
        /// The runner's process id, in its own namespace.
        pid: u32,
        /// What confines the code, where that was asked for: all that the kernel has. Whether it suffices is the
        /// host's to decide.
        confined: Option<Confined>,
    },
    /// The session can't start; the runner exits.
    StartFailed {
        /// What kind of thing was refused.
        refusal: Refusal,
        /// What it was, and why.
        failure: Failure,
    },
    /// The block's process runs, and its deadline counts.
    Started {
        /// Which run.
        run: RunId,
        /// The language's canonical name.
        language: String,
        /// The absolute path of the block's file.
        file: ByteBuf,
    },
    /// Output as it is read. May be incomplete, for a slow host loses live output first, unless the block waits for it.
    Live {
        /// Which run; it may have finished: then a process that it left behind wrote this.
        run: RunId,
        /// Which stream.
        stream: Stream,
        /// What was read.
        data: ByteBuf,
        /// Bytes of this run's live output that were left out just before `data`.
        lost: u64,
    },
    /// A part of what is kept of a run's output, in order. All parts come before [`Reply::Finished`].
    Output {
        /// Which run.
        run: RunId,
        /// In the order in which they were read.
        pieces: Vec<Piece>,
    },
    /// The run has ended. Nothing but background output follows for it.
    Finished {
        /// Which run.
        run: RunId,
        /// How the block ended, or why the runner failed to run it.
        result: Result<Outcome, Failure>,
    },
    /// Processes that finished runs left behind have written this much more.
    Background {
        /// The run that left them.
        run: RunId,
        /// Which stream.
        stream: Stream,
        /// Bytes read since the last such message.
        bytes: u64,
        /// The last of them; empty unless [`Request::WatchBackground`] was sent.
        data: ByteBuf,
    },
    /// The answer to [`Request::Preload`].
    Preloaded(Preloaded),
    /// The answer to [`Request::Languages`], in the order of the table.
    Languages(Vec<LanguageReport>),
    /// The answer to [`Request::Write`]: the absolute path.
    Written {
        /// As in the request.
        id: u64,
        /// The absolute path, or why it was not written.
        result: Result<ByteBuf, Failure>,
    },
    /// The answer to [`Request::Read`].
    Read {
        /// As in the request.
        id: u64,
        /// The part, or why it was not read.
        result: Result<Part, Failure>,
    },
    /// The answer to [`Request::Changes`].
    Changes {
        /// As in the request.
        id: u64,
        /// What has changed.
        changes: Changes,
    },
    /// The answer to [`Request::Heartbeat`].
    Heartbeat,
    /// Everything has ended; the last message of a stream.
    Stopped {
        /// Processes that could not be ended.
        survivors: Vec<u32>,
    },
}

/// What came of modules that were to be preloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preloaded {
    /// Blocks begin with them.
    Ready,
    /// They can be imported, and no block can be forked from a process that has: each imports for itself.
    Unfit {
        /// Why, a sentence without its end.
        why: String,
    },
    /// They can't be imported.
    Failed {
        /// What can't, and why, a sentence without its end.
        why: String,
    },
}

/// Why a session can't start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The workspace can't be used.
    Workspace,
    /// The workspace is not the directory that the host knows: its witness is not there.
    Elsewhere,
    /// There is no such user, or the runner may not start processes as that one.
    User,
    /// The blocks' user could look into the runner.
    Exposed,
    /// The code can't be confined.
    Confinement,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From the offset that was asked for; empty at the end of the file.
    pub contents: ByteBuf,
    /// Of the whole file, in bytes.
    pub size: u64,
    /// Its owner may execute it.
    pub executable: bool,
}

/// What has changed in the workspace, what virtual environments and tools keep there left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Regular files that were created or changed.
    pub changed: Vec<ChangedFile>,
    /// Files that were there the last time.
    pub deleted: Vec<ByteBuf>,
    /// There are more files than are looked at: what is missing here may have changed too.
    pub truncated: bool,
}

/// A file that was created or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Relative to the workspace.
    pub path: ByteBuf,
    /// In bytes.
    pub size: u64,
}

/// Which of a block's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, and both streams when they are merged.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A part of what is kept of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// Bytes of one stream, read at one time.
    Data(Stream, ByteBuf),
    /// This many bytes of the stream were not kept here.
    Dropped(Stream, u64),
}

/// A language and what would run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanguageReport {
    /// The canonical name.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Of its files, without the dot.
    pub extension: String,
    /// False for what is saved and not run.
    pub runs: bool,
    /// The absolute path of the interpreter or compiler; `None` when there is none.
    pub interpreter: Option<ByteBuf>,
}

/// The runner failed at something: not an outcome of the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("failed to {doing}: {why}")]
pub struct Failure {
    /// What was being tried, a fragment that follows "failed to".
    pub doing: String,
    /// Why it failed.
    pub why: String,
    /// The operating system's error number, where it was one.
    pub errno: Option<i32>,
}
