//! The directory of a group of ours: made, held, and removed with all that is left in it. Owns the proof that whoever
//! made one is gone: he holds a lock on it for as long as he lives, which no pid, namespace or start of the system
//! has to be known for.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    ControlGroupError,
    kernel::{self, Kernel},
};

/// What every group of ours is called, before the pid.
const PREFIX: &str = "stockade-";
/// What the group of the host itself is called, where it had to leave the one that it was in.
const HOST: &str = "stockade-host-";
/// Of the second version: the group of the processes, within the one with the limits.
const PROCESSES: &str = "processes";
/// How often a name is tried for: one can be taken, or be swept before it is held.
const TRIES: u32 = 32;
/// How long what a dead process left may keep the next one from starting.
const SWEEP: Duration = Duration::from_millis(50);
/// How soon it is looked again whether killed processes are gone.
const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// The directory of a group, held by this process.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Whoever has this lock may remove the group; it falls when this is dropped.
    #[cfg_attr(not(test), expect(dead_code, reason = "is held"))]
    lock: File,
    kernel: Kernel,
}

impl Directory {
    /// Makes one in `parent`, after those that dead processes left there are gone.
    pub(super) fn make(kernel: &Kernel, parent: &Path) -> Result<Self, ControlGroupError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        sweep(kernel, parent);
        let mut tries = 0;
        loop {
            tries += 1;
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", process::id()));
            match make_held(kernel, &path) {
                Ok(lock) => return Ok(Self { path, lock, kernel: kernel.clone() }),
                Err(error) if tries < TRIES && is_of_another(&error) => {}
                Err(source) => {
                    return Err(ControlGroupError::File { doing: "make the control group", path, source });
                }
            }
        }
    }

    /// Makes, within it, the group for the processes of one of the second version.
    pub(super) fn make_processes(&self) -> Result<(), ControlGroupError> {
        let path = self.processes();
        (self.kernel.make_directory)(&path).map_err(|source| {
            let doing = "make the control group";
            ControlGroupError::File { doing, path, source }
        })
    }

    pub(super) fn processes(&self) -> PathBuf {
        self.path.join(PROCESSES)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), ControlGroupError> {
        kernel::write(&self.path, file, value)
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    /// Lets go of it as a dead process does.
    #[cfg(test)]
    pub(super) fn abandon(&self) {
        flock(&self.lock, FlockOperation::Unlock).unwrap();
    }

    /// Ends all that is in it and removes it; at the deadline it is left to the next sweep.
    pub(super) fn remove(self, deadline: Instant) {
        end_and_remove(&self.kernel, &self.path, deadline);
    }
}

/// Where this process goes when it has to leave `own`, the group that it is in.
pub(super) fn make_host(kernel: &Kernel, own: &Path) -> Result<PathBuf, ControlGroupError> {
    let path = own.join(format!("{HOST}{}", process::id()));
    match (kernel.make_directory)(&path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(ControlGroupError::File { doing: "make the control group", path, source })
        }
        _ => Ok(path),
    }
}

fn make_held(kernel: &Kernel, path: &Path) -> io::Result<File> {
    (kernel.make_directory)(path)?;
    hold(path).inspect_err(|_| {
        // It is new and empty, whoever holds it.
        let _ = (kernel.remove_directory)(path);
    })
}

/// Locks a directory. What is not there any more, or another's, is an error that `is_of_another` knows.
fn hold(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    // Between its making and its lock a sweep of another process may have taken it for a dead one's.
    let (held, there) = (directory.metadata()?, fs::metadata(path)?);
    if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
        Ok(directory)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn is_of_another(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound, WouldBlock};
    matches!(error.kind(), AlreadyExists | NotFound | WouldBlock)
}

/// Removes the groups in `parent` whose makers are dead.
fn sweep(kernel: &Kernel, parent: &Path) {
    let deadline = Instant::now() + SWEEP;
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(HOST) {
            // Refused while anybody is in it.
            let _ = (kernel.remove_directory)(&entry.path());
        } else if name.starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(_lock) = hold(&entry.path())
        {
            end_and_remove(kernel, &entry.path(), deadline);
        }
    }
}

fn end_and_remove(kernel: &Kernel, path: &Path, deadline: Instant) {
    // Where forks can be limited a bomb can't outrun us. A process needs the processor to end.
    for (file, value) in [("pids.max", "0"), ("cpu.max", "max"), ("cpu.cfs_quota_us", "-1")] {
        let _ = kernel::write(path, file, value);
    }
    let mut pause = FIRST_PAUSE;
    loop {
        end(path);
        if remove_tree(kernel, path).is_ok() || Instant::now() >= deadline {
            return;
        }
        thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
        pause *= 2;
    }
}

/// Kills all that is in the group and those below it.
fn end(path: &Path) {
    if kernel::write(path, "cgroup.kill", "1").is_ok() {
        return;
    }
    for below in directories_in(path) {
        end(&below);
    }
    // A pid that was read may be another process by the time it is opened; one that is still listed afterwards
    // is not.
    let opened =
        members(path).into_iter().filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    let opened: Vec<_> = opened.collect();
    let still = members(path);
    for (_, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// The processes in a group but this one. Those of no pid in this namespace are out of reach.
fn members(path: &Path) -> Vec<Pid> {
    let words = kernel::words(path, "cgroup.procs").unwrap_or_default();
    let pids = words.iter().filter_map(|word| Pid::from_raw(word.parse().ok()?));
    pids.filter(|pid| *pid != rustix::process::getpid()).collect()
}

fn remove_tree(kernel: &Kernel, path: &Path) -> io::Result<()> {
    for below in directories_in(path) {
        remove_tree(kernel, &below)?;
    }
    match (kernel.remove_directory)(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn directories_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}
