//! One turn of the loop: what is ready, who comes and goes, the tick, new connections, and what is left behind.

use super::{MemoryLoad, Shard, Trouble, open_reserve};
use crate::dial;
use crate::link::Link;
use crate::listener;
use crate::mailbox::Command;
use crate::plan::limits::{
    ACCEPTS_PER_TURN, CLOSE_LINGER_US, CONNECTIONS_PER_SHARD_MAX, HASHES_PER_TICK, HASHES_PER_TURN,
    NEWCOMERS_PER_TURN, READ_ON_PER_TURN, REPORT_US, TICK_US, TIMERS_PER_TURN, VISITORS_PER_REPORT,
    WORKERS_PER_REPORT,
};
use crate::poller::{Interest, Readiness, Ready};
use crate::tls::Tls;
use crate::token::Token;
use crate::visitors::Conduct;
use loka_proto::limits::POOLS_MAX;
use loka_proto::middleware::Stage;
use loka_proto::{ClientId, End, Session};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Microseconds that nothing is accepted after descriptors ran out.
const ACCEPT_PAUSE_US: u64 = TICK_US;
/// Microseconds between two warnings of one shard.
const WARN_AGAIN_US: u64 = 60_000_000;

impl<P: Stage> Shard<P> {
    /// One turn. Whether the tick was in it.
    pub(super) fn turn(&mut self, ready: &[Ready]) -> bool {
        self.now = self.clock.now();
        self.turns += 1;
        let began = self.now;
        let (mut ticked, mut knocked) = (false, false);
        self.go_on_reading();
        for event in ready {
            let token = Token::unpack(event.token);
            match token {
                Token::Tick => ticked = true,
                Token::Listener(_) => knocked = true,
                Token::Miner(key) | Token::Pool(key) => self.told(key, token, event.readiness),
                Token::Warm(slot) => self.warm_ready(slot, event.readiness),
            }
        }
        self.serve_newcomers();
        self.serve_timers();
        self.reap();
        if ticked {
            self.tick();
        }
        if knocked {
            self.accept_all();
        }
        // What was to be said has been sent: nobody waits for this.
        self.hash_shares(HASHES_PER_TURN);
        self.report.shell.turns += 1;
        self.report.shell.busy_us += self.clock.now() - began;
        ticked
    }

    /// Hashes at most so many of the shares that wait for it. A bug there costs the figures of some, and nobody's link.
    fn hash_shares(&mut self, max: usize) {
        let Shard { jobs, workers, report, .. } = self;
        let _ = catch_unwind(AssertUnwindSafe(|| jobs.prove(max, workers, &mut report.stats)));
    }

    /// A socket is ready. A miner at work is served now; one that comes or goes when its turn comes.
    fn told(&mut self, key: usize, token: Token, readiness: Readiness) {
        let Some(link) = self.links.get(key) else { return };
        if matches!(token, Token::Pool(_)) && link.pool_turn == self.turns {
            // Told of the socket that this link had before: the new one was not watched yet.
            return;
        }
        if link.comes_or_goes(readiness) {
            self.put_off(key, token, readiness);
        } else {
            self.serve(key, token, readiness);
        }
    }

    fn serve(&mut self, key: usize, token: Token, readiness: Readiness) {
        self.guarded(key, |shard| match token {
            Token::Miner(_) => shard.miner_ready(key, readiness),
            Token::Pool(_) => shard.pool_ready(key, readiness),
            Token::Tick | Token::Listener(_) | Token::Warm(_) => {}
        });
    }

    /// Serves a socket that waited in a queue. The link that it belonged to may be gone, and another in its place has been
    /// told of nothing.
    fn serve_waiting(&mut self, token: Token) {
        let (Token::Miner(key) | Token::Pool(key)) = token else { return };
        let side = self.links.get_mut(key).and_then(|link| link.side(token));
        let told = side.map(|side| std::mem::take(&mut side.told)).unwrap_or_default();
        if told.is_any() {
            self.serve(key, token, told);
        }
    }

    /// Those of the turns before, in the order in which they came; who still has more stands behind all others.
    fn go_on_reading(&mut self) {
        for _ in 0..self.queues.unread().min(READ_ON_PER_TURN) {
            let Some(token) = self.queues.next_unread() else { break };
            self.serve_waiting(token);
        }
    }

