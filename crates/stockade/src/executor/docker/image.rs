//! The image that a container is made of. Owns having it at the daemon: looking there, pulling it with the
//! user's credentials, and the reasons why it can't be had. A daemon tells reasons in words, so they are
//! recognized here, once.

mod credentials;
mod platform;
mod progress;
mod reason;
mod reference;

use std::{
    fmt,
    future::poll_fn,
    path::Path,
    pin::{Pin, pin},
    str::FromStr,
    time::Duration,
};

use bollard::{
    Docker, errors::Error as DockerError, models::ImageInspect, query_parameters::CreateImageOptionsBuilder,
};
use futures_core::Stream;

use platform::{LINUX, Platform, architecture, in_rust};
use progress::Progress;
pub use progress::PullProgress;
use reason::Reason;
use reference::{DOCKER_HUB, Reference};

use super::daemon::Surroundings;

/// How long the daemon may be silent about a pull before its first word: registries are tried again and
/// again.
const FIRST_WORD: Duration = Duration::from_secs(600);

/// When an image is pulled from its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pull {
    /// When the daemon does not have it, or has it for another platform than the one asked for.
    #[default]
    Missing,
    /// At each start, so that a tag that has moved is followed. What has not changed is not downloaded again.
    Always,
    /// Never: the start fails when the daemon does not have it.
    Never,
}

impl FromStr for Pull {
    type Err = ParsePullError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "missing" => Ok(Pull::Missing),
            "always" => Ok(Pull::Always),
            "never" => Ok(Pull::Never),
            _ => Err(ParsePullError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Pull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Pull::Missing => "missing",
            Pull::Always => "always",
            Pull::Never => "never",
        })
    }
}

/// The text is none of `missing`, `always` and `never`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of missing, always and never")]
pub struct ParsePullError {
    text: String,
}

/// An image that the daemon has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its content's hash, which goes on to mean this image when the name is given to another.
    pub(crate) id: String,
    /// As Rust names it.
    pub(crate) architecture: String,
}

/// The image can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    /// No image can have the name.
    #[error("get the image {image}: its name {why}")]
    Name { image: String, why: &'static str },
    /// The platform is not written as Docker writes one.
    #[error("get the image {image}: `{platform}` is not a platform of Linux")]
    Platform { image: String, platform: String },
    /// The daemon does not have it and may not pull it.
    #[error("get the image {image}: the daemon does not have it, and pull is never")]
    NotPulled { image: String },
    /// The daemon does not have it, and an id is in no registry.
    #[error("get the image {image}: the daemon does not have it, and images can't be pulled by id")]
    UnknownId { image: String },
    /// It is there, or in the registry, for other platforms only.
    #[error("get the image {image}: {said}")]
    OtherPlatform { image: String, said: String },
    /// The registry does not know it.
    #[error("get the image {image}: no such image: {said}")]
    NotFound { image: String, said: String },
    /// The registry does not give it to this user, or does not know it: some don't say which.
    #[error("get the image {image}: {registry} denies it: {said}")]
    Denied { image: String, registry: String, with_credentials: bool, said: String },
    /// The registry gives this user no more for now.
    #[error("get the image {image}: {registry} has had too many requests: {said}")]
    TooManyRequests { image: String, registry: String, said: String },
    /// The registry did not answer.
    #[error("get the image {image}: the daemon can't reach {registry}: {said}")]
    NoRegistry { image: String, registry: String, said: String },
    /// Podman knows no registry for a name without one.
    #[error("get the image {image}: {said}")]
    ShortName { image: String, said: String },
    /// The daemon failed for another reason.
    #[error("get the image {image}: {said}")]
    Daemon { image: String, said: String },
    /// The daemon did not answer.
    #[error("get the image {image}: {source}")]
    NoDaemon { image: String, source: DockerError },
}

