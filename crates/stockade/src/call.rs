//! One call: some blocks, run in order. Owns the order, the stop at a failure, and the cancel; it makes one
//! stream of events, of which a plain result is the last.

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::OsString,
    fmt,
    future::{Future, poll_fn},
    os::unix::ffi::OsStringExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use serde_bytes::ByteBuf;
use stockade_runner::{
    outcome,
    wire::message::{self, RunSpec},
};
use tokio_util::sync::CancellationToken;

use crate::{
    BlockOutcome, CodeBlock, CommandLineCodeResult, Event,
    client::{Client, RunEnd, RunEvent, RunHandle},
    error::{Error, Result},
    files::{Files, Settling},
    options,
    outcome::to_path,
    session::Defaults,
    utf8::Whole,
};

/// A call that is being put together; [`run`](Self::run) or [`events`](Self::events) starts it.
#[must_use = "a call does nothing until it is run"]
pub struct Call<'a> {
    client: Arc<Client>,
    files: Arc<Files>,
    blocks: Cow<'a, [CodeBlock]>,
    settings: Defaults,
    token: CancellationToken,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        client: Arc<Client>,
        files: Arc<Files>,
        blocks: Cow<'a, [CodeBlock]>,
        settings: Defaults,
    ) -> Self {
        Self { client, files, blocks, settings, token: CancellationToken::new() }
    }

    /// The blocks are Stockade's own: their generated files are removed, whatever the session does with such files.
    pub(crate) fn discard_file(mut self) -> Self {
        self.settings.discard_file = true;
        self
    }

    /// How long each block may take; the executor's timeout by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets a variable for these blocks, over the session's.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.settings.env.push((bytes(name.into()), bytes(value.into())));
        self
    }

    /// Whether to run the blocks after one that fails.
    pub fn keep_going(mut self, keep_going: bool) -> Self {
        self.settings.keep_going = keep_going;
        self
    }

    /// Whether stdout and stderr share one pipe. Their common order is exact then, and all of it is stdout.
    pub fn merge_streams(mut self, merge_streams: bool) -> Self {
        self.settings.merge_streams = merge_streams;
        self
    }

    /// Whether a block waits for whoever takes the events, as it would for a slow reader of a pipe, so that no output
    /// is left out of them. By default a block never waits, and [`Event::OutputLost`] tells what was left out.
    pub fn backpressure(mut self, backpressure: bool) -> Self {
        self.settings.backpressure = backpressure;
        self
    }

    /// Cancelling this token ends the call: the block that runs is ended and keeps its partial output.
    pub fn cancellation_token(mut self, token: &CancellationToken) -> Self {
        self.token = token.clone();
        self
    }

    /// Runs the blocks and waits for the result. Dropping the future cancels the call.
    ///
    /// # Errors
    ///
    /// As [`Session::execute_code_blocks`](crate::Session::execute_code_blocks), and [`Error::InvalidOption`] for
    /// a timeout of zero or a variable that no process can be given.
    pub async fn run(self) -> Result<CommandLineCodeResult> {
        let mut events = self.start(false)?;
        while let Some(event) = events.next().await {
            if let Event::Finished(result) = event? {
                return Ok(result);
            }
        }
        // The stream's last item is a result or an error.
        Err(Error::NotStarted)
    }

    /// Runs the blocks and tells what happens. Dropping the events cancels the call.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a timeout of zero or a variable that no process can be given.
    pub fn events(self) -> Result<Events> {
        self.start(true)
    }

    fn start(self, live: bool) -> Result<Events> {
        options::check_timeout(self.settings.timeout)?;
        options::check_variables(&self.settings.env)?;
        let cancelled = self.token.clone().cancelled_owned();
        Ok(Events {
            client: self.client,
            files: self.files,
            blocks: self.blocks.into_owned().into(),
            settings: self.settings,
            token: self.token,
            live,
            cancelled: Some(Box::pin(cancelled)),
            current: None,
            settling: None,
            outcomes: Vec::new(),
            ready: VecDeque::new(),
            over: false,
        })
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Call")
            .field("blocks", &self.blocks)
            .field("settings", &self.settings)
            .finish()
    }
}

pub(crate) fn bytes(text: OsString) -> ByteBuf {
    ByteBuf::from(text.into_vec())
}

/// The events of one call, in order; the last is [`Event::Finished`] or an error. Dropping them cancels the call.
pub struct Events {
    client: Arc<Client>,
    files: Arc<Files>,
    /// Those that have not started.
    blocks: VecDeque<CodeBlock>,
    settings: Defaults,
    token: CancellationToken,
    live: bool,
    /// Until the call was cancelled.
    cancelled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    current: Option<Current>,
    /// A block that has ended, until its files are here.
    settling: Option<Settling>,
    outcomes: Vec<BlockOutcome>,
    ready: VecDeque<Event>,
    over: bool,
}

/// The block that runs.
struct Current {
    run: RunHandle,
    stdout: Whole,
    stderr: Whole,
}

