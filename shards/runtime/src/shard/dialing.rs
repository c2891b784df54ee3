//! Pool connections: which pool and which address is tried, and what comes of it.

use super::{Shard, Trouble};
use crate::dial::{self, Dial};
use crate::link::Side;
use crate::plan::limits::{HURRIED_CONNECT_US, SWITCH_PATIENCE_US};
use crate::poller::{Interest, Readiness};
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{PoolId, PoolLoss, Tick};

impl<P: Stage> Shard<P> {
    /// The session wants a pool connection: its first, or another in the place of one that is of no use any more.
    pub(super) fn find_pool(&mut self, key: usize) {
        let link = &mut self.links[key];
        let session = &link.session;
        let lost = session.last_loss();
        if lost.is_some_and(|loss| blames(loss, link.was_at_work)) {
            // It failed this miner, and may fail others; it is not asked again while there is another.
            self.pools.failed(session.pool(), self.now);
            link.avoids = Some(session.pool());
        } else {
            link.avoids = None;
        }
        link.leave_pool(&mut self.spares);
        self.seek(key, self.now);
    }

    /// Begins the connection to the best pool there is, or lets the link wait for one.
    pub(super) fn seek(&mut self, key: usize, since: Tick) {
        let link = &self.links[key];
        let client = link.session.client().id.0;
        match self.pools.choose(client, link.avoids, self.now) {
            Some(pool) if self.pools.spend(pool, self.now) => self.dial(key, pool, 0, since),
            Some(_) => self.wait(key),
            None => self.no_pool(key, PoolLoss::Unreachable),
        }
    }

    fn wait(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.waits {
            link.waits = true;
            self.waiting.push_back(key);
        }
    }

    /// There is none now. The session may be kept until there is.
    fn no_pool(&mut self, key: usize, loss: PoolLoss) {
        let loss = self.links[key].session.last_loss().unwrap_or(loss);
        self.lose_pool(key, loss);
        if self.links[key].session.waits_for_pool() {
            self.wait(key);
        }
    }

