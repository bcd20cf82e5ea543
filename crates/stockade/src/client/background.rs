//! What processes print that finished blocks left running, on its way to who watches it. Bounded: what a slow
//! watcher has not taken is merged, so that every byte is counted to him and the last ones are shown.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use crate::{Output, Stream};

/// Pieces that may wait; one more of the other stream may.
const QUEUE: usize = 16;

/// What a process that a block left behind has printed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackgroundOutput {
    /// Which stream.
    pub stream: Stream,
    /// How many bytes were printed since the last one of these.
    pub bytes: u64,
    /// The last of them: all of them, unless they were printed faster than these are taken.
    pub data: Output,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<BackgroundOutput>,
    ended: bool,
    watcher: Option<Waker>,
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watcher's end.
#[derive(Debug)]
pub(crate) struct Watcher(Arc<Mutex<Queue>>);

/// The other end: tells the watcher, and that it is over when it is dropped.
#[derive(Debug)]
pub(super) struct Teller(Weak<Mutex<Queue>>);

pub(super) fn watch() -> (Teller, Watcher) {
    let queue = Arc::default();
    (Teller(Arc::downgrade(&queue)), Watcher(queue))
}

impl Watcher {
    /// The next piece; `None` when there will be no more.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<BackgroundOutput>> {
        let mut queue = lock(&self.0);
        match queue.waiting.pop_front() {
            Some(output) => Poll::Ready(Some(output)),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.watcher = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Teller {
    pub(super) fn tell(&self, output: BackgroundOutput) {
        self.change(|queue| {
            let is_full = queue.waiting.len() >= QUEUE;
            let last = queue.waiting.iter_mut().rfind(|last| is_full && last.stream == output.stream);
            match last {
                Some(last) => {
                    last.bytes += output.bytes;
                    last.data = output.data;
                }
                None => queue.waiting.push_back(output),
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        // Without the watcher there is nobody to tell.
        let Some(queue) = self.0.upgrade() else { return };
        let watcher = {
            let mut queue = lock(&queue);
            change(&mut queue);
            queue.watcher.take()
        };
        // Not under the lock: what a wake does is the caller's affair.
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.change(|queue| queue.ended = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(watch: &mut Watcher) -> Poll<Option<BackgroundOutput>> {
        watch.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn piece(stream: Stream, data: &[u8]) -> BackgroundOutput {
        BackgroundOutput { stream, bytes: data.len() as u64, data: data.to_vec().into() }
    }

    #[test]
    fn a_slow_watcher_is_told_every_count_and_the_last_bytes() {
        let (teller, mut watch) = watch();
        for number in 0..1000_u32 {
            teller.tell(piece(Stream::Stdout, &number.to_le_bytes()));
        }
        teller.tell(piece(Stream::Stderr, b"error"));
        teller.tell(piece(Stream::Stderr, b"again"));
        drop(teller);
        let mut told = Vec::new();
        while let Poll::Ready(Some(output)) = next(&mut watch) {
            told.push(output);
        }
        assert_eq!(next(&mut watch), Poll::Ready(None));
        assert_eq!(told.len(), QUEUE + 1);
        assert_eq!(told[QUEUE - 1].data.as_bytes(), 999_u32.to_le_bytes());
        assert_eq!(told[..QUEUE].iter().map(|output| output.bytes).sum::<u64>(), 4000);
        assert_eq!((told[QUEUE].bytes, told[QUEUE].data.as_bytes()), (10, b"again".as_slice()));
    }

    #[test]
    fn a_watcher_that_is_gone_is_told_nothing() {
        let (teller, mut watch) = watch();
        assert_eq!(next(&mut watch), Poll::Pending);
        drop(watch);
        teller.tell(piece(Stream::Stdout, b"x"));
    }
}
