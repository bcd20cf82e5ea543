//! Lockdown: a container that is denied all that blocks can do without. Owns what it denies, and refuses options that
//! would give some of it back; numbers can be set, and more can be denied.

use std::time::Duration;

use super::{hardening::asked_no_new_privileges, options::Options};
use crate::{
    CodeBlock, Session,
    error::{Error, Result},
};

/// Whom blocks run as where the work_dir is not somebody's: the kernel's number for nobody.
pub(super) const NOBODY: &str = "65534:65534";
/// Where programs keep what is theirs, in memory.
pub(super) const HOME: &str = "/home/stockade";

/// How long it may take to see who one is.
const GLANCE: Duration = Duration::from_secs(30);

const MEMORY: u64 = 1 << 30;
const CPUS: f64 = 2.0;
const PIDS_LIMIT: u32 = 256;

/// Where programs expect to write, and which part of the memory limit each may take. With the workspace, where that is
/// in memory too, they leave room for processes: files that fill it all would leave a session in which every block is
/// out of memory.
const WRITABLE: &[(&str, u64)] = &[("/tmp", 4), ("/var/tmp", 16), (HOME, 8)];
const WORKSPACE_PART: u64 = 4;

/// Sets what was not set.
pub(super) fn apply(options: &mut Options) {
    options.network = Some("none".to_owned());
    options.read_only = true;
    options.cap_drop = vec!["ALL".to_owned()];
    options.memory.get_or_insert(MEMORY);
    options.pids_limit.get_or_insert(PIDS_LIMIT);
}

/// How much CPU time there is, on a host with so many CPUs. Every host has one.
pub(super) fn cpus(there: Option<i64>) -> f64 {
    there.map_or(1.0, |there| CPUS.min(there.max(1) as f64))
}

/// The file systems in memory, with the options of each: what is compiled or installed there may be executed. Where a
/// volume is mounted there is none.
pub(super) fn file_systems(options: &Options) -> impl Iterator<Item = (String, String)> {
    let is_free =
        |path: &str| options.extra_volumes.iter().all(|volume| volume.target.trim_end_matches('/') != path);
    let free = WRITABLE.iter().filter(move |(path, _)| is_free(path));
    free.map(|(path, part)| ((*path).to_owned(), file_system(options, *part)))
}

/// The same for the workspace, where it is a copy in memory.
pub(super) fn workspace(options: &Options) -> String {
    file_system(options, WORKSPACE_PART)
}

fn file_system(options: &Options, part: u64) -> String {
    format!("rw,exec,nosuid,nodev,mode=1777,size={}", options.memory.unwrap_or(MEMORY) / part)
}

/// Whether blocks have a number that is not root's; names are the image's to give.
pub(super) async fn is_somebody_else_than_root(session: &Session) -> Result<bool> {
    const EFFECTIVE: &str = "while read -r name real effective rest; do [ $name = Uid: ] && echo $effective; done </proc/self/status; :";
    let blocks = [CodeBlock::new("sh", EFFECTIVE)];
    let ran = session.call(&blocks[..]).timeout(GLANCE).discard_file().run().await?;
    Ok(ran.output.trim().parse::<u32>().is_ok_and(|uid| uid != 0))
}

/// Refuses what contradicts it.
pub(super) fn check(options: &Options) -> Result<()> {
    if let Some(network) = options.network.as_deref().filter(|network| *network != "none") {
        return Err(contradiction("network", &format!("{network:?} is one, and there is to be none")));
    }
    if let Some(capability) = options.cap_add.first() {
        return Err(contradiction("cap_add", &format!("{capability} is one, and there is to be none")));
    }
    if let Some(user) = options.user.as_deref().filter(|user| is_root(user)) {
        return Err(contradiction("user", &format!("{user:?} is root")));
    }
    if options.pids_limit == Some(0) {
        return Err(contradiction("pids_limit", "0 is no limit, and there is to be one"));
    }
    let weaker = options.security_opt.iter().find(|option| !may_tighten(option));
    match weaker {
        Some(option) => Err(contradiction("security_opt", &format!("{option} may take protection away"))),
        None if asked_no_new_privileges(&options.security_opt) == Some(false) => {
            Err(contradiction("security_opt", "it turns no-new-privileges off"))
        }
        None => Ok(()),
    }
}

/// That an option gives back what lockdown takes.
pub(super) fn contradiction(option: &'static str, why: &str) -> Error {
    Error::InvalidOption { option, why: format!("contradicts lockdown: {why}; leave one of them out") }
}

