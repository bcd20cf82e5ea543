//! A session: a started executor, in which blocks run. Owns the conversation with its runner and the settings
//! that its calls begin with; a call itself is `call`'s part, and obtaining a runner the executors'.

use std::{
    borrow::Cow,
    future::poll_fn,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use serde::Serialize;
use serde_bytes::ByteBuf;
use stockade_runner::wire::message::Preloaded;
use tokio_util::sync::CancellationToken;

pub use crate::client::BackgroundOutput;
use crate::{
    Call, CodeBlock, CommandLineCodeResult, ContainerPolicy, LanguageReport, Preload, SandboxPolicy,
    client::{Client, Watcher},
    error::{Error, Fault, Result},
    executor,
    files::{self, Files},
    hint::Hints,
};

/// The most bytes that [`Session::get_file`] gives: they are held in memory.
const MAX_FILE: u64 = 1 << 30;

/// What a session is; the object `session` in the JSON of a result.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The kind of executor: `local` or `docker`.
    pub executor: String,
    /// What is enforced on the code.
    pub policy: Policy,
    /// The container that the code runs in, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerInfo>,
    /// What became of the modules that were to be preloaded, where any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preload: Option<Preload>,
    /// The absolute path of the workspace on this host.
    #[serde(skip)]
    pub work_dir: PathBuf,
    /// The absolute path of the workspace where the code runs.
    #[serde(skip)]
    pub workspace: PathBuf,
}

impl SessionInfo {
    /// Of a session whose code sees the work_dir as this host does.
    pub(crate) fn new(executor: &str, work_dir: PathBuf) -> Self {
        let workspace = work_dir.clone();
        Self {
            executor: executor.to_owned(),
            policy: Policy::default(),
            container: None,
            preload: None,
            work_dir,
            workspace,
        }
    }
}

/// The container of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ContainerInfo {
    /// The id that the daemon gave it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image, as it was asked for.
    pub image: String,
    /// The daemon's address.
    pub daemon: String,
    /// How the work_dir and the workspace are one.
    pub workspace: WorkspaceMode,
}

/// How the work_dir on this host and the workspace in the container are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkspaceMode {
    /// The work_dir is mounted.
    Bind,
    /// The work_dir was copied at the start, and what blocks create or change is copied back after each.
    Copy,
}

/// What is enforced on the code: nothing, for a local session without a sandbox.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// By the sandbox of a local session.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxPolicy>,
    /// By the container that the code runs in, where it does.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerPolicy>,
}

/// What every call of a session begins with.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) timeout: Duration,
    pub(crate) keep_going: bool,
    pub(crate) merge_streams: bool,
    pub(crate) backpressure: bool,
    pub(crate) output_limit: u64,
    pub(crate) env: Vec<(ByteBuf, ByteBuf)>,
    /// The blocks are Stockade's own, and leave no file.
    pub(crate) discard_file: bool,
    /// What blocks are told that fail for want of something.
    pub(crate) hints: Hints,
}

/// A started executor. Its blocks share a workspace and can disturb each other; they can't reach its wire.
///
/// Dropping it ends everything that its blocks left running, and calls that are under way, without waiting for
/// that; [`stop`](Self::stop) waits.
#[derive(Debug)]
pub struct Session {
    client: Arc<Client>,
    info: SessionInfo,
    files: Arc<Files>,
    defaults: Defaults,
    /// Cancelled when the place of the session has ended: its process is gone.
    ended: CancellationToken,
}

impl Session {
    pub(crate) fn new(
        client: Client,
        info: SessionInfo,
        defaults: Defaults,
        ended: CancellationToken,
    ) -> Self {
        let client = Arc::new(client);
        let files = Arc::new(Files::shared(&info));
        let defaults = Defaults { hints: Hints::of(&info.policy), ..defaults };
        Self { client, info, files, defaults, ended }
    }

    /// Copies the work_dir into the workspace, and from now on what blocks change back.
    pub(crate) async fn with_copies(mut self) -> Result<Self> {
        self.files = Arc::new(Files::copied(&self.info, &self.client).await?);
        Ok(self)
    }

    /// Whether blocks have a copy of the work_dir.
    pub(crate) fn copies_its_work_dir(&self) -> bool {
        self.files.are_copied()
    }

    /// The same session with another work_dir on this host, of which the workspace gets a copy.
    pub(crate) async fn with_work_dir(mut self, work_dir: &Path) -> Result<Self> {
        self.info.work_dir = executor::make_work_dir(work_dir)?;
        self.with_copies().await
    }

    /// Whether nothing is known that would keep it from running blocks.
    pub(crate) fn is_well(&self) -> bool {
        !self.client.failed().is_cancelled() && !self.ended.is_cancelled()
    }

    /// Its end, for somebody who does not have the session.
    pub(crate) fn ending(&self) -> Ending {
        let failed = self.client.failed().clone();
        Ending { client: Arc::downgrade(&self.client), failed, ended: self.ended.clone() }
    }

    /// Sets variables for every call.
    pub(crate) fn add_env(&mut self, variables: Vec<(ByteBuf, ByteBuf)>) {
        self.defaults.env.extend(variables);
    }

