//! The session's spare interpreters. Owns when they are started, and for which blocks one will do: those that would be
//! started exactly as it was.

use std::{
    os::fd::AsFd,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    Engine, Handled, Session,
    admission::{Begun, Ordered},
    run::{self, Block, Phase, Purpose},
};
use crate::{environment::Environment, spare::Door, wire::message::RunId};

/// How long nothing must run before those that wait are started: a caller who goes on at once would only be disturbed.
const IDLE: Duration = Duration::from_millis(5);
/// After as many that ended while they waited no more are started: this machine's Python can't be one.
const MOST_FAILURES: usize = 3;

/// How an interpreter is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) interpreter: PathBuf,
    pub(super) environment: Rc<Environment>,
    pub(super) merge_streams: bool,
    /// The workspace's directory, which another can replace.
    pub(super) directory: (u64, u64),
}

impl Start {
    /// Whether the two are alike, but for their streams, it may be.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let Self { interpreter, environment, directory, merge_streams: _ } = self;
        *interpreter == other.interpreter
            && *environment == other.environment
            && *directory == other.directory
    }
}

/// An interpreter that waits.
#[derive(Debug)]
struct Spare {
    id: RunId,
    process: Ordered,
    door: Door,
}

/// Those of a session.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// How those are started that wait; none before the first block.
    start: Option<Start>,
    /// How the last block's was.
    last: Option<Start>,
    waiting: Vec<Spare>,
    failures: usize,
    /// When they are started, if nothing runs then.
    due: Option<Instant>,
}

impl Spares {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has those that wait be started like this, before any block was.
    pub(super) fn begin_with(&mut self, start: Start) {
        self.start.get_or_insert(start);
    }
}

impl Engine {
    /// Takes in that a block has ended. What it has changed, such as the packages that are installed, is nothing to an
    /// interpreter that started before: others take the place of those that wait.
    pub(super) fn renew_spares(&mut self) {
        self.let_spares_go();
        let wanted = self.session.as_ref().is_some_and(|session| session.spares > 0);
        let waits = wanted && self.spares.start.is_some() || self.preload.wants_server();
        self.spares.due = waits.then(|| Instant::now() + IDLE);
    }

    /// Starts as many as are wanted and can be had, when it is time and there is nothing else to do.
    pub(super) fn prepare_spares(&mut self) -> Handled {
        if !self.runs.is_empty() || self.spares.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.spares.due = None;
        self.start_server()?;
        if self.preload.is_importing() {
            // They are worth waiting for.
            return Ok(());
        }
        let wanted = self.session.as_ref().map_or(0, |session| session.spares);
        while self.spares.waiting.len() < wanted && self.spares.failures < MOST_FAILURES {
            let Some(start) = self.spares.start.clone() else { break };
            match self.start_spare(&start) {
                Some(spare) => self.spares.waiting.push(spare),
                None => self.spares.failures += 1,
            }
        }
        Ok(())
    }

    fn start_spare(&mut self, start: &Start) -> Option<Spare> {
        let session = self.session.as_ref()?;
        if session.workspace.identity().ok()? != start.directory {
            return None;
        }
        let id = self.next_own_run();
        let (process, door) = match self.fork_spare(id, start) {
            Some(forked) => forked,
            None => self.start_interpreter(id, start)?,
        };
        // What it prints while it starts is its block's output.
        process.pipes.iter().for_each(|pipe| self.pipes.pause(*pipe, &self.reactor));
        Some(Spare { id, process, door })
    }

    fn start_interpreter(&mut self, id: RunId, start: &Start) -> Option<(Ordered, Door)> {
        let attributes = &self.session.as_ref()?.attributes;
        let program = run::waiting(&start.interpreter, &start.environment, attributes);
        let (door, stdin) = Door::new().ok()?;
        Some((self.order(id, &program, stdin.as_fd(), start.merge_streams).ok()?, door))
    }

    /// The process of a spare that was started like this, as a run's from now on. If there is none, the next ones are
    /// started so: when all that is set is the session's own, or else the second time in a row. What a single call was given
    /// to itself does not stay behind in a process that waits.
    pub(super) fn take_spare(&mut self, start: Start, is_usual: bool, run: RunId) -> Option<(Ordered, Door)> {
        let is_known = self.spares.start.as_ref() == Some(&start);
        let is_repeated = self.spares.last.replace(start.clone()).as_ref() == Some(&start);
        if !is_known && !is_usual && !is_repeated {
            return None;
        }
        if !is_known {
            self.spares.start = Some(start.clone());
            self.spares.failures = 0;
            self.let_spares_go();
        }
        match self.spares.waiting.pop() {
            Some(Spare { process, door, .. }) => Some((self.assign(process, run), door)),
            // Of a server one can be had at once.
            None => self.fork_spare(run, &start),
        }
    }

    /// Tells a run's spare of its file, when its keeper is there: what a block left behind before that would be no keeper's.
    /// A spare that is gone is replaced when its keeper says so.
    pub(super) fn let_in(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let Purpose::Block(Block { path, spared: Some(spared), .. }) = &run.purpose else { return };
        let teardown = self.session.as_ref().is_some_and(|session| session.teardown);
        if self.keepers.get(run.keeper).is_some_and(|kept| kept.keeper.pid.is_some()) {
            let _ = spared.door.send_in(path, teardown);
        }
    }

    fn assign(&mut self, process: Ordered, run: RunId) -> Ordered {
        self.keepers.assign(process.keeper, run);
        for pipe in &process.pipes {
            self.pipes.assign(*pipe, run);
            self.pipes.resume(*pipe, &self.reactor);
        }
        let kills_before = self.session.as_ref().map_or(0, Session::out_of_memory_kills);
        Ordered { started: Instant::now(), since: self.scanner.now(), kills_before, ..process }
    }

    /// Starts a run again whose spare has ended before it heard of it. What it was to run never began.
    pub(super) fn start_again(&mut self, id: RunId) -> Handled {
        let Some(run) = self.runs.remove(&id) else { return Ok(()) };
        // A fork may have found that its modules have changed, and what else is wrong with it is the server's.
        self.spares.failures += usize::from(!self.preload.is_wanted());
        self.pipes.close_all(&run.pipes);
        let Purpose::Block(block) = run.purpose else { return Ok(()) };
        block.file.release();
        let again = block.spared.and_then(|spared| spared.again);
        if let (Some(waiting), Phase::Running { until }) = (again, run.phase) {
            let begun = Begun { until, announced: block.announce_at.is_none() };
            self.waiting.push_front(waiting.again(begun));
        }
        self.admit()
    }

    /// Takes in that a process has ended which may have been a spare.
    pub(super) fn spare_ended(&mut self, run: RunId) {
        if let Some(place) = self.spares.waiting.iter().position(|spare| spare.id == run) {
            let spare = self.spares.waiting.swap_remove(place);
            self.spares.failures += 1;
            self.pipes.close_all(&spare.process.pipes);
        }
    }

    /// Has all spares end.
    pub(super) fn let_spares_go(&mut self) {
        for spare in std::mem::take(&mut self.spares.waiting) {
            self.pipes.close_all(&spare.process.pipes);
        }
    }
}
