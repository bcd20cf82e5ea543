//! What a pool can be asked for, and what no pool can do.

use std::time::Duration;

use super::{Limits, Pool};
use crate::{
    CodeExecutor,
    error::{Error, Result},
};

/// As pools of connections have them by default.
const MAX_TOTAL: usize = 10;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Puts together a [`Pool`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    executor: Box<dyn CodeExecutor>,
    options: Options,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    min_idle: usize,
    max_total: usize,
    pub(super) acquire_timeout: Duration,
    max_idle_time: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
}

impl PoolBuilder {
    pub(super) fn new(executor: Box<dyn CodeExecutor>) -> Self {
        let options = Options {
            min_idle: 1,
            max_total: MAX_TOTAL,
            acquire_timeout: ACQUIRE_TIMEOUT,
            max_idle_time: None,
            max_lifetime: None,
        };
        Self { executor, options }
    }

    /// How many sessions are kept idle, as far as `max_total` leaves room; 1 by default. With 0 a session is started
    /// when it is asked for.
    pub fn min_idle(mut self, sessions: usize) -> Self {
        self.options.min_idle = sessions;
        self
    }

    /// The most sessions that there are at any time: idle, in use, being started, and ending; 10 by default.
    pub fn max_total(mut self, sessions: usize) -> Self {
        self.options.max_total = sessions;
        self
    }

    /// How long an acquire waits; 30 s by default. With zero it takes what is idle, or fails.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.options.acquire_timeout = timeout;
        self
    }

    /// How long a session may be idle before it is replaced by a new one; for ever by default.
    pub fn max_idle_time(mut self, time: Duration) -> Self {
        self.options.max_idle_time = Some(time);
        self
    }

    /// How long a session may live; for ever by default. One that is in use is ended then, and its calls end as
    /// cancelled. One that is idle is replaced after half of that time, so that whoever acquires a session has the
    /// other half at least.
    pub fn max_lifetime(mut self, time: Duration) -> Self {
        self.options.max_lifetime = Some(time);
        self
    }

    /// The pool. It starts its first sessions when it is first used.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`], also for an executor whose sessions would share something:
    /// [`CodeExecutor::check_for_pool`].
    pub fn build(self) -> Result<Pool> {
        self.options.check()?;
        self.executor.check_for_pool()?;
        Ok(Pool::new(self.executor, &self.options))
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let invalid = |option, why: String| Err(Error::InvalidOption { option, why });
        if self.max_total == 0 {
            return invalid("max_total", "must be at least 1".to_owned());
        }
        if self.min_idle > self.max_total {
            let (min_idle, max_total) = (self.min_idle, self.max_total);
            return invalid("min_idle", format!("must be at most max_total, {max_total}, not {min_idle}"));
        }
        for (option, time) in [("max_idle_time", self.max_idle_time), ("max_lifetime", self.max_lifetime)] {
            if time.is_some_and(|time| time.is_zero()) {
                return invalid(option, "must be longer than zero".to_owned());
            }
        }
        Ok(())
    }

    pub(super) fn limits(&self) -> Limits {
        let half = self.max_lifetime.map(|time| time / 2);
        Limits {
            min_idle: self.min_idle,
            max_total: self.max_total,
            max_idle_time: self.max_idle_time.into_iter().chain(half).min(),
        }
    }
}
