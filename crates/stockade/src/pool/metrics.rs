//! What a pool tells of itself, for whoever operates it: how many sessions there are of each kind now, and what has
//! happened since it was built.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// What a pool has at one moment, and what has happened until then.
///
/// Serialized it is one object of numbers; its `start_time` and `wait_time` are objects of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Sessions that wait to be acquired.
    pub idle: usize,
    /// Sessions that were acquired and have not ended.
    pub in_use: usize,
    /// Sessions that are being started.
    pub starting: usize,
    /// Sessions that were never acquired and are ending.
    pub ending: usize,
    /// Acquires that wait.
    pub waiting: usize,
    /// What has happened since the pool was built.
    #[serde(flatten)]
    pub counts: PoolCounts,
}

/// What has happened in a pool since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct PoolCounts {
    /// Sessions that were started.
    pub started: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Acquires that gave a session.
    pub acquired: u64,
    /// Acquires that waited in vain.
    pub timed_out: u64,
    /// Sessions that ended by themselves, or broke, before anybody acquired them.
    pub ended_while_idle: u64,
    /// Sessions that were replaced as they had been idle for too long.
    pub expired_while_idle: u64,
    /// Sessions that were ended while they were in use, as they had lived for too long.
    pub expired_in_use: u64,
    /// Sessions that were ended while they were in use, as the pool was closed and its grace over.
    pub closed_in_use: u64,
    /// How long starts took.
    pub start_time: PoolTimes,
    /// How long acquires that gave a session took.
    pub wait_time: PoolTimes,
}

/// The times of something that happens again and again. How often it has happened is a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct PoolTimes {
    /// The last.
    #[serde(rename = "last_ms", serialize_with = "milliseconds")]
    pub last: Duration,
    /// The longest.
    #[serde(rename = "longest_ms", serialize_with = "milliseconds")]
    pub longest: Duration,
    /// All together.
    #[serde(rename = "total_ms", serialize_with = "milliseconds")]
    pub total: Duration,
}

impl PoolTimes {
    pub(super) fn add(&mut self, time: Duration) {
        self.last = time;
        self.longest = self.longest.max(time);
        self.total = self.total.saturating_add(time);
    }
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_milliseconds() {
        let mut times = PoolTimes::default();
        times.add(Duration::from_micros(1500));
        times.add(Duration::from_millis(1));
        let told = serde_json::to_value(times).unwrap();
        assert_eq!(told, serde_json::json!({"last_ms": 1.0, "longest_ms": 1.5, "total_ms": 2.5}));
    }
}
