//! What the host asks the runner to have the kernel deny the code, and what it hears became of that. Owns the types; they
//! are a part of the [messages](super::message).

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What the kernel is to deny the code, whatever else its place denies: all but what is listed here, every capability,
/// new privileges, and what is of no use but to get out. The runner itself stays outside of it, and out of the code's
/// reach.
///
/// Where another user was asked for ([`SessionSpec::user`](super::message::SessionSpec::user)) it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// Absolute paths beneath which files can be read and executed. One that is not there is passed over, in each of
    /// these lists.
    pub readable: Vec<ByteBuf>,
    /// Directories whose entries can be listed, they and all beneath, and no more than that.
    pub listable: Vec<ByteBuf>,
    /// Absolute paths beneath which files can be read, executed, made, changed and removed.
    pub writable: Vec<ByteBuf>,
    /// Device files, or directories of them, that can be read and written and take commands; nothing can be made
    /// there.
    pub devices: Vec<ByteBuf>,
    /// Which sockets can be made.
    pub sockets: Sockets,
    /// The place has namespaces of its own for processes and for objects of System V's and POSIX's communication between
    /// them (shared memory, semaphores, queues). Without, those objects can't be used and nobody's priority be set by
    /// number, for both would be others'.
    pub own_namespaces: bool,
    /// Of each process.
    pub limits: ProcessLimits,
}

/// Which sockets the code can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sockets {
    /// Pairs that are connected with each other, and nothing else: no network.
    #[default]
    Pairs,
    /// Also those of the internet, and what asks for addresses and routes. None that has a path, for programs of this
    /// machine listen there.
    Internet,
    /// Also those that have a path, for a network namespace of the session's own.
    Local,
}

/// What each process of the code may use at most, and can't raise. A limit that the runner was started with stays where
/// it is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Descriptors.
    pub open_files: Option<u64>,
    /// Of a file that it writes, in bytes.
    pub file_size: Option<u64>,
    /// Of processor time; then the kernel kills it.
    pub cpu_seconds: Option<u64>,
}

/// What the kernel denies the code by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// The version of Landlock that is in force; `None` where the kernel has none. It is from version 3 on that
    /// files outside can't be truncated, from 4 on that no port can be used, from 5 on that devices take no commands.
    pub landlock: Option<u32>,
    /// Nobody outside can be signaled, or reached by a socket with an abstract name.
    pub scopes: bool,
    /// System calls are filtered.
    pub seccomp: bool,
}
