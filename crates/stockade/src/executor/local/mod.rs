//! The local executor: the runner as a child of this process, in a sandbox unless that is not wanted. Owns the options
//! and the order of a start.
//!
//! ```text
//! runner      starting the child, watching over it, and what goes with it
//! sandboxed   at which level of the sandbox it is started, and what is refused
//! ```

mod runner;
mod sandboxed;

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{Refusal, SessionSpec};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::runner::{Launch, Runner};
use super::{BoxFuture, CodeExecutor, shared_work_dir, work_dir::WorkDir};
use crate::{
    Languages, Sandbox, Session,
    client::{Client, StartError},
    error::{ASK_DOCTOR, Error, Result},
    io_thread,
    options::{SessionOptions, session_setters},
    sandbox::{Writable, check_way_to_work_dir, place_of},
    session::SessionInfo,
    virtual_env,
};

/// The kind of executor, in a session's info and in the names of its directories.
pub(super) const KIND: &str = "local";

/// Runs blocks on this host, as processes of this user, in a [`Sandbox`].
///
/// Without a sandbox the code can read and change whatever the user can. Each session has a runner of its own, and
/// nothing that a block starts outlives the session, nor this process.
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

/// What code calls as it calls interpreters: installed where those are, in a home too.
const TOOLS: &[&str] = &["git", "uv"];

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
    sandbox: Option<Sandbox>,
}

impl Options {
    /// The PATH that the code is given.
    fn path(&self) -> OsString {
        self.session.variable("PATH").or_else(|| env::var_os("PATH")).unwrap_or_default()
    }

    /// The programs that run blocks, by name, and that these call.
    fn programs(&self) -> Vec<String> {
        let languages = Languages::new(self.session.languages.clone());
        let commands = languages.iter().flat_map(|language| &language.commands);
        commands
            .map(|command| command.program.clone())
            .chain(TOOLS.iter().map(|&tool| tool.to_owned()))
            .collect()
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
    ///
    /// In a sandbox, blocks can't change one that lies outside of the work_dir and of what is `read_write`. One that
    /// lies there is theirs to change, as all that does, and is made in the sandbox, with the network that the code has.
    pub fn virtual_env(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options.virtual_env = Some(directory.into());
        self
    }

    /// What the code may see and do; [`Sandbox::default`] unless something else is said.
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.options.sandbox = Some(sandbox);
        self
    }

