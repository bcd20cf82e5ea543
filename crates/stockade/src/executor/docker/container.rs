//! One container: what it is made from, its start, and its end. Owns the promise that it does not outlive its
//! session, unless it is to, and the words for how it ended. It knows nothing of the wire that runs through it.

use std::{
    collections::HashMap,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    errors::Error as DockerError,
    exec::{CreateExecOptions, StartExecResults},
    models::{
        ContainerCreateBody, DeviceRequest, EventMessage, HealthConfig, HostConfig, HostConfigLogConfig,
        Mount, MountType, ResourcesUlimits,
    },
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, EventsOptionsBuilder,
        InspectContainerOptions, RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use futures_util::{Stream, StreamExt};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    attach::{Attached, Complaints},
    hardening::Hardening,
    lockdown,
    options::{Options, Volume},
    owner::{self, Owner},
    policy::ContainerPolicy,
    workspace::{Identity, Source, WORKSPACE},
};
use crate::executor::work_dir::PrivateDirectory;

/// The runner's own directory in a container.
const RUNNER_DIRECTORY: &str = "/run/.stockade";
/// Executable, whatever the image is mounted like; no other use is made of it.
const RUNNER_MOUNT: &str = "rw,exec,nosuid,nodev,mode=1777,size=8m";
/// How long a daemon may take to remove a container.
const REMOVAL: Duration = Duration::from_secs(10);

/// How soon a daemon whose events have ended is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_millis(100);

/// How far the daemon's clock may be behind this host's. Events are asked for from then on, so that none is missed
/// of what happens before they are listened to; they are this container's only.
const CLOCKS_DIFFER: Duration = Duration::from_secs(10 * 60);

/// What a container is made for.
pub(super) struct Plan<'a> {
    pub(super) options: &'a Options,
    pub(super) hardening: &'a Hardening,
    /// Its id: a name may mean another image by now, or another one to another engine.
    pub(super) image: &'a str,
    pub(super) source: &'a Source,
    pub(super) identity: &'a Identity,
    /// The runner's bytes.
    pub(super) runner: &'static [u8],
    /// Part of names that are the session's alone.
    pub(super) nonce: &'a str,
    /// Opens the runner to a later host, where it is to linger.
    pub(super) token: Option<&'a str>,
    pub(super) work_dir: &'a str,
}

