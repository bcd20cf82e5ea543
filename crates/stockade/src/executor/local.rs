//! The local executor: the runner as a child of this process. Owns its options and how the child is started,
//! watched and reaped. Nothing is hidden from the code here: it runs with the rights of this process's user.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt, net::UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use serde_bytes::ByteBuf;
use stockade_runner::{removal::remove_all, wire::message::SessionSpec};
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

use super::{BoxFuture, CodeExecutor};
use crate::{
    Session,
    client::{Client, StartError, Transport},
    environment,
    error::{Error, Result},
    functions, io_thread,
    options::{SessionOptions, session_setters},
    runner_image,
    session::SessionInfo,
    virtual_env,
};

/// Runs blocks on this host, as processes of this user.
///
/// The code can read and change whatever the user can. Each session has a runner of its own, and nothing that a
/// block starts outlives the session, nor this process.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor};
///
/// let executor = LocalCommandLineCodeExecutor::builder().timeout(Duration::from_secs(10)).build()?;
/// let session = executor.start().await?;
/// let blocks = [CodeBlock::new("sh", "echo one"), CodeBlock::new("sh", "echo two >&2; exit 3")];
/// let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
/// assert_eq!(result.exit_code, 3);
/// assert_eq!(result.output, "one\ntwo\n");
/// assert_eq!(result.blocks[1].stderr.text(), "two\n");
/// session.stop().await?;
/// # Ok::<(), stockade::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct LocalCommandLineCodeExecutor {
    options: Options,
}

/// Puts together a [`LocalCommandLineCodeExecutor`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct LocalCommandLineCodeExecutorBuilder {
    options: Options,
}

#[derive(Debug, Clone)]
struct Options {
    session: SessionOptions,
    work_dir: Option<PathBuf>,
    virtual_env: Option<PathBuf>,
    inherit_env: Vec<String>,
}

impl Options {
    /// The PATH that the code is given.
    fn path(&self) -> OsString {
        self.session.variable("PATH").or_else(|| env::var_os("PATH")).unwrap_or_default()
    }
}

impl LocalCommandLineCodeExecutorBuilder {
    session_setters!();

    /// The directory in which blocks' files are saved and their processes run. It is made when it is missing. By
    /// default each session has a temporary one, which is removed at its end, however that comes.
    pub fn work_dir(mut self, work_dir: impl Into<PathBuf>) -> Self {
        self.options.work_dir = Some(work_dir.into());
        self
    }

    /// A virtual environment whose `python` and `pip` Python and shell blocks get. It is made at start when it is
    /// missing, by `uv` where that is found and else by `python3 -m venv`.
    pub fn virtual_env(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options.virtual_env = Some(directory.into());
        self
    }

    /// Variables of this process that the code gets, beyond those that programs need to find themselves (`PATH`,
    /// `HOME`, `LANG`, certificates …). A name that ends in `*` stands for all that begin so, and `*` for all.
    pub fn inherit_env(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.inherit_env.extend(names.into_iter().map(Into::into));
        self
    }

    /// Whether the files of blocks that named none are removed after they have run; true by default. Files that
    /// a block named are never removed.
    pub fn cleanup_temp_files(mut self, cleanup: bool) -> Self {
        self.options.session.cleanup_temp_files = cleanup;
        self
    }

    /// The executor.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`].
    pub fn build(self) -> Result<LocalCommandLineCodeExecutor> {
        self.options.session.check()?;
        Ok(LocalCommandLineCodeExecutor { options: self.options })
    }
}

impl LocalCommandLineCodeExecutor {
    /// A builder with the defaults.
    pub fn builder() -> LocalCommandLineCodeExecutorBuilder {
        LocalCommandLineCodeExecutorBuilder {
            options: Options {
                session: SessionOptions::new(true),
                work_dir: None,
                virtual_env: None,
                inherit_env: Vec::new(),
            },
        }
    }

    /// Starts a session: a runner, and what the options ask to be prepared.
    ///
    /// # Errors
    ///
    /// [`Error::WorkDir`], [`Error::RunnerStart`], [`Error::VirtualEnv`], [`Error::PipInstall`] and
    /// [`Error::FunctionsLoad`].
    pub async fn start(&self) -> Result<Session> {
        let options = &self.options;
        let (work_dir, temporary) = work_dir(options.work_dir.as_deref())?;
        let session = self.start_runner(work_dir, temporary).await?;
        let session = match &options.virtual_env {
            // The environment decides what python is, so it is part of what a session starts with.
            Some(directory) => self.enter_virtual_env(session, directory).await?,
            None => session,
        };
        functions::install(session, &options.session).await
    }

    async fn enter_virtual_env(&self, session: Session, directory: &Path) -> Result<Session> {
        let variables = virtual_env::prepare(&session, directory, self.options.path()).await?;
        Ok(session.with_env(variables))
    }