    fn serve_newcomers(&mut self) {
        let mut budget = NEWCOMERS_PER_TURN;
        while budget > 0 {
            let Some(token) = self.queues.next_newcomer() else { break };
            budget = budget.saturating_sub(self.cost_of(token));
            self.serve_waiting(token);
        }
    }

    fn serve_timers(&mut self) {
        for _ in 0..TIMERS_PER_TURN {
            let Some(key) = self.queues.next_timer() else { break };
            self.guarded(key, |shard| shard.timer_fired(key));
        }
    }

    /// What a newcomer takes of the budget of a turn. A TLS handshake takes a server 75 us of CPU and a client 140 us, where
    /// the system calls of a connection without it take 10 us (measured 2026-11-24).
    fn cost_of(&self, token: Token) -> usize {
        let (Token::Miner(key) | Token::Pool(key)) = token else { return 1 };
        let is_handshaking = |tls: &Option<Box<Tls>>| tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        let link = self.links.get(key);
        let is_dear =
            link.is_some_and(|link| is_handshaking(&link.miner.tls) || is_handshaking(&link.pool.tls));
        if is_dear { 8 } else { 1 }
    }

    /// Runs the handler of one link. A bug in it closes that link and nothing else.
    pub(super) fn guarded(&mut self, key: usize, handler: impl FnOnce(&mut Self)) {
        if !self.links.contains(key) {
            return;
        }
        self.heard = 0;
        if catch_unwind(AssertUnwindSafe(|| handler(self))).is_err() {
            self.after_panic(key);
        }
    }

    fn after_panic(&mut self, key: usize) {
        // Whole lines that came before the bug still go out: they have been counted as sent.
        keep_whole_lines(&mut self.out.to_pool);
        keep_whole_lines(&mut self.out.to_miner);
        if self.links.get(key).is_some_and(|link| !link.gone) {
            let _ = catch_unwind(AssertUnwindSafe(|| self.send_out(key)));
        }
        self.out.clear();
        let Some(link) = self.links.get_mut(key) else { return };
        if !link.session.is_over() {
            let counts = &mut self.report.stats.counts;
            counts.ends[End::Panicked.index()] += 1;
            counts.shares.unanswered += link.session.shares_in_flight() as u64;
            let client = link.session.client();
            // The stage that panicked may do so again; then there is nothing left to tell it.
            let _ = catch_unwind(AssertUnwindSafe(|| self.pipeline.on_close(client)));
        }
        if !link.gone {
            link.drop_miner(&mut self.spares);
            self.gone.push(key);
        }
    }

    /// Frees the slots of links that are gone. Only now, so that no event of this turn meets a new link in an old slot.
    pub(super) fn reap(&mut self) {
        while let Some(key) = self.gone.pop() {
            // A link may have been noted twice; its slot cannot have been taken again before this.
            if let Some(mut link) = self.links.try_remove(key) {
                self.close_accounts(&mut link, self.now);
                // Has been done, but where the link ended by a bug.
                link.session.leave_workers(&mut self.workers);
                self.say_farewell(&link);
            }
            self.wheel.disarm(key);
        }
    }

    /// The address of a link that is gone has a connection less, and what it did is held against it.
    fn say_farewell(&mut self, link: &Link) {
        let Some(address) = link.address else { return };
        let end = link.end.unwrap_or(End::Panicked);
        let client = link.session.client();
        let conduct = Conduct { is_miner: client.is_miner(), has_worked: link.has_worked };
        if self.visitors.leave(address, end, conduct, self.now) {
            tracing::debug!(shard = self.report.shard, %address, %end, "an address is kept out for a while");
        }
    }

