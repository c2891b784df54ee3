//! What a shard does with one link: bytes in, bytes out, intents, timers.

use super::Shard;
use crate::link::Read;
use crate::plan::limits::{MINER_READ_BYTES, NEWCOMER_READ_BYTES, READ_BYTES};
use crate::poller::Readiness;
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{Cx, Direction, End, Intent, Parser, PoolLoss, Session, Tick};
use std::io;

impl<P: Stage> Shard<P> {
    pub(super) fn miner_ready(&mut self, key: usize, told: Readiness) {
        if self.links[key].gone {
            return;
        }
        if told.write {
            self.flush_miner(key);
        }
        if self.links[key].closing.is_some() {
            return self.read_and_forget(key, told);
        }
        if self.links[key].front.is_some() {
            return self.read_front(key, told);
        }
        // Asked of now: what the pool said in this turn may have filled the miner's queue, and then nothing more is read.
        let reads = self.links[key].miner.watched.read;
        if reads && (told.read || told.hangup) && self.may_be_read(key) {
            let handle = |shard: &mut Self, count| {
                shard.heard = count;
                if shard.takes_http(key, count) {
                    return;
                }
                shard.with_bytes(key, count, Session::handle_miner_bytes);
                shard.spend(key, count);
                shard.tell_refused(key);
            };
            match self.read_side(key, Token::Miner(key), told, handle) {
                Read::Bytes(..) | Read::Nothing => {}
                Read::Eof => self.with(key, |session, cx| session.handle_miner_eof(cx)),
                Read::Broken => self.miner_broke(key),
                Read::TlsFailed => self.miner_tls_failed(key),
            }
        } else if told.hangup && (!told.read || self.links[key].is_held_back()) {
            // Not being read for, it cannot tell that it is gone in any other way.
            self.miner_broke(key);
        }
        self.settle(key);
    }

    /// The link is closing: bytes of the miner mean nothing any more, its end does.
    fn read_and_forget(&mut self, key: usize, told: Readiness) {
        if told.read || told.hangup {
            let handle = |shard: &mut Self, count| shard.links[key].use_credit(count);
            match self.read_side(key, Token::Miner(key), told, handle) {
                Read::Bytes(..) if self.links[key].has_used_its_credit() => {
                    self.links[key].drop_miner(&mut self.spares)
                }
                Read::Broken | Read::TlsFailed => self.links[key].drop_miner(&mut self.spares),
                Read::Nothing if told.hangup => self.links[key].drop_miner(&mut self.spares),
                Read::Bytes(..) | Read::Eof | Read::Nothing => {}
            }
        }
        self.links[key].go_on_closing(&mut self.spares, self.now);
        self.settle(key);
    }

    /// One read of the side that `token` names; `handle` gets the count of its bytes. A read that filled its room, or behind
    /// which stands the end, was not the last: the poller will not tell again. (Nor of bytes behind urgent data, at which a
    /// read stops short; whoever sends that waits for its next byte.)
    fn read_side(
        &mut self,
        key: usize,
        token: Token,
        told: Readiness,
        handle: impl FnOnce(&mut Self, usize),
    ) -> Read {
        let link = &mut self.links[key];
        let room = match token {
            Token::Pool(_) if link.session.is_at_work() => READ_BYTES,
            // Who only comes or goes has little to say.
            Token::Pool(_) => NEWCOMER_READ_BYTES,
            Token::Miner(_) | Token::Tick | Token::Listener(_) | Token::Warm(_) => MINER_READ_BYTES,
        };
        let Some(side) = link.side(token) else { return Read::Nothing };
        let read = side.read(&mut self.scratch, room, &mut self.spares, self.now);
        if let Read::Bytes(count, is_full) = read {
            handle(self, count);
            self.read_on(key, token, told, is_full);
        }
        read
    }

    /// Leaves the rest of what there is to be read for a later turn, where there is or may be more.
    pub(super) fn read_on(&mut self, key: usize, token: Token, told: Readiness, is_full: bool) {
        if is_full || told.ended || told.hangup {
            let more = Readiness { read: true, ended: told.ended, hangup: told.hangup, write: false };
            self.put_off(key, token, more);
        }
    }

