//! Looking at processes of this host, and starting the executor under test.

use std::{fs, io, time::Duration};

use rustix::process::{Pid, Signal, getpid, kill_process};
use stockade::{LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder, SandboxLevel, Session};

use crate::support::{eventually, need, output, sh};

/// A session with these options.
pub(crate) async fn start(builder: LocalCommandLineCodeExecutorBuilder) -> Session {
    builder.build().expect("the options are valid").start().await.expect("the session starts")
}

/// Without a sandbox: its processes and files are to be looked at from here.
pub(crate) fn builder() -> LocalCommandLineCodeExecutorBuilder {
    LocalCommandLineCodeExecutor::builder().no_sandbox().timeout(Duration::from_secs(60))
}

/// The levels of the sandbox that this machine has the programs for.
pub(crate) fn levels() -> Vec<SandboxLevel> {
    let has_namespaces = need::has_program("bubblewrap", "bwrap", &["--version"]);
    let namespaces = has_namespaces.then_some(SandboxLevel::Namespaces);
    namespaces.into_iter().chain([SandboxLevel::Landlock]).collect()
}

/// A field of a process's status, as it is written there.
pub(crate) fn status(pid: Pid, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// A process's memory in KiB: what it has (`VmRSS`) or the most it had (`VmHWM`).
pub(crate) fn memory_kib(pid: Pid, field: &str) -> u64 {
    let value = status(pid, field).expect("the process is there");
    value.trim_end_matches(" kB").parse().expect("a number of kB")
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: Pid) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid()))?.count())
}

/// This process's children, those that nobody has waited for included.
pub(crate) fn children() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("a process has threads").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The session's runner: of a block's ancestors, the one that is a child of this process.
pub(crate) async fn runner(session: &Session) -> Pid {
    let block = output(session, sh("# filename: parent.sh\necho $PPID")).await;
    let mut pid = parse(&block);
    loop {
        let parent = parse(&status(pid, "PPid").expect("it lives"));
        if parent == getpid() {
            return pid;
        }
        pid = parent;
    }
}

fn parse(pid: &str) -> Pid {
    pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process id")
}

pub(crate) fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).expect("the process is ours");
}

/// Waits for the end of a process.
pub(crate) async fn ended(pid: Pid) {
    let over = || status(pid, "State").is_none_or(|state| state.starts_with('Z'));
    eventually("the end of a process", || over().then_some(())).await;
}
