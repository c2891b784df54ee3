//! Pool connections: which address is tried, and what comes of it.

use super::{Shard, Trouble};
use crate::dial::{self, Dial};
use crate::link::Side;
use crate::poller::{Interest, Readiness};
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{PoolLoss, Tick};

impl<P: Stage> Shard<P> {
    /// Opens the pool connection of a link. `tried` addresses have failed it since `since`; each is tried once. It begins
    /// with the address that worked last for anybody, so that a dead one does not cost every miner its time-out.
    pub(super) fn dial(&mut self, key: usize, tried: usize, since: Tick) {
        let count = self.plan.pool_addresses.len();
        let mut loss = PoolLoss::Unreachable;
        for tried in tried..count {
            let at = self.pool_at % count;
            self.report.shell.dials += 1;
            match dial::start(self.plan.pool_addresses[at]) {
                Ok(socket) => match self.poller.add(&socket, Token::Pool(key).pack(), Interest::BOTH) {
                    Ok(()) => {
                        let due = self.now + self.plan.connect_us;
                        self.links[key].pool = Side::new(socket, Interest::BOTH);
                        self.links[key].dial = Some(Box::new(Dial { tried, at, since, due }));
                        return;
                    }
                    Err(_) => loss = PoolLoss::NoResources,
                },
                Err(error) => loss = dial::loss_of(&error),
            }
            self.failed(at, loss);
        }
        self.lose_pool(key, loss);
    }

    /// The socket of a pool connection on its way has become ready: it is open, or has failed.
    pub(super) fn finish_dial(&mut self, key: usize, readiness: Readiness) {
        let link = &mut self.links[key];
        let Some(socket) = &link.pool.socket else { return };
        match dial::finish(socket, readiness) {
            Ok(()) => {
                let took_us = link.dial.take().map_or(0, |dial| self.now - dial.since);
                self.with(key, |session, cx| session.handle_pool_up(cx, took_us));
            }
            Err(error) => self.next_address(key, dial::loss_of(&error)),
        }
    }

    /// Gives up the attempt of this link, and makes the next if there is another address.
    pub(super) fn next_address(&mut self, key: usize, loss: PoolLoss) {
        let link = &mut self.links[key];
        let Some(failed) = link.dial.take() else { return };
        link.pool.close(&mut self.spares);
        self.failed(failed.at, loss);
        if failed.tried + 1 < self.plan.pool_addresses.len() {
            self.dial(key, failed.tried + 1, failed.since);
        } else {
            self.lose_pool(key, loss);
        }
    }

    /// Counts a failed attempt, and moves everybody on to the next address, once for each that fails. A shortage of our
    /// own is not the address' fault.
    fn failed(&mut self, at: usize, loss: PoolLoss) {
        self.report.shell.dial_failures += 1;
        if loss == PoolLoss::NoResources {
            return self.warn(Trouble::NoDescriptor);
        }
        self.warn(Trouble::PoolUnreachable);
        if self.pool_at == at {
            self.pool_at = (at + 1) % self.plan.pool_addresses.len().max(1);
        }
    }
}
