//! The stream to the host. Owns its buffers: it never blocks, whatever the host does or does not read, and it
//! holds a bounded backlog, beyond which the host counts as gone.

use std::{
    collections::VecDeque,
    io,
    os::fd::{OwnedFd, RawFd},
    time::Instant,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

use crate::{
    os::descriptors,
    wire::{
        frame::{Decoder, FrameError, encode},
        message::{Reply, Request},
    },
};

/// Bytes that may wait for the host before it counts as gone: many times the largest result.
const MAX_BACKLOG: usize = 512 << 20;
/// Bytes that may wait before background output is only counted: it is what a slow host loses first.
const BUSY_BACKLOG: usize = 4 << 20;
const READ_SIZE: usize = 64 << 10;

/// How the runner reaches its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Stdin is a socket to the host, and stdout a pidfd of its process.
    LocalSocket,
    /// Stdin and stdout are the two directions of the stream.
    Stdio,
    /// As [`Stdio`](Self::Stdio), until the end of the stream. Then the runner waits for another host, beside its
    /// executable, if the last one has said by what token it is known.
    Linger,
}

/// Why the stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the host has closed the stream")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the host has not read for {0} bytes")]
    Stalled(usize),
    #[error("failed to reach the host: {0}")]
    Io(#[from] io::Error),
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) from_host: OwnedFd,
    pub(crate) to_host: OwnedFd,
    decoder: Decoder,
    backlog: VecDeque<u8>,
    scratch: Box<[u8]>,
    /// When the host was last heard.
    pub(crate) heard: Instant,
}

impl Link {
    /// Takes the standard descriptors for the stream. Gives the host's pidfd, where there is one.
    pub(crate) fn take(transport: Transport) -> io::Result<(Self, Option<OwnedFd>)> {
        const STDIN: RawFd = 0;
        const STDOUT: RawFd = 1;
        let from_host = descriptors::take_standard(STDIN)?;
        let (to_host, host) = match transport {
            Transport::LocalSocket => (from_host.try_clone()?, Some(descriptors::take_standard(STDOUT)?)),
            Transport::Stdio | Transport::Linger => (descriptors::take_standard(STDOUT)?, None),
        };
        Ok((Self::new(from_host, to_host)?, host))
    }

    /// A stream to a host that has come later.
    pub(crate) fn over(socket: OwnedFd) -> io::Result<Self> {
        let to_host = socket.try_clone()?;
        Self::new(socket, to_host)
    }

    fn new(from_host: OwnedFd, to_host: OwnedFd) -> io::Result<Self> {
        for direction in [&from_host, &to_host] {
            fcntl_setfl(direction, fcntl_getfl(direction)? | OFlags::NONBLOCK)?;
        }
        Ok(Self {
            from_host,
            to_host,
            decoder: Decoder::new(),
            backlog: VecDeque::new(),
            scratch: vec![0; READ_SIZE].into(),
            heard: Instant::now(),
        })
    }

    /// Reads what is there.
    pub(crate) fn fill(&mut self) -> Result<(), LinkError> {
        match rustix::io::read(&self.from_host, &mut *self.scratch) {
            Ok(0) => {
                self.decoder.finish()?;
                Err(LinkError::Closed)
            }
            Ok(length) => {
                self.heard = Instant::now();
                self.decoder.push(&self.scratch[..length]);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::CONNRESET) => Err(LinkError::Closed),
            Err(errno) => Err(LinkError::Io(errno.into())),
        }
    }

    /// The next request of what was read.
    pub(crate) fn next(&mut self) -> Result<Option<Request>, LinkError> {
        Ok(self.decoder.next()?)
    }

    /// Queues a reply. It goes out with the next [`flush`](Self::flush).
    pub(crate) fn send(&mut self, reply: &Reply) -> Result<(), LinkError> {
        self.backlog.extend(&encode(reply)?);
        if self.backlog.len() > MAX_BACKLOG { Err(LinkError::Stalled(self.backlog.len())) } else { Ok(()) }
    }

    /// Whether what need not be sent may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog.len() < BUSY_BACKLOG
    }

    /// Writes as much as the host takes. True when nothing is left.
    pub(crate) fn flush(&mut self) -> Result<bool, LinkError> {
        while !self.backlog.is_empty() {
            match rustix::io::write(&self.to_host, self.backlog.as_slices().0) {
                Ok(length) => drop(self.backlog.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(LinkError::Closed),
                Err(errno) => return Err(LinkError::Io(errno.into())),
            }
        }
        // A large result was here: its memory is not needed until the next one.
        if self.backlog.capacity() > BUSY_BACKLOG {
            self.backlog.shrink_to(READ_SIZE);
        }
        Ok(true)
    }
}
