//! What a daemon says of itself: whether it is root, what holds its containers, what it can limit. Owns what that is
//! worth; where a container can be started, that tells more.

use bollard::models::{SystemInfo, SystemVersion};

use super::super::{Finding, State, Subject, trial::Refusal};

pub(super) const NAME: &str = "daemon";
const ROOTLESS: &str = "rootless";
const OPTIONS: &str = "security options";
const LIMITS: &str = "limits";

/// `found` says which daemon answered, and where.
pub(super) fn findings(
    version: &Result<SystemVersion, Refusal>,
    info: &Result<SystemInfo, Refusal>,
    found: String,
) -> Vec<Finding> {
    let daemon = match version {
        Ok(_) => Finding::enforced(Subject::Docker, NAME, found),
        Err(Refusal { why, fix, .. }) => {
            Finding::lacking(Subject::Docker, NAME, State::Degraded, found, why, fix)
        }
    };
    let of_info = match info {
        Ok(info) => [rootless(info), security_options(info), limits(info)],
        Err(Refusal { why, fix, .. }) => [ROOTLESS, OPTIONS, LIMITS].map(|name| {
            Finding::lacking(Subject::Docker, name, State::Degraded, "the daemon tells nothing", why, fix)
        }),
    };
    [daemon].into_iter().chain(of_info).collect()
}

fn options(info: &SystemInfo) -> &[String] {
    info.security_options.as_deref().unwrap_or_default()
}

/// An option's name: `name=seccomp,profile=builtin`.
fn named(option: &str) -> &str {
    let name = option.split(',').find_map(|part| part.strip_prefix("name="));
    name.unwrap_or(option)
}

fn rootless(info: &SystemInfo) -> Finding {
    let has = |wanted: &str| options(info).iter().any(|option| named(option) == wanted);
    if has("rootless") {
        return Finding::enforced(Subject::Docker, ROOTLESS, "the daemon is not root");
    }
    if has("userns") {
        let detail = "root in a container is nobody on its host (userns-remap)";
        return Finding::enforced(Subject::Docker, ROOTLESS, detail);
    }
    let why = "root in a container is root on the daemon's host, should it get out";
    let fix = "use one that is an ordinary user's (Docker: `dockerd-rootless-setuptool.sh install`; Podman: `systemctl \
               --user start podman.socket`), or `\"userns-remap\": \"default\"` in Docker's configuration";
    Finding::lacking(Subject::Docker, ROOTLESS, State::Degraded, "the daemon is root", why, fix)
}

fn security_options(info: &SystemInfo) -> Finding {
    let options = options(info);
    let holds = |option: &str| !option.contains("profile=unconfined");
    let has = |name| options.iter().any(|option| named(option) == name && holds(option));
    let detail = if options.is_empty() { "none".to_owned() } else { options.join("; ") };
    let lacking = |state, why: &str, fix: &str| {
        Finding::lacking(Subject::Docker, OPTIONS, state, detail.clone(), why, fix)
    };
    match (has("seccomp"), has("apparmor") || has("selinux")) {
        (true, true) => Finding::enforced(Subject::Docker, OPTIONS, detail),
        (true, false) => lacking(
            State::Degraded,
            "neither AppArmor nor SELinux holds containers on the daemon's host",
            "enable AppArmor (`apt-get install apparmor`, kernel parameter `apparmor=1 security=apparmor`) or SELinux \
             there, and restart the daemon",
        ),
        (false, _) => lacking(
            State::Absent,
            "the daemon filters no system calls",
            "take `seccomp-profile` with `unconfined` out of the daemon's configuration, and use a kernel with \
             CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// As the daemon tells: whether a limit of a container's would be taken.
fn limits(info: &SystemInfo) -> Finding {
    let limits = [("memory", info.memory_limit), ("pids", info.pids_limit), ("cpus", info.cpu_cfs_quota)];
    let of = |wanted: bool| -> Vec<&str> {
        limits.iter().filter(|(_, has)| has.unwrap_or(false) == wanted).map(|(name, _)| *name).collect()
    };
    let (has, lacks) = (of(true), of(false));
    let detail = match has.is_empty() {
        true => "the daemon says that it can limit nothing".to_owned(),
        false => format!("the daemon says that it can limit {}", has.join(", ")),
    };
    if lacks.is_empty() {
        return Finding::enforced(Subject::Docker, LIMITS, detail);
    }
    let state = if has.is_empty() { State::Absent } else { State::Degraded };
    let why = format!("the daemon has no control group for {}", lacks.join(", "));
    let fix = "use control groups of version 2 on the daemon's host, delegated to its user where it is rootless \
               (`Delegate=cpu cpuset io memory pids` in user@.service)";
    Finding::lacking(Subject::Docker, LIMITS, state, detail, why, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(options: &[&str]) -> SystemInfo {
        let security_options = Some(options.iter().map(|option| (*option).to_owned()).collect());
        SystemInfo { security_options, ..SystemInfo::default() }
    }

    #[test]
    fn a_daemon_is_rootless_when_it_says_so() {
        let state = |options: &[&str]| rootless(&info(options)).state;
        assert_eq!(state(&["name=seccomp,profile=builtin", "name=rootless"]), State::Enforced);
        assert_eq!(state(&["name=userns"]), State::Enforced);
        assert_eq!(state(&["name=seccomp,profile=builtin"]), State::Degraded);
    }

    #[test]
    fn a_daemon_without_a_profile_filters_nothing() {
        let state = |options: &[&str]| security_options(&info(options)).state;
        assert_eq!(state(&["name=apparmor", "name=seccomp,profile=default"]), State::Enforced);
        assert_eq!(state(&["name=seccomp,profile=default"]), State::Degraded);
        assert_eq!(state(&["name=apparmor", "name=seccomp,profile=unconfined"]), State::Absent);
        assert_eq!(state(&[]), State::Absent);
    }

    #[test]
    fn a_daemon_limits_what_it_says_and_nothing_else() {
        let all = SystemInfo {
            memory_limit: Some(true),
            pids_limit: Some(true),
            cpu_cfs_quota: Some(true),
            ..SystemInfo::default()
        };
        assert_eq!(limits(&all).state, State::Enforced);
        let some = limits(&SystemInfo { pids_limit: Some(false), cpu_cfs_quota: None, ..all });
        assert_eq!(some.state, State::Degraded);
        assert_eq!(some.why.as_deref(), Some("the daemon has no control group for pids, cpus"));
        assert_eq!(limits(&SystemInfo::default()).state, State::Absent);
    }

    #[test]
    fn a_daemon_that_tells_nothing_of_itself_is_not_taken_to_be_sound() {
        let silent = || Refusal::new("no answer", "ask it");
        let findings = findings(&Err(silent()), &Err(silent()), "a daemon".to_owned());
        assert_eq!(findings.len(), 4);
        assert!(findings.iter().all(|finding| finding.state == State::Degraded), "{findings:?}");
    }
}