impl Events {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            self.look_for_cancel(context);
            let stepped = if let Some(settling) = &mut self.settling {
                let settled = ready!(settling.as_mut().poll(context));
                self.settling = None;
                settled.and_then(|(outcome, fetched)| {
                    self.take_outcome(outcome);
                    fetched
                })
            } else if let Some(current) = &mut self.current {
                let event = ready!(current.run.poll_event(context));
                self.take(event)
            } else {
                self.start_next()
            };
            if let Err(error) = stepped {
                self.over = true;
                let finished = std::mem::take(&mut self.outcomes);
                return Poll::Ready(Some(Err(error.with_finished(finished))));
            }
        }
    }

    fn look_for_cancel(&mut self, context: &mut Context<'_>) {
        let Some(cancelled) = &mut self.cancelled else { return };
        if cancelled.as_mut().poll(context).is_ready() {
            self.cancelled = None;
            if let Some(current) = &self.current {
                current.run.cancel();
            }
        }
    }

    /// Starts the next block, or ends the call when there is none.
    fn start_next(&mut self) -> Result<()> {
        let Some(block) = self.blocks.pop_front() else {
            self.finish();
            return Ok(());
        };
        if self.cancelled.is_none() {
            self.cancel_block(block);
            return Ok(());
        }
        let index = self.outcomes.len();
        let settings = &self.settings;
        let run = self.client.run(RunSpec {
            run: 0,
            language: block.language,
            code: block.code.into(),
            timeout_ms: settings.timeout.as_millis().try_into().unwrap_or(u64::MAX),
            env: settings.env.clone(),
            live: self.live,
            backpressure: settings.backpressure,
            merge_streams: settings.merge_streams,
            output_limit: settings.output_limit,
            discard_file: settings.discard_file,
        });
        let run = run.map_err(|error| error.at_block(index))?;
        if self.live {
            // Whoever takes events may be busy with the last one while the token is cancelled.
            run.cancel_with(self.token.clone());
        }
        self.current = Some(Current { run, stdout: Whole::default(), stderr: Whole::default() });
        Ok(())
    }

    /// The block that was to come next when the call was cancelled.
    fn cancel_block(&mut self, block: CodeBlock) {
        let notice = "Cancelled: the block had not started".to_owned();
        let cancelled = outcome::Status::Cancelled;
        let outcome = outcome::Outcome::without_process(&block.language, cancelled, None, notice);
        self.take_outcome(BlockOutcome::new(self.outcomes.len(), outcome, &[]));
    }

    fn take(&mut self, event: RunEvent) -> Result<()> {
        let index = self.outcomes.len();
        match event {
            RunEvent::Started { language, file } => {
                let code_file = self.files.on_host(to_path(file));
                self.ready.push_back(Event::BlockStarted { index, language, code_file });
            }
            RunEvent::Live { stream, data } => self.take_live(index, stream, data),
            RunEvent::LiveLost { bytes } => self.ready.push_back(Event::OutputLost { index, bytes }),
            RunEvent::Finished(RunEnd::Outcome(outcome, pieces)) => {
                self.tell_rest(index);
                let mut outcome = BlockOutcome::new(index, *outcome, &pieces);
                outcome.code_file = outcome.code_file.map(|file| self.files.on_host(file));
                outcome.hint = self.settings.hints.for_block(&outcome);
                match self.files.bring_back(&self.client, outcome) {
                    Ok(settling) => self.settling = Some(settling),
                    Err(outcome) => self.take_outcome(*outcome),
                }
            }
            RunEvent::Finished(RunEnd::Failed(failure)) => return Err(Error::runner(failure)),
            RunEvent::Finished(RunEnd::Ended(fault)) => return Err(Error::ended(fault)),
        }
        Ok(())
    }

    fn take_live(&mut self, index: usize, stream: message::Stream, data: Vec<u8>) {
        let Some(current) = &mut self.current else { return };
        let whole = match stream {
            message::Stream::Stdout => &mut current.stdout,
            message::Stream::Stderr => &mut current.stderr,
        };
        let data = whole.push(data);
        if !data.is_empty() {
            self.ready.push_back(Event::Output { index, stream: stream.into(), data: data.into() });
        }
    }

    /// Tells what was held back for the rest of a character that did not come.
    fn tell_rest(&mut self, index: usize) {
        let Some(current) = self.current.take() else { return };
        let rests = [(crate::Stream::Stdout, current.stdout), (crate::Stream::Stderr, current.stderr)];
        for (stream, whole) in rests {
            let data = whole.into_rest();
            if !data.is_empty() {
                self.ready.push_back(Event::Output { index, stream, data: data.into() });
            }
        }
    }

    fn take_outcome(&mut self, outcome: BlockOutcome) {
        let goes_on = outcome.exit_code == 0 || self.settings.keep_going;
        if !goes_on || outcome.status == crate::Status::Cancelled {
            self.blocks.clear();
        }
        if self.live {
            self.ready.push_back(Event::BlockFinished(outcome.clone()));
        }
        self.outcomes.push(outcome);
    }

    fn finish(&mut self) {
        self.over = true;
        let result = CommandLineCodeResult::new(std::mem::take(&mut self.outcomes));
        self.ready.push_back(Event::Finished(result));
    }
}

impl Stream for Events {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").field("waiting", &self.blocks.len()).finish_non_exhaustive()
    }
}