    /// Has Python modules imported for all its calls.
    pub(crate) async fn preload(&self, modules: &[String], timeout: Duration) -> Result<Preloaded> {
        self.client.preload(modules.to_vec(), self.defaults.env.clone(), timeout).await
    }

    pub(crate) fn set_preload(&mut self, preload: Option<Preload>) {
        self.info.preload = preload;
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.defaults.timeout
    }

    /// Runs the blocks in order, and stops at the first that fails unless the executor keeps going.
    ///
    /// Dropping the future cancels the call, as the token does; only the token gives a result then, with what
    /// was printed until the cancel.
    ///
    /// # Errors
    ///
    /// When Stockade fails: [`Error::SessionEnded`], [`Error::Runner`] or [`Error::BlockTooLarge`], with the
    /// outcomes of the blocks that had finished. What becomes of the code is no error.
    pub async fn execute_code_blocks(
        &self,
        blocks: &[CodeBlock],
        cancellation_token: &CancellationToken,
    ) -> Result<CommandLineCodeResult> {
        self.call(blocks).cancellation_token(cancellation_token).run().await
    }

    /// A call with options of its own, or one whose events are wanted.
    pub fn call<'a>(&self, blocks: impl Into<Cow<'a, [CodeBlock]>>) -> Call<'a> {
        let (client, files) = (Arc::clone(&self.client), Arc::clone(&self.files));
        Call::new(client, files, blocks.into(), self.defaults.clone())
    }

    /// Every language, and what runs it here.
    ///
    /// # Errors
    ///
    /// [`Error::SessionEnded`].
    pub async fn languages(&self) -> Result<Vec<LanguageReport>> {
        Ok(self.client.languages().await?.into_iter().map(LanguageReport::from).collect())
    }

    /// Saves a file in the workspace, and makes its parents. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// [`Error::Runner`] for a path that is absolute, has a `..` or leads out through a link, or that the file
    /// system refuses; [`Error::SessionEnded`].
    pub async fn put_file(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<()> {
        files::put(&self.client, path.as_ref(), contents.as_ref()).await
    }

    /// The contents of a regular file in the workspace. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// As [`put_file`](Self::put_file), and [`Error::Runner`] for what is no regular file, is not there, or has more
    /// than 1 GiB.
    pub async fn get_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        files::get(&self.client, path.as_ref(), MAX_FILE).await
    }

    /// What the session is and enforces.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// The absolute path of the workspace on this host.
    pub fn work_dir(&self) -> &Path {
        &self.info.work_dir
    }

    /// The absolute path of the workspace where the code runs.
    pub fn workspace(&self) -> &Path {
        &self.info.workspace
    }

    /// Bytes that processes which finished blocks left running have printed since.
    pub fn background_bytes(&self) -> u64 {
        self.client.background_bytes()
    }

    /// What such processes print from now on. A later call of this ends an earlier one's.
    ///
    /// # Errors
    ///
    /// [`Error::SessionEnded`].
    pub fn background_output(&self) -> Result<Background> {
        Ok(Background { output: self.client.watch_background()? })
    }

    /// Ends every process of the session and waits for the end, for some 20 s at most. Calls that are under way
    /// give their outcomes as cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::SessionEnded`] with [`Fault::Survivors`] when a process can't be ended, and with whatever had
    /// ended the session before, should its blocks not have been able to end in order.
    pub async fn stop(self) -> Result<()> {
        self.end().await
    }

    pub(crate) async fn end(&self) -> Result<()> {
        let survivors = self.client.stop(Fault::Stopped).await;
        // The runner ends at the latest now, and by force if it does not.
        self.client.close();
        self.ended.cancelled().await;
        match survivors {
            Ok(pids) if pids.is_empty() => Ok(()),
            Ok(pids) => Err(Error::ended(Fault::Survivors { pids })),
            // Its pool has stopped it before, in order.
            Err(Error::SessionEnded { fault, .. }) if fault.is_asked_for() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A call holds the conversation too, and must not keep it going: its workspace may go with the session.
impl Drop for Session {
    fn drop(&mut self) {
        self.client.close();
    }
}

/// The end of a session: to be waited for, or brought about.
#[derive(Debug)]
pub(crate) struct Ending {
    client: Weak<Client>,
    /// The conversation broke, and the place is being ended for that.
    failed: CancellationToken,
    ended: CancellationToken,
}

impl Ending {
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Waits until the place of the session is gone.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Ends it as [`Session::stop`] does, whoever has it, and is told why.
    pub(crate) async fn end(&self, why: Fault) {
        if let Some(client) = self.client.upgrade() {
            // What it could not end is its holder's to be told.
            let _ = client.stop(why).await;
            client.close();
        }
        self.ended().await;
    }
}

/// What processes print that finished blocks left running.
#[derive(Debug)]
pub struct Background {
    output: Watcher,
}

impl Background {
    /// The next piece; `None` when the session has ended.
    pub async fn next(&mut self) -> Option<BackgroundOutput> {
        poll_fn(|context| self.output.poll_next(context)).await
    }
}

impl futures_core::Stream for Background {
    type Item = BackgroundOutput;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.output.poll_next(context)
    }
}
