//! One run: from the request to what is told of it. Owns the state of a run and the rules that need nothing
//! but it: what it is to execute, what its end means.

use std::{
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use serde_bytes::ByteBuf;
use tempfile::TempDir;

use super::admission::Waiting;
use crate::{
    capture::Capture,
    environment::Environment,
    interpreter::Interpreter,
    keeper::Report,
    manifest::{Manifest, Since},
    os::process::{Attributes, End, Program},
    outcome::{Outcome, Status},
    spare::{self, Door},
    wire::message::RunId,
    workspace::SavedFile,
};

/// What a run is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A block of the host's.
    Block(Block),
    /// Asking a shim for the path of the program behind it.
    Probe(Shim),
}

/// A block that runs.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) file: SavedFile,
    pub(crate) path: PathBuf,
    /// The program that was started, for the sentence that says why it was not.
    pub(crate) interpreter: PathBuf,
    /// When the host is to be told that it runs; `None` once it was.
    pub(crate) announce_at: Option<Instant>,
    pub(crate) live: Option<Live>,
    /// Where a compiled program lies; removed with the run.
    pub(crate) _scratch: Option<TempDir>,
    /// Where an interpreter was taken that had waited.
    pub(crate) spared: Option<Box<Spared>>,
}

/// What is kept of a block until it is known that its interpreter has heard of it.
#[derive(Debug)]
pub(crate) struct Spared {
    pub(crate) door: Door,
    /// What is started again if it has not.
    pub(crate) again: Option<Waiting>,
}

/// Where a run's live output stands.
#[derive(Debug)]
pub(crate) struct Live {
    /// Bytes that the host has room for.
    pub(crate) credit: u64,
    /// Bytes that were left out since the last that were sent.
    pub(crate) lost: u64,
    /// The block waits for credit.
    pub(crate) backpressure: bool,
}

/// A script in front of a program, in the environment in which it was asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shim {
    pub(crate) path: PathBuf,
    pub(crate) environment: Rc<Environment>,
}

/// A run whose process was ordered.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) purpose: Purpose,
    pub(crate) keeper: u64,
    pub(crate) pipes: Vec<u64>,
    pub(crate) capture: Capture,
    pub(crate) since: Since,
    pub(crate) started: Instant,
    pub(crate) phase: Phase,
    /// The report that its process has ended, once it came.
    pub(crate) end: Option<(End, Usage)>,
    /// How many processes the kernel had ended for the memory limit when it started.
    pub(crate) kills_before: u64,
    /// The kernel ended it for the memory limit.
    pub(crate) out_of_memory: bool,
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) max_rss_bytes: u64,
}

/// Where a run stands on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It runs until its process ends or its time is up; `None` for a time beyond what a clock can show.
    Running { until: Option<Instant> },
    /// Its tree was asked to end. There was nobody to ask when `again` is set: its keeper had not started the
    /// process yet.
    Terminated { why: Reason, until: Instant, again: Option<Instant> },
    /// Its tree was killed.
    Killed { why: Reason, until: Instant },
}

/// Why we end a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    TimedOut,
    Cancelled,
}

impl Reason {
    pub(crate) fn status(self) -> Status {
        match self {
            Reason::TimedOut => Status::TimedOut,
            Reason::Cancelled => Status::Cancelled,
        }
    }
}

impl Phase {
    /// When the run needs us next.
    pub(crate) fn due(self) -> Option<Instant> {
        match self {
            Phase::Running { until } => until,
            Phase::Terminated { until, again, .. } => Some(again.unwrap_or(until)),
            Phase::Killed { until, .. } => Some(until),
        }
    }

    pub(crate) fn reason(self) -> Option<Reason> {
        match self {
            Phase::Running { .. } => None,
            Phase::Terminated { why, .. } | Phase::Killed { why, .. } => Some(why),
        }
    }
}

impl Run {
    /// When it needs us next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let announce_at = match &self.purpose {
            Purpose::Block(block) => block.announce_at,
            Purpose::Probe(_) => None,
        };
        announce_at.into_iter().chain(self.phase.due()).min()
    }

    /// Where its live output stands, when the host listens to it.
    pub(crate) fn live_mut(&mut self) -> Option<&mut Live> {
        match &mut self.purpose {
            Purpose::Block(block) => block.live.as_mut(),
            Purpose::Probe(_) => None,
        }
    }

    /// Takes in the report that the block's process has ended.
    pub(crate) fn process_ended(&mut self, report: Report) {
        if let Report::Ended { end, cpu, max_rss_bytes, .. } = report {
            self.end = Some((end, Usage { wall: self.started.elapsed(), cpu, max_rss_bytes }));
        }
    }

    /// Whether it has ended before it began: with its interpreter, which had waited for it.
    pub(crate) fn never_began(&self) -> bool {
        let spared = match &self.purpose {
            Purpose::Block(block) => block.spared.as_ref(),
            Purpose::Probe(_) => None,
        };
        self.phase.reason().is_none() && spared.is_some_and(|spared| spared.door.was_not_opened())
    }

    /// Whether it, or the keeper above it, was killed, and not by us.
    pub(crate) fn was_killed(&self) -> bool {
        let killed = matches!(self.end, None | Some((End::Signaled(libc::SIGKILL), _)));
        killed && self.phase.reason().is_none()
    }

    /// What became of it.
    fn status(&self) -> Status {
        match (self.phase.reason(), self.end) {
            (Some(reason), _) => reason.status(),
            (None, _) if self.out_of_memory => Status::OutOfMemory,
            (None, Some((End::Exited(code), _))) => Status::Exited { code },
            (None, Some((End::Signaled(signal), _))) => Status::Signaled { signal },
            // Its keeper was killed, and what it held with it.
            (None, None) => Status::Signaled { signal: libc::SIGKILL },
        }
    }

    /// The sentence for whoever reads the output.
    fn notice(&self, survivors: &[u32]) -> Option<String> {
        let mut notice = match (self.phase.reason(), self.end) {
            (Some(Reason::TimedOut), _) => {
                Some(format!("Timeout: the block was ended after {:.1?}", self.started.elapsed()))
            }
            (Some(Reason::Cancelled), _) => Some("Cancelled: the block was ended on request".to_owned()),
            (None, _) if self.out_of_memory => {
                Some("Out of memory: the kernel ended the block for the memory limit".to_owned())
            }
            (None, None) => {
                Some("The process that watches over the block was killed, and the block with it".into())
            }
            (None, Some(_)) => None,
        }?;
        if !survivors.is_empty() {
            notice += &format!("; these processes could not be ended: {survivors:?}");
        }
        Some(notice)
    }

    /// How the block ended.
    pub(crate) fn outcome(&self, block: &Block, manifest: Manifest, survivors: Vec<u32>) -> Outcome {
        let never_ended = Usage { wall: self.started.elapsed(), ..Usage::default() };
        let usage = self.end.map_or(never_ended, |(_, usage)| usage);
        Outcome {
            language: block.language.clone(),
            file: Some(to_bytes(&block.path)),
            status: self.status(),
            notice: self.notice(&survivors),
            wall_us: usage.wall.as_micros() as u64,
            cpu_us: usage.cpu.as_micros() as u64,
            max_rss_bytes: usage.max_rss_bytes,
            files: manifest.files,
            files_truncated: manifest.truncated,
            survivors,
        }
    }
}

