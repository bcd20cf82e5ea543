//! The relay: carries the bytes of a new host to a runner that waits for one and back, without a look at them. It runs
//! in the runner's container, where only a process can reach the runner's socket. Owns one buffer for each direction:
//! it reads on only when the other side has taken what was read before.

use std::{
    io,
    ops::Range,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    net::{Shutdown, shutdown},
    process::{DumpableBehavior, set_dumpable_behavior},
};

use crate::{delivery, os::descriptors};

const BUFFER: usize = 64 << 10;

/// Relays between stdin and stdout and the runner that was started from the same executable, until either ends.
///
/// # Errors
///
/// When no runner waits for a host there, or the streams fail.
pub fn relay() -> io::Result<()> {
    // Blocks run beside it, and what it carries is not for them.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let path = delivery::socket()?;
    let runner = OwnedFd::from(UnixStream::connect(&path).map_err(|error| {
        io::Error::new(error.kind(), format!("no runner waits for a host at {}: {error}", path.display()))
    })?);
    let (host, to_host) = (descriptors::take_standard(0)?, descriptors::take_standard(1)?);
    descriptors::null_standard()?;
    for stream in [&runner, &host, &to_host] {
        fcntl_setfl(stream, fcntl_getfl(stream)? | OFlags::NONBLOCK)?;
    }
    carry(&host, &to_host, &runner)
}

fn carry(host: &OwnedFd, to_host: &OwnedFd, runner: &OwnedFd) -> io::Result<()> {
    let (mut there, mut back) = (Flow::new(host, runner), Flow::new(runner, to_host));
    loop {
        let there = there.advance()?;
        if there.is_none() {
            // Again and again, and in vain when the runner is gone: neither does harm.
            let _ = shutdown(runner, Shutdown::Write);
        }
        let Some(back) = back.advance()? else { return Ok(()) };
        // Asked for nothing, it tells that nobody reads it any more.
        let reader = PollFd::new(to_host, PollFlags::empty());
        let mut awaited: Vec<PollFd<'_>> = [reader, back].into_iter().chain(there).collect();
        match poll(&mut awaited, None) {
            Ok(_) if !awaited[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One direction.
struct Flow<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    buffer: Box<[u8]>,
    /// What of the buffer was read and is to be written.
    full: Range<usize>,
    ended: bool,
}

impl<'a> Flow<'a> {
    fn new(from: &'a OwnedFd, to: &'a OwnedFd) -> Self {
        Self { from, to, buffer: vec![0; BUFFER].into(), full: 0..0, ended: false }
    }

    /// Carries what can be carried now. Gives what is to be waited for then; `None` at the end.
    fn advance(&mut self) -> io::Result<Option<PollFd<'a>>> {
        while !self.ended {
            let (moved, stream, events) = match self.full.is_empty() {
                true => (self.fill(), self.from, PollFlags::IN),
                false => (self.drain(), self.to, PollFlags::OUT),
            };
            match moved {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Some(PollFd::new(stream, events))),
                // One side is gone, and with it what was on its way there.
                Err(Errno::PIPE | Errno::CONNRESET) => self.ended = true,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(None)
    }

    fn fill(&mut self) -> Result<(), Errno> {
        self.full = 0..rustix::io::read(self.from, &mut *self.buffer)?;
        self.ended = self.full.is_empty();
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Errno> {
        self.full.start += rustix::io::write(self.to, &self.buffer[self.full.clone()])?;
        Ok(())
    }
}
