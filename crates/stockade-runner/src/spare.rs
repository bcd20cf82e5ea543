//! Spare interpreters: Python processes that were started ahead and wait for a block's file, by which the start of an
//! interpreter is saved that takes longer than most blocks. Owns what one does in place of `python FILE`, and how it
//! is told of its file. Each is for one block, so no block finds anything of another's.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use crate::{interpreter::Interpreter, language::Language};

/// The Python of a spare, which is sent to it: it would fill the list of processes, were it an argument.
const WAIT_FOR_BLOCK: &str = concat!(include_str!("spare/block.py"), "\n\nspare(main)\n");
/// What takes it in. The rest has a namespace of its own.
pub(crate) const RECEIVE: &str = r#"import os; exec(os.read(0, 65536), {"main": globals()})"#;

/// The way to a spare, which is its stdin. Closing it ends the wait.
#[derive(Debug)]
pub(crate) struct Door(OwnedFd);

impl Door {
    /// The way, and the stdin of who is to wait.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        // Whole messages, so that nobody has to say where one ends.
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let door = Self(ours);
        door.say(WAIT_FOR_BLOCK.as_bytes())?;
        Ok((door, theirs))
    }

    /// Has the spare run its block. Fails when it is gone.
    pub(crate) fn send_in(&self, file: &Path) -> io::Result<()> {
        self.say(file.as_os_str().as_bytes())
    }

    /// Whether a spare that has ended did so before it said that it begins with its block.
    pub(crate) fn was_not_opened(&self) -> bool {
        !matches!(recv(&self.0, &mut [0; 1], RecvFlags::DONTWAIT), Ok((_, 1)))
    }

    fn say(&self, message: &[u8]) -> io::Result<()> {
        send(self.0.as_fd(), message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// Whether what runs a language is Python, called with its file and nothing else.
pub(crate) fn is_for(language: &Language, interpreter: &Interpreter) -> bool {
    let program = interpreter.program.file_name().unwrap_or_default().as_bytes();
    language.name == "python" && program.starts_with(b"python") && interpreter.command.args == ["{file}"]
}
