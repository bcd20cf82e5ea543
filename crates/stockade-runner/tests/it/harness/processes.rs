//! Finding processes from outside, through `/proc`, and telling one from another that has got its number.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// The environment variable by which a session's processes are known: a program passes it on to all that it
/// starts, whatever else it does to get away.
pub(crate) const MARK: &str = "STOCKADE_TEST_MARK";

/// One process, and never another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    started: u64,
}

/// What `/proc` says of a process.
struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // The name before it may hold anything, parentheses too.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let state = fields.first()?.chars().next()?;
        Some(Self { state, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()? })
    }
}

impl Process {
    /// Whether it runs still; one that waits to be reaped does not.
    pub(crate) fn runs(self) -> bool {
        Stat::of(self.pid)
            .is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    pub(crate) fn signal(self, signal: Signal) {
        let pid = Pid::from_raw(self.pid as i32).expect("a pid is not 0");
        kill_process(pid, signal).expect("the process is there and ours");
    }
}

/// The children of `parent`, the oldest first, those that have ended and were not reaped included.
pub(crate) fn children(parent: u32) -> Vec<Process> {
    let child = |pid| {
        let stat = Stat::of(pid)?;
        (stat.parent == parent).then_some(Process { pid, started: stat.started })
    };
    let mut children: Vec<Process> = pids().into_iter().filter_map(child).collect();
    children.sort_by_key(|child| (child.started, child.pid));
    children
}

/// Everything below `parent`.
pub(crate) fn descendants(parent: u32) -> Vec<Process> {
    let mut found = children(parent);
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        found.extend(children(process.pid));
        next += 1;
    }
    found
}

/// Pid and command line of every process that has the mark in its environment.
pub(crate) fn marked(mark: &str) -> Vec<String> {
    let entry = format!("{MARK}={mark}").into_bytes();
    let show = |pid: u32| {
        let folder = Path::new("/proc").join(pid.to_string());
        let environment = fs::read(folder.join("environ")).ok()?;
        let is_marked = environment.split(|&byte| byte == 0).any(|variable| variable == entry);
        let command = fs::read(folder.join("cmdline")).unwrap_or_default();
        is_marked
            .then(|| format!("{pid}: {}", String::from_utf8_lossy(&command).replace('\0', " ").trim_end()))
    };
    pids().into_iter().filter_map(show).collect()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