    /// Leaves a socket of a link for a later turn.
    pub(super) fn put_off(&mut self, key: usize, token: Token, told: Readiness) {
        let link = &mut self.links[key];
        let is_newcomer = link.comes_or_goes(told);
        if let Some(side) = link.side(token) {
            self.queues.put_off(token, &mut side.told, told, is_newcomer);
        }
    }

    pub(super) fn pool_ready(&mut self, key: usize, told: Readiness) {
        if self.links[key].gone || self.links[key].pool.socket.is_none() {
            return;
        }
        if self.links[key].dial.is_some() {
            self.go_on_dialing(key, told);
            // What the pool said as soon as it was there is not told of again.
            if self.links[key].dial.is_some() || !(told.read || told.hangup) {
                return self.settle(key);
            }
        }
        let reads = self.links[key].pool.watched.read;
        if reads && (told.read || told.hangup) {
            let handle = |shard: &mut Self, count| shard.with_bytes(key, count, Session::handle_pool_bytes);
            match self.read_side(key, Token::Pool(key), told, handle) {
                Read::Bytes(..) | Read::Nothing => {}
                Read::Eof => self.lose_pool(key, PoolLoss::Closed),
                Read::Broken => self.lose_pool(key, PoolLoss::Reset),
                Read::TlsFailed => self.lose_pool(key, PoolLoss::TlsFailed),
            }
        } else if told.hangup && !told.read {
            self.pool_broke(key);
        }
        if told.write {
            self.flush_pool(key);
        }
        self.note_work(key);
        self.settle(key);
    }

