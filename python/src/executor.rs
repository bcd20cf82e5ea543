//! An executor, a call of it, and the events of a call. Owns which of the library's futures each method is, and whose
//! they are in a forked process.

use std::{
    ffi::OsString,
    mem,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use stockade::{BoxFuture, CodeBlock, CodeExecutor, Error, Event, RestartableExecutor, Session};
use tokio::sync;

use crate::{
    errors,
    options::{self, Block, Options, Seconds, argument, named},
    own::Own,
    pending::Pending,
};

/// The most events that one step of a stream gives.
const BATCH: usize = 64;

/// Ends a call, or several, before they are done.
///
/// It can be used from any thread, and stays cancelled.
#[pyclass(frozen, module = "stockade", name = "CancellationToken")]
#[derive(Default)]
pub(crate) struct CancellationToken(stockade::CancellationToken);

#[pymethods]
impl CancellationToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that were given this token. What they have printed until then is in their results.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel` was called.
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// What sessions are started from.
#[derive(Debug, Clone)]
pub(crate) struct Template(Arc<dyn CodeExecutor>);

impl CodeExecutor for Template {
    fn start(&self) -> BoxFuture<'_, stockade::Result<Session>> {
        self.0.start()
    }

    fn check_for_pool(&self) -> stockade::Result<()> {
        self.0.check_for_pool()
    }
}

/// An executor, and the session that it has started.
#[pyclass(frozen, module = "stockade._native")]
pub(crate) struct Executor {
    template: Template,
    current: Mutex<Own<Arc<RestartableExecutor>>>,
}

impl Executor {
    pub(crate) fn new(template: impl CodeExecutor + 'static) -> Self {
        let template = Template(Arc::new(template));
        let current = Mutex::new(Self::own(&template));
        Self { template, current }
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    fn own(template: &Template) -> Own<Arc<RestartableExecutor>> {
        Own::new(Arc::new(RestartableExecutor::new(template.clone())))
    }

    /// The executor, where it is not another process's. What had not started before a fork is the child's, too.
    fn current(&self) -> Option<Arc<RestartableExecutor>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.is_of_this_process() {
            let not_started = current.session().now_or_never().is_some_and(|session| session.is_none());
            if !not_started {
                return None;
            }
            *current = Self::own(&self.template);
        }
        Some(Arc::clone(&current))
    }

    fn usable(&self, py: Python<'_>) -> PyResult<Arc<RestartableExecutor>> {
        self.current().ok_or_else(|| errors::of_another_process(py))
    }

    /// The session, where it has started and is not being stopped.
    fn session(&self, py: Python<'_>) -> PyResult<Arc<Session>> {
        let session = self.usable(py)?.session().now_or_never().flatten();
        session.ok_or_else(|| errors::to_python(py, &Error::NotStarted))
    }
}

/// The session that has started; waits while it is being started or stopped.
async fn started(executor: &RestartableExecutor) -> stockade::Result<Arc<Session>> {
    executor.session().await.ok_or(Error::NotStarted)
}

#[pymethods]
impl Executor {
    #[staticmethod]
    fn local(options: Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(Self::new(options::local(&Options::new(options))?))
    }

    #[staticmethod]
    fn docker(options: Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(Self::new(options::docker(&Options::new(options))?))
    }

    fn start(&self, py: Python<'_>) -> PyResult<Pending> {
        let executor = self.usable(py)?;
        Ok(Pending::slow(async move { executor.start().await.into() }))
    }

    /// In a forked child nothing happens: the session is the parent's.
    fn stop(&self) -> Pending {
        let executor = self.current();
        Pending::new(async move {
            match executor {
                Some(executor) => executor.stop().await.into(),
                None => Ok(()).into(),
            }
        })
    }

    fn restart(&self, py: Python<'_>) -> PyResult<Pending> {
        let executor = self.usable(py)?;
        Ok(Pending::slow(async move { executor.restart().await.into() }))
    }

    /// Whether this process has a session that nobody has stopped.
    #[getter]
    fn started(&self) -> bool {
        let executor = self.current();
        executor.and_then(|executor| executor.session().now_or_never().flatten()).is_some()
    }

    /// The session as JSON.
    #[getter]
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        serde_json::to_string(self.session(py)?.info())
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    #[getter]
    fn work_dir(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.session(py)?.work_dir().to_owned())
    }

    #[getter]
    fn workspace(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.session(py)?.workspace().to_owned())
    }

    fn languages(&self, py: Python<'_>) -> PyResult<Pending> {
        let executor = self.usable(py)?;
        Ok(Pending::new(async move { async { started(&executor).await?.languages().await }.await.into() }))
    }

    fn put_file(
        &self,
        py: Python<'_>,
        path: Bound<'_, PyAny>,
        contents: Bound<'_, PyAny>,
    ) -> PyResult<Pending> {
        let (path, contents) =
            (argument::<PathBuf>("path", &path)?, argument::<Vec<u8>>("contents", &contents)?);
        let executor = self.usable(py)?;
        Ok(Pending::new(async move {
            async { started(&executor).await?.put_file(path, contents).await }.await.into()
        }))
    }

    fn get_file(&self, py: Python<'_>, path: Bound<'_, PyAny>) -> PyResult<Pending> {
        let path = argument::<PathBuf>("path", &path)?;
        let executor = self.usable(py)?;
        Ok(Pending::new(async move { async { started(&executor).await?.get_file(path).await }.await.into() }))
    }

    /// A call that is to be run, or listened to, from its arguments by their names.
    #[pyo3(signature = (**arguments))]
    fn call(&self, py: Python<'_>, arguments: Option<Bound<'_, PyDict>>) -> PyResult<Call> {
        let arguments = Options::new(arguments.unwrap_or_else(|| PyDict::new(py)));
        if arguments.get::<Bound<'_, PyAny>>("code_blocks")?.is_none() {
            return Err(named("code_blocks", &"must be a list of blocks, not None"));
        }
        let blocks = arguments.list("code_blocks")?.into_iter().map(|Block(block)| block).collect();
        let token = arguments.get::<Py<CancellationToken>>("cancellation_token")?;
        let options = CallOptions {
            timeout: arguments.get("timeout")?.map(|Seconds(timeout)| timeout),
            env: arguments.pairs("env")?,
            keep_going: arguments.get("keep_going")?,
            merge_streams: arguments.get("merge_streams")?,
            backpressure: arguments.get("backpressure")?,
            token: token.map(|token| token.get().0.clone()).unwrap_or_default(),
        };
        Ok(Call { executor: self.usable(py)?, blocks, options })
    }
}

/// What a call differs in from others of the session.
#[derive(Debug, Clone)]
struct CallOptions {
    timeout: Option<Duration>,
    env: Vec<(OsString, OsString)>,
    keep_going: Option<bool>,
    merge_streams: Option<bool>,
    backpressure: Option<bool>,
    token: stockade::CancellationToken,
}

/// Some blocks, and how they are to be run.
#[pyclass(frozen, module = "stockade._native")]
#[derive(Clone)]
pub(crate) struct Call {
    executor: Arc<RestartableExecutor>,
    blocks: Vec<CodeBlock>,
    options: CallOptions,
}

impl Call {
    /// The library's call, in the session that has started.
    async fn begin(self) -> stockade::Result<stockade::Call<'static>> {
        let options = self.options;
        let mut call = started(&self.executor).await?.call(self.blocks).cancellation_token(&options.token);
        if let Some(timeout) = options.timeout {
            call = call.timeout(timeout);
        }
        for (name, value) in options.env {
            call = call.env(name, value);
        }
        if let Some(keep_going) = options.keep_going {
            call = call.keep_going(keep_going);
        }
        if let Some(merge_streams) = options.merge_streams {
            call = call.merge_streams(merge_streams);
        }
        if let Some(backpressure) = options.backpressure {
            call = call.backpressure(backpressure);
        }
        Ok(call)
    }
}

#[pymethods]
impl Call {
    /// Runs the blocks, for their result.
    fn run(&self) -> Pending {
        let call = self.clone();
        Pending::new(async move { async { call.begin().await?.run().await }.await.into() })
    }

    /// Runs the blocks, and tells what happens.
    fn events(&self) -> Events {
        let mut call = self.clone();
        // Whoever listens no more ends the call, whatever becomes of the token that he was given.
        let token = call.options.token.child_token();
        call.options.token = token.clone();
        Events { stream: Own::new(Arc::new(sync::Mutex::new(Stream::Waiting(call)))), token }
    }
}

/// The events of a call.
#[pyclass(frozen, module = "stockade._native")]
pub(crate) struct Events {
    stream: Own<Arc<sync::Mutex<Stream>>>,
    token: stockade::CancellationToken,
}

#[pymethods]
impl Events {
    /// A list of what has happened since this was last asked, or of what happens next; an empty one after the end.
    fn next(&self, py: Python<'_>) -> PyResult<Pending> {
        if !self.stream.is_of_this_process() {
            return Err(errors::of_another_process(py));
        }
        let stream = Arc::clone(&self.stream);
        Ok(Pending::new(async move { stream.lock().await.next().await.into() }))
    }

    /// Ends the call, if it is not over.
    fn close(&self) {
        self.token.cancel();
        if let Ok(mut stream) = self.stream.try_lock()
            && self.stream.is_of_this_process()
        {
            *stream = Stream::Over;
        }
    }
}

enum Stream {
    /// Nobody has asked for an event.
    Waiting(Call),
    Running(Box<stockade::Events>),
    /// The events before the failure have been given.
    Failed(Error),
    Over,
}

impl Stream {
    async fn next(&mut self) -> stockade::Result<Vec<Event>> {
        if let Self::Waiting(call) = self {
            *self = Self::Running(Box::new(call.clone().begin().await?.events()?));
        }
        let Self::Running(events) = self else {
            return match mem::replace(self, Self::Over) {
                Self::Failed(error) => Err(error),
                _ => Ok(Vec::new()),
            };
        };
        let mut batch = Vec::new();
        let mut next = Some(events.next().await);
        while let Some(event) = next {
            match event {
                Some(Ok(event)) => batch.push(event),
                Some(Err(error)) if batch.is_empty() => return Err(error),
                Some(Err(error)) => {
                    *self = Self::Failed(error);
                    break;
                }
                None => break,
            }
            next = if batch.len() < BATCH { events.next().now_or_never() } else { None };
        }
        Ok(batch)
    }
}