impl Plan<'_> {
    /// Where the runner lies in the container.
    pub(super) fn runner_path(&self) -> String {
        format!("{RUNNER_DIRECTORY}/{}", self.nonce)
    }

    /// Takes the runner's bytes from stdin and becomes it. Nothing is sent after them until the runner has greeted,
    /// for some `head`s read ahead.
    fn bootstrap(&self) -> String {
        let (path, length) = (self.runner_path(), self.runner.len());
        let transport = if self.token.is_some() { "linger" } else { "stdio" };
        format!("head -c {length} >{path} && chmod 711 {path} && exec {path} {transport}")
    }

    fn labels(&self) -> HashMap<String, String> {
        let set = self.options.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut labels: HashMap<String, String> = set.chain(Owner::this().labels()).collect();
        labels.insert(owner::SESSION.to_owned(), self.nonce.to_owned());
        labels.insert(owner::IMAGE.to_owned(), self.options.image.clone());
        labels.insert(owner::WORK_DIR.to_owned(), self.work_dir.to_owned());
        if let Some(token) = self.token {
            labels.insert(owner::TOKEN.to_owned(), token.to_owned());
            labels.insert(owner::RUNNER.to_owned(), self.runner_path());
            labels.insert(owner::POLICY.to_owned(), self.policy().to_label());
        }
        labels
    }

    /// What the container denies its code.
    pub(super) fn policy(&self) -> ContainerPolicy {
        ContainerPolicy::new(self.options, self.hardening, self.identity)
    }

    fn workspace(&self) -> Mount {
        let target = Some(WORKSPACE.to_owned());
        match self.source {
            Source::Bind(path) => Mount {
                typ: Some(MountType::BIND),
                source: Some(path.to_string_lossy().into_owned()),
                target,
                ..Mount::default()
            },
            // A volume without a name, which goes with the container: also where the image can't be changed.
            Source::Copy => Mount { typ: Some(MountType::VOLUME), target, ..Mount::default() },
        }
    }

    /// A copy's own file system, where the container's user would not be let into a volume, and what can be written to
    /// under lockdown.
    fn temporary_file_systems(&self) -> HashMap<String, String> {
        let is_locked = self.options.lockdown;
        let mut mounts = HashMap::from([(RUNNER_DIRECTORY.to_owned(), RUNNER_MOUNT.to_owned())]);
        if self.copies_in_memory() {
            let unlimited = || "rw,exec,nosuid,nodev,mode=1777".to_owned();
            let mount = if is_locked { lockdown::workspace(self.options) } else { unlimited() };
            mounts.insert(WORKSPACE.to_owned(), mount);
        }
        if is_locked {
            mounts.extend(lockdown::file_systems(self.options));
        }
        mounts
    }

    fn copies_in_memory(&self) -> bool {
        *self.source == Source::Copy && self.identity.runner != "0:0"
    }

    /// Engines make it where it is missing, closed to all but root, and some then give what is mounted there that very
    /// mode.
    fn working_directory(&self) -> &'static str {
        if self.copies_in_memory() { "/" } else { WORKSPACE }
    }

    /// The container.
    pub(super) fn body(&self) -> ContainerCreateBody {
        let (options, hardening) = (self.options, self.hardening);
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let workspace = (!self.copies_in_memory()).then(|| self.workspace());
        let mounts = workspace.into_iter().chain(options.extra_volumes.iter().map(mount));
        let bytes = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let host_config = HostConfig {
            auto_remove: Some(options.auto_remove),
            mounts: Some(mounts.collect()),
            tmpfs: Some(self.temporary_file_systems()),
            // The wire passes through stdout.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            init: Some(false),
            memory: bytes(options.memory),
            // With swap beside it the limit would be another.
            memory_swap: bytes(options.memory),
            nano_cpus: hardening.cpus.map(|cpus| (cpus * 1e9).round() as i64),
            // No limit has a number too: Podman has a limit of its own where none is told.
            pids_limit: Some(hardening.pids_limit.map_or(-1, i64::from)),
            shm_size: bytes(options.shm_size),
            network_mode: options.network.clone(),
            runtime: options.runtime.clone(),
            readonly_rootfs: Some(options.read_only),
            extra_hosts: some(&options.extra_hosts),
            cap_add: some(&options.cap_add),
            cap_drop: some(&hardening.cap_drop),
            security_opt: some(&hardening.security_opt),
            ulimits: (!options.ulimits.is_empty()).then(|| options.ulimits.iter().map(ulimit).collect()),
            device_requests: (!options.device_requests.is_empty())
                .then(|| options.device_requests.iter().map(device_request).collect()),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(self.image.to_owned()),
            entrypoint: Some(vec!["sh".to_owned(), "-c".to_owned(), self.bootstrap()]),
            cmd: Some(Vec::new()),
            user: Some(self.identity.runner.clone()),
            working_dir: Some(self.working_directory().to_owned()),
            labels: Some(self.labels()),
            tty: Some(false),
            open_stdin: Some(true),
            // The end of our stream is the end of the runner's.
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }
}

fn mount(volume: &Volume) -> Mount {
    let is_path = volume.source.contains('/');
    Mount {
        typ: Some(if is_path { MountType::BIND } else { MountType::VOLUME }),
        source: Some(volume.source.clone()),
        target: Some(volume.target.clone()),
        read_only: Some(volume.read_only),
        ..Mount::default()
    }
}

fn ulimit(ulimit: &super::options::Ulimit) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(ulimit.name.clone()), soft: Some(ulimit.soft), hard: Some(ulimit.hard) }
}

fn device_request(request: &super::options::DeviceRequest) -> DeviceRequest {
    DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: (!request.device_ids.is_empty()).then(|| request.device_ids.clone()),
        capabilities: Some(request.capabilities.clone()),
        options: Some(request.options.clone().into_iter().collect()),
    }
}

/// A container that was created. It is removed when this is dropped, until it is [`watched`](Self::watch).
#[derive(Debug)]
pub(super) struct Container {
    docker: Docker,
    pub(super) id: String,
    /// What the daemon remarked when it made it.
    pub(super) warnings: Vec<String>,
    io: Handle,
    armed: bool,
}

/// A container that has started, and who watches over it.
pub(super) struct Watched {
    /// Tells how it ended.
    pub(super) obituary: oneshot::Receiver<String>,
    /// Cancel it to have the container removed by force.
    pub(super) doomed: CancellationToken,
    /// Cancelled when it is gone.
    pub(super) ended: CancellationToken,
}

