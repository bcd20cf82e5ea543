//! The containers that Stockade has at a daemon, of whatever process: listing them, and removing those that nobody
//! needs. Owns the rule that only what is provably dead is removed.

use std::collections::HashMap;

use bollard::{
    Docker,
    errors::Error as DockerError,
    models::{ContainerSummary, ContainerSummaryStateEnum},
    query_parameters::ListContainersOptionsBuilder,
};
use serde::Serialize;

use super::{
    container, daemon,
    owner::{self, Life, Owner},
};
use crate::{
    error::{Error, Result},
    io_thread,
};

/// A container of a session, of this process or another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionContainer {
    /// The id that the daemon gave it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image that it was made from, as it was asked for.
    pub image: String,
    /// `created`, `running`, `paused`, `exited` or `dead`, as the daemon says.
    pub state: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The work_dir of its session, on its owner's host.
    pub work_dir: String,
    /// The process that started it, by its own count.
    pub owner_pid: u32,
    /// Whether that process lives.
    pub owner: Life,
    /// It outlives its sessions and can be gone on with.
    pub lingers: bool,
}

impl SessionContainer {
    /// What the daemon says of one of its containers; `None` when it is none of ours.
    fn from_summary(summary: ContainerSummary, here: &Owner) -> Option<Self> {
        let labels = summary.labels.unwrap_or_default();
        let owner = Owner::from_labels(&labels)?;
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        Some(Self {
            id: summary.id?,
            name: name.trim_start_matches('/').to_owned(),
            image: labels.get(owner::IMAGE).cloned().unwrap_or_default(),
            state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
            created: summary.created.unwrap_or_default(),
            work_dir: labels.get(owner::WORK_DIR).cloned().unwrap_or_default(),
            owner_pid: owner.pid(),
            owner: owner.life(here),
            lingers: labels.contains_key(owner::TOKEN),
        })
    }

    /// Whether nobody needs it: its owner is dead, and it does not wait for a next one.
    fn is_left_over(&self) -> bool {
        let waits = self.lingers && ["running", "paused"].contains(&self.state.as_str());
        self.owner == Life::Dead && !waits
    }
}

/// The containers of sessions at a daemon, the youngest first. `daemon` is its address, as in `DOCKER_HOST`; by default
/// it is looked for as an executor does.
///
/// # Errors
///
/// [`Error::DaemonUnreachable`] and [`Error::Container`].
pub async fn session_containers(daemon: Option<&str>) -> Result<Vec<SessionContainer>> {
    on_io_thread(daemon, |docker| async move { list(&docker, None).await }).await
}

/// Removes containers of sessions whose owner is provably dead, and gives those that it removed. Left alone are those
/// of processes that live or can't be seen from here, and those that linger for a next session.
///
/// # Errors
///
/// As [`session_containers`].
pub async fn prune_session_containers(daemon: Option<&str>) -> Result<Vec<SessionContainer>> {
    on_io_thread(daemon, |docker| async move {
        let mut removed = Vec::new();
        for found in list(&docker, None).await?.into_iter().filter(SessionContainer::is_left_over) {
            match container::remove(&docker, &found.id).await {
                Ok(()) => removed.push(found),
                // Somebody else removed it, or it is being removed.
                Err(DockerError::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
                Err(error) => return Err(failed(&format!("remove the container {}", found.name), &error)),
            }
        }
        Ok(removed)
    })
    .await
}

/// Removes what was created by processes that died before they started it.
pub(super) async fn sweep(docker: &Docker) {
    let created = list(docker, Some(ContainerSummaryStateEnum::CREATED)).await.unwrap_or_default();
    for found in created.into_iter().filter(SessionContainer::is_left_over) {
        let _ = container::remove(docker, &found.id).await;
    }
}

async fn list(docker: &Docker, state: Option<ContainerSummaryStateEnum>) -> Result<Vec<SessionContainer>> {
    let mut filters = HashMap::from([("label", vec![owner::SESSION.to_owned()])]);
    if let Some(state) = state {
        filters.insert("status", vec![state.to_string()]);
    }
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await;
    let found = found.map_err(|error| failed("list the containers of sessions", &error))?;
    let here = Owner::this();
    Ok(found.into_iter().filter_map(|summary| SessionContainer::from_summary(summary, &here)).collect())
}

fn failed(doing: &str, error: &DockerError) -> Error {
    Error::Container { doing: doing.to_owned(), why: super::reason(error), hint: None }
}

/// Connects and works on the library's own thread: its streams live there, whatever runtime the caller has.
async fn on_io_thread<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    daemon: Option<&str>,
    work: impl FnOnce(Docker) -> F + Send + 'static,
) -> Result<T> {
    let daemon = daemon.map(str::to_owned);
    let io = io_thread::handle().map_err(|error| Error::start("start a thread for the daemon", error))?;
    let task = io.spawn(async move { work(daemon::connect(daemon.as_deref()).await?.docker).await });
    let ended = |error| Error::start("hear from the daemon", error);
    tokio_util::task::AbortOnDropHandle::new(task).await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(owner: Life, state: &str, lingers: bool) -> SessionContainer {
        SessionContainer {
            id: "1".into(),
            name: "n".into(),
            image: "i".into(),
            state: state.into(),
            created: 0,
            work_dir: "/w".into(),
            owner_pid: 1,
            owner,
            lingers,
        }
    }

    #[test]
    fn only_what_a_dead_process_left_is_left_over() {
        assert!(found(Life::Dead, "created", false).is_left_over());
        assert!(found(Life::Dead, "exited", true).is_left_over());
        assert!(!found(Life::Dead, "running", true).is_left_over());
        assert!(!found(Life::Alive, "exited", false).is_left_over());
        assert!(!found(Life::Unknown, "created", false).is_left_over());
    }

    #[test]
    fn a_container_without_our_labels_is_none_of_ours() {
        let summary = ContainerSummary { id: Some("1".into()), ..ContainerSummary::default() };
        assert_eq!(SessionContainer::from_summary(summary, &Owner::this()), None);
    }
}
