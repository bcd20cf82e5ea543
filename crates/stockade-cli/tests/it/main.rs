//! Runs the real `stockade` command and looks at what a user sees: stdout, stderr and the exit status.

mod cancel;
mod confirm;
mod formats;
mod input;
mod listings;
mod outcomes;
mod support;
mod terminal;
mod usage;
