//! Sockets of daemons that start containers. Whoever speaks to one is root on its host, so a container that has one
//! holds nobody. Owns how such a mount is known; what is done about it is others' affair.

use std::path::{Component, Path, PathBuf};

use super::daemon::Address;

/// How they are called, wherever they are.
const NAMES: &[&str] = &[
    "docker.sock",
    "podman.sock",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "crio.sock",
    "cri-dockerd.sock",
    "buildkitd.sock",
];

/// Where they are, by the paths that a directory of theirs is known by.
const USUAL: &[&str] = &[
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/buildkit/buildkitd.sock",
];

/// The same of users: below the directory of each.
const OF_USERS: &str = "/run/user";
const OF_USER: &[&str] = &["docker.sock", "podman/podman.sock"];

/// How a mount of this source lets its code speak to a daemon, if it does: a sentence without an end.
pub(super) fn warning(source: &str, daemon: &Address) -> Option<String> {
    if !source.starts_with('/') {
        return None;
    }
    let mut ways = vec![PathBuf::from(source)];
    // What this host's links make of it, where this host's files are meant.
    if let Address::Unix(_) = daemon {
        ways.extend(Path::new(source).canonicalize());
    }
    let found = ways.iter().map(|way| normal(way)).find_map(|way| exposed(&way, daemon));
    let what = match found? {
        Exposed::Itself => format!("{source} is the socket of a daemon that starts containers"),
        Exposed::Within(socket) => {
            format!("{source} holds the socket of a daemon that starts containers, {}", socket.display())
        }
    };
    Some(format!("{what}: code that can use it is root on that host"))
}

enum Exposed {
    Itself,
    Within(PathBuf),
}

fn exposed(source: &Path, daemon: &Address) -> Option<Exposed> {
    let is_named = source.file_name().is_some_and(|name| NAMES.iter().any(|known| name == *known));
    let own = match daemon {
        Address::Unix(path) => Some(normal(path)),
        _ => None,
    };
    if is_named || own.as_deref() == Some(source) {
        return Some(Exposed::Itself);
    }
    let usual = USUAL.iter().map(PathBuf::from);
    let within = own.into_iter().chain(usual).find(|socket| socket.starts_with(source));
    within.or_else(|| of_user(source)).map(Exposed::Within)
}

/// The socket of a user whose directory, or a part of it, this is.
fn of_user(source: &Path) -> Option<PathBuf> {
    let below = source.strip_prefix(OF_USERS).ok()?;
    let user = below.components().next()?;
    let own = Path::new(OF_USERS).join(user);
    OF_USER.iter().map(|socket| own.join(socket)).find(|socket| socket.starts_with(source))
}

/// Without `.`, `..` and double slashes, and below `/run` what is below `/var/run`, which is a link to it everywhere.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            component => normal.push(component),
        }
    }
    match normal.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest).components().collect(),
        Err(_) => normal,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(source: &str) -> Option<String> {
        warning(source, &Address::Tcp { authority: "there:2375".into() })
    }

    #[test]
    fn the_socket_of_a_daemon_is_known_by_its_name() {
        for socket in [
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/run//./docker.sock",
            "/var/../run/docker.sock",
            "/run/user/1000/podman/podman.sock",
            "/home/me/.docker/run/docker.sock",
            "/run/containerd/containerd.sock",
            "/srv/mine/crio.sock",
        ] {
            let warning = found(socket).expect(socket);
            assert!(warning.starts_with(&format!("{socket} is the socket")), "{warning}");
        }
        for other in ["/var/run/postgresql.sock", "/data/docker.sock.txt", "docker.sock", "cache", "/data"] {
            assert_eq!(found(other), None);
        }
    }

    #[test]
    fn a_directory_that_holds_one_is_known_and_another_is_not() {
        for holds in ["/", "/var/run", "/run", "/run/", "/run/podman", "/run/user/1000", "/run/user/7/podman"]
        {
            let warning = found(holds).expect(holds);
            assert!(warning.starts_with(&format!("{holds} holds the socket")), "{warning}");
        }
        for other in ["/var/runner", "/run/lock", "/run/user/1000/gnupg", "/home", "/var/lib"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn the_daemon_that_is_used_is_known_by_its_own_path() {
        let daemon = Address::Unix("/srv/own/engine.socket".into());
        assert!(
            warning("/srv/own/engine.socket", &daemon).is_some_and(|text| text.contains(" is the socket"))
        );
        assert!(warning("/srv", &daemon).is_some_and(|text| text.contains("engine.socket")));
        assert_eq!(warning("/srv/own/data", &daemon), None);
        assert_eq!(found("/srv/own/engine.socket"), None);
    }

    #[test]
    fn a_link_of_this_host_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        let daemon = Address::Unix(real.join("engine"));
        let (link, other) = (real.join("link"), real.join("other"));
        std::fs::write(real.join("engine"), "").unwrap();
        symlink(real.join("engine"), &link).unwrap();
        symlink(real.join("none"), &other).unwrap();
        assert!(warning(link.to_str().unwrap(), &daemon).is_some());
        assert_eq!(warning(other.to_str().unwrap(), &daemon), None);
    }
}
