//! The attached stream of a container, as bytes both ways. Owns the split of what comes: stdout is the wire, and
//! stderr is kept, a little of it, for it says why a container did not come to the wire.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bollard::container::LogOutput;
use bytes::{Buf, Bytes};
use futures_core::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// What is kept of stderr.
const MAX_COMPLAINTS: usize = 4 << 10;
/// How long what a container said last may come after the news of its end, which takes another way.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Bytes of what is said instead of taking the runner that an error shows.
const QUOTED: usize = 200;

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// The stream to a runner.
pub(super) struct Attached {
    output: Output,
    input: Input,
    /// What came and was not read yet.
    rest: Bytes,
    ended: bool,
    complaints: Complaints,
    closed: CancellationToken,
    /// Of a stream that its other side never ends: this side's end of it.
    left: Option<Left>,
    _open: DropGuard,
}

type Left = Pin<Box<WaitForCancellationFutureOwned>>;

/// What came over stderr.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaints {
    kept: Arc<Mutex<Vec<u8>>>,
    /// Cancelled when no more will come.
    complete: CancellationToken,
}

impl Complaints {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_COMPLAINTS.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The text of all of them, of a container that has ended.
    pub(super) async fn all(&self) -> Option<String> {
        let _ = timeout(LAST_WORDS, self.complete.cancelled()).await;
        self.text()
    }

    /// As one line of text; `None` when there were none.
    pub(super) fn text(&self) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

impl Attached {
    /// The token is cancelled when this side ends the stream or gives it up.
    pub(super) fn new(output: Output, input: Input) -> (Self, Complaints, CancellationToken) {
        let (complaints, closed) = (Complaints::default(), CancellationToken::new());
        let stream = Self {
            output,
            input,
            rest: Bytes::new(),
            ended: false,
            complaints: complaints.clone(),
            closed: closed.clone(),
            left: None,
            _open: closed.clone().drop_guard(),
        };
        (stream, complaints, closed)
    }

    /// Has the stream end when this side has ended it: a daemon ends that of a container only with the container, and
    /// this one stays.
    pub(super) fn leave_behind(&mut self) {
        self.left = Some(Box::pin(self.closed.clone().cancelled_owned()));
    }

    /// Writes the runner's bytes to who is to become the runner. Who says something before he has them all will not.
    pub(super) async fn deliver(&mut self, runner: &[u8]) -> io::Result<()> {
        let mut left = runner;
        poll_fn(|context| {
            while !left.is_empty() {
                match self.input.as_mut().poll_write(context, left)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(length) => left = &left[length..],
                    Poll::Pending => {
                        ready!(self.poll_speaks(context))?;
                        return Poll::Ready(Err(self.not_taken()));
                    }
                }
            }
            self.input.as_mut().poll_flush(context)
        })
        .await
    }

    fn not_taken(&self) -> io::Error {
        let said = String::from_utf8_lossy(&self.rest[..self.rest.len().min(QUOTED)]);
        match said.trim_end() {
            "" => io::Error::other("its container did not take the runner"),
            said => io::Error::other(format!("its container said {said:?} instead of taking the runner")),
        }
    }

    /// Reads to the end, for what comes over stderr.
    pub(super) async fn drain(&mut self) {
        while self.speaks().await.unwrap_or(false) {
            self.rest.clear();
        }
    }

    /// Waits until the other side says something; false when it ends without a word.
    pub(super) async fn speaks(&mut self) -> io::Result<bool> {
        poll_fn(|context| self.poll_speaks(context)).await
    }

    fn poll_speaks(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.rest.is_empty() && !self.ended {
            ready!(self.poll_output(context))?;
        }
        Poll::Ready(Ok(!self.rest.is_empty()))
    }

    /// Takes the next message, or the end.
    fn poll_output(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.output.as_mut().poll_next(context)) {
            Some(Ok(LogOutput::StdErr { message })) => self.complaints.add(&message),
            Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => self.rest = message,
            Some(Ok(LogOutput::StdIn { .. })) => {}
            Some(Err(error)) => {
                self.complaints.complete.cancel();
                return Poll::Ready(Err(io::Error::other(error)));
            }
            None => {
                self.complaints.complete.cancel();
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Attached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let has_left = |left: &mut Left| left.as_mut().poll(context).is_ready();
        if self.left.as_mut().is_some_and(has_left) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_speaks(context))?;
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Attached {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.input.as_mut().poll_shutdown(context))?;
        self.closed.cancel();
        Poll::Ready(Ok(()))
    }
}