pub(crate) fn to_bytes(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().as_bytes())
}

pub(crate) fn to_path(bytes: &ByteBuf) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// Compiles, then becomes what was compiled, so that its end is the block's. `$1` is the binary, the rest the
/// compiler's command.
const COMPILE_AND_EXECUTE: &str = r#"binary=$1; shift; "$@" && exec "$binary""#;

/// The program that runs `file`.
pub(crate) fn program(
    interpreter: &Interpreter,
    file: &Path,
    scratch: Option<&TempDir>,
    environment: &Environment,
    attributes: &Attributes,
) -> Program {
    let binary = scratch.map(|scratch| scratch.path().join("program")).unwrap_or_default();
    let places = [("{file}", file.as_os_str()), ("{binary}", binary.as_os_str())];
    let substituted = interpreter.command.args.iter().map(|argument| substitute(argument, &places));
    let command = std::iter::once(interpreter.program.as_os_str().to_owned()).chain(substituted);
    let arguments: Vec<OsString> = if interpreter.command.compiles() {
        let shell = ["sh", "-c", COMPILE_AND_EXECUTE, "sh"].map(OsString::from);
        shell.into_iter().chain([binary.as_os_str().to_owned()]).chain(command).collect()
    } else {
        command.collect()
    };
    let path = if interpreter.command.compiles() { Path::new("/bin/sh") } else { &interpreter.program };
    Program {
        path: c_string(path.as_os_str()),
        arguments: arguments.iter().map(|argument| c_string(argument)).collect(),
        environment: environment.to_block(),
        attributes: attributes.clone(),
    }
}

/// The argument with its places filled.
fn substitute(argument: &str, places: &[(&str, &OsStr)]) -> OsString {
    let mut filled = Vec::new();
    let mut rest = argument;
    while let Some((at, place, value)) = places
        .iter()
        .filter_map(|(place, value)| Some((rest.find(place)?, place, value)))
        .min_by_key(|found| found.0)
    {
        filled.extend_from_slice(&rest.as_bytes()[..at]);
        filled.extend_from_slice(value.as_bytes());
        rest = &rest[at + place.len()..];
    }
    filled.extend_from_slice(rest.as_bytes());
    OsString::from_vec(filled)
}

/// The interpreter, to wait for its block's file.
pub(crate) fn waiting(interpreter: &Path, environment: &Environment, attributes: &Attributes) -> Program {
    called(interpreter, ["-c", spare::RECEIVE], environment, attributes)
}

/// The program that asks a shim for the real one.
pub(crate) fn probe(
    interpreter: &Interpreter,
    environment: &Environment,
    attributes: &Attributes,
) -> Program {
    called(
        &interpreter.program,
        interpreter.command.self_path.iter().map(String::as_str),
        environment,
        attributes,
    )
}

/// A program by its own name, with these arguments.
fn called<'a>(
    path: &'a Path,
    arguments: impl IntoIterator<Item = &'a str>,
    environment: &Environment,
    attributes: &Attributes,
) -> Program {
    let words = std::iter::once(path.as_os_str()).chain(arguments.into_iter().map(OsStr::new));
    Program {
        path: c_string(path.as_os_str()),
        arguments: words.map(c_string).collect(),
        environment: environment.to_block(),
        attributes: attributes.clone(),
    }
}

/// A string for the kernel. Paths and arguments come from the file system and from tables, which have no NUL.
fn c_string(text: &OsStr) -> CString {
    let end = text.as_bytes().iter().position(|&byte| byte == 0).unwrap_or(text.len());
    CString::new(&text.as_bytes()[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_an_argument_is_filled_once() {
        let places = [("{file}", OsStr::new("a{binary}")), ("{binary}", OsStr::new("b"))];
        assert_eq!(substitute("cc {file} -o {binary} {file}", &places), "cc a{binary} -o b a{binary}");
        assert_eq!(substitute("{}", &places), "{}");
    }
}
