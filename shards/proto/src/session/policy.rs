//! What sessions are held to, and the pools they may have. Changes with the configuration, not with the connection.

use super::UserRule;
use crate::limits::{POOLS_MAX, SUBSCRIBE_ANSWER_US};

/// Names a pool: its place in the list of [`Policy::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PoolId(u8);

impl PoolId {
    /// The pool at this place; every place beyond [`POOLS_MAX`] is the last.
    #[must_use]
    pub fn of(index: usize) -> PoolId {
        PoolId(u8::try_from(index.min(POOLS_MAX - 1)).unwrap_or(0))
    }

    /// Its place in the list.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

labels! {
    /// How far a pool can be trusted, as the control plane sees it.
    pub enum PoolState {
        /// All is well.
        Healthy => "healthy",
        /// Something is wrong, and it still serves miners.
        Degraded => "degraded",
        /// It serves nobody; it is asked now and then whether it is back.
        Failed => "failed",
        /// It is back, and has to stay for a while before miners are brought back to it.
        Recovering => "recovering",
    }
}

/// One pool, as far as a session knows it.
#[derive(Debug, Clone, Default)]
pub struct PoolPolicy {
    /// Whose account the miners work for.
    pub user: UserRule,
    /// Whether the pool is asked for extranonce changes.
    pub extranonce: bool,
    /// Where the pool is, as configured: what `client.reconnect` is measured against.
    pub host: String,
    /// The pool's port.
    pub port: u16,
    /// Domains, in lower case, to which it may send its miners: each stands for itself and for all names under it.
    pub reconnect_domains: Vec<String>,
}

impl PoolPolicy {
    /// Whether `client.reconnect` to this host leads where the configuration allows.
    #[must_use]
    pub fn may_lead_to(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.reconnect_domains.iter().any(|domain| {
            host.strip_suffix(domain.as_str()).is_some_and(|under| under.is_empty() || under.ends_with('.'))
        })
    }
}

/// What every session of a shard is held to.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The pools, at least one, in the order of the configuration.
    pub pools: Vec<PoolPolicy>,
    /// Microseconds a miner has to subscribe and authorize.
    pub handshake_us: u64,
    /// Microseconds a link may be silent in both directions.
    pub idle_us: u64,
    /// Microseconds a miner is kept without any pool; with zero a miner leaves with its pool.
    pub hold_us: u64,
    /// Microseconds a pool may take to answer `mining.subscribe`, and may answer nothing at all while shares wait.
    pub answer_us: u64,
    /// Microseconds for which a job is good once there is a newer one.
    pub jobs_us: u64,
    /// Microseconds from its coming for which shares of a job are held against those sent before.
    pub submissions_us: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            pools: vec![PoolPolicy::default()],
            handshake_us: 15_000_000,
            idle_us: 600_000_000,
            hold_us: 0,
            answer_us: SUBSCRIBE_ANSWER_US,
            jobs_us: 600_000_000,
            submissions_us: 2 * 86_400_000_000,
        }
    }
}

impl Policy {
    /// The defaults, with one pool.
    #[must_use]
    pub fn for_pool(pool: PoolPolicy) -> Policy {
        Policy { pools: vec![pool], ..Policy::default() }
    }

    /// Whether some pool has an account that takes the place of the miners'.
    #[must_use]
    pub fn replaces_accounts(&self) -> bool {
        self.pools.iter().any(|pool| pool.user.replaces_account())
    }

    /// A pool. A number that stands for none, because the list has become shorter, means the last.
    #[must_use]
    pub fn pool(&self, pool: PoolId) -> &PoolPolicy {
        &self.pools[pool.index().min(self.pools.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_stands_for_itself_and_for_names_under_it() {
        let pool = PoolPolicy { reconnect_domains: vec!["example.com".to_owned()], ..PoolPolicy::default() };
        for allowed in ["example.com", "EU.Example.Com", "a.b.example.com."] {
            assert!(pool.may_lead_to(allowed), "{allowed}");
        }
        for refused in ["", ".", "com", "notexample.com", "example.com.evil.net", "example.org"] {
            assert!(!pool.may_lead_to(refused), "{refused}");
        }
        assert!(!PoolPolicy::default().may_lead_to("example.com"));
    }
}
