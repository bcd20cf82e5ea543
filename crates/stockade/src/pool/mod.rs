//! A pool: sessions of one executor that are started ahead, so that nobody waits for a start. Owns when sessions are
//! started, given out and thrown away. A session that was given out is its holder's alone and never comes back; the
//! pool only counts it until its place is gone.
//!
//! ```text
//! state       the books: who has what, who waits, what is to be started
//! builder     the options
//! acquire     an acquire that is being put together
//! metrics     what is told of all this
//! ```

mod acquire;
mod builder;
mod metrics;
mod state;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::state::{Handed, Limits, State};
pub use self::{
    acquire::Acquire,
    builder::PoolBuilder,
    metrics::{PoolCounts, PoolMetrics, PoolTimes},
};
use crate::{
    BoxFuture, CodeExecutor, Session,
    error::{Error, Fault, Result},
    io_thread,
    session::Ending,
};

/// How long the end of what was ended by force may take.
const TIME_TO_END: Duration = Duration::from_secs(20);

/// Sessions of one executor, started ahead.
///
/// Whoever acquires one gets a [`Session`] like any other: fresh, with a workspace of its own, and his alone. It is
/// never handed to somebody else: when it is stopped or dropped it ends, as every session does, and the pool starts
/// another in its place, in the background. There is no way to give one back, for what a block leaves behind
/// (files, packages, processes, memory) can't be proven gone. Who wants several tasks in one session keeps
/// it: calls may overlap, and an `Arc<Session>` can be shared.
///
/// The pool starts its first sessions when it is first used: [`fill`](Self::fill) waits for them. It is a handle:
/// clones share the pool, and when the last is dropped its idle sessions end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor, Pool};
///
/// let executor = LocalCommandLineCodeExecutor::builder().build()?;
/// let pool = Pool::builder(executor).min_idle(2).max_total(8).build()?;
/// pool.fill().await?;
///
/// let session = pool.acquire().await?;
/// let blocks = [CodeBlock::new("sh", "echo hello")];
/// let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
/// assert_eq!(result.output, "hello\n");
/// session.stop().await?;
///
/// pool.close(Duration::from_secs(10)).await;
/// # Ok::<(), stockade::Error>(()) }).unwrap();
/// ```
///
/// It is an executor itself: wherever one can be given, a pool can.
#[derive(Clone)]
pub struct Pool {
    handle: Arc<LastOne>,
}

impl Pool {
    /// A builder of a pool whose sessions this executor starts.
    pub fn builder(executor: impl CodeExecutor + 'static) -> PoolBuilder {
        PoolBuilder::new(Box::new(executor))
    }

    fn new(executor: Box<dyn CodeExecutor>, options: &builder::Options) -> Self {
        let core = Core {
            executor,
            acquire_timeout: options.acquire_timeout,
            max_lifetime: options.max_lifetime,
            state: Mutex::new(State::new(options.limits())),
            io: OnceLock::new(),
            something_happened: Notify::new(),
            closed: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            forced: CancellationToken::new(),
            drained: CancellationToken::new(),
        };
        Self { handle: Arc::new(LastOne(Arc::new(core))) }
    }

