//! One run as its caller sees it: events, and a cancel that comes with the handle's end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use serde_bytes::ByteBuf;
use stockade_runner::{
    outcome::Outcome,
    wire::message::{Failure, LIVE_WINDOW, Piece, Request, RunId, Stream},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Shared;
use crate::error::Fault;

/// Something that happened to a run.
#[derive(Debug)]
pub(crate) enum RunEvent {
    Started {
        language: String,
        file: ByteBuf,
    },
    Live {
        stream: Stream,
        data: Vec<u8>,
    },
    LiveLost {
        bytes: u64,
    },
    /// The last one.
    Finished(RunEnd),
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// The block ended, and this is what was kept of its output.
    Outcome(Box<Outcome>, Vec<Piece>),
    /// The runner failed to run it.
    Failed(Failure),
    /// The conversation ended before the run.
    Ended(Fault),
}

/// The room that live output of this length takes while it waits: many small pieces take more than their bytes.
pub(super) fn room_for(length: usize) -> usize {
    length + size_of::<RunEvent>()
}

#[derive(Debug)]
pub(super) struct RunEvents {
    pub(super) receiver: mpsc::UnboundedReceiver<RunEvent>,
    pub(super) queued: Arc<AtomicUsize>,
}

/// A run under way.
#[derive(Debug)]
pub(crate) struct RunHandle {
    id: RunId,
    events: RunEvents,
    shared: Arc<Shared>,
    io: Handle,
    /// Bytes of live output that were taken and not told to the runner yet.
    credit: u64,
    finished: bool,
    over: CancellationToken,
    _ends: DropGuard,
}

impl RunHandle {
    pub(super) fn new(id: RunId, events: RunEvents, shared: Arc<Shared>, io: Handle) -> Self {
        let over = CancellationToken::new();
        Self { id, events, shared, io, credit: 0, finished: false, _ends: over.clone().drop_guard(), over }
    }

    /// Has the run ended when the token is cancelled, whether or not somebody asks for its events then.
    pub(crate) fn cancel_with(&self, token: CancellationToken) {
        let (shared, id, over) = (Arc::clone(&self.shared), self.id, self.over.clone());
        self.io.spawn(async move {
            tokio::select! {
                () = token.cancelled() => shared.cancel(id),
                () = over.cancelled() => {}
            }
        });
    }

    /// Has the run ended; its last event tells when it is.
    pub(crate) fn cancel(&self) {
        self.shared.cancel(self.id);
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<RunEvent> {
        let ended = || RunEvent::Finished(RunEnd::Ended(self.shared.state.lock().fault()));
        let event = match self.events.receiver.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(event) => event.unwrap_or_else(ended),
        };
        match &event {
            RunEvent::Live { data, .. } => self.taken(data.len()),
            RunEvent::Finished(_) => self.finished = true,
            _ => {}
        }
        Poll::Ready(event)
    }

    /// Gives the runner credit for what was taken, now and then.
    fn taken(&mut self, length: usize) {
        self.events.queued.fetch_sub(room_for(length), Ordering::Relaxed);
        self.credit += length as u64;
        if self.credit >= LIVE_WINDOW / 4 {
            self.shared.send(&Request::Credit { run: self.id, bytes: self.credit });
            self.credit = 0;
        }
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        if !self.finished {
            self.cancel();
        }
    }
}
