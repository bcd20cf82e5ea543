//! The engine: one event loop that runs everything. Owns the session's state and the order of its life: hello,
//! start, runs, end. It never waits for a block, a pipe, a keeper or the host; what it waits for is bounded
//! and said so where it happens.
//!
//! It ends everything it started and returns at the first of: the end of the stream, a frame that is none, the
//! death of the host's process, silence of the host for longer than was agreed, `Stop`, and SIGTERM, SIGINT or
//! SIGHUP. A runner that may outlive its host then waits for the next, which gets an engine of its own.

mod admission;
mod ending;
mod keepers;
mod link;
mod output;
mod pipes;
mod preload;
mod processes;
mod reactor;
mod requests;
mod run;
mod session;
mod spares;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use link::Transport;
use rustix::process::Pid;
use serde_bytes::ByteBuf;

use self::{
    admission::Waiting,
    keepers::Keepers,
    link::{Link, LinkError},
    pipes::Pipes,
    preload::Preload,
    reactor::{Reactor, Token},
    run::{Run, Shim},
    session::Session,
    spares::Spares,
};
use crate::{
    changes::Snapshot,
    delivery,
    door::Door,
    keeper::Zygote,
    manifest::Scanner,
    os::{descriptors, signals},
    wire::message::{Failure, Reply, RunId, VERSION},
};

/// One read of a pipe. As large as a busy pipe's size, so that the reader is woken once for a full pipe.
const READ_SIZE: usize = 1 << 20;
/// How long a host that has come later may be silent before it has started a session: it keeps others out.
const UNTIL_START: Duration = Duration::from_secs(10);

/// Prepares this process to be a runner and serves the host until its end, and others after it where the transport
/// and the host say so.
///
/// # Errors
///
/// When the process can't be prepared: no descriptors, no memory for a first process, no way to wait for a host.
pub fn run(transport: Transport) -> io::Result<()> {
    let socket = settle(transport)?;
    prepare_process()?;
    let (link, host) = Link::take(transport)?;
    // It is for what goes wrong until here; blocks get none of ours.
    let stderr = descriptors::take_standard(2)?;
    descriptors::null_standard()?;
    let descriptor_limits = descriptors::raise_limit();
    match Engine::begin(link, host, descriptor_limits) {
        Ok(engine) => {
            drop(stderr);
            serve_all(engine, socket.as_deref())
        }
        Err(error) => {
            let _ = writeln!(File::from(stderr), "stockade-runner: failed to start: {error}");
            Err(error)
        }
    }
}

/// Sees to the executable, which is of no use to a runner that ends with its host. Gives where one that does not waits
/// for the next.
fn settle(transport: Transport) -> io::Result<Option<PathBuf>> {
    match transport {
        Transport::LocalSocket => Ok(None),
        Transport::Stdio => {
            delivery::remove_executable();
            Ok(None)
        }
        Transport::Linger => {
            let socket = delivery::socket()?;
            // A place where there can be no door is told at once, not when somebody wants to come in.
            let impossible = |error: io::Error| {
                let path = socket.display();
                io::Error::new(error.kind(), format!("no other host could come to {path}: {error}"))
            };
            Door::open(&socket).map_err(impossible)?;
            Ok(Some(socket))
        }
    }
}

/// Serves the first host, and those who come back for what it has begun.
fn serve_all(mut engine: Engine, socket: Option<&Path>) -> io::Result<()> {
    let mut token = None;
    loop {
        let descriptor_limits = engine.descriptor_limits;
        token = engine.serve(token);
        let (Some(socket), Some(token)) = (socket, &token) else { return Ok(()) };
        let Some(stream) = Door::open(socket)?.admit(token)? else { return Ok(()) };
        engine = Engine::begin(Link::over(stream)?, None, descriptor_limits)?;
        engine.until_start = Some(UNTIL_START);
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

struct Engine {
    reactor: Reactor,
    link: Link,
    /// Open for as long as the reactor is to watch it.
    _host: Option<OwnedFd>,
    signals: OwnedFd,
    descriptor_limits: (u64, u64),
    /// How long the host may be silent before it has started the session, which sets it from then on.
    until_start: Option<Duration>,
    keepers: Keepers,
    pipes: Pipes,
    spares: Spares,
    preload: Preload,
    session: Option<Session>,
    runs: HashMap<RunId, Run>,
    waiting: VecDeque<Waiting>,
    /// Programs behind shims, for the environments in which they were asked.
    resolved: BTreeMap<Shim, PathBuf>,
    scanner: Scanner,
    snapshot: Snapshot,
    buffer: Box<[u8]>,
    /// What is left of removed files, to be closed when there is nothing more urgent.
    removed: Vec<File>,
    next_own_run: RunId,
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
    fn begin(link: Link, host: Option<OwnedFd>, descriptor_limits: (u64, u64)) -> io::Result<Self> {
        // First, while there is little to clone.
        let zygote = Zygote::start()?;
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
            until_start: None,
            keepers: Keepers::new(zygote),
            pipes: Pipes::new(),
            spares: Spares::default(),
            preload: Preload::default(),
            session: None,
            runs: HashMap::new(),
            waiting: VecDeque::new(),
            resolved: BTreeMap::new(),
            scanner: Scanner::default(),
            snapshot: Snapshot::default(),
            buffer: vec![0; READ_SIZE].into(),
            removed: Vec::new(),
            next_own_run: admission::FIRST_OWN_RUN,
            retry: None,
        })
    }

    /// Serves the host until the end, then ends everything. Gives the token by which the next host is known, if one may
    /// come; the `last` one is good until a session has started.
    fn serve(mut self, last: Option<ByteBuf>) -> Option<ByteBuf> {
        let end = self.converse().err().unwrap_or(End::Stop);
        let survivors = self.end_everything();
        if let End::Stop = end {
            self.say_goodbye(survivors);
        }
        let token = match (end, &mut self.session) {
            (End::Signal, _) => None,
            (_, Some(session)) => session.token.take(),
            (_, None) => last,
        };
        // Last, for it takes as long as there are files.
        self.remove_directories();
        token
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
            self.prepare_spares()?;
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
            Token::Server => self.hear_server(),
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
        let silent = self.patience().and_then(|patience| self.link.heard.checked_add(patience));
        // With something that runs, its end is waited for.
        let spares = self.spares.due().filter(|_| self.runs.is_empty());
        let coming = self.keepers.due().into_iter().chain(self.preload.due());
        runs.chain(self.retry).chain(silent).chain(spares).chain(coming).min()
    }

    /// How long the host may be silent.
    fn patience(&self) -> Option<Duration> {
        self.session.as_ref().map_or(self.until_start, |session| session.heartbeat_timeout)
    }

    fn pass_time(&mut self) -> Handled {
        let now = Instant::now();
        if self.patience().is_some_and(|patience| now.duration_since(self.link.heard) >= patience) {
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
        let overdue = self.keepers.overdue(now);
        for keeper in overdue.iter().copied() {
            self.keeper_died(keeper)?;
        }
        if !overdue.is_empty() {
            self.server_failed("it does not answer")?;
        }
        self.expire_server(now)?;
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

    fn own_pids(&self) -> Vec<Pid> {
        let mut pids = self.keepers.pids();
        pids.extend(self.preload.server_pid());
        pids
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
