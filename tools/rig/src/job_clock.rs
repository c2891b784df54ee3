//! Tells when a job left the pool, so that a swarm in the same process can tell how long it took to reach each miner.
//!
//! It refuses to guess: only a job that was marked, and only while the next one has not been marked, has a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Shared by a pool ([`PoolConfig::job_clock`](crate::PoolConfig)) and a swarm ([`SwarmConfig::job_clock`](crate::SwarmConfig))
/// of one process. Copies show the same mark.
#[derive(Debug, Clone)]
pub struct JobClock {
    origin: Instant,
    /// Nanoseconds since `origin`; zero before the first mark.
    sent_ns: Arc<AtomicU64>,
}

impl Default for JobClock {
    fn default() -> Self {
        JobClock { origin: Instant::now(), sent_ns: Arc::default() }
    }
}

impl JobClock {
    /// A job is about to be sent to everybody; or something is about to happen that will bring miners a new job, such as the
    /// end of their pool.
    pub fn mark(&self) {
        self.sent_ns.store(self.now_ns().max(1), Ordering::Release);
    }

    /// Nanoseconds since the newest mark, if there is one.
    pub(crate) fn since_mark_ns(&self) -> Option<u64> {
        let sent_ns = self.sent_ns.load(Ordering::Acquire);
        (sent_ns != 0).then(|| self.now_ns().saturating_sub(sent_ns))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
