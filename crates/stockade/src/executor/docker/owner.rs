//! Whose a container is: labels that say which process started it, and whether that process is provably dead. Owns
//! the proof: what can't be proven dead counts as alive.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt, path::Path, process};

use serde::Serialize;

/// On every container of ours.
pub(super) const SESSION: &str = "stockade.session";
pub(super) const MACHINE: &str = "stockade.owner.machine";
pub(super) const BOOT: &str = "stockade.owner.boot";
pub(super) const PROCESSES: &str = "stockade.owner.pid-namespace";
pub(super) const PID: &str = "stockade.owner.pid";
pub(super) const STARTED: &str = "stockade.owner.started";
/// The image as it was asked for, and the work_dir on the owner's host.
pub(super) const IMAGE: &str = "stockade.image";
pub(super) const WORK_DIR: &str = "stockade.work-dir";
/// On a container that lingers: where its runner is, and the token that opens it.
pub(super) const RUNNER: &str = "stockade.runner";
pub(super) const TOKEN: &str = "stockade.token";
/// What it denies its code, where it is to outlive its session.
pub(super) const POLICY: &str = "stockade.policy";

/// A process that owns containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The installation of the system; empty where that is not to be known, as in a container.
    machine: String,
    /// The system's start.
    boot: String,
    /// The namespace that the pid is of.
    processes: u64,
    pid: u32,
    /// When the process started, in clock ticks since the system's start: a pid may be another's later.
    started: u64,
}

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Life {
    /// It runs.
    Alive,
    /// It has ended.
    Dead,
    /// It is on another host or in another container.
    Unknown,
}

impl Owner {
    /// This process.
    pub(super) fn this() -> Self {
        let pid = process::id();
        Self {
            machine: machine(),
            boot: read("/proc/sys/kernel/random/boot_id"),
            processes: fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino()),
            pid,
            started: started(pid).unwrap_or(0),
        }
    }

    pub(super) fn labels(&self) -> [(String, String); 5] {
        [
            (MACHINE.to_owned(), self.machine.clone()),
            (BOOT.to_owned(), self.boot.clone()),
            (PROCESSES.to_owned(), self.processes.to_string()),
            (PID.to_owned(), self.pid.to_string()),
            (STARTED.to_owned(), self.started.to_string()),
        ]
    }

    /// The owner that a container's labels tell of; `None` for labels that are not ours.
    pub(super) fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let text = |name: &str| labels.get(name).cloned();
        Some(Self {
            machine: text(MACHINE)?,
            boot: text(BOOT)?,
            processes: text(PROCESSES)?.parse().ok()?,
            pid: text(PID)?.parse().ok()?,
            started: text(STARTED)?.parse().ok()?,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it lives, as `here`, which is this process, can know.
    pub(super) fn life(&self, here: &Self) -> Life {
        self.life_by(here, started)
    }

    fn life_by(&self, here: &Self, started: impl Fn(u32) -> Option<u64>) -> Life {
        if self.boot != here.boot {
            // Every process of an earlier start of this very system is gone.
            let same_machine = !self.machine.is_empty() && self.machine == here.machine;
            return if same_machine { Life::Dead } else { Life::Unknown };
        }
        if self.processes != here.processes || self.boot.is_empty() {
            return Life::Unknown;
        }
        match started(self.pid) {
            Some(time) if time == self.started => Life::Alive,
            _ => Life::Dead,
        }
    }
}

/// The system's own id. Containers of one image can share theirs, so that of a container counts for nothing.
fn machine() -> String {
    if in_container() { String::new() } else { read("/etc/machine-id") }
}

/// Whether this program is in a container itself, as far as Docker and Podman mark theirs.
pub(crate) fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// When a process started (field 22 of its `stat`, proc(5)); `None` when there is none.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything: count from its end.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { machine: "m".into(), boot: "b".into(), processes: 1, pid: 7, started: 100 }
    }

    #[test]
    fn this_process_lives_and_is_read_back_from_its_labels() {
        let this = Owner::this();
        let labels = this.labels().into_iter().collect();
        assert_eq!(Owner::from_labels(&labels), Some(this.clone()));
        assert_eq!(this.life(&this), Life::Alive);
        assert!(this.started > 0 && !this.boot.is_empty() && this.processes > 0, "{this:?}");
    }

    #[test]
    fn a_pid_that_is_another_process_by_now_is_dead() {
        assert_eq!(owner().life_by(&owner(), |_| Some(100)), Life::Alive);
        assert_eq!(owner().life_by(&owner(), |_| Some(101)), Life::Dead);
        assert_eq!(owner().life_by(&owner(), |_| None), Life::Dead);
    }

    #[test]
    fn whoever_is_elsewhere_is_not_called_dead() {
        let gone = |_| None;
        let elsewhere = Owner { processes: 2, ..owner() };
        assert_eq!(elsewhere.life_by(&owner(), gone), Life::Unknown);
        let other_host = Owner { machine: "n".into(), boot: "c".into(), ..owner() };
        assert_eq!(other_host.life_by(&owner(), gone), Life::Unknown);
        let nameless = Owner { machine: String::new(), boot: "c".into(), ..owner() };
        assert_eq!(nameless.life_by(&Owner { machine: String::new(), ..owner() }, gone), Life::Unknown);
    }

    #[test]
    fn whoever_ran_before_this_machine_started_is_dead() {
        let before = Owner { boot: "a".into(), ..owner() };
        assert_eq!(before.life_by(&owner(), |_| Some(100)), Life::Dead);
    }

    #[test]
    fn labels_of_others_tell_of_no_owner() {
        assert_eq!(Owner::from_labels(&HashMap::new()), None);
        let mut labels: HashMap<_, _> = owner().labels().into_iter().collect();
        labels.insert(PID.to_owned(), "many".to_owned());
        assert_eq!(Owner::from_labels(&labels), None);
    }
}
