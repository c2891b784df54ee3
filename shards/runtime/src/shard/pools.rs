//! Which pool a miner gets: what this shard knows of each, and the choice among them.
//!
//! The control plane says how far a pool can be trusted, about a second after the fact. Until then a shard goes by what it
//! saw itself: a pool that failed a connection is left alone for a moment, then tried with one connection. It refuses to
//! judge a pool for longer than that.

use crate::plan::limits::{AVOID_US, TRIAL_US};
use crate::plan::{PoolNow, PoolPlan};
use loka_proto::{PoolId, PoolState, Tick};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// One second in the ticks of the core.
const SECOND_US: u64 = 1_000_000;

/// What this shard knows of one pool.
#[derive(Debug)]
struct Seat {
    addresses: Arc<[SocketAddr]>,
    /// The address that is tried first: the one that worked last.
    at: usize,
    state: PoolState,
    place: u32,
    /// See [`PoolNow::server_name`].
    server_name: Option<ServerName<'static>>,
    priority: u32,
    weight: u64,
    /// It failed; nobody but one connection tries it, and not before this.
    failing_until: Option<Tick>,
    /// That one is on its way; if it has come to nothing by then, another may try.
    tried_until: Option<Tick>,
    /// Microseconds' worth of connections that may be made at once.
    credit_us: u64,
}

impl Seat {
    fn new(plan: &PoolPlan, pace_us: u64) -> Seat {
        Seat {
            addresses: Arc::clone(&plan.addresses),
            at: 0,
            state: plan.state,
            place: 0,
            server_name: None,
            priority: plan.priority,
            weight: plan.weight.get().into(),
            failing_until: None,
            tried_until: None,
            credit_us: burst(pace_us),
        }
    }

    fn is_usable(&self, now: Tick) -> bool {
        let is_tried = self.tried_until.is_some_and(|until| now < until);
        let is_well = self.failing_until.is_none_or(|until| now >= until && !is_tried);
        is_well && self.is_trusted()
    }

    /// Usable, but for what this shard saw a moment ago.
    fn is_trusted(&self) -> bool {
        self.state != PoolState::Failed && !self.addresses.is_empty()
    }

    /// Lower is better. A pool that has just come back is for those who have no other.
    fn rank(&self) -> (u8, u32) {
        let class = match self.state {
            PoolState::Healthy | PoolState::Degraded => 0,
            PoolState::Recovering => 1,
            PoolState::Failed => 2,
        };
        (class, self.priority)
    }
}

/// The pools of one shard.
#[derive(Debug)]
pub(super) struct Pools {
    seats: Vec<Seat>,
    /// Microseconds between two connections to one pool, when as many are wanted as may be.
    pace_us: u64,
    refilled: Tick,
}

impl Pools {
    pub(super) fn new(plans: &[PoolPlan], connects_per_second: Option<NonZeroU32>, now: Tick) -> Pools {
        let pace_us = pace_us(connects_per_second);
        let seats = plans.iter().map(|plan| Seat::new(plan, pace_us)).collect();
        Pools { seats, pace_us, refilled: now }
    }

    /// Takes what a new configuration says: how pools are preferred, and pools beyond those that are known. Where they are, and
    /// which of them are there no more, is told by [`Pools::set`].
    pub(super) fn renew(&mut self, plans: &[PoolPlan], connects_per_second: Option<NonZeroU32>) {
        self.pace_us = pace_us(connects_per_second);
        for (seat, plan) in self.seats.iter_mut().zip(plans) {
            (seat.priority, seat.weight) = (plan.priority, plan.weight.get().into());
        }
        let more = plans.iter().skip(self.seats.len()).map(|plan| Seat::new(plan, self.pace_us));
        self.seats.extend(more);
    }

    /// The best pool for a miner; `not` is one that has just failed it, and is taken only where there is no other. Of pools
    /// of one rank every client gets the one that its number falls to.
    pub(super) fn choose(&self, client: u64, not: Option<PoolId>, now: Tick) -> Option<PoolId> {
        let usable = || {
            let all = self.seats.iter().enumerate().map(|(index, seat)| (PoolId::of(index), seat));
            all.filter(|(_, seat)| seat.is_usable(now))
        };
        let others = || usable().filter(|(pool, _)| Some(*pool) != not);
        let Some(best) = others().map(|(_, seat)| seat.rank()).min() else {
            return usable().next().map(|(pool, _)| pool);
        };
        let equals = || others().filter(|(_, seat)| seat.rank() == best);
        let mut share = client % equals().map(|(_, seat)| seat.weight).sum::<u64>().max(1);
        for (pool, seat) in equals() {
            if share < seat.weight {
                return Some(pool);
            }
            share -= seat.weight;
        }
        None
    }

    /// Whether a miner of `pool` should have another: one of a better rank that has proved itself, or any where its own has
    /// failed. It may have to wait, if that one has just failed a connection.
    pub(super) fn is_outranked(&self, pool: PoolId) -> bool {
        let Some(own) = self.seats.get(pool.index()) else { return true };
        let better = |seat: &&Seat| {
            let has_proved_itself = seat.rank().0 == 0 || own.state == PoolState::Failed;
            seat.rank() < own.rank() && has_proved_itself && seat.is_trusted()
        };
        self.seats.iter().any(|seat| better(&seat))
    }