    /// Runs the code with all of this user's rights: it can read and change what the user can.
    pub fn no_sandbox(mut self) -> Self {
        self.options.sandbox = None;
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
        self.options.sandbox.as_ref().map_or(Ok(()), Sandbox::check)?;
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
                sandbox: Some(Sandbox::default()),
            },
        }
    }

    /// Starts a session: a runner, and what the options ask to be prepared.
    ///
    /// # Errors
    ///
    /// [`Error::WorkDir`], [`Error::RunnerStart`], [`Error::Sandbox`], [`Error::VirtualEnv`], [`Error::PipInstall`]
    /// and [`Error::FunctionsLoad`].
    pub async fn start(&self) -> Result<Session> {
        let options = &self.options;
        if let (Some(sandbox), Some(work_dir)) = (&options.sandbox, &options.work_dir) {
            check_way_to_work_dir(sandbox, work_dir)?;
        }
        let work_dir = WorkDir::open(options.work_dir.as_deref(), KIND, Ok)?;
        let variables = match &options.virtual_env {
            Some(directory) => self.virtual_env(directory, &work_dir.path).await?,
            None => Vec::new(),
        };
        let mut session = match &options.sandbox {
            Some(sandbox) => sandboxed::start(options, sandbox, work_dir).await?,
            None => self.start_plain(work_dir).await?,
        };
        session.add_env(variables);
        super::prepare(session, &options.session).await
    }

    /// The variables by which blocks use the environment. Where blocks can change files it is made in the sandbox; else
    /// outside of it, for it is only seen there, and by nothing that a block could have changed.
    async fn virtual_env(&self, directory: &Path, work_dir: &Path) -> Result<Vec<virtual_env::Variable>> {
        let path = self.options.path();
        let writable = self.options.sandbox.as_ref().map(|sandbox| Writable::new(sandbox, work_dir));
        let mut place = place_of(directory).map_err(|error| virtual_env::failed(directory, &error))?;
        let mut root = None;
        if let Some((theirs, named)) = writable.as_ref().and_then(|writable| writable.beneath(&place)) {
            // Links that lead there are not seen in the sandbox.
            (root, place) = (Some(theirs), named);
            refuse_way_out(directory, &place, theirs)?;
        }
        if let Some(variables) = virtual_env::find(&place, path.clone())? {
            return Ok(variables);
        }
        let session = match (&self.options.sandbox, root) {
            (Some(sandbox), Some(_)) => self.start_to_make(sandbox, &place).await?,
            _ => self.start_trusted(writable.as_ref(), &place).await?,
        };
        let made = virtual_env::prepare(&session, &place, root, path).await;
        session.stop().await?;
        made
    }

    /// A session like that which is to come, but that it may change the environment.
    async fn start_to_make(&self, sandbox: &Sandbox, directory: &Path) -> Result<Session> {
        if sandbox.limits.workspace_size.is_some() {
            let why =
                "it is not there yet, and lies where blocks can change files, of which they have a copy";
            let hint = format!(
                "make it first with `python3 -m venv {}`, or choose a folder outside of the work_dir",
                directory.display()
            );
            return Err(virtual_env::refused(directory, why.to_owned(), hint));
        }
        let options = Options { virtual_env: None, ..self.options.clone() };
        let work_dir = WorkDir::open(options.work_dir.as_deref(), KIND, Ok)?;
        sandboxed::start(&options, sandbox, work_dir).await
    }

    /// A session outside of the sandbox: it finds no programs where blocks can change them, and is given no variable by
    /// which programs could be told to load what lies there.
    async fn start_trusted(&self, writable: Option<&Writable>, directory: &Path) -> Result<Session> {
        let work_dir = WorkDir::open(None, KIND, Ok)?;
        if writable.is_some_and(|writable| writable.decides(&work_dir.path).is_some()) {
            let why =
                "what would make it lies in the folder for temporary files, where blocks can change files";
            let hint = "set TMPDIR to another folder, or make it first with `python3 -m venv`";
            return Err(virtual_env::refused(directory, why.to_owned(), hint.to_owned()));
        }
        let (mut options, mut launch) =
            (self.options.clone(), Launch::plain(&self.options.inherit_env, None));
        if let Some(writable) = writable {
            let path = match writable.without(&options.path()) {
                path if path.is_empty() => virtual_env::DEFAULT_PATH.into(),
                path => path,
            };
            launch.variables.retain(|(_, value)| !writable.is_named_in(value));
            options.session.env.retain(|(_, value)| !writable.is_named_in(OsStr::from_bytes(value)));
            options.session.env.push((ByteBuf::from("PATH"), ByteBuf::from(path.into_encoded_bytes())));
            options.session.languages.clear();
        }
        let trusted = Self { options };
        trusted.start_launched(work_dir, launch).await
    }

    async fn start_plain(&self, work_dir: WorkDir) -> Result<Session> {
        let launch = Launch::plain(&self.options.inherit_env, None);
        self.start_launched(work_dir, launch).await
    }

    async fn start_launched(&self, work_dir: WorkDir, mut launch: Launch) -> Result<Session> {
        launch.kept.directories.extend(work_dir.temporary.clone());
        let session = connect(&self.options, &work_dir, launch, |spec| spec).await;
        let (client, ended) = session.map_err(|error| error.into_error(&work_dir.path))?;
        let info = SessionInfo::new(KIND, work_dir.path);
        Ok(Session::new(client, info, self.options.session.defaults(), ended))
    }
}

/// Refuses an environment that blocks can change the way to and that lies outside of where they can: they would not see
/// it.
fn refuse_way_out(directory: &Path, place: &Path, root: &Path) -> Result<()> {
    match place.canonicalize() {
        Ok(real) if !real.starts_with(root) => {
            let why =
                "it lies where blocks can change files, and a symbolic link leads from there".to_owned();
            let hint = format!("name {} instead, where the link leads", real.display());
            Err(virtual_env::refused(directory, why, hint))
        }
        _ => Ok(()),
    }
}

