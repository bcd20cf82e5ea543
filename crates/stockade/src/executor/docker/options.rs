//! What a container can be asked for. Owns the builder, the options' types and the checks that need no daemon.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc};

use super::{
    DockerCommandLineCodeExecutor,
    hardening::check_pids_limit,
    image::{Pull, PullProgress},
    lockdown,
};
use crate::{
    error::{Error, Result},
    options::{SessionOptions, session_setters},
    session::WorkspaceMode,
};

/// AutoGen's.
pub(crate) const DEFAULT_IMAGE: &str = "python:3-slim";

/// Everything that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) session: SessionOptions,
    pub(super) daemon: Option<String>,
    pub(super) image: String,
    pub(super) pull: Pull,
    pub(super) on_pull: Option<OnPull>,
    pub(super) platform: Option<String>,
    pub(super) container_name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) auto_remove: bool,
    pub(super) stop_container: bool,
    pub(super) work_dir: Option<PathBuf>,
    pub(super) bind_dir: Option<PathBuf>,
    pub(super) workspace: Option<WorkspaceMode>,
    pub(super) init_command: Option<String>,
    pub(super) extra_volumes: Vec<Volume>,
    pub(super) extra_hosts: Vec<String>,
    pub(super) device_requests: Vec<DeviceRequest>,
    pub(super) user: Option<String>,
    pub(super) memory: Option<u64>,
    pub(super) cpus: Option<f64>,
    pub(super) pids_limit: Option<u32>,
    pub(super) shm_size: Option<u64>,
    pub(super) ulimits: Vec<Ulimit>,
    pub(super) network: Option<String>,
    pub(super) runtime: Option<String>,
    pub(super) read_only: bool,
    pub(super) cap_add: Vec<String>,
    pub(super) cap_drop: Vec<String>,
    pub(super) security_opt: Vec<String>,
    pub(super) lockdown: bool,
}

/// Who is told how a pull goes.
#[derive(Clone)]
pub(super) struct OnPull(pub(super) Arc<dyn Fn(PullProgress) + Send + Sync>);

impl fmt::Debug for OnPull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnPull")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session: SessionOptions::new(false),
            daemon: None,
            image: DEFAULT_IMAGE.to_owned(),
            pull: Pull::default(),
            on_pull: None,
            platform: None,
            container_name: None,
            labels: BTreeMap::new(),
            auto_remove: true,
            stop_container: true,
            work_dir: None,
            bind_dir: None,
            workspace: None,
            init_command: None,
            extra_volumes: Vec::new(),
            extra_hosts: Vec::new(),
            device_requests: Vec::new(),
            user: None,
            memory: None,
            cpus: None,
            pids_limit: None,
            shm_size: None,
            ulimits: Vec::new(),
            network: None,
            runtime: None,
            read_only: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            lockdown: false,
        }
    }
}

/// Puts together a [`DockerCommandLineCodeExecutor`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct DockerCommandLineCodeExecutorBuilder {
    pub(super) options: Options,
}

impl DockerCommandLineCodeExecutorBuilder {
    session_setters!();

    /// The daemon's address, as in `DOCKER_HOST`: `unix:///run/docker.sock`, `tcp://host:2376`, `ssh://user@host`.
    /// By default that variable, the current Docker context and the usual sockets are tried, Podman's too.
    pub fn daemon(mut self, address: impl Into<String>) -> Self {
        self.options.daemon = Some(address.into());
        self
    }

