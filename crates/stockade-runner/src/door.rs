//! The door: how a runner that has outlived its host gets the next one. Owns the socket, and the proof that who comes
//! knows the token. The door is there only while the runner waits: whoever comes while it has a host is refused, and
//! the code of a session finds nothing to knock at.
//!
//! Those who connect and say nothing keep nobody out: several are listened to at once, each for a limited time, and
//! the one who came first makes room.

use std::{
    collections::VecDeque,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::Mode,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with},
    process::umask,
};

use crate::{
    os::{process, signals},
    wire::token::{MAX_TOKEN, Shown},
};

/// How many are listened to at once.
const MAX_GUESTS: usize = 8;
/// How long one may take to show the token.
const GUEST_TIME: Duration = Duration::from_secs(10);

/// A socket at which hosts can knock.
#[derive(Debug)]
pub(crate) struct Door {
    path: PathBuf,
    listener: OwnedFd,
}

/// Somebody who has not shown the token yet.
#[derive(Debug)]
struct Guest {
    stream: OwnedFd,
    shown: Shown,
    until: Instant,
}

impl Door {
    /// Opens it for this user alone, in the place of one that a runner before us left.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let _ = fs::remove_file(path);
        let others = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = bind(&listener, &address);
        umask(others);
        bound?;
        let door = Self { path: path.to_owned(), listener };
        listen(&door.listener, MAX_GUESTS as i32)?;
        Ok(door)
    }

    /// Waits for one who shows the token, and gives the stream to him. `None` when a signal asks for the end.
    pub(crate) fn admit(self, token: &[u8]) -> io::Result<Option<OwnedFd>> {
        let signals = signals::descriptor(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
        let mut guests = VecDeque::new();
        loop {
            self.wait(&signals, &guests)?;
            if asked_to_end(&signals) {
                return Ok(None);
            }
            self.welcome(&mut guests);
            for mut guest in std::mem::take(&mut guests) {
                match guest.hear(token) {
                    Some(true) => return Ok(Some(guest.stream)),
                    Some(false) => {}
                    None => guests.push_back(guest),
                }
            }
        }
    }

    fn wait(&self, signals: &OwnedFd, guests: &VecDeque<Guest>) -> io::Result<()> {
        let descriptors =
            [signals, &self.listener].into_iter().chain(guests.iter().map(|guest| &guest.stream));
        let mut ready: Vec<PollFd<'_>> = descriptors.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let now = Instant::now();
        let left = guests.iter().map(|guest| guest.until.saturating_duration_since(now)).min();
        let timeout = left.and_then(|left| left.try_into().ok());
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lets in who has knocked. Who can't be let in now is still there the next time.
    fn welcome(&self, guests: &mut VecDeque<Guest>) {
        while let Ok(stream) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if guests.len() == MAX_GUESTS {
                guests.pop_front();
            }
            guests.push_back(Guest { stream, shown: Shown::default(), until: Instant::now() + GUEST_TIME });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Guest {
    /// Reads what is there. Says whether it is the token, once that is clear.
    fn hear(&mut self, token: &[u8]) -> Option<bool> {
        let mut buffer = [0; MAX_TOKEN];
        while self.shown.wanted() > 0 {
            let wanted = self.shown.wanted().min(buffer.len());
            match rustix::io::read(&self.stream, &mut buffer[..wanted]) {
                Ok(0) => return Some(false),
                Ok(length) => self.shown.push(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return (Instant::now() >= self.until).then_some(false),
                Err(_) => return Some(false),
            }
        }
        self.shown.verdict(token)
    }
}

/// Takes the signals that are pending, and reaps who has ended meanwhile: to a container's first process falls
/// whatever is orphaned there.
fn asked_to_end(signals: &OwnedFd) -> bool {
    while let Some(signal) = signals::next(signals) {
        if signal != libc::SIGCHLD {
            return true;
        }
    }
    while let Ok(Some(_)) = process::wait_any() {}
    false
}
