//! How the tests come by an engine: a Docker daemon that answers is taken as it is; else, and for Podman always,
//! this installs what is missing and starts one of its own. Owns the programs, their packages and how they are
//! configured. Only root starts one.

use std::{
    cmp::min,
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{
    Scratch,
    api::Api,
    daemon::{Daemon, daemon_command},
};
use crate::debian;

const USUAL_DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// More open files slow down programs that look at every number that a file may have.
const MOST_OPEN_FILES: u64 = 1 << 20;

pub(super) struct Engine {
    pub(super) api: Api,
    /// Those that were started here; in this order they end.
    _daemon: Option<Daemon>,
    _folder: Option<Scratch>,
}

/// The daemon on the socket that `DOCKER_HOST` names or on the usual one, started if none answers there.
pub(super) fn docker(logs: &Path) -> Result<Engine, String> {
    let api = Api::at(docker_socket(env::var("DOCKER_HOST").ok().as_deref()));
    let taken = |api| Engine { api, _daemon: None, _folder: None };
    let Err(silence) = api.answers() else { return Ok(taken(api)) };
    expect_root()
        .and_then(|()| debian::provide_program("dockerd", &["docker.io"]))
        .map_err(|reason| format!("{silence}; {reason}"))?;
    // Where services are started, an installation does that.
    if api.answers().is_ok() {
        return Ok(taken(api));
    }
    let mut command = daemon_command("dockerd");
    command.arg("--host").arg(api.address());
    let daemon = Daemon::start("dockerd", command, &api, &logs.join("dockerd.log"))?;
    Ok(Engine { api, _daemon: Some(daemon), _folder: None })
}

fn docker_socket(docker_host: Option<&str>) -> PathBuf {
    docker_host.and_then(|host| host.strip_prefix("unix://")).unwrap_or(USUAL_DOCKER_SOCKET).into()
}

/// A service of our own: Debian's starts containers with what does not run everywhere.
pub(super) fn podman(logs: &Path) -> Result<Engine, String> {
    expect_root()?;
    debian::provide_program("podman", &["podman", "netavark", "iptables"])?;
    debian::provide_program("runc", &["runc"])?;
    // A socket's path is short, which that of a build folder need not be.
    let folder = Scratch::new(&env::temp_dir(), "podman")?;
    let configuration = folder.0.join("containers.conf");
    podman_configuration()
        .and_then(|text| fs::write(&configuration, text))
        .map_err(|error| format!("write {}: {error}", configuration.display()))?;
    let api = Api::at(folder.0.join("podman.sock"));
    let mut command = daemon_command("podman");
    command.args(["system", "service", "--time=0"]).arg(api.address()).env("CONTAINERS_CONF", &configuration);
    let daemon = Daemon::start("podman", command, &api, &logs.join("podman.log"))?;
    Ok(Engine { api, _daemon: Some(daemon), _folder: Some(folder) })
}

fn expect_root() -> Result<(), String> {
    if debian::is_root() { Ok(()) } else { Err("only root can start one".into()) }
}

/// runc, for crun refuses a machine that has control groups of both versions; limits that we may set, for
/// Podman's own are beyond those of a root without `CAP_SYS_RESOURCE`; and nothing that needs systemd.
fn podman_configuration() -> io::Result<String> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let processes = fs::read_to_string("/proc/sys/kernel/pid_max")?;
    let files = min(hard_limit(&limits, "Max open files"), MOST_OPEN_FILES);
    // Podman lowers its own limit to this, and could not raise that of a container again.
    let processes = min(hard_limit(&limits, "Max processes"), processes.trim().parse().unwrap_or(u64::MAX));
    Ok(format!(
        r#"[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#
    ))
}

/// From the lines of `/proc/self/limits`: a name, the soft limit, the hard limit and a unit.
fn hard_limit(limits: &str, name: &str) -> u64 {
    let values = limits.lines().find_map(|line| line.strip_prefix(name));
    let hard = values.and_then(|values| values.split_whitespace().nth(1));
    hard.and_then(|limit| limit.parse().ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_counts_where_it_names_a_socket() {
        assert_eq!(
            docker_socket(Some("unix:///run/user/1000/docker.sock")),
            Path::new("/run/user/1000/docker.sock")
        );
        assert_eq!(docker_socket(Some("tcp://127.0.0.1:2375")), Path::new(USUAL_DOCKER_SOCKET));
        assert_eq!(docker_socket(None), Path::new(USUAL_DOCKER_SOCKET));
    }

    #[test]
    fn a_hard_limit_is_a_number_or_none() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             unlimited            unlimited            processes\n\
                      Max open files            1024                 20000                files\n";
        assert_eq!(hard_limit(limits, "Max open files"), 20000);
        assert_eq!(hard_limit(limits, "Max processes"), u64::MAX);
    }
}
