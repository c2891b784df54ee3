//! `[failover]`, checked: when a pool has failed, and what then happens to its miners.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// `[failover]`: when a pool has failed, and when it is trusted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverConfig {
    /// How long a miner may wait without any pool; 0 to 1 h.
    pub hold_miners: Duration,
    /// How long a pool may take to answer `mining.subscribe`; 1 s to 1 min.
    pub handshake_timeout: Duration,
    /// A pool that sends no job for so long has failed; 10 s to 1 day.
    pub notify_silence: Duration,
    /// How long a pool may stay on an older block than the other pools; 10 s to 1 day.
    pub behind_for: Duration,
    /// Failures in a row that make a pool failed; 1 to 100.
    pub failures: NonZeroU32,
    /// The first pause before a failed pool is tried again; 100 ms to 1 h.
    pub backoff_min: Duration,
    /// The longest such pause; `backoff_min` to 1 day.
    pub backoff_max: Duration,
    /// How long a pool that came back must stay well before miners return to it; 0 to 1 day.
    pub stable_for: Duration,
    /// New connections a second to one pool, over all shards; `None`: no limit.
    pub connects_per_second: Option<NonZeroU32>,
    /// Rejected shares in percent of those answered within `window` that make a pool failed; 1 to 100.
    pub reject_percent: u32,
    /// The 95th percentile of response times within `window` that makes a pool failed; 10 ms to 10 min.
    pub response_p95: Duration,
    /// The time over which rejects and response times are judged; 10 s to 1 h.
    pub window: Duration,
    /// Name servers that are asked for the pools' names, at most 4; empty: the host's resolver.
    pub dns_servers: Vec<IpAddr>,
}

impl FailoverConfig {
    /// Fewer shares than this within `window` say nothing about a pool: it is not judged by its rejects and response
    /// times.
    pub const SHARES_MIN: u64 = 20;
}
