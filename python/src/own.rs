//! What belongs to a process. A forked child has a copy of its parent's memory and none of its threads: what it has of
//! its parent's is neither used nor dropped, and sends nothing.

use std::{
    mem,
    ops::{Deref, DerefMut},
    process,
};

/// A value that belongs to the process which made it. Dropping it in a forked child must not end what the parent goes
/// on using: a session, a run.
pub(crate) struct Own<T> {
    /// Until it is dropped.
    value: Option<T>,
    process: u32,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), process: process::id() }
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process == process::id()
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only its drop takes it")
    }
}

impl<T> DerefMut for Own<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("only its drop takes it")
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            mem::forget(self.value.take());
        }
    }
}
