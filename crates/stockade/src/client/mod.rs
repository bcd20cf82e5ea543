//! The host's end of the wire, over any byte stream. Owns the conversation with one runner: greeting, requests,
//! heartbeats, and handing each reply to whoever waits for it. Everything that a runner says is checked against
//! what it was asked, for from a container it is a stranger's word. It obtains no stream and ends no process:
//! when a runner must be ended by force it says so through [`Transport::doomed`].

mod background;
mod outgoing;
mod run;
mod state;

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_bytes::ByteBuf;
use stockade_runner::wire::{
    frame::{Decoder, encode},
    message::{
        Changes, Confined, Entry, Failure, LanguageReport, Part, Preloaded, Refusal, Reply, Request, RunId,
        RunSpec, SessionSpec, Variable,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::background::BackgroundOutput;
pub(crate) use self::background::Watcher;
pub(crate) use self::run::{RunEnd, RunEvent, RunHandle};
use self::{
    outgoing::{Message, Outgoing},
    state::{Locked, State},
};
use crate::error::{Error, Fault, Result};

/// How long a runner may take to greet, and to answer what takes no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of a stream waits for word of how the runner ended.
const OBITUARY: Duration = Duration::from_millis(500);
const READ_SIZE: usize = 64 << 10;
/// Bytes of what is no greeting that an error shows.
const QUOTED: usize = 200;

/// How a runner is reached, and how it is known to have ended.
#[derive(Debug)]
pub(crate) struct Transport<S> {
    pub(crate) stream: S,
    /// The stream's socket once more, where it is one: frames are written to it at once.
    pub(crate) socket: Option<OwnedFd>,
    /// Tells how the runner ended.
    pub(crate) obituary: oneshot::Receiver<String>,
    /// The client cancels it when the runner must be ended by force.
    pub(crate) doomed: CancellationToken,
    /// The time between signs of life, where the runner can't see its host's process.
    pub(crate) heartbeat: Option<Duration>,
    /// The runner outlives the conversation, whose end is then ours to make: it leaves the stream open.
    pub(crate) lingers: bool,
}

/// Why a conversation did not come to a session.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The runner refused what was asked.
    Refused { refusal: Refusal, failure: Failure },
    /// The conversation ended before.
    Ended(Fault),
}

/// A conversation with a runner.
#[derive(Debug)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    io: Handle,
    /// What confines the code, where that was asked for.
    confined: Option<Confined>,
}

/// Something that the runner was asked to save.
#[derive(Debug)]
pub(crate) struct Writing(oneshot::Receiver<Result<ByteBuf, Failure>>);

/// What the client, its handles and its two tasks share.
#[derive(Debug)]
struct Shared {
    state: Locked,
    outgoing: Outgoing,
    next_id: AtomicU64,
    /// Told when something is due before everything that was watched until then.
    sooner: Notify,
    doomed: CancellationToken,
}

