//! Processes: cloning ourselves, starting a program, waiting with usage.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{
        DumpableBehavior, Gid, Pid, Uid, WaitId, WaitIdOptions, WaitOptions, getegid, geteuid, getgid,
        getgroups, getuid,
    },
    thread,
};

/// How a process ended and what it used, its waited-for children included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) pid: Pid,
    pub(crate) end: End,
    pub(crate) cpu: Duration,
    pub(crate) max_rss_bytes: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum End {
    Exited(i32),
    Signaled(i32),
}

/// Waits for a child that has ended, without blocking. `None`: there are children, and none has ended.
///
/// Fails with `ECHILD` when there is no child at all.
pub(crate) fn wait_any() -> io::Result<Option<Ended>> {
    let mut status: c_int = 0;
    let (pid, usage) = loop {
        // SAFETY: `rusage` is plain numbers, valid as zeroes; both pointers are to live variables of this frame.
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = mem::zeroed();
            (libc::wait4(-1, &mut status, libc::WNOHANG | libc::__WALL, &mut usage), usage)
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 || !libc::WIFSTOPPED(status) {
            break (pid, usage);
        }
        // A child that asked to be traced has us as its tracer and waits for us. We let it go on, untraced.
        // SAFETY: the request takes no pointer, and a pid that is no tracee of ours gives ESRCH.
        unsafe {
            libc::ptrace(libc::PTRACE_DETACH, pid, ptr::null_mut::<c_void>(), ptr::null_mut::<c_void>())
        };
    };
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    let end = if libc::WIFSIGNALED(status) {
        End::Signaled(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    };
    let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
    Ok(Some(Ended { pid, end, cpu, max_rss_bytes: usage.ru_maxrss as u64 * 1024 }))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

/// Whose child a clone of this process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Parent {
    /// Of this process.
    This,
    /// Of this process's parent: the clone is a sibling.
    Ours,
}

impl Parent {
    fn flags(self) -> c_int {
        match self {
            Parent::This => libc::SIGCHLD,
            Parent::Ours => libc::CLONE_PARENT | libc::SIGCHLD,
        }
    }
}

/// Whether a process is a child of this one that has not been waited for.
pub(crate) fn is_child(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), look).is_ok()
}

/// Clones this process. Gives the clone's pid, and `None` in the clone.
pub(crate) fn fork(parent: Parent) -> io::Result<Option<Pid>> {
    let (flags, zero) = (parent.flags() as libc::c_ulong, 0 as libc::c_ulong);
    let (first, second) = if cfg!(target_arch = "s390x") { (zero, flags) } else { (flags, zero) };
    // SAFETY: the memory is copied, not shared, and this process has one thread: the clone continues with a
    // consistent copy of everything, on a copy of this stack. libc's own fork is not used because it can't make a
    // sibling; of what it does beyond the call, only libc's note of the thread's id is missing in the clone, and
    // nothing here asks for that: every signal that `raise` could send is blocked.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, zero, zero, zero) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid::from_raw(pid as i32)) }
}

/// A program that is to be started, ready for the kernel.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    /// `NAME=value` with a NUL after each.
    #[serde(with = "serde_bytes")]
    pub(crate) environment: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// What a started process is to have otherwise than this one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Attributes {
    /// The limits of open descriptors, soft and hard.
    pub(crate) descriptor_limits: (u64, u64),
    /// The most bytes of a file that it writes, and seconds of processor time, both soft and hard; as for this
    /// process, when nothing is said.
    pub(crate) file_size: Option<u64>,
    pub(crate) cpu_seconds: Option<u64>,
    /// Whom it runs as; as this process does, when nothing is said.
    pub(crate) credentials: Option<Credentials>,
    /// What the kernel is to reckon it with when memory runs out; as this process, when nothing is said.
    pub(crate) oom_score_adj: Option<i32>,
}

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In order, `gid` included.
    pub(crate) groups: Vec<u32>,
}

impl Credentials {
    /// Whether they are exactly those of this process.
    pub(crate) fn are_ours(&self) -> bool {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let mut groups: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        groups.push(self.gid);
        groups.sort_unstable();
        groups.dedup();
        [getuid(), geteuid()] == [uid; 2] && [getgid(), getegid()] == [gid; 2] && groups == self.groups
    }

    fn to_gids(&self) -> Vec<Gid> {
        self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect()
    }
}

/// Finds out whether this process may start others with these credentials: a clone takes them and ends.
pub(crate) fn try_credentials(credentials: &Credentials) -> io::Result<()> {
    let groups = credentials.to_gids();
    let Some(pid) = fork(Parent::This)? else {
        let taken = take_credentials(credentials, &groups);
        // SAFETY: ends the clone at once; nothing of it is to be run, flushed or dropped a second time.
        unsafe { libc::_exit(taken.err().map_or(0, rustix::io::Errno::raw_os_error)) }
    };
    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Becomes somebody else, for good and of every right. System calls only, for memory may be shared; raw ones, for
/// libc's would have the threads of the process that shares it join in.
fn take_credentials(credentials: &Credentials, groups: &[Gid]) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(credentials.uid), Gid::from_raw(credentials.gid));
    thread::set_thread_groups(groups)?;
    thread::set_thread_res_gid(gid, gid, gid)?;
    thread::set_thread_res_uid(uid, uid, uid)?;
    // Capabilities that a program would inherit. Kernels without such a set refuse.
    let _ = thread::clear_ambient_capability_set();
    // The change has set this to what the machine's administrator chose, for all who share this memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpawnError {
    pub(crate) stage: Stage,
    pub(crate) errno: i32,
}

