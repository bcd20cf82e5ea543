//! How an event loop hears, from whatever thread, that a future of ours can go on. Owns one bell for each loop: a list of
//! who is to be woken, and a pair of sockets of which the loop watches one. Ringing needs neither the interpreter nor
//! another thread.

use std::{
    io::{Read, Write},
    mem,
    os::{fd::AsRawFd, unix::net::UnixStream},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::{PyNotImplementedError, PyRuntimeError},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyWeakrefMethods, PyWeakrefReference},
};

/// By their loops, weak references to the bells' readers. Each loop holds its own, until it is closed.
static READERS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Nothing that holds such a lock leaves what it guards half changed, or needs the interpreter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loop's bell.
struct Bell {
    to_wake: Mutex<Vec<Arc<Sleeper>>>,
    cord: UnixStream,
}

impl Bell {
    fn ring(&self, sleeper: Arc<Sleeper>) {
        let mut to_wake = lock(&self.to_wake);
        to_wake.push(sleeper);
        let is_first = to_wake.len() == 1;
        drop(to_wake);
        if is_first {
            // It fails where nobody is left who would hear it.
            let _ = (&self.cord).write(&[0]);
        }
    }
}

/// What a loop calls when its bell was rung. The loop alone holds it, and drops it when it is closed.
#[pyclass(frozen, weakref, module = "stockade._native")]
struct Reader {
    bell: Arc<Bell>,
    socket: UnixStream,
    process: u32,
}

impl Reader {
    /// That of a loop, which is told to watch it if it has none yet.
    fn of<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let new = || Ok::<_, PyErr>(py.import("weakref")?.call_method0("WeakKeyDictionary")?.unbind());
        let readers = READERS.get_or_try_init(py, new)?.bind(py);
        let known = readers.call_method1(intern!(py, "get"), (event_loop,))?;
        if let Ok(known) = known.cast::<PyWeakrefReference>()
            && let Some(reader) = known.upgrade_as::<Self>()?
            // A fork's is its parent's.
            && reader.get().process == process::id()
        {
            return Ok(reader);
        }
        let reader = Bound::new(py, Self::new()?)?;
        event_loop
            .call_method1("add_reader", (reader.get().socket.as_raw_fd(), &reader))
            .map_err(|error| unwatched(event_loop, error))?;
        readers.set_item(event_loop, PyWeakrefReference::new(&reader)?)?;
        Ok(reader)
    }

    fn new() -> PyResult<Self> {
        let (cord, socket) = UnixStream::pair()?;
        cord.set_nonblocking(true)?;
        socket.set_nonblocking(true)?;
        let bell = Arc::new(Bell { to_wake: Mutex::default(), cord });
        Ok(Self { bell, socket, process: process::id() })
    }
}

/// Not every loop can watch a descriptor.
fn unwatched(event_loop: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = event_loop.py();
    if !error.is_instance_of::<PyNotImplementedError>(py) {
        return error;
    }
    let kind = event_loop.get_type();
    let why = format!("{kind} has no add_reader, which awaiting needs: use `stockade.sync` in a thread");
    let refused = PyRuntimeError::new_err(why);
    refused.set_cause(py, Some(error));
    refused
}

#[pymethods]
impl Reader {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        // What is left calls this again.
        let _ = (&self.socket).read(&mut [0; 64]);
        let to_wake = mem::take(&mut *lock(&self.bell.to_wake));
        to_wake.iter().try_for_each(|sleeper| sleeper.wake_up(py))
    }
}

/// Whoever waits for a future of ours. Any thread can wake it; it then goes on in its own loop.
pub(crate) struct Sleeper {
    bell: Arc<Bell>,
    is_rung_for: AtomicBool,
    /// What it awaits in its loop, while it does.
    awaited: Mutex<Option<Py<PyAny>>>,
}

impl Sleeper {
    /// One of this loop, which runs.
    pub(crate) fn of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let bell = Arc::clone(&Reader::of(event_loop)?.get().bell);
        Ok(Arc::new(Self { bell, is_rung_for: AtomicBool::new(false), awaited: Mutex::default() }))
    }

    /// A future of asyncio's that is done when this is woken.
    pub(crate) fn sleep<'py>(&self, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let future = event_loop.call_method0(intern!(event_loop.py(), "create_future"))?;
        let last = lock(&self.awaited).replace(future.clone().unbind());
        drop(last);
        Ok(future)
    }

    /// What wakes it from now on does nothing.
    pub(crate) fn forget(&self) {
        let awaited = lock(&self.awaited).take();
        drop(awaited);
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*lock(&self.awaited))
    }

    fn wake_up(&self, py: Python<'_>) -> PyResult<()> {
        self.is_rung_for.store(false, Ordering::Release);
        let Some(future) = lock(&self.awaited).take() else { return Ok(()) };
        if !future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
        }
        Ok(())
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        if !self.is_rung_for.swap(true, Ordering::AcqRel) {
            Arc::clone(&self.bell).ring(self);
        }
    }
}