/// What watching needs beside the container.
pub(super) struct Watching {
    pub(super) complaints: Complaints,
    /// The stream to the runner was ended or given up.
    pub(super) closed: CancellationToken,
    pub(super) auto_remove: bool,
    /// The container stays when its stream ends.
    pub(super) lingers: bool,
    /// Goes with the container, unless that stays.
    pub(super) work_dir: Option<Arc<PrivateDirectory>>,
}

impl Container {
    pub(super) async fn create(
        docker: &Docker,
        io: Handle,
        name: &str,
        platform: Option<&str>,
        body: ContainerCreateBody,
    ) -> Result<Self, DockerError> {
        let mut options = CreateContainerOptionsBuilder::default().name(name);
        if let Some(platform) = platform {
            options = options.platform(platform);
        }
        // Whoever asks may give up, but the daemon makes it all the same: it is waited for, and removed then.
        let (docker, its_io) = (docker.clone(), io.clone());
        let made = io.spawn(async move {
            let created = docker.create_container(Some(options.build()), body).await?;
            Ok(Self { docker, id: created.id, warnings: created.warnings, io: its_io, armed: true })
        });
        made.await.unwrap_or(Err(DockerError::RequestTimeoutError))
    }

    /// One that is there already.
    pub(super) fn existing(docker: &Docker, io: Handle, id: String) -> Self {
        Self { docker: docker.clone(), id, warnings: Vec::new(), io, armed: false }
    }

    pub(super) async fn attach(&self) -> Result<(Attached, Complaints, CancellationToken), DockerError> {
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self.docker.attach_container(&self.id, Some(options)).await?;
        Ok(Attached::new(attached.output, attached.input))
    }

    /// Reaches the runner of a container that lingers, as [`attach`](Self::attach) does that of a new one.
    pub(super) async fn relay(
        &self,
        runner: &str,
    ) -> Result<(Attached, Complaints, CancellationToken), DockerError> {
        let options = CreateExecOptions {
            cmd: Some(vec![runner, "connect"]),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let created = self.docker.create_exec(&self.id, options).await?;
        match self.docker.start_exec(&created.id, None).await? {
            StartExecResults::Attached { output, input } => Ok(Attached::new(output, input)),
            // Not what was asked for.
            StartExecResults::Detached => Err(DockerError::RequestTimeoutError),
        }
    }

    pub(super) async fn start(&self) -> Result<(), DockerError> {
        self.docker.start_container(&self.id, None).await
    }

    /// Has it watched over to its end, whether or not that has come already.
    pub(super) fn watch(mut self, watching: Watching) -> Watched {
        self.armed = false;
        let (told, obituary) = oneshot::channel();
        let (doomed, ended) = (CancellationToken::new(), CancellationToken::new());
        let (docker, id) = (self.docker.clone(), self.id.clone());
        let watch = watch(docker, id, watching, told, doomed.clone(), ended.clone());
        self.io.spawn(watch);
        Watched { obituary, doomed, ended }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.armed {
            let (docker, id) = (self.docker.clone(), self.id.clone());
            self.io.spawn(async move { remove(&docker, &id).await });
        }
    }
}

/// Removes a container, whatever it is doing, or waits until whoever removes it already has done so.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), DockerError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    let removal = async {
        let removed = docker.remove_container(id, Some(options)).await;
        if let Err(DockerError::DockerResponseServerError { status_code: 409, .. }) = removed {
            let until_removed = WaitContainerOptionsBuilder::default().condition("removed").build();
            // What it tells is an exit code, or that there is no such container any more.
            let _ = pin!(docker.wait_container(id, Some(until_removed))).next().await;
        }
        removed
    };
    timeout(REMOVAL, removal).await.unwrap_or(Err(DockerError::RequestTimeoutError))
}

