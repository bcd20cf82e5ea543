//! Descriptors of our own processes: none may be inherited by a block, none of the host's may stay open.

use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Takes one of the three standard descriptors away to a number that no block gets. It is to be replaced by
/// [`null_standard`] afterwards.
pub(crate) fn take_standard(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is only borrowed for the call; one that is not open gives EBADF.
    let standard = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    Ok(fcntl_dupfd_cloexec(standard, 3)?)
}

/// Puts `/dev/null` in the place of stdin, stdout and stderr: what a block gets as its stdin, and what keeps
/// their numbers from being used for anything else.
pub(crate) fn null_standard() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for number in 0..3 {
        // SAFETY: both numbers are descriptors of this process or about to be; nothing in Rust owns 0 to 2.
        if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if null.as_raw_fd() < 3 {
        // It was given the number of a standard descriptor that had been closed, and is to stay there.
        fcntl_setfd(&null, FdFlags::empty())?;
        std::mem::forget(null);
    }
    Ok(())
}

/// Closes every descriptor from `first` on but `keep`.
pub(crate) fn close_from(first: RawFd, keep: Option<&OwnedFd>) {
    let keep = keep.map(AsRawFd::as_raw_fd);
    let ranges = match keep {
        Some(keep) if keep >= first => [(first, keep - 1), (keep + 1, RawFd::MAX)],
        _ => [(first, RawFd::MAX), (1, 0)],
    };
    for (low, high) in ranges.into_iter().filter(|(low, high)| low <= high) {
        close_range(low, high);
    }
}

fn close_range(low: RawFd, high: RawFd) {
    // SAFETY: called before this process has any descriptor of its own in the range (the runner at its start),
    // or in a fresh fork that uses none of the descriptors that it inherited (the zygote, a keeper).
    if unsafe { libc::syscall(libc::SYS_close_range, low, high, 0) } == 0 {
        return;
    }
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> =
        open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| (low..=high).contains(fd)) {
        // SAFETY: as above; closing a number that is no longer open only gives EBADF.
        unsafe { libc::close(fd) };
    }
}

/// Raises this process's limit of open descriptors as far as it goes, and gives the limits that were there, soft
/// and hard, for the blocks.
pub(crate) fn raise_limit() -> (u64, u64) {
    let found = getrlimit(Resource::Nofile);
    // A refusal leaves the old limit: fewer blocks can then run at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: found.maximum, maximum: found.maximum });
    let unlimited = libc::RLIM_INFINITY;
    (found.current.unwrap_or(unlimited), found.maximum.unwrap_or(unlimited))
}

/// This process's limit of open descriptors.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
