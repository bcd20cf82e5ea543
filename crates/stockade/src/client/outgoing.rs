//! What goes out to the runner: in order, never waiting. A frame is written at once by whoever sends it, where
//! the stream allows that, for waking the writer's thread costs as much as the rest of a small request; what
//! the stream does not take at once is queued for the writer.

use std::{
    os::fd::OwnedFd,
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::net::{SendFlags, send};
use tokio::sync::mpsc;

/// Something for the writer.
#[derive(Debug)]
pub(super) enum Message {
    Frame(Vec<u8>),
    Close,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    /// The stream's socket, where it is one of this host.
    socket: Mutex<Option<OwnedFd>>,
    queue: mpsc::UnboundedSender<Message>,
    /// Frames that the writer has not written yet.
    queued: AtomicUsize,
    /// A process that was forked has a copy of this, and of the socket. What drops it there would cancel our runs.
    owner: u32,
}

impl Outgoing {
    pub(super) fn new(socket: Option<OwnedFd>) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (queue, messages) = mpsc::unbounded_channel();
        let socket = Mutex::new(socket);
        (Self { socket, queue, queued: AtomicUsize::new(0), owner: process::id() }, messages)
    }

    /// Sends a frame. When the stream has ended nothing happens: its reader says so to everyone who waits.
    pub(super) fn send(&self, mut frame: Vec<u8>) {
        if self.owner != process::id() {
            return;
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*socket
            && self.queued.load(Ordering::Acquire) == 0
            && let Ok(sent) = send(socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        {
            frame.drain(..sent);
        }
        if !frame.is_empty() {
            self.queued.fetch_add(1, Ordering::Release);
            let _ = self.queue.send(Message::Frame(frame));
        }
    }

    /// The writer has written a frame.
    pub(super) fn written(&self) {
        self.queued.fetch_sub(1, Ordering::Release);
    }

    /// Ends the stream, after what is queued.
    pub(super) fn close(&self) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.queue.send(Message::Close);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn a_copy_of_it_in_a_forked_process_sends_nothing() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (mut outgoing, _messages) = Outgoing::new(Some(ours.into()));
        outgoing.send(b"own".to_vec());
        outgoing.owner += 1;
        outgoing.send(b"copy".to_vec());
        let mut heard = Vec::new();
        assert_eq!(theirs.read_to_end(&mut heard).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(heard, b"own");
    }
}