async fn watch(
    docker: Docker,
    id: String,
    watching: Watching,
    told: oneshot::Sender<String>,
    doomed: CancellationToken,
    ended: CancellationToken,
) {
    let Watching { complaints, closed, auto_remove, lingers, work_dir } = watching;
    let mut events = pin!(listen(&docker, &id));
    let mut told = Some(told);
    let mut tell = |text: String| drop(told.take().map(|told| told.send(text)));
    let (mut out_of_memory, mut killed) = (false, false);
    let mut removed_by = None::<Instant>;
    loop {
        let due = removed_by.unwrap_or_else(Instant::now);
        tokio::select! {
            // A stream is given up when its container is doomed, and its container stays when it has ended in order.
            biased;
            () = doomed.cancelled(), if removed_by.is_none() => {
                tell("it was removed".to_owned());
                if remove(&docker, &id).await.is_err() {
                    break;
                }
                removed_by = Some(Instant::now() + REMOVAL);
            }
            () = closed.cancelled(), if lingers => break,
            event = events.next() => match event.map(|event| event.map(Seen::from)) {
                Some(Ok(Seen::OutOfMemory)) => out_of_memory = true,
                Some(Ok(Seen::Killed)) => killed = true,
                Some(Ok(Seen::Died { exit_code })) => {
                    tell(describe(exit_code, killed, out_of_memory, complaints.all().await));
                    if !auto_remove {
                        break;
                    }
                    removed_by = Some(Instant::now() + REMOVAL);
                }
                Some(Ok(Seen::Destroyed)) => break,
                Some(Ok(Seen::Else)) => {}
                Some(Err(_)) | None => match state(&docker, &id).await {
                    // Podman's stream can end at an event that is just being written. What was missed is told again.
                    State::There => {
                        sleep(LISTEN_AGAIN).await;
                        events.set(listen(&docker, &id));
                    }
                    State::Gone => break,
                    // The daemon removes the container when it is back. Until the runner is known to be given up, the
                    // container may still run on the work_dir.
                    State::Unknown => {
                        tell("the daemon has ended the connection".to_owned());
                        tokio::select! {
                            () = closed.cancelled() => {}
                            () = doomed.cancelled() => {}
                        }
                        break;
                    }
                },
            },
            () = sleep_until(due), if removed_by.is_some() => break,
        }
    }
    tell("it is gone".to_owned());
    let_go(work_dir, lingers).await;
    ended.cancel();
}

/// Removes a temporary work_dir, unless its container stays.
async fn let_go(work_dir: Option<Arc<PrivateDirectory>>, lingers: bool) {
    match work_dir.and_then(Arc::into_inner) {
        Some(work_dir) if lingers => work_dir.keep(),
        Some(work_dir) => drop(spawn_blocking(move || work_dir.remove()).await),
        None => {}
    }
}

/// What is known of a container of which the daemon tells no more.
enum State {
    There,
    Gone,
    /// The daemon doesn't answer.
    Unknown,
}

async fn state(docker: &Docker, id: &str) -> State {
    let inspected = docker.inspect_container(id, None::<InspectContainerOptions>);
    match timeout(REMOVAL, inspected).await {
        Ok(Ok(_)) => State::There,
        Ok(Err(DockerError::DockerResponseServerError { status_code: 404, .. })) => State::Gone,
        Ok(Err(_)) | Err(_) => State::Unknown,
    }
}

/// What the daemon says of a container, from a little before its making on.
fn listen(docker: &Docker, id: &str) -> impl Stream<Item = Result<EventMessage, DockerError>> + use<> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = now.saturating_sub(CLOCKS_DIFFER).as_secs().to_string();
    let filters = HashMap::from([("container", vec![id]), ("type", vec!["container"])]);
    let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
    docker.events(Some(options))
}

/// What an event tells.
enum Seen {
    OutOfMemory,
    /// Somebody had a signal sent to it; not we, who tell how it ended before.
    Killed,
    Died {
        exit_code: Option<i64>,
    },
    Destroyed,
    Else,
}

impl From<EventMessage> for Seen {
    fn from(event: EventMessage) -> Self {
        let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
        // Podman has words of its own for some.
        match event.action.as_deref() {
            Some("oom") => Self::OutOfMemory,
            Some("kill") => Self::Killed,
            Some("die" | "died") => {
                let exit_code = attributes.get("exitCode").or_else(|| attributes.get("containerExitCode"));
                Self::Died { exit_code: exit_code.and_then(|code| code.parse().ok()) }
            }
            Some("destroy" | "remove") => Self::Destroyed,
            _ => Self::Else,
        }
    }
}

