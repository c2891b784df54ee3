//! Links that leave for another process, and links that come from one. Between the two nobody serves them: what their peers
//! say meanwhile waits in the kernel.
//!
//! A link that speaks TLS stays, since its keys do; so does one that is not at work yet, for a while, until it is or has ended.

use super::Shard;
use crate::handover::{HandOver, Parcel, Parting};
use crate::link::{Link, Side};
use crate::plan::limits::{HANDOVER_PATIENCE_US, PARCELS_PER_TICK};
use crate::poller::Interest;
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{ClientId, Cx, End, Session, Tick};

/// A shard that is about to have no links.
#[derive(Debug)]
pub(super) struct Leaving {
    hand_over: HandOver,
    /// Until then those are waited for that cannot go yet.
    until: Tick,
    is_done: bool,
}

impl<P: Stage> Shard<P> {
    /// Accepts no more, and begins to hand links over.
    pub(super) fn begin_leaving(&mut self, hand_over: HandOver) {
        let until = self.now + HANDOVER_PATIENCE_US;
        self.leaving = Some(Leaving { hand_over, until, is_done: false });
        self.watch_listeners(false);
        self.cool_all();
    }

    /// The other process is not there any more: this one accepts and keeps its miners as before.
    pub(super) fn stay(&mut self) {
        if self.leaving.take().is_some() {
            self.watch_listeners(true);
        }
    }

    /// Whether connections are not accepted because another process does.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Hands over as many as one tick may.
    pub(super) fn go_on_leaving(&mut self) {
        let Some(Leaving { hand_over, until, is_done: false }) = &self.leaving else { return };
        let (hand_over, until) = (hand_over.clone(), *until);
        let going = self.links.iter().filter(|(_, link)| !link.gone && link.can_go(&hand_over));
        let going: Vec<usize> = going.map(|(key, _)| key).take(PARCELS_PER_TICK).collect();
        for key in &going {
            let mut is_taken = true;
            self.guarded(*key, |shard| is_taken = shard.part_with(*key, &hand_over));
            if !is_taken {
                // So many wait there already: the rest goes on the next tick.
                return;
            }
        }
        if going.len() == PARCELS_PER_TICK {
            return;
        }
        let left = || self.links.iter().filter(|(_, link)| !link.gone);
        if self.now < until && left().any(|(_, link)| link.may_go_later()) {
            return;
        }
        let done = Parting::Done { kept: left().count() };
        if hand_over.door.hand_in(done).is_ok()
            && let Some(leaving) = &mut self.leaving
        {
            leaving.is_done = true;
        }
    }

    /// Hands one over. False where it was not taken; it goes on here then.
    fn part_with(&mut self, key: usize, hand_over: &HandOver) -> bool {
        let link = &self.links[key];
        let Some(session) = link.session.pack(&self.workers) else { return true };
        let (pool, address, since) = (link.session.pool(), link.address, link.since);
        let (has_worked, was_at_work) = (link.has_worked, link.was_at_work);
        let queued = [&link.miner, &link.pool].map(|side| side.queue.waiting().to_vec());
        self.with(key, |session, cx| session.handed_over(cx));
        let link = &mut self.links[key];
        // Its address has a connection less, and nothing is held against it.
        link.end = Some(End::Drained);
        link.gone = true;
        self.gone.push(key);
        self.report.shell.handed_over += 1;
        let (Some(miner), Some(pool_socket)) = (link.miner.socket.take(), link.pool.socket.take()) else {
            return true;
        };
        // The sockets stay open, so the set would go on telling of them.
        let _ = (self.poller.remove(&miner), self.poller.remove(&pool_socket));
        let sockets = [miner, pool_socket];
        let parcel = Parcel { session, pool, sockets, queued, address, since, has_worked, was_at_work };
        match hand_over.door.hand_in(Parting::Link(Box::new(parcel))) {
            Ok(()) => true,
            Err(Parting::Link(parcel)) => {
                self.adopt(*parcel);
                false
            }
            Err(Parting::Done { .. }) => false,
        }
    }

    /// Takes links that have arrived, as many as one tick may.
    pub(super) fn take_arrivals(&mut self) {
        let Some(arrivals) = self.arrivals.clone() else { return };
        for _ in 0..PARCELS_PER_TICK {
            let Some(parcel) = arrivals.pop() else { break };
            self.adopt(*parcel);
        }
    }

    /// A link goes on here. One that makes no sense is closed, and its miner connects again.
    fn adopt(&mut self, parcel: Parcel) {
        let Parcel {
            session,
            pool,
            sockets: [miner, pool_socket],
            queued,
            address,
            since,
            has_worked,
            was_at_work,
        } = parcel;
        self.report.shell.taken_over += 1;
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let Shard { out, report, plan, pipeline, jobs, workers, now, parser, .. } = self;
        let stats = &mut report.stats;
        let mut cx = Cx { now: *now, out, stats, policy: &plan.policy, pipeline, jobs, workers };
        let session = match Session::unpack(&mut cx, parser, &session, id, pool) {
            Ok(session) => session,
            Err(error) => {
                self.report.shell.not_taken_over += 1;
                tracing::warn!(shard = self.report.shard, %error, "a link of another process makes no sense");
                return;
            }
        };
        let mut link = Link::new(session, miner);
        link.pool = Side::new(pool_socket, Interest::READ);
        let [to_miner, to_pool] = queued;
        link.miner.queue.push(&mut self.spares, &to_miner, self.now);
        link.pool.queue.push(&mut self.spares, &to_pool, self.now);
        (link.address, link.has_worked, link.was_at_work) = (address, has_worked, was_at_work);
        link.since = since.min(self.now);
        (link.pool_since, link.place) = (self.now, self.pools.place(pool));
        let entry = self.links.vacant_entry();
        let key = entry.key();
        let link = entry.insert(Box::new(link));
        let sides = [(&mut link.miner, Token::Miner(key)), (&mut link.pool, Token::Pool(key))];
        let mut is_watched = true;
        for (side, token) in sides {
            side.watched = Interest { read: true, write: !side.queue.is_empty() };
            let socket = side.socket.as_ref();
            is_watched &=
                socket.is_some_and(|socket| self.poller.add(socket, token.pack(), side.watched).is_ok());
        }
        if let Some(address) = address {
            self.visitors.adopt(address, has_worked, self.now);
        }
        if !is_watched {
            self.fail(key, End::OutOfResources);
        }
        self.settle(key);
    }
}

impl Link {
    /// Whether neither side speaks TLS.
    fn is_plain(&self) -> bool {
        self.miner.tls.is_none() && self.pool.tls.is_none()
    }

    /// Whether it can go on in another process now.
    fn can_go(&self, hand_over: &HandOver) -> bool {
        let is_whole = self.miner.socket.is_some() && self.pool.socket.is_some() && self.dial.is_none();
        let is_open = self.closing.is_none() && !self.miner.eof && !self.pool.eof && self.front.is_none();
        let has_place = hand_over.pools.get(self.session.pool().index()).is_some_and(|has| *has);
        self.is_plain() && is_whole && is_open && has_place && self.session.can_be_packed()
    }

    /// Whether it may yet come to that.
    fn may_go_later(&self) -> bool {
        self.is_plain() && self.closing.is_none() && !self.session.is_over() && self.session.has_begun()
    }
}