    /// A session that nobody has used. One that is idle is there at once; else it is waited for, in the order of the
    /// asking, for as long as `acquire_timeout` says. What is awaited can be told more before:
    ///
    /// ```no_run
    /// # async fn example(pool: stockade::Pool) -> stockade::Result<()> {
    /// # use std::time::Duration;
    /// let session = pool.acquire().within(Duration::from_secs(2)).work_dir("project").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Dropping the future loses no session.
    ///
    /// # Errors
    ///
    /// [`Error::PoolExhausted`], [`Error::PoolClosed`], and why a session could not be started, as
    /// [`CodeExecutor::start`].
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.clone())
    }

    /// Waits until `min_idle` sessions are idle, or as many as those in use leave room for. A program that begins with
    /// this learns at once when sessions can't be started.
    ///
    /// # Errors
    ///
    /// Why one could not be started, as [`CodeExecutor::start`]; [`Error::PoolClosed`].
    pub async fn fill(&self) -> Result<()> {
        let core = self.core();
        core.io()?;
        let full = {
            let mut state = core.state();
            if state.is_closed() {
                return Err(Error::PoolClosed);
            }
            state.wait_until_full()
        };
        core.something_happened.notify_one();
        full.await.unwrap_or(Err(Error::PoolClosed))
    }

    /// Gives no session out any more, ends those that are idle, and waits for those that are in use or being started.
    /// What is not over by `grace` is ended: calls under way end as cancelled. Returns when all of it has ended, some
    /// 20 s after `grace` at the latest. Acquires that wait get [`Error::PoolClosed`] at once. A future that is dropped
    /// has closed the pool all the same, and ends nothing that is in use.
    pub async fn close(&self, grace: Duration) {
        let core = self.core();
        core.close();
        if core.drained.is_cancelled() {
            return;
        }
        let Ok(io) = core.io() else { return };
        let timer = |time| timer(io, time);
        tokio::select! {
            biased;
            () = core.drained.cancelled() => return,
            () = timer(grace) => {}
        }
        core.abandoned.cancel();
        core.forced.cancel();
        tokio::select! {
            biased;
            () = core.drained.cancelled() => {}
            () = timer(TIME_TO_END) => tracing::warn!(left = ?self.metrics(), "a pool did not end in order"),
        }
    }

    /// What there is now, and what has happened.
    pub fn metrics(&self) -> PoolMetrics {
        self.core().state().metrics()
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.0
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.core();
        let mut pool = formatter.debug_struct("Pool");
        pool.field("executor", &core.executor).field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// A session is acquired where others would be started.
impl CodeExecutor for Pool {
    fn start(&self) -> BoxFuture<'_, Result<Session>> {
        self.acquire().into_future()
    }
}

/// What all handles of a pool share, and its tasks do not.
struct LastOne(Arc<Core>);

impl Drop for LastOne {
    fn drop(&mut self) {
        self.0.close();
        // Nobody is left to use what comes of a start. Sessions in use are their holders'.
        self.0.abandoned.cancel();
    }
}

/// What the handles and the tasks of a pool share.
struct Core {
    executor: Box<dyn CodeExecutor>,
    acquire_timeout: Duration,
    max_lifetime: Option<Duration>,
    state: Mutex<State<Session>>,
    /// Where the tasks run; from the first use on.
    io: OnceLock<Handle>,
    /// Wakes the task that keeps the pool as it is to be.
    something_happened: Notify,
    closed: CancellationToken,
    /// Drops the starts that are under way.
    abandoned: CancellationToken,
    /// Ends the sessions that are in use.
    forced: CancellationToken,
    /// Nothing is left of a closed pool.
    drained: CancellationToken,
}

impl Core {
    /// Nothing that holds the lock can fail half-way.
    fn state(&self) -> MutexGuard<'_, State<Session>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The library's own thread, on which the pool is kept from now on.
    fn io(self: &Arc<Self>) -> Result<&Handle> {
        if let Some(io) = self.io.get() {
            return Ok(io);
        }
        let io = io_thread::handle().map_err(|error| Error::start("start a thread for the pool", error))?;
        if self.io.set(io.clone()).is_ok() {
            io.spawn(keep(Arc::clone(self), io.clone()));
        }
        Ok(self.io.get_or_init(|| io))
    }

    /// Gives nothing out any more.
    fn close(&self) {
        let idle = self.state().close();
        drop(idle);
        self.closed.cancel();
        self.tell_if_drained();
    }

    fn tell_if_drained(&self) {
        if self.state().is_drained() {
            self.drained.cancel();
        }
    }

    /// Hands a session out as soon as there is one.
    async fn acquire(self: &Arc<Self>, within: Duration) -> Result<Handed<Session>> {
        let io = self.io()?;
        let place = {
            let mut state = self.state();
            if state.is_closed() {
                return Err(Error::PoolClosed);
            }
            match state.take(Instant::now(), Session::is_well) {
                Some(handed) => Ok(handed),
                None => {
                    let (ticket, taken) = state.wait();
                    Err(Waiting { core: self, ticket, taken })
                }
            }
        };
        self.something_happened.notify_one();
        let mut waiting = match place {
            Ok(handed) => return Ok(handed),
            Err(waiting) => waiting,
        };
        tokio::select! {
            biased;
            taken = &mut waiting.taken => taken.unwrap_or(Err(Error::PoolClosed)),
            () = timer(io, within) => Err(self.state().exhausted(within)),
        }
    }