    async fn start_runner(&self, work_dir: PathBuf, temporary: Option<TempDir>) -> Result<Session> {
        let options = &self.options;
        let io = io_thread::handle().map_err(|error| Error::start("start a thread for the runner", error))?;
        let is_temporary = temporary.is_some();
        let Runner { transport, ended } = Runner::start(&io, &options.inherit_env, temporary)?;
        let workspace = ByteBuf::from(work_dir.as_os_str().as_bytes());
        let spec = SessionSpec { remove_workspace: is_temporary, ..options.session.spec(workspace) };
        let client = Client::start(transport, io, spec).await.map_err(|error| match error {
            StartError::Refused { failure, .. } => Error::WorkDir {
                path: work_dir.clone(),
                source: failure
                    .errno
                    .map_or_else(|| io::Error::other(failure.why), io::Error::from_raw_os_error),
            },
            StartError::Ended(fault) => Error::start("get its greeting", io::Error::other(fault.to_string())),
        })?;
        let info = SessionInfo::new("local", work_dir);
        Ok(Session::new(client, info, options.session.defaults(), ended))
    }
}

impl CodeExecutor for LocalCommandLineCodeExecutor {
    fn start(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(self.start())
    }
}

/// The absolute path of the workspace, made where it is missing.
fn work_dir(asked: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    match asked {
        Some(path) => {
            let refused = |source| Error::WorkDir { path: path.to_owned(), source };
            fs::create_dir_all(path).map_err(refused)?;
            Ok((path.canonicalize().map_err(refused)?, None))
        }
        None => {
            let refused = |source| Error::WorkDir { path: env::temp_dir(), source };
            // What the code works on is no other user's affair.
            let private = fs::Permissions::from_mode(0o700);
            let temporary = tempfile::Builder::new().prefix("stockade-").permissions(private).tempdir();
            let temporary = temporary.map_err(refused)?;
            Ok((temporary.path().canonicalize().map_err(refused)?, Some(temporary)))
        }
    }
}

/// A runner that was started as a child.
struct Runner {
    transport: Transport<UnixStream>,
    /// Cancelled when it has been reaped.
    ended: CancellationToken,
}

impl Runner {
    fn start(io: &Handle, inherit_env: &[String], work_dir: Option<TempDir>) -> Result<Self> {
        // tokio's sockets and children belong to the runtime in whose context they are made.
        let _context = io.enter();
        let refused = |error: io::Error| Error::start("connect to the runner", error);
        let (ours, theirs) = StdUnixStream::pair().map_err(refused)?;
        ours.set_nonblocking(true).map_err(refused)?;
        let socket = ours.try_clone().map_err(refused)?;
        let stream = UnixStream::from_std(ours).map_err(refused)?;
        let child = spawn(theirs, inherit_env)?;
        let (told, obituary) = oneshot::channel();
        let (ended, doomed) = (CancellationToken::new(), CancellationToken::new());
        io.spawn(watch(child, told, doomed.clone(), ended.clone(), work_dir));
        // It sees this process through its pidfd and needs no heartbeat.
        let socket = Some(socket.into());
        Ok(Self {
            transport: Transport { stream, socket, obituary, doomed, heartbeat: None, lingers: false },
            ended,
        })
    }
}

/// Starts the child: its stdin is the socket, and its stdout a pidfd of this process, by which it sees our death
/// even while a forked worker holds our end of the socket.
fn spawn(socket: StdUnixStream, inherit_env: &[String]) -> Result<Child> {
    let refused = |error: io::Error| Error::start("connect to the runner", error);
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|errno| refused(errno.into()))?;
    let variables = environment::inherited(inherit_env);
    let child = runner_image::start(|program| {
        Command::new(program)
            .arg0("stockade-runner")
            .arg("local")
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(OwnedFd::from(socket.try_clone()?))
            .stdout(this_process.try_clone()?)
            .stderr(Stdio::null())
            .spawn()
    })?;
    Ok(child)
}

/// Waits for the child's end, and kills it when it is doomed. A temporary work_dir ends with it, should it have been
/// killed before it could remove that itself.
async fn watch(
    mut child: Child,
    told: oneshot::Sender<String>,
    doomed: CancellationToken,
    ended: CancellationToken,
    work_dir: Option<TempDir>,
) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = doomed.cancelled() => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let _ = told.send(status.map_or_else(|error| error.to_string(), describe));
    // Mostly the runner has removed it; if not, that can take as long as there are files.
    let removal = |work_dir: TempDir| tokio::task::spawn_blocking(move || remove_all(&work_dir.keep()));
    if let Some(work_dir) = work_dir {
        let _ = removal(work_dir).await;
    }
    ended.cancel();
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}
