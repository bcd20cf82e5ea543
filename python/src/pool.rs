//! A pool. Owns whose it is in a forked process, and which runtime the executor's callbacks are told on; an acquired
//! session is an executor's, as any other.

use std::{
    fmt,
    future::IntoFuture,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use stockade::{Acquire, BoxFuture, CodeExecutor, Error, Session};
use tokio::runtime::Handle;

use crate::{
    errors,
    executor::{Executor, Template},
    options::{self, Options, Seconds},
    runtime::{Own, Pending, lock},
};

/// Sessions of an executor that are started ahead.
#[pyclass(frozen, module = "stockade._native")]
pub(crate) struct Pool {
    /// A copy for each process that may use it: whoever is first.
    current: Mutex<Own<stockade::Pool>>,
    starter: Arc<OnceLock<Handle>>,
    used: AtomicBool,
    closed: AtomicBool,
}

impl Pool {
    /// The pool, where it is not another process's. What was not used before a fork is the child's, too.
    fn current(&self) -> Option<stockade::Pool> {
        let mut current = lock(&self.current);
        if !current.is_of_this_process() {
            if self.used.load(Ordering::Relaxed) {
                return None;
            }
            let same = stockade::Pool::clone(&current);
            *current = Own::new(same);
        }
        Some(stockade::Pool::clone(&current))
    }

    /// The same, to be used.
    fn usable(&self, py: Python<'_>) -> PyResult<stockade::Pool> {
        let pool = self.current().ok_or_else(|| errors::pool_of_another_process(py))?;
        self.used.store(true, Ordering::Relaxed);
        Ok(pool)
    }
}

/// Sessions that are in use are their holders', who have a copy of the pool: its idle ones end now.
impl Drop for Pool {
    fn drop(&mut self) {
        if self.open() {
            let pool = stockade::Pool::clone(&lock(&self.current));
            // Closed is what it is from the first step on.
            let _ = pool.close(Duration::MAX).now_or_never();
        }
    }
}

#[pymethods]
impl Pool {
    #[new]
    fn new(executor: &Executor, options: Bound<'_, PyDict>) -> PyResult<Self> {
        let starter = Arc::default();
        let entered = Entered { template: executor.template().clone(), runtime: Arc::clone(&starter) };
        let pool = options::pool(stockade::Pool::builder(entered), &Options::new(options))?;
        let (used, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { current: Mutex::new(Own::new(pool)), starter, used, closed })
    }

    fn fill(&self, py: Python<'_>) -> PyResult<Pending> {
        let (pool, starter) = (self.usable(py)?, Arc::clone(&self.starter));
        Ok(Pending::new(async move {
            note(&starter);
            pool.fill().await.into()
        }))
    }

    /// A session that is acquired when it is started, by options of their names.
    fn acquire(&self, py: Python<'_>, options: Bound<'_, PyDict>) -> PyResult<Executor> {
        let mut acquire = self.usable(py)?.acquire();
        let options = Options::new(options);
        if let Some(Seconds(timeout)) = options.get("timeout")? {
            acquire = acquire.within(timeout);
        }
        if let Some(work_dir) = options.get::<PathBuf>("work_dir")? {
            acquire = acquire.work_dir(work_dir);
        }
        let starter = Arc::clone(&self.starter);
        Ok(Executor::new(Lease { acquire: Arc::new(Own::new(acquire)), starter }))
    }

    /// In a forked child nothing happens: the pool is the parent's.
    fn close(&self, grace: Bound<'_, PyAny>) -> PyResult<Pending> {
        let Seconds(grace) = options::argument("grace", &grace)?;
        let pool = self.current();
        self.closed.store(true, Ordering::Relaxed);
        Ok(Pending::new(async move {
            if let Some(pool) = pool {
                pool.close(grace).await;
            }
            Ok(()).into()
        }))
    }

    /// Whether this process has used it and nobody has closed it.
    #[getter]
    fn open(&self) -> bool {
        let is_used = self.used.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed);
        is_used && lock(&self.current).is_of_this_process()
    }

    /// What it tells of itself, as JSON.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let pool = self.current().ok_or_else(|| errors::pool_of_another_process(py))?;
        serde_json::to_string(&pool.metrics()).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

/// The binding's runtime, on which whoever waits is.
fn note(runtime: &OnceLock<Handle>) {
    if let Ok(handle) = Handle::try_current() {
        let _ = runtime.set(handle);
    }
}

/// The executor of a pool, whose starts are on threads of the library's: what they tell Python is told by the binding's
/// runtime all the same, which ends before the interpreter.
#[derive(Debug)]
struct Entered {
    template: Template,
    runtime: Arc<OnceLock<Handle>>,
}

impl CodeExecutor for Entered {
    fn start(&self) -> BoxFuture<'_, stockade::Result<Session>> {
        let _entered = self.runtime.get().map(Handle::enter);
        self.template.start()
    }

    fn check_for_pool(&self) -> stockade::Result<()> {
        self.template.check_for_pool()
    }
}

/// An acquire, as an executor whose sessions are the pool's. It holds the pool, and so belongs to a process.
#[derive(Clone)]
struct Lease {
    acquire: Arc<Own<Acquire>>,
    starter: Arc<OnceLock<Handle>>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Acquire::fmt(&self.acquire, formatter)
    }
}

impl CodeExecutor for Lease {
    fn start(&self) -> BoxFuture<'_, stockade::Result<Session>> {
        if !self.acquire.is_of_this_process() {
            return Box::pin(async { Err(Error::PoolClosed) });
        }
        note(&self.starter);
        Acquire::clone(&self.acquire).into_future()
    }
}
