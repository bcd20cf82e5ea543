//! Container daemons: what answers and what it says of itself, and a container with the defaults, tried from within.
//! Owns the asking. It never pulls: where the image is not there, it says so.

mod container;
mod daemon;
mod podman;

use std::time::Duration;

use bollard::{
    Docker,
    errors::Error as DockerError,
    models::{SystemInfo, SystemVersion},
};
use tokio::time::timeout;

pub(super) use self::container::CONTAINER;
use self::podman::Podman;
use super::{
    Finding, State, Subject,
    trial::{Attempt, Refusal, Trial},
};
use crate::{
    error::chain,
    executor::docker::daemon::{Daemon, connect},
};

/// How long the daemon may take for a question.
const ANSWER: Duration = Duration::from_secs(3);

/// What was found out of daemons.
#[derive(Debug)]
pub(super) struct Engines {
    docker: Result<Box<Answers>, Refusal>,
    podman: Podman,
    image: String,
}

/// What a daemon says, and what is there.
#[derive(Debug)]
struct Answers {
    /// Its address, and who named it.
    place: String,
    api: String,
    version: Result<SystemVersion, Refusal>,
    info: Result<SystemInfo, Refusal>,
    has_image: Result<bool, Refusal>,
    /// Where the image is there.
    container: Option<Result<Attempt, Refusal>>,
}

impl Engines {
    pub(super) async fn ask(address: Option<&str>, image: &str) -> Self {
        let (docker, podman) = tokio::join!(Answers::get(address, image), Podman::find());
        Self { docker, podman, image: image.to_owned() }
    }

    /// Of Docker, and of Podman. `plain` is what a block can do that nothing holds.
    pub(super) fn findings(&self, plain: Option<&Trial>) -> (Vec<Finding>, Finding) {
        match &self.docker {
            Ok(answers) => (answers.findings(&self.image, plain), self.podman.finding(answers.podman())),
            Err(Refusal { why, fix, .. }) => {
                let detail = "no daemon answers";
                let missing =
                    Finding::lacking(Subject::Docker, daemon::NAME, State::Absent, detail, why, fix);
                (vec![missing], self.podman.finding(None))
            }
        }
    }
}

impl Answers {
    async fn get(address: Option<&str>, image: &str) -> Result<Box<Self>, Refusal> {
        let Daemon { docker, address: at, origin } = connect(address)
            .await
            .map_err(|error| Refusal::new(format!("failed to {error}"), with_command(error.hint())))?;
        let (version, info, has_image) =
            tokio::join!(answer(docker.version()), answer(docker.info()), has_image(&docker, image));
        let container = match has_image {
            Ok(true) => Some(container::start(&at.to_string(), image).await),
            _ => None,
        };
        let place = format!("at {at}, by way of {origin}");
        let api = docker.client_version().to_string();
        Ok(Box::new(Self { place, api, version, info, has_image, container }))
    }

    /// Its name, version and place, if it is Podman's.
    fn podman(&self) -> Option<String> {
        let engine = self.engine();
        engine.starts_with(PODMAN).then(|| format!("{engine} {}", self.place))
    }

    /// Its name and version.
    fn engine(&self) -> String {
        let Ok(version) = &self.version else { return "a daemon".to_owned() };
        let components = version.components.as_deref().unwrap_or_default();
        let is_podman = components.iter().any(|component| component.name.starts_with(PODMAN));
        let name = if is_podman { PODMAN } else { "Docker" };
        format!("{name} {}", version.version.as_deref().unwrap_or("of an unknown version"))
    }

    fn findings(&self, image: &str, plain: Option<&Trial>) -> Vec<Finding> {
        let found = format!("{} {}, API {}", self.engine(), self.place, self.api);
        let mut findings = daemon::findings(&self.version, &self.info, found);
        findings.push(container::image(image, &self.has_image));
        findings.extend(container::findings(image, self.container.as_ref(), plain));
        findings
    }
}

const PODMAN: &str = "Podman";

/// Advice that names no command is about an address.
fn with_command(fix: String) -> String {
    if fix.contains('`') { fix } else { format!("{fix}; `docker context ls` lists those that Docker knows") }
}

/// An answer of the daemon's, in time.
async fn answer<T>(asked: impl Future<Output = Result<T, DockerError>>) -> Result<T, Refusal> {
    let fix = "see whether `docker info` gets an answer there";
    let refused = |why: String| Refusal::new(why, fix);
    match timeout(ANSWER, asked).await {
        Ok(answered) => answered.map_err(|error| refused(chain(&error))),
        Err(_) => Err(refused(format!("the daemon gave no answer within {} s", ANSWER.as_secs()))),
    }
}

async fn has_image(docker: &Docker, image: &str) -> Result<bool, Refusal> {
    answer(async {
        match docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await
}
