//! What the standard library can't say to Linux: cloning a sibling, starting a program with shared memory,
//! signals, and waiting with usage. The only module with unsafe code; each block states the invariant that
//! it rests on. It decides nothing.
#![allow(unsafe_code)]

pub(crate) mod channel;
pub(crate) mod descriptors;
pub(crate) mod process;
pub(crate) mod signals;