    /// The image; `python:3-slim` by default. Nothing is needed in it but `sh`, and what runs the blocks.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.options.image = image.into();
        self
    }

    /// When the image is pulled; by default when the daemon does not have it.
    pub fn pull(mut self, pull: Pull) -> Self {
        self.options.pull = pull;
        self
    }

    /// Is told how a pull goes, on a thread of the library's own.
    pub fn on_pull(mut self, told: impl Fn(PullProgress) + Send + Sync + 'static) -> Self {
        self.options.on_pull = Some(OnPull(Arc::new(told)));
        self
    }

    /// The platform of the image where it has several: `linux/amd64`, `linux/arm64`. The daemon's own by default.
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.options.platform = Some(platform.into());
        self
    }

    /// The container's name; by default one is made up. The name of a container whose owner is dead is taken over, and
    /// that of one which this process has kept and which has ended; that of any other is refused at the start.
    pub fn container_name(mut self, name: impl Into<String>) -> Self {
        self.options.container_name = Some(name.into());
        self
    }

    /// Adds a label to the container.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.labels.insert(name.into(), value.into());
        self
    }

    /// Whether the container is removed when it has ended; true by default.
    pub fn auto_remove(mut self, auto_remove: bool) -> Self {
        self.options.auto_remove = auto_remove;
        self
    }

    /// Whether the container ends with its session; true by default. If not it stays, for inspection, without any
    /// process of the blocks; a later session of the same `container_name` goes on in it, with what was installed.
    pub fn stop_container(mut self, stop_container: bool) -> Self {
        self.options.stop_container = stop_container;
        self
    }

    /// The directory on this host whose files the blocks work with, at `/workspace` in the container. It is made when
    /// it is missing. By default each session has a temporary one, which is removed at its end.
    pub fn work_dir(mut self, work_dir: impl Into<PathBuf>) -> Self {
        self.options.work_dir = Some(work_dir.into());
        self
    }

    /// Where the daemon finds the work_dir on its own host, when that is another path than here.
    pub fn bind_dir(mut self, bind_dir: impl Into<PathBuf>) -> Self {
        self.options.bind_dir = Some(bind_dir.into());
        self
    }

    /// How the work_dir gets into the container. By default it is mounted where the daemon shares this host's files,
    /// and else copied: at most 10 000 files and 256 MiB, at the start; what blocks create or change comes back after
    /// each, and what they delete is told and stays here.
    pub fn workspace(mut self, mode: WorkspaceMode) -> Self {
        self.options.workspace = Some(mode);
        self
    }

    /// Whether the files of blocks that named none are removed after they have run; false by default, as in AutoGen.
    pub fn delete_tmp_files(mut self, delete: bool) -> Self {
        self.options.session.cleanup_temp_files = delete;
        self
    }

    /// A shell command that is run in the workspace at the start, for ten minutes at most. When it fails, so does the
    /// start, with what it printed.
    pub fn init_command(mut self, command: impl Into<String>) -> Self {
        self.options.init_command = Some(command.into());
        self
    }

    /// Mounts a directory of the daemon's host, or a volume.
    pub fn volume(mut self, volume: Volume) -> Self {
        self.options.extra_volumes.push(volume);
        self
    }

    /// Adds a name to the container's `/etc/hosts`; the address may be `host-gateway`.
    pub fn extra_host(mut self, name: impl fmt::Display, address: impl fmt::Display) -> Self {
        self.options.extra_hosts.push(format!("{name}:{address}"));
        self
    }

    /// Asks for devices, such as GPUs.
    pub fn device_request(mut self, request: DeviceRequest) -> Self {
        self.options.device_requests.push(request);
        self
    }

    /// Whom the blocks run as: `name`, `uid`, `name:group` or `uid:gid` of the container; its root by default, which
    /// `pip` and `apt-get` need. Files in the work_dir belong to its owner in any case.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.options.user = Some(user.into());
        self
    }

    /// The most memory of all processes together, in bytes, 6 MiB at least; no limit by default. A block that the
    /// kernel ends for it is reported as out of memory, and the session goes on.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.options.memory = Some(bytes);
        self
    }

    /// The most CPU time per time, in CPUs: `1.5`; no limit by default.
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.options.cpus = Some(cpus);
        self
    }

    /// The most processes and threads, 16 at least, or 0 for no limit; 4096 by default. Stockade's own are four and one
    /// for each block that runs.
    pub fn pids_limit(mut self, limit: u32) -> Self {
        self.options.pids_limit = Some(limit);
        self
    }

    /// The size of `/dev/shm`, in bytes; the daemon's default is 64 MiB.
    pub fn shm_size(mut self, bytes: u64) -> Self {
        self.options.shm_size = Some(bytes);
        self
    }

    /// Sets a limit of every process.
    pub fn ulimit(mut self, ulimit: Ulimit) -> Self {
        self.options.ulimits.push(ulimit);
        self
    }

    /// The network: `none`, `bridge`, `host` or the name of one; the daemon's default is a bridge.
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.options.network = Some(network.into());
        self
    }

    /// The container runtime: `runsc` (gVisor), `kata`; the daemon's own by default.
    pub fn runtime(mut self, runtime: impl Into<String>) -> Self {
        self.options.runtime = Some(runtime.into());
        self
    }

    /// Whether the image's files can't be changed; false by default. The workspace can.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Gives the container a capability: `SYS_NICE`, `ALL`, or one of those that it does not have by default: of the
    /// daemon's own `NET_RAW`, `MKNOD`, `AUDIT_WRITE`, `SYS_CHROOT`, `SETFCAP` and `SETPCAP`. With `SYS_PTRACE` blocks need a `user` that is not root,
    /// or they could look into the runner.
    pub fn cap_add(mut self, capability: impl Into<String>) -> Self {
        self.options.cap_add.push(capability.into());
        self
    }

    /// Takes a capability from the container: `NET_RAW`, `ALL`. Without those that the runner needs to be root for,
    /// blocks run as the owner of the work_dir.
    pub fn cap_drop(mut self, capability: impl Into<String>) -> Self {
        self.options.cap_drop.push(capability.into());
        self
    }

    /// A security option of the daemon's: `seccomp=…`, `apparmor=…`. `no-new-privileges` is set by default;
    /// `no-new-privileges=false` lets `sudo` work.
    pub fn security_opt(mut self, option: impl Into<String>) -> Self {
        self.options.security_opt.push(option.into());
        self
    }

    /// Denies the code all that blocks can do without: there is no network, the image's files can't be changed (`/tmp`,
    /// `/var/tmp` and the home directory are in memory), no capability is left, memory is limited to 1 GiB, CPUs to 2
    /// and processes to 256, and nobody is root: blocks run as the owner of the work_dir, or as 65534 where that is
    /// root's or temporary. False by default.
    ///
    /// `memory`, `cpus`, `pids_limit` and `user` set other values. Options that would give back what it takes are
    /// refused: a network, capabilities, root, weaker security options, the socket of a daemon. Root's work_dir is
    /// copied.
    pub fn lockdown(mut self, lockdown: bool) -> Self {
        self.options.lockdown = lockdown;
        self
    }

    /// The executor.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`].
    pub fn build(mut self) -> Result<DockerCommandLineCodeExecutor> {
        self.options.check()?;
        if self.options.lockdown {
            lockdown::apply(&mut self.options);
        }
        Ok(DockerCommandLineCodeExecutor { options: Arc::new(self.options) })
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        self.session.check()?;
        let invalid = |option, why: &str| Err(Error::InvalidOption { option, why: why.to_owned() });
        if self.image.trim().is_empty() {
            return invalid("image", "can't be empty");
        }
        if let Some(name) = &self.container_name
            && !is_container_name(name)
        {
            let why =
                format!("must begin with a letter or digit and go on with those, `_`, `.` or `-`: {name:?}");
            return invalid("container_name", &why);
        }
        if self.bind_dir.is_some() && self.work_dir.is_none() {
            return invalid("bind_dir", "needs a work_dir: it is the same directory as the daemon sees it");
        }
        if self.bind_dir.is_some() && self.workspace == Some(WorkspaceMode::Copy) {
            return invalid("bind_dir", "means nothing when the work_dir is copied");
        }
        if self.memory.is_some_and(|bytes| !(6 << 20..=i64::MAX as u64).contains(&bytes)) {
            return invalid("memory", "must be at least 6 MiB");
        }
        if self.cpus.is_some_and(|cpus| !(0.01..=100_000.0).contains(&cpus)) {
            return invalid("cpus", "must be at least 0.01 and at most 100000");
        }
        check_pids_limit(self.pids_limit)?;
        if self.shm_size.is_some_and(|bytes| bytes == 0 || bytes > i64::MAX as u64) {
            return invalid("shm_size", "must be at least a byte");
        }
        if let Some(name) = self.labels.keys().find(|name| name.is_empty() || name.starts_with("stockade.")) {
            return invalid("label", &format!("must have a name, and none of Stockade's own: {name:?}"));
        }
        if self.lockdown { lockdown::check(self) } else { Ok(()) }
    }
}

