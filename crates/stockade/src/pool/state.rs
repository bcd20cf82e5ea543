//! The books of a pool: which of its sessions are idle, in use, being started or ending, and who waits. Owns every
//! decision, as a plain value that is told what has happened and what time it is. It starts and ends nothing itself,
//! and knows no more of a session than its number.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::metrics::{PoolCounts, PoolMetrics};
use crate::error::{Error, Result};

/// How long the refill leaves the machine to whoever has just acquired a session: a start would slow his first block.
const BREATH: Duration = Duration::from_millis(25);
/// How long the refill pauses after a start that failed. The pause doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How many sessions there are to be, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) min_idle: usize,
    pub(super) max_total: usize,
    /// After which an idle session is replaced.
    pub(super) max_idle_time: Option<Duration>,
}

/// A session that is handed to somebody.
#[derive(Debug)]
pub(super) struct Handed<S> {
    pub(super) number: u64,
    pub(super) session: S,
    pub(super) idle_since: Instant,
}

/// Whoever waits for a session.
#[derive(Debug)]
struct Waiter<S> {
    ticket: u64,
    taker: oneshot::Sender<Result<Handed<S>>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State<S> {
    limits: Limits,
    /// The oldest is the first.
    idle: VecDeque<Handed<S>>,
    /// Nobody waits while a session is idle. Who came first is the first.
    waiting: VecDeque<Waiter<S>>,
    /// Who waits for the pool to be filled.
    filling: Vec<oneshot::Sender<Result<()>>>,
    in_use: HashSet<u64>,
    starting: usize,
    /// Idle sessions that were dropped and whose places are not gone.
    ending: usize,
    /// Starts in a row that failed, and until when the refill pauses, for that or to leave the machine to somebody.
    failures: u32,
    paused_until: Option<Instant>,
    is_closed: bool,
    next_number: u64,
    pub(super) counts: PoolCounts,
}

impl<S> State<S> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            filling: Vec::new(),
            in_use: HashSet::new(),
            starting: 0,
            ending: 0,
            failures: 0,
            paused_until: None,
            is_closed: false,
            next_number: 0,
            counts: PoolCounts::default(),
        }
    }

    /// An idle session that is well. Those that are not are given up.
    pub(super) fn take(&mut self, now: Instant, is_well: impl Fn(&S) -> bool) -> Option<Handed<S>> {
        while let Some(oldest) = self.idle.pop_front() {
            if is_well(&oldest.session) {
                // A pause is not made longer, or those who come one after another would keep the pool empty.
                self.paused_until.get_or_insert(now + BREATH);
                self.in_use.insert(oldest.number);
                return Some(oldest);
            }
            self.ending += 1;
            self.counts.ended_while_idle += 1;
        }
        None
    }

    /// Queues somebody for a session. The ticket is for leaving the queue.
    pub(super) fn wait(&mut self) -> (u64, oneshot::Receiver<Result<Handed<S>>>) {
        let (taker, taken) = oneshot::channel();
        let ticket = self.number();
        self.waiting.push_back(Waiter { ticket, taker });
        (ticket, taken)
    }

    /// Somebody waits no more.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.waiting.retain(|waiter| waiter.ticket != ticket);
    }

    /// Queues somebody who is told when the pool is full, or that a start failed.
    pub(super) fn wait_until_full(&mut self) -> oneshot::Receiver<Result<()>> {
        let (teller, told) = oneshot::channel();
        self.filling.push(teller);
        self.tell_if_full();
        told
    }

    /// How many sessions are to be started now. They count as being started from here on.
    pub(super) fn begin_starts(&mut self, now: Instant) -> usize {
        if self.is_closed {
            return 0;
        }
        self.filling.retain(|teller| !teller.is_closed());
        let is_paused = self.filling.is_empty() && self.paused_until.is_some_and(|until| now < until);
        let for_idle = if is_paused { 0 } else { self.limits.min_idle };
        let wanted = (self.waiting.len() + for_idle).saturating_sub(self.idle.len() + self.starting);
        let count = wanted.min(self.limits.max_total.saturating_sub(self.total()));
        self.starting += count;
        count
    }

    /// A start gave a session. The number is its own from now on; a session that nobody wants any more comes back.
    pub(super) fn started(&mut self, session: S, took: Duration, now: Instant) -> (u64, Option<S>) {
        self.starting -= 1;
        if self.failures > 0 {
            (self.failures, self.paused_until) = (0, None);
        }
        self.counts.started += 1;
        self.counts.start_time.add(took);
        let number = self.number();
        (number, self.hand_on(Handed { number, session, idle_since: now }))
    }

    /// A start failed. Whoever has waited longest is told why, unless another start is on its way for him.
    pub(super) fn failed(&mut self, error: Error, now: Instant) {
        self.starting -= 1;
        self.counts.failed_starts += 1;
        self.paused_until = Some(now + pause(self.failures));
        self.failures = self.failures.saturating_add(1);
        let mut untold = Err(error);
        while self.waiting.len() > self.starting
            && let Some(waiter) = self.waiting.pop_front()
        {
            match waiter.taker.send(untold) {
                Ok(()) => return,
                Err(back) => untold = back,
            }
        }
        if let (Err(error), Some(teller)) = (untold, self.filling.pop()) {
            let _ = teller.send(Err(error));
        }
    }

    /// Somebody who was handed a session has not used it. It comes back from here if nobody else wants it.
    pub(super) fn give_back(&mut self, handed: Handed<S>) -> Option<S> {
        // It may have ended meanwhile.
        if !self.in_use.remove(&handed.number) {
            return Some(handed.session);
        }
        self.hand_on(handed)
    }

    /// Gives a session to whoever has waited longest, or keeps it.
    fn hand_on(&mut self, mut handed: Handed<S>) -> Option<S> {
        if self.is_closed {
            self.ending += 1;
            return Some(handed.session);
        }
        while let Some(waiter) = self.waiting.pop_front() {
            let number = handed.number;
            match waiter.taker.send(Ok(handed)) {
                Ok(()) => {
                    self.in_use.insert(number);
                    self.tell_if_full();
                    return None;
                }
                Err(Ok(back)) => handed = back,
                Err(Err(_)) => return None,
            }
        }
        let place = self.idle.partition_point(|idle| idle.number < handed.number);
        self.idle.insert(place, handed);
        self.tell_if_full();
        None
    }

    /// The place of a session is gone, whatever it was doing.
    pub(super) fn ended(&mut self, number: u64) {
        if self.in_use.remove(&number) {
            return;
        }
        match self.idle.iter().position(|idle| idle.number == number) {
            Some(place) => {
                self.idle.remove(place);
                self.counts.ended_while_idle += 1;
            }
            None => self.ending -= 1,
        }
    }

    /// A session can't be used any more. It comes back from here if it was idle; its place goes later.
    pub(super) fn failed_while_idle(&mut self, number: u64) -> Option<S> {
        let place = self.idle.iter().position(|idle| idle.number == number)?;
        self.ending += 1;
        self.counts.ended_while_idle += 1;
        self.idle.remove(place).map(|idle| idle.session)
    }

    /// Gives up the sessions that have been idle for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<S> {
        let Some(limit) = self.limits.max_idle_time else { return Vec::new() };
        let count = self.idle.partition_point(|idle| idle.idle_since + limit <= now);
        self.ending += count;
        self.counts.expired_while_idle += count as u64;
        self.idle.drain(..count).map(|idle| idle.session).collect()
    }

    /// When there is something to do at the latest.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let expiry = self.limits.max_idle_time.and_then(|limit| Some(self.idle.front()?.idle_since + limit));
        expiry.into_iter().chain(self.paused_until).min()
    }

    /// The pause is over, whether or not anything was to be started.
    pub(super) fn end_pause(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| now < *until);
    }

    /// Gives nothing out any more. Who waits is told by the end of what he listens to; idle sessions come back.
    pub(super) fn close(&mut self) -> Vec<S> {
        self.is_closed = true;
        self.waiting.clear();
        self.filling.clear();
        self.paused_until = None;
        self.ending += self.idle.len();
        self.idle.drain(..).map(|idle| idle.session).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether it is closed and nothing of it is left.
    pub(super) fn is_drained(&self) -> bool {
        self.is_closed && self.total() == 0
    }

    /// What somebody is told who has waited for so long in vain.
    pub(super) fn exhausted(&mut self, waited: Duration) -> Error {
        self.counts.timed_out += 1;
        Error::PoolExhausted {
            waited,
            max_total: self.limits.max_total,
            in_use: self.in_use.len(),
            starting: self.starting,
        }
    }

    pub(super) fn metrics(&self) -> PoolMetrics {
        PoolMetrics {
            idle: self.idle.len(),
            in_use: self.in_use.len(),
            starting: self.starting,
            ending: self.ending,
            waiting: self.waiting.len(),
            counts: self.counts,
        }
    }

    fn total(&self) -> usize {
        self.idle.len() + self.in_use.len() + self.starting + self.ending
    }

    /// As full as it can be: sessions in use leave less room.
    fn tell_if_full(&mut self) {
        let room = self.limits.max_total.saturating_sub(self.in_use.len());
        if self.idle.len() >= self.limits.min_idle.min(room) {
            for teller in self.filling.drain(..) {
                let _ = teller.send(Ok(()));
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// How long the refill pauses after so many failures before this one.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