impl ImageError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            ImageError::Name { .. } => {
                "images are called like python:3-slim or ghcr.io/owner/name:tag".to_owned()
            }
            ImageError::Platform { .. } => "platforms are called like linux/amd64 or linux/arm64".to_owned(),
            ImageError::NotPulled { image } => {
                format!("`docker pull {image}` first, or let it be pulled when missing")
            }
            ImageError::UnknownId { .. } => "`docker images` lists what the daemon has".to_owned(),
            ImageError::OtherPlatform { .. } => {
                "choose another image or platform, or let the image be pulled".to_owned()
            }
            ImageError::NotFound { .. } => "check the image's name and tag".to_owned(),
            ImageError::Denied { registry, with_credentials: true, .. } => format!(
                "check the image's name, and whether the credentials are still valid: `{}`",
                login(registry)
            ),
            ImageError::Denied { registry, .. } => {
                format!("check the image's name; if it is a private image: `{}`", login(registry))
            }
            ImageError::TooManyRequests { registry, .. } => {
                format!("wait, or log in, which allows for more: `{}`", login(registry))
            }
            ImageError::NoRegistry { .. } => {
                "check the daemon's network and proxy, or bring the image to it by `docker load`".to_owned()
            }
            ImageError::ShortName { image, .. } => {
                format!("name the registry too: docker.io/library/{image}, or what it is")
            }
            ImageError::Daemon { said, .. } if said.contains("no space left") => {
                "free some space where the daemon keeps its images: `docker system prune`".to_owned()
            }
            ImageError::NoDaemon { .. } => "see whether `docker version` gets an answer".to_owned(),
            ImageError::Daemon { .. } => return None,
        };
        Some(hint)
    }
}

fn login(registry: &str) -> String {
    if registry == DOCKER_HUB { "docker login".to_owned() } else { format!("docker login {registry}") }
}

/// Sees to it that the daemon has the image, for the platform (`linux/arm64`) if one is asked for. `progress`
/// is told how far a pull has come. An id is never pulled, for no registry knows it.
pub(crate) async fn ensure(
    docker: &Docker,
    image: &str,
    pull: Pull,
    platform: Option<&str>,
    progress: Option<&(dyn Fn(PullProgress) + Send + Sync)>,
) -> Result<Image, ImageError> {
    let config_dir = Surroundings::from_env().config_dir;
    let wanted = Wanted::new(image, platform)?;
    wanted.ensure(docker, pull, progress, config_dir.as_deref()).await
}

/// What is asked for.
struct Wanted<'a> {
    /// As the user wrote it, for messages.
    image: &'a str,
    reference: Reference,
    platform: Option<Platform>,
}

impl<'a> Wanted<'a> {
    fn new(image: &'a str, platform: Option<&str>) -> Result<Self, ImageError> {
        let reference =
            Reference::parse(image).map_err(|why| ImageError::Name { image: image.to_owned(), why })?;
        let platform = platform.map(|text| {
            let invalid = || ImageError::Platform { image: image.to_owned(), platform: text.to_owned() };
            Platform::parse(text).ok_or_else(invalid)
        });
        Ok(Self { image, reference, platform: platform.transpose()? })
    }

    async fn ensure(
        &self,
        docker: &Docker,
        pull: Pull,
        progress: Option<&(dyn Fn(PullProgress) + Send + Sync)>,
        config_dir: Option<&Path>,
    ) -> Result<Image, ImageError> {
        let present = self.inspect(docker).await?;
        let Some(registry) = self.reference.registry() else {
            let present = present.ok_or_else(|| ImageError::UnknownId { image: self.image.to_owned() })?;
            return self.accept(present, false);
        };
        match (pull, present) {
            (Pull::Never, None) => return Err(ImageError::NotPulled { image: self.image.to_owned() }),
            (Pull::Never, Some(present)) => return self.accept(present, false),
            (Pull::Missing, Some(present)) if self.suits(&present) => return self.accept(present, false),
            (Pull::Missing | Pull::Always, _) => {}
        }
        self.pull(docker, registry, progress, config_dir).await?;
        let gone = || self.daemon("the daemon pulled it and does not have it".to_owned());
        let pulled = self.inspect(docker).await?.ok_or_else(gone)?;
        self.accept(pulled, true)
    }

    async fn inspect(&self, docker: &Docker) -> Result<Option<ImageInspect>, ImageError> {
        match docker.inspect_image(self.reference.as_str()).await {
            Ok(found) => Ok(Some(found)),
            Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(DockerError::DockerResponseServerError { message, .. }) => Err(self.daemon(message)),
            Err(source) => Err(ImageError::NoDaemon { image: self.image.to_owned(), source }),
        }
    }

