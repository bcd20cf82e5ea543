//! The native part of the Python package: options in, futures out. What Python people see is in `python/stockade`;
//! what runs the code is the crate `stockade`. Owns the way between the two worlds, and nothing else.
//!
//! ```text
//! executor    an executor, a call of it, and the events of a call
//! pool        sessions of an executor that are started ahead
//! options     what Python says, as the library's builders take it
//! answers     what the library says, as the package's classes
//! errors      what failed, as the package's exceptions
//! pending     waiting for the library's futures, by asyncio or by a thread
//! bell        how an event loop hears that one of them can go on
//! own         what belongs to a process, and not to its forks
//! ```

mod answers;
mod bell;
mod errors;
mod executor;
mod options;
mod own;
mod pending;
mod pool;

use pyo3::prelude::*;

/// The native part of `stockade`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::executor::{Call, CancellationToken, Events, Executor};
    #[pymodule_export]
    use super::pending::Pending;
    #[pymodule_export]
    use super::pool::Pool;

    use pyo3::prelude::*;

    /// The code and the language of each fenced code block in a Markdown text.
    #[pyfunction]
    fn code_blocks(markdown: &str) -> Vec<(String, String)> {
        let blocks = stockade::code_blocks(markdown).into_iter();
        // Markdown is text, and so is what is cut out of it.
        blocks.map(|block| (String::from_utf8_lossy(&block.code).into_owned(), block.language)).collect()
    }
}
