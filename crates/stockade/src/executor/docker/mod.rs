//! The Docker executor: the runner in a container of its own, reached over the container's attached stream. Owns the
//! order of a start, from the daemon to the runner's greeting; each step is a module's.
//!
//! ```text
//! daemon      finding a daemon and connecting to it
//! image       having the image there, pulled if need be
//! workspace   mounting or copying the work_dir, and who the code is
//! hardening   what a container is denied by default
//! lockdown    what it is denied beyond that
//! sockets     mounts that would undo all of it
//! policy      telling what is denied
//! container   what a container is made from, its start and its end
//! attach      the stream through which the runner arrives and then speaks
//! owner       whose a container is, and whether that process lives
//! inventory   all containers of sessions; removing what dead processes left
//! ```

mod attach;
mod container;
pub(crate) mod daemon;
mod hardening;
mod image;
mod inventory;
mod lockdown;
mod options;
pub(crate) mod owner;
mod policy;
mod sockets;
mod workspace;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bollard::{
    errors::Error as DockerError,
    models::{ContainerInspectResponse, ContainerStateStatusEnum},
    query_parameters::InspectContainerOptions,
};
use serde_bytes::ByteBuf;
use stockade_runner::wire::{
    message::{Failure, Refusal, SessionSpec},
    token,
};
use tokio::{
    io::AsyncWriteExt,
    runtime::Handle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use self::options::DEFAULT_IMAGE;
use self::{
    attach::{Attached, Complaints},
    container::{Container, Plan, Watched, Watching},
    daemon::Daemon,
    hardening::{Engine, Hardening, does_without_pids_limit, is_of_limit, limited},
    image::Image,
    options::Options,
    owner::Owner,
    workspace::{Identity, Source, WORKSPACE},
};
pub use self::{
    image::{ParsePullError, Pull, PullProgress},
    inventory::{SessionContainer, prune_session_containers, session_containers},
    options::{DeviceRequest, DockerCommandLineCodeExecutorBuilder, ParseOptionError, Ulimit, Volume},
    owner::Life,
    policy::{Capabilities, ContainerPolicy},
};
use super::{BoxFuture, CodeExecutor, shared, shared_work_dir, work_dir::WorkDir};
use crate::{
    CodeBlock, Session,
    client::{Client, StartError, Transport},
    error::{Error, Result},
    io_thread, runner_image,
    session::{ContainerInfo, Policy, SessionInfo, WorkspaceMode},
};

/// The time between signs of life: nothing tells a runner in a container that its host's process is gone, should the
/// daemon be gone with it.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the runner waits for one.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the runner's bytes may take to get there.
const DELIVERY: Duration = Duration::from_secs(60);
/// How long a container that did not take them may take to say why.
const TIME_TO_TELL: Duration = Duration::from_secs(2);
/// How long a container that lingers may take to end its last session, and how often it is asked.
const TIME_TO_OPEN: Duration = Duration::from_secs(5);
const KNOCK_AGAIN: Duration = Duration::from_millis(50);
/// How long the `init_command` may take.
const INIT: Duration = Duration::from_secs(10 * 60);

/// Runs blocks in a container, one for each session.
///
/// The container lives as long as its session: it is gone when the session is stopped or dropped, and when this
/// process ends, however that ends.
///
/// ```no_run
/// # async fn example() -> stockade::Result<()> {
/// use stockade::{CancellationToken, CodeBlock, DockerCommandLineCodeExecutor};
///
/// let executor = DockerCommandLineCodeExecutor::builder().image("python:3-slim").memory(512 << 20).build()?;
/// let session = executor.start().await?;
/// let blocks = [CodeBlock::new("python", "print('hello')")];
/// let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
/// assert_eq!(result.output, "hello\n");
/// session.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DockerCommandLineCodeExecutor {
    options: Arc<Options>,
}

