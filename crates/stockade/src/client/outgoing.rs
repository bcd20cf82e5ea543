//! What goes out to the runner: in order, never waiting. A frame is written at once by whoever sends it, where
//! the stream allows that, for waking the writer's thread costs as much as the rest of a small request; what
//! the stream does not take at once is queued for the writer.

use std::{
    os::fd::OwnedFd,
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
}

impl Outgoing {
    pub(super) fn new(socket: Option<OwnedFd>) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (queue, messages) = mpsc::unbounded_channel();
        (Self { socket: Mutex::new(socket), queue, queued: AtomicUsize::new(0) }, messages)
    }

    /// Sends a frame. When the stream has ended nothing happens: its reader says so to everyone who waits.
    pub(super) fn send(&self, mut frame: Vec<u8>) {
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
