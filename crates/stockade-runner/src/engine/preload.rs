//! The session's fork server, where modules are to be imported ahead. Owns when it is started, and started again, what the
//! host is told of it, and which blocks get a fork of it: those that would be started as it was. Without it blocks get
//! interpreters that import for themselves.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    Engine, Handled,
    admission::{Obstacle, Ordered},
    reactor::Token,
    run,
    spares::Start,
};
use crate::{
    environment::Environment,
    os::process::{self, End, Ended, Parent},
    spare::{self, Door, Said, Server},
    wire::message::{Preloaded, Reply, RunId, Variable},
};

/// After as many that ended by themselves no other is started.
const MOST_FAILURES: usize = 3;
/// How long one that has closed its way to us may take to end.
const END: Duration = Duration::from_secs(1);
const ENDED: &str = "Python ended before it had imported them";

/// What is to be imported, and the server that has done so.
#[derive(Debug, Default)]
pub(super) struct Preload {
    /// None where nothing is preloaded.
    modules: Vec<String>,
    /// Of the server and its forks.
    environment: Rc<Environment>,
    /// How long the import may take.
    timeout: Duration,
    /// The host waits to be told what came of it.
    is_awaited: bool,
    failures: usize,
    server: Option<Running>,
}

/// The server.
#[derive(Debug)]
struct Running {
    /// By which its keeper's report and its pipes are known.
    id: RunId,
    /// Once it is known. It is our child.
    pid: Option<Pid>,
    way: Server,
    start: Start,
    pipes: Vec<u64>,
    phase: Phase,
    /// It has closed its way to us.
    is_silent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Importing { until: Option<Instant> },
    Ready,
}

impl Preload {
    pub(super) fn server_pid(&self) -> Option<Pid> {
        self.server.as_ref().and_then(|server| server.pid)
    }

    /// Whether one of our children may be the server, and we have not been told.
    pub(super) fn is_unknown(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.pid.is_none())
    }

    /// Whether blocks are to begin with modules.
    pub(super) fn is_wanted(&self) -> bool {
        !self.modules.is_empty()
    }

    /// Whether spares are worth waiting for: the server is about to be ready.
    pub(super) fn is_importing(&self) -> bool {
        self.server.as_ref().is_some_and(|server| matches!(server.phase, Phase::Importing { .. }))
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.server.as_ref()?.phase {
            Phase::Importing { until } => until,
            Phase::Ready => None,
        }
    }

    /// Takes in that a fork was made.
    pub(super) fn server_works(&mut self) {
        self.failures = 0;
    }

    pub(super) fn wants_server(&self) -> bool {
        self.is_wanted() && self.server.is_none() && self.failures < MOST_FAILURES
    }
}

impl Engine {
    /// Takes in what is to be imported. The host is told when that is done.
    pub(super) fn preload(&mut self, modules: Vec<String>, env: &[Variable], timeout: Duration) -> Handled {
        self.let_server_go();
        let Some(session) = &self.session else { return Ok(()) };
        let environment = session.environment.with(env).into();
        self.preload = Preload { modules, environment, timeout, is_awaited: true, ..Preload::default() };
        self.start_server()
    }

    /// Starts the server, if there is to be one and it is known what runs Python.
    pub(super) fn start_server(&mut self) -> Handled {
        if !self.preload.wants_server() {
            return Ok(());
        }
        let Some(session) = &self.session else { return Ok(()) };
        let environment = Rc::clone(&self.preload.environment);
        let Some(language) = session.languages.find("python").cloned() else {
            return self.tell_preloaded(Preloaded::Failed { why: "there is no language python".to_owned() });
        };
        let interpreter = match self.interpreter(&language, &environment) {
            Ok(interpreter) => interpreter,
            Err(Obstacle::Over(why)) => {
                let why =
                    why.map_or_else(|failure| failure.why, |missing| missing.notice.unwrap_or_default());
                return self.tell_preloaded(Preloaded::Failed { why });
            }
            // A shim is asked first, and this tried again when it has answered.
            Err(Obstacle::Later | Obstacle::Soon) => return Ok(()),
        };
        if !spare::is_for(&language, &interpreter) {
            return self.is_unfit("what runs python here is not called with its file alone".to_owned());
        }
        let Some(directory) = self.workspace_identity() else {
            return self.tell_preloaded(Preloaded::Failed { why: "the workspace is gone".to_owned() });
        };
        let start = Start { interpreter: interpreter.program, environment, merge_streams: false, directory };
        match self.order_server(start) {
            Ok(server) => {
                self.preload.server = Some(server);
                Ok(())
            }
            Err(error) => self.server_failed(&error.to_string()),
        }
    }

    fn workspace_identity(&self) -> Option<(u64, u64)> {
        self.session.as_ref()?.workspace.identity().ok()
    }

    fn order_server(&mut self, start: Start) -> io::Result<Running> {
        let session = self.session.as_ref().ok_or_else(|| io::Error::other("there is no session"))?;
        let program = run::waiting(&start.interpreter, &start.environment, &session.attributes);
        let (way, stdin) = Server::new(&self.preload.modules)?;
        self.reactor.watch(way.descriptor(), Token::Server)?;
        let id = self.next_own_run();
        let process = self.with_pipes(id, false, |engine, [stdout, stderr]| {
            engine.order_keeper(id, &program, Parent::Ours, [stdin.as_fd(), stdout, stderr])
        })?;
        let until = Instant::now().checked_add(self.preload.timeout);
        Ok(Running {
            id,
            pid: None,
            way,
            start,
            pipes: process.pipes,
            phase: Phase::Importing { until },
            is_silent: false,
        })
    }

    pub(super) fn is_server(&self, id: RunId) -> bool {
        self.preload.server.as_ref().is_some_and(|server| server.id == id)
    }

