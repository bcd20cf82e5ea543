//! Ctrl-C and SIGTERM. Owns what they mean: the first cancels the run, which then ends and is summed up; the
//! second exits at once, and the runner, which sees its host die, ends everything that is left.

use std::io::{self, IsTerminal, Write};

use stockade::CancellationToken;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

const SIGINT: i32 = SignalKind::interrupt().as_raw_value();
const SIGTERM: i32 = SignalKind::terminate().as_raw_value();

/// A token that the first signal cancels. To be called inside the runtime, whose worker waits for the
/// signals: so they are heard also while the main thread is stuck in a write that nobody reads.
pub(crate) fn cancelled_by_signals() -> Result<CancellationToken, Error> {
    let heard = |kind| signal(kind).map_err(|source| Error::Threads { source });
    let mut interrupts = heard(SignalKind::interrupt())?;
    let mut terminations = heard(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupts.recv() => SIGINT,
                _ = terminations.recv() => SIGTERM,
            };
            if cancelled.is_cancelled() {
                std::process::exit(128 + number);
            }
            cancelled.cancel();
            // A terminal has just shown `^C`. Stderr may be gone, and the run is cancelled all the same.
            let line_end = if io::stderr().is_terminal() { "\n" } else { "" };
            let _ = writeln!(io::stderr(), "{line_end}cancelling; once more to exit at once");
        }
    });
    Ok(token)
}