/// As the daemon wants it.
fn is_container_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(rest)
}

/// Text that is none of what an option takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseOptionError(String);

/// A directory of the daemon's host, or a volume, and where it is mounted.
///
/// As text it is `SOURCE:TARGET` or `SOURCE:TARGET:ro`; a source without a `/` is the name of a volume.
///
/// ```
/// let volume: stockade::Volume = "/data:/mnt/data:ro".parse()?;
/// assert_eq!(volume, stockade::Volume::new("/data", "/mnt/data").read_only());
/// # Ok::<(), stockade::ParseOptionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) read_only: bool,
}

impl Volume {
    /// Mounts `source` at `target`.
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        Self { source: source.into(), target: target.into(), read_only: false }
    }

    /// The code can't write to it.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

impl FromStr for Volume {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        let refused = || ParseOptionError(format!("`{text}` is not SOURCE:TARGET or SOURCE:TARGET:ro"));
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else { return Err(refused()) };
        let volume = Self::new(source, target);
        let volume = match parts.next() {
            None | Some("rw") => volume,
            Some("ro") => volume.read_only(),
            Some(_) => return Err(refused()),
        };
        if source.is_empty() || !target.starts_with('/') || parts.next().is_some() {
            return Err(refused());
        }
        Ok(volume)
    }
}

