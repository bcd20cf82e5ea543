//! Waiting for the library's futures: by asyncio, in any event loop, or by a thread. Whoever waits polls them, on his own
//! thread; what they wait for happens on the library's.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::{PyRuntimeError, PyStopIteration},
    intern,
    prelude::*,
    sync::PyOnceLock,
};

use stockade::BoxFuture;

use crate::{answers::Answer, bell::Sleeper, errors, own::Own};

/// How long a Ctrl-C may go unseen while a thread waits.
const SIGNALS_ARE_LOOKED_FOR: Duration = Duration::from_millis(50);

/// A future of the library's, and how it is polled.
struct Work {
    future: BoxFuture<'static, Answer>,
    is_slow: bool,
}

/// Something that begins when it is waited for: `await` it, or call `wait`.
#[pyclass(frozen, module = "stockade._native")]
pub(crate) struct Pending(Mutex<Option<Work>>);

impl Pending {
    pub(crate) fn new(future: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self::of(future, false)
    }

    /// One of which a poll may take long: other threads go on meanwhile.
    pub(crate) fn slow(future: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self::of(future, true)
    }

    fn of(future: impl Future<Output = Answer> + Send + 'static, is_slow: bool) -> Self {
        Self(Mutex::new(Some(Work { future: Box::pin(future), is_slow })))
    }

    fn take(&self) -> PyResult<Work> {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        work.ok_or_else(|| PyRuntimeError::new_err("it has been waited for already"))
    }
}

#[pymethods]
impl Pending {
    /// Waits in the event loop that runs. When the task that waits is cancelled, so is what it waits for.
    fn __await__(&self) -> PyResult<Awaited> {
        let work = Own::new(Mutex::new(Some(self.take()?)));
        Ok(Awaited { work, sleeper: None })
    }

    /// Waits on this thread, while other threads go on. A signal whose handler raises, as that of Ctrl-C does, ends the
    /// wait and what is waited for.
    fn wait(&self, py: Python<'_>) -> PyResult<Answer> {
        let work = self.take()?;
        py.detach(|| wait_attentively(work.future))
    }
}

fn wait_attentively(mut work: BoxFuture<'static, Answer>) -> PyResult<Answer> {
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

/// A wait in an event loop, which takes its steps as those of a coroutine: each polls, and yields a future of the loop's
/// that is done when there is something to poll for.
#[pyclass(module = "stockade._native")]
pub(crate) struct Awaited {
    /// Until it is over. The mutex is never locked, and makes this what several threads may hold.
    work: Own<Mutex<Option<Work>>>,
    /// From the first step on.
    sleeper: Option<Arc<Sleeper>>,
}

impl Awaited {
    fn step<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if !self.work.is_of_this_process() {
            return Err(errors::of_another_process(py));
        }
        let event_loop = running_loop(py)?;
        let sleeper = match &self.sleeper {
            Some(sleeper) => Arc::clone(sleeper),
            None => Arc::clone(self.sleeper.insert(Sleeper::of(&event_loop)?)),
        };
        let waker = Waker::from(Arc::clone(&sleeper));
        match self.poll(py, &waker)? {
            Poll::Ready(answer) => {
                self.end();
                Err(PyStopIteration::new_err((answer.into_pyobject(py)?.unbind(),)))
            }
            Poll::Pending => {
                let future = sleeper.sleep(&event_loop)?;
                // By which a task knows that it is awaited, and not yielded by mistake.
                future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
                Ok(future)
            }
        }
    }

    fn poll(&mut self, py: Python<'_>, waker: &Waker) -> PyResult<Poll<Answer>> {
        let Some(Work { future, is_slow }) = self.work() else {
            return Err(PyRuntimeError::new_err("it has been waited for already"));
        };
        let mut poll = || future.as_mut().poll(&mut Context::from_waker(waker));
        Ok(if *is_slow { py.detach(poll) } else { poll() })
    }

    fn work(&mut self) -> &mut Option<Work> {
        self.work.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is waited for, unless that is over or another process's.
    fn end(&mut self) {
        if self.work.is_of_this_process() {
            drop(self.work().take());
        }
        if let Some(sleeper) = &self.sleeper {
            sleeper.forget();
        }
    }
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0()
}

#[pymethods]
impl Awaited {
    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    /// Returns by `StopIteration`, as coroutines do. Whatever fails ends it.
    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py).inspect_err(|_| self.end())
    }

    fn send<'py>(&mut self, py: Python<'py>, _value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.__next__(py)
    }

    /// A cancel, mostly: it ends what is waited for.
    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw(
        &mut self,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.end();
        Err(PyErr::from_value(value.unwrap_or(kind)))
    }

    fn close(&mut self) {
        self.end();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.sleeper.as_ref().map_or(Ok(()), |sleeper| sleeper.traverse(&visit))
    }

    fn __clear__(&mut self) {
        self.end();
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.end();
    }
}
