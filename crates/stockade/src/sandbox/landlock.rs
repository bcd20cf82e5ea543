//! A view as rules for the runner, which hands them to the kernel for its blocks: Landlock for files, seccomp for
//! sockets and calls. Owns what that allows at each level, and whether what the kernel made of it is enough.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{Confined, Confinement, ProcessLimits, Sockets};

use super::{Limits, Sandbox, SandboxLevel, SandboxNetwork, View};

const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Where a session has devices of its own: terminals.
const OWN_DEVICES: &[&str] = &["/dev/tty", "/dev/ptmx", "/dev/pts"];
/// Where it has file systems of its own.
const OWN_FOLDERS: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];
/// Code reads there what it is itself. It may read of others what every user may: at the level without namespaces
/// that is their names and arguments.
const PROCESSES: &str = "/proc";

/// The first version of Landlock that holds back signals and abstract sockets.
const FIRST_WITH_SCOPES: &str = "Landlock 6 (Linux 6.12)";

/// What a session is confined with.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) level: SandboxLevel,
    pub(crate) confined: Confined,
}

/// What the runner is to confine blocks to. `private` is a folder of the session's own, for where `/tmp` and the home
/// are not.
pub(crate) fn confinement(
    sandbox: &Sandbox,
    view: &View,
    level: SandboxLevel,
    private: Option<&Path>,
) -> Confinement {
    let own = |paths: &[&str]| match level {
        SandboxLevel::Landlock => Vec::new(),
        SandboxLevel::Auto | SandboxLevel::Namespaces => paths.iter().map(PathBuf::from).collect(),
    };
    let readable = view.read_only.iter().flat_map(|path| view.visible_parts(path));
    let listable = match level {
        // All that is there is the session's own.
        SandboxLevel::Auto | SandboxLevel::Namespaces => vec![PathBuf::from("/")],
        SandboxLevel::Landlock => view.read_only.clone(),
    };
    let home = private.is_none().then(|| view.home.clone());
    let writable = view.read_write.iter().cloned().chain(home).chain(private.map(Path::to_owned));
    Confinement {
        readable: bytes(readable.chain([PROCESSES.into()])),
        listable: bytes(listable),
        writable: bytes(writable.chain(own(OWN_FOLDERS))),
        devices: bytes(DEVICES.iter().map(PathBuf::from).chain(own(OWN_DEVICES))),
        sockets: sockets(sandbox, level),
        own_namespaces: level != SandboxLevel::Landlock,
        limits: process_limits(&sandbox.limits),
    }
}

fn sockets(sandbox: &Sandbox, level: SandboxLevel) -> Sockets {
    match (sandbox.network, level) {
        (SandboxNetwork::None, SandboxLevel::Landlock) => Sockets::Pairs,
        (SandboxNetwork::None, _) if sandbox.is_strict => Sockets::Pairs,
        // Sockets with a path lead to daemons, and Landlock doesn't hold back who connects.
        (SandboxNetwork::Host, SandboxLevel::Landlock) => Sockets::Internet,
        (SandboxNetwork::Host, _) if sandbox.is_strict => Sockets::Internet,
        _ => Sockets::Local,
    }
}

fn process_limits(limits: &Limits) -> ProcessLimits {
    ProcessLimits {
        open_files: limits.open_files,
        file_size: limits.file_size,
        cpu_seconds: limits.cpu_seconds(),
    }
}

fn bytes(paths: impl IntoIterator<Item = PathBuf>) -> Vec<ByteBuf> {
    paths.into_iter().map(|path| ByteBuf::from(path.as_os_str().as_bytes())).collect()
}

