//! What a shard does with one link: bytes in, bytes out, intents, timers.

use super::{Shard, Token};
use crate::dial::{self, Dial};
use crate::link::{Link, Read};
use crate::poller::{Interest, Ready};
use crate::timers::Timer;
use loka_proto::middleware::Stage;
use loka_proto::{Cx, Direction, End, Intent, Parser, PoolLoss, Session, Tick};
use std::io;

impl<P: Stage> Shard<P> {
    pub(super) fn miner_ready(&mut self, key: usize, event: Ready) {
        if self.links[key].gone {
            return;
        }
        if event.write {
            self.flush_miner(key);
        }
        if self.links[key].closing.is_some() {
            return self.read_and_forget(key, event);
        }
        let watched = self.links[key].miner.watched;
        if event.read || event.hangup && watched.read {
            match self.links[key].miner.read(&mut self.scratch) {
                Read::Bytes(count) => self.with_bytes(key, count, Session::handle_miner_bytes),
                Read::Nothing => {}
                Read::Eof => self.with(key, |session, cx| session.handle_miner_eof(cx)),
                Read::Broken => self.miner_broke(key),
            }
        } else if event.hangup {
            // Not being read for, it cannot tell that it is gone in any other way.
            self.miner_broke(key);
        }
        self.settle(key);
    }

    /// The link is closing: bytes of the miner mean nothing any more, its end does.
    fn read_and_forget(&mut self, key: usize, event: Ready) {
        let link = &mut self.links[key];
        if event.read || event.hangup {
            match link.miner.read(&mut self.scratch) {
                Read::Broken => link.drop_miner(&mut self.spares),
                Read::Nothing if event.hangup => link.drop_miner(&mut self.spares),
                Read::Eof | Read::Nothing | Read::Bytes(_) => {}
            }
        }
        link.go_on_closing(&mut self.spares, self.now);
        self.settle(key);
    }

    pub(super) fn pool_ready(&mut self, key: usize, event: Ready) {
        if self.links[key].gone || self.links[key].pool.socket.is_none() {
            return;
        }
        if self.links[key].dial.is_some() {
            self.finish_dial(key);
            return self.settle(key);
        }
        if event.write {
            self.flush_pool(key);
        }
        let watched = self.links[key].pool.watched;
        if event.read || event.hangup && watched.read {
            match self.links[key].pool.read(&mut self.scratch) {
                Read::Bytes(count) => self.with_bytes(key, count, Session::handle_pool_bytes),
                Read::Nothing => {}
                Read::Eof => self.lose_pool(key, PoolLoss::Closed),
                Read::Broken => self.lose_pool(key, PoolLoss::Reset),
            }
        } else if event.hangup {
            self.lose_pool(key, PoolLoss::Reset);
        }
        self.settle(key);
    }

    pub(super) fn timer_fired(&mut self, timer: Timer) {
        let Some(link) = self.links.get_mut(timer.key) else { return };
        let is_stale = link.gone || link.armed != timer.at || link.session.client().id.0 != timer.client;
        if is_stale {
            return;
        }
        link.armed = 0;
        let key = timer.key;
        if self.links[key].dial.as_ref().is_some_and(|dial| self.now >= dial.due) {
            self.next_attempt(key, PoolLoss::ConnectTimeout);
        }
        if self.links[key].is_stalled(self.now) {
            self.fail(key, End::SlowReader);
            self.links[key].drop_miner(&mut self.spares);
        } else if self.links[key].session.poll_timeout(&self.plan.policy).is_some_and(|due| self.now >= due) {
            self.with(key, |session, cx| session.handle_timeout(cx));
        }
        let link = &mut self.links[key];
        if link.closing.is_some() {
            link.go_on_closing(&mut self.spares, self.now);
        }
        self.settle(key);
    }

    pub(super) fn drain_link(&mut self, key: usize, until: Tick) {
        self.with(key, |session, cx| session.handle_drain(cx, until));
        self.settle(key);
    }

