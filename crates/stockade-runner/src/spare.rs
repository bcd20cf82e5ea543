//! Spare interpreters: Python processes that were started ahead and wait for a block's file, by which the start of an
//! interpreter is saved that takes longer than most blocks. Owns what one does in place of `python FILE`, and how it
//! is told of its file. Each is for one block, so no block finds anything of another's.
//!
//! Where modules are to be imported ahead, spares are forks of a server, a Python process that has imported them. Owns
//! what it does too, and what is said between it and the runner.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, open},
    net::{RecvFlags, Shutdown, recv, shutdown},
};

use crate::{interpreter::Interpreter, language::Language, os::channel};

/// The Python of a spare, which is sent to it: it would fill the list of processes, were it an argument.
const WAIT_FOR_BLOCK: &str = concat!(include_str!("spare/block.py"), "\n\nspare(main)\n");
/// That of the server, which becomes a spare in each of its forks.
const SERVE: &str =
    concat!(include_str!("spare/block.py"), "\n\n", include_str!("spare/server.py"), "\n\nserve(main)\n");
/// What takes either in. The rest has a namespace of its own.
pub(crate) const RECEIVE: &str = r#"import os; exec(os.read(0, 65536), {"main": globals()})"#;

/// The way to a spare, which is its stdin. Closing it ends the wait.
#[derive(Debug)]
pub(crate) struct Door(OwnedFd);

impl Door {
    /// The way, and the stdin of who is to wait.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (door, theirs) = Self::of_fork()?;
        channel::send(&door.0, WAIT_FOR_BLOCK.as_bytes(), &[])?;
        Ok((door, theirs))
    }

    /// That to a fork of the server, which needs no telling.
    pub(crate) fn of_fork() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = channel::pair()?;
        Ok((Self(ours), theirs))
    }

    /// Has the spare run its block, and end with or without taking apart its modules. Fails when it is gone.
    pub(crate) fn send_in(&self, file: &Path, teardown: bool) -> io::Result<()> {
        let word: &[u8] = if teardown { b"t" } else { b"f" };
        channel::send(&self.0, &[word, file.as_os_str().as_bytes()].concat(), &[])
    }

    /// Whether the spare has not said that it begins with its block. From then on it can't: it ends when it tries.
    pub(crate) fn was_not_opened(&self) -> bool {
        let _ = shutdown(&self.0, Shutdown::Read);
        !matches!(recv(&self.0, &mut [0; 1], RecvFlags::DONTWAIT), Ok((_, 1)))
    }
}

/// The way to the server, which is its stdin. Closing it ends the server, when it has nothing to do.
#[derive(Debug)]
pub(crate) struct Server(OwnedFd);

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// All is imported, and forks can be made.
    Ready,
    /// All is imported, and forks of it would not do: why.
    Unfit(String),
    /// Something can't be imported: what, and why.
    Failed(String),
    /// What it has imported was installed anew. It ends.
    Changed,
}

impl Server {
    /// The way, and the stdin of who is to import these modules.
    pub(crate) fn new(modules: &[String]) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = channel::pair()?;
        channel::send(&ours, SERVE.as_bytes(), &[])?;
        channel::send(&ours, modules.join(" ").as_bytes(), &[])?;
        Ok((Self(ours), theirs))
    }

    /// Asks for a spare with these as stdin, stdout and stderr, below a keeper that brings `channel`.
    pub(crate) fn fork(&self, channel: &OwnedFd, streams: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        let keeper = open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let [stdin, stdout, stderr] = streams;
        let given = [keeper.as_fd(), channel.as_fd(), stdin, stdout, stderr];
        channel::send(&self.0, b"f", &given)
    }

    /// What it says next, or [`io::ErrorKind::WouldBlock`]; `None` when it is gone, or says what it never would.
    pub(crate) fn hear(&self) -> io::Result<Option<Said>> {
        let mut said = [0; 8 << 10];
        let (length, _) = recv(&self.0, &mut said, RecvFlags::DONTWAIT)?;
        let said = String::from_utf8_lossy(&said[..length]);
        let (word, why) = said.split_once(' ').unwrap_or((&said, ""));
        Ok(match word {
            "ready" => Some(Said::Ready),
            "unfit" => Some(Said::Unfit(why.to_owned())),
            "failed" => Some(Said::Failed(why.to_owned())),
            "changed" => Some(Said::Changed),
            _ => None,
        })
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}

/// Whether what runs a language is Python, called with its file and nothing else.
pub(crate) fn is_for(language: &Language, interpreter: &Interpreter) -> bool {
    let program = interpreter.program.file_name().unwrap_or_default().as_bytes();
    language.name == "python" && program.starts_with(b"python") && interpreter.command.args == ["{file}"]
}
