//! A session's terms: what the host asks for at its start, found to hold or refused. Owns what is set once and for
//! all blocks; it changes nothing in the workspace before everything that can be refused was not.

use std::{io, path::PathBuf, rc::Rc, time::Duration};

use rustix::{
    fs::Mode,
    process::{Resource, getrlimit, umask},
};
use serde_bytes::ByteBuf;

use super::{failed, failure, requests, run::to_path};
use crate::{
    concealment,
    environment::Environment,
    handover::{Handover, Owner},
    language::Languages,
    memory::{self, OutOfMemoryKills},
    os::process::{Attributes, Credentials},
    source::RelativePath,
    user::User,
    wire::message::{Failure, Ownership, ProcessLimits, Refusal, SessionSpec},
    workspace::Workspace,
};

/// What `Start` sets.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) workspace: Workspace,
    pub(super) environment: Rc<Environment>,
    /// Of every process that is started for the host.
    pub(super) attributes: Attributes,
    /// Gives what blocks make to the workspace's owner, where that was asked for.
    pub(super) handover: Option<Handover>,
    /// Where the place has a memory limit, and tells whom it ended for it.
    pub(super) out_of_memory_kills: Option<OutOfMemoryKills>,
    pub(super) languages: Languages,
    /// How many interpreters wait for blocks.
    pub(super) spares: usize,
    /// Those that waited take their modules apart at their end.
    pub(super) teardown: bool,
    pub(super) remove_workspace: bool,
    /// Removed at the end.
    pub(super) scratch: Option<PathBuf>,
    pub(super) heartbeat_timeout: Option<Duration>,
    pub(super) watch_background: bool,
    /// By which another host is known that comes when this one is gone.
    pub(super) token: Option<ByteBuf>,
}

/// As hosts are told: more would only hold memory.
const MOST_SPARES: usize = 64;

/// Why a session can't start.
pub(super) type Refused = (Refusal, Failure);

impl Session {
    pub(super) fn open(spec: SessionSpec, descriptor_limits: (u64, u64)) -> Result<Self, Refused> {
        let mut workspace = open_workspace(&spec)?;
        if let Some(witness) = &spec.witness {
            find(&workspace, witness)?;
        }
        let user = spec.user.as_deref().map(find_user).transpose()?;
        let credentials = user.as_ref().filter(|user| !user.is_ours()).map(|user| user.credentials.clone());
        if credentials.is_some() && spec.confinement.is_some() {
            return Err(confined_user());
        }
        // Confined code has no right to trace, whatever its user's are.
        if spec.concealed && spec.confinement.is_none() {
            require_concealment(credentials.as_ref())?;
        }
        let handover = set_owner(&mut workspace, spec.ownership, credentials.as_ref())?;
        if credentials.is_some() {
            let_others_read();
        }
        Ok(Self {
            workspace,
            environment: environment(user.as_ref()).with(&spec.env).into(),
            attributes: attributes(&spec, descriptor_limits, credentials),
            handover,
            out_of_memory_kills: spec.memory_limit.then(OutOfMemoryKills::find).flatten(),
            languages: Languages::new(spec.languages),
            spares: (spec.spares as usize).min(MOST_SPARES),
            teardown: spec.teardown,
            remove_workspace: spec.remove_workspace,
            scratch: spec.scratch.as_ref().map(to_path).filter(|path| path.is_absolute()),
            heartbeat_timeout: spec.heartbeat_timeout_ms.map(Duration::from_millis),
            watch_background: false,
            token: spec.token,
        })
    }

    /// How many processes the kernel has ended for the memory limit; 0 where nobody tells.
    pub(super) fn out_of_memory_kills(&self) -> u64 {
        self.out_of_memory_kills.as_ref().and_then(OutOfMemoryKills::count).unwrap_or(0)
    }
}

