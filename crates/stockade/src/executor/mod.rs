//! Executors: where blocks run. An executor is a template; a session is what it starts. Each executor finds a
//! place, gets a runner started there and owns the byte stream to it; all the rest is the same for all.

pub(crate) mod control_group;
pub(crate) mod docker;
mod local;
mod restartable;
mod work_dir;

use std::{fmt, future::Future, pin::Pin};

pub(crate) use self::work_dir::make_work_dir;
pub use self::{
    docker::{
        Capabilities, ContainerPolicy, DeviceRequest, DockerCommandLineCodeExecutor,
        DockerCommandLineCodeExecutorBuilder, Life, ParseOptionError, ParsePullError, Pull, PullProgress,
        SessionContainer, Ulimit, Volume, prune_session_containers, session_containers,
    },
    local::{LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder},
    restartable::RestartableExecutor,
};
use crate::{
    Session,
    error::{Error, Result},
    functions,
    options::SessionOptions,
    preload,
};

/// What the sessions of a pool can't have: they would all have the same.
fn shared(option: &'static str, what_to_do: &str) -> Result<()> {
    let why = format!("would be shared by all sessions of the pool; {what_to_do}");
    Err(Error::InvalidOption { option, why })
}

/// For a work_dir.
fn shared_work_dir() -> Result<()> {
    shared(
        "work_dir",
        "leave it out, so that each has a temporary one, or name it when a session is acquired",
    )
}

/// A boxed future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place where blocks can run: a template of sessions, and one that can be a trait object.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use stockade::{CancellationToken, CodeBlock, CodeExecutor, LocalCommandLineCodeExecutor};
///
/// let executor: Box<dyn CodeExecutor> = Box::new(LocalCommandLineCodeExecutor::builder().build()?);
/// let session = executor.start().await?;
/// let blocks = [CodeBlock::new("sh", "echo hello")];
/// let result = session.execute_code_blocks(&blocks, &CancellationToken::new()).await?;
/// assert_eq!(result.output, "hello\n");
/// session.stop().await?;
/// # Ok::<(), stockade::Error>(()) }).unwrap();
/// ```
pub trait CodeExecutor: fmt::Debug + Send + Sync {
    /// Starts a session. It is ready to run blocks.
    ///
    /// # Errors
    ///
    /// When the place can't be had or prepared; what was made of it is ended again.
    fn start(&self) -> BoxFuture<'_, Result<Session>>;

    /// Whether each of its sessions has a place of its own, as those of a [`Pool`](crate::Pool) must.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`], about what they would share, such as a work_dir.
    fn check_for_pool(&self) -> Result<()> {
        Ok(())
    }
}

/// Does in a session what its options ask for before its first block.
pub(crate) async fn prepare(mut session: Session, options: &SessionOptions) -> Result<Session> {
    match equip(&mut session, options).await {
        Ok(()) => Ok(session),
        Err(error) => {
            // What a refused start had is gone when it is told: its container's name can be used again.
            let _ = session.stop().await;
            Err(error)
        }
    }
}

async fn equip(session: &mut Session, options: &SessionOptions) -> Result<()> {
    let variables = functions::install(session, options).await?;
    session.add_env(variables);
    let preload = preload::load(session, options).await?;
    session.set_preload(preload);
    Ok(())
}

impl<E: CodeExecutor + ?Sized> CodeExecutor for Box<E> {
    fn start(&self) -> BoxFuture<'_, Result<Session>> {
        (**self).start()
    }

    fn check_for_pool(&self) -> Result<()> {
        (**self).check_for_pool()
    }
}
