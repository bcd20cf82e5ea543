//! The threads of the command. The main thread runs the command and may block in a write; one worker reads what
//! the runner sends and waits for signals, so that neither waits for a slow reader of stdout.

use tokio::runtime::Builder;

use crate::error::Error;

/// Runs a command's future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| Error::Threads { source })?;
    let value = runtime.block_on(future);
    // What still runs has nobody to answer to.
    runtime.shutdown_background();
    Ok(value)
}
