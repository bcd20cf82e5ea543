//! `stockade ps` and `stockade prune`: the containers of sessions at a daemon. Owns how they are told of;
//! which of them nobody needs is the library's to know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use stockade::{Life, SessionContainer, prune_session_containers, session_containers};

use crate::{
    args::DaemonArgs,
    error::Error,
    render::{self, BAD, BOLD, DIM, GOOD, PLAIN},
    runtime,
    table::Table,
    terminal::visible,
};

const NONE: &str = "No container of a session is there.\n";

/// Lists the containers of sessions; the exit status.
pub(crate) fn ps(args: &DaemonArgs) -> u8 {
    let found = runtime::block_on(session_containers(args.docker_host.as_deref()));
    render::status(found.and_then(|found| {
        let found = found?;
        if args.json { render::print_json(&found) } else { render::print_text(&listing(&found)) }
    }))
}

/// Removes the containers that nobody needs, and says which it left; the exit status.
pub(crate) fn prune(args: &DaemonArgs) -> u8 {
    let pruned = runtime::block_on(Pruned::prune(args.docker_host.as_deref()));
    render::status(pruned.and_then(|pruned| {
        let pruned = pruned?;
        if args.json { render::print_json(&pruned) } else { render::print_text(&pruned.text()) }
    }))
}

fn listing(found: &[SessionContainer]) -> String {
    if found.is_empty() {
        return NONE.to_owned();
    }
    let mut table = Table::default();
    let titles = ["NAME", "IMAGE", "STATE", "OWNER", "CREATED", "WORK DIR"];
    table.row(titles.map(|title| (BOLD, title.to_owned())).into());
    for container in found {
        table.row(vec![
            (PLAIN, visible(&container.name).into_owned()),
            (PLAIN, visible(&container.image).into_owned()),
            (if container.state == "running" { GOOD } else { DIM }, visible(&container.state).into_owned()),
            (PLAIN, owner(container)),
            (DIM, age(container.created)),
            (PLAIN, visible(&container.work_dir).into_owned()),
        ]);
    }
    table.to_string()
}

fn owner(container: &SessionContainer) -> String {
    let life = match container.owner {
        Life::Alive => "alive",
        Life::Dead => "dead",
        // Of another host or container.
        _ => "elsewhere",
    };
    let lingers = if container.lingers { ", lingers" } else { "" };
    format!("{} {life}{lingers}", container.owner_pid)
}

/// How long ago something was made, given in seconds since 1970.
fn age(created: i64) -> String {
    let created = UNIX_EPOCH + Duration::from_secs(u64::try_from(created).unwrap_or_default());
    let seconds = SystemTime::now().duration_since(created).unwrap_or_default().as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit} ago")
}

/// What a pruning did.
#[derive(Debug, Serialize)]
struct Pruned {
    removed: Vec<SessionContainer>,
    left: Vec<Left>,
}

/// A container that is still there.
#[derive(Debug, Serialize)]
struct Left {
    #[serde(flatten)]
    container: SessionContainer,
    why: String,
}

impl Pruned {
    async fn prune(daemon: Option<&str>) -> Result<Self, Error> {
        let removed = prune_session_containers(daemon).await?;
        let left = session_containers(daemon).await?.into_iter();
        let left = left.map(|container| Left { why: reason_to_stay(&container), container }).collect();
        Ok(Self { removed, left })
    }

    fn text(&self) -> String {
        if self.removed.is_empty() && self.left.is_empty() {
            return NONE.to_owned();
        }
        let mut table = Table::default();
        for container in &self.removed {
            let why = format!("its owner, process {}, is dead", container.owner_pid);
            table.row(vec![
                (BAD, "removed".into()),
                (PLAIN, visible(&container.name).into_owned()),
                (DIM, why),
            ]);
        }
        for Left { container, why } in &self.left {
            table.row(vec![
                (GOOD, "left".into()),
                (PLAIN, visible(&container.name).into_owned()),
                (DIM, visible(why).into_owned()),
            ]);
        }
        table.to_string()
    }
}

/// Why a pruning leaves a container.
fn reason_to_stay(container: &SessionContainer) -> String {
    let SessionContainer { name, owner_pid, .. } = container;
    match container.owner {
        _ if container.lingers => {
            format!("it lingers for a next session; `docker rm -f {name}` removes it")
        }
        Life::Alive => format!("its owner, process {owner_pid}, is alive"),
        Life::Dead => "it is being removed".to_owned(),
        _ => format!(
            "its owner, process {owner_pid} elsewhere, can't be seen from here; `docker rm -f {name}` removes it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_their_largest_unit() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
        let said = |ago: u64| age(i64::try_from(now - ago).expect("it fits"));
        assert_eq!(said(5 * 60 + 30), "5 min ago");
        assert_eq!(said(3 * 3600 + 30), "3 h ago");
        assert_eq!(said(50 * 3600), "2 d ago");
        // A clock of another machine may be ahead.
        assert_eq!(age(i64::MAX), "0 s ago");
        assert!(age(-1).ends_with(" d ago"));
    }
}
