//! The address of a Docker daemon, as `DOCKER_HOST` writes it. Owns what is understood of it and refuses the
//! rest with the reason. Whether anybody listens there is not its concern.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where Docker's own daemon listens unless it was told otherwise.
pub(super) const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where a daemon listens. Its display form can be given as `DOCKER_HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket on this host. What listens there may hand on to another machine: Docker Desktop does.
    Unix(PathBuf),
    /// Without encryption.
    Tcp {
        /// Host and port.
        authority: String,
    },
    /// With TLS.
    Tls {
        /// Host and port.
        authority: String,
        /// Holds `ca.pem` and, where the daemon wants to know who calls, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
    /// Through the system's ssh, and the docker command over there.
    Ssh(Remote),
}

/// Where ssh is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The daemon's socket over there, where it is not the one that the docker command finds.
    pub(super) socket: Option<String>,
}

/// What is known about TLS apart from the address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tls<'a> {
    /// Whether `tcp://` means TLS.
    pub(super) wanted: bool,
    /// Where certificates are.
    pub(super) certificates: &'a Path,
}

impl Address {
    /// Understands what Docker's own command does, and the bare path of a socket.
    ///
    /// # Errors
    /// Why not, a sentence without a subject.
    pub(super) fn parse(text: &str, tls: Tls<'_>) -> Result<Self, String> {
        let text = text.trim();
        let over_tls = |authority| Address::Tls { authority, certificates: tls.certificates.to_owned() };
        match text.split_once("://") {
            None if text.is_empty() => Err("is empty".to_owned()),
            None if text.starts_with('/') => Ok(Address::Unix(text.into())),
            None if text.starts_with('.') => Err("is not an absolute path".to_owned()),
            Some(("unix", "")) => Ok(Address::Unix(DEFAULT_SOCKET.into())),
            Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            Some(("unix", _)) => Err("is not an absolute path".to_owned()),
            None if tls.wanted => Ok(over_tls(authority(text, 2376)?)),
            Some(("tcp" | "http", rest)) if tls.wanted => Ok(over_tls(authority(rest, 2376)?)),
            None => Ok(Address::Tcp { authority: authority(text, 2375)? }),
            Some(("tcp", rest)) => Ok(Address::Tcp { authority: authority(rest, 2375)? }),
            Some(("http", rest)) => Ok(Address::Tcp { authority: authority(rest, 80)? }),
            Some(("https", rest)) => Ok(over_tls(authority(rest, 443)?)),
            Some(("ssh", rest)) => Remote::parse(rest).map(Address::Ssh),
            Some(("fd", _)) => {
                Err("is for the daemon's own use: give the socket's path, unix://…".to_owned())
            }
            Some(("npipe", _)) => Err("is a named pipe of Windows, which is not supported".to_owned()),
            Some((scheme, _)) => {
                Err(format!("begins with {scheme}://, which is none of unix://, tcp://, https:// and ssh://"))
            }
        }
    }
}

impl Remote {
    fn parse(rest: &str) -> Result<Self, String> {
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (user, location) = match authority.rsplit_once('@') {
            Some((user, location)) => (Some(user), location),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.is_empty() || user.contains(':')) {
            return Err("has a user that ssh can't be given; a password belongs to ssh's own keys".to_owned());
        }
        let (host, port) = host_and_port(location)?;
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        // A shell over there reads it.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        if !path.bytes().all(plain) {
            return Err(
                "has a socket's path with other characters than letters, digits and `/._-`".to_owned()
            );
        }
        let socket = Some(path).filter(|path| !matches!(*path, "" | "/")).map(str::to_owned);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { user: user.map(str::to_owned), host, port, socket })
    }
}

/// Host and port of a URL without a path.
fn authority(rest: &str, default_port: u16) -> Result<String, String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = host_and_port(rest)?;
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(format!("{host}:{}", port.unwrap_or(default_port)))
}

