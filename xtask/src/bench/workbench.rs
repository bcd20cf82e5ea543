//! What every measurement needs: a runtime to await calls on, how much to do, and blocks that must succeed.

use std::{
    error::Error,
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use stockade::{CancellationToken, CodeBlock, CommandLineCodeResult, LocalCommandLineCodeExecutor, Session};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A caller's pause, in which the next interpreter gets ready.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Workbench {
    runtime: Runtime,
    quick: bool,
    /// Codes that were made distinct.
    distinct: AtomicUsize,
}

impl Workbench {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, quick, distinct: AtomicUsize::new(0) })
    }

    /// How often something is done: `full` times, or `quick` times when there is little time.
    pub(crate) fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A session of the local executor without a sandbox, with its defaults otherwise.
    pub(crate) fn session(&self) -> Result<Session> {
        let executor = LocalCommandLineCodeExecutor::builder().no_sandbox().build()?;
        Ok(self.wait(executor.start())?)
    }

    pub(crate) fn stop(&self, session: Session) -> Result<()> {
        Ok(self.wait(session.stop())?)
    }

    /// Runs a block, which must succeed.
    pub(crate) fn run(&self, session: &Session, block: &CodeBlock) -> Result<CommandLineCodeResult> {
        let blocks = std::slice::from_ref(block);
        succeeded(self.wait(session.execute_code_blocks(blocks, &CancellationToken::new()))?)
    }

    /// Awaits all of them at once and gives what they give, in the order in which they end.
    pub(crate) fn wait_for_all<T: Send + 'static>(
        &self,
        futures: impl IntoIterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
    ) -> Result<Vec<T>> {
        self.wait(async {
            let mut tasks: JoinSet<Result<T>> = JoinSet::new();
            for future in futures {
                tasks.spawn(future);
            }
            tasks.join_all().await.into_iter().collect()
        })
    }

    /// Shell code that does nothing, and is saved in a file of its own.
    pub(crate) fn distinct_code(&self) -> String {
        format!("true # {}", self.distinct.fetch_add(1, Ordering::Relaxed))
    }
}

/// The result, if the code succeeded: everything that is measured does.
pub(crate) fn succeeded(result: CommandLineCodeResult) -> Result<CommandLineCodeResult> {
    match result.exit_code {
        0 => Ok(result),
        code => Err(format!("a block ended with {code}: {}", result.output.trim_end()).into()),
    }
}
