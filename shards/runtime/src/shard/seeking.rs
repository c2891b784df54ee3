//! Links that look for a pool: which they get, who has to wait, and who is moved to a better one.

use super::Shard;
use crate::link::Link;
use crate::plan::limits::{AVOID_US, BACKOFF_DOUBLINGS_MAX, SETTLED_US, SWITCH_PATIENCE_US};
use loka_proto::middleware::Stage;
use loka_proto::{ClientId, PoolId, PoolLoss, Tick};
use slab::Slab;

/// Names of links that have left, which may stand in the queue beside as many as there are links.
const WAITING_SPARE: usize = 1024;

impl<P: Stage> Shard<P> {
    /// The session wants a pool connection: its first, or another in the place of one that is of no use any more.
    pub(super) fn find_pool(&mut self, key: usize) {
        let link = &mut self.links[key];
        let session = &link.session;
        let lost = session.last_loss();
        link.avoids = None;
        let has_lived = link.was_at_work && self.now >= link.pool_since + SETTLED_US;
        if has_lived {
            link.failures = 0;
        }
        let is_excused = has_lived || link.is_from_warm && !link.was_at_work;
        if lost.is_some_and(|loss| blames(loss, is_excused)) {
            // It is not asked again while there is another, and then not at once: it may be the miner that it dislikes.
            link.avoids = Some(session.pool());
            link.failures = link.failures.saturating_add(1);
            link.failed_at = self.now;
        }
        if lost == Some(PoolLoss::Silent) {
            // Others need not find that out by themselves.
            self.pools.failed(session.pool(), self.now);
        } else {
            self.end_trial(key);
        }
        let link = &mut self.links[key];
        link.leave_pool(&mut self.spares);
        self.seek(key, self.now);
    }

    /// The link's connection to a pool, or its attempt at one, is over. If it had brought nothing yet, it may have been the one
    /// that tries a failed pool.
    pub(super) fn end_trial(&mut self, key: usize) {
        let link = &self.links[key];
        let pool = match &link.dial {
            Some(dial) => return self.pools.abandoned(dial.pool),
            None if link.pool.socket.is_some() && !link.was_at_work => link.session.pool(),
            None => return,
        };
        if link.session.last_loss().is_some_and(PoolLoss::is_fault) {
            self.pools.turned_away(pool, self.now);
        } else {
            self.pools.abandoned(pool);
        }
    }

    /// Begins the connection to the best pool there is, or lets the link wait for one.
    pub(super) fn seek(&mut self, key: usize, since: Tick) {
        match self.choice(key) {
            Some(pool) if self.is_early(key, pool) => self.wait(key),
            Some(pool) if self.pools.spend(pool, self.now) => self.dial(key, pool, since),
            Some(_) => self.wait(key),
            None => self.no_pool(key),
        }
    }

    fn choice(&self, key: usize) -> Option<PoolId> {
        let link = &self.links[key];
        self.pools.choose(link.session.client().id.0, link.avoids, self.now)
    }

    /// Whether the link has to wait before it asks this pool.
    fn is_early(&self, key: usize, pool: PoolId) -> bool {
        let link = &self.links[key];
        let pause_us = pause_us(link.failures, self.plan.pools.len(), link.avoids == Some(pool));
        self.now < link.failed_at + pause_us
    }

    pub(super) fn wait(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.waits {
            link.waits = true;
            let client = link.session.client().id;
            self.waiting.push_back((key, client));
        }
        // Those that left in the meantime stand here until their turn comes, which may be far while no pool is there.
        if self.waiting.len() > 2 * self.links.len() + WAITING_SPARE {
            let links = &self.links;
            self.waiting.retain(|(key, client)| is_waiting(links, *key, *client));
        }
    }

    /// There is none now. The session may be kept until there is.
    fn no_pool(&mut self, key: usize) {
        if self.plan.policy.hold_us > 0 {
            return self.wait(key);
        }
        let loss = self.links[key].session.last_loss().unwrap_or(PoolLoss::Unreachable);
        self.lose_pool(key, loss);
    }

    pub(super) fn lose_and_wait(&mut self, key: usize, loss: PoolLoss) {
        self.lose_pool(key, loss);
        if self.links[key].session.waits_for_pool() {
            self.wait(key);
        }
    }

