//! Waiting for the library's futures: by asyncio, in any event loop, or by a thread. Owns the tokio runtime that polls
//! them, and what a fork does to all of it: a forked process has a copy of its parent's memory and none of its
//! threads, so it gets a runtime of its own, and what belongs to the parent is left alone.

use std::{
    future::Future,
    mem,
    ops::Deref,
    pin::Pin,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use pyo3_async_runtimes::{
    TaskLocals,
    generic::{self, ContextExt},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task,
};

use crate::answers::Answer;

/// How long a Ctrl-C may go unseen while a thread waits.
const SIGNALS_ARE_LOOKED_FOR: Duration = Duration::from_millis(50);

/// How long what is being told to Python may take when the interpreter ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The runtime, and the process that it belongs to.
static RUNTIME: Mutex<Option<(u32, Runtime)>> = Mutex::new(None);

/// Nothing that holds such a lock leaves what it guards half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime of this process. One thread is enough to hand on what the library's own says, and one that waits for the
/// interpreter to tell Python, in order.
fn handle() -> PyResult<Handle> {
    let mut runtime = lock(&RUNTIME);
    if let Some((_, runtime)) = runtime.as_ref().filter(|(owner, _)| *owner == process::id()) {
        return Ok(runtime.handle().clone());
    }
    let mut builder = Builder::new_multi_thread();
    let new =
        builder.worker_threads(1).max_blocking_threads(1).thread_name("stockade").enable_time().build()?;
    let handle = new.handle().clone();
    // The parent's can't be shut down here: its threads are not.
    mem::forget(runtime.replace((process::id(), new)));
    Ok(handle)
}

/// Ends the runtime, and waits until none of its threads is in the interpreter, which is about to end: one that is then
/// is ended by it in the middle of a function of ours, and the process aborted.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) {
    let runtime = lock(&RUNTIME).take();
    match runtime {
        Some((owner, runtime)) if owner == process::id() => {
            py.detach(|| runtime.shutdown_timeout(LAST_WORDS))
        }
        of_parent => mem::forget(of_parent),
    }
}

/// A value that belongs to the process which made it. Dropping it in a forked child must not end what the parent goes
/// on using: a session, a run.
pub(crate) struct Own<T> {
    /// Until it is dropped.
    value: Option<T>,
    process: u32,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), process: process::id() }
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process == process::id()
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only its drop takes it")
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            mem::forget(self.value.take());
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Something that begins when it is waited for: `await` it, or call `wait`.
#[pyclass(frozen, module = "stockade._native")]
pub(crate) struct Pending(Mutex<Option<Work>>);

impl Pending {
    pub(crate) fn new(work: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::pin(work))))
    }

    fn take(&self) -> PyResult<Work> {
        lock(&self.0).take().ok_or_else(|| PyRuntimeError::new_err("it has been waited for already"))
    }
}

#[pymethods]
impl Pending {
    /// Waits in the event loop that runs. When the task that waits is cancelled, so is what it waits for.
    fn __await__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let work = self.take()?;
        let handle = handle()?;
        let _entered = handle.enter();
        generic::future_into_py::<Bridge, _, _>(py, async { Ok(work.await) })?.call_method0("__await__")
    }

    /// Waits on this thread, while other threads go on. A signal whose handler raises, as that of Ctrl-C does, ends the
    /// wait and what is waited for.
    fn wait(&self, py: Python<'_>) -> PyResult<Answer> {
        let (work, handle) = (self.take()?, handle()?);
        py.detach(|| {
            let _entered = handle.enter();
            wait_attentively(work)
        })
    }
}

fn wait_attentively(mut work: Work) -> PyResult<Answer> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut looked = Instant::now();
    loop {
        if let Poll::Ready(answer) = work.as_mut().poll(&mut context) {
            return Ok(answer);
        }
        thread::park_timeout(SIGNALS_ARE_LOOKED_FOR);
        if looked.elapsed() >= SIGNALS_ARE_LOOKED_FOR {
            Python::attach(|py| py.check_signals())?;
            looked = Instant::now();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Our runtime for pyo3-async-runtimes, whose own would not outlive a fork. It is entered by whoever calls these.
struct Bridge;

impl generic::Runtime for Bridge {
    type JoinError = task::JoinError;
    type JoinHandle = task::JoinHandle<()>;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Self::JoinHandle {
        tokio::spawn(future)
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(work: F) -> Self::JoinHandle {
        task::spawn_blocking(work)
    }
}

/// No Python code is called from the library's futures, so none of them needs to know its event loop.
impl ContextExt for Bridge {
    fn scope<F, R>(_: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(future)
    }

    fn get_task_locals() -> Option<TaskLocals> {
        None
    }
}