    /// Calls the session with what it needs.
    fn with(&mut self, key: usize, call: impl FnOnce(&mut Session, &mut Cx<'_, P>)) {
        let Shard { links, out, report, plan, pipeline, now, .. } = self;
        let mut cx = Cx { now: *now, out, stats: &mut report.stats, policy: &plan.policy, pipeline };
        call(&mut links[key].session, &mut cx);
    }

    /// Calls the session with the bytes that were just read.
    fn with_bytes(
        &mut self,
        key: usize,
        count: usize,
        call: impl FnOnce(&mut Session, &mut Cx<'_, P>, &mut Parser, &[u8]),
    ) {
        let Shard { links, out, report, plan, pipeline, now, parser, scratch, .. } = self;
        let mut cx = Cx { now: *now, out, stats: &mut report.stats, policy: &plan.policy, pipeline };
        call(&mut links[key].session, &mut cx, parser, &scratch[..count]);
    }

    fn fail(&mut self, key: usize, end: End) {
        self.with(key, |session, cx| session.handle_failure(cx, end));
    }

    fn lose_pool(&mut self, key: usize, loss: PoolLoss) {
        self.with(key, |session, cx| session.handle_pool_down(cx, loss));
    }

    fn flush_miner(&mut self, key: usize) {
        let link = &mut self.links[key];
        if link.miner.flush(&mut self.spares, self.now).is_err() {
            self.miner_broke(key);
        }
    }

    fn flush_pool(&mut self, key: usize) {
        let link = &mut self.links[key];
        if link.pool.flush(&mut self.spares, self.now).is_err() {
            self.lose_pool(key, PoolLoss::Reset);
        }
    }

    /// The miner's socket is of no use any more. The session may still wait for answers, to count what the pool says.
    fn miner_broke(&mut self, key: usize) {
        self.with(key, |session, cx| session.handle_miner_reset(cx));
        let link = &mut self.links[key];
        link.miner.close(&mut self.spares);
        link.miner.eof = true;
    }

    /// Sends what was said, does what was intended, and leaves the link watched for what it waits for.
    pub(super) fn settle(&mut self, key: usize) {
        self.send_out(key);
        while let Some(intent) = self.links[key].session.poll_intent() {
            match intent {
                Intent::DialPool => self.dial(key, 0, self.now),
                Intent::Close(end) => {
                    let client = self.links[key].session.client().id.0;
                    tracing::debug!(shard = self.report.shard, client, %end, "ended");
                    self.links[key].begin_closing(&mut self.spares, self.now);
                }
            }
            self.send_out(key);
        }
        if self.links[key].gone {
            return self.gone.push(key);
        }
        self.note_pause(key);
        if self.watch(key).is_err() {
            self.fail(key, End::OutOfResources);
            self.links[key].drop_miner(&mut self.spares);
            return self.gone.push(key);
        }
        self.arm(key);
    }

    /// One send per side for all that this call produced.
    fn send_out(&mut self, key: usize) {
        let (to_miner, to_pool) =
            (std::mem::take(&mut self.out.to_miner), std::mem::take(&mut self.out.to_pool));
        let link = &mut self.links[key];
        let bytes = &mut self.report.stats.counts.bytes;
        bytes[Direction::ToMiner.index()] += to_miner.len() as u64;
        bytes[Direction::ToPool.index()] += to_pool.len() as u64;
        let miner = link.miner.send(&mut self.spares, &to_miner, self.now);
        let pool = link.pool.send(&mut self.spares, &to_pool, self.now);
        // The buffers go back for the next call, which keeps their memory.
        self.out.to_miner = to_miner;
        self.out.to_pool = to_pool;
        self.out.clear();
        if miner.is_err() {
            self.miner_broke(key);
        } else if pool.is_err() {
            self.lose_pool(key, PoolLoss::Reset);
        }
    }

    fn note_pause(&mut self, key: usize) {
        let link = &mut self.links[key];
        let congested = link.is_congested();
        self.report.shell.pauses += u64::from(congested && !link.paused);
        link.paused = congested;
    }

    /// Tells the poller what the link waits for now, where that has changed.
    fn watch(&mut self, key: usize) -> io::Result<()> {
        let link = &mut self.links[key];
        let (miner, pool) = (link.miner_interest(), link.pool_interest());
        if let Some(socket) = link.miner.socket.as_ref().filter(|_| link.miner.watched != miner) {
            self.poller.rearm(socket, Token::Miner(key).pack(), miner)?;
            link.miner.watched = miner;
        }
        if let Some(socket) = link.pool.socket.as_ref().filter(|_| link.pool.watched != pool) {
            self.poller.rearm(socket, Token::Pool(key).pack(), pool)?;
            link.pool.watched = pool;
        }
        Ok(())
    }

    /// Arms the wheel for the link's next deadline, unless it is armed for an earlier look already.
    pub(super) fn arm(&mut self, key: usize) {
        let link = &mut self.links[key];
        let at = self.wheel.tick_of(link.deadline(&self.plan.policy));
        if link.armed == 0 || at < link.armed {
            link.armed = at;
            self.wheel.arm(Timer { key, client: link.session.client().id.0, at });
        }
    }

    /// Tries the pool's addresses from number `attempt` on.
    fn dial(&mut self, key: usize, attempt: usize, since: Tick) {
        let mut loss = PoolLoss::Unreachable;
        for (attempt, address) in self.plan.pool_addresses.iter().enumerate().skip(attempt) {
            self.report.shell.dials += 1;
            match dial::start(*address) {
                Ok(socket) => match self.poller.add(&socket, Token::Pool(key).pack(), Interest::WRITE) {
                    Ok(()) => {
                        let link: &mut Link = &mut self.links[key];
                        link.pool = crate::link::Side::new(socket, Interest::WRITE);
                        link.dial =
                            Some(Box::new(Dial { attempt, since, due: self.now + self.plan.connect_us }));
                        return;
                    }
                    Err(_) => loss = PoolLoss::NoResources,
                },
                Err(error) => loss = dial::loss_of(&error),
            }
            self.report.shell.dial_failures += 1;
        }
        self.lose_pool(key, loss);
    }

    /// The socket of a pool connection on its way has become writable: it is open, or has failed.
    fn finish_dial(&mut self, key: usize) {
        let link = &mut self.links[key];
        let Some(socket) = &link.pool.socket else { return };
        match dial::finish(socket) {
            Ok(()) => {
                let took_us = link.dial.take().map_or(0, |dial| self.now - dial.since);
                self.with(key, |session, cx| session.handle_pool_up(cx, took_us));
            }
            Err(error) => self.next_attempt(key, dial::loss_of(&error)),
        }
    }

    fn next_attempt(&mut self, key: usize, loss: PoolLoss) {
        self.report.shell.dial_failures += 1;
        let link = &mut self.links[key];
        let Some(failed) = link.dial.take() else { return };
        link.pool.close(&mut self.spares);
        if failed.attempt + 1 < self.plan.pool_addresses.len() {
            self.dial(key, failed.attempt + 1, failed.since);
        } else {
            self.lose_pool(key, loss);
        }
    }
}
