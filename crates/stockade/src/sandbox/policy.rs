//! What was applied to a local session, as the session's info and `--json` tell it. Owns the words for each control;
//! it judges nothing.

use std::path::PathBuf;

use serde::Serialize;

use super::{Applied, Limits, Sandbox, SandboxLevel, SandboxNetwork, View};

/// What the sandbox of a local session enforces.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SandboxPolicy {
    /// The level that was taken; `None` where a best effort came to nothing.
    pub level: Option<SandboxLevel>,
    /// Stronger levels that [`SandboxLevel::Auto`] tried before, as controls, and why they were not taken.
    pub passed_over: Vec<Degraded>,
    /// The network that the code has.
    pub network: SandboxNetwork,
    /// What holds, and by what.
    pub enforced: Vec<Control>,
    /// What was asked for and does not hold: only a best effort starts with that.
    pub degraded: Vec<Degraded>,
    /// What stays visible at this level, and what can't work in it.
    pub notes: Vec<String>,
    /// Files and directories of this host that are seen, and not to be changed. What not every user may read of the
    /// system's settings is hidden all the same.
    pub read_only: Vec<PathBuf>,
    /// Those that can be changed.
    pub read_write: Vec<PathBuf>,
    /// Limits that hold.
    pub limits: SandboxLimits,
}

/// Something that is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Control {
    /// What: `files`, `network`, `other processes`, `abstract sockets of the host`, `system calls`, `setuid files`,
    /// `privileges`, `limits`, `workspace size`.
    pub control: &'static str,
    /// By which mechanisms.
    pub by: Vec<String>,
}

/// Something that is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Degraded {
    /// What.
    pub control: String,
    /// Why not.
    pub why: String,
}

/// Limits of a session, and of each of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct SandboxLimits {
    /// Bytes of all processes together.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Processors' time of all together.
    pub cpus: Option<f64>,
    /// Seconds of processor time of each process.
    pub cpu_time: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Bytes of each file.
    pub file_size: Option<u64>,
    /// Bytes of all files in the workspace, which is a copy of the work_dir then.
    pub workspace_size: Option<u64>,
}

/// The policy of a session in a sandbox.
pub(crate) fn report(
    sandbox: &Sandbox,
    view: &View,
    applied: Option<&Applied>,
    groups: Option<&str>,
    mut degraded: Vec<Degraded>,
) -> SandboxPolicy {
    let missing = applied.map(|applied| applied.missing(sandbox)).unwrap_or_default();
    let missing: Vec<Degraded> =
        missing.into_iter().map(|(control, why)| Degraded { control: control.to_owned(), why }).collect();
    degraded.extend(missing);
    SandboxPolicy {
        level: applied.map(|applied| applied.level),
        passed_over: Vec::new(),
        network: sandbox.network,
        enforced: applied.map(|applied| enforced(sandbox, applied, groups, &degraded)).unwrap_or_default(),
        notes: applied.map(|applied| notes(applied.level, sandbox.network)).unwrap_or_default(),
        degraded,
        read_only: view.read_only.clone(),
        read_write: view.read_write.clone(),
        limits: limits(&sandbox.limits, groups.is_some(), applied.map(|applied| applied.level)),
    }
}

fn enforced(
    sandbox: &Sandbox,
    applied: &Applied,
    groups: Option<&str>,
    degraded: &[Degraded],
) -> Vec<Control> {
    let spaces = applied.level == SandboxLevel::Namespaces;
    let confined = &applied.confined;
    let landlock = confined.landlock.map(|version| format!("Landlock {version}"));
    let namespace = |kind: &str| spaces.then(|| format!("{kind} namespace (bubblewrap)"));
    let seccomp = confined.seccomp.then(|| "seccomp".to_owned());
    let scopes = landlock.clone().filter(|_| confined.scopes);
    let no_network = sandbox.network == SandboxNetwork::None;
    let of_network = match no_network {
        true => vec![namespace("network"), seccomp.clone().filter(|_| !spaces || sandbox.is_strict)],
        false => Vec::new(),
    };
    let limits_workspace = spaces && sandbox.limits.workspace_size.is_some();
    let rows = [
        ("files", vec![namespace("mount"), landlock]),
        ("network", of_network),
        ("other processes", vec![namespace("process"), scopes.clone()]),
        ("abstract sockets of the host", vec![namespace("network").filter(|_| no_network), scopes]),
        ("system calls", vec![seccomp.clone()]),
        ("setuid files", vec![seccomp]),
        ("privileges", vec![Some("no_new_privs".to_owned()), Some("no capabilities".to_owned())]),
        ("limits", vec![groups.map(str::to_owned)]),
        ("workspace size", vec![limits_workspace.then(|| "file system in memory".to_owned())]),
    ];
    let holds = |control: &str| !degraded.iter().any(|missing| missing.control == control);
    let controls =
        rows.into_iter().map(|(control, by)| Control { control, by: by.into_iter().flatten().collect() });
    controls.filter(|control| !control.by.is_empty() && holds(control.control)).collect()
}

fn notes(level: SandboxLevel, network: SandboxNetwork) -> Vec<String> {
    let sockets = match network {
        SandboxNetwork::None => {
            "servers and clients of any kind fail, on this very host too: there are no sockets but connected pairs"
        }
        SandboxNetwork::Host => {
            "sockets with a path or an abstract name can't be made: there are only the internet's and connected pairs"
        }
    };
    let notes: &[&str] = match level {
        SandboxLevel::Auto | SandboxLevel::Namespaces => &[],
        SandboxLevel::Landlock => &[
            "names and arguments of other processes, and this host's connections, are visible in /proc",
            "of files that can't be opened it can be told that they are there, how large they are and when they change, and \
             of folders the names of what is new in them; modes, owners, times and attributes of this user's can be changed",
            "/tmp and /dev/shm are out of reach: TMPDIR names a private folder; what knows no other place than /tmp \
             (C's tmpfile, Java) fails, and so does what needs named semaphores (Python's multiprocessing locks and pools)",
            "no terminal can be opened, / can't be listed, and extended attributes are read of open files only, by no path",
            sockets,
        ],
    };
    notes.iter().map(|note| (*note).to_owned()).collect()
}

/// Those that hold: of all processes by a control group, of each by what confines it, of the workspace where it can be
/// mounted.
fn limits(limits: &Limits, has_group: bool, level: Option<SandboxLevel>) -> SandboxLimits {
    let is_confined = level.is_some();
    SandboxLimits {
        memory: limits.memory.filter(|_| has_group),
        pids: limits.pids.filter(|_| has_group),
        cpus: limits.cpus.filter(|_| has_group),
        cpu_time: limits.cpu_seconds().filter(|_| is_confined),
        open_files: limits.open_files.filter(|_| is_confined),
        file_size: limits.file_size.filter(|_| is_confined),
        workspace_size: limits.workspace_size.filter(|_| level == Some(SandboxLevel::Namespaces)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_only_where_something_holds_it() {
        let asked = Limits {
            memory: Some(1 << 30),
            open_files: Some(64),
            workspace_size: Some(1 << 20),
            ..Limits::default()
        };
        let told = |has_group, level| {
            let told = limits(&asked, has_group, level);
            (told.memory, told.open_files, told.workspace_size)
        };
        let (spaces, landlock) = (Some(SandboxLevel::Namespaces), Some(SandboxLevel::Landlock));
        assert_eq!(told(true, spaces), (Some(1 << 30), Some(64), Some(1 << 20)));
        assert_eq!(told(false, landlock), (None, Some(64), None));
        assert_eq!(told(true, None), (Some(1 << 30), None, None));
    }
}
