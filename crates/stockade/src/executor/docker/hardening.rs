//! What a container is denied unless somebody asks for it: rights that code does not need to install packages and to
//! run. Owns these defaults, and how what was asked for goes before them. What lockdown denies beyond is in `lockdown`.

use super::{daemon::Daemon, failed, lockdown, options::Options, policy::ContainerPolicy};
use crate::error::{Error, Result};

/// Twice what Podman gives a container (`pids_limit` in containers.conf(5)): what runs there runs here too, a pool
/// of 64 processes may have 60 threads in each, and a fork bomb ends long before the host's numbers do (`kernel.pid_max`
/// is at least 32768).
pub(super) const PIDS_LIMIT: u32 = 4096;

/// Those of Docker's default capabilities that neither pip nor apt-get nor a maintainer's script needs. What stays is
/// what root's programs use on their own files and processes: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID and
/// SETUID (apt-get becomes `_apt`), and NET_BIND_SERVICE, with which servers listen where they usually do.
const DROPPED: &[&str] = &[
    // Forged packages for the neighbours on the bridge.
    "NET_RAW",
    // Device files.
    "MKNOD",
    // Lines in the log of the host's kernel.
    "AUDIT_WRITE",
    "SYS_CHROOT",
    // Rights for files of the work_dir, where other users of the host may find them.
    "SETFCAP",
    "SETPCAP",
];

const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// What has to be known of the daemon for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Engine {
    /// How many CPUs its host has: more are refused.
    pub(super) cpus: Option<i64>,
    /// The numbers of users in a container mean others on its host.
    pub(super) maps_users: bool,
    pub(super) is_podman: bool,
}

impl Engine {
    /// Asks the daemon no more than the options need.
    pub(super) async fn ask(options: &Options, daemon: &Daemon) -> Result<Self> {
        let mut engine = Self::default();
        if options.lockdown {
            let info = daemon.docker.info().await;
            let info = info.map_err(|error| failed("ask the daemon what its host has", &error))?;
            engine.cpus = info.ncpu;
            let mapped = |option: &String| option.contains("name=rootless") || option.contains("name=userns");
            engine.maps_users = info.security_options.unwrap_or_default().iter().any(mapped);
        }
        if asked_no_new_privileges(&options.security_opt) == Some(false) {
            let version = daemon.docker.version().await;
            let version = version.map_err(|error| failed("ask the daemon which it is", &error))?;
            let components = version.components.unwrap_or_default();
            engine.is_podman = components.iter().any(|component| component.name.contains("Podman"));
        }
        Ok(engine)
    }
}

/// What the daemon is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hardening {
    pub(super) cap_drop: Vec<String>,
    pub(super) security_opt: Vec<String>,
    pub(super) no_new_privileges: bool,
    /// `None` is no limit.
    pub(super) pids_limit: Option<u32>,
    pub(super) cpus: Option<f64>,
    pub(super) maps_users: bool,
}

impl Hardening {
    pub(super) fn new(options: &Options, engine: Engine) -> Self {
        let asked = asked_no_new_privileges(&options.security_opt);
        let mut security_opt = options.security_opt.clone();
        match asked {
            None => security_opt.push(NO_NEW_PRIVILEGES.to_owned()),
            // Podman before 4.7 takes any value for yes; without the option it is no.
            Some(false) if engine.is_podman => {
                security_opt.retain(|option| no_new_privileges(option).is_none())
            }
            Some(_) => {}
        }
        let locked_cpus = || options.lockdown.then(|| lockdown::cpus(engine.cpus));
        Self {
            cap_drop: dropped(&options.cap_add, &options.cap_drop),
            security_opt,
            no_new_privileges: asked.unwrap_or(true),
            pids_limit: Some(options.pids_limit.unwrap_or(PIDS_LIMIT)).filter(|limit| *limit > 0),
            cpus: options.cpus.or_else(locked_cpus),
            maps_users: engine.maps_users,
        }
    }
}

/// What is dropped: what was asked to be, and of the defaults what was not asked for.
fn dropped(added: &[String], dropped: &[String]) -> Vec<String> {
    let lists = |list: &[String], name: &str| list.iter().any(|listed| capability(listed) == name);
    if lists(added, "ALL") || lists(dropped, "ALL") {
        return dropped.to_vec();
    }
    let defaults = DROPPED.iter().filter(|name| !lists(added, name) && !lists(dropped, name));
    dropped.iter().cloned().chain(defaults.map(|name| (*name).to_owned())).collect()
}