/// The host keeps the brackets of an IPv6 address.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let after_brackets = text.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match text[after_brackets..].find(':') {
        Some(colon) => (&text[..after_brackets + colon], Some(&text[after_brackets + colon + 1..])),
        None => (text, None),
    };
    if !is_host(host) {
        return Err(format!("has `{host}` in the place of a host"));
    }
    let port = port.map(|port| port.parse().map_err(|_| format!("has `{port}` in the place of a port")));
    Ok((host, port.transpose()?))
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        return inside.strip_suffix(']').is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.starts_with('-') && host.bytes().all(plain)
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Address::Tcp { authority } | Address::Tls { authority, .. } => {
                write!(formatter, "tcp://{authority}")
            }
            Address::Ssh(remote) => write!(formatter, "ssh://{remote}"),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(formatter, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(formatter, "[{}]", self.host)?,
            false => write!(formatter, "{}", self.host)?,
        }
        if let Some(port) = self.port {
            write!(formatter, ":{port}")?;
        }
        write!(formatter, "{}", self.socket.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        Address::parse(text, Tls { wanted: false, certificates: Path::new("/certificates") })
    }

    fn parse_with_tls(text: &str) -> Result<Address, String> {
        Address::parse(text, Tls { wanted: true, certificates: Path::new("/certificates") })
    }

    fn tcp(authority: &str) -> Address {
        Address::Tcp { authority: authority.to_owned() }
    }

    fn tls(authority: &str) -> Address {
        Address::Tls { authority: authority.to_owned(), certificates: "/certificates".into() }
    }

    #[test]
    fn a_socket_is_written_with_or_without_its_scheme() {
        assert_eq!(parse("unix:///run/a b.sock").unwrap(), Address::Unix("/run/a b.sock".into()));
        assert_eq!(parse("/run/docker.sock").unwrap(), Address::Unix("/run/docker.sock".into()));
        assert_eq!(parse("unix://").unwrap(), Address::Unix(DEFAULT_SOCKET.into()));
        assert_eq!(parse("unix://docker.sock").unwrap_err(), "is not an absolute path");
    }

    #[test]
    fn a_host_gets_dockers_port_where_none_is_named() {
        assert_eq!(parse("tcp://build:1234").unwrap(), tcp("build:1234"));
        assert_eq!(parse("tcp://build").unwrap(), tcp("build:2375"));
        assert_eq!(parse("tcp://").unwrap(), tcp("localhost:2375"));
        assert_eq!(parse("build:1234").unwrap(), tcp("build:1234"));
        assert_eq!(parse("tcp://[::1]:5/").unwrap(), tcp("[::1]:5"));
        assert_eq!(parse("http://build").unwrap(), tcp("build:80"));
        assert_eq!(parse_with_tls("tcp://build").unwrap(), tls("build:2376"));
        assert_eq!(parse_with_tls("build:1").unwrap(), tls("build:1"));
        assert_eq!(parse("https://build").unwrap(), tls("build:443"));
    }

    #[test]
    fn what_ssh_needs_is_taken_apart() {
        let Address::Ssh(remote) = parse("ssh://me@build:2222/run/user/1/docker.sock").unwrap() else {
            panic!("not ssh");
        };
        assert_eq!(remote.user.as_deref(), Some("me"));
        assert_eq!(remote.host, "build");
        assert_eq!(remote.port, Some(2222));
        assert_eq!(remote.socket.as_deref(), Some("/run/user/1/docker.sock"));
    }

    #[test]
    fn what_can_not_be_dialled_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "is empty"),
            ("fd://3", "is for the daemon's own use: give the socket's path, unix://…"),
            ("npipe:////./pipe/docker_engine", "is a named pipe of Windows, which is not supported"),
            ("ftp://x", "begins with ftp://, which is none of unix://, tcp://, https:// and ssh://"),
            ("tcp://build:http", "has `http` in the place of a port"),
            ("tcp://build/base", "has `build/base` in the place of a host"),
            ("tcp://me@build", "has `me@build` in the place of a host"),
            ("ssh://-oProxyCommand=x", "has `-oProxyCommand=x` in the place of a host"),
            ("ssh://", "names no host"),
            (
                "ssh://me:secret@build",
                "has a user that ssh can't be given; a password belongs to ssh's own keys",
            ),
            (
                "ssh://build/$(reboot)",
                "has a socket's path with other characters than letters, digits and `/._-`",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_shown_can_be_given_again(
            scheme in prop::sample::select(vec!["unix:///", "tcp://", "ssh://", "", "/"]),
            rest in "[a-z@:/.\\[\\]0-9-]{0,12}",
        ) {
            if let Ok(address) = parse(&format!("{scheme}{rest}")) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }
    }
}
