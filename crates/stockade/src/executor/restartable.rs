//! One executor, one session at a time: for programs that hold an executor for long and start, stop and restart
//! it in place, as AutoGen's do.

use std::sync::Arc;

use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::CodeExecutor;
use crate::{
    CodeBlock, CommandLineCodeResult, Session,
    error::{Error, Result},
};

/// An executor and the session that it has started, if any.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use stockade::{CancellationToken, CodeBlock, LocalCommandLineCodeExecutor, RestartableExecutor};
///
/// let executor = RestartableExecutor::new(LocalCommandLineCodeExecutor::builder().build()?);
/// executor.start().await?;
/// let blocks = [CodeBlock::new("sh", "echo hello")];
/// assert_eq!(executor.execute_code_blocks(&blocks, &CancellationToken::new()).await?.exit_code, 0);
/// executor.restart().await?;
/// executor.stop().await?;
/// # Ok::<(), stockade::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct RestartableExecutor {
    executor: Box<dyn CodeExecutor>,
    session: RwLock<Option<Arc<Session>>>,
}

impl RestartableExecutor {
    /// An executor that has not started.
    pub fn new(executor: impl CodeExecutor + 'static) -> Self {
        Self { executor: Box::new(executor), session: RwLock::new(None) }
    }

    /// Starts a session; nothing where one has started.
    ///
    /// # Errors
    ///
    /// As [`CodeExecutor::start`].
    pub async fn start(&self) -> Result<()> {
        let mut session = self.session.write().await;
        if session.is_none() {
            *session = Some(Arc::new(self.executor.start().await?));
        }
        Ok(())
    }

    /// Runs the blocks in the session that has started. Calls can be under way at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], and as [`Session::execute_code_blocks`].
    pub async fn execute_code_blocks(
        &self,
        blocks: &[CodeBlock],
        cancellation_token: &CancellationToken,
    ) -> Result<CommandLineCodeResult> {
        let session = self.session().await.ok_or(Error::NotStarted)?;
        session.execute_code_blocks(blocks, cancellation_token).await
    }

    /// The session that has started.
    pub async fn session(&self) -> Option<Arc<Session>> {
        self.session.read().await.clone()
    }

    /// Stops the session; nothing where none has started. Calls that are under way end as cancelled.
    ///
    /// # Errors
    ///
    /// As [`Session::stop`].
    pub async fn stop(&self) -> Result<()> {
        let session = self.session.write().await.take();
        match session {
            Some(session) => session.end().await,
            None => Ok(()),
        }
    }

    /// Stops the session, whatever has become of it, and starts a new one.
    ///
    /// # Errors
    ///
    /// As [`CodeExecutor::start`]. That the old session could not end in order is no error here.
    pub async fn restart(&self) -> Result<()> {
        if let Err(error) = self.stop().await {
            tracing::warn!(%error, "the session to be restarted did not end in order");
        }
        self.start().await
    }
}
