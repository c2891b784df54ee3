//! Pool connections of links on their way: which address is tried, and what comes of it.

use super::{Shard, Trouble};
use crate::dial::route::{Means, Went, go_on};
use crate::dial::{self, Before, Dial, Step};
use crate::link::Side;
use crate::plan::limits::HURRIED_CONNECT_US;
use crate::poller::{Interest, Readiness};
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{PoolId, PoolLoss, Tick};

impl<P: Stage> Shard<P> {
    /// Opens a connection to a pool, which the link seeks since `since`. Each address is tried once. It
    /// begins with the address that worked last for anybody, so that a dead one does not cost every miner its time-out.
    pub(super) fn dial(&mut self, key: usize, pool: PoolId, since: Tick) {
        let warm = self.take_warm(pool, key);
        self.links[key].is_from_warm = warm.is_some();
        let Some(side) = warm else {
            return self.dial_after(key, pool, Before { tried: 0, since, furthest: None });
        };
        let link = &mut self.links[key];
        (link.pool, link.pool_turn, link.place) = (side, self.turns, self.pools.place(pool));
        self.pool_up(key, pool, self.now - since, &[]);
    }

    fn dial_after(&mut self, key: usize, pool: PoolId, mut before: Before) {
        while before.tried < self.pools.addresses(pool) {
            let Some((at, address)) = self.pools.begin(pool, self.now) else { break };
            self.report.shell.dials += 1;
            let loss = match dial::start(address) {
                Ok(socket) => match self.poller.add(&socket, Token::Pool(key).pack(), Interest::BOTH) {
                    Ok(()) => {
                        let due = self.now + self.may_take(pool);
                        let link = &mut self.links[key];
                        link.pool = Side::new(socket, Interest::BOTH);
                        link.pool_turn = self.turns;
                        link.place = self.pools.place(pool);
                        let step = Step::Connecting;
                        link.dial = Some(Box::new(Dial { step, pool, at, before, due }));
                        return;
                    }
                    Err(_) => PoolLoss::NoResources,
                },
                Err(error) => dial::loss_of(&error),
            };
            self.address_failed(pool, at, loss);
            before.lost(0, loss);
            before.tried += 1;
        }
        let loss = before.furthest.map_or(PoolLoss::Unreachable, |(_, loss)| loss);
        self.pool_failed(key, pool, loss, before.since);
    }

    /// Microseconds that an attempt may take.
    fn may_take(&self, pool: PoolId) -> u64 {
        // A proxy takes its time, and a pool cannot be judged by it.
        let has_proxy = self.plan.pools.get(pool.index()).is_some_and(|plan| plan.socks.is_some());
        let is_hurried = !has_proxy && self.pools.has_other(pool, self.now);
        let takes_us = self.plan.connect_us;
        if is_hurried { takes_us.min(HURRIED_CONNECT_US) } else { takes_us }
    }

    /// The socket of a pool connection on its way has become ready.
    pub(super) fn go_on_dialing(&mut self, key: usize, told: Readiness) {
        let Shard { links, plan, pools, scratch, spares, now, .. } = self;
        let link = &mut links[key];
        let Some(dial) = &mut link.dial else { return };
        let (route, server_name) = (plan.pools.get(dial.pool.index()), pools.server_name(dial.pool));
        let means = &mut Means { route, server_name, scratch, spares, now: *now };
        match go_on(&mut link.pool, dial, told, means) {
            Went::On { is_full } => self.read_on(key, Token::Pool(key), told, is_full),
            Went::Up { rest, is_full } => {
                self.read_on(key, Token::Pool(key), told, is_full);
                let Some(dial) = self.links[key].dial.take() else { return };
                self.pool_up(key, dial.pool, self.now - dial.before.since, &rest);
            }
            Went::Failed(loss, cause) => {
                let host = &self.plan.policy.pool(dial.pool).host;
                match (loss, cause.map(|cause| format!("{host}: {cause}"))) {
                    (PoolLoss::ProxyFailed, Some(cause)) => self.warn_of(Trouble::PoolProxy, &cause),
                    (PoolLoss::TlsFailed, Some(cause)) => self.warn_of(Trouble::PoolTls, &cause),
                    (_, _) => {}
                }
                self.next_address(key, loss);
            }
        }
    }

    /// The pool can be spoken to, and has said `rest`.
    fn pool_up(&mut self, key: usize, pool: PoolId, took_us: u64, rest: &[u8]) {
        let link = &mut self.links[key];
        (link.was_at_work, link.pool_since) = (false, self.now);
        self.with_parser(key, |session, cx, parser| {
            session.handle_pool_up(cx, parser, pool, took_us);
            if !rest.is_empty() {
                session.handle_pool_bytes(cx, parser, rest);
            }
        });
        if !self.links[key].session.awaits_subscription() {
            // It will not show whether the pool is well: another may try.
            self.pools.abandoned(pool);
        }
    }

    /// Gives up the attempt of this link, and makes the next if there is another address.
    pub(super) fn next_address(&mut self, key: usize, loss: PoolLoss) {
        let link = &mut self.links[key];
        let Some(failed) = link.dial.take() else { return };
        link.pool.close(&mut self.spares);
        self.address_failed(failed.pool, failed.at, loss);
        let mut before = failed.before;
        before.lost(failed.step.reach(), loss);
        before.tried += 1;
        self.dial_after(key, failed.pool, before);
    }

    /// Counts a failed attempt. A shortage of our own is not the address' fault.
    pub(super) fn address_failed(&mut self, pool: PoolId, at: usize, loss: PoolLoss) {
        self.report.shell.dial_failures += 1;
        if loss == PoolLoss::NoResources {
            return self.warn(Trouble::NoDescriptor);
        }
        let trouble = if loss == PoolLoss::TlsFailed {
            Trouble::PoolTls
        } else if loss == PoolLoss::ProxyFailed {
            Trouble::PoolProxy
        } else {
            Trouble::PoolUnreachable
        };
        // Where the other side said what is wrong, that has been told just before, and this is not.
        let cause = format!("{}: {loss}", self.plan.policy.pool(pool).host);
        self.warn_of(trouble, &cause);
        self.pools.address_failed(pool, at);
    }

    /// No address of a pool took the connection: another pool is tried, if there is one.
    fn pool_failed(&mut self, key: usize, pool: PoolId, loss: PoolLoss, since: Tick) {
        self.report.stats.pool(pool).losses[loss.index()] += 1;
        if loss == PoolLoss::NoResources {
            return self.lose_and_wait(key, loss);
        }
        self.pools.failed(pool, self.now);
        self.links[key].avoids = Some(pool);
        let client = self.links[key].session.client().id.0;
        match self.pools.choose(client, Some(pool), self.now).filter(|other| *other != pool) {
            Some(_) => self.seek(key, since),
            None => self.lose_and_wait(key, loss),
        }
    }
}
