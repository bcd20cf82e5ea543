//! Podman beside whatever daemon an executor would find: its service's sockets, and its command. Owns where these are
//! looked for; it starts no service.

use std::path::PathBuf;

use super::{
    super::{AskError, Finding, PROGRAM, State, Subject, ask},
    PODMAN, answer,
};
use crate::executor::docker::daemon::{Daemon, connect, runtime_dir};

/// What there is of it.
#[derive(Debug)]
pub(super) enum Podman {
    /// A service answers, there.
    Service(String),
    /// The command is there, of this version, and no service.
    Command(String),
    /// The command is there and fails.
    Broken(String),
    Missing(String),
}

impl Podman {
    pub(super) async fn find() -> Self {
        for socket in sockets() {
            let socket = format!("unix://{}", socket.display());
            let Ok(Daemon { docker, address, .. }) = connect(Some(&socket)).await else { continue };
            let version = answer(docker.version()).await.ok().and_then(|version| version.version);
            return Self::Service(format!("{PODMAN} {} at {address}", version.unwrap_or_default()));
        }
        match ask("podman", &["--version"], PROGRAM).await {
            Ok(version) => Self::Command(version),
            Err(AskError::Failed(why)) => Self::Broken(why),
            Err(AskError::NotRun(why)) => Self::Missing(why),
        }
    }

    /// `named` is where an executor would find its service.
    pub(super) fn finding(&self, named: Option<String>) -> Finding {
        const NAME: &str = "service";
        let lacking = |state, detail: &str, why: &str, fix: &str| {
            Finding::lacking(Subject::Podman, NAME, state, detail, why, fix)
        };
        match (named.as_ref(), self) {
            (Some(place), _) | (None, Self::Service(place)) => {
                Finding::enforced(Subject::Podman, NAME, place.as_str())
            }
            (None, Self::Command(version)) => lacking(
                State::Degraded,
                version,
                "no service of it answers, and an executor needs one",
                "`systemctl --user start podman.socket` (root: `systemctl start podman.socket`), or `podman system \
                 service --time 0`",
            ),
            (None, Self::Broken(why)) => lacking(
                State::Degraded,
                "its command fails, and no service answers",
                why,
                "see what `podman info` says, as the user that runs this",
            ),
            (None, Self::Missing(why)) => lacking(
                State::Absent,
                "not found",
                why,
                "`apt-get install podman`, and `systemctl --user start podman.socket`",
            ),
        }
    }
}

/// Of this user's service, and of root's.
fn sockets() -> Vec<PathBuf> {
    let own = runtime_dir().map(|directory| directory.join("podman/podman.sock"));
    own.into_iter().chain(["/run/podman/podman.sock".into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_there_when_the_daemon_is_podman() {
        let missing = Podman::Missing("podman: no such file".to_owned());
        assert_eq!(missing.finding(None).state, State::Absent);
        assert_eq!(missing.finding(Some("Podman 5 at a socket".to_owned())).state, State::Enforced);
        assert_eq!(Podman::Broken("no home".to_owned()).finding(None).state, State::Degraded);
        assert_eq!(Podman::Command("podman version 5".to_owned()).finding(None).state, State::Degraded);
    }
}