    pub(super) fn server_spawned(&mut self, id: RunId, pid: i32) -> Handled {
        // One that has been waited for is not ours any more, nor is its number.
        let pid = Pid::from_raw(pid.max(0)).filter(|pid| process::is_child(*pid));
        match (self.preload.server.as_mut().filter(|server| server.id == id), pid) {
            (Some(server), Some(pid)) => server.pid = Some(pid),
            (Some(_), None) => return self.server_failed(ENDED),
            // It was given up meanwhile, and is ended with other strays.
            (None, _) => {}
        }
        self.end_strays();
        Ok(())
    }

    /// Hears what the server says.
    pub(super) fn hear_server(&mut self) -> Handled {
        loop {
            let Some(server) = &mut self.preload.server else { return Ok(()) };
            match server.way.hear() {
                Ok(Some(Said::Ready)) => self.server_is_ready()?,
                Ok(Some(Said::Unfit(why))) => self.is_unfit(why)?,
                Ok(Some(Said::Failed(why))) => {
                    self.let_server_go();
                    self.preload.failures += 1;
                    self.tell_preloaded(Preloaded::Failed { why })?;
                }
                Ok(Some(Said::Changed)) => {
                    self.let_server_go();
                    self.renew_spares();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(None) | Err(_) => return self.server_went_silent(),
            }
        }
    }

    /// The server has closed its way to us: it has ended, as we are told in a moment, or is to end.
    fn server_went_silent(&mut self) -> Handled {
        let Some(server) = &mut self.preload.server else { return Ok(()) };
        if server.pid.is_none() {
            return self.server_failed(ENDED);
        }
        let _ = self.reactor.forget(server.way.descriptor());
        server.is_silent = true;
        server.phase = Phase::Importing { until: Some(Instant::now() + END) };
        Ok(())
    }

    fn server_is_ready(&mut self) -> Handled {
        let Some(server) = &mut self.preload.server else { return Ok(()) };
        server.phase = Phase::Ready;
        let start = server.start.clone();
        self.spares.begin_with(start);
        self.renew_spares();
        self.tell_preloaded(Preloaded::Ready)
    }

    /// Takes in that a child of ours has ended which may be the server.
    pub(super) fn server_ended(&mut self, ended: &Ended) -> Handled {
        if self.preload.server_pid() != Some(ended.pid) {
            return Ok(());
        }
        // What it said before may say why.
        self.hear_server()?;
        match &mut self.preload.server {
            Some(server) if server.pid == Some(ended.pid) => server.pid = None,
            _ => return Ok(()),
        }
        self.server_failed(&match ended.end {
            End::Exited(code) => format!("Python ended with exit code {code} while it imported them"),
            End::Signaled(libc::SIGKILL) => {
                "Python was killed while it imported them, as happens when memory is short".to_owned()
            }
            End::Signaled(signal) => format!("Python was ended by signal {signal} while it imported them"),
        })
    }

    /// No block can be forked from what has imported the modules, now or later.
    fn is_unfit(&mut self, why: String) -> Handled {
        self.let_server_go();
        self.preload.modules.clear();
        self.tell_preloaded(Preloaded::Unfit { why })
    }

    /// The server is of no use, through no fault of the modules'.
    pub(super) fn server_failed(&mut self, why: &str) -> Handled {
        self.let_server_go();
        self.end_strays();
        self.preload.failures += 1;
        self.renew_spares();
        self.tell_preloaded(Preloaded::Failed { why: why.to_owned() })
    }

    /// Gives up an import that takes longer than it may.
    pub(super) fn expire_server(&mut self, now: Instant) -> Handled {
        if self.preload.due().is_none_or(|due| due > now) {
            return Ok(());
        }
        if self.preload.server.as_ref().is_some_and(|server| server.is_silent) {
            return self.server_failed(ENDED);
        }
        let timeout = self.preload.timeout;
        self.server_failed(&format!("the import did not end within {timeout:.1?}"))
    }

    /// Tells the host, the first time.
    fn tell_preloaded(&mut self, preloaded: Preloaded) -> Handled {
        if !std::mem::take(&mut self.preload.is_awaited) {
            return Ok(());
        }
        Ok(self.link.send(&Reply::Preloaded(preloaded))?)
    }

    /// Ends the server. What was forked from it goes on.
    pub(super) fn let_server_go(&mut self) {
        let Some(server) = self.preload.server.take() else { return };
        if let Some(pid) = server.pid {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.pipes.close_all(&server.pipes);
    }

    /// A fork of the server, if it is ready and was started like this.
    pub(super) fn fork_spare(&mut self, id: RunId, start: &Start) -> Option<(Ordered, Door)> {
        let server = self.preload.server.as_ref()?;
        if server.phase != Phase::Ready {
            return None;
        }
        if !server.start.is_like(start) {
            if server.start.directory != start.directory {
                // Its directory is not the workspace any more.
                self.let_server_go();
            }
            return None;
        }
        let (door, stdin) = Door::of_fork().ok()?;
        let ordered = self.with_pipes(id, start.merge_streams, |engine, [stdout, stderr]| {
            engine.order_fork(id, [stdin.as_fd(), stdout, stderr])
        });
        Some((ordered.ok()?, door))
    }

    fn order_fork(&mut self, id: RunId, streams: [BorrowedFd<'_>; 3]) -> io::Result<u64> {
        let (keeper, channel) = self.keepers.expect(id, &self.reactor)?;
        let gone = || io::Error::other("the server is gone");
        let server = self.preload.server.as_ref().ok_or_else(gone)?;
        server.way.fork(&channel, streams).inspect_err(|_| {
            self.keepers.remove(keeper);
        })?;
        Ok(keeper)
    }
}