impl Applied {
    /// What of the properties that a sandbox promises does not hold.
    pub(crate) fn missing(&self, sandbox: &Sandbox) -> Vec<(&'static str, String)> {
        let Confined { landlock, scopes, seccomp } = self.confined;
        let alone = self.level == SandboxLevel::Landlock;
        let limits_workspace = sandbox.limits.workspace_size.is_some();
        let shares_sockets = sandbox.network == SandboxNetwork::Host && !sandbox.is_strict && !alone;
        let version = landlock.map_or("no Landlock".to_owned(), |version| format!("Landlock {version}"));
        let needs = |what: &str| format!("the kernel has {version}, and that takes {what}");
        let rows = [
            (!seccomp, "system calls", "the kernel has no filters of system calls (seccomp)".to_owned()),
            // Before the third version a file could be emptied anywhere.
            (alone && landlock.is_none_or(|version| version < 3), "files", needs("Landlock 3 (Linux 6.2)")),
            (alone && !scopes, "other processes", needs(FIRST_WITH_SCOPES)),
            (shares_sockets && !scopes, "abstract sockets of the host", needs(FIRST_WITH_SCOPES)),
            (
                alone && limits_workspace,
                "workspace size",
                "only the level of namespaces can hold it".to_owned(),
            ),
        ];
        rows.into_iter().filter(|row| row.0).map(|(_, property, why)| (property, why)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            workspace: "/w".into(),
            read_only: vec!["/usr".into(), "/bin".into()],
            links: Vec::new(),
            hidden: Vec::new(),
            read_write: vec!["/w".into()],
            workspace_size: None,
            home: "/home/ada".into(),
        }
    }

    fn texts(paths: &[ByteBuf]) -> Vec<&str> {
        paths.iter().map(|path| std::str::from_utf8(path).expect("it is text")).collect()
    }

    #[test]
    fn in_namespaces_the_home_and_tmp_are_the_sessions_own() {
        let rules = confinement(&Sandbox::default(), &view(), SandboxLevel::Namespaces, None);
        assert_eq!(texts(&rules.writable), ["/w", "/home/ada", "/tmp", "/var/tmp", "/dev/shm"]);
        assert_eq!(texts(&rules.readable), ["/usr", "/bin", "/proc"]);
        assert_eq!((texts(&rules.listable), rules.sockets), (vec!["/"], Sockets::Local));
        assert!(rules.own_namespaces);
    }

    #[test]
    fn without_namespaces_only_a_folder_of_its_own_can_be_written_to() {
        let private = Path::new("/tmp/private");
        let rules = confinement(&Sandbox::default(), &view(), SandboxLevel::Landlock, Some(private));
        assert_eq!(texts(&rules.writable), ["/w", "/tmp/private"]);
        assert!(!texts(&rules.devices).contains(&"/dev/pts"));
        assert_eq!(rules.sockets, Sockets::Pairs);
        assert!(!rules.own_namespaces, "queues and shared memory are others' too");
    }

    #[test]
    fn the_network_decides_which_sockets_there_are() {
        let sandbox = |network| Sandbox::default().network(network);
        let of = |sandbox: &Sandbox, level| sockets(sandbox, level);
        let host = sandbox(SandboxNetwork::Host);
        assert_eq!(of(&host, SandboxLevel::Namespaces), Sockets::Local);
        assert_eq!(of(&host, SandboxLevel::Landlock), Sockets::Internet);
        assert_eq!(of(&Sandbox::strict(), SandboxLevel::Namespaces), Sockets::Pairs);
    }

    #[test]
    fn what_a_kernel_lacks_is_missing_only_where_nothing_else_does_it() {
        let applied = |level, landlock, seccomp| Applied {
            level,
            confined: Confined { landlock, scopes: landlock.is_some_and(|version| version >= 6), seccomp },
        };
        let missing = |applied: Applied, sandbox: &Sandbox| -> Vec<&str> {
            applied.missing(sandbox).into_iter().map(|(property, _)| property).collect()
        };
        let (default, host) = (Sandbox::default(), Sandbox::default().network(SandboxNetwork::Host));
        let none: [&str; 0] = [];
        assert_eq!(missing(applied(SandboxLevel::Namespaces, None, true), &default), none);
        assert_eq!(
            missing(applied(SandboxLevel::Namespaces, Some(5), true), &host),
            ["abstract sockets of the host"]
        );
        assert_eq!(missing(applied(SandboxLevel::Namespaces, Some(6), true), &host), none);
        assert_eq!(missing(applied(SandboxLevel::Landlock, Some(4), true), &default), ["other processes"]);
        assert_eq!(missing(applied(SandboxLevel::Landlock, Some(6), true), &host), none);
        let all = missing(applied(SandboxLevel::Landlock, None, false), &default);
        assert_eq!(all, ["system calls", "files", "other processes"]);
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        let limits =
            |millis| Limits { cpu_time: Some(std::time::Duration::from_millis(millis)), ..Limits::default() };
        assert_eq!(process_limits(&limits(1500)).cpu_seconds, Some(2));
        assert_eq!(process_limits(&limits(2000)).cpu_seconds, Some(2));
    }
}