/// How long a runner whose session did not start may take to end by itself.
const TIME_TO_END: Duration = Duration::from_secs(2);

/// Starts a runner and its session. Where there is none, what was its alone is gone.
async fn connect(
    options: &Options,
    work_dir: &WorkDir,
    launch: Launch,
    set: impl FnOnce(SessionSpec) -> SessionSpec,
) -> Result<(Client, CancellationToken), ConnectError> {
    let io = io_thread::handle().map_err(|error| Error::start("start a thread for the runner", error))?;
    let Runner { transport, ended } = Runner::start(&io, launch).await?;
    let workspace = ByteBuf::from(work_dir.path.as_os_str().as_bytes());
    let spec =
        SessionSpec { remove_workspace: work_dir.temporary.is_some(), ..options.session.spec(workspace) };
    let doomed = transport.doomed.clone();
    match Client::start(transport, io.clone(), set(spec)).await {
        Ok(client) => Ok((client, ended)),
        Err(error) => {
            // On our runtime: the caller's may have no timers, or be no tokio runtime at all.
            let end = io.spawn(async move {
                if timeout(TIME_TO_END, ended.cancelled()).await.is_err() {
                    doomed.cancel();
                }
            });
            let _ = end.await;
            Err(ConnectError::Start(error))
        }
    }
}

/// Why there is no session.
enum ConnectError {
    /// There is no runner.
    Runner(Error),
    /// It did not come to a session.
    Start(StartError),
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self::Runner(error)
    }
}

impl ConnectError {
    fn into_error(self, work_dir: &Path) -> Error {
        match self {
            Self::Runner(error) => error,
            Self::Start(StartError::Refused { refusal: Refusal::Confinement, failure }) => {
                Error::Sandbox { why: failure.to_string(), hint: ASK_DOCTOR.to_owned() }
            }
            Self::Start(StartError::Refused { failure, .. }) => Error::WorkDir {
                path: work_dir.to_owned(),
                source: failure
                    .errno
                    .map_or_else(|| io::Error::other(failure.why), io::Error::from_raw_os_error),
            },
            Self::Start(StartError::Ended(fault)) => {
                Error::start("get its greeting", io::Error::other(fault.to_string()))
            }
        }
    }
}

impl CodeExecutor for LocalCommandLineCodeExecutor {
    fn start(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(self.start())
    }

    fn check_for_pool(&self) -> Result<()> {
        self.options.work_dir.as_ref().map_or(Ok(()), |_| shared_work_dir())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::executor::work_dir::PrivateDirectory;

    /// Starts a runner that becomes itself through a program, and tells where its private directory is.
    async fn connect_through(program: &str) -> (PathBuf, Result<(Client, CancellationToken), ConnectError>) {
        let executor = LocalCommandLineCodeExecutor::builder().build().unwrap();
        let work_dir = WorkDir::open(None, KIND, Ok).unwrap();
        let private = Arc::new(PrivateDirectory::new(KIND).unwrap());
        let path = private.path().to_owned();
        std::fs::create_dir(path.join("home")).unwrap();
        let mut launch = Launch::plain(&[], work_dir.temporary.clone());
        launch.kept.directories.push(private);
        launch.through = Some((program.into(), Vec::new()));
        (path, connect(&executor.options, &work_dir, launch, |spec| spec).await)
    }

    #[tokio::test]
    async fn what_a_runner_had_is_gone_when_it_is_told_that_it_did_not_start() {
        let (path, refused) = connect_through("/bin/false").await;
        assert!(matches!(refused, Err(ConnectError::Start(StartError::Ended(_)))));
        assert!(!path.exists());
        // The twin: it has it as long as it lives.
        let (path, started) = connect_through("/usr/bin/env").await;
        let Ok((client, ended)) = started else { panic!("it starts") };
        assert!(path.join("home").exists());
        client.close();
        ended.cancelled().await;
        assert!(!path.exists());
    }
}