/// A request for devices, as the daemon takes it.
///
/// As text it is `all`, a number of GPUs, or `device=0,1`, as in `docker run --gpus`.
///
/// ```
/// let gpus: stockade::DeviceRequest = "device=0,1".parse()?;
/// assert_eq!(gpus.device_ids, ["0", "1"]);
/// # Ok::<(), stockade::ParseOptionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceRequest {
    /// Which driver; by default one that has the capabilities.
    pub driver: Option<String>,
    /// How many; -1 for all. Not together with `device_ids`.
    pub count: Option<i64>,
    /// Which ones.
    pub device_ids: Vec<String>,
    /// Alternatives, each a list of what the driver must be able to do: `[["gpu"]]`.
    pub capabilities: Vec<Vec<String>>,
    /// For the driver.
    pub options: BTreeMap<String, String>,
}

impl DeviceRequest {
    /// A number of GPUs, or all of them.
    pub fn gpus(count: Option<u32>) -> Self {
        Self {
            count: Some(count.map_or(-1, i64::from)),
            capabilities: vec![vec!["gpu".to_owned()]],
            ..Self::default()
        }
    }
}

impl FromStr for DeviceRequest {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        let refused = || ParseOptionError(format!("`{text}` is not `all`, a number, or `device=ID,ID`"));
        let ids = text.trim_matches('"').strip_prefix("device=");
        match (text, ids) {
            ("all", _) => Ok(Self::gpus(None)),
            (_, Some(ids)) => {
                let device_ids: Vec<String> = ids.split(',').map(str::to_owned).collect();
                if device_ids.iter().any(String::is_empty) {
                    return Err(refused());
                }
                Ok(Self { count: None, device_ids, ..Self::gpus(None) })
            }
            _ => Ok(Self::gpus(Some(text.parse().ok().filter(|count| *count > 0).ok_or_else(refused)?))),
        }
    }
}

