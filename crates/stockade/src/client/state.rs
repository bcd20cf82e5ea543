//! What a conversation has come to: which runs are under way, who waits for which answer, and until when. Owns
//! the judgement of replies; it does no input or output, so that a test can say anything to it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{
    Changes, Confined, Failure, LIVE_WINDOW, LanguageReport, Part, Piece, Preloaded, Refusal, Reply, RunId,
    SessionSpec, Stream, VERSION,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    background::{self, BackgroundOutput, Teller, Watcher},
    run::{RunEnd, RunEvent, RunEvents, room_for},
};
use crate::error::{Error, Fault, Result};

/// From a block's deadline until the runner must have reported its end (contract, line 4).
const AFTER_DEADLINE: Duration = Duration::from_secs(2);
/// How long a runner may take to answer a heartbeat.
const HEARTBEAT_ANSWER: Duration = Duration::from_secs(2);
/// How long a runner whose stream was closed may take to end everything.
const TIME_TO_END: Duration = Duration::from_secs(5);
/// Bytes of live output that may wait for a listener, were a runner to send more than it has credit for: the last
/// of a block's output comes without.
const LIVE_BUDGET: usize = 8 * LIVE_WINDOW as usize;
/// Output beyond the limit of both streams that a runner may send for a run, for the overhead of its parts.
const OUTPUT_SLACK: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Locked(Mutex<State>);

impl Locked {
    pub(super) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// Nothing that holds the lock leaves the state half changed, so a panic elsewhere does not spoil it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes of a start: what confines the code, where that was asked for, or why there is no session.
pub(super) type Started = Result<Option<Confined>, (Refusal, Failure)>;

#[derive(Debug)]
pub(super) struct State {
    /// What to start the session with, until the runner has greeted.
    greeting: Option<SessionSpec>,
    ready: Option<oneshot::Sender<Started>>,
    runs: HashMap<RunId, RunState>,
    languages: VecDeque<oneshot::Sender<Vec<LanguageReport>>>,
    preloaded: Option<oneshot::Sender<Preloaded>>,
    written: HashMap<u64, oneshot::Sender<Result<ByteBuf, Failure>>>,
    /// With the most bytes that each may have.
    parts: HashMap<u64, (u64, oneshot::Sender<Result<Part, Failure>>)>,
    changes: HashMap<u64, oneshot::Sender<Changes>>,
    /// Who waits for it, and why it was asked for.
    stopped: Option<(oneshot::Sender<Vec<u32>>, Fault)>,
    background_bytes: u64,
    background: Option<Teller>,
    fault: Option<Fault>,
    /// When the stream must have ended, once the conversation is over.
    end_due: Option<Instant>,
    /// When the runner was last heard.
    heard: Instant,
    /// The earliest instant that the reader has been told to look at what is due.
    armed: Option<Instant>,
}

/// A run as the host sees it.
#[derive(Debug)]
struct RunState {
    events: mpsc::UnboundedSender<RunEvent>,
    /// Somebody listens to more than its end, and is worth waking for it.
    live: bool,
    started: bool,
    cancelled: bool,
    /// Bytes of live output that the listener has not taken yet.
    queued: Arc<AtomicUsize>,
    lost: u64,
    pieces: Vec<Piece>,
    /// What more the runner may send of its output.
    output_left: u64,
    time: Duration,
    watch: Watch,
}

/// What is expected of the runner for a run, and by when.
#[derive(Debug, Clone, Copy)]
enum Watch {
    /// It has not started: it may wait for a file or for its turn. At `due` the runner is asked for a sign of
    /// life.
    Queued { due: Instant },
    /// It has not started, and the runner was asked at `since`.
    Asked { since: Instant, due: Instant },
    /// It runs, or was cancelled, and must be over at `due`.
    Started { due: Instant },
}

impl Watch {
    fn due(self) -> Instant {
        match self {
            Watch::Queued { due } | Watch::Asked { due, .. } | Watch::Started { due } => due,
        }
    }
}

impl State {
    pub(super) fn new(spec: SessionSpec, ready: oneshot::Sender<Started>) -> Self {
        Self {
            greeting: Some(spec),
            ready: Some(ready),
            runs: HashMap::new(),
            languages: VecDeque::new(),
            preloaded: None,
            written: HashMap::new(),
            parts: HashMap::new(),
            changes: HashMap::new(),
            stopped: None,
            background_bytes: 0,
            background: None,
            fault: None,
            end_due: None,
            heard: Instant::now(),
            armed: None,
        }
    }