    pub(super) fn timer_fired(&mut self, key: usize) {
        let link = &mut self.links[key];
        if link.gone {
            return;
        }
        link.keep_pool_alive();
        self.resume(key);
        let overdue = self.links[key].dial.as_ref().filter(|dial| self.now >= dial.due);
        if let Some(loss) = overdue.map(|dial| dial.step.timed_out()) {
            self.next_address(key, loss);
        }
        if self.links[key].paused {
            // Its silence is our doing: whoever does not take his bytes is found by the stall, not by these clocks.
            self.with(key, |session, cx| session.handle_pause(cx.now));
        }
        if self.links[key].miner.is_stalled(self.now) {
            self.fail(key, End::SlowReader);
            self.links[key].drop_miner(&mut self.spares);
        } else if self.links[key].pool.is_stalled(self.now) {
            self.lose_pool(key, PoolLoss::Stalled);
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
        if !self.links[key].gone {
            self.with(key, |session, cx| session.handle_drain(cx, until));
            self.settle(key);
        }
    }

    /// Calls the session with what it needs.
    pub(super) fn with(&mut self, key: usize, call: impl FnOnce(&mut Session, &mut Cx<'_, P>)) {
        let Shard { links, out, report, plan, pipeline, jobs, workers, now, .. } = self;
        let stats = &mut report.stats;
        let mut cx = Cx { now: *now, out, stats, policy: &plan.policy, pipeline, jobs, workers };
        call(&mut links[key].session, &mut cx);
    }

    /// Calls the session with the bytes that were just read.
    fn with_bytes(
        &mut self,
        key: usize,
        count: usize,
        call: impl FnOnce(&mut Session, &mut Cx<'_, P>, &mut Parser, &[u8]),
    ) {
        let Shard { links, out, report, plan, pipeline, jobs, workers, now, parser, scratch, .. } = self;
        let stats = &mut report.stats;
        let mut cx = Cx { now: *now, out, stats, policy: &plan.policy, pipeline, jobs, workers };
        call(&mut links[key].session, &mut cx, parser, &scratch[..count]);
    }

    /// Calls the session with the parser too, for what it says again.
    pub(super) fn with_parser(
        &mut self,
        key: usize,
        call: impl FnOnce(&mut Session, &mut Cx<'_, P>, &mut Parser),
    ) {
        let Shard { links, out, report, plan, pipeline, jobs, workers, now, parser, .. } = self;
        let stats = &mut report.stats;
        let mut cx = Cx { now: *now, out, stats, policy: &plan.policy, pipeline, jobs, workers };
        call(&mut links[key].session, &mut cx, parser);
    }

    pub(super) fn fail(&mut self, key: usize, end: End) {
        self.with(key, |session, cx| session.handle_failure(cx, end));
    }

    pub(super) fn miner_tls_failed(&mut self, key: usize) {
        let link = &self.links[key];
        let client = link.session.client().id.0;
        if let Some(error) = link.miner.tls.as_ref().and_then(|tls| tls.failure()) {
            tracing::debug!(shard = self.report.shard, client, %error, "a miner cannot be spoken to");
        }
        self.fail(key, End::TlsFailed);
    }

    pub(super) fn lose_pool(&mut self, key: usize, loss: PoolLoss) {
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
            self.pool_broke(key);
        }
    }

    /// The pool's socket takes nothing any more. What the pool had answered before is still there to be read.
    fn pool_broke(&mut self, key: usize) {
        while self.links[key].session.listens_to_pool() {
            let pool = &mut self.links[key].pool;
            match pool.read(&mut self.scratch, READ_BYTES, &mut self.spares, self.now) {
                Read::Bytes(count, _) => self.with_bytes(key, count, Session::handle_pool_bytes),
                Read::Nothing | Read::Eof | Read::Broken | Read::TlsFailed => break,
            }
        }
        self.lose_pool(key, PoolLoss::Reset);
    }

    /// The miner's socket is of no use any more. The session may still wait for answers, to count what the pool says.
    pub(super) fn miner_broke(&mut self, key: usize) {
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
                Intent::DialPool => self.find_pool(key),
                Intent::Close(end) => {
                    self.end_trial(key);
                    self.links[key].end = Some(end);
                    let client = self.links[key].session.client().id.0;
                    tracing::debug!(shard = self.report.shard, client, %end, "ended");
                    self.tell_ended(key, end);
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
    pub(super) fn send_out(&mut self, key: usize) {
        let (to_miner, to_pool) =
            (std::mem::take(&mut self.out.to_miner), std::mem::take(&mut self.out.to_pool));
        let link = &mut self.links[key];
        let bytes = &mut self.report.stats.counts.bytes;
        bytes[Direction::ToMiner.index()] += link.miner.takes(&to_miner);
        bytes[Direction::ToPool.index()] += link.pool.takes(&to_pool);
        let miner = link.miner.send(&mut self.spares, &to_miner, self.now);
        let pool = link.pool.send(&mut self.spares, &to_pool, self.now);
        // The buffers go back for the next call, which keeps their memory.
        self.out.to_miner = to_miner;
        self.out.to_pool = to_pool;
        self.out.clear();
        if miner.is_err() {
            self.miner_broke(key);
        } else if pool.is_err() {
            self.pool_broke(key);
            // The last answers go out before the closing begins, which ends the sending. The session has nothing to say to
            // this pool any more, so this cannot come back here.
            self.send_out(key);
        }
    }

    fn note_pause(&mut self, key: usize) {
        let link = &mut self.links[key];
        let is_paused = link.is_paused();
        if is_paused != link.paused {
            link.paused = is_paused;
            self.report.shell.pauses += u64::from(link.is_congested());
            self.with(key, |session, cx| session.handle_pause(cx.now));
        }
    }

    /// Tells the poller what the link waits for now, where it would not be told of it.
    fn watch(&mut self, key: usize) -> io::Result<()> {
        let link = &mut self.links[key];
        let (miner, pool) = (link.miner_interest(), link.pool_interest());
        if let Some(socket) = link.miner.socket.as_ref().filter(|_| link.miner.watched.misses(miner)) {
            self.poller.rearm(socket, Token::Miner(key).pack(), miner)?;
            link.miner.watched = miner;
        }
        if let Some(socket) = link.pool.socket.as_ref().filter(|_| link.pool.watched.misses(pool)) {
            self.poller.rearm(socket, Token::Pool(key).pack(), pool)?;
            link.pool.watched = pool;
        }
        Ok(())
    }

    /// Arms the link's timer for its next deadline.
    pub(super) fn arm(&mut self, key: usize) {
        let due = self.links[key].deadline(&self.plan.policy);
        self.wheel.arm(key, due);
    }
}
