//! What the control plane asks shards while they run: which connections a worker has now, and how each of them is.
//!
//! A shard answers on its ticks, a part of its links on each, and keeps nothing for it in between: who asks pays. It waits for
//! nobody: the answer goes into a lock-free queue that has a place for it, where whoever asked looks for it.

use crate::plan::limits::SESSIONS_TOLD_MAX;
use crossbeam::queue::ArrayQueue;
use loka_proto::{ClientId, PoolId, Tally, WorkerState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One connection of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// Its name in its shard, as the log tells it.
    pub client: ClientId,
    /// Where its miner is, as far as that is known.
    pub address: Option<IpAddr>,
    /// Whether its miner speaks TLS.
    pub is_tls: bool,
    /// Microseconds since it was accepted.
    pub age_us: u64,
    /// What its miner calls itself.
    pub agent: Option<Arc<str>>,
    /// Where the worker stands with the pool.
    pub state: WorkerState,
    /// The pool that it works for now.
    pub pool: Option<PoolId>,
    /// The difficulty of its newest job; zero before the first.
    pub difficulty: f64,
    /// What became of its shares, those of its other workers included.
    pub tally: Tally,
    /// Microseconds since one of them was accepted last, if one was.
    pub accepted_ago_us: Option<u64>,
}

/// What one shard has found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionsFound {
    /// The shard's number.
    pub shard: usize,
    /// Connections that the worker has there.
    pub connections: usize,
    /// Those of them that are told of, at most [`SESSIONS_TOLD_MAX`].
    pub sessions: Vec<SessionView>,
}

impl SessionsFound {
    /// Whether there is nothing left to look for.
    pub(crate) fn is_complete(&self) -> bool {
        self.sessions.len() >= self.connections.min(SESSIONS_TOLD_MAX)
    }
}

/// A question to all shards.
#[derive(Debug)]
pub struct SessionsQuestion {
    worker: String,
    answers: ArrayQueue<SessionsFound>,
    is_over: AtomicBool,
}

impl SessionsQuestion {
    /// Which connections this worker has; `shards` of them will answer.
    #[must_use]
    pub fn new(worker: String, shards: usize) -> Arc<SessionsQuestion> {
        let answers = ArrayQueue::new(shards.max(1));
        Arc::new(SessionsQuestion { worker, answers, is_over: AtomicBool::new(false) })
    }

    /// The worker's whole name.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// An answer that has come, of any shard.
    #[must_use]
    pub fn next_answer(&self) -> Option<SessionsFound> {
        self.answers.pop()
    }

    /// Nobody waits for the answers any more.
    pub fn give_up(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Leaves what a shard has found. There is a place for one answer of each shard.
    pub fn answer(&self, found: SessionsFound) {
        let _ = self.answers.push(found);
    }
}
