//! What comes back: the result of a call, the outcome of each of its blocks, and their JSON form, which others
//! build on. Owns the text that a reader gets, with the marks of what was dropped and Stockade's notices.

use std::{
    borrow::Cow,
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_bytes::ByteBuf;
use stockade_runner::{outcome, wire::message::Piece};

/// The result of a call with any number of blocks.
///
/// As JSON it is `{"exit_code":0,"output":"…","code_file":"…","blocks":[…]}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct CommandLineCodeResult {
    /// Of the last block that was reached; 0 when there was none. 124 timed out, 125 cancelled, 128+n ended by
    /// signal n, 137 out of memory, 127 no interpreter, 126 not executable, 1 unknown language or bad file name.
    pub exit_code: i32,
    /// What all blocks printed, in order, with Stockade's notices (a timeout, a missing interpreter).
    pub output: String,
    /// The absolute path of the first block's file; `None` when none was saved.
    #[serde(serialize_with = "as_optional_text")]
    pub code_file: Option<PathBuf>,
    /// The blocks that were reached, in order.
    pub blocks: Vec<BlockOutcome>,
}

impl CommandLineCodeResult {
    pub(crate) fn new(blocks: Vec<BlockOutcome>) -> Self {
        Self {
            exit_code: blocks.last().map_or(0, |block| block.exit_code),
            output: blocks.iter().map(|block| block.output.text()).collect(),
            code_file: blocks.first().and_then(|block| block.code_file.clone()),
            blocks,
        }
    }
}

/// How one block ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BlockOutcome {
    /// Its place among the blocks of the call, from 0.
    pub index: usize,
    /// The canonical name of its language, or the name that was asked for when it is unknown.
    pub language: String,
    /// The absolute path of its file; `None` when none was saved. A generated file is gone by now if
    /// `cleanup_temp_files` is on, as it is by default on this host, or `delete_tmp_files`, which is off by default in a
    /// container.
    pub code_file: Option<PathBuf>,
    /// What became of it.
    pub status: Status,
    /// The process's own, or the one that stands for the status, as in [`CommandLineCodeResult::exit_code`].
    pub exit_code: i32,
    /// The number of the signal that ended it, when its status is [`Status::Signaled`].
    pub signal: Option<i32>,
    /// What it printed to stdout, and to stderr too when the streams are merged.
    pub stdout: Output,
    /// What it printed to stderr.
    pub stderr: Output,
    /// Both, in the order in which they were read, and Stockade's notice where there is one.
    pub output: Output,
    /// Bytes of both streams that were printed and not kept.
    pub dropped_bytes: u64,
    /// From the start of its process to its end.
    pub duration: Duration,
    /// User and system time of its processes that had been waited for by then.
    pub cpu: Duration,
    /// The largest resident set of any one of them, in bytes.
    pub max_rss_bytes: u64,
    /// Regular files in the workspace that were created or changed while it ran, its own file left out.
    pub files: Vec<FileChange>,
    /// The search for them ran out of its time (5 ms) or entries (10 000): there may be more.
    pub files_truncated: bool,
    /// Which of the files that it changed were not copied back to a work_dir that is not shared, and why; a part of
    /// [`output`](Self::output) too. `None`, and absent from JSON, where all were.
    pub files_notice: Option<String>,
    /// How to get what the session denied the block and it seems to have failed for, such as the network: a guess from
    /// what it printed. `None`, and absent from JSON, when there is no such guess.
    pub hint: Option<String>,
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Its process ended by itself.
    Exited,
    /// A signal that was not ours ended its process.
    Signaled,
    /// Its time was up, and it was ended.
    TimedOut,
    /// It was ended on request.
    Cancelled,
    /// The kernel ended it for its memory limit.
    OutOfMemory,
    /// There was no process: its output says why.
    NotRun,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Status::Exited => "exited",
            Status::Signaled => "signaled",
            Status::TimedOut => "timed out",
            Status::Cancelled => "cancelled",
            Status::OutOfMemory => "out of memory",
            Status::NotRun => "not run",
        })
    }
}

/// Bytes that were printed. They are text as a rule, and nothing fails when they are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Output(Vec<u8>);

impl Output {
    /// As text; what is not UTF-8 becomes U+FFFD.
    ///
    /// ```
    /// let output = stockade::Output::from(b"caf\xe9".to_vec());
    /// assert_eq!(output.text(), "caf\u{fffd}");
    /// ```
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// As they were printed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True when nothing was printed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// The text.
impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text())
    }
}

impl Serialize for Output {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// One of a block's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output, and both streams when they are merged.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<stockade_runner::wire::message::Stream> for Stream {
    fn from(stream: stockade_runner::wire::message::Stream) -> Self {
        match stream {
            stockade_runner::wire::message::Stream::Stdout => Stream::Stdout,
            stockade_runner::wire::message::Stream::Stderr => Stream::Stderr,
        }
    }
}

/// A file that was created or changed while a block ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileChange {
    /// Relative to the workspace.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// The media type that its name speaks for; `application/octet-stream` when it speaks for none.
    pub mime: String,
    /// Whether it was there before.
    pub change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It was not there before.
    Created,
    /// It was there before, or the file system keeps no time of birth.
    Changed,
    /// It was there before and is gone. Only a workspace that was copied tells; the file on this host stays.
    Deleted,
}

