//! The thread on which all streams to runners live. Owns one small tokio runtime for the process, started with
//! the first session.
//!
//! Sessions do not live on the caller's runtime, for a caller who blocks it must not silence the heartbeats or
//! stall other sessions; so the library can be used from any executor, and a session can be dropped anywhere.

use std::{
    io,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use tokio::runtime::{Builder, Handle};

/// The runtime of this process. A forked child has the parent's memory and not its threads, so it gets one of
/// its own.
static RUNTIME: Mutex<Option<(u32, Handle)>> = Mutex::new(None);

/// The runtime's handle.
///
/// # Errors
///
/// When the thread or its descriptors can't be had.
pub(crate) fn handle() -> io::Result<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    match &*runtime {
        Some((owner, handle)) if *owner == process => Ok(handle.clone()),
        _ => {
            let handle = start()?;
            *runtime = Some((process, handle.clone()));
            Ok(handle)
        }
    }
}

fn start() -> io::Result<Handle> {
    let (told, handle) = mpsc::channel();
    // The runtime is made on its thread: one whose thread can't be had could not be dropped where callers are.
    thread::Builder::new().name("stockade-io".to_owned()).spawn(move || {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _ = told.send(Ok(runtime.handle().clone()));
                // It runs for as long as the process does.
                runtime.block_on(std::future::pending::<()>());
            }
            Err(error) => drop(told.send(Err(error))),
        }
    })?;
    handle.recv().unwrap_or_else(|_| Err(io::Error::other("the thread for input and output is gone")))
}
