//! The keepers of a session: which are free, which hold a block, which hold what a block left behind. One is
//! always made ahead, so that a block does not wait for a clone.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::process::Pid;

use super::reactor::{Reactor, Token};
use crate::{
    confinement::{ConfinementError, Confiner},
    keeper::{Keeper, Report, Zygote},
    wire::message::{Confined, RunId},
};

/// Free keepers above this number are let go; each costs some 100 KiB.
const SPARES: usize = 32;
/// How long one may take to come that is forked with its block, which takes some milliseconds.
const COMING: Duration = Duration::from_secs(5);

/// A keeper and what it is busy with.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) keeper: Keeper,
    /// The run whose processes it holds; `None` when it is free.
    pub(crate) run: Option<RunId>,
    /// Until when it is waited for; `None` once it is there.
    comes_until: Option<Instant>,
}

/// All keepers of a session.
#[derive(Debug)]
pub(crate) struct Keepers {
    zygote: Zygote,
    /// What the zygote is confined by, and every one that takes its place.
    confiner: Option<Confiner>,
    all: HashMap<u64, Kept>,
    free: Vec<u64>,
    next: u64,
}

impl Keepers {
    pub(crate) fn new(zygote: Zygote) -> Self {
        Self { zygote, confiner: None, all: HashMap::new(), free: Vec::new(), next: 0 }
    }

    /// From now on every keeper is confined. Those that were made before end, for their channels are closed; none may
    /// be busy.
    pub(crate) fn confine(&mut self, confiner: Confiner) -> Result<Confined, ConfinementError> {
        let (zygote, confined) = Zygote::start_confined(&confiner)?;
        self.zygote = zygote;
        self.confiner = Some(confiner);
        self.all.clear();
        self.free.clear();
        Ok(confined)
    }

    /// A zygote like the one that was there.
    fn replacement(&self) -> io::Result<Zygote> {
        match &self.confiner {
            Some(confiner) => {
                Zygote::start_confined(confiner).map(|(zygote, _)| zygote).map_err(io::Error::other)
            }
            None => Zygote::start(),
        }
    }

    /// Makes a free keeper where there is none.
    pub(crate) fn prepare(&mut self, reactor: &Reactor) -> io::Result<()> {
        if self.free.is_empty() {
            let id = self.make(reactor)?;
            self.free.push(id);
        }
        Ok(())
    }

    /// A free keeper for `run`.
    pub(crate) fn take(&mut self, run: RunId, reactor: &Reactor) -> io::Result<u64> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => self.make(reactor)?,
        };
        self.assign(id, run);
        Ok(id)
    }

    /// A keeper for `run` that comes by itself, and the end of its channel that it is to bring.
    pub(crate) fn expect(&mut self, run: RunId, reactor: &Reactor) -> io::Result<(u64, OwnedFd)> {
        let (keeper, theirs) = Keeper::expected()?;
        let comes_until = Some(Instant::now() + COMING);
        let id = self.add(Kept { keeper, run: Some(run), comes_until }, reactor)?;
        Ok((id, theirs))
    }

    /// Whether one of our children may be a keeper that has not said so yet.
    pub(crate) fn expects_any(&self) -> bool {
        self.all.values().any(|kept| kept.comes_until.is_some())
    }

    /// Until when the next is waited for.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.all.values().filter_map(|kept| kept.comes_until).min()
    }

    /// Those that were waited for in vain.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<u64> {
        let overdue = |kept: &Kept| kept.comes_until.is_some_and(|until| until <= now);
        self.all.iter().filter(|(_, kept)| overdue(kept)).map(|(id, _)| *id).collect()
    }

    /// What a keeper says next; [`io::ErrorKind::WouldBlock`] for nothing, and `None` when it is gone.
    pub(crate) fn report(&mut self, id: u64) -> io::Result<Option<Report>> {
        let Some(kept) = self.all.get_mut(&id) else { return Err(io::ErrorKind::WouldBlock.into()) };
        let report = kept.keeper.report();
        if matches!(report, Ok(Some(_))) {
            kept.comes_until = None;
        }
        report
    }

    fn make(&mut self, reactor: &Reactor) -> io::Result<u64> {
        let keeper = match self.zygote.keeper() {
            Ok(keeper) => keeper,
            // Somebody killed the zygote. One made now is larger, and serves as well.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.zygote = self.replacement()?;
                self.zygote.keeper()?
            }
            Err(error) => return Err(error),
        };
        self.add(Kept { keeper, run: None, comes_until: None }, reactor)
    }

    fn add(&mut self, kept: Kept, reactor: &Reactor) -> io::Result<u64> {
        let id = self.next;
        self.next += 1;
        reactor.watch(kept.keeper.descriptor(), Token::Keeper(id))?;
        self.all.insert(id, kept);
        Ok(id)
    }

    /// Makes a keeper hold this run.
    pub(crate) fn assign(&mut self, id: u64, run: RunId) {
        if let Some(kept) = self.all.get_mut(&id) {
            kept.run = Some(run);
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Kept> {
        self.all.get(&id)
    }

    /// A keeper has no child any more.
    pub(crate) fn give_back(&mut self, id: u64) {
        let serves_once = self.all.get(&id).is_some_and(|kept| kept.keeper.serves_once);
        if serves_once || self.free.len() >= SPARES {
            self.all.remove(&id);
        } else if let Some(kept) = self.all.get_mut(&id) {
            kept.run = None;
            self.free.push(id);
        }
    }

    /// Forgets a keeper, which then ends by itself, for its channel is closed.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Kept> {
        self.free.retain(|free| *free != id);
        self.all.remove(&id)
    }

    pub(crate) fn with_pid(&self, pid: Pid) -> Option<u64> {
        self.all.iter().find(|(_, kept)| kept.keeper.pid == Some(pid)).map(|(id, _)| *id)
    }

    /// Keepers that hold processes.
    pub(crate) fn busy(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        let keepers = self.all.values().filter_map(|kept| kept.keeper.pid);
        keepers.chain([self.zygote.pid]).collect()
    }
}
