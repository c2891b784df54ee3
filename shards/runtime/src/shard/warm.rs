//! Connections to the pool that are open before anybody needs them: a miner that comes then has its first job after about
//! one round trip.
//!
//! They belong to the pool that the next miner would get. Each is given up before a pool that waits for a subscription would
//! lose its patience, and when the pool says something of its own accord, which nobody is there to hear.

use super::Shard;
use crate::dial::route::{Means, Went, go_on};
use crate::dial::{self, Before, Dial, Step};
use crate::link::{Read, Side};
use crate::plan::limits::{READ_BYTES, WARM_MAX_US, WARM_PER_TICK, WARM_READS_MAX};
use crate::poller::{Interest, Readiness};
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{PoolId, PoolLoss, Tick};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One such connection.
#[derive(Debug)]
pub(super) struct Warm {
    pool: PoolId,
    side: Side,
    /// While it is on its way.
    dial: Option<Box<Dial>>,
    since: Tick,
    place: u32,
    /// The turn in which its socket was made.
    turn: u64,
}

impl<P: Stage> Shard<P> {
    /// Keeps as many as the plan says, of the right pool and not too old.
    pub(super) fn keep_warm(&mut self) {
        if self.plan.warm_links == 0 || self.drain_until.is_some() || self.is_leaving() {
            return;
        }
        let late = self.warm.iter().filter(|(_, warm)| self.is_late(warm)).map(|(slot, _)| slot);
        for slot in late.collect::<Vec<_>>() {
            self.warm_failed(slot, PoolLoss::ConnectTimeout);
        }
        let stale = self.warm.iter().filter(|(_, warm)| self.is_stale(warm)).map(|(slot, _)| slot);
        for slot in stale.collect::<Vec<_>>() {
            self.cool(slot);
        }
        // A pool that is being tried is left to the one that tries it.
        let wanted =
            self.pools.choose(self.next_client, None, self.now).filter(|pool| self.pools.is_well(*pool));
        let Some(pool) = wanted else { return };
        let missing = self.plan.warm_links.saturating_sub(self.warm.len()).min(WARM_PER_TICK);
        for _ in 0..missing {
            if !self.pools.spend(pool, self.now) || !self.open_warm(pool) {
                return;
            }
        }
    }

    fn is_late(&self, warm: &Warm) -> bool {
        warm.dial.as_ref().is_some_and(|dial| self.now >= dial.due)
    }

    fn is_stale(&self, warm: &Warm) -> bool {
        self.now >= warm.since + WARM_MAX_US
            || self.pools.place(warm.pool) != warm.place
            || !self.pools.is_well(warm.pool)
            || self.pools.is_outranked(warm.pool)
    }

    /// False when nothing more should be tried now.
    fn open_warm(&mut self, pool: PoolId) -> bool {
        let Some((at, address)) = self.pools.first_address(pool) else { return false };
        self.report.shell.dials += 1;
        let socket = match dial::start(address) {
            Ok(socket) => socket,
            Err(error) => {
                self.address_failed(pool, at, dial::loss_of(&error));
                return false;
            }
        };
        let entry = self.warm.vacant_entry();
        if self.poller.add(&socket, Token::Warm(entry.key()).pack(), Interest::BOTH).is_err() {
            return false;
        }
        let (now, place, turn) = (self.now, self.pools.place(pool), self.turns);
        let due = now + self.plan.connect_us;
        let before = Before { tried: 0, since: now, furthest: None };
        let dial = Dial { step: Step::Connecting, pool, at, before, due };
        let side = Side::new(socket, Interest::BOTH);
        entry.insert(Warm { pool, side, dial: Some(Box::new(dial)), since: now, place, turn });
        true
    }

    /// One came to nothing: the next begins with the next address. That the pool is away is for miners to find out, who try
    /// all of its addresses.
    fn warm_failed(&mut self, slot: usize, loss: PoolLoss) {
        let dial = self.warm.get(slot).and_then(|warm| warm.dial.as_ref());
        let Some((pool, at)) = dial.map(|dial| (dial.pool, dial.at)) else { return };
        self.cool(slot);
        self.address_failed(pool, at, loss);
    }

    pub(super) fn warm_ready(&mut self, slot: usize, told: Readiness) {
        // Told of the socket that stood here before: the new one was not watched yet.
        let is_known = self.warm.get(slot).is_some_and(|warm| warm.turn != self.turns);
        // It is told of once, so it is looked at until there is nothing more; a pool that never ends is given up.
        for _ in 0..WARM_READS_MAX {
            if !is_known || !self.warm.contains(slot) {
                return;
            }
            let looked = catch_unwind(AssertUnwindSafe(|| match &self.warm[slot].dial {
                Some(_) => self.go_on_warming(slot, told),
                None => self.listen_warm(slot),
            }));
            match looked {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => break,
            }
        }
        self.cool(slot);
    }

    /// True when the socket has nothing more.
    fn go_on_warming(&mut self, slot: usize, told: Readiness) -> bool {
        let Shard { warm, plan, pools, scratch, spares, now, .. } = self;
        let Some(Warm { pool, side, dial: Some(dial), .. }) = warm.get_mut(slot) else { return true };
        let pool = *pool;
        let (route, server_name) = (plan.pools.get(pool.index()), pools.server_name(pool));
        let means = &mut Means { route, server_name, scratch, spares, now: *now };
        match go_on(side, dial, told, means) {
            Went::On { is_full } => return !is_full,
            Went::Up { rest, .. } if rest.is_empty() => {
                self.warm[slot].dial = None;
            }
            Went::Up { .. } => self.cool(slot),
            Went::Failed(loss, _) => self.warm_failed(slot, loss),
        }
        false
    }

    /// Whatever the pool says now means nothing, besides what TLS has to say behind its handshake.
    fn listen_warm(&mut self, slot: usize) -> bool {
        let side = &mut self.warm[slot].side;
        match side.read(&mut self.scratch, READ_BYTES, &mut self.spares, self.now) {
            Read::Nothing => true,
            Read::Bytes(0, is_full) if side.tls.is_some() => !is_full,
            Read::Bytes(..) | Read::Eof | Read::Broken | Read::TlsFailed => {
                self.cool(slot);
                true
            }
        }
    }

    /// Gives one up. Nothing was said on it, so nothing is lost.
    fn cool(&mut self, slot: usize) {
        if let Some(mut warm) = self.warm.try_remove(slot) {
            warm.side.close_by_reset();
            warm.side.close(&mut self.spares);
        }
    }

    /// One that is open, for a link that dials its pool.
    pub(super) fn take_warm(&mut self, pool: PoolId, key: usize) -> Option<Side> {
        let is_ready =
            |warm: &Warm| warm.pool == pool && warm.dial.is_none() && warm.place == self.pools.place(pool);
        let slot = self.warm.iter().find(|(_, warm)| is_ready(warm)).map(|(slot, _)| slot)?;
        let mut side = self.warm.try_remove(slot)?.side;
        let socket = side.socket.as_ref()?;
        self.poller.rearm(socket, Token::Pool(key).pack(), Interest::BOTH).ok()?;
        side.watched = Interest::BOTH;
        Some(side)
    }

    pub(super) fn cool_all(&mut self) {
        let slots: Vec<usize> = self.warm.iter().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.cool(slot));
    }
}