    // What callers ask.

    fn check(&self) -> Result<()> {
        self.fault.clone().map_or(Ok(()), |fault| Err(Error::ended(fault)))
    }

    /// Adds a run. Gives its events, and whether something of it is due before all that is watched.
    pub(super) fn add_run(
        &mut self,
        id: RunId,
        time: Duration,
        limit: u64,
        live: bool,
    ) -> Result<(RunEvents, bool)> {
        self.check()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let watch = Watch::Queued { due: Instant::now() + time };
        let run = RunState {
            events: sender,
            live,
            started: false,
            cancelled: false,
            queued: Arc::clone(&queued),
            lost: 0,
            pieces: Vec::new(),
            output_left: limit.saturating_mul(4).saturating_add(OUTPUT_SLACK),
            time,
            watch,
        };
        self.runs.insert(id, run);
        let sooner = self.armed.is_none_or(|armed| watch.due() < armed);
        Ok((RunEvents { receiver, queued }, sooner))
    }

    /// A run was asked to end: from now on that is what the runner owes. True when it is due before all that is
    /// watched.
    pub(super) fn cancel(&mut self, id: RunId) -> bool {
        let Some(run) = self.runs.get_mut(&id) else { return false };
        run.cancelled = true;
        run.watch = Watch::Started { due: run.watch.due().min(Instant::now() + AFTER_DEADLINE) };
        self.armed.is_none_or(|armed| run.watch.due() < armed)
    }

    pub(super) fn expect_languages(&mut self) -> Result<oneshot::Receiver<Vec<LanguageReport>>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.languages.push_back(sender);
        Ok(receiver)
    }