fn describe(exit_code: Option<i64>, killed: bool, out_of_memory: bool, complaints: Option<String>) -> String {
    let ended = if killed { "was ended from outside" } else { "has ended" };
    let mut text = match exit_code {
        Some(code) => format!("its container {ended}, with exit code {code}"),
        None => format!("its container {ended}"),
    };
    if out_of_memory {
        text += "; the kernel had ended processes of it for the memory limit";
    }
    if let Some(complaints) = complaints {
        text += &format!("; it said: {complaints}");
    }
    text
}

#[cfg(test)]
mod tests {
    use stockade_runner::wire::message::Ownership;

    use super::*;
    use crate::executor::docker::hardening::Engine;

    fn body(options: &Options, source: Source, runner: &str) -> ContainerCreateBody {
        let identity = Identity { runner: runner.to_owned(), blocks: None, ownership: Ownership::Maker };
        let plan = Plan {
            options,
            hardening: &Hardening::new(options, Engine::default()),
            image: "image",
            source: &source,
            identity: &identity,
            runner: b"12345",
            nonce: "abc",
            token: None,
            work_dir: "/here",
        };
        plan.body()
    }

    #[test]
    fn the_bootstrap_needs_nothing_but_a_shell() {
        let body = body(&Options::default(), Source::Copy, "0:0");
        let expected =
            "head -c 5 >/run/.stockade/abc && chmod 711 /run/.stockade/abc && exec /run/.stockade/abc stdio";
        assert_eq!(body.entrypoint, Some(vec!["sh".into(), "-c".into(), expected.into()]));
        assert_eq!((body.tty, body.stdin_once), (Some(false), Some(true)));
    }

    #[test]
    fn a_memory_limit_leaves_no_swap_beside_it() {
        let options = Options { memory: Some(64 << 20), ..Options::default() };
        let host = body(&options, Source::Copy, "0:0").host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    }

    #[test]
    fn a_copy_is_a_volume_or_in_memory_for_a_user_who_could_not_write_to_one() {
        let as_root = body(&Options::default(), Source::Copy, "0:0").host_config.unwrap();
        assert_eq!(as_root.mounts.unwrap()[0].typ, Some(MountType::VOLUME));
        let as_user = body(&Options::default(), Source::Copy, "1000");
        assert_eq!(
            as_user.working_dir.as_deref(),
            Some("/"),
            "or its mode would not be what it is mounted with"
        );
        let as_user = as_user.host_config.unwrap();
        assert!(as_user.mounts.unwrap().is_empty() && as_user.tmpfs.unwrap().contains_key(WORKSPACE));
    }

    #[test]
    fn what_is_hardened_is_told_to_the_daemon() {
        let host = body(&Options::default(), Source::Copy, "0:0").host_config.unwrap();
        assert_eq!(host.pids_limit, Some(4096));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert!(host.cap_drop.is_some_and(|dropped| dropped.contains(&"NET_RAW".to_owned())));
        let options = Options { pids_limit: Some(0), ..Options::default() };
        assert_eq!(body(&options, Source::Copy, "0:0").host_config.unwrap().pids_limit, Some(-1));
    }

    #[test]
    fn under_lockdown_what_can_be_written_to_is_in_memory_and_bounded() {
        let mut options = Options { lockdown: true, memory: Some(64 << 20), ..Options::default() };
        lockdown::apply(&mut options);
        let host = body(&options, Source::Copy, lockdown::NOBODY).host_config.unwrap();
        assert_eq!((host.readonly_rootfs, host.network_mode.as_deref()), (Some(true), Some("none")));
        let mounts = host.tmpfs.unwrap();
        for path in ["/tmp", "/var/tmp", lockdown::HOME, WORKSPACE] {
            assert!(mounts[path].contains(",size="), "{path}: {}", mounts[path]);
        }
        let open = body(&Options::default(), Source::Copy, "0:0").host_config.unwrap().tmpfs.unwrap();
        assert_eq!(open.keys().collect::<Vec<_>>(), [RUNNER_DIRECTORY]);
    }

    #[test]
    fn how_it_ended_is_told_in_words() {
        assert_eq!(describe(Some(1), false, false, None), "its container has ended, with exit code 1");
        assert_eq!(describe(None, true, false, None), "its container was ended from outside");
        let all = describe(Some(137), false, true, Some("sh: head: not found".into()));
        assert!(
            all.contains("137")
                && all.contains("memory limit")
                && all.ends_with("it said: sh: head: not found")
        );
    }
}
