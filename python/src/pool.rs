//! A pool. Owns whose it is in a forked process; an acquired session is an executor's, as any other.

use std::{
    fmt,
    future::IntoFuture,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use stockade::{Acquire, BoxFuture, CodeExecutor, Error, Session};

use crate::{
    errors,
    executor::Executor,
    options::{self, HostPath, Options, Seconds},
    own::Own,
    pending::Pending,
};

/// Sessions of an executor that are started ahead.
#[pyclass(frozen, module = "stockade._native")]
pub(crate) struct Pool {
    /// A copy for each process that may use it: whoever is first.
    current: Mutex<Own<stockade::Pool>>,
    used: AtomicBool,
    closed: AtomicBool,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Own<stockade::Pool>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool, where it is not another process's. What was not used before a fork is the child's, too.
    fn current(&self) -> Option<stockade::Pool> {
        let mut current = self.lock();
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
            let pool = stockade::Pool::clone(&self.lock());
            // Closed is what it is from the first step on.
            let _ = pool.close(Duration::MAX).now_or_never();
        }
    }
}

#[pymethods]
impl Pool {
    #[new]
    fn new(executor: &Executor, options: Bound<'_, PyDict>) -> PyResult<Self> {
        let pool = stockade::Pool::builder(executor.template().clone());
        let pool = options::pool(pool, &Options::new(options))?;
        let (used, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { current: Mutex::new(Own::new(pool)), used, closed })
    }

    fn fill(&self, py: Python<'_>) -> PyResult<Pending> {
        let pool = self.usable(py)?;
        Ok(Pending::new(async move { pool.fill().await.into() }))
    }

    /// A session that is acquired when it is started, by options of their names.
    fn acquire(&self, py: Python<'_>, options: Bound<'_, PyDict>) -> PyResult<Executor> {
        let mut acquire = self.usable(py)?.acquire();
        let options = Options::new(options);
        if let Some(Seconds(timeout)) = options.get("timeout")? {
            acquire = acquire.within(timeout);
        }
        if let Some(work_dir) = options.get::<HostPath>("work_dir")? {
            acquire = acquire.work_dir(work_dir);
        }
        Ok(Executor::new(Lease(Arc::new(Own::new(acquire)))))
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
        is_used && self.lock().is_of_this_process()
    }

    /// What it tells of itself, as JSON.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let pool = self.current().ok_or_else(|| errors::pool_of_another_process(py))?;
        serde_json::to_string(&pool.metrics()).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

/// An acquire, as an executor whose sessions are the pool's. It holds the pool, and so belongs to a process.
#[derive(Clone)]
struct Lease(Arc<Own<Acquire>>);

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Acquire::fmt(&self.0, formatter)
    }
}

impl CodeExecutor for Lease {
    fn start(&self) -> BoxFuture<'_, stockade::Result<Session>> {
        if !self.0.is_of_this_process() {
            return Box::pin(async { Err(Error::PoolClosed) });
        }
        Acquire::clone(&self.0).into_future()
    }
}