    pub(super) fn expect_preloaded(&mut self) -> Result<oneshot::Receiver<Preloaded>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.preloaded = Some(sender);
        Ok(receiver)
    }

    pub(super) fn expect_written(&mut self, id: u64) -> Result<oneshot::Receiver<Result<ByteBuf, Failure>>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.written.insert(id, sender);
        Ok(receiver)
    }

    pub(super) fn expect_part(
        &mut self,
        id: u64,
        length: u64,
    ) -> Result<oneshot::Receiver<Result<Part, Failure>>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.parts.insert(id, (length, sender));
        Ok(receiver)
    }

    pub(super) fn expect_changes(&mut self, id: u64) -> Result<oneshot::Receiver<Changes>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.changes.insert(id, sender);
        Ok(receiver)
    }

    pub(super) fn expect_stopped(&mut self, why: Fault) -> Result<oneshot::Receiver<Vec<u32>>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.stopped = Some((sender, why));
        Ok(receiver)
    }

    /// What the end is called that was asked for, or is now.
    pub(super) fn end_asked_for(&self) -> Fault {
        self.stopped.as_ref().map_or(Fault::Stopped, |(_, why)| why.clone())
    }

    pub(super) fn background_bytes(&self) -> u64 {
        self.background_bytes
    }

    pub(super) fn watch_background(&mut self) -> Result<Watcher> {
        self.check()?;
        let (teller, watch) = background::watch();
        self.background = Some(teller);
        Ok(watch)
    }

    /// Whether the conversation came to the end that was asked for.
    pub(super) fn is_stopped(&self) -> bool {
        self.fault.as_ref().is_some_and(Fault::is_asked_for)
    }

    pub(super) fn fault(&self) -> Fault {
        self.fault.clone().unwrap_or(Fault::RunnerDied { how: None })
    }

    /// Ends the conversation; the first fault is the one that counts.
    pub(super) fn fail(&mut self, fault: Fault) {
        let fault = self.fault.get_or_insert(fault).clone();
        self.end_due.get_or_insert_with(|| Instant::now() + TIME_TO_END);
        for (_, run) in self.runs.drain() {
            let _ = run.events.send(RunEvent::Finished(RunEnd::Ended(fault.clone())));
        }
        self.ready = None;
        self.languages.clear();
        self.preloaded = None;
        self.written.clear();
        self.parts.clear();
        self.changes.clear();
        self.stopped = None;
        self.background = None;
    }

    // What the runner says.

    pub(super) fn has_greeted(&self) -> bool {
        self.greeting.is_none()
    }

    /// Takes in a reply. Gives what to start the session with, once the runner has greeted.
    pub(super) fn take(&mut self, reply: Reply) -> Result<Option<SessionSpec>, Fault> {
        self.heard = Instant::now();
        match reply {
            Reply::Hello { version } => return self.take_hello(version).map(Some),
            _ if !self.has_greeted() => return Err(unexpected("something before its greeting")),
            Reply::Ready { confined, .. } => answer(self.ready.take(), Ok(confined))?,
            Reply::StartFailed { refusal, failure } => answer(self.ready.take(), Err((refusal, failure)))?,
            Reply::Preloaded(preloaded) => answer(self.preloaded.take(), preloaded)?,
            Reply::Languages(reports) => answer(self.languages.pop_front(), reports)?,
            Reply::Written { id, result } => answer(self.written.remove(&id), result)?,
            Reply::Read { id, result } => self.take_part(id, result)?,
            Reply::Changes { id, changes } => answer(self.changes.remove(&id), changes)?,
            Reply::Heartbeat => {}
            Reply::Started { run, language, file } => self.take_started(run, language, file)?,
            Reply::Live { run, stream, data, lost } => self.take_live(run, stream, data, lost),
            Reply::Output { run, pieces } => self.take_output(run, pieces)?,
            Reply::Finished { run, result } => self.take_finished(run, result),
            Reply::Background { stream, bytes, data, .. } => self.take_background(stream, bytes, data),
            Reply::Stopped { survivors } => {
                let why = self.end_asked_for();
                answer(self.stopped.take().map(|(stopped, _)| stopped), survivors)?;
                self.fail(why);
            }
        }
        Ok(None)
    }

    fn take_hello(&mut self, version: u32) -> Result<SessionSpec, Fault> {
        if version != VERSION {
            return Err(unexpected(&format!("version {version} of the wire instead of {VERSION}")));
        }
        self.greeting.take().ok_or_else(|| unexpected("a second greeting"))
    }

    fn take_started(&mut self, run: RunId, language: String, file: ByteBuf) -> Result<(), Fault> {
        let Some(run) = self.runs.get_mut(&run) else { return Ok(()) };
        if std::mem::replace(&mut run.started, true) {
            return Err(unexpected("a second start of a run"));
        }
        if !run.cancelled {
            run.watch = Watch::Started { due: Instant::now() + run.time + AFTER_DEADLINE };
        }
        if run.live {
            let _ = run.events.send(RunEvent::Started { language, file });
        }
        Ok(())
    }

    fn take_live(&mut self, run: RunId, stream: Stream, data: ByteBuf, lost: u64) {
        let Some(run) = self.runs.get_mut(&run) else { return };
        if !run.live {
            return;
        }
        run.lost = run.lost.saturating_add(lost);
        let room = room_for(data.len());
        if run.queued.load(Ordering::Relaxed) + room > LIVE_BUDGET {
            run.lost = run.lost.saturating_add(data.len() as u64);
            return;
        }
        // What was lost is told with what follows it, or at the end.
        if !data.is_empty() {
            run.tell_lost();
            run.queued.fetch_add(room, Ordering::Relaxed);
            let _ = run.events.send(RunEvent::Live { stream, data: data.into_vec() });
        }
    }

    fn take_output(&mut self, run: RunId, pieces: Vec<Piece>) -> Result<(), Fault> {
        let Some(run) = self.runs.get_mut(&run) else { return Ok(()) };
        let sizes = pieces.iter().map(|piece| match piece {
            Piece::Data(_, bytes) => bytes.len() as u64 + 1,
            Piece::Dropped(..) => 1,
        });
        let left = run.output_left.checked_sub(sizes.sum());
        run.output_left = left.ok_or_else(|| unexpected("more output than may be kept"))?;
        run.pieces.extend(pieces);
        Ok(())
    }

    fn take_finished(&mut self, id: RunId, result: Result<stockade_runner::outcome::Outcome, Failure>) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        run.tell_lost();
        let survivors = result.as_ref().map(|outcome| outcome.survivors.clone()).unwrap_or_default();
        let end = match result {
            Ok(outcome) => RunEnd::Outcome(Box::new(outcome), run.pieces),
            Err(failure) => RunEnd::Failed(failure),
        };
        let _ = run.events.send(RunEvent::Finished(end));
        if !survivors.is_empty() {
            self.fail(Fault::Survivors { pids: survivors });
        }
    }

    fn take_part(&mut self, id: u64, result: Result<Part, Failure>) -> Result<(), Fault> {
        let (length, asked) = self.parts.remove(&id).unzip();
        let given = result.as_ref().map_or(0, |part| part.contents.len() as u64);
        if length.is_some_and(|length| given > length) {
            return Err(unexpected("a larger part of a file than was asked for"));
        }
        answer(asked, result)
    }

    fn take_background(&mut self, stream: Stream, bytes: u64, data: ByteBuf) {
        self.background_bytes = self.background_bytes.saturating_add(bytes);
        if let Some(background) = &self.background {
            // A runner sends no more than it read at one time.
            let mut data = data.into_vec();
            let last = data.split_off(data.len().saturating_sub(LIVE_WINDOW as usize));
            background.tell(BackgroundOutput { stream: stream.into(), bytes, data: last.into() });
        }
    }

    // What is due.

    /// When to look at what is due.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        // What was armed stays armed when a run ends: the next one is due later as a rule, and nobody need be
        // woken for it.
        if self.armed.is_none() {
            self.armed = self.earliest();
        } else if let Some(earliest) = self.earliest() {
            self.armed = self.armed.map(|armed| armed.min(earliest));
        }
        self.armed
    }

    fn earliest(&self) -> Option<Instant> {
        self.runs.values().map(|run| run.watch.due()).chain(self.end_due).min()
    }

    /// Looks at what is due. True when the runner is to be asked for a sign of life; a fault when it owed one.
    pub(super) fn take_due(&mut self, now: Instant) -> Result<bool, Fault> {
        self.armed = None;
        if self.end_due.is_some_and(|due| due <= now) {
            return Err(Fault::Unresponsive { after: TIME_TO_END });
        }
        let heard = self.heard;
        let mut ask = false;
        for run in self.runs.values_mut().filter(|run| run.watch.due() <= now) {
            run.watch = match run.watch {
                Watch::Queued { .. } => {
                    ask = true;
                    Watch::Asked { since: now, due: now + HEARTBEAT_ANSWER }
                }
                Watch::Asked { since, .. } if heard > since => Watch::Queued { due: now },
                Watch::Asked { .. } => return Err(Fault::Unresponsive { after: HEARTBEAT_ANSWER }),
                Watch::Started { .. } => return Err(Fault::Unresponsive { after: AFTER_DEADLINE }),
            };
        }
        Ok(ask)
    }
}

impl RunState {
    fn tell_lost(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            let _ = self.events.send(RunEvent::LiveLost { bytes: lost });
        }
    }
}

/// Gives an answer to who waits for it; one that nobody asked for is a fault.
fn answer<T>(asked: Option<oneshot::Sender<T>>, answer: T) -> Result<(), Fault> {
    let asked = asked.ok_or_else(|| unexpected("an answer to nothing that was asked"))?;
    // Whoever asked may have gone.
    let _ = asked.send(answer);
    Ok(())
}

fn unexpected(what: &str) -> Fault {
    Fault::Protocol { why: format!("it sent {what}") }
}