impl Client {
    /// Greets the runner at the other end of the stream and starts a session.
    pub(crate) async fn start<S>(
        transport: Transport<S>,
        io: Handle,
        spec: SessionSpec,
    ) -> Result<Self, StartError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (outgoing, messages) = Outgoing::new(transport.socket);
        let (ready, started) = oneshot::channel();
        let shared = Arc::new(Shared {
            state: Locked::new(State::new(spec, ready)),
            outgoing,
            next_id: AtomicU64::new(0),
            sooner: Notify::new(),
            doomed: transport.doomed,
        });
        let (from_runner, to_runner) = tokio::io::split(transport.stream);
        io.spawn(write_all(to_runner, messages, Arc::clone(&shared), transport.heartbeat));
        io.spawn(read_all(from_runner, Arc::clone(&shared), transport.obituary, transport.lingers));
        let mut client = Client { shared, io, confined: None };
        match client.answer(started).await {
            Ok(Ok(confined)) => {
                client.confined = confined;
                Ok(client)
            }
            Ok(Err((refusal, failure))) => Err(StartError::Refused { refusal, failure }),
            Err(fault) => Err(StartError::Ended(fault)),
        }
    }

    /// Cancelled when the conversation has broken, and not when it was ended from here.
    pub(crate) fn failed(&self) -> &CancellationToken {
        &self.shared.doomed
    }

    pub(crate) fn confined(&self) -> Option<&Confined> {
        self.confined.as_ref()
    }

    /// Starts a run. It is cancelled when its handle is dropped.
    pub(crate) fn run(&self, mut spec: RunSpec) -> Result<RunHandle> {
        let id = self.next_id();
        spec.run = id;
        let (limit, time, live) = (spec.output_limit, Duration::from_millis(spec.timeout_ms), spec.live);
        let frame = encode(&Request::Run(spec)).map_err(|source| Error::BlockTooLarge {
            index: 0,
            source,
            finished: Vec::new(),
        })?;
        let (events, due_sooner) = self.shared.state.lock().add_run(id, time, limit, live)?;
        if due_sooner {
            self.shared.sooner.notify_one();
        }
        self.shared.outgoing.send(frame);
        Ok(RunHandle::new(id, events, Arc::clone(&self.shared), self.io.clone()))
    }

    /// Has Python modules imported, which may take as long as is said, for runs with these variables to begin with.
    pub(crate) async fn preload(
        &self,
        modules: Vec<String>,
        env: Vec<Variable>,
        time: Duration,
    ) -> Result<Preloaded> {
        let preloaded = self.shared.state.lock().expect_preloaded()?;
        let timeout_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.shared.send(&Request::Preload { modules, env, timeout_ms });
        self.answer_within(time.saturating_add(PATIENCE), preloaded).await.map_err(Error::ended)
    }

    /// What would run each language.
    pub(crate) async fn languages(&self) -> Result<Vec<LanguageReport>> {
        let reports = self.shared.state.lock().expect_languages()?;
        self.shared.send(&Request::Languages);
        self.answer(reports).await.map_err(Error::ended)
    }

    /// Saves something in the workspace.
    pub(crate) async fn write(&self, path: &[u8], entry: Entry) -> Result<()> {
        self.written(self.begin_write(path, entry)?).await
    }

    /// Has something saved in the workspace; [`written`](Self::written) waits for that.
    pub(crate) fn begin_write(&self, path: &[u8], entry: Entry) -> Result<Writing> {
        let id = self.next_id();
        let written = self.shared.state.lock().expect_written(id)?;
        self.shared.send(&Request::Write { id, path: path.to_vec().into(), entry });
        Ok(Writing(written))
    }

    pub(crate) async fn written(&self, writing: Writing) -> Result<()> {
        self.answer(writing.0).await.map_err(Error::ended)?.map(drop).map_err(Error::runner)
    }

    /// Reads a part of a file in the workspace.
    pub(crate) async fn read(&self, path: &[u8], offset: u64, length: u64) -> Result<Part> {
        let id = self.next_id();
        let part = self.shared.state.lock().expect_part(id, length)?;
        self.shared.send(&Request::Read { id, path: path.to_vec().into(), offset, length });
        self.answer(part).await.map_err(Error::ended)?.map_err(Error::runner)
    }

    /// What has changed in the workspace since this was last asked.
    pub(crate) async fn changes(&self) -> Result<Changes> {
        let id = self.next_id();
        let changes = self.shared.state.lock().expect_changes(id)?;
        self.shared.send(&Request::Changes { id });
        self.answer(changes).await.map_err(Error::ended)
    }

    /// Has the runner end everything, and gives the processes that it could not end. Later calls are told why.
    pub(crate) async fn stop(&self, why: Fault) -> Result<Vec<u32>> {
        let stopped = self.shared.state.lock().expect_stopped(why)?;
        self.shared.send(&Request::Stop);
        self.answer(stopped).await.map_err(Error::ended)
    }

    /// Bytes that processes which finished blocks left behind have printed.
    pub(crate) fn background_bytes(&self) -> u64 {
        self.shared.state.lock().background_bytes()
    }

    /// What they print from now on.
    pub(crate) fn watch_background(&self) -> Result<Watcher> {
        let watch = self.shared.state.lock().watch_background()?;
        self.shared.send(&Request::WatchBackground);
        Ok(watch)
    }

    /// Ends the conversation. A runner that is still there sees the end of its stream, and has a few seconds then.
    pub(crate) fn close(&self) {
        let why = self.shared.state.lock().end_asked_for();
        self.shared.fail(why);
        self.shared.outgoing.close();
        self.shared.sooner.notify_one();
    }

    /// Runs something on the library's own thread, to its end, whether or not it is waited for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (task, shared) = (self.io.spawn(work), Arc::clone(&self.shared));
        async move { task.await.map_err(|_| Error::ended(shared.state.lock().fault())) }
    }

    fn next_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for an answer that takes a runner no time.
    async fn answer<T: Send + 'static>(&self, answer: oneshot::Receiver<T>) -> Result<T, Fault> {
        self.answer_within(PATIENCE, answer).await
    }

    async fn answer_within<T: Send + 'static>(
        &self,
        patience: Duration,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, Fault> {
        // On our runtime: the caller's may have no timers, or be no tokio runtime at all.
        let answer = self.io.spawn(async move { timeout(patience, answer).await });
        match answer.await {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Err(_)) => self.shared.fail(Fault::Unresponsive { after: patience }),
            _ => {}
        }
        Err(self.shared.state.lock().fault())
    }
}

