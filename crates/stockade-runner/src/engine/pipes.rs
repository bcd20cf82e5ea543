//! The pipes through which blocks and what they leave behind print. Owns reading them: never waiting, a piece
//! at a time so that no pipe starves another, and growing a pipe that proves to be busy.

use std::{collections::HashMap, io, os::fd::OwnedFd};

use rustix::{
    io::{Errno, ioctl_fionread},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
};

use super::reactor::{Reactor, Token};
use crate::wire::message::{RunId, Stream};

/// A pipe's size in a new kernel's default, and the size that a busy one is given: more would not make it
/// faster, and an ordinary user's pipes share 64 MiB (`/proc/sys/fs/pipe-user-pages-soft`).
const DEFAULT_SIZE: usize = 64 << 10;
const BUSY_SIZE: usize = 1 << 20;

/// A run has one for each stream.
const SPARES: usize = 2;

/// The reading end of a pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    descriptor: OwnedFd,
    pub(crate) run: RunId,
    pub(crate) stream: Stream,
    grown: bool,
    /// It is not watched for now: its run waits for credit.
    paused: bool,
    /// Read after the block's end and not told to the host yet, in bytes.
    pub(crate) untold: u64,
}

/// What one read gave.
pub(crate) enum Read {
    /// This many bytes, in the buffer.
    Bytes(usize),
    /// Nothing for now.
    Empty,
    /// Nobody can write to the pipe any more.
    End,
}

/// All pipes of a session.
#[derive(Debug)]
pub(crate) struct Pipes {
    all: HashMap<u64, Pipe>,
    /// Pipes of no run yet, with their writing ends.
    spares: Vec<(u64, OwnedFd)>,
    next: u64,
}

impl Pipes {
    pub(crate) fn new() -> Self {
        Self { all: HashMap::new(), spares: Vec::new(), next: 0 }
    }

    /// Makes the pipes of a run ahead.
    pub(crate) fn prepare(&mut self, reactor: &Reactor) -> io::Result<()> {
        while self.spares.len() < SPARES {
            let spare = self.make(reactor)?;
            self.spares.push(spare);
        }
        Ok(())
    }

    /// A pipe for a run's stream. Gives the writing end, which is the block's.
    pub(crate) fn open(
        &mut self,
        run: RunId,
        stream: Stream,
        reactor: &Reactor,
    ) -> io::Result<(u64, OwnedFd)> {
        let (id, block_end) = self.spares.pop().map_or_else(|| self.make(reactor), Ok)?;
        if let Some(pipe) = self.all.get_mut(&id) {
            (pipe.run, pipe.stream) = (run, stream);
        }
        Ok((id, block_end))
    }

    fn make(&mut self, reactor: &Reactor) -> io::Result<(u64, OwnedFd)> {
        let (descriptor, block_end) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: a program that finds its stdout non-blocking may well fail.
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        let id = self.next;
        self.next += 1;
        reactor.watch(&descriptor, Token::Pipe(id))?;
        self.all.insert(
            id,
            Pipe { descriptor, run: 0, stream: Stream::Stdout, grown: false, paused: false, untold: 0 },
        );
        Ok((id, block_end))
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Pipe> {
        self.all.get_mut(&id)
    }

    /// Stops watching a pipe: whoever writes to it will wait.
    pub(crate) fn pause(&mut self, id: u64, reactor: &Reactor) {
        if let Some(pipe) = self.all.get_mut(&id).filter(|pipe| !pipe.paused) {
            pipe.paused = reactor.forget(&pipe.descriptor).is_ok();
        }
    }

    /// Watches a pipe again.
    pub(crate) fn resume(&mut self, id: u64, reactor: &Reactor) {
        if let Some(pipe) = self.all.get_mut(&id).filter(|pipe| pipe.paused) {
            pipe.paused = reactor.watch(&pipe.descriptor, Token::Pipe(id)).is_err();
        }
    }

    /// Makes a pipe another run's.
    pub(crate) fn assign(&mut self, id: u64, run: RunId) {
        if let Some(pipe) = self.all.get_mut(&id) {
            pipe.run = run;
        }
    }

    pub(crate) fn close(&mut self, id: u64) {
        self.all.remove(&id);
    }

    pub(crate) fn close_all(&mut self, ids: &[u64]) {
        ids.iter().for_each(|id| self.close(*id));
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Pipe {
    /// Reads once.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        match rustix::io::read(&self.descriptor, &mut *buffer) {
            Ok(0) => Read::End,
            Ok(length) => {
                if length >= DEFAULT_SIZE && !self.grown {
                    self.grown = true;
                    // Refused when the user's pipes are many; then it stays as it is.
                    let _ = fcntl_setpipe_size(&self.descriptor, BUSY_SIZE);
                }
                Read::Bytes(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Empty,
            Err(_) => Read::End,
        }
    }

    /// Bytes that are in the pipe now.
    pub(crate) fn pending(&self) -> u64 {
        ioctl_fionread(&self.descriptor).unwrap_or(0)
    }
}