/// A limit of each process: `nofile`, `nproc`, `core`, …
///
/// As text it is `NAME=SOFT` or `NAME=SOFT:HARD`; -1 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    pub(super) name: String,
    pub(super) soft: i64,
    pub(super) hard: i64,
}

impl Ulimit {
    /// The limit called `name`; -1 is no limit.
    pub fn new(name: impl Into<String>, soft: i64, hard: i64) -> Self {
        Self { name: name.into(), soft, hard }
    }

    /// What is limited: `nofile`, `fsize`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The most that a process can give itself; -1 is no limit.
    pub fn hard(&self) -> i64 {
        self.hard
    }
}

impl FromStr for Ulimit {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        let refused = || ParseOptionError(format!("`{text}` is not NAME=SOFT or NAME=SOFT:HARD"));
        let (name, limits) = text.split_once('=').ok_or_else(refused)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let number = |text: &str| text.parse().ok().filter(|number| *number >= -1).ok_or_else(refused);
        if name.is_empty() {
            return Err(refused());
        }
        Ok(Self::new(name, number(soft)?, number(hard)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(
        with: impl FnOnce(DockerCommandLineCodeExecutorBuilder) -> DockerCommandLineCodeExecutorBuilder,
    ) -> Result<DockerCommandLineCodeExecutor> {
        with(DockerCommandLineCodeExecutor::builder()).build()
    }

    #[test]
    fn an_option_that_no_container_can_have_is_refused() {
        assert!(build(|builder| builder).is_ok());
        assert!(build(|builder| builder.image(" ")).is_err());
        assert!(build(|builder| builder.container_name("-x")).is_err());
        assert!(build(|builder| builder.container_name("my-name_1.2")).is_ok());
        assert!(build(|builder| builder.memory(1)).is_err());
        assert!(build(|builder| builder.memory(64 << 20)).is_ok());
        assert!(build(|builder| builder.cpus(f64::NAN)).is_err());
        assert!(build(|builder| builder.cpus(0.5)).is_ok());
        assert!(build(|builder| builder.pids_limit(1)).is_err());
        assert!(build(|builder| builder.pids_limit(0)).is_ok());
        assert!(build(|builder| builder.network("host").lockdown(true)).is_err());
        assert!(build(|builder| builder.network("host")).is_ok());
        assert!(build(|builder| builder.bind_dir("/x")).is_err());
        assert!(build(|builder| builder.work_dir("x").bind_dir("/x")).is_ok());
        assert!(build(|builder| builder.label("stockade.owner", "me")).is_err());
        assert!(build(|builder| builder.label("team", "blue")).is_ok());
    }

    #[test]
    fn a_volume_is_read_from_text() {
        assert_eq!("/a:/b".parse(), Ok(Volume::new("/a", "/b")));
        assert_eq!("cache:/b:rw".parse(), Ok(Volume::new("cache", "/b")));
        for text in ["", "/a", "/a:b", ":/b", "/a:/b:rx", "/a:/b:ro:x"] {
            assert!(text.parse::<Volume>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_request_is_read_from_text() {
        assert_eq!("all".parse(), Ok(DeviceRequest::gpus(None)));
        assert_eq!("2".parse(), Ok(DeviceRequest::gpus(Some(2))));
        let some: DeviceRequest = "device=GPU-1,3".parse().unwrap();
        assert_eq!((some.count, some.device_ids), (None, vec!["GPU-1".to_owned(), "3".to_owned()]));
        for text in ["", "0", "-1", "device=", "device=1,,2", "some"] {
            assert!(text.parse::<DeviceRequest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_ulimit_is_read_from_text() {
        assert_eq!("nofile=1024".parse(), Ok(Ulimit::new("nofile", 1024, 1024)));
        assert_eq!("core=0:-1".parse(), Ok(Ulimit::new("core", 0, -1)));
        for text in ["", "nofile", "=1", "nofile=x", "nofile=1:", "nofile=-2"] {
            assert!(text.parse::<Ulimit>().is_err(), "{text}");
        }
    }
}
