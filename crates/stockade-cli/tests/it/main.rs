//! Runs the real `stockade` command and looks at what a user sees: stdout, stderr and the exit status.

mod cancel;
mod confirm;
mod containers;
mod doctor;
mod engine;
mod formats;
mod input;
mod listings;
mod outcomes;
mod pull;
mod sandbox;
mod support;
mod terminal;
mod usage;
