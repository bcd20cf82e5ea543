//! Waiting for many descriptors at once. Owns the epoll instance and how a token names what is ready; a token
//! is never used twice, so one that has gone stale finds nothing.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{Timespec, epoll},
    io::Errno,
};

/// What a descriptor is to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The stream from the host.
    FromHost,
    /// The stream to the host, when it has room again.
    ToHost,
    /// The host's process, when it is gone.
    HostProcess,
    /// A signal to the runner.
    Signal,
    /// What the fork server says.
    Server,
    /// A keeper's channel.
    Keeper(u64),
    /// A pipe with output.
    Pipe(u64),
}

const KINDS: u64 = 7;

impl Token {
    fn to_data(self) -> u64 {
        let (kind, id) = match self {
            Token::FromHost => (0, 0),
            Token::ToHost => (1, 0),
            Token::HostProcess => (2, 0),
            Token::Signal => (3, 0),
            Token::Keeper(id) => (4, id),
            Token::Pipe(id) => (5, id),
            Token::Server => (6, 0),
        };
        id * KINDS + kind
    }

    fn from_data(data: u64) -> Token {
        let id = data / KINDS;
        match data % KINDS {
            0 => Token::FromHost,
            1 => Token::ToHost,
            2 => Token::HostProcess,
            3 => Token::Signal,
            4 => Token::Keeper(id),
            5 => Token::Pipe(id),
            _ => Token::Server,
        }
    }
}

/// Tells what is ready.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// How many descriptors are told of at a time.
const BATCH: usize = 64;

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    /// Tells when `descriptor` can be read, or has ended. It is forgotten when it is closed.
    pub(crate) fn watch(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.to_data());
        Ok(epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)?)
    }

    /// Tells nothing of `descriptor` any more.
    pub(crate) fn forget(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, descriptor)?)
    }

    /// Tells once when `descriptor` can be written to.
    pub(crate) fn watch_for_room(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.to_data());
        let flags = epoll::EventFlags::OUT | epoll::EventFlags::ONESHOT;
        match epoll::add(&self.epoll, &descriptor, data, flags) {
            Err(Errno::EXIST) => Ok(epoll::modify(&self.epoll, descriptor, data, flags)?),
            added => Ok(added?),
        }
    }

    /// Waits until something is ready, or until the instant.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> io::Result<Vec<Token>> {
        let timeout = until.map(|until| to_timespec(until.saturating_duration_since(Instant::now())));
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.events.iter().map(|event| Token::from_data(event.data.u64())).collect())
    }
}

fn to_timespec(duration: Duration) -> Timespec {
    // Later is never too late: whoever waits asks the clock again.
    Timespec {
        tv_sec: duration.as_secs().min(i32::MAX as u64) as i64,
        tv_nsec: duration.subsec_nanos().into(),
    }
}
