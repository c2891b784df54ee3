//! Figures over time, kept in memory: what charts show when they are opened, and no more.
//!
//! Two rings: a sample every 2 s for the last hour, and one every 30 s for the last day. A sample is a mean over its step, so
//! that nothing between two of them is missed. It refuses to outlive the process: who wants figures of weeks has Prometheus.

mod ring;
#[cfg(test)]
mod tests;

use crate::aggregate::Snapshot;
use ring::Ring;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The longest time that is kept.
pub const RANGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Step and number of samples of each ring, the finest first.
const RINGS: [(Duration, usize); 2] = [(Duration::from_secs(2), 1_800), (Duration::from_secs(30), 2_880)];
/// Shards that have figures of their own here; the load of further ones is told as of now only.
pub const SHARDS_KEPT_MAX: usize = 128;

loka_proto::labels! {
    /// What is kept.
    pub enum Metric {
        /// Hashes per second, from accepted difficulty.
        Hashrate => "hashrate",
        /// Shares accepted, per second.
        Accepted => "accepted",
        /// Shares rejected by pools, per second.
        Rejected => "rejected",
        /// Shares refused by the proxy, per second.
        Refused => "refused",
        /// Miners connected.
        Connections => "connections",
        /// Median of the milliseconds that answers to shares took.
        ResponseP50 => "response_p50_ms",
        /// Their 99th percentile.
        ResponseP99 => "response_p99_ms",
        /// Hashes per second of each pool.
        PoolHashrate => "pool_hashrate",
        /// Part of the time that each shard was busy, 0 to 1.
        ShardBusy => "shard_busy",
    }
}

impl Metric {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Metric> {
        Metric::ALL.iter().copied().find(|metric| metric.label() == name)
    }
}

/// The part of the past that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// How far samples are apart.
    pub step: Duration,
    /// When each step ended, in milliseconds since 1970; the oldest first.
    pub unix_milliseconds: Vec<u64>,
    /// Each line with its values, one for each of those; NaN where nothing is known.
    pub series: Vec<(String, Vec<f32>)>,
}

/// The rings; clones share them.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Rings>>);

#[derive(Debug)]
struct Rings([Ring; RINGS.len()]);

impl Default for Rings {
    fn default() -> Self {
        Rings(RINGS.map(|(step, samples)| Ring::new(step, samples)))
    }
}

impl History {
    /// Remembers what `now` says, if it is time for a sample. `at` is what clocks showed when it was taken.
    pub fn see(&self, now: &Snapshot, at: SystemTime) {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rings.0.iter_mut().for_each(|ring| ring.see(now, at));
    }

    /// The last `range` of these metrics, from the finest ring that reaches so far back.
    pub fn past(&self, range: Duration, wanted: &[Metric]) -> Past {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reaches = |ring: &&Ring| ring.reach() >= range;
        let ring = rings.0.iter().find(reaches).unwrap_or(&rings.0[RINGS.len() - 1]);
        ring.past(range, wanted)
    }

    /// Bytes that the samples take now.
    pub fn bytes(&self) -> usize {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rings.0.iter().map(Ring::bytes).sum()
    }
}
