//! The engine: one event loop that runs everything. Owns the session's state and the order of its life: hello,
//! start, runs, end. It never waits for a block, a pipe, a keeper or the host; what it waits for is bounded
//! and said so where it happens.
//!
//! It ends everything it started and returns at the first of: the end of the stream, a frame that is none, the
//! death of the host's process, silence of the host for longer than was agreed, `Stop`, and SIGTERM.

mod admission;
mod ending;
mod keepers;
mod link;
mod pipes;
mod reactor;
mod run;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

pub use link::Transport;
use rustix::process::{Pid, Signal, kill_process};

use self::{
    admission::Waiting,
    keepers::Keepers,
    link::{Link, LinkError},
    pipes::{Pipes, Read},
    reactor::{Reactor, Token},
    run::{Purpose, Run, Shim, to_bytes, to_path},
};
use crate::{
    environment::Environment,
    interpreter,
    keeper::{Report, Zygote},
    language::Languages,
    manifest::Scanner,
    os::{descriptors, process, signals},
    source::RelativePath,
    wire::message::{Failure, LanguageReport, Reply, Request, RunId, SessionSpec, Stream, VERSION},
    workspace::{SaveError, Workspace},
};

/// One read of a pipe. As large as a busy pipe's size, so that the reader is woken once for a full pipe.
const READ_SIZE: usize = 1 << 20;

/// Prepares this process to be a runner and serves the host until its end.
///
/// # Errors
///
/// When the process can't be prepared: no descriptors, no memory for a first process.
pub fn run(transport: Transport) -> io::Result<()> {
    prepare_process()?;
    let (link, host) = Link::take(transport)?;
    // It is for what goes wrong until here; blocks get none of ours.
    let stderr = descriptors::take_standard(2)?;
    descriptors::null_standard()?;
    let descriptor_limits = descriptors::raise_limit();
    let engine = Zygote::start().and_then(|zygote| Engine::new(link, host, zygote, descriptor_limits));
    match engine {
        Ok(engine) => {
            drop(stderr);
            engine.serve();
            Ok(())
        }
        Err(error) => {
            let _ = writeln!(File::from(stderr), "stockade-runner: failed to start: {error}");
            Err(error)
        }
    }
}

/// Makes this process one that its blocks can't look into, that gets their orphans, and that no signal but
/// KILL and STOP disturbs.
fn prepare_process() -> io::Result<()> {
    descriptors::close_from(3, None);
    signals::reset_and_block();
    // Its memory and descriptors hold what other blocks printed.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A terminal's Ctrl-C goes to its foreground group, and the host decides what it means. A group's leader,
    // as a container's first process is, can't make a session and needs none.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"stockade-runner");
    // The host's directory is none of ours: it may be wanted for unmounting.
    std::env::set_current_dir("/")
}

/// Why the engine's loop ends.
#[derive(Debug)]
enum End {
    /// The host asked for it and is told when it is done.
    Stop,
    /// The stream to the host has ended, or what came over it makes no sense.
    Link,
    /// The host's process is gone.
    HostDied,
    /// The host was not heard for too long.
    HostSilent,
    /// SIGTERM, SIGINT or SIGHUP.
    Signal,
    /// The session can't start, and the host was told so.
    NotStarted,
}

/// What `Start` sets.
#[derive(Debug)]
struct Session {
    workspace: Workspace,
    environment: Rc<Environment>,
    languages: Languages,
    remove_workspace: bool,
    heartbeat_timeout: Option<Duration>,
    watch_background: bool,
}

struct Engine {
    reactor: Reactor,
    link: Link,
    /// Open for as long as the reactor is to watch it.
    _host: Option<OwnedFd>,
    signals: OwnedFd,
    descriptor_limits: (u64, u64),
    keepers: Keepers,
    pipes: Pipes,
    session: Option<Session>,
    runs: HashMap<RunId, Run>,
    waiting: VecDeque<Waiting>,
    /// Programs behind shims, for the environments in which they were asked.
    resolved: BTreeMap<Shim, PathBuf>,
    scanner: Scanner,
    buffer: Box<[u8]>,
    /// What is left of removed files, to be closed when there is nothing more urgent.
    removed: Vec<File>,
    next_probe: RunId,
    /// When runs that wait for a file that another process holds are tried again.
    retry: Option<Instant>,
}

/// What handling something gives: nothing, or that it is time to end.
type Handled = Result<(), End>;

impl From<LinkError> for End {
    fn from(_: LinkError) -> Self {
        Self::Link
    }
}