    /// Takes a session back that was handed to somebody who did not use it.
    fn give_back(&self, handed: Handed<Session>) {
        if handed.session.is_well() {
            let unwanted = self.state().give_back(handed);
            drop(unwanted);
        }
        self.something_happened.notify_one();
    }

    /// Does what is due, and says when something is due again.
    fn tend(self: &Arc<Self>, io: &Handle) -> Option<Instant> {
        let now = Instant::now();
        let (expired, count, due) = {
            let mut state = self.state();
            let expired = state.expire(now);
            state.end_pause(now);
            (expired, state.begin_starts(now), state.next_due())
        };
        drop(expired);
        (0..count).for_each(|_| self.start(io));
        due
    }

    /// Starts a session, on a thread of its own: an executor may do what blocks, and neither other sessions nor other
    /// starts are to wait for that.
    fn start(self: &Arc<Self>, io: &Handle) {
        let (core, of_thread) = (Arc::clone(self), io.clone());
        let work = move || {
            let begun = Instant::now();
            let start = async {
                tokio::select! {
                    biased;
                    () = core.abandoned.cancelled() => Err(Error::PoolClosed),
                    session = core.executor.start() => session,
                }
            };
            let started = catch_unwind(AssertUnwindSafe(|| of_thread.block_on(start)));
            let panicked =
                |_| Err(Error::start("start a session", io::Error::other("the executor panicked")));
            core.started(&of_thread, started.unwrap_or_else(panicked), begun);
        };
        if let Err(error) = thread::Builder::new().name("stockade-start".to_owned()).spawn(work) {
            self.started(io, Err(Error::start("start a thread for a session", error)), Instant::now());
        }
    }

    /// Takes what came of a start.
    fn started(self: &Arc<Self>, io: &Handle, started: Result<Session>, begun: Instant) {
        let now = Instant::now();
        match started {
            Ok(session) => {
                let ending = session.ending();
                let (number, unwanted) = self.state().started(session, now - begun, now);
                drop(unwanted);
                io.spawn(watch(Arc::clone(self), number, ending));
            }
            Err(error) => {
                if !self.closed.is_cancelled() {
                    tracing::warn!(%error, "a pool could not start a session");
                }
                self.state().failed(error, now);
                self.tell_if_drained();
            }
        }
        self.something_happened.notify_one();
    }
}

/// Keeps the pool as it is to be, until it is closed.
async fn keep(core: Arc<Core>, io: Handle) {
    loop {
        let due = core.tend(&io);
        tokio::select! {
            biased;
            () = core.closed.cancelled() => return,
            () = core.something_happened.notified() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

/// Waits for the end of a session, and ends it when its time is over. Until then its place is taken.
async fn watch(core: Arc<Core>, number: u64, ending: Ending) {
    let lives = async {
        match core.max_lifetime {
            Some(lifetime) => {
                sleep(lifetime).await;
                lifetime
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = ending.ended() => {}
        () = ending.failed() => {
            let unusable = core.state().failed_while_idle(number);
            drop(unusable);
            core.something_happened.notify_one();
        }
        () = core.forced.cancelled() => {
            core.state().counts.closed_in_use += 1;
            ending.end(Fault::PoolClosed).await;
        }
        lifetime = lives => {
            core.state().counts.expired_in_use += 1;
            ending.end(Fault::Expired { lifetime }).await;
        }
    }
    ending.ended().await;
    core.state().ended(number);
    core.tell_if_drained();
    core.something_happened.notify_one();
}

/// Somebody's place in the queue.
struct Waiting<'a> {
    core: &'a Core,
    ticket: u64,
    taken: oneshot::Receiver<Result<Handed<Session>>>,
}

/// Whoever leaves the queue may have been handed a session in this very moment.
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.taken.close();
        if let Ok(Ok(handed)) = self.taken.try_recv() {
            self.core.give_back(handed);
        }
        self.core.state().leave(self.ticket);
    }
}

/// A timer for whoever awaits it, on any executor: it is kept on the library's own thread.
fn timer(io: &Handle, time: Duration) -> Sleep {
    let _entered = io.enter();
    sleep(time)
}
