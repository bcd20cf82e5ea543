//! What of this machine needs no session of its own to be tried: pidfds, bubblewrap and control groups. Owns their
//! findings; the kernel's part in sandboxes is told by the trials in `levels`.

use std::{fs, io};

use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::{
    Finding, PROGRAM, State, Subject, ask, blocking,
    local::{self, Tried},
    trial::Refusal,
};
use crate::{
    Sandbox,
    executor::control_group::{self, Availability, Unavailable, Version},
    sandbox::Bubblewrap,
};

const MEMORY_LIMIT: &str = "memory";
/// Limits that are no burden to a session that does nothing.
const MEMORY: u64 = 256 << 20;
const PIDS: u32 = 64;
const CPUS: f64 = 1.0;

/// Whether a process can be watched without polling, as the runner watches its host.
pub(super) fn host_death() -> Finding {
    const NAME: &str = "pidfd";
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::enforced(Subject::Machine, NAME, "the runner sees its host end, however it ends"),
        Err(error) => Finding::lacking(
            Subject::Machine,
            NAME,
            State::Absent,
            "a process can't be watched",
            format!("pidfd_open: {}", io::Error::from(error)),
            "use Linux 5.3 or newer (`uname -r` tells), and a seccomp policy that allows pidfd_open",
        ),
    }
}

/// Whether bubblewrap is there, and does its part.
pub(super) async fn bubblewrap(tried: &Tried) -> Finding {
    const NAME: &str = "bubblewrap";
    let lacking = |state, detail: &str, why: &str, fix: &str| {
        Finding::lacking(Subject::Machine, NAME, state, detail, why, fix)
    };
    let Some(Bubblewrap { program }) = Bubblewrap::find() else {
        let why = "`bwrap` is in none of root's usual folders (/usr/bin, /bin, /usr/local/bin)";
        let fix = "`apt-get install bubblewrap` on Debian and Ubuntu, `dnf install bubblewrap` on Fedora";
        return lacking(State::Absent, "not found", why, fix);
    };
    let path = program.display().to_string();
    let version = ask(&path, &["--version"], PROGRAM).await;
    let detail = version.map_or_else(|_| path.clone(), |version| format!("{version}, {path}"));
    match &tried.namespaces {
        Ok(_) => Finding::enforced(Subject::Machine, NAME, detail),
        Err(refusal) => lacking(State::Degraded, &detail, &refusal.why, &refusal.fix),
    }
}

/// Which limits a session of this host can have: each by a control group that is made, all of those by a session.
pub(super) async fn limits() -> Vec<Finding> {
    let available = blocking(PROGRAM, control_group::available).await;
    let Availability { memory, pids, cpus, counts_swap } = available.unwrap_or_else(|why| {
        let lost = || Err(Unavailable { why: why.clone(), fix: None });
        Availability { memory: lost(), pids: lost(), cpus: lost(), counts_swap: false }
    });
    let mut sandbox = Sandbox::default();
    sandbox = if memory.is_ok() { sandbox.memory(MEMORY) } else { sandbox };
    sandbox = if pids.is_ok() { sandbox.pids_limit(PIDS) } else { sandbox };
    sandbox = if cpus.is_ok() { sandbox.cpus(CPUS) } else { sandbox };
    let limits = [(MEMORY_LIMIT, memory), ("pids", pids), ("cpus", cpus)];
    let entered = match limits.iter().any(|(_, available)| available.is_ok()) {
        true => local::start_with(sandbox).await,
        false => Ok(()),
    };
    let mut limits: Vec<Finding> =
        limits.into_iter().map(|(control, available)| limit(control, available, &entered)).collect();
    if !counts_swap && has_swap() {
        limits.iter_mut().filter(|limit| limit.control == MEMORY_LIMIT).for_each(beside_swap);
    }
    limits
}

fn has_swap() -> bool {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    // The first line is the heading.
    swaps.lines().count() > 1
}

/// A limit of memory that is held, of a kernel that counts no swap for it.
fn beside_swap(limit: &mut Finding) {
    if limit.state == State::Enforced {
        let why = "the kernel does not count swap for each group, and this machine has some: what is swapped out is \
                   beside the limit";
        let fix = "`swapoff -a`, or start the kernel with `swapaccount=1`";
        let detail = limit.detail.clone();
        *limit = Finding::lacking(limit.subject, &limit.control, State::Degraded, detail, why, fix);
    }
}

/// `entered` tells of a session with all limits that a group can be made for.
fn limit(control: &str, available: Result<Version, Unavailable>, entered: &Result<(), Refusal>) -> Finding {
    match (available, entered) {
        (Ok(version), Ok(())) => {
            Finding::enforced(Subject::Limits, control, format!("a session can have it, by {version}"))
        }
        (Ok(version), Err(refusal)) => {
            let detail = format!("a group can be made, by {version}, and no session starts in it");
            Finding::lacking(Subject::Limits, control, State::Degraded, detail, &refusal.why, &refusal.fix)
        }
        (Err(Unavailable { why, fix }), _) => {
            let fix = fix.unwrap_or(
                "run the code in a container, whose daemon limits it (`stockade run --docker -m 512m --cpus 1`)",
            );
            let detail = "no session can have it";
            Finding::lacking(Subject::Limits, control, State::Absent, detail, why, fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_enforced_only_when_a_session_starts_with_it() {
        let refusal = || Refusal::new("why", "fix");
        let state = |available, entered: Result<(), Refusal>| limit("memory", available, &entered).state;
        assert_eq!(state(Ok(Version::V2), Ok(())), State::Enforced);
        assert_eq!(state(Ok(Version::V2), Err(refusal())), State::Degraded);
        let unavailable = Unavailable { why: "no controller".to_owned(), fix: None };
        let absent = limit("memory", Err(unavailable), &Ok(()));
        assert_eq!((absent.state, absent.why.as_deref()), (State::Absent, Some("no controller")));
        assert!(absent.fix.is_some_and(|fix| fix.contains("--docker")));
    }

    #[test]
    fn a_limit_of_memory_that_swap_evades_is_not_called_whole() {
        let mut held = limit(MEMORY_LIMIT, Ok(Version::V1), &Ok(()));
        beside_swap(&mut held);
        assert_eq!(held.state, State::Degraded);
        assert!(held.fix.is_some_and(|fix| fix.contains("swapoff")));
        let lost = limit(MEMORY_LIMIT, Ok(Version::V1), &Err(Refusal::new("why", "fix")));
        let mut same = lost.clone();
        beside_swap(&mut same);
        assert_eq!(same, lost, "why no session starts in it comes first");
    }
}
