//! What the library says, as the classes of `stockade.results` and `stockade.events`. Owns which attribute is what; the
//! classes are Python's.

use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyDict, PyList, PyString, PyType},
};
use stockade::{
    BlockOutcome, Change, CommandLineCodeResult, Error, Event, FileChange, LanguageReport, Output,
    PullProgress, Status, Stream,
};

use crate::errors;

/// What comes of a call of the library's. It becomes Python's when somebody is told: until then nothing needs the
/// interpreter.
pub(crate) struct Answer(Result<Value, Error>);

enum Value {
    Nothing,
    Result(CommandLineCodeResult),
    Events(Vec<Event>),
    Languages(Vec<LanguageReport>),
    Bytes(Vec<u8>),
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<CommandLineCodeResult> for Value {
    fn from(result: CommandLineCodeResult) -> Self {
        Self::Result(result)
    }
}

impl From<Vec<Event>> for Value {
    fn from(events: Vec<Event>) -> Self {
        Self::Events(events)
    }
}

impl From<Vec<LanguageReport>> for Value {
    fn from(languages: Vec<LanguageReport>) -> Self {
        Self::Languages(languages)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Into<Value>> From<Result<T, Error>> for Answer {
    fn from(result: Result<T, Error>) -> Self {
        Self(result.map(Into::into))
    }
}

type Object<'py> = Bound<'py, PyAny>;

impl<'py> IntoPyObject<'py> for Answer {
    type Target = PyAny;
    type Output = Object<'py>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Object<'py>> {
        match self.0 {
            Ok(Value::Nothing) => py.None().into_bound_py_any(py),
            Ok(Value::Result(result)) => result_of(py, result),
            Ok(Value::Events(events)) => list(py, events, event),
            Ok(Value::Languages(languages)) => list(py, languages, language),
            Ok(Value::Bytes(bytes)) => PyBytes::new(py, &bytes).into_bound_py_any(py),
            Err(error) => Err(errors::to_python(py, &error)),
        }
    }
}

/// An object of one of the package's classes. All that is in it is given, so there is nothing for its `__init__` to do.
macro_rules! object {
    ($py:expr, $module:literal, $class:literal, { $($name:literal: $value:expr,)* }) => {{
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let class = CLASS.import($py, $module, $class)?;
        let object = class.call_method1(intern!($py, "__new__"), (class,))?;
        let attributes = object.getattr(intern!($py, "__dict__"))?.cast_into::<PyDict>()?;
        $(attributes.set_item(intern!($py, $name), $value)?;)*
        Ok(object)
    }};
}

fn list<'py, T>(
    py: Python<'py>,
    items: Vec<T>,
    convert: fn(Python<'py>, T) -> PyResult<Object<'py>>,
) -> PyResult<Object<'py>> {
    let list = PyList::empty(py);
    for item in items {
        list.append(convert(py, item)?)?;
    }
    Ok(list.into_any())
}

fn bytes<'py>(py: Python<'py>, output: &Output) -> Bound<'py, PyBytes> {
    PyBytes::new(py, output.as_bytes())
}

fn result_of(py: Python<'_>, result: CommandLineCodeResult) -> PyResult<Object<'_>> {
    object!(py, "stockade.results", "CommandLineCodeResult", {
        "exit_code": result.exit_code,
        "output": result.output,
        "code_file": result.code_file,
        "blocks": list(py, result.blocks, outcome)?,
    })
}

pub(crate) fn outcome(py: Python<'_>, outcome: BlockOutcome) -> PyResult<Object<'_>> {
    object!(py, "stockade.results", "BlockOutcome", {
        "index": outcome.index,
        "language": outcome.language,
        "code_file": outcome.code_file,
        "status": status(py, outcome.status),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "stdout_bytes": bytes(py, &outcome.stdout),
        "stderr_bytes": bytes(py, &outcome.stderr),
        "output_bytes": bytes(py, &outcome.output),
        "dropped_bytes": outcome.dropped_bytes,
        "duration": outcome.duration.as_secs_f64(),
        "cpu": outcome.cpu.as_secs_f64(),
        "max_rss_bytes": outcome.max_rss_bytes,
        "files": list(py, outcome.files, file)?,
        "files_truncated": outcome.files_truncated,
        "files_notice": outcome.files_notice,
        "hint": outcome.hint,
    })
}

/// The words of the JSON.
fn status(py: Python<'_>, status: Status) -> Bound<'_, PyString> {
    PyString::intern(
        py,
        match status {
            Status::Signaled => "signaled",
            Status::TimedOut => "timed_out",
            Status::Cancelled => "cancelled",
            Status::OutOfMemory => "out_of_memory",
            Status::NotRun => "not_run",
            _ => "exited",
        },
    )
}

fn file(py: Python<'_>, file: FileChange) -> PyResult<Object<'_>> {
    let change = match file.change {
        Change::Created => "created",
        Change::Deleted => "deleted",
        _ => "changed",
    };
    object!(py, "stockade.results", "FileChange", {
        "path": file.path,
        "size": file.size,
        "mime": file.mime,
        "change": PyString::intern(py, change),
    })
}

fn language(py: Python<'_>, language: LanguageReport) -> PyResult<Object<'_>> {
    object!(py, "stockade.results", "LanguageReport", {
        "name": language.name,
        "aliases": language.aliases,
        "extension": language.extension,
        "runs": language.runs,
        "interpreter": language.interpreter,
    })
}

fn event(py: Python<'_>, event: Event) -> PyResult<Object<'_>> {
    match event {
        Event::BlockStarted { index, language, code_file } => {
            object!(py, "stockade.events", "BlockStarted", {
                "index": index,
                "language": language,
                "code_file": code_file,
            })
        }
        Event::Output { index, stream, data } => {
            let stream = match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            object!(py, "stockade.events", "BlockOutput", {
                "index": index,
                "stream": PyString::intern(py, stream),
                "data": bytes(py, &data),
            })
        }
        Event::OutputLost { index, bytes } => {
            object!(py, "stockade.events", "OutputLost", { "index": index, "bytes": bytes, })
        }
        Event::BlockFinished(finished) => {
            object!(py, "stockade.events", "BlockFinished", { "outcome": outcome(py, finished)?, })
        }
        Event::Finished(result) => {
            object!(py, "stockade.events", "Finished", { "result": result_of(py, result)?, })
        }
        _ => py.None().into_bound_py_any(py),
    }
}

pub(crate) fn pull_progress(py: Python<'_>, progress: PullProgress) -> PyResult<Object<'_>> {
    object!(py, "stockade.events", "PullProgress", {
        "layers_done": progress.layers_done,
        "layers": progress.layers,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "status": progress.status,
    })
}