impl FileChange {
    /// A file that is gone.
    pub(crate) fn deleted(path: PathBuf) -> Self {
        let mime = mime_guess::from_path(&path).first_or_octet_stream().to_string();
        Self { path, size: 0, mime, change: Change::Deleted }
    }
}

impl BlockOutcome {
    /// Tells of files that were not copied back.
    pub(crate) fn lacks_files(&mut self, notice: String) {
        self.files_truncated = true;
        add_notice(&mut self.output.0, &notice);
        self.files_notice = Some(notice);
    }

    /// From what the runner said: the outcome and the parts of the output that it kept.
    pub(crate) fn new(index: usize, outcome: outcome::Outcome, pieces: &[Piece]) -> Self {
        let (status, signal) = match outcome.status {
            outcome::Status::Exited { .. } => (Status::Exited, None),
            outcome::Status::Signaled { signal } => (Status::Signaled, Some(signal)),
            outcome::Status::TimedOut => (Status::TimedOut, None),
            outcome::Status::Cancelled => (Status::Cancelled, None),
            outcome::Status::OutOfMemory => (Status::OutOfMemory, None),
            outcome::Status::NotRun { .. } => (Status::NotRun, None),
        };
        let mut output = join(pieces, |_| true);
        if let Some(notice) = outcome.notice {
            add_notice(&mut output, &notice);
        }
        let of = |wanted: Stream| join(pieces, |stream| stream == wanted);
        Self {
            index,
            language: outcome.language,
            code_file: outcome.file.map(to_path),
            status,
            exit_code: outcome.status.exit_code(),
            signal,
            stdout: Output(of(Stream::Stdout)),
            stderr: Output(of(Stream::Stderr)),
            output: Output(output),
            dropped_bytes: pieces.iter().map(dropped).sum(),
            duration: Duration::from_micros(outcome.wall_us),
            cpu: Duration::from_micros(outcome.cpu_us),
            max_rss_bytes: outcome.max_rss_bytes,
            files: outcome.files.into_iter().map(FileChange::from).collect(),
            files_truncated: outcome.files_truncated,
            files_notice: None,
            hint: None,
        }
    }
}

fn dropped(piece: &Piece) -> u64 {
    match piece {
        Piece::Dropped(_, bytes) => *bytes,
        Piece::Data(..) => 0,
    }
}

/// The output of the streams that are wanted, with a mark where bytes were dropped.
fn join(pieces: &[Piece], wanted: impl Fn(Stream) -> bool) -> Vec<u8> {
    let mut joined = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Data(stream, bytes) if wanted((*stream).into()) => joined.extend_from_slice(bytes),
            Piece::Dropped(stream, bytes) if wanted((*stream).into()) => {
                joined.extend_from_slice(format!("\n[… {bytes} bytes dropped …]\n").as_bytes());
            }
            _ => {}
        }
    }
    joined
}

/// Puts a notice on a line of its own.
fn add_notice(output: &mut Vec<u8>, notice: &str) {
    if output.last().is_some_and(|&last| last != b'\n') {
        output.push(b'\n');
    }
    output.extend_from_slice(notice.as_bytes());
    output.push(b'\n');
}

impl From<outcome::FileChange> for FileChange {
    fn from(file: outcome::FileChange) -> Self {
        let path = to_path(file.path);
        let mime = mime_guess::from_path(&path).first_or_octet_stream().to_string();
        let change = match file.change {
            outcome::Change::Created => Change::Created,
            outcome::Change::Changed => Change::Changed,
        };
        Self { path, size: file.size, mime, change }
    }
}

pub(crate) fn to_path(bytes: ByteBuf) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.into_vec()))
}

/// A path that is not text is shown, not refused.
pub(crate) fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

pub(crate) fn as_optional_text<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

impl Serialize for BlockOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let optional = [&self.files_notice, &self.hint].into_iter().flatten().count();
        let mut fields = serializer.serialize_struct("BlockOutcome", 15 + optional)?;
        fields.serialize_field("index", &self.index)?;
        fields.serialize_field("language", &self.language)?;
        fields.serialize_field("code_file", &self.code_file.as_ref().map(|path| path.to_string_lossy()))?;
        fields.serialize_field("status", &self.status)?;
        fields.serialize_field("exit_code", &self.exit_code)?;
        fields.serialize_field("signal", &self.signal)?;
        fields.serialize_field("stdout", &self.stdout)?;
        fields.serialize_field("stderr", &self.stderr)?;
        fields.serialize_field("output", &self.output)?;
        fields.serialize_field("dropped_bytes", &self.dropped_bytes)?;
        fields.serialize_field("duration_ms", &milliseconds(self.duration))?;
        fields.serialize_field("cpu_ms", &milliseconds(self.cpu))?;
        fields.serialize_field("max_rss_bytes", &self.max_rss_bytes)?;
        fields.serialize_field("files_truncated", &self.files_truncated)?;
        fields.serialize_field("files", &self.files)?;
        for (name, text) in [("files_notice", &self.files_notice), ("hint", &self.hint)] {
            match text {
                Some(text) => fields.serialize_field(name, text)?,
                None => fields.skip_field(name)?,
            }
        }
        fields.end()
    }
}