impl Engine {
    fn new(
        link: Link,
        host: Option<OwnedFd>,
        zygote: Zygote,
        descriptor_limits: (u64, u64),
    ) -> io::Result<Self> {
        let reactor = Reactor::new()?;
        let signals = signals::descriptor(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
        reactor.watch(&link.from_host, Token::FromHost)?;
        reactor.watch(&signals, Token::Signal)?;
        if let Some(host) = &host {
            reactor.watch(host, Token::HostProcess)?;
        }
        Ok(Self {
            reactor,
            link,
            _host: host,
            signals,
            descriptor_limits,
            keepers: Keepers::new(zygote),
            pipes: Pipes::new(),
            session: None,
            runs: HashMap::new(),
            waiting: VecDeque::new(),
            resolved: BTreeMap::new(),
            scanner: Scanner::default(),
            buffer: vec![0; READ_SIZE].into(),
            removed: Vec::new(),
            next_probe: admission::FIRST_PROBE,
            retry: None,
        })
    }

    /// Serves the host until the end, then ends everything.
    fn serve(mut self) {
        let end = self.converse().err().unwrap_or(End::Stop);
        let survivors = self.end_everything();
        if let End::Stop = end {
            self.say_goodbye(survivors);
        }
    }

    fn converse(&mut self) -> Handled {
        self.link.send(&Reply::Hello { version: VERSION })?;
        self.flush()?;
        // After the hello, which need not wait for it.
        self.prepare();
        loop {
            let ready = self.reactor.wait(self.next_due()).map_err(LinkError::Io)?;
            for token in ready {
                self.handle(token)?;
            }
            self.pass_time()?;
            self.flush()?;
            self.removed.clear();
            if self.runs.is_empty() {
                self.prepare();
            }
        }
    }

    /// Makes ahead what the next run will need, while there is nothing else to do. What can't be made now is made,
    /// or found to be missing, by that run.
    fn prepare(&mut self) {
        let _ = self.keepers.prepare(&self.reactor).and_then(|()| self.pipes.prepare(&self.reactor));
    }

    fn handle(&mut self, token: Token) -> Handled {
        match token {
            Token::FromHost => self.hear(),
            Token::ToHost => self.flush(),
            Token::HostProcess => Err(End::HostDied),
            Token::Signal => self.take_signals(),
            Token::Keeper(id) => self.hear_keeper(id),
            Token::Pipe(id) => self.read_pipe(id),
        }
    }

    fn flush(&mut self) -> Handled {
        if !self.link.flush()? {
            self.reactor.watch_for_room(&self.link.to_host, Token::ToHost).map_err(LinkError::Io)?;
        }
        Ok(())
    }

    // Time.

    /// When something is to be done that no descriptor tells.
    fn next_due(&self) -> Option<Instant> {
        let runs = self.runs.values().filter_map(Run::due);
        let heartbeat = self.session.as_ref().and_then(|session| session.heartbeat_timeout);
        let silent = heartbeat.and_then(|timeout| self.link.heard.checked_add(timeout));
        runs.chain(self.retry).chain(silent).min()
    }

    fn pass_time(&mut self) -> Handled {
        let now = Instant::now();
        let heartbeat = self.session.as_ref().and_then(|session| session.heartbeat_timeout);
        if heartbeat.is_some_and(|timeout| now.duration_since(self.link.heard) >= timeout) {
            return Err(End::HostSilent);
        }
        let due = |run: &&Run| run.due().is_some_and(|due| due <= now);
        let due: Vec<RunId> = self.runs.values().filter(due).map(|run| run.id).collect();
        for run in due {
            self.announce(run)?;
            if self.runs.get(&run).and_then(|run| run.phase.due()).is_some_and(|due| due <= now) {
                self.advance_ending(run)?;
            }
        }
        if self.retry.is_some_and(|retry| retry <= now) {
            self.admit()?;
        }
        Ok(())
    }

    // The host.

    fn hear(&mut self) -> Handled {
        let heard = self.link.fill();
        while let Some(request) = self.link.next()? {
            self.obey(request)?;
        }
        Ok(heard?)
    }

    fn obey(&mut self, request: Request) -> Handled {
        match request {
            Request::Start(spec) if self.session.is_none() => self.start(spec),
            Request::Heartbeat => Ok(self.link.send(&Reply::Heartbeat)?),
            Request::Stop => Err(End::Stop),
            _ if self.session.is_none() => Ok(()),
            Request::Run(spec) if !self.knows(spec.run) => {
                self.waiting.push_back(Waiting::new(spec));
                self.admit()
            }
            // No host of ours starts twice, or two runs of one number.
            Request::Start(_) | Request::Run(_) => Err(End::Link),
            Request::Cancel { run } => self.cancel(run),
            Request::Credit { run, bytes } => {
                self.take_credit(run, bytes);
                Ok(())
            }
            Request::Languages => self.report_languages(),
            Request::Write { id, path, contents } => self.write(id, &path, &contents),
            Request::WatchBackground => {
                self.session.iter_mut().for_each(|session| session.watch_background = true);
                Ok(())
            }
        }
    }

    fn knows(&self, run: RunId) -> bool {
        let waits = || self.waiting.iter().any(|waiting| waiting.spec.run == run);
        run >= admission::FIRST_PROBE || self.runs.contains_key(&run) || waits()
    }

    fn start(&mut self, spec: SessionSpec) -> Handled {
        let path = to_path(&spec.workspace);
        let opened = match path.is_absolute() {
            true => Workspace::open(&path, spec.cleanup_temp_files),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "its path is not absolute")),
        };
        let workspace = match opened {
            Ok(workspace) => workspace,
            Err(error) => {
                let failure = failed(&format!("use {} as the workspace", path.display()), &error);
                self.link.send(&Reply::StartFailed(failure))?;
                self.flush()?;
                return Err(End::NotStarted);
            }
        };
        self.session = Some(Session {
            workspace,
            environment: Environment::of_this_process().with(&spec.env).into(),
            languages: Languages::new(spec.languages),
            remove_workspace: spec.remove_workspace,
            heartbeat_timeout: spec.heartbeat_timeout_ms.map(Duration::from_millis),
            watch_background: false,
        });
        Ok(self.link.send(&Reply::Ready { pid: std::process::id() })?)
    }

    fn report_languages(&mut self) -> Handled {
        let Some(session) = &self.session else { return Ok(()) };
        let reports = session.languages.iter().map(|language| LanguageReport {
            name: language.name.clone(),
            aliases: language.aliases.clone(),
            extension: language.extension.clone(),
            runs: language.runs(),
            interpreter: interpreter::find(language, &session.environment)
                .ok()
                .map(|found| to_bytes(&found.program)),
        });
        Ok(self.link.send(&Reply::Languages(reports.collect()))?)
    }

    fn write(&mut self, id: u64, path: &[u8], contents: &[u8]) -> Handled {
        let Some(session) = &mut self.session else { return Ok(()) };
        let doing = format!("write {} in the workspace", String::from_utf8_lossy(path));
        let result =
            RelativePath::new(path).map_err(|error| failure(&doing, error.to_string())).and_then(|path| {
                session.workspace.refresh().map_err(|error| failed(&doing, &error))?;
                let saved = session.workspace.save_named(path.as_path(), contents);
                let saved = saved.map_err(|error| match error {
                    SaveError::Io(error) => failed(&doing, &error),
                    error => failure(&doing, error.to_string()),
                })?;
                self.scanner.remember(saved.stamp);
                Ok(to_bytes(&session.workspace.path().join(path.as_path())))
            });
        Ok(self.link.send(&Reply::Written { id, result })?)
    }

    // Processes.

    fn take_signals(&mut self) -> Handled {
        while let Some(signal) = signals::next(&self.signals) {
            if signal != libc::SIGCHLD {
                return Err(End::Signal);
            }
        }
        let mut reaped = false;
        while let Ok(Some(ended)) = process::wait_any() {
            reaped = true;
            if let Some(keeper) = self.keepers.with_pid(ended.pid) {
                self.keeper_died(keeper)?;
            }
        }
        // A keeper's channel closes before its children fall to us, so look again when it has been reaped.
        if reaped {
            self.end_strays();
        }
        Ok(())
    }

    fn hear_keeper(&mut self, id: u64) -> Handled {
        while let Some(kept) = self.keepers.get(id) {
            let run = kept.run;
            match kept.keeper.report() {
                Ok(Some(report)) => self.take_report(id, run, report)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => {
                    // It may be about to end, or live on with a broken channel.
                    let _ = kill_process(kept.keeper.pid, Signal::KILL);
                    return self.keeper_died(id);
                }
            }
        }
        Ok(())
    }

    fn take_report(&mut self, keeper: u64, run: Option<RunId>, report: Report) -> Handled {
        let active = run.filter(|run| self.runs.contains_key(run));
        match (report, active) {
            (Report::NotSpawned { stage, errno }, Some(run)) => {
                self.keepers.give_back(keeper);
                self.not_spawned(run, stage, errno)
            }
            (Report::Ended { childless, .. }, Some(run)) => {
                if childless {
                    self.keepers.give_back(keeper);
                }
                self.process_ended(run, report, childless)
            }
            (Report::Childless, active) => {
                self.keepers.give_back(keeper);
                active.map_or(Ok(()), |run| self.finish(run, Vec::new()))?;
                self.admit()
            }
            // A report on a run that was given up.
            (Report::Ended { childless: true, .. } | Report::NotSpawned { .. }, None) => {
                self.keepers.give_back(keeper);
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }

    /// Tells the host that the block runs, unless it has been told.
    fn announce(&mut self, run: RunId) -> Handled {
        let Some(Run { purpose: Purpose::Block(block), .. }) = self.runs.get_mut(&run) else { return Ok(()) };
        if block.announce_at.take().is_none() {
            return Ok(());
        }
        let (language, file) = (block.language.clone(), to_bytes(&block.path));
        Ok(self.link.send(&Reply::Started { run, language, file })?)
    }

    // Output.

    fn read_pipe(&mut self, id: u64) -> Handled {
        let run = self.pipes.get_mut(id).map(|pipe| pipe.run);
        let live = run.and_then(|run| self.runs.get_mut(&run)).and_then(Run::live_mut);
        match live.filter(|live| live.backpressure).map(|live| live.credit) {
            None => self.read_once(id, usize::MAX).map(drop),
            Some(0) => {
                self.pipes.pause(id, &self.reactor);
                Ok(())
            }
            Some(credit) => self.read_once(id, usize::try_from(credit).unwrap_or(usize::MAX)).map(drop),
        }
    }

    /// The host has room for more live output: a run that waited for that goes on.
    fn take_credit(&mut self, id: RunId, bytes: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(live) = run.live_mut() {
            live.credit = live.credit.saturating_add(bytes);
        }
        run.pipes.iter().for_each(|pipe| self.pipes.resume(*pipe, &self.reactor));
    }

    /// Reads a pipe once, and gives how much was read.
    fn read_once(&mut self, id: u64, at_most: usize) -> Result<u64, End> {
        let Some(pipe) = self.pipes.get_mut(id) else { return Ok(0) };
        let (run, stream) = (pipe.run, pipe.stream);
        let room = at_most.min(self.buffer.len());
        match pipe.read(&mut self.buffer[..room]) {
            Read::Bytes(length) => {
                self.take_output(id, run, stream, length)?;
                Ok(length as u64)
            }
            Read::Empty => Ok(0),
            Read::End => {
                let untold = std::mem::take(&mut pipe.untold);
                self.pipes.close(id);
                if untold > 0 {
                    self.link.send(&Reply::Background {
                        run,
                        stream,
                        bytes: untold,
                        data: Default::default(),
                    })?;
                }
                if let Some(run) = self.runs.get_mut(&run) {
                    run.pipes.retain(|pipe| *pipe != id);
                }
                Ok(0)
            }
        }
    }

    fn take_output(&mut self, pipe: u64, id: RunId, stream: Stream, length: usize) -> Handled {
        let Some(run) = self.runs.get_mut(&id) else {
            return self.take_background(pipe, id, stream, length);
        };
        run.capture.push(stream, &self.buffer[..length]);
        let Some(live) = run.live_mut() else { return Ok(()) };
        if live.credit < length as u64 && !live.backpressure {
            live.lost += length as u64;
            return Ok(());
        }
        // The last of a block's output comes without credit: no more than its pipes hold.
        live.credit = live.credit.saturating_sub(length as u64);
        let lost = std::mem::take(&mut live.lost);
        self.announce(id)?;
        let data = self.buffer[..length].to_vec().into();
        Ok(self.link.send(&Reply::Live { run: id, stream, data, lost })?)
    }

    /// Output of what a run left behind is counted, and shown to who asked for it as long as the host keeps up.
    fn take_background(&mut self, id: u64, run: RunId, stream: Stream, length: usize) -> Handled {
        let Some(pipe) = self.pipes.get_mut(id) else { return Ok(()) };
        pipe.untold += length as u64;
        if !self.link.has_room() {
            return Ok(());
        }
        let watched = self.session.as_ref().is_some_and(|session| session.watch_background);
        let data = if watched { self.buffer[..length].to_vec() } else { Vec::new() };
        let bytes = std::mem::take(&mut pipe.untold);
        Ok(self.link.send(&Reply::Background { run, stream, bytes, data: data.into() })?)
    }

    fn own_pids(&self) -> Vec<Pid> {
        self.keepers.pids()
    }
}

/// A failure of the runner's.
fn failure(doing: &str, why: String) -> Failure {
    Failure { doing: doing.to_owned(), why, errno: None }
}

/// A failure that the operating system reported.
fn failed(doing: &str, error: &io::Error) -> Failure {
    Failure { doing: doing.to_owned(), why: error.to_string(), errno: error.raw_os_error() }
}
