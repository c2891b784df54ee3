//! What the lookout watches after a reload. What is known of pools that stay is kept; others begin as at a start.

use super::{LOOK, LookoutError, State, plain_targets, setting, timeouts, watched};
use crate::config::{Config, FailoverConfig, Host};
use crate::pools::{Resolved, Resolver, Roster, Target, Timeouts, Watch};
use loka_proto::PoolState;
use loka_runtime::PoolNow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// What to watch from now on.
pub struct LookoutReload {
    /// Counts reloads; what is told to the shards says after which of them it was found.
    reload: u32,
    roster: Roster,
    /// By number.
    targets: Vec<Target>,
    /// Where names lead, of pools that were not watched before.
    addresses: Vec<Option<Vec<SocketAddr>>>,
    limits: FailoverConfig,
    timeouts: Timeouts,
    resolver: Arc<Resolver>,
}

impl std::fmt::Debug for LookoutReload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookoutReload").field("reload", &self.reload).finish_non_exhaustive()
    }
}

impl LookoutReload {
    /// Reads what is to be trusted, and looks up the names that are new. Blocks for up to ten seconds a name; `config` has
    /// the pools of the roster, by number.
    ///
    /// # Errors
    /// [`LookoutError`]. A name that leads nowhere is a warning: it is asked for again.
    pub fn prepare(
        config: &Config,
        roster: Roster,
        before: &Roster,
        reload: u32,
    ) -> Result<Self, LookoutError> {
        let targets = plain_targets(config)?;
        let resolver = Arc::new(Resolver::new(&config.failover.dns_servers)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut addresses = Vec::new();
        for (number, (target, place)) in targets.iter().zip(roster.places()).enumerate() {
            let is_known = before.places().get(number).is_some_and(|old| old.born == place.born);
            if is_known || !place.is_configured {
                addresses.push(None);
                continue;
            }
            let (host, port) = target.dialled();
            let found = runtime.block_on(resolver.resolve(host, port)).map_err(|error| {
                tracing::warn!(%error, "a pool cannot be used until its name leads somewhere");
            });
            addresses.push(Some(found.map_or_else(|()| Vec::new(), |found| found.addresses)));
        }
        let (limits, timeouts) = (config.failover.clone(), timeouts(config));
        Ok(LookoutReload { reload, roster, targets, addresses, limits, timeouts, resolver })
    }

    /// By number, as one who dials has to know it.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.targets.iter().cloned().map(Arc::new).collect()
    }

    /// Where pools are that shards hear of for the first time, by number; of the others nothing.
    pub fn first_seen(&self) -> Vec<PoolNow> {
        let now = |addresses: &Option<Vec<SocketAddr>>| PoolNow {
            addresses: addresses.clone().unwrap_or_default().into(),
            state: PoolState::Healthy,
            place: 0,
            server_name: None,
        };
        self.addresses.iter().map(now).collect()
    }
}

impl State {
    pub(super) fn renew(&mut self, new: LookoutReload) {
        let now = Instant::now();
        let LookoutReload { reload, roster, targets, addresses, limits, timeouts, resolver } = new;
        (self.reload, self.limits, self.timeouts, self.resolver) = (reload, limits, timeouts, resolver);
        for (number, (target, found)) in targets.into_iter().zip(addresses).enumerate() {
            let place = &roster.places()[number];
            let preference = (place.pool.priority, place.pool.weight.get());
            match (self.pools.get_mut(number), found) {
                (Some(pool), None) => {
                    (pool.target, pool.is_configured) = (Arc::new(target), place.is_configured);
                    (pool.priority, pool.weight) = preference;
                    pool.breaker.set(setting(&self.limits));
                }
                (old, found) => {
                    let mut new = watched(target, found.unwrap_or_default(), &self.limits, preference, now);
                    (new.born, new.is_configured) = (place.born, place.is_configured);
                    new.breaker.look_at_once(now);
                    match old {
                        Some(old) => {
                            // Shards take another place for a reason to connect anew; the counters went on.
                            new.place = old.place.wrapping_add(1);
                            std::mem::swap(&mut new.judge, &mut old.judge);
                            new.judge.forgive();
                            *old = new;
                        }
                        None => self.pools.push(new),
                    }
                    self.chain.forget(number);
                }
            }
        }
        self.begin_names(self.names_now(now));
    }

    fn names_now(&self, now: Instant) -> Watch {
        let mut names = Watch::default();
        for pool in &self.pools {
            let (host, port) = pool.target.dialled();
            let known = pool.configured.to_vec();
            let first = (!known.is_empty()).then_some(Resolved { addresses: known, valid_for: LOOK });
            // An address is never asked for: nobody wants to know where a pool is that is not configured any more.
            let nowhere = Host::Ip(Ipv4Addr::UNSPECIFIED.into());
            let host = if pool.is_configured { host.clone() } else { nowhere };
            names.add(host, port, first, now);
        }
        names
    }
}
