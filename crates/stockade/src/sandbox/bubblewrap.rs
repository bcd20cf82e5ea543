//! A view as bubblewrap mounts it, for a runner in namespaces of its own. Owns bubblewrap's command line and what its
//! refusals mean; starting it is the local executor's part.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{SandboxNetwork, View, installation};
use crate::error::ASK_DOCTOR;

const PROGRAM: &str = "bwrap";
/// Where it is looked for first: what is on PATH may be anybody's.
const USUAL_FOLDERS: &[&str] = &["/usr/bin", "/bin", "/usr/local/bin"];

/// What every session gets of its own. Its first process is the runner, which no process in there can signal or trace;
/// nothing in there can make namespaces, and so get capabilities, again.
const ISOLATION: &[&str] = &[
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--disable-userns",
    "--cap-drop",
    "ALL",
    "--as-pid-1",
    "--new-session",
    // A name that leads to this machine without a network: much that is spread over processes looks up its own.
    "--hostname",
    "localhost",
];

/// What root may read of the kernel in `/proc` without a single capability: where memory is and what it is used for, keys,
/// timers. Docker hides as much.
const KERNEL: &[&str] = &[
    "/proc/acpi",
    "/proc/allocinfo",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];

/// Where it is.
#[derive(Debug, Clone)]
pub(crate) struct Bubblewrap {
    pub(crate) program: PathBuf,
}

/// What is at a place of the view.
enum Mounted<'a> {
    ReadOnly(&'a Path),
    ReadWrite(&'a Path),
    /// A file system in memory, that is gone with the session. The mode is octal.
    Memory(&'static str),
    /// Likewise, of as many bytes.
    Sized(u64),
    Link(&'a Path),
    /// Nothing to be read.
    EmptyFile,
    EmptyDirectory,
    Processes,
    Devices,
}

impl Bubblewrap {
    /// Finds it on this host.
    pub(crate) fn find() -> Option<Self> {
        let usual = USUAL_FOLDERS.iter().map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&path).filter(|folder| folder.is_absolute());
        let folders: Vec<PathBuf> = usual.chain(on_path).collect();
        installation::find(PROGRAM, &folders).map(|program| Self { program })
    }

    /// Its arguments for a view; what is to be executed follows them. `groups` are control groups and where they are
    /// to be seen.
    pub(crate) fn arguments(
        view: &View,
        network: SandboxNetwork,
        groups: &[(PathBuf, PathBuf)],
    ) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ISOLATION.iter().map(OsString::from).collect();
        if network == SandboxNetwork::None {
            arguments.push("--unshare-net".into());
        }
        for (place, mounted) in mounts(view, groups) {
            mounted.describe(&place, &mut arguments);
        }
        let rest = ["--remount-ro", "/", "--chdir", "/", "--"];
        arguments.extend(rest.iter().map(OsString::from));
        arguments
    }
}

/// What is where, what lies deeper after what it lies in.
fn mounts<'a>(view: &'a View, groups: &'a [(PathBuf, PathBuf)]) -> BTreeMap<PathBuf, Mounted<'a>> {
    let mut mounts = BTreeMap::from([
        ("/proc".into(), Mounted::Processes),
        ("/dev".into(), Mounted::Devices),
        ("/tmp".into(), Mounted::Memory("1777")),
        ("/var/tmp".into(), Mounted::Memory("1777")),
        ("/dev/shm".into(), Mounted::Memory("1777")),
        (view.home.clone(), Mounted::Memory("0700")),
    ]);
    for path in KERNEL.iter().map(PathBuf::from) {
        mounts.extend(empty(&path).map(|empty| (path, empty)));
    }
    for path in &view.read_only {
        mounts.insert(path.clone(), Mounted::ReadOnly(path));
    }
    for (link, to) in &view.links {
        mounts.insert(link.clone(), Mounted::Link(to));
    }
    for (group, place) in groups {
        mounts.insert(place.clone(), Mounted::ReadOnly(group));
    }
    let seen = |hidden: &&PathBuf| view.read_only.iter().any(|path| hidden.starts_with(path));
    for hidden in view.hidden.iter().filter(seen) {
        mounts.extend(empty(hidden).map(|empty| (hidden.clone(), empty)));
    }
    for path in &view.read_write {
        mounts.insert(path.clone(), Mounted::ReadWrite(path));
    }
    if let Some(bytes) = view.workspace_size {
        mounts.insert(view.workspace.clone(), Mounted::Sized(bytes));
    }
    let again: Vec<PathBuf> = mounts.keys().filter(|place| is_seen_anyway(place, &mounts)).cloned().collect();
    for place in again {
        mounts.remove(&place);
    }
    mounts
}

/// Whether what is shown at a place is part of what is shown around it: a mount less, each of which costs a start some
/// tenths of a millisecond.
fn is_seen_anyway(place: &Path, mounts: &BTreeMap<PathBuf, Mounted<'_>>) -> bool {
    let is_shown =
        |place: &Path| matches!(mounts.get(place), Some(Mounted::ReadOnly(path)) if *path == place);
    let around = place.ancestors().skip(1).find(|above| mounts.contains_key(*above));
    is_shown(place) && around.is_some_and(|around| is_shown(around) && !around.is_symlink())
}

/// What stands for something that is hidden. What this user may not read needs no hiding, for the code is the same user.
fn empty(hidden: &Path) -> Option<Mounted<'static>> {
    access(hidden, Access::READ_OK).ok()?;
    let found = fs::symlink_metadata(hidden).ok()?;
    Some(if found.is_dir() { Mounted::EmptyDirectory } else { Mounted::EmptyFile })
}

