//! `/health`: one look for people and load balancers.

use crate::aggregate::{PoolService, PoolShown, Snapshot};
use loka_proto::PoolState;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The body of `/health`.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// `healthy`, `degraded` (a shard is stalled, or a pool not healthy), `draining` or `starting`.
    pub status: &'static str,
    /// Time since the start, as `2d 4h 23m`.
    pub uptime: String,
    /// The same in seconds.
    pub uptime_seconds: u64,
    /// Version of this program.
    pub version: &'static str,
    /// Miners connected now.
    pub connections: u64,
    /// What the proxy is made of.
    pub services: Services,
    /// Each pool, in the order of the configuration.
    pub pools: Vec<Pool>,
}

/// One pool.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Where it is, as configured.
    pub endpoint: String,
    /// `healthy`, `degraded`, `failed` or `recovering`.
    pub state: &'static str,
    /// Why; empty while all is well.
    pub cause: String,
    /// Seconds that it has been in this state.
    pub state_seconds: u64,
    /// Miners' connections to it now.
    pub connections: u64,
}

/// What the proxy is made of.
#[derive(Debug, Clone, Serialize)]
pub struct Services {
    /// `up`, `starting` or `stalled`.
    pub shards: &'static str,
    /// `up`, `idle` (no miner needs it) or `unreachable`.
    pub pool: &'static str,
    /// `up` or `stalled`.
    pub metrics: &'static str,
}

impl Health {
    /// Reads it from the newest snapshot.
    pub fn of(now: &Snapshot) -> Self {
        let stalled = now.shards.iter().any(|shard| shard.is_stalled());
        let pool = now.pool_service();
        let has_bad_pool = now.pools_shown().any(|pool| pool.view.state != PoolState::Healthy);
        let degraded = stalled || !now.is_fresh() || has_bad_pool || pool == PoolService::Unreachable;
        let shards = if now.is_starting() {
            "starting"
        } else if stalled {
            "stalled"
        } else {
            "up"
        };
        let status = if now.draining {
            "draining"
        } else if now.is_starting() {
            "starting"
        } else if degraded {
            "degraded"
        } else {
            "healthy"
        };
        Self {
            status,
            uptime: Uptime(now.uptime).to_string(),
            uptime_seconds: now.uptime.as_secs(),
            version: now.version,
            connections: now.shell(|shell| shell.connections),
            pools: now.pools_shown().map(|pool| pool_of(now, &pool)).collect(),
            services: Services {
                shards,
                pool: pool_label(pool),
                metrics: if now.is_fresh() { "up" } else { "stalled" },
            },
        }
    }
}

fn pool_of(now: &Snapshot, shown: &PoolShown<'_>) -> Pool {
    let pool = shown.view;
    Pool {
        name: pool.name.clone(),
        endpoint: pool.endpoint.clone(),
        state: pool.state.label(),
        cause: pool.cause.clone(),
        state_seconds: now.taken.saturating_duration_since(pool.since).as_secs(),
        connections: shown.links,
    }
}

pub(super) fn pool_label(pool: PoolService) -> &'static str {
    match pool {
        PoolService::Idle => "idle",
        PoolService::Up => "up",
        PoolService::Unreachable => "unreachable",
    }
}

/// A duration for people: `2d 4h 23m`, `4h 23m`, `23m 5s` or `5s`.
#[derive(Debug, Clone, Copy)]
pub struct Uptime(pub Duration);

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, _) => write!(f, "{minutes}m {}s", seconds % 60),
            (0, _, _) => write!(f, "{hours}h {minutes}m"),
            _ => write!(f, "{days}d {hours}h {minutes}m"),
        }
    }
}
