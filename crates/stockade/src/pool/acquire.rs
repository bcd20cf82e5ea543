//! An acquire that is being put together, as a call is, and the folder that a session is given late.

use std::{
    fmt,
    future::IntoFuture,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Handed, Pool};
use crate::{
    BoxFuture, Session,
    error::{Error, Result},
};

/// An acquire: `await` it. See [`Pool::acquire`].
#[must_use = "nothing is acquired until this is awaited"]
#[derive(Clone)]
pub struct Acquire {
    pool: Pool,
    within: Duration,
    work_dir: Option<PathBuf>,
}

impl Acquire {
    pub(super) fn new(pool: Pool) -> Self {
        let within = pool.core().acquire_timeout;
        Self { pool, within, work_dir: None }
    }

    /// How long to wait, in place of the pool's `acquire_timeout`.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// The directory on this host whose files the blocks work with: it is copied into the session's workspace, and what
    /// blocks create or change is copied back. By default a session has a temporary one.
    ///
    /// That needs sessions which copy: those of [`WorkspaceMode::Copy`](crate::WorkspaceMode::Copy), and local ones
    /// with a [`workspace_size`](crate::Sandbox::workspace_size). A directory can't be mounted into a session that
    /// has been started, so sessions that share theirs are refused, with [`Error::WorkDir`].
    pub fn work_dir(mut self, work_dir: impl Into<PathBuf>) -> Self {
        self.work_dir = Some(work_dir.into());
        self
    }

    async fn session(self) -> Result<Session> {
        let (core, begun) = (self.pool.core(), Instant::now());
        let handed = core.acquire(self.within).await?;
        let session = match self.work_dir {
            Some(work_dir) => self.pool.move_in(handed, &work_dir).await?,
            None => handed.session,
        };
        let counts = &mut core.state().counts;
        counts.acquired += 1;
        counts.wait_time.add(begun.elapsed());
        Ok(session)
    }
}

impl Pool {
    /// Gives a session its work_dir. One that can't have any is for others.
    async fn move_in(&self, handed: Handed<Session>, work_dir: &Path) -> Result<Session> {
        if handed.session.copies_its_work_dir() {
            return handed.session.with_work_dir(work_dir).await;
        }
        self.core().give_back(handed);
        let why = "the pool's sessions share their work_dir with the code, and have been started with one";
        let source = io::Error::new(io::ErrorKind::Unsupported, why);
        Err(Error::WorkDir { path: work_dir.to_owned(), source })
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Session>;
    type IntoFuture = BoxFuture<'static, Result<Session>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.session())
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut acquire = formatter.debug_struct("Acquire");
        acquire.field("within", &self.within).field("work_dir", &self.work_dir).finish_non_exhaustive()
    }
}
