//! The flags of a container, by docker's own names where docker has one. Owns the reading of their values and
//! which option of the executor each one is. What values a container can have is checked by the executor.

use std::path::{Path, PathBuf};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use stockade::{DeviceRequest, DockerCommandLineCodeExecutorBuilder, Pull, Volume, WorkspaceMode};

use super::limits::parse_size;

/// AutoGen's, and the executor's.
const DEFAULT_IMAGE: &str = "python:3-slim";

/// That there is a container: what every command takes that can start one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Container")]
pub(crate) struct DockerArgs {
    /// Run in a Docker container: short for --executor docker
    #[arg(long)]
    docker: bool,

    /// The container's image; implies --docker [default: python:3-slim]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// The Docker daemon, as in DOCKER_HOST [default: DOCKER_HOST, the docker context, the usual sockets]
    #[arg(long, value_name = "ADDRESS")]
    docker_host: Option<String>,
}

impl DockerArgs {
    /// Whether any of it means a container.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.docker || self.image.is_some()
    }

    pub(crate) fn image(&self) -> &str {
        self.image.as_deref().unwrap_or(DEFAULT_IMAGE)
    }

    /// The executor with what was asked for.
    pub(crate) fn apply(
        &self,
        executor: DockerCommandLineCodeExecutorBuilder,
    ) -> DockerCommandLineCodeExecutorBuilder {
        let executor = executor.image(self.image());
        match &self.docker_host {
            Some(address) => executor.daemon(address),
            None => executor,
        }
    }
}

/// What the container is like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Container")]
pub(crate) struct ContainerArgs {
    /// When the image is pulled [default: missing]
    #[arg(long, value_name = "WHEN", value_parser = parse_pull())]
    pull: Option<Pull>,

    /// The image's platform, where it has several: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// Who runs the blocks: a user of the image, or UID[:GID] [default: root]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Mount a directory or a volume; repeatable
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]", value_parser = parse_volume)]
    volume: Vec<Volume>,

    /// The GPUs: all, a number, or device=ID,ID
    #[arg(long = "gpus", value_name = "GPUS")]
    device_request: Option<DeviceRequest>,

    /// Run this shell command first; the run fails when it does
    #[arg(long, value_name = "COMMAND")]
    init_command: Option<String>,

    /// The container's name [default: one is made up]
    #[arg(long = "name", value_name = "NAME")]
    container_name: Option<String>,

    /// Keep the container for inspection; the next run of the same --name and --work-dir goes on in it
    #[arg(long)]
    keep_container: bool,

    /// Leave the container behind, stopped
    #[arg(long)]
    no_rm: bool,

    /// How the work directory gets into the container [default: bind where the daemon sees it]
    #[arg(long, value_name = "MODE", value_parser = parse_workspace())]
    workspace: Option<WorkspaceMode>,

    /// The work directory's path on the daemon's host, when that is another
    #[arg(long, value_name = "DIR", requires = "work_dir")]
    bind_dir: Option<PathBuf>,

    /// Remove the files of blocks that named none
    #[arg(long)]
    delete_tmp_files: bool,

    /// Deny all that blocks can do without: no network, no root, no capability, read-only but for the work directory,
    /// with limits of memory (1g), CPUs (2) and processes (256)
    #[arg(long)]
    lockdown: bool,

    /// Make the image's files read-only; the work directory is not
    #[arg(long)]
    read_only: bool,

    /// Give the container a capability, such as NET_RAW; repeatable
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Take a capability from the container; repeatable
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// A security option of the daemon's, such as no-new-privileges=false, for sudo; repeatable
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// The size of /dev/shm [default: the daemon's, 64m]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shm_size: Option<u64>,

    /// Add a line to /etc/hosts; repeatable
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse_host)]
    add_host: Vec<Pair>,

    /// Label the container; repeatable
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse_label)]
    label: Vec<Pair>,

    /// The container runtime: runsc, kata [default: the daemon's]
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<String>,
}

/// A name and what belongs to it.
type Pair = (String, String);

impl ContainerArgs {
    /// Whether the container is still there after the run.
    pub(crate) fn container_stays(&self) -> bool {
        self.keep_container || self.no_rm
    }