/// A capability's name as the daemon compares it: any case, with or without `CAP_`.
pub(super) fn capability(name: &str) -> String {
    let name = name.trim().to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// What was asked for, by the last option about it, as the daemon has it.
pub(super) fn asked_no_new_privileges(options: &[String]) -> Option<bool> {
    options.iter().rev().find_map(|option| no_new_privileges(option))
}

/// What an option says about it. What is no truth value the daemon refuses.
fn no_new_privileges(option: &str) -> Option<bool> {
    let value = option.strip_prefix(NO_NEW_PRIVILEGES)?;
    match value.strip_prefix(['=', ':']) {
        Some(value) => Some(!["0", "f", "F", "false", "False", "FALSE"].contains(&value)),
        None => value.is_empty().then_some(true),
    }
}

/// What the daemon says of a limit that it passed over.
pub(super) fn is_of_limit(warning: &str) -> bool {
    let warning = warning.to_lowercase();
    ["discarded", "ignored"].iter().any(|word| warning.contains(word))
}

/// The policy without the limit of processes, should the daemon have passed over that.
pub(super) fn limited(policy: ContainerPolicy, warnings: &[String]) -> ContainerPolicy {
    let discarded: Vec<String> = warnings.iter().filter(|warning| is_of_limit(warning)).cloned().collect();
    let pids_limit = policy.pids_limit.filter(|_| discarded.is_empty());
    ContainerPolicy { pids_limit, warnings: discarded, ..policy }
}

/// Whether the daemon told that it passed over the limit of processes, and nobody asked for one: its kernel, or who
/// runs it, may not have the means. What was asked for is not to be done without.
pub(super) fn does_without_pids_limit(options: &Options, warning: &str) -> bool {
    options.pids_limit.is_none() && warning.to_lowercase().contains("pids")
}

/// Refuses the limit of processes that no session could live with; 0 is none.
pub(super) fn check_pids_limit(limit: Option<u32>) -> Result<()> {
    let why = || "must be at least 16, or 0 for no limit".to_owned();
    match limit {
        Some(1..16) => Err(Error::InvalidOption { option: "pids_limit", why: why() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn hardened(options: Options) -> Hardening {
        Hardening::new(&options, Engine::default())
    }

    #[test]
    fn what_code_does_not_need_is_dropped_unless_it_is_asked_for() {
        let of = |added: &[&str], asked: &[&str]| dropped(&names(added), &names(asked));
        assert_eq!(of(&[], &[]), names(DROPPED));
        assert_eq!(of(&["cap_net_raw", "SYS_NICE"], &[]), names(&DROPPED[1..]));
        assert_eq!(of(&["ALL"], &[]), names(&[]));
        assert_eq!(of(&["ALL"], &["MKNOD"]), names(&["MKNOD"]));
        assert_eq!(of(&[], &["all"]), names(&["all"]));
        assert_eq!(of(&[], &["CAP_NET_RAW"]), [names(&["CAP_NET_RAW"]), names(&DROPPED[1..])].concat());
    }

    #[test]
    fn no_new_privileges_is_said_once_and_whoever_says_otherwise_has_it_so() {
        let of = |asked: &[&str]| {
            let hardening = hardened(Options { security_opt: names(asked), ..Options::default() });
            (hardening.no_new_privileges, hardening.security_opt)
        };
        assert_eq!(of(&[]), (true, names(&[NO_NEW_PRIVILEGES])));
        assert_eq!(of(&["seccomp=x"]), (true, names(&["seccomp=x", NO_NEW_PRIVILEGES])));
        for yes in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=1"] {
            assert_eq!(of(&[yes]), (true, names(&[yes])));
        }
        for no in ["no-new-privileges:false", "no-new-privileges=false", "no-new-privileges=0"] {
            assert_eq!(of(&[no]), (false, names(&[no])));
            assert!(of(&[no, NO_NEW_PRIVILEGES]).0);
        }
        assert_eq!(of(&["no-new-privileges-at-all"]).1.len(), 2, "that is another option");
    }

    #[test]
    fn podman_is_told_nothing_where_it_would_understand_the_opposite() {
        let options =
            Options { security_opt: names(&["no-new-privileges=false", "seccomp=x"]), ..Options::default() };
        let podman = Engine { is_podman: true, ..Engine::default() };
        let hardening = Hardening::new(&options, podman);
        assert_eq!((hardening.no_new_privileges, hardening.security_opt), (false, names(&["seccomp=x"])));
    }

    #[test]
    fn processes_are_limited_unless_no_limit_is_asked_for() {
        let of = |asked| hardened(Options { pids_limit: asked, ..Options::default() }).pids_limit;
        assert_eq!((of(None), of(Some(64)), of(Some(0))), (Some(PIDS_LIMIT), Some(64), None));
        assert!(check_pids_limit(Some(15)).is_err());
        assert!([None, Some(0), Some(16)].into_iter().all(|limit| check_pids_limit(limit).is_ok()));
    }

    #[test]
    fn only_the_limit_that_nobody_asked_for_can_be_done_without() {
        let pids = "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit \
                    discarded.";
        let asked = Options { pids_limit: Some(64), ..Options::default() };
        assert!(does_without_pids_limit(&Options::default(), pids));
        assert!(!does_without_pids_limit(&asked, pids));
        assert!(!does_without_pids_limit(&Options::default(), "Memory limit discarded."));
    }
}