    /// Gives those who wait their turn, as far as there are pools that may be connected to.
    pub(super) fn serve_waiting_links(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some((key, client)) = self.waiting.pop_front() else { break };
            if !is_waiting(&self.links, key, client) {
                continue;
            }
            self.links[key].waits = false;
            match self.choice(key) {
                Some(pool) if self.is_early(key, pool) => self.wait(key),
                Some(pool) if self.pools.spend(pool, self.now) => {
                    self.guarded(key, |shard| {
                        shard.dial(key, pool, shard.now);
                        shard.settle(key);
                    });
                }
                // Those behind it may get another pool, if there is one.
                Some(_) if self.plan.pools.len() > 1 => self.wait(key),
                None if self.plan.policy.hold_us == 0 => {
                    self.guarded(key, |shard| {
                        shard.no_pool(key);
                        shard.settle(key);
                    });
                }
                Some(_) | None => {
                    // Nobody behind it will fare better.
                    self.links[key].waits = true;
                    return self.waiting.push_front((key, client));
                }
            }
        }
    }

    /// A session has what it needs of its pool: the pool is well.
    pub(super) fn note_work(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.has_worked && link.session.is_at_work() {
            link.has_worked = true;
            if let Some(address) = link.address {
                self.visitors.works(address);
            }
        }
        let link = &mut self.links[key];
        if !link.was_at_work && link.session.has_pool() {
            let pool = link.session.pool();
            link.was_at_work = true;
            self.pools.proved(pool);
        }
    }

    /// Moves miners to pools that are to be preferred to theirs, as many as connections may be made. A miner with shares in
    /// flight is left to get its answers, for a while. It is not done while one is on its way to such a pool.
    pub(super) fn switch_links(&mut self) {
        let Some(since) = self.switching_since else { return };
        let mut left = 0;
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            match self.place_of(key, since) {
                Place::Right => {}
                Place::OnItsWay => left += 1,
                Place::Wrong { to } => {
                    left += 1;
                    if let Some(to) = to {
                        self.switch(key, to);
                    }
                }
            }
        }
        if left == 0 {
            self.switching_since = None;
        }
    }

    /// Whether a link has, or is about to have, the pool that it should have. `since`: when the states of pools changed.
    fn place_of(&mut self, key: usize, since: Tick) -> Place {
        let Some(link) = self.links.get(key).filter(|link| !link.gone && link.closing.is_none()) else {
            return Place::Right;
        };
        let session = &link.session;
        let (own, is_up) = match &link.dial {
            Some(dial) => (dial.pool, false),
            None if session.is_up() => (session.pool(), true),
            None => return Place::Right,
        };
        let has_moved = self.pools.place(own) != link.place;
        if !has_moved && !self.pools.is_outranked(own) {
            return Place::Right;
        }
        if !is_up {
            return Place::OnItsWay;
        }
        let to = self.pools.choose(session.client().id.0, None, self.now);
        let is_better =
            |to: &PoolId| self.pools.outranks(*to, own) || has_moved && !self.pools.outranks(own, *to);
        let Some(to) = to.filter(is_better) else {
            // The better one has failed a connection just now, and may be tried again in a moment.
            return Place::Wrong { to: None };
        };
        if link.avoids == Some(to) && to != own && link.failed_at >= since {
            // That pool has failed it since. It may have been in a hurry, or not want this miner, which is well where it is.
            if link.failures > BACKOFF_DOUBLINGS_MAX || !session.can_move() {
                return Place::Right;
            }
            // As if there were no other pool: it has one where it is well.
            if self.now < link.failed_at + pause_us(link.failures, 1, true) {
                return Place::Wrong { to: None };
            }
        }
        let is_patient = self.now < since + SWITCH_PATIENCE_US;
        // One that this shard moved by itself, a moment ago, may find the pool that it left no better yet.
        let is_settled = has_moved || self.now >= link.pool_since + self.plan.stable_us;
        let is_early = !is_settled && self.pools.is_usable(own, self.now);
        let must_wait = is_early || is_patient && session.shares_in_flight() > 0;
        let may_move = !must_wait && self.pools.can_spend(to, self.now);
        Place::Wrong { to: may_move.then_some(to) }
    }

    /// Lets a link leave its pool for a better one.
    fn switch(&mut self, key: usize, to: PoolId) {
        self.guarded(key, |shard| {
            shard.lose_pool(key, PoolLoss::Switched);
            shard.settle(key);
        });
        if self.links.get(key).is_none_or(|link| link.session.is_over()) {
            // It connects again by itself, and is counted now so that not all of them do at once.
            self.pools.spend(to, self.now);
        }
    }
}

/// Where a link stands, measured by what is known of the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has the pool that it should have, or none, or no use for one.
    Right,
    /// It is connecting to another; whether it gets there shows later.
    OnItsWay,
    /// It should have another, and may go to this one now.
    Wrong { to: Option<PoolId> },
}

/// Whether this is the link that asked, and it still waits.
fn is_waiting(links: &Slab<Box<Link>>, key: usize, client: ClientId) -> bool {
    let link = links.get(key).filter(|link| link.waits && !link.gone);
    link.is_some_and(|link| link.session.client().id == client && link.session.waits_for_pool())
}

/// How long a link waits before it asks a pool, which may be the one that has just failed it. As long as there are pools that
/// it has not asked in this row of failures it does not wait for them; then all have to wait, for longer with each round.
fn pause_us(failures: u8, pools: usize, is_same: bool) -> u64 {
    let rounds = usize::from(failures) / pools.max(1);
    match (failures, rounds) {
        (0, _) => 0,
        (_, 0) if !is_same => 0,
        (_, rounds) => AVOID_US << (rounds.max(1) - 1).min(usize::from(BACKOFF_DOUBLINGS_MAX)),
    }
}

/// Whether a loss says that the pool is not to be asked again at once. One that closed a connection that worked may just
/// have closed this one.
fn blames(loss: PoolLoss, is_excused: bool) -> bool {
    let is_ordinary = matches!(loss, PoolLoss::Closed | PoolLoss::Reset | PoolLoss::Reconnect);
    if is_ordinary { !is_excused } else { loss.is_fault() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pools_are_asked_at_once_and_all_of_them_again_after_a_pause() {
        let pauses =
            |pools, is_same| (0..=12).map(move |failures| pause_us(failures, pools, is_same) / AVOID_US);
        assert_eq!(pauses(1, true).collect::<Vec<_>>(), [0, 1, 2, 4, 8, 16, 16, 16, 16, 16, 16, 16, 16]);
        assert_eq!(pauses(2, false).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 16]);
        assert_eq!(pauses(2, true).collect::<Vec<_>>(), [0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 16]);
    }
}