/// A name of root, or his number. A name that is his in the image alone is found when the session has started.
fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    name == "root" || !name.is_empty() && name.bytes().all(|digit| digit == b'0')
}

/// Whether a security option can be meant to deny more; what is not known is not.
fn may_tighten(option: &str) -> bool {
    let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match name {
        "no-new-privileges" => true,
        "seccomp" | "apparmor" => !value.is_empty() && value != "unconfined",
        "label" => value.starts_with("level:"),
        "mask" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Volume;

    fn refused(change: impl FnOnce(&mut Options)) -> Option<&'static str> {
        let mut options = Options { lockdown: true, ..Options::default() };
        change(&mut options);
        match check(&options) {
            Ok(()) => None,
            Err(Error::InvalidOption { option, why }) => {
                assert!(why.starts_with("contradicts lockdown: "), "{why}");
                Some(option)
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn security(option: &str) -> Option<&'static str> {
        refused(|options| options.security_opt = vec![option.to_owned()])
    }

    #[test]
    fn what_gives_something_back_is_refused_and_what_denies_more_is_not() {
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|options| options.network = Some("host".into())), Some("network"));
        assert_eq!(refused(|options| options.network = Some("none".into())), None);
        assert_eq!(refused(|options| options.cap_add = vec!["CHOWN".into()]), Some("cap_add"));
        assert_eq!(refused(|options| options.cap_drop = vec!["CHOWN".into()]), None);
        assert_eq!(refused(|options| options.pids_limit = Some(0)), Some("pids_limit"));
        assert_eq!(refused(|options| options.pids_limit = Some(1000)), None);
        assert_eq!(refused(|options| options.memory = Some(8 << 30)), None);
    }

    #[test]
    fn root_is_refused_by_any_name() {
        for root in ["root", "0", "00", "root:1000", "0:1000"] {
            assert_eq!(refused(|options| options.user = Some(root.into())), Some("user"), "{root}");
        }
        for other in ["nobody", "1000", "1000:0", "rooty", "10"] {
            assert_eq!(refused(|options| options.user = Some(other.into())), None, "{other}");
        }
    }

    #[test]
    fn security_options_may_only_tighten() {
        for weaker in [
            "seccomp=unconfined",
            "seccomp:unconfined",
            "apparmor=unconfined",
            "label=disable",
            "label:disable",
            "label=type:spc_t",
            "disable",
            "no-new-privileges=false",
            "systempaths=unconfined",
            "unmask=ALL",
            "writable-cgroups=true",
        ] {
            assert_eq!(security(weaker), Some("security_opt"), "{weaker}");
        }
        for fine in
            ["no-new-privileges", "no-new-privileges:true", "seccomp={}", "apparmor=mine", "label=level:s0"]
        {
            assert_eq!(security(fine), None, "{fine}");
        }
    }

    #[test]
    fn numbers_that_were_set_stay() {
        let mut options = Options { memory: Some(64 << 20), pids_limit: Some(32), ..Options::default() };
        apply(&mut options);
        assert_eq!((options.memory, options.pids_limit), (Some(64 << 20), Some(32)));
        let mut options = Options::default();
        apply(&mut options);
        assert_eq!((options.memory, options.pids_limit), (Some(MEMORY), Some(PIDS_LIMIT)));
    }

    #[test]
    fn no_more_cpus_are_asked_for_than_there_are() {
        assert_eq!([None, Some(1), Some(2), Some(64), Some(0)].map(cpus), [1.0, 1.0, 2.0, 2.0, 1.0]);
    }

    #[test]
    fn file_systems_in_memory_leave_room_for_processes() {
        let options = Options { memory: Some(1 << 30), ..Options::default() };
        let size = |options: &str| -> u64 { options.rsplit('=').next().unwrap().parse().unwrap() };
        let sizes = file_systems(&options).map(|(_, options)| size(&options)).sum::<u64>()
            + size(&workspace(&options));
        assert!((1 << 28..3 << 28).contains(&sizes), "{sizes}");
    }

    #[test]
    fn a_volume_takes_the_place_of_a_file_system_in_memory() {
        let volumes = vec![Volume::new("/data", "/tmp/"), Volume::new("/data", "/var/tmp/deep")];
        let options = Options { extra_volumes: volumes, ..Options::default() };
        let paths: Vec<String> = file_systems(&options).map(|(path, _)| path).collect();
        assert_eq!(paths, ["/var/tmp", HOME]);
    }
}