/// What was being done when starting a program failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Stage {
    Clone,
    Session,
    Directory,
    Limits,
    Streams,
    User,
    Execute,
}

/// What parent and child share until the child has become the program.
struct Launch<'a> {
    program: &'a Program,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    groups: Vec<Gid>,
    /// As the kernel takes it; empty when nothing is to be said.
    oom_score_adj: String,
    directory: c_int,
    streams: [c_int; 3],
    failed: Option<SpawnError>,
}

/// Bytes of the stack that the child runs on until it has become the program; it calls a few system calls.
const STACK: usize = 64 << 10;

/// Starts a program in a session of its own, in `directory`, with these as stdin, stdout and stderr, no signal blocked,
/// and no other descriptor of ours.
///
/// The child shares our memory until it has become the program and we stand still until then: nothing is
/// copied, and the child can say why it failed by writing it down.
pub(crate) fn spawn(
    program: &Program,
    parent: Parent,
    directory: BorrowedFd<'_>,
    streams: [BorrowedFd<'_>; 3],
) -> Result<Pid, SpawnError> {
    let Attributes { credentials, oom_score_adj, .. } = &program.attributes;
    let mut launch = Launch {
        program,
        groups: credentials.as_ref().map(Credentials::to_gids).unwrap_or_default(),
        oom_score_adj: oom_score_adj.map(|score| score.to_string()).unwrap_or_default(),
        arguments: program.arguments.iter().map(|argument| argument.as_ptr()).chain([ptr::null()]).collect(),
        environment: pointers(&program.environment),
        directory: directory.as_raw_fd(),
        streams: streams.map(|stream| stream.as_raw_fd()),
        failed: None,
    };
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | parent.flags();
    // SAFETY: CLONE_VFORK suspends this thread, the only one, until the child has executed a program or exited,
    // so `launch` and `stack` outlive the child's use of them and are not touched meanwhile. The stack pointer
    // is the aligned end of an allocation of STACK bytes, and it grows down. `run_child` never returns.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity()).cast::<c_void>();
        libc::clone(run_child, top, flags, (&raw mut launch).cast())
    };
    if let Some(failed) = launch.failed {
        // SAFETY: the child has exited by itself and is ours to wait for, or our parent's.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        return Err(failed);
    }
    Pid::from_raw(pid.max(0)).ok_or_else(|| SpawnError {
        stage: Stage::Clone,
        errno: io::Error::last_os_error().raw_os_error().unwrap_or(0),
    })
}

/// Where each of the strings of a block begins. What has no NUL after it is left out.
fn pointers(block: &[u8]) -> Vec<*const c_char> {
    let strings = block.split_inclusive(|&byte| byte == 0).filter(|string| string.ends_with(b"\0"));
    strings.map(|string| string.as_ptr().cast()).chain([ptr::null()]).collect()
}

/// What the child does. It allocates nothing and unwinds nowhere: only system calls.
extern "C" fn run_child(launch: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a pointer to its `Launch`, which nobody else uses while the child runs.
    let launch = unsafe { &mut *launch.cast::<Launch<'_>>() };
    let (Err(failed) | Ok(failed)) = become_program(launch).map(|never| match never {});
    launch.failed = Some(failed);
    // SAFETY: ends the child at once, without running anything of the memory that it shares.
    unsafe { libc::_exit(127) }
}

fn become_program(launch: &Launch<'_>) -> Result<std::convert::Infallible, SpawnError> {
    let failed = |stage| {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        SpawnError { stage, errno }
    };
    let check = |result: c_int, stage| if result < 0 { Err(failed(stage)) } else { Ok(()) };
    let Attributes { descriptor_limits, file_size, cpu_seconds, credentials, .. } =
        &launch.program.attributes;
    let limit = libc::rlimit { rlim_cur: descriptor_limits.0, rlim_max: descriptor_limits.1 };
    // SAFETY: system calls with valid pointers into `launch` or this frame. Mask, limits, directory and
    // descriptors are the child's own, for neither CLONE_SIGHAND nor CLONE_FILES nor CLONE_FS was asked for.
    unsafe {
        check(libc::setsid(), Stage::Session)?;
        check(libc::fchdir(launch.directory), Stage::Directory)?;
        for (number, stream) in (0..).zip(launch.streams) {
            check(libc::dup2(stream, number), Stage::Streams)?;
        }
        // The limit was this high before; should that fail all the same, the block has a higher one.
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        for (resource, most) in [(libc::RLIMIT_FSIZE, file_size), (libc::RLIMIT_CPU, cpu_seconds)] {
            if let Some(most) = *most {
                let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                check(libc::setrlimit(resource, &limit), Stage::Limits)?;
            }
        }
        if !launch.oom_score_adj.is_empty() {
            set_oom_score_adj(&launch.oom_score_adj);
        }
        if let Some(credentials) = credentials {
            take_credentials(credentials, &launch.groups)
                .map_err(|errno| SpawnError { stage: Stage::User, errno: errno.raw_os_error() })?;
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        libc::execve(launch.program.path.as_ptr(), launch.arguments.as_ptr(), launch.environment.as_ptr());
    }
    Err(failed(Stage::Execute))
}

/// Of the child alone: the kernel leaves out who shares memory with a child that was cloned with CLONE_VFORK. Only
/// root may write there, for the files of a process that can't be dumped are root's; without it, the kernel
/// looks for the largest process, which is as a rule the block's too.
fn set_oom_score_adj(score: &str) {
    let opened =
        rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    if let Ok(file) = opened {
        let _ = rustix::io::write(file, score.as_bytes());
    }
}