    fn tick(&mut self) {
        self.jobs.allow_hashes(HASHES_PER_TICK);
        let mut expirations = [0_u8; 8];
        let _ = rustix::io::read(&self.tick, &mut expirations);
        while let Some(command) = self.mailbox.next_command() {
            self.obey(command);
        }
        self.go_on_kicking();
        self.go_on_answering();
        self.go_on_denying();
        self.take_arrivals();
        self.go_on_leaving();
        self.queues.take_timers(&mut self.wheel, self.now);
        self.serve_waiting_links();
        self.keep_warm();
        self.relieve();
        self.switch_links();
        if self.drain_until.is_some_and(|until| self.now >= until + CLOSE_LINGER_US) {
            self.close_what_is_left();
        }
        self.reap();
        if self.accept_again.is_some_and(|again| self.now >= again) {
            self.accept_again = None;
            self.watch_listeners(!self.is_leaving());
        }
        if self.now - self.last_report >= REPORT_US && self.mailbox.can_exchange() {
            self.finish_report();
            self.mailbox.exchange(&mut self.report);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Pools(pools) => {
                if self.pools.set(&pools) {
                    // What a link saw before is older: nobody waits any more because of it.
                    self.links.iter_mut().for_each(|(_, link)| link.failures = 0);
                }
                self.switching_since = Some(self.now);
            }
            Command::Reload(new) => self.reload(&new),
            Command::Kick(address) => self.kick(address),
            Command::Sessions(question) => self.be_asked(question),
            Command::Visitors(rules) => self.visitors.obey(&rules, self.now),
            Command::Memory(load) => self.load = load,
            Command::MinerTls(config) => self.plan.miner_tls = Some(super::tickets_of_its_own(&config)),
            Command::HandOver(hand_over) => self.begin_leaving(hand_over),
            Command::Stay => self.stay(),
            Command::Arrivals(arrivals) => self.arrivals = Some(arrivals),
            Command::Drain { within_us } => self.drain(within_us),
        }
    }