    /// Gives those who wait their turn, as far as there are pools that may be connected to.
    pub(super) fn serve_waiting_links(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(key) = self.waiting.pop_front() else { break };
            let Some(link) = self.links.get_mut(key).filter(|link| link.waits) else { continue };
            link.waits = false;
            if link.gone || !link.session.waits_for_pool() {
                continue;
            }
            let client = link.session.client().id.0;
            match self.pools.choose(client, link.avoids, self.now) {
                Some(pool) if self.pools.spend(pool, self.now) => {
                    self.guarded(key, |shard| {
                        shard.dial(key, pool, 0, shard.now);
                        shard.settle(key);
                    });
                }
                Some(_) | None => {
                    // Nobody behind it will fare better.
                    link.waits = true;
                    return self.waiting.push_front(key);
                }
            }
        }
    }

    /// Opens a connection to a pool. `tried` addresses of it have failed the link since `since`; each is tried once. It
    /// begins with the address that worked last for anybody, so that a dead one does not cost every miner its time-out.
    fn dial(&mut self, key: usize, pool: PoolId, tried: usize, since: Tick) {
        let mut loss = PoolLoss::Unreachable;
        for tried in tried..self.pools.addresses(pool) {
            let Some((at, address)) = self.pools.begin(pool, self.now) else { break };
            self.report.shell.dials += 1;
            match dial::start(address) {
                Ok(socket) => match self.poller.add(&socket, Token::Pool(key).pack(), Interest::BOTH) {
                    Ok(()) => {
                        let is_hurried = self.pools.has_other(pool, self.now);
                        let takes_us = self.plan.connect_us;
                        let takes_us = if is_hurried { takes_us.min(HURRIED_CONNECT_US) } else { takes_us };
                        let due = self.now + takes_us;
                        let link = &mut self.links[key];
                        link.pool = Side::new(socket, Interest::BOTH);
                        link.pool_turn = self.turns;
                        link.place = self.pools.place(pool);
                        link.dial = Some(Box::new(Dial { pool, tried, at, since, due }));
                        return;
                    }
                    Err(_) => loss = PoolLoss::NoResources,
                },
                Err(error) => loss = dial::loss_of(&error),
            }
            self.address_failed(pool, at, loss);
        }
        self.pool_failed(key, pool, loss, since);
    }

    /// The socket of a pool connection on its way has become ready: it is open, or has failed.
    pub(super) fn finish_dial(&mut self, key: usize, readiness: Readiness) {
        let link = &mut self.links[key];
        let Some(socket) = &link.pool.socket else { return };
        match dial::finish(socket, readiness) {
            Ok(()) => {
                let Some(dial) = link.dial.take() else { return };
                link.was_at_work = false;
                let took_us = self.now - dial.since;
                self.with_parser(key, |session, cx, parser| {
                    session.handle_pool_up(cx, parser, dial.pool, took_us);
                });
            }
            Err(error) => self.next_address(key, dial::loss_of(&error)),
        }
    }

    /// Gives up the attempt of this link, and makes the next if there is another address.
    pub(super) fn next_address(&mut self, key: usize, loss: PoolLoss) {
        let link = &mut self.links[key];
        let Some(failed) = link.dial.take() else { return };
        link.pool.close(&mut self.spares);
        self.address_failed(failed.pool, failed.at, loss);
        if failed.tried + 1 < self.pools.addresses(failed.pool) {
            self.dial(key, failed.pool, failed.tried + 1, failed.since);
        } else {
            self.pool_failed(key, failed.pool, loss, failed.since);
        }
    }

    /// Counts a failed attempt. A shortage of our own is not the address' fault.
    fn address_failed(&mut self, pool: PoolId, at: usize, loss: PoolLoss) {
        self.report.shell.dial_failures += 1;
        if loss == PoolLoss::NoResources {
            return self.warn(Trouble::NoDescriptor);
        }
        self.warn(Trouble::PoolUnreachable);
        self.pools.address_failed(pool, at);
    }

    /// No address of a pool took the connection: another pool is tried, if there is one.
    fn pool_failed(&mut self, key: usize, pool: PoolId, loss: PoolLoss, since: Tick) {
        self.report.stats.pool(pool).losses[loss.index()] += 1;
        if loss == PoolLoss::NoResources {
            return self.no_pool(key, loss);
        }
        self.pools.failed(pool, self.now);
        let link = &mut self.links[key];
        link.avoids = Some(pool);
        let client = link.session.client().id.0;
        match self.pools.choose(client, Some(pool), self.now).filter(|other| *other != pool) {
            Some(_) => self.seek(key, since),
            None => {
                self.lose_pool(key, loss);
                if self.links[key].session.waits_for_pool() {
                    self.wait(key);
                }
            }
        }
    }

    /// The link's connection attempt, if there is one, is not wanted any more.
    pub(super) fn abandon_dial(&mut self, key: usize) {
        if let Some(dial) = &self.links[key].dial {
            self.pools.abandoned(dial.pool);
        }
    }

    /// A session has what it needs of its pool: the pool is well.
    pub(super) fn note_work(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.was_at_work && link.session.has_pool() {
            link.was_at_work = true;
            self.pools.proved(link.session.pool());
        }
    }

    /// Moves miners to pools that are to be preferred to theirs, as many as connections may be made. A miner with shares in
    /// flight is left to get its answers, for a while.
    pub(super) fn switch_links(&mut self) {
        let Some(since) = self.switching_since else { return };
        let is_patient = self.now < since + SWITCH_PATIENCE_US;
        let mut left = 0;
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(link) = self.links.get(key).filter(|link| !link.gone && link.closing.is_none()) else {
                continue;
            };
            let session = &link.session;
            let must_move = session.has_pool()
                && (self.pools.is_outranked(session.pool(), self.now)
                    || self.pools.place(session.pool()) != link.place);
            if !must_move {
                continue;
            }
            left += 1;
            let must_wait = is_patient && session.shares_in_flight() > 0;
            let client = session.client().id.0;
            let to = self.pools.choose(client, None, self.now).filter(|_| !must_wait);
            if to.is_some_and(|to| self.pools.can_spend(to, self.now)) {
                self.guarded(key, |shard| {
                    shard.lose_pool(key, PoolLoss::Switched);
                    shard.settle(key);
                });
            }
        }
        if left == 0 {
            self.switching_since = None;
        }
    }
}

/// Whether a loss says that the pool is not to be asked again at once. One that closed a connection that worked may just
/// have closed this one.
fn blames(loss: PoolLoss, was_at_work: bool) -> bool {
    let is_ordinary = matches!(loss, PoolLoss::Closed | PoolLoss::Reset);
    loss.is_fault() && !(is_ordinary && was_at_work)
}