    /// Whether `pool` is to be preferred to `own`.
    pub(super) fn outranks(&self, pool: PoolId, own: PoolId) -> bool {
        let rank = |pool: PoolId| self.seats.get(pool.index()).map(Seat::rank);
        rank(pool) < rank(own)
    }

    /// Whether there is another usable pool than this.
    pub(super) fn has_other(&self, pool: PoolId, now: Tick) -> bool {
        self.seats.iter().enumerate().any(|(index, seat)| index != pool.index() && seat.is_usable(now))
    }

    /// Whether a miner could get this pool.
    pub(super) fn is_usable(&self, pool: PoolId, now: Tick) -> bool {
        self.seats.get(pool.index()).is_some_and(|seat| seat.is_usable(now))
    }

    /// Whether nothing is known against it, by this shard or by the control plane.
    pub(super) fn is_well(&self, pool: PoolId) -> bool {
        let seat = self.seats.get(pool.index());
        seat.is_some_and(|seat| seat.failing_until.is_none() && seat.state != PoolState::Failed)
    }

    /// The address that is tried first.
    pub(super) fn first_address(&self, pool: PoolId) -> Option<(usize, SocketAddr)> {
        let seat = self.seats.get(pool.index())?;
        let at = seat.at % seat.addresses.len().max(1);
        Some((at, *seat.addresses.get(at)?))
    }

    /// Takes one connection to `pool` out of what may be made in a second; false when that is used up.
    pub(super) fn spend(&mut self, pool: PoolId, now: Tick) -> bool {
        let may = self.can_spend(pool, now);
        if let Some(seat) = self.seats.get_mut(pool.index()).filter(|_| may) {
            seat.credit_us = seat.credit_us.saturating_sub(self.pace_us);
        }
        may
    }

    /// Whether a connection to `pool` may be made now.
    pub(super) fn can_spend(&mut self, pool: PoolId, now: Tick) -> bool {
        let (passed, burst) = (now - self.refilled, burst(self.pace_us));
        self.refilled = now;
        self.seats.iter_mut().for_each(|seat| seat.credit_us = (seat.credit_us + passed).min(burst));
        self.seats.get(pool.index()).is_some_and(|seat| seat.credit_us >= self.pace_us)
    }

    /// See [`PoolNow::place`].
    pub(super) fn place(&self, pool: PoolId) -> u32 {
        self.seats.get(pool.index()).map_or(0, |seat| seat.place)
    }

    /// See [`PoolNow::server_name`].
    pub(super) fn server_name(&self, pool: PoolId) -> Option<&ServerName<'static>> {
        self.seats.get(pool.index())?.server_name.as_ref()
    }

    /// A connection to `pool` is begun: the address to try, the `tried`-th.
    pub(super) fn begin(&mut self, pool: PoolId, now: Tick) -> Option<(usize, SocketAddr)> {
        self.seats.get_mut(pool.index())?.tried_until = Some(now + TRIAL_US);
        self.first_address(pool)
    }

    /// How many addresses `pool` has.
    pub(super) fn addresses(&self, pool: PoolId) -> usize {
        self.seats.get(pool.index()).map_or(0, |seat| seat.addresses.len())
    }

    /// An address failed: everybody goes on to the next, once for each that fails.
    pub(super) fn address_failed(&mut self, pool: PoolId, at: usize) {
        if let Some(seat) = self.seats.get_mut(pool.index())
            && seat.at == at
        {
            seat.at = (at + 1) % seat.addresses.len().max(1);
        }
    }

    /// The pool failed a connection, or what it was to answer on it.
    pub(super) fn failed(&mut self, pool: PoolId, now: Tick) {
        if let Some(seat) = self.seats.get_mut(pool.index()) {
            seat.failing_until = Some(now + AVOID_US);
            seat.tried_until = None;
        }
    }

    /// The pool answered a subscription: whatever was wrong is over.
    pub(super) fn proved(&mut self, pool: PoolId) {
        if let Some(seat) = self.seats.get_mut(pool.index()) {
            seat.failing_until = None;
            seat.tried_until = None;
        }
    }

    /// The pool ended a connection that had brought nobody anything. Where it is left alone, that was the one that tries it,
    /// and the next may try after a moment.
    pub(super) fn turned_away(&mut self, pool: PoolId, now: Tick) {
        if self.seats.get(pool.index()).is_some_and(|seat| seat.failing_until.is_some()) {
            self.failed(pool, now);
        }
    }

    /// A connection that was on its way is not wanted any more.
    pub(super) fn abandoned(&mut self, pool: PoolId) {
        if let Some(seat) = self.seats.get_mut(pool.index()) {
            seat.tried_until = None;
        }
    }

    /// Takes what the control plane says. Whether a pool has come back.
    pub(super) fn set(&mut self, now: &[PoolNow]) -> bool {
        let mut is_one_back = false;
        for (seat, now) in self.seats.iter_mut().zip(now) {
            if seat.addresses != now.addresses {
                seat.at = 0;
                seat.failing_until = None;
            }
            if seat.state == PoolState::Failed && now.state != PoolState::Failed {
                // It was seen to answer; what this shard saw before is older.
                seat.failing_until = None;
                is_one_back = true;
            }
            seat.addresses = Arc::clone(&now.addresses);
            (seat.state, seat.place) = (now.state, now.place);
            seat.server_name.clone_from(&now.server_name);
        }
        is_one_back
    }
}

