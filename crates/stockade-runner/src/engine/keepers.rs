//! The keepers of a session: which are free, which hold a block, which hold what a block left behind. One is
//! always made ahead, so that a block does not wait for a clone.

use std::{collections::HashMap, io};

use rustix::process::Pid;

use super::reactor::{Reactor, Token};
use crate::{
    confinement::{ConfinementError, Confiner},
    keeper::{Keeper, Zygote},
    wire::message::{Confined, RunId},
};

/// Free keepers above this number are let go; each costs some 100 KiB.
const SPARES: usize = 32;

/// A keeper and what it is busy with.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) keeper: Keeper,
    /// The run whose processes it holds; `None` when it is free.
    pub(crate) run: Option<RunId>,
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
        let id = self.next;
        self.next += 1;
        reactor.watch(keeper.descriptor(), Token::Keeper(id))?;
        self.all.insert(id, Kept { keeper, run: None });
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
        if self.free.len() >= SPARES {
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
        self.all.iter().find(|(_, kept)| kept.keeper.pid == pid).map(|(id, _)| *id)
    }

    /// Whether a child of the runner is the zygote or a keeper.
    pub(crate) fn owns(&self, pid: Pid) -> bool {
        self.zygote.pid == pid || self.with_pid(pid).is_some()
    }

    /// Keepers that hold processes.
    pub(crate) fn busy(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        let keepers = self.all.values().map(|kept| kept.keeper.pid);
        keepers.chain([self.zygote.pid]).collect()
    }
}