impl Mounted<'_> {
    fn describe(&self, place: &Path, arguments: &mut Vec<OsString>) {
        let mut add = |words: &[&OsStr]| arguments.extend(words.iter().map(OsString::from));
        let place = place.as_os_str();
        match self {
            // As on this host, where merged folders are links.
            Self::ReadOnly(path)
                if path.as_os_str() == place
                    && let Ok(target) = fs::read_link(path) =>
            {
                add(&["--symlink".as_ref(), target.as_os_str(), place]);
            }
            Self::ReadOnly(path) => add(&["--ro-bind".as_ref(), path.as_os_str(), place]),
            Self::ReadWrite(path) => add(&["--bind".as_ref(), path.as_os_str(), place]),
            Self::Memory(mode) => {
                add(&["--perms".as_ref(), mode.as_ref(), "--tmpfs".as_ref(), place]);
            }
            Self::Sized(bytes) => {
                let bytes = OsString::from(bytes.to_string());
                add(&[
                    "--perms".as_ref(),
                    "0700".as_ref(),
                    "--size".as_ref(),
                    &bytes,
                    "--tmpfs".as_ref(),
                    place,
                ]);
            }
            Self::Link(to) => add(&["--symlink".as_ref(), to.as_os_str(), place]),
            Self::EmptyFile => add(&["--ro-bind".as_ref(), "/dev/null".as_ref(), place]),
            Self::EmptyDirectory => {
                add(&["--perms".as_ref(), "0700".as_ref(), "--tmpfs".as_ref(), place]);
                add(&["--remount-ro".as_ref(), place]);
            }
            Self::Processes => add(&["--proc".as_ref(), place]),
            Self::Devices => add(&["--dev".as_ref(), place]),
        }
    }
}