    fn drain(&mut self, within_us: u64) {
        let until = self.now + within_us;
        let until = self.drain_until.map_or(until, |before| before.min(until));
        self.drain_until = Some(until);
        self.listeners.clear();
        self.cool_all();
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.guarded(key, |shard| shard.drain_link(key, until));
        }
    }

    fn close_what_is_left(&mut self) {
        let Shard { links, spares, gone, .. } = self;
        for (key, link) in links.iter_mut().filter(|(_, link)| !link.gone) {
            link.drop_miner(spares);
            gone.push(key);
        }
    }

    /// Sets what this report says about the present.
    pub(super) fn finish_report(&mut self) {
        // Before workers are told of: until then it is known whose they are.
        self.hash_shares(usize::MAX);
        let shell = &mut self.report.shell;
        shell.connections = self.links.len() as u64;
        (shell.pool_links, shell.queued_bytes, shell.waiting) = (0, 0, 0);
        shell.links_of_pool = [0; POOLS_MAX];
        shell.warm = self.warm.len() as u64;
        for (_, link) in &self.links {
            let is_open = link.pool.socket.is_some() && link.dial.is_none();
            shell.pool_links += u64::from(is_open);
            shell.links_of_pool[link.session.pool().index()] += u64::from(is_open);
            shell.waiting += u64::from(link.session.waits_for_pool());
            let queued = link.miner.queue.len() + link.pool.queue.len() + link.session.bytes_held();
            shell.queued_bytes += queued as u64;
        }
        shell.visitors = self.visitors.len() as u64;
        self.visitors.tell(VISITORS_PER_REPORT, self.now, &mut self.report.visitors);
        self.workers.tell(WORKERS_PER_REPORT, self.now, &mut self.report.workers);
        self.report.events_missed += self.workers.tell_events(&mut self.report.events);
        self.report.finished = self.now;
        shell.workers = self.workers.len() as u64;
        shell.workers_untold += self.workers.take_untold();
        shell.span_us = self.now - self.last_report;
        self.last_report = self.now;
    }

    pub(super) fn watch_listeners(&self, on: bool) {
        for (index, socket) in self.listeners.iter().enumerate() {
            // Cannot fail for a descriptor that is in the set; if it does, the next pause tries again.
            let _ = self.poller.watch_listener(socket, Token::Listener(index).pack(), on);
        }
    }

    /// Those that are let in wait for their turn to be read; while many do, others wait in the kernel's queue.
    fn accept_all(&mut self) {
        let room = (2 * ACCEPTS_PER_TURN).saturating_sub(self.queues.newcomers()).min(ACCEPTS_PER_TURN);
        for index in 0..self.listeners.len() {
            for _ in 0..room {
                match listener::accept(&self.listeners[index]) {
                    Ok(Some((socket, peer))) => self.welcome(socket, peer, index),
                    Ok(None) => break,
                    Err(error) if dial::is_shortage(&error) => return self.accept_with_reserve(index),
                    // The connection was gone before it was accepted: the next may be there.
                    Err(_) => self.report.shell.accept_errors += 1,
                }
            }
        }
    }

    /// No descriptor is left. The one in reserve is used to take the first in the queue and close it, so that it knows;
    /// then nothing is accepted for a moment, instead of failing in a loop.
    fn accept_with_reserve(&mut self, index: usize) {
        self.report.shell.accept_errors += 1;
        self.warn(Trouble::NoDescriptor);
        self.reserve = None;
        if let Ok(Some((socket, _))) = listener::accept(&self.listeners[index]) {
            self.turn_away(socket, None, End::OverCapacity);
        }
        self.reserve = open_reserve();
        self.accept_again = Some(self.now + ACCEPT_PAUSE_US);
        self.watch_listeners(false);
    }

    fn welcome(&mut self, socket: OwnedFd, peer: Option<SocketAddr>, listener: usize) {
        let max = self.plan.connections_max.min(CONNECTIONS_PER_SHARD_MAX);
        if self.load != MemoryLoad::Fine {
            return self.turn_away(socket, peer, End::Overloaded);
        }
        if self.links.len() >= max {
            self.make_room();
        }
        if self.links.len() >= max {
            self.warn(Trouble::Full);
            return self.turn_away(socket, peer, End::OverCapacity);
        }
        let is_proxy = self.is_proxy(peer);
        // Whom a proxy speaks for is known from its header only.
        let address = peer.map(|peer| peer.ip()).filter(|_| !is_proxy);
        if let Some(Err(refused)) = address.map(|address| self.visitors.enter(address, self.now)) {
            return self.turn_away(socket, peer, refused.end());
        }
        self.report.shell.accepted += 1;
        let id = ClientId(self.next_client);
        let session = Session::new(id, self.now);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(shard = self.report.shard, client = self.next_client, ?peer, "accepted");
        }
        self.next_client += 1;
        let front = self.front_of(is_proxy, address, listener);
        let entry = self.links.vacant_entry();
        let key = entry.key();
        if self.poller.add(&socket, Token::Miner(key).pack(), Interest::READ).is_err() {
            self.report.shell.accept_errors += 1;
            self.report.stats.counts.ends[End::OutOfResources.index()] += 1;
            if let Some(address) = address {
                self.visitors.leave(address, End::OutOfResources, Conduct::default(), self.now);
            }
            return;
        }
        let mut link = Link::new(session, socket);
        (link.front, link.address, link.since) = (front, address, self.now);
        entry.insert(Box::new(link));
        self.strangers.push(key, id, self.now);
        self.arm(key);
    }

    /// The same, with what is known of the cause.
    pub(super) fn warn_of(&mut self, trouble: Trouble, cause: &dyn std::fmt::Display) {
        if self.may_warn(trouble) {
            tracing::warn!(shard = self.report.shard, %cause, "{}", trouble.told());
        }
    }

    /// Somebody should know, and a farm that storms the proxy should not fill the log.
    pub(super) fn warn(&mut self, trouble: Trouble) {
        if self.may_warn(trouble) {
            tracing::warn!(shard = self.report.shard, connections = self.links.len(), "{}", trouble.told());
        }
    }

    fn may_warn(&mut self, trouble: Trouble) -> bool {
        let warned = &mut self.warned[trouble as usize];
        let may = warned.is_none_or(|warned| self.now - warned >= WARN_AGAIN_US);
        if may {
            *warned = Some(self.now);
        }
        may
    }

    fn turn_away(&mut self, socket: OwnedFd, peer: Option<SocketAddr>, end: End) {
        drop(socket);
        self.tell_turned_away(peer, end);
        self.report.shell.accepted += 1;
        self.report.stats.counts.ends[end.index()] += 1;
    }
}

fn keep_whole_lines(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
}
