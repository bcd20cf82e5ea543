//! Signals: every one of them is blocked in our processes and has its default disposition, so that nothing
//! interrupts us and a block inherits what a fresh login would give it.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

/// Gives every signal its default disposition and blocks it. Dispositions are inherited by everything that is
/// started from here; the mask is lifted for a block by [`super::process::spawn`].
pub(crate) fn reset_and_block() {
    // The kernel's own `sigaction`, all zero: SIG_DFL, no flags, nothing masked; larger than on any machine.
    let default = [0u64; 8];
    let mask_size = size_of::<u64>();
    // SAFETY: `sigset_t` is a plain bit set for which all-zero bytes are valid, and the calls below only write
    // into it. Setting SIG_DFL installs no handler, so no Rust code can run at a signal; the kernel reads no
    // more of `default` than there is, and writes nothing back. libc is passed by for it refuses the two
    // signals that it keeps for itself, and glibc's `posix_spawn` leaves these ignored.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let nothing = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), nothing, mask_size);
        }
        // Raw as well: libc leaves its own signals out of every set.
        let (all, nothing) = ([u64::MAX], ptr::null_mut::<u64>());
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, all.as_ptr(), nothing, mask_size);
    }
}

/// A descriptor that is readable when one of `signals` is pending.
pub(crate) fn descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is valid as above; `signalfd` with -1 gives a new descriptor that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// The next pending signal of the descriptor's set.
pub(crate) fn next(descriptor: &OwnedFd) -> Option<i32> {
    let mut info = mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes into `info`, and it is read only after a full write.
    unsafe {
        let read = libc::read(descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size);
        (read == size as isize).then(|| info.assume_init().ssi_signo as i32)
    }
}
