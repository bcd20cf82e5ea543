//! What the kernel denies the code, whatever else its place denies: files and sockets by a Landlock domain, system
//! calls by seccomp filters, and every privilege. Owns what is prepared once for a session, and the order in which a
//! process takes it on, for good and for all that it starts. It refuses nobody for what the kernel lacks: it tells.
//!
//! Everything is prepared by the runner, which stays outside: the paths are opened once, so that no code can put
//! something else in their place before a later process is confined to them.

mod calls;
mod domain;
mod privileges;

use std::{io, path::PathBuf};

use landlock::{RulesetCreated, RulesetError};
use seccompiler::BpfProgram;

use crate::{
    memory,
    wire::message::{Confined, Confinement},
};

/// Why a process can't be confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfinementError {
    #[error("{} is not an absolute path", .0.display())]
    Relative(PathBuf),
    #[error("{} can't be opened: {error}", path.display())]
    Path { path: PathBuf, error: io::Error },
    #[error("the Landlock domain can't be made: {0}")]
    Domain(#[from] RulesetError),
    #[error("the Landlock domain can't be shared: {0}")]
    Share(#[source] io::Error),
    #[error("the privileges can't be given up: {0}")]
    Privileges(#[source] io::Error),
    #[error("the filter of system calls can't be made: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("the filter of system calls can't be installed: {0}")]
    Install(#[from] seccompiler::Error),
    #[error("no process can be made for it: {0}")]
    Process(#[source] io::Error),
    #[error("{0}")]
    Reported(String),
}

/// What confines a process.
#[derive(Debug)]
pub(crate) struct Confiner {
    domain: RulesetCreated,
    filters: Vec<BpfProgram>,
    /// The kernel is to end confined processes before others when memory runs out.
    raise_score: bool,
}

impl Confiner {
    /// Prepares what was asked for.
    pub(crate) fn new(wanted: &Confinement, raise_score: bool) -> Result<Self, ConfinementError> {
        Ok(Self { domain: domain::prepare(wanted)?, filters: calls::filters(wanted)?, raise_score })
    }

    /// Confines this process, which has one thread, and whatever it will start.
    pub(crate) fn confine(&self) -> Result<Confined, ConfinementError> {
        if self.raise_score {
            // While the file can be written. Where it can't, nothing is raised, as for a block that is not confined.
            memory::raise_own_score();
        }
        privileges::give_up().map_err(ConfinementError::Privileges)?;
        let landlock = domain::enter(&self.domain)?;
        // Last: what was done until here need not be allowed from here on.
        let seccomp = calls::install(&self.filters)?;
        Ok(Confined { landlock, scopes: landlock.is_some_and(domain::has_scopes), seccomp })
    }
}
