//! One pool that is watched: what is known of it, and what of that is shown. It decides nothing.

use super::super::Target;
use super::super::breaker::{Breaker, Setting};
use super::super::judge::Judge;
use super::ASKED_AGAIN;
use crate::config::FailoverConfig;
use loka_proto::PoolState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// One pool, for whoever looks at it.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Whether the configuration still has it; if not, its last miners are about to move.
    pub is_configured: bool,
    /// Where it is, as configured.
    pub endpoint: String,
    /// Lower is preferred.
    pub priority: u32,
    /// Its part of the miners among pools of the same priority.
    pub weight: u32,
    /// How far it can be trusted.
    pub state: PoolState,
    /// Why; empty while all is well.
    pub cause: String,
    /// Since when.
    pub since: Instant,
    /// Addresses that its name leads to now.
    pub addresses: usize,
    /// How often it came into each state, by the state's index.
    pub transitions: [u64; PoolState::COUNT],
}

/// Views of all pools, in the order of the configuration.
pub type PoolViews = watch::Receiver<Arc<[PoolView]>>;

pub(super) struct Watched {
    pub(super) target: Arc<Target>,
    pub(super) is_configured: bool,
    /// See `roster::Place`.
    pub(super) born: u32,
    /// Where its name leads.
    pub(super) configured: Arc<[SocketAddr]>,
    /// Where it has sent its miners, until it fails.
    pub(super) elsewhere: Option<Elsewhere>,
    pub(super) place: u32,
    /// Where it asked its miners to go last, and when; forgotten when it fails.
    pub(super) asked: Option<(String, Instant)>,
    pub(super) breaker: Breaker,
    pub(super) judge: Judge,
    pub(super) priority: u32,
    pub(super) weight: u32,
    pub(super) transitions: [u64; PoolState::COUNT],
}

/// Where a pool has sent its miners.
pub(super) struct Elsewhere {
    pub(super) target: Arc<Target>,
    pub(super) addresses: Arc<[SocketAddr]>,
}

impl Watched {
    pub(super) fn addresses(&self) -> &Arc<[SocketAddr]> {
        self.elsewhere.as_ref().map_or(&self.configured, |elsewhere| &elsewhere.addresses)
    }

    /// How it is spoken to where it is now.
    pub(super) fn target_now(&self) -> &Arc<Target> {
        self.elsewhere.as_ref().map_or(&self.target, |elsewhere| &elsewhere.target)
    }

    /// Whether it has not been asked to go there already: every one of its miners is told, on every shard. A place that
    /// could not be gone to may be named again after a while.
    pub(super) fn is_news(&self, place: &str, now: Instant) -> bool {
        let before = self.asked.as_ref().filter(|(asked, _)| asked == place);
        before.is_none_or(|(_, at)| self.elsewhere.is_none() && now >= *at + ASKED_AGAIN)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.is_configured && self.breaker.state() != PoolState::Failed && !self.addresses().is_empty()
    }
}

pub(super) fn setting(limits: &FailoverConfig) -> Setting {
    let FailoverConfig { backoff_min, backoff_max, stable_for, .. } = *limits;
    Setting { backoff_min, backoff_max, stable_for }
}

pub(super) fn watched(
    target: Target,
    addresses: Vec<SocketAddr>,
    limits: &FailoverConfig,
    (priority, weight): (u32, u32),
    now: Instant,
) -> Watched {
    Watched {
        target: Arc::new(target),
        is_configured: true,
        born: 0,
        configured: addresses.into(),
        elsewhere: None,
        place: 0,
        asked: None,
        breaker: Breaker::new(setting(limits), now),
        judge: Judge::new(now),
        priority,
        weight,
        transitions: [0; PoolState::COUNT],
    }
}

pub(super) fn views_of(pools: &[Watched]) -> Arc<[PoolView]> {
    let view = |pool: &Watched| PoolView {
        name: pool.target.name.clone(),
        is_configured: pool.is_configured,
        endpoint: pool.target.endpoint(),
        priority: pool.priority,
        weight: pool.weight,
        state: pool.breaker.state(),
        cause: pool.breaker.cause().to_owned(),
        since: pool.breaker.since(),
        addresses: pool.addresses().len(),
        transitions: pool.transitions,
    };
    pools.iter().map(view).collect()
}
