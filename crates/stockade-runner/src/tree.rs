//! The tree of processes below one of ours: finding all of it and ending all of it.
//!
//! A signal to a process group misses whoever left the group, and the group is the block's to leave. A tree
//! can't be left: below a subreaper (each keeper is one) a process that loses its parent becomes the
//! subreaper's child. So the tree is walked through the kernel's lists of children. Those lists hold still
//! only for processes that hold still, hence the order: stop what a walk finds, walk again, and kill once a
//! walk finds nothing new. A stopped process can't fork, so each round leaves fewer that can, and whatever was
//! forked before its parent was stopped is in the next walk.
//!
//! A pid in a list can be reused before it is signaled, for a keeper reaps what is orphaned. A process that
//! is stopped stays what it is, so its parent is checked after it was stopped, and whoever proves to be a
//! stranger is continued.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process, test_kill_process},
};

/// How long processes that replace themselves are chased in vain. As a rule they are met within some walks of a
/// tenth of a millisecond each; this is for what no rule foresees, and the runner does nothing else meanwhile.
const LONGEST_CHASE: Duration = Duration::from_millis(400);

/// Every process below `roots`, the roots not included, parents before children.
pub(crate) fn descendants(roots: &[Pid]) -> Vec<Pid> {
    if kernel_lists_children() {
        walk(roots, children_listed_by_kernel)
    } else {
        let parents = all_parents();
        walk(roots, |parent| parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid).collect())
    }
}

/// The children of one process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    if kernel_lists_children() {
        return children_listed_by_kernel(parent);
    }
    all_parents().into_iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid).collect()
}

fn kernel_lists_children() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

fn walk(roots: &[Pid], children: impl Fn(Pid) -> Vec<Pid>) -> Vec<Pid> {
    let mut found: Vec<Pid> = roots.iter().flat_map(|root| children(*root)).collect();
    let mut seen: HashSet<Pid> = found.iter().copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(children(parent).into_iter().filter(|child| seen.insert(*child)));
        next += 1;
    }
    found
}

/// The children of each of its threads, for a child belongs to the thread that forked it.
fn children_listed_by_kernel(parent: Pid) -> Vec<Pid> {
    let tasks = format!("/proc/{}/task", parent.as_raw_pid());
    let Ok(tasks) = fs::read_dir(tasks) else { return children_of_hidden(parent) };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(parse_pid).collect::<Vec<_>>()).collect()
}

/// The children of a process that `/proc` doesn't show: one that has ended, or, where it is mounted with `hidepid`,
/// one that can't be dumped, as our own can't.
fn children_of_hidden(parent: Pid) -> Vec<Pid> {
    if test_kill_process(parent).is_err() {
        return Vec::new();
    }
    all_parents().into_iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid).collect()
}

/// Every process with its parent: for kernels that list no children.
fn all_parents() -> Vec<(Pid, Pid)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| parse_pid(entry.file_name().to_str()?));
    pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

fn parent_of(pid: Pid) -> Option<Pid> {
    parse_pid(&stat_field(pid, 1)?)
}

/// A field of the process's `stat`, counted from the one after its name.
fn stat_field(pid: Pid, number: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The name is the program's own and may hold anything, parentheses too: count from its end.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[after_name..]).ok()?;
    fields.split_whitespace().nth(number).map(str::to_owned)
}

/// Asks every process below `roots` to end. False when there is none.
pub(crate) fn terminate(roots: &[Pid]) -> bool {
    let found = descendants(roots);
    for pid in found.iter().copied() {
        let _ = kill_process(pid, Signal::TERM);
        // One that is stopped would not see the request.
        let _ = kill_process(pid, Signal::CONT);
    }
    !found.is_empty()
}

/// Ends every process that `find` finds, again and again until it finds nobody new; each must have one of them or
/// one of `roots` as its parent. It returns when all of them were sent KILL, not when they are gone.
pub(crate) fn kill(roots: &[Pid], find: impl Fn() -> Vec<Pid>) {
    let mut stopped = HashSet::new();
    let mut progress = Instant::now();
    loop {
        let mut found = find();
        let parents: HashSet<Pid> = roots.iter().chain(&found).copied().collect();
        found.retain(|pid| !stopped.contains(pid));
        let mut is_last = true;
        for pid in found {
            match stop(pid, &parents) {
                Stop::Stopped => {
                    stopped.insert(pid);
                    progress = Instant::now();
                    is_last = false;
                }
                // Whoever has ended may have left a child, which this walk did not meet.
                Stop::Gone => is_last = false,
                Stop::Refused => {}
            }
        }
        if is_last || progress.elapsed() > LONGEST_CHASE {
            break;
        }
    }
    for pid in stopped {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Those of `pids` that run still: neither gone nor waiting to be reaped.
pub(crate) fn alive(pids: impl IntoIterator<Item = Pid>) -> Vec<Pid> {
    let state = |pid: &Pid| stat_field(*pid, 0);
    pids.into_iter().filter(|pid| state(pid).is_some_and(|state| state != "Z" && state != "X")).collect()
}

/// What came of stopping a process.
enum Stop {
    Stopped,
    /// It has ended, and its number may be a stranger's by now.
    Gone,
    /// We may not signal it.
    Refused,
}

/// Stops a process that has one of `parents`.
fn stop(pid: Pid, parents: &HashSet<Pid>) -> Stop {
    match kill_process(pid, Signal::STOP) {
        Ok(()) if parent_of(pid).is_some_and(|parent| parents.contains(&parent)) => Stop::Stopped,
        Ok(()) => {
            let _ = kill_process(pid, Signal::CONT);
            Stop::Gone
        }
        Err(Errno::SRCH) => Stop::Gone,
        Err(_) => Stop::Refused,
    }
}
