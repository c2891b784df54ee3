//! A new configuration, while miners work on: what it says holds from now on for those who are here and those who come.
//!
//! Nobody is disconnected because of it, but whom its lists keep out and whose pool is no longer there, where he cannot be
//! moved. What only a new start can change is left as it is.

use super::Shard;
use crate::mailbox::Reload;
use crate::plan::limits::KICKS_PER_TICK;
use crate::plan::{PoolPlan, ShardPlan};
use loka_proto::End;
use loka_proto::middleware::Stage;
use rustls::ClientConfig;
use rustls::client::Resumption;
use std::sync::Arc;

/// TLS sessions of pools that a shard keeps to resume; one a pool is in use.
const TLS_SESSIONS: usize = 64;

impl<P: Stage> Shard<P> {
    pub(super) fn reload(&mut self, new: &Reload) {
        let ShardPlan { speaks, miner_tls, http, spare_buffers, interns_jobs, linger, .. } =
            self.plan.clone();
        self.plan =
            ShardPlan { speaks, miner_tls, http, spare_buffers, interns_jobs, linger, ..new.plan.clone() };
        keep_own_sessions(&mut self.plan.pools);
        self.pools.renew(&self.plan.pools, self.plan.connects_per_second);
        self.visitors.renew(self.plan.guard.clone());
        self.pipeline.on_reload(new.rate_limit);
        self.denies = true;
        self.switching_since = Some(self.now);
        if self.plan.warm_links < self.warm.len() {
            self.cool_all();
        }
        // Times may have become shorter: timers that stand at the old ones would fire late.
        let keys: Vec<usize> = self.links.iter().filter(|(_, link)| !link.gone).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.arm(key));
    }

    /// Ends some of the connections whose addresses the new lists keep out, until there are none.
    pub(super) fn go_on_denying(&mut self) {
        if !self.denies {
            return;
        }
        let visitors = &self.visitors;
        let links = self.links.iter().filter(|(_, link)| !link.gone && !link.session.is_over());
        let denied = links.filter(|(_, link)| link.address.is_some_and(|from| visitors.is_denied(from)));
        let keys: Vec<usize> = denied.map(|(key, _)| key).take(KICKS_PER_TICK).collect();
        self.denies = keys.len() == KICKS_PER_TICK;
        for key in keys {
            self.guarded(key, |shard| {
                shard.fail(key, End::Denied);
                shard.settle(key);
            });
        }
    }
}

/// Sessions to resume are kept behind a lock: each shard has its own, so that none waits for another.
pub(super) fn keep_own_sessions(pools: &mut [PoolPlan]) {
    for tls in pools.iter_mut().filter_map(|pool| pool.tls.as_mut()) {
        let mut config = ClientConfig::clone(&tls.config);
        config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
        tls.config = Arc::new(config);
    }
}