/// What blocks are started with.
fn attributes(spec: &SessionSpec, (soft, hard): (u64, u64), credentials: Option<Credentials>) -> Attributes {
    let limits = spec.confinement.as_ref().map(|confinement| confinement.limits).unwrap_or_default();
    let ProcessLimits { open_files, file_size, cpu_seconds } = limits;
    // What confined code is started from has the score already, and could not set it.
    let raises_score = spec.memory_limit && spec.confinement.is_none();
    let open_files = open_files.unwrap_or(u64::MAX);
    Attributes {
        descriptor_limits: (soft.min(open_files), hard.min(open_files)),
        file_size: file_size.map(|most| no_more_than_ours(most, Resource::Fsize)),
        cpu_seconds: cpu_seconds.map(|most| no_more_than_ours(most, Resource::Cpu)),
        credentials,
        oom_score_adj: raises_score.then(memory::raised_score).flatten(),
    }
}

/// A limit that can be set: nobody may raise what was set before.
fn no_more_than_ours(wanted: u64, resource: Resource) -> u64 {
    getrlimit(resource).maximum.map_or(wanted, |ours| ours.min(wanted))
}

/// Becoming another user takes privileges, which confined code gives up before.
fn confined_user() -> Refused {
    let why = "it would have to run as another user than the runner".to_owned();
    (Refusal::Confinement, failure("confine the code", why))
}

fn open_workspace(spec: &SessionSpec) -> Result<Workspace, Refused> {
    let path = to_path(&spec.workspace);
    let opened = match path.is_absolute() {
        true => Workspace::open(&path, spec.cleanup_temp_files),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "its path is not absolute")),
    };
    opened.map_err(|error| workspace_refused(&path.display().to_string(), &error))
}

fn workspace_refused(path: &str, error: &io::Error) -> Refused {
    (Refusal::Workspace, failed(&format!("use {path} as the workspace"), error))
}

/// Makes sure that the host has made this file in this very directory.
fn find(workspace: &Workspace, witness: &[u8]) -> Result<(), Refused> {
    let doing = format!("find {} in the workspace", String::from_utf8_lossy(witness));
    let path = RelativePath::new(witness).map_err(|error| failure(&doing, error.to_string()));
    let found = path.and_then(|path| {
        workspace.find_file(path.as_path()).map_err(|error| requests::refused(&doing, error))
    });
    found.map_err(|failure| (Refusal::Elsewhere, failure))
}

fn find_user(asked: &str) -> Result<User, Refused> {
    let doing = format!("run the code as the user {asked}");
    User::find(asked).map_err(|error| (Refusal::User, failure(&doing, error.to_string())))
}

fn require_concealment(credentials: Option<&Credentials>) -> Result<(), Refused> {
    const DOING: &str = "keep the runner out of the code's reach";
    match concealment::exposure(credentials) {
        Ok(None) => Ok(()),
        Ok(Some(exposure)) => Err((Refusal::Exposed, failure(DOING, exposure.to_string()))),
        Err(error) => Err((Refusal::Exposed, failed(DOING, &error))),
    }
}

/// Sees to it that what is made in the workspace gets the owner that was asked for.
fn set_owner(
    workspace: &mut Workspace,
    ownership: Ownership,
    credentials: Option<&Credentials>,
) -> Result<Option<Handover>, Refused> {
    let path = workspace.path().display().to_string();
    match (ownership, credentials) {
        (Ownership::Workspace, _) => {
            let handover = Handover::begin(workspace.directory());
            let handover = handover.map_err(|errno| workspace_refused(&path, &errno.into()))?;
            workspace.give_to(handover.owner());
            Ok(Some(handover))
        }
        (Ownership::User, Some(user)) => {
            let owner = Owner { uid: user.uid, gid: user.gid };
            let given = owner.take(workspace.directory());
            let doing = format!("give {path} to the user {}", user.uid);
            given.map_err(|errno| (Refusal::Workspace, failed(&doing, &errno.into())))?;
            workspace.give_to(owner);
            Ok(None)
        }
        // The runner is that user itself.
        (Ownership::User, None) | (Ownership::Maker, _) => Ok(None),
    }
}

/// What the runner saves is for another user to read, whatever the mask that it was started with.
fn let_others_read() {
    let mask = umask(Mode::empty());
    umask(mask & (Mode::WGRP | Mode::WOTH));
}

fn environment(user: Option<&User>) -> Environment {
    let environment = Environment::of_this_process();
    match user {
        Some(user) => environment.of_user(user.name.as_deref(), &user.home),
        None => environment,
    }
}