/// What to do about a refusal of bubblewrap's, or of the kernel's that it passes on.
pub(crate) fn remedy(why: &str) -> &'static str {
    const REMEDIES: &[(&[&str], &str)] = &[
        (
            &["uid map", "permission denied"],
            "AppArmor keeps programs from making user namespaces: install its profile for bubblewrap (on Ubuntu: \
             `apt-get install apparmor-profiles` and \
             `cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && apparmor_parser -r \
             /etc/apparmor.d/bwrap-userns-restrict`)",
        ),
        (
            &["rtm_newaddr"],
            "AppArmor keeps programs in user namespaces from their rights: install its profile for bubblewrap (on \
             Ubuntu: `apt-get install apparmor-profiles`, and load bwrap-userns-restrict)",
        ),
        (
            &["no permissions to create"],
            "let users make namespaces (`sysctl -w kernel.unprivileged_userns_clone=1`), or, in a container, start \
             that with `--security-opt seccomp=unconfined` or use its own isolation",
        ),
        (
            &["creating new namespace failed"],
            "raise `sysctl user.max_user_namespaces`, or use the landlock level",
        ),
        (
            &["mounting", "operation not permitted"],
            "in a container, use the landlock level, or that container's own isolation",
        ),
        (&["unknown option"], "install bubblewrap 0.8 or newer"),
    ];
    let why = why.to_lowercase();
    let found = REMEDIES.iter().find(|(words, _)| words.iter().all(|word| why.contains(word)));
    found.map_or(ASK_DOCTOR, |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            workspace: "/home/ada/project".into(),
            read_only: vec!["/usr".into(), "/home/ada/.pyenv".into(), "/etc".into()],
            links: vec![("/home/ada/.local/bin/python3".into(), "/home/ada/.pyenv/python".into())],
            hidden: vec!["/root/secret".into()],
            read_write: vec!["/home/ada/project".into()],
            workspace_size: None,
            home: "/home/ada".into(),
        }
    }

    fn line(network: SandboxNetwork) -> String {
        let groups = [("/sys/fs/cgroup/memory/x".into(), "/sys/fs/cgroup/memory".into())];
        let arguments = Bubblewrap::arguments(&view(), network, &groups);
        arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_lies_in_a_private_home_is_mounted_after_it() {
        let line = line(SandboxNetwork::None);
        let at = |words: &str| line.find(words).unwrap_or_else(|| panic!("{words} is not in {line}"));
        let home = at("--perms 0700 --tmpfs /home/ada ");
        assert!(home < at("--ro-bind /home/ada/.pyenv /home/ada/.pyenv"));
        assert!(home < at("--symlink /home/ada/.pyenv/python /home/ada/.local/bin/python3"));
        assert!(home < at("--bind /home/ada/project /home/ada/project"));
        at("--ro-bind /sys/fs/cgroup/memory/x /sys/fs/cgroup/memory");
        assert!(line.ends_with(" --remount-ro / --chdir / --"), "{line}");
        assert!(!line.contains("/root/secret"), "what is not seen needs no hiding: {line}");
    }

    #[test]
    fn a_workspace_of_a_size_is_in_memory() {
        let view = View { workspace_size: Some(1 << 20), ..view() };
        let arguments = Bubblewrap::arguments(&view, SandboxNetwork::None, &[]);
        let line = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(line.contains("--perms 0700 --size 1048576 --tmpfs /home/ada/project"), "{line}");
        assert!(!line.contains("--bind /home/ada/project"), "{line}");
    }

    #[test]
    fn what_is_seen_with_the_folder_around_it_is_not_mounted_again() {
        let mut view = view();
        view.read_only.extend(["/usr/share/ca", "/home", "/home/ada/.pyenv/versions"].map(PathBuf::from));
        let mounts = mounts(&view, &[]);
        let mounted = |place: &str| mounts.contains_key(Path::new(place));
        assert!(mounted("/usr") && !mounted("/usr/share/ca"));
        assert!(mounted("/home/ada/.pyenv"), "its home is hidden, and lies between");
        assert!(!mounted("/home/ada/.pyenv/versions"));
    }

    #[test]
    fn the_network_is_unshared_unless_the_hosts_is_wanted() {
        assert!(line(SandboxNetwork::None).contains("--unshare-net"));
        assert!(!line(SandboxNetwork::Host).contains("--unshare-net"));
    }

    #[test]
    fn a_refusal_is_told_with_what_helps() {
        assert!(remedy("bwrap: setting up uid map: Permission denied").contains("AppArmor"));
        assert!(remedy("bwrap: No permissions to create new namespace").contains("sysctl"));
        assert!(remedy("anything else").contains("doctor"));
    }
}