/// The conversation ends with its client, and the runner with the conversation.
impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Sends a request that is far from any limit.
    fn send(&self, request: &Request) {
        if let Ok(frame) = encode(request) {
            self.outgoing.send(frame);
        }
    }

    /// Asks the runner to end a run, and sees to it that it does.
    fn cancel(&self, run: RunId) {
        let due_sooner = self.state.lock().cancel(run);
        self.send(&Request::Cancel { run });
        if due_sooner {
            self.sooner.notify_one();
        }
    }

    /// Ends the conversation: whoever waits, and every later call, gets `fault`.
    fn fail(&self, fault: Fault) {
        let mut state = self.state.lock();
        // After a stop the runner's end is what was to come.
        let expected =
            fault.is_asked_for() || matches!(fault, Fault::RunnerDied { .. }) && state.is_stopped();
        state.fail(fault);
        drop(state);
        if !expected {
            self.doomed.cancel();
        }
    }
}

/// Writes what is to go out, and signs of life, until the conversation ends.
async fn write_all<S: AsyncWrite>(
    mut to_runner: WriteHalf<S>,
    mut messages: mpsc::UnboundedReceiver<Message>,
    shared: Arc<Shared>,
    heartbeat: Option<Duration>,
) {
    let Ok(beat) = encode(&Request::Heartbeat) else { return };
    let mut beats = heartbeat.map(interval);
    if let Some(beats) = &mut beats {
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let next_beat = async |beats: &mut Option<tokio::time::Interval>| match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    };
    loop {
        let frame = tokio::select! {
            biased;
            message = messages.recv() => match message {
                Some(Message::Frame(frame)) => frame,
                Some(Message::Close) | None => break,
            },
            () = next_beat(&mut beats) => {
                shared.outgoing.send(beat.clone());
                continue;
            }
        };
        if to_runner.write_all(&frame).await.is_err() {
            // The reader sees the end of the stream too, and knows whom to tell.
            return;
        }
        shared.outgoing.written();
    }
    // Whoever does not take the end of the stream loses it all the same.
    let _ = timeout(PATIENCE, to_runner.shutdown()).await;
}

/// Reads what the runner says, and watches over what it owes, until the conversation ends.
async fn read_all<S: AsyncRead>(
    mut from_runner: ReadHalf<S>,
    shared: Arc<Shared>,
    obituary: oneshot::Receiver<String>,
    lingers: bool,
) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; READ_SIZE];
    let fault = loop {
        let due = {
            let mut state = shared.state.lock();
            if lingers && state.is_stopped() {
                return;
            }
            state.next_due()
        };
        tokio::select! {
            // What has come counts, even if this process was kept from taking it until after something was due.
            biased;
            read = from_runner.read(&mut buffer) => match read {
                Ok(0) | Err(_) => {
                    let how = timeout(OBITUARY, obituary).await.ok().and_then(|how| how.ok());
                    break Fault::RunnerDied { how };
                }
                Ok(length) => {
                    decoder.push(&buffer[..length]);
                    if let Err(fault) = take_replies(&mut decoder, &shared) {
                        let has_greeted = shared.state.lock().has_greeted();
                        break if has_greeted { fault } else { quote(fault, &buffer[..length]) };
                    }
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                match shared.state.lock().take_due(Instant::now()) {
                    Ok(true) => shared.send(&Request::Heartbeat),
                    Ok(false) => {}
                    Err(fault) => break fault,
                }
            }
            () = shared.sooner.notified() => {}
        }
    };
    shared.fail(fault);
}

/// What does not greet is no runner: what it says instead may tell what it is.
fn quote(fault: Fault, said: &[u8]) -> Fault {
    match fault {
        Fault::Protocol { why } => {
            let said = String::from_utf8_lossy(&said[..said.len().min(QUOTED)]);
            Fault::Protocol { why: format!("{why}; it said: {:?}", said.trim_end()) }
        }
        fault => fault,
    }
}

fn take_replies(decoder: &mut Decoder, shared: &Shared) -> Result<(), Fault> {
    let unintelligible = |error| Fault::Protocol { why: format!("{error}") };
    while let Some(reply) = decoder.next::<Reply>().map_err(unintelligible)? {
        let start = shared.state.lock().take(reply)?;
        if let Some(spec) = start {
            shared.send(&Request::Start(spec));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