impl DockerCommandLineCodeExecutor {
    /// A builder with the defaults, which are AutoGen's.
    pub fn builder() -> DockerCommandLineCodeExecutorBuilder {
        DockerCommandLineCodeExecutorBuilder { options: Options::default() }
    }

    /// Starts a session: a container, a runner in it, and what the options ask to be prepared. When the future is
    /// dropped, what was made until then is removed.
    ///
    /// # Errors
    ///
    /// [`Error::DaemonUnreachable`], [`Error::Image`], [`Error::Container`], [`Error::WorkDir`], [`Error::Copy`],
    /// [`Error::InitCommand`], [`Error::PipInstall`], [`Error::FunctionsLoad`], and [`Error::InvalidOption`] for
    /// options that don't go with this daemon.
    pub async fn start(&self) -> Result<Session> {
        let io = io_thread::handle().map_err(|error| Error::start("start a thread for the runner", error))?;
        let start = Start { options: Arc::clone(&self.options), io: io.clone() };
        let session = AbortOnDropHandle::new(io.spawn(async move { start.session().await }));
        let session = session.await.map_err(|error| Error::start("prepare a session", error))??;
        prepare(session, &self.options).await
    }
}

impl CodeExecutor for DockerCommandLineCodeExecutor {
    fn start(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(self.start())
    }

    fn check_for_pool(&self) -> Result<()> {
        let options = &self.options;
        if options.work_dir.is_some() {
            return shared_work_dir();
        }
        if options.container_name.is_some() {
            return shared("container_name", "leave it out, so that each gets one of its own");
        }
        if !options.stop_container {
            let why = "can't be false in a pool, whose containers are used once and end then".to_owned();
            return Err(Error::InvalidOption { option: "stop_container", why });
        }
        Ok(())
    }
}

/// Does in a session what comes before its first block.
async fn prepare(session: Session, options: &Options) -> Result<Session> {
    if options.lockdown && !lockdown::is_somebody_else_than_root(&session).await? {
        // Its own end tells nothing that this does not.
        let _ = session.stop().await;
        let user = options.user.as_deref().unwrap_or(lockdown::NOBODY);
        return Err(lockdown::contradiction("user", &format!("{user:?} is root in this image")));
    }
    if let Some(command) = &options.init_command {
        let blocks = [CodeBlock::new("sh", command.as_str())];
        let ran = session.call(&blocks[..]).timeout(INIT).discard_file().run().await?;
        if ran.exit_code != 0 {
            // Its own end tells nothing that this does not.
            let _ = session.stop().await;
            return Err(Error::InitCommand {
                exit_code: ran.exit_code,
                output: ran.output.trim_end().to_owned(),
            });
        }
    }
    super::prepare(session, &options.session).await
}

/// A start under way, on the library's own thread.
struct Start {
    options: Arc<Options>,
    io: Handle,
}

/// A start that has its daemon, image and directory.
struct Place<'a> {
    daemon: &'a Daemon,
    image: &'a Image,
    hardening: &'a Hardening,
    work_dir: &'a WorkDir,
    source: Source,
    identity: Identity,
}

/// The stream to a runner that has not been spoken to, and its container.
struct Opened {
    stream: Attached,
    watched: Watched,
    info: ContainerInfo,
    policy: Option<ContainerPolicy>,
    token: Option<String>,
}