    async fn pull(
        &self,
        docker: &Docker,
        registry: &str,
        progress: Option<&(dyn Fn(PullProgress) + Send + Sync)>,
        config_dir: Option<&Path>,
    ) -> Result<(), ImageError> {
        let credentials = credentials::find(registry, config_dir).await;
        let with_credentials = credentials.is_some();
        tracing::debug!(image = %self.reference, with_credentials, "pulling the image");
        let mut options = CreateImageOptionsBuilder::default().from_image(self.reference.as_str());
        if let Some(platform) = &self.platform {
            options = options.platform(&platform.text);
        }
        let docker = credentials::in_the_daemons_alphabet(docker).with_timeout(FIRST_WORD);
        let mut told = pin!(docker.create_image(Some(options.build()), None, credentials));
        let mut sums = Progress::default();
        let mut status = String::new();
        let report = |so_far| {
            if let Some(progress) = progress {
                progress(so_far);
            }
        };
        while let Some(next) = next(told.as_mut()).await {
            let told = next.map_err(|error| self.failed_to_pull(error, registry, with_credentials))?;
            let so_far = sums.update(told);
            status.clone_from(&so_far.status);
            report(so_far);
        }
        report(sums.finish(status));
        Ok(())
    }

    fn failed_to_pull(&self, error: DockerError, registry: &str, with_credentials: bool) -> ImageError {
        let said = match error {
            DockerError::DockerStreamError { error } => error,
            DockerError::DockerResponseServerError { message, .. } => message,
            source => return ImageError::NoDaemon { image: self.image.to_owned(), source },
        };
        let (image, registry, said) = (self.image.to_owned(), registry.to_owned(), said.trim().to_owned());
        match Reason::of(&said) {
            Some(Reason::TooManyRequests) => ImageError::TooManyRequests { image, registry, said },
            Some(Reason::OtherPlatform) => ImageError::OtherPlatform { image, said },
            Some(Reason::ShortName) => ImageError::ShortName { image, said },
            Some(Reason::NotFound) => ImageError::NotFound { image, said },
            Some(Reason::Denied) => ImageError::Denied { image, registry, with_credentials, said },
            Some(Reason::NoRegistry) => ImageError::NoRegistry { image, registry, said },
            None => ImageError::Daemon { image, said },
        }
    }

    fn daemon(&self, said: String) -> ImageError {
        ImageError::Daemon { image: self.image.to_owned(), said }
    }

    fn suits(&self, found: &ImageInspect) -> bool {
        self.platform.as_ref().is_none_or(|platform| platform.is_that_of(found))
    }

    /// The image, unless it is for another platform. A store that keeps an image for several platforms tells
    /// of one alone, the daemon's own if possible: what was pulled for the platform is then believed to be
    /// there.
    fn accept(&self, found: ImageInspect, pulled: bool) -> Result<Image, ImageError> {
        let keeps_several = found.descriptor.is_some();
        let os = found.os.as_deref().unwrap_or(LINUX);
        let architecture = match &self.platform {
            Some(platform) if pulled && keeps_several => platform.architecture.clone(),
            Some(_) if self.suits(&found) => architecture(&found),
            None if os == LINUX => architecture(&found),
            _ => return Err(self.other_platform(&found)),
        };
        let id = found.id.ok_or_else(|| self.daemon("the daemon does not tell its id".to_owned()))?;
        Ok(Image { id, architecture: in_rust(&architecture).to_owned() })
    }

    fn other_platform(&self, found: &ImageInspect) -> ImageError {
        let os = found.os.as_deref().unwrap_or(LINUX);
        let wanted = self.platform.as_ref().map_or(LINUX, |platform| &platform.text);
        let said = format!("the daemon has it for {os}/{}, not for {wanted}", architecture(found));
        ImageError::OtherPlatform { image: self.image.to_owned(), said }
    }
}

async fn next<S: Stream>(mut stream: Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

#[cfg(test)]
mod tests;
