//! What the kernel says about this process and those below it: memory, descriptors, children. It reads /proc
//! and nothing else. A runner hides its descriptors from everyone but root, so these can be unknown.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::workbench::Result;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident, pages that it shares with others included.
    pub(crate) resident: u64,
    /// Of that, what is no part of a file: the rest is the executable, which all runners share.
    pub(crate) anonymous: u64,
    /// The largest it has ever been resident.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kibibytes.map(|kibibytes| kibibytes << 10).ok_or_else(|| format!("process {pid} has no {name}"))
        };
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")? })
    }
}

/// The growth of this process's memory from a moment on, at its highest.
pub(crate) struct Peak {
    before: u64,
}

impl Peak {
    pub(crate) fn begin() -> Result<Self> {
        // Makes the peak what is resident now.
        fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self { before: Memory::of(std::process::id())?.resident })
    }

    pub(crate) fn growth(&self) -> Result<u64> {
        Ok(Memory::of(std::process::id())?.peak.saturating_sub(self.before))
    }
}

/// All processes that there are.
pub(crate) fn processes() -> Result<Vec<Process>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // One that has ended meanwhile is none.
    Ok(pids.filter_map(|pid| Some(Process { pid, parent: parent(pid)? })).collect())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A name may contain anything; behind it stand the state and the parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The children of `parent` among `all`, the oldest first.
pub(crate) fn children(all: &[Process], parent: u32) -> Vec<Process> {
    let mut found: Vec<_> = all.iter().filter(|process| process.parent == parent).copied().collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// The one child of this process: the runner of its one session.
pub(crate) fn only_child() -> Result<Process> {
    match children(&processes()?, std::process::id())[..] {
        [child] => Ok(child),
        ref others => Err(format!("there should be one runner, and there are {}", others.len()).into()),
    }
}

/// Waits until this process has no children, but not for longer than `limit`.
pub(crate) fn wait_for_no_children(limit: Duration) -> Result<()> {
    let until = Instant::now() + limit;
    while !children(&processes()?, std::process::id()).is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Open descriptors of a process, if they can be seen.
pub(crate) fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Open descriptors of this process once their number stands still: a runtime closes those of what has ended
/// when it comes to it.
pub(crate) fn own_descriptors_at_rest() -> Result<usize> {
    let until = Instant::now() + Duration::from_secs(5);
    let mut open = own_descriptors()?;
    loop {
        sleep(Duration::from_millis(100));
        let now = own_descriptors()?;
        if now == open || Instant::now() > until {
            return Ok(now);
        }
        open = now;
    }
}

/// Open descriptors of this process.
pub(crate) fn own_descriptors() -> Result<usize> {
    // One is open to read the others.
    Ok(fs::read_dir("/proc/self/fd")?.count() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_below_its_parent_and_has_memory() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let own = children(&processes().unwrap(), std::process::id());
        let memory = Memory::of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(own.iter().filter(|process| process.pid == child.id()).count(), 1);
        assert!(memory.unwrap().peak > 0);
    }
}