/// Microseconds between two connections.
fn pace_us(connects_per_second: Option<NonZeroU32>) -> u64 {
    connects_per_second.map_or(0, |count| SECOND_US / u64::from(count.get()))
}

/// A tenth of a second's worth of connections may be made at once, but at least one.
fn burst(pace_us: u64) -> u64 {
    pace_us.max(SECOND_US / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(10 * SECOND_US);

    fn pools(ranks: &[(u32, u32)]) -> Pools {
        let plan = |(priority, weight): &(u32, u32)| PoolPlan {
            priority: *priority,
            weight: NonZeroU32::new(*weight).unwrap(),
            ..PoolPlan::at("127.0.0.1:1".parse().unwrap())
        };
        Pools::new(&ranks.iter().map(plan).collect::<Vec<_>>(), None, NOW)
    }

    fn chosen(pools: &Pools, client: u64) -> Option<usize> {
        pools.choose(client, None, NOW).map(PoolId::index)
    }

    fn set(pools: &mut Pools, states: &[PoolState]) -> bool {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let now = |state: &PoolState| PoolNow {
            addresses: [address].into(),
            state: *state,
            place: 0,
            server_name: None,
        };
        pools.set(&states.iter().map(now).collect::<Vec<_>>())
    }

    #[test]
    fn weights_split_miners_over_pools_of_one_priority_and_others_wait() {
        let pools = pools(&[(1, 3), (2, 5), (1, 1)]);
        let of = |pool| (0..400).filter(|client| chosen(&pools, *client) == Some(pool)).count();
        assert_eq!((of(0), of(1), of(2)), (300, 0, 100));
    }

    #[test]
    fn a_pool_that_failed_is_left_alone_then_tried_by_one_until_it_has_proved_itself() {
        let mut pools = pools(&[(1, 1)]);
        let pool = PoolId::of(0);
        pools.failed(pool, NOW);
        assert_eq!(pools.choose(1, None, NOW + (AVOID_US - 1)), None);
        let later = NOW + AVOID_US;
        assert_eq!(pools.choose(1, Some(pool), later), Some(pool), "there is no other");
        pools.begin(pool, later);
        assert_eq!(pools.choose(2, None, later), None, "one is enough");
        pools.abandoned(pool);
        assert_eq!(pools.choose(2, None, later), Some(pool));
        pools.begin(pool, later);
        pools.turned_away(pool, later);
        assert_eq!(pools.choose(2, None, later + (AVOID_US - 1)), None);
        assert_eq!(
            pools.choose(2, None, later + AVOID_US),
            Some(pool),
            "it is not waited for what cannot come"
        );
        pools.proved(pool);
        pools.begin(pool, later);
        pools.turned_away(pool, later);
        assert_eq!(pools.choose(3, None, later), Some(pool), "a pool that is well may turn one miner away");
    }

    #[test]
    fn states_outrank_priorities_and_a_returning_pool_waits_for_those_who_have_no_other() {
        use PoolState::{Degraded, Failed, Healthy, Recovering};
        let mut pools = pools(&[(1, 1), (2, 1)]);
        let outranked = |pools: &Pools| (0..2).map(|pool| pools.is_outranked(PoolId::of(pool))).collect();
        for (states, is_one_back, choice, moves) in [
            ([Healthy, Healthy], false, Some(0), vec![false, true]),
            ([Degraded, Healthy], false, Some(0), vec![false, true]),
            ([Failed, Healthy], false, Some(1), vec![true, false]),
            ([Recovering, Healthy], true, Some(1), vec![true, false]),
            ([Recovering, Failed], false, Some(0), vec![false, true]),
            ([Failed, Recovering], true, Some(1), vec![true, false]),
            ([Failed, Failed], false, None, vec![false, false]),
        ] {
            assert_eq!(set(&mut pools, &states), is_one_back, "{states:?}");
            let found: Vec<bool> = outranked(&pools);
            assert_eq!((chosen(&pools, 7), found), (choice, moves), "{states:?}");
        }
    }

    #[test]
    fn connections_are_paced() {
        let mut pools =
            Pools::new(&[PoolPlan::at("127.0.0.1:1".parse().unwrap())], NonZeroU32::new(100), NOW);
        let pool = PoolId::of(0);
        let mut take = |now| (0..1000).filter(|_| pools.spend(pool, now)).count();
        assert_eq!((take(NOW), take(NOW)), (10, 0));
        assert_eq!(take(NOW + 50_000), 5);
        assert_eq!(take(NOW + 60 * SECOND_US), 10);
    }
}
