//! The runner: the small static process that runs Stockade's code blocks, the same bytes wherever code runs.
//!
//! It resolves a block's language to a command, saves the block's file, starts its process, captures what it
//! prints, holds its deadline, ends every process of its tree and tells how it ended. A host asks for all of
//! that over any byte stream, in the messages of [`wire`]. Where the runner runs, and how a stream to it is
//! had, is the host's affair.
//!
//! ```text
//! engine      one event loop: requests, runs, deadlines, the end of everything
//! ├─ keeper      a small process above each block's processes; the zygote they are cloned from
//! ├─ tree        finding and ending every process below one
//! ├─ workspace   files beneath the workspace, and the locks by which runs share them;  changes: what is new there
//! ├─ confinement  what the kernel denies the code: Landlock, seccomp, no privileges
//! ├─ user        whom blocks run as;  concealment: whether they could look into the runner
//! ├─ handover    giving what blocks made to the workspace's owner
//! ├─ memory      the kernel's count of those whom it ended for want of memory, and who is to go first
//! ├─ source      a block's file name and contents;  shell_lines: `!` lines in Python
//! ├─ language    the table of languages;  interpreter: finding what runs one;  environment
//! ├─ spare       interpreters that wait for a block, and the server that they are forked from
//! ├─ capture     what is kept of the output;  manifest: which files changed
//! ├─ outcome     how a block ended
//! ├─ removal     removing a workspace, whatever was made of it
//! ├─ delivery    where the runner's executable lies in a container;  door, relay: how another host comes there
//! ├─ wire        messages and frames
//! └─ os          the only unsafe code
//! ```

mod capture;
mod changes;
mod concealment;
mod confinement;
pub mod delivery;
mod door;
mod engine;
mod environment;
mod handover;
mod interpreter;
mod keeper;
pub mod language;
mod manifest;
mod memory;
mod os;
pub mod outcome;
mod relay;
pub mod removal;
pub mod shell_lines;
pub mod source;
mod spare;
mod tree;
mod user;
pub mod wire;
mod workspace;

pub use engine::{Transport, run};
pub use keeper::keep;
pub use relay::relay;
