//! What failed, as the classes of `stockade.errors`. Owns which of the library's errors is which of these.

use pyo3::{prelude::*, types::PyList};
use stockade::{Error, Fault};

use crate::answers;

/// The library's error as the package's. Where that can't be made, why not is what is raised.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::InvalidOption { .. } => "InvalidOptionError",
        Error::PipInstall { .. } | Error::FunctionsLoad { .. } => "FunctionsError",
        Error::NotStarted => "NotStartedError",
        Error::PoolExhausted { .. } => "PoolExhaustedError",
        Error::PoolClosed => "PoolClosedError",
        Error::SessionEnded { fault: Fault::Unresponsive { .. }, .. } => "UnresponsiveError",
        Error::SessionEnded { .. } => "SessionEndedError",
        Error::WorkDir { .. }
        | Error::RunnerStart { .. }
        | Error::Sandbox { .. }
        | Error::VirtualEnv { .. }
        | Error::DaemonUnreachable { .. }
        | Error::Image { .. }
        | Error::Container { .. }
        | Error::InitCommand { .. }
        | Error::Preload { .. } => "StartError",
        _ => "StockadeError",
    };
    let made = || -> PyResult<PyErr> {
        let blocks = PyList::empty(py);
        for block in error.finished_blocks() {
            blocks.append(answers::outcome(py, block.clone())?)?;
        }
        make(py, class, (error.message(), error.kind(), error.hint(), blocks))
    };
    made().unwrap_or_else(|failure| failure)
}

/// What an option's value is refused with that no option can have.
pub(crate) fn invalid_option(py: Python<'_>, option: &str, why: &str) -> PyErr {
    let sentence = format!("failed to configure the executor: {option} {why}");
    make(py, "InvalidOptionError", (sentence, "invalid_option")).unwrap_or_else(|failure| failure)
}

/// The session is the parent's, and this is its forked child.
pub(crate) fn of_another_process(py: Python<'_>) -> PyErr {
    let sentence =
        "failed to use the session: it belongs to the process that started it, of which this is a fork";
    let arguments = (sentence, "session_ended", "make a new executor in this process");
    make(py, "SessionEndedError", arguments).unwrap_or_else(|failure| failure)
}

/// The pool is the parent's, and this is its forked child.
pub(crate) fn pool_of_another_process(py: Python<'_>) -> PyErr {
    let sentence =
        "failed to use the pool: it belongs to the process that used it first, of which this is a fork";
    let arguments = (sentence, "pool_closed", "make a new pool in this process");
    make(py, "PoolClosedError", arguments).unwrap_or_else(|failure| failure)
}

fn make<'py>(py: Python<'py>, class: &str, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyResult<PyErr> {
    Ok(PyErr::from_value(py.import("stockade.errors")?.getattr(class)?.call1(arguments)?))
}