    /// The executor with what was asked for.
    pub(crate) fn apply(
        &self,
        mut executor: DockerCommandLineCodeExecutorBuilder,
    ) -> DockerCommandLineCodeExecutorBuilder {
        set_given! {
            self, executor, pull, platform, user, volume, device_request, init_command,
            container_name, workspace, bind_dir, cap_add, cap_drop, security_opt, shm_size, runtime,
        }
        executor = self.add_host.iter().fold(executor, |executor, (name, to)| executor.extra_host(name, to));
        executor = self.label.iter().fold(executor, |executor, (name, value)| executor.label(name, value));
        executor
            .stop_container(!self.keep_container)
            .auto_remove(!self.no_rm)
            .delete_tmp_files(self.delete_tmp_files)
            .read_only(self.read_only)
            .lockdown(self.lockdown)
    }
}

fn parse_pull() -> impl TypedValueParser<Value = Pull> {
    PossibleValuesParser::new(["missing", "always", "never"]).try_map(|text| text.parse::<Pull>())
}

fn parse_workspace() -> impl TypedValueParser<Value = WorkspaceMode> {
    PossibleValuesParser::new(["bind", "copy"]).map(|text| match text.as_str() {
        "copy" => WorkspaceMode::Copy,
        _ => WorkspaceMode::Bind,
    })
}

/// Reads a volume. As for docker, a source that looks like a path is one, and a relative one is meant from
/// here.
fn parse_volume(text: &str) -> Result<Volume, String> {
    let is_path = |source: &str| source.starts_with('.') || source.contains('/');
    let text = match text.split_once(':') {
        Some((source, rest)) if is_path(source) => format!("{}:{rest}", absolute(source)?),
        _ => text.to_owned(),
    };
    text.parse::<Volume>().map_err(|error| error.to_string())
}

fn absolute(path: &str) -> Result<String, String> {
    // Where it exists, its `..` are what the file system makes of them.
    let absolute = Path::new(path).canonicalize().or_else(|_| std::path::absolute(path));
    let absolute = absolute.map_err(|error| format!("the current directory is not to be found: {error}"))?;
    absolute.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// Reads `NAME:ADDRESS`; the address may have colons of its own.
fn parse_host(text: &str) -> Result<Pair, String> {
    match text.split_once(':') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => Err("give NAME:ADDRESS, such as db:10.0.0.5 or host.docker.internal:host-gateway".to_owned()),
    }
}

/// Reads `NAME=VALUE`, or `NAME` alone.
fn parse_label(text: &str) -> Result<Pair, String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err("a label needs a name".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_that_looks_like_a_path_is_meant_from_here() {
        let here = std::env::current_dir().expect("there is one").canonicalize().expect("it is there");
        let here = here.to_str().expect("it is UTF-8");
        let parsed = |text: &str| parse_volume(text).expect("it is a volume");
        assert_eq!(parsed("./none:/data"), Volume::new(format!("{here}/none"), "/data"));
        assert_eq!(parsed("no/ne:/data:ro"), Volume::new(format!("{here}/no/ne"), "/data").read_only());
        assert_eq!(parsed(".:/data"), Volume::new(here, "/data"));
        assert_eq!(parsed("src/..:/data"), Volume::new(here, "/data"));
    }

    #[test]
    fn source_that_is_absolute_or_a_name_is_meant_as_it_is() {
        assert_eq!(parse_volume("/no/ne:/data"), Ok(Volume::new("/no/ne", "/data")));
        assert_eq!(parse_volume("cache:/data"), Ok(Volume::new("cache", "/data")));
        for text in ["", "cache", "/data", "./x:data", "./x:/data:rx"] {
            assert!(parse_volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_split_at_their_first_sign() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_host("db:::1"), pair("db", "::1"));
        assert_eq!(parse_label("a=b=c"), pair("a", "b=c"));
        assert_eq!(parse_label("a"), pair("a", ""));
        assert!(parse_host("db").is_err() && parse_host(":1").is_err() && parse_host("db:").is_err());
        assert!(parse_label("=b").is_err());
    }
}