/// Why a container did not come to a session.
enum Refused {
    /// The daemon does not see the work_dir as this host does.
    Elsewhere(Error),
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Start {
    async fn session(&self) -> Result<Session> {
        let options = &*self.options;
        let daemon = daemon::connect(options.daemon.as_deref()).await?;
        let on_pull =
            options.on_pull.as_ref().map(|on_pull| &*on_pull.0 as &(dyn Fn(PullProgress) + Send + Sync));
        let platform = options.platform.as_deref();
        let image = image::ensure(&daemon.docker, &options.image, options.pull, platform, on_pull);
        let (image, ()) = tokio::join!(image, inventory::sweep(&daemon.docker));
        let image = image?;
        let hardening = &Hardening::new(options, Engine::ask(options, &daemon).await?);
        let work_dir = workspace::open(options.work_dir.as_deref())?;
        let source = Source::choose(options, &daemon, &work_dir.path).await?;
        let (source, identity) = source.identify(options, hardening.maps_users, &work_dir)?;
        let place =
            Place { daemon: &daemon, image: &image, hardening, work_dir: &work_dir, source, identity };
        let session = match self.open_session(&place).await {
            Err(Refused::Elsewhere(error)) if options.workspace.is_none() && options.bind_dir.is_none() => {
                tracing::debug!(%error, "the work_dir is copied");
                let (source, identity) = Source::Copy.identify(options, hardening.maps_users, &work_dir)?;
                self.open_session(&Place { source, identity, ..place }).await
            }
            session => session,
        };
        session.map_err(|(Refused::Elsewhere(error) | Refused::Error(error))| error)
    }

    /// A session in a new container, or in one that lingers under its name.
    async fn open_session(&self, place: &Place<'_>) -> Result<Session, Refused> {
        let witness = match place.source {
            Source::Bind(_) => Some(workspace::witness(place.work_dir)?),
            Source::Copy => None,
        };
        let opened = self.open(place).await?;
        let lingers = opened.token.is_some();
        let temporary = place.work_dir.temporary.is_some();
        let spec = SessionSpec {
            remove_workspace: temporary && !lingers && matches!(place.source, Source::Bind(_)),
            heartbeat_timeout_ms: Some(HEARTBEAT_TIMEOUT.as_millis() as u64),
            witness: witness.as_ref().and_then(workspace::name),
            user: place.identity.blocks.clone(),
            ownership: place.identity.ownership,
            concealed: true,
            memory_limit: self.options.memory.is_some(),
            token: opened.token.map(|token| ByteBuf::from(token.into_bytes())),
            ..self.spec()
        };
        let Watched { obituary, doomed, ended } = opened.watched;
        let transport = Transport {
            stream: opened.stream,
            socket: None,
            obituary,
            doomed,
            heartbeat: Some(HEARTBEAT),
            lingers,
        };
        let client = Client::start(transport, self.io.clone(), spec).await;
        let client = client.map_err(|error| refusal(error, place))?;
        let mode = opened.info.workspace;
        let info = SessionInfo {
            policy: Policy { container: opened.policy, ..Policy::default() },
            container: Some(opened.info),
            workspace: PathBuf::from(WORKSPACE),
            ..SessionInfo::new("docker", place.work_dir.path.clone())
        };
        let session = Session::new(client, info, self.options.session.defaults(), ended);
        match mode {
            WorkspaceMode::Copy => Ok(session.with_copies().await?),
            WorkspaceMode::Bind => Ok(session),
        }
    }

    /// What the executors of all places are asked for.
    fn spec(&self) -> SessionSpec {
        let mut spec = self.options.session.spec(ByteBuf::from(WORKSPACE.as_bytes()));
        if self.options.lockdown {
            // What the user sets goes before it.
            spec.env.insert(0, (ByteBuf::from("HOME"), ByteBuf::from(lockdown::HOME)));
        }
        spec
    }

    /// The mounts that give the code a daemon, each as a sentence; lockdown refuses them.
    fn sockets(&self, place: &Place<'_>) -> Result<Vec<String>> {
        let work_dir = match &place.source {
            Source::Bind(path) => path.to_str(),
            Source::Copy => None,
        };
        let mounts = self.options.extra_volumes.iter().map(|volume| volume.source.as_str()).chain(work_dir);
        let found = mounts.filter_map(|source| sockets::warning(source, &place.daemon.address));
        let found: Vec<String> = found.collect();
        match found.first() {
            Some(why) if self.options.lockdown => Err(lockdown::contradiction("volume", why)),
            _ => Ok(found),
        }
    }

    async fn open(&self, place: &Place<'_>) -> Result<Opened, Refused> {
        let sockets = self.sockets(place)?;
        let nonce = random(6)?;
        let options = &*self.options;
        let token = if options.stop_container { None } else { Some(random(32)?) };
        let name = options.container_name.clone().unwrap_or_else(|| format!("stockade-{nonce}"));
        let plan = Plan {
            options,
            hardening: place.hardening,
            image: &place.image.id,
            source: &place.source,
            identity: &place.identity,
            runner: runner_image::bytes(&place.image.architecture)
                .map_err(|error| no_runner(&options.image, &error))?,
            nonce: &nonce,
            token: token.as_deref(),
            work_dir: &place.work_dir.path.to_string_lossy(),
        };
        let opened = match self.create(place, &plan, &name).await? {
            Created::New(container) => {
                let opened = self.start_container(place, &plan, container, name).await?;
                Opened { token, ..opened }
            }
            Created::Lingers(found) => self.attach_again(place, &plan, *found, name).await?,
        };
        let warned = |policy: ContainerPolicy| {
            let warnings = [policy.warnings.clone(), sockets].concat();
            policy.with(warnings)
        };
        Ok(Opened { policy: opened.policy.map(warned), ..opened })
    }

    /// Makes the container. One of its name whose owner is dead gives way, and one of this process that has ended.
    async fn create(&self, place: &Place<'_>, plan: &Plan<'_>, name: &str) -> Result<Created, Refused> {
        let docker = &place.daemon.docker;
        let create = || {
            let platform = self.options.platform.as_deref();
            Container::create(docker, self.io.clone(), name, platform, plan.body())
        };
        match create().await {
            Ok(container) => return Ok(Created::New(enforced(container, &self.options)?)),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(not_created(&error, place)),
        }
        match self.holder(place, name).await? {
            Holder::Ended(id) => drop(container::remove(docker, &id).await),
            Holder::Lingers(found) => return Ok(Created::Lingers(found)),
        }
        let created = create().await.map_err(|error| not_created(&error, place))?;
        Ok(Created::New(enforced(created, &self.options)?))
    }

    /// Who has the name that was asked for.
    async fn holder(&self, place: &Place<'_>, name: &str) -> Result<Holder> {
        let taken = |why: &str| Error::Container {
            doing: format!("create the container {name}"),
            why: format!("the name belongs to a container {why}"),
            hint: Some(format!(
                "choose another container_name (`--name`), or remove that one: `docker rm -f {name}`"
            )),
        };
        let found = place.daemon.docker.inspect_container(name, None::<InspectContainerOptions>).await;
        let found = found.map_err(|error| taken(&format!("that can't be looked at: {}", reason(&error))))?;
        let labels = found.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
        let owner = Owner::from_labels(&labels).ok_or_else(|| taken("that is not Stockade's"))?;
        let running = found.state.as_ref().and_then(|state| state.running).unwrap_or(false);
        let lingers = running && labels.contains_key(owner::TOKEN);
        let here = Owner::this();
        let status = found.state.as_ref().and_then(|state| state.status);
        if owner == here && status == Some(ContainerStateStatusEnum::EXITED) {
            return Ok(Holder::Ended(found.id.unwrap_or_else(|| name.to_owned())));
        }
        match (lingers, owner.life(&here)) {
            (true, _) if !self.options.stop_container => Ok(Holder::Lingers(Box::new(found))),
            (true, _) => Err(taken(
                "that outlives its sessions; to go on in it, set stop_container to false (`--keep-container`)",
            )),
            (false, Life::Dead) => Ok(Holder::Ended(found.id.unwrap_or_else(|| name.to_owned()))),
            (false, Life::Alive) => {
                Err(taken(&format!("of a session of the process {}, which is alive", owner.pid())))
            }
            (false, Life::Unknown) => Err(taken("of a session whose process can't be seen from here")),
        }
    }

    /// Starts the container and brings the runner's bytes into it.
    async fn start_container(
        &self,
        place: &Place<'_>,
        plan: &Plan<'_>,
        container: Container,
        name: String,
    ) -> Result<Opened, Refused> {
        let doing = "start the container";
        let (mut stream, complaints, closed) =
            container.attach().await.map_err(|error| not_started(&error, place))?;
        let info = self.info(place, &container, name, place.source.mode());
        let policy = Some(limited(plan.policy(), &container.warnings));
        let started = container.start().await;
        if let Err(error) = started {
            return Err(not_started(&error, place));
        }
        let mut watched = container.watch(self.watching(place, complaints.clone(), closed));
        let why = match timeout(DELIVERY, stream.deliver(plan.runner)).await {
            Ok(Ok(())) => {
                if !self.options.stop_container {
                    stream.leave_behind();
                }
                return Ok(Opened { stream, watched, info, policy, token: None });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the runner was not taken within {} s", DELIVERY.as_secs()),
        };
        let told = async { tokio::join!(stream.drain(), &mut watched.obituary).1 };
        let told = timeout(TIME_TO_TELL, told).await.ok().and_then(|told| told.ok());
        watched.doomed.cancel();
        let why = told.unwrap_or_else(|| match complaints.text() {
            Some(said) => format!("{why}; it said: {said}"),
            None => why,
        });
        Err(Error::Container { doing: doing.to_owned(), why, hint: None }.into())
    }

    /// Reaches the runner of a container that lingers, by a process that relays.
    async fn attach_again(
        &self,
        place: &Place<'_>,
        plan: &Plan<'_>,
        found: ContainerInspectResponse,
        name: String,
    ) -> Result<Opened> {
        let docker = &place.daemon.docker;
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let work_dir = place.work_dir.path.to_string_lossy();
        if label(owner::WORK_DIR) != work_dir {
            return Err(Error::Container {
                doing: format!("go on in the container {name}"),
                why: format!("its work_dir is {}, not {work_dir}", label(owner::WORK_DIR)),
                hint: Some("name the same work_dir, or choose another container_name".to_owned()),
            });
        }
        let policy = ContainerPolicy::from_label(&label(owner::POLICY));
        if self.options.lockdown && policy.as_ref() != Some(&plan.policy()) {
            return Err(Error::Container {
                doing: format!("go on in the container {name} under lockdown"),
                why: "it was made without lockdown, or with other limits".to_owned(),
                hint: Some("choose another container_name (`--name`), or remove that one".to_owned()),
            });
        }
        let mounted = found.mounts.unwrap_or_default().into_iter().find(|mount| {
            mount.destination.as_deref() == Some(WORKSPACE) && mount.typ.as_deref() == Some("bind")
        });
        let mode = if mounted.is_some() { WorkspaceMode::Bind } else { WorkspaceMode::Copy };
        let container = Container::existing(docker, self.io.clone(), found.id.unwrap_or_default());
        let token = label(owner::TOKEN);
        let (stream, complaints, closed) = knock(&container, &label(owner::RUNNER), &token, &name).await?;
        let info = self.info(place, &container, name, mode);
        let watched = container.watch(self.watching(place, complaints, closed));
        // The container is as it was made; its blocks run as whom this session has them.
        let user = place.identity.blocks.clone();
        let is_limited = found.host_config.and_then(|host| host.pids_limit).is_some_and(|limit| limit > 0);
        let policy = policy.map(|policy| ContainerPolicy {
            user: user.unwrap_or(policy.user),
            pids_limit: policy.pids_limit.filter(|_| is_limited),
            ..policy
        });
        Ok(Opened { stream, watched, info, policy, token: Some(token) })
    }

    fn info(
        &self,
        place: &Place<'_>,
        container: &Container,
        name: String,
        workspace: WorkspaceMode,
    ) -> ContainerInfo {
        ContainerInfo {
            id: container.id.clone(),
            name,
            image: self.options.image.clone(),
            daemon: place.daemon.address.to_string(),
            workspace,
        }
    }

    fn watching(&self, place: &Place<'_>, complaints: Complaints, closed: CancellationToken) -> Watching {
        Watching {
            complaints,
            closed,
            auto_remove: self.options.auto_remove,
            lingers: !self.options.stop_container,
            work_dir: place.work_dir.temporary.clone(),
        }
    }
}

/// Shows the token to the runner of a container that lingers, again and again while it is ending its last session.
async fn knock(
    container: &Container,
    runner: &str,
    token: &str,
    name: &str,
) -> Result<(Attached, Complaints, CancellationToken)> {
    let doing = format!("go on in the container {name}");
    let until = Instant::now() + TIME_TO_OPEN;
    loop {
        let relayed = container.relay(runner).await.map_err(|error| failed(&doing, &error))?;
        let (mut stream, complaints, closed) = relayed;
        // Whether the relay takes it or not, its first word tells.
        let _ = stream.write_all(&token::encode(token.as_bytes())).await;
        if let Ok(Ok(true)) = timeout_at(until, stream.speaks()).await {
            return Ok((stream, complaints, closed));
        }
        if Instant::now() >= until {
            return Err(Error::Container {
                doing,
                why: complaints.text().unwrap_or_else(|| "its runner does not answer".to_owned()),
                hint: Some("another session may be in it: stop that one first".to_owned()),
            });
        }
        sleep(KNOCK_AGAIN).await;
    }
}

/// Where a session comes to be.
enum Created {
    New(Container),
    Lingers(Box<ContainerInspectResponse>),
}

/// Who has a container's name.
enum Holder {
    /// A process that is gone, or this one, which has kept what has ended: it can be looked into until now.
    Ended(String),
    /// Nobody, perhaps: the container waits for its next session.
    Lingers(Box<ContainerInspectResponse>),
}

impl From<daemon::Unreachable> for Error {
    fn from(unreachable: daemon::Unreachable) -> Self {
        Error::DaemonUnreachable { tried: unreachable.to_string(), hint: unreachable.hint() }
    }
}

impl From<image::ImageError> for Error {
    fn from(error: image::ImageError) -> Self {
        Error::Image { why: error.to_string(), hint: error.hint() }
    }
}

/// The container, unless the daemon passed over a limit that was asked for: its kernel may not have the means.
fn enforced(container: Container, options: &Options) -> Result<Container> {
    let mut discarded = container.warnings.iter().filter(|warning| is_of_limit(warning));
    match discarded.find(|warning| !does_without_pids_limit(options, warning)) {
        Some(warning) => Err(Error::Container {
            doing: "create the container with the limits that were asked for".to_owned(),
            why: warning.clone(),
            hint: Some("enable that control group on the daemon's host, or do without the limit".to_owned()),
        }),
        None => Ok(container),
    }
}

fn is_conflict(error: &DockerError) -> bool {
    matches!(error, DockerError::DockerResponseServerError { status_code: 409, .. })
        // Podman's word for it comes with another number.
        || reason(error).contains("already in use")
}

fn failed(doing: &str, error: &DockerError) -> Error {
    Error::Container { doing: doing.to_owned(), why: reason(error), hint: None }
}

fn no_runner(image: &str, error: &runner_image::ImageError) -> Error {
    let hint = "choose an image of such an architecture; where the image has several, `platform` says which";
    Error::Image { why: format!("run blocks in the image {image}: {error}"), hint: Some(hint.to_owned()) }
}

/// What the daemon's refusal to create a container means.
fn not_created(error: &DockerError, place: &Place<'_>) -> Refused {
    let why = reason(error);
    let missing = ["does not exist", "no such file or directory"].iter().any(|words| why.contains(words));
    let hint = remedy(&why).map(str::to_owned);
    let error = Error::Container { doing: "create the container".to_owned(), why: why.clone(), hint };
    match &place.source {
        Source::Bind(path) if missing && why.contains(&*path.to_string_lossy()) => Refused::Elsewhere(error),
        _ => Refused::Error(error),
    }
}

/// What the daemon's refusal to start a container means.
fn not_started(error: &DockerError, place: &Place<'_>) -> Refused {
    match not_created(error, place) {
        Refused::Error(Error::Container { why, hint, .. }) => {
            let no_shell =
                why.contains("\"sh\"") && (why.contains("not found") || why.contains("no such file"));
            let no_shell = no_shell.then(|| "the image has no `sh`: choose one that has a shell".to_owned());
            Error::Container { doing: "start the container".to_owned(), why, hint: no_shell.or(hint) }.into()
        }
        refused => refused,
    }
}

/// What to do about a refusal, by words that Docker and Podman have for it.
fn remedy(why: &str) -> Option<&'static str> {
    const REMEDIES: &[(&[&str], &str)] = &[
        (&["could not select device driver"], "install the driver's container toolkit on the daemon's host"),
        (
            &["bind source path does not exist"],
            "a volume's source is a path on the daemon's host: make it there first",
        ),
        (&["statfs"], "a volume's source is a path on the daemon's host: make it there first"),
        (&["network", "not found"], "`docker network ls` lists the daemon's networks"),
        (&["unknown", "runtime"], "`docker info` lists the daemon's runtimes"),
        (&["capability"], "capabilities are called as in capabilities(7), such as NET_ADMIN"),
        (&["security-opt"], "see `docker run --help` for the options that the daemon takes"),
        (&["no space left"], "free some space where the daemon keeps its containers: `docker system prune`"),
        (&["rlimit"], "choose a ulimit that is not above the daemon's own"),
    ];
    let why = why.to_lowercase();
    REMEDIES.iter().find(|(words, _)| words.iter().all(|word| why.contains(word))).map(|(_, remedy)| *remedy)
}

/// What it means that the runner did not come to a session.
fn refusal(error: StartError, place: &Place<'_>) -> Refused {
    let (refusal, Failure { why, errno, .. }) = match error {
        StartError::Refused { refusal, failure } => (refusal, failure),
        StartError::Ended(fault) => {
            let doing = "get the runner's greeting from the container".to_owned();
            return Error::Container { doing, why: fault.to_string(), hint: None }.into();
        }
    };
    let path = place.work_dir.path.clone();
    match refusal {
        Refusal::Elsewhere => Refused::Elsewhere(Error::Container {
            doing: format!("mount {}", path.display()),
            why: "the daemon mounted another directory of that path: it does not share this host's files"
                .into(),
            hint: Some(
                "name the directory's path on the daemon's host as bind_dir, or have it copied".into(),
            ),
        }),
        Refusal::Workspace => {
            let source = errno.map_or_else(|| io::Error::other(why), io::Error::from_raw_os_error);
            Error::WorkDir { path, source }.into()
        }
        Refusal::User => {
            Error::InvalidOption { option: "user", why: format!("can't be had in the container: {why}") }
                .into()
        }
        // None is asked for: the container confines the code.
        Refusal::Confinement => {
            Error::start("confine the code in the container", io::Error::other(why)).into()
        }
        Refusal::Exposed => Error::InvalidOption {
            option: "cap_add",
            why: format!("is refused: {why}; choose a `user` that is not root, or do without SYS_PTRACE"),
        }
        .into(),
    }
}

/// This many bytes that nobody can guess, in hexadecimal digits.
fn random(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        let got = rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty());
        filled += got.map_err(|errno| Error::start("get random bytes", io::Error::from(errno)))?;
    }
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the daemon said, without the words around it.
fn reason(error: &DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        error => error.to_string(),
    }
}
