//! A shard's worth of miners, each with its own link to its own pools, on a clock that only events move.

use crate::ledger::{Ledger, Place};
use crate::link::{Link, Outcome};
use crate::miner::Miner;
use crate::net::{Arrival, Fin, Pipe};
use crate::pool::{Character, Pool};
use crate::rng::Rng;
use crate::setting::check_workers;
use crate::setting::{
    DRAIN_US, Event, Found, Losses, Process, Report, SECOND, Shard, Side, dialing, shard, show, show_bytes,
};
use loka_proto::{End, Intent, PoolId, PoolLoss, Stats, Tick};
use std::collections::BTreeMap;

/// A run of one seed.
pub(crate) struct World {
    rng: Rng,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    miners: Vec<Miner>,
    /// The pool connection of each link; one that is done where there is none.
    pools: Vec<Pool>,
    /// What each pool is like for the miner of each link.
    characters: Vec<Vec<Character>>,
    links: Vec<Link>,
    pipes: Vec<[Pipe; 4]>,
    timers: Vec<u64>,
    /// Until when no pool may be used for a link.
    droughts: Vec<u64>,
    shard: Shard,
    ledger: Ledger,
    is_quiet: bool,
    shows: bool,
    /// How often, of a thousand events, one is followed by a session's going on in another process, and the chance of that: its
    /// own, so that all else of a run is the same with it and without.
    handing: (u64, Rng),
    handed: u64,
    /// Losses that no session counts, since it had no pool connection.
    losses: Losses,
    /// A fingerprint of all that happened.
    digest: u64,
}

impl World {
    pub(crate) fn new(seed: u64, shows: bool) -> World {
        let mut rng = Rng::new(seed);
        let mut world = World {
            now: rng.between(0, 10 * SECOND),
            events: BTreeMap::new(),
            sequence: 0,
            miners: Vec::new(),
            pools: Vec::new(),
            characters: Vec::new(),
            links: Vec::new(),
            pipes: Vec::new(),
            timers: Vec::new(),
            droughts: Vec::new(),
            shard: shard(&mut rng),
            ledger: Ledger::default(),
            is_quiet: false,
            shows,
            handing: (handings_of(seed), Rng::new(!seed)),
            handed: 0,
            losses: Losses::default(),
            digest: seed,
            rng,
        };
        for number in 0..usize::try_from(world.rng.between(1, 8)).expect("a small number") {
            let rng = &mut world.rng;
            world.miners.push(Miner::new(number, rng));
            let can_lose = world.miners[number].ids.are_unique();
            let pools =
                world.shard.accounts.iter().map(|_| Character::new(can_lose, rng)).collect::<Vec<_>>();
            world.pools.push(Pool::none(number, pools[0], rng));
            world.characters.push(pools);
            let client = world.shard.next_client();
            world.links.push(Link::new(number, client, world.now));
            let choppy = rng.percent(60);
            world.pipes.push(std::array::from_fn(|_| Pipe::new(choppy)));
            world.timers.push(u64::MAX);
            world.droughts.push(0);
            let starts = rng.below(3 * SECOND);
            world.after(starts, Event::MinerActs(number));
            world.follow(number, Outcome::default());
        }
        world
    }

    /// The same run, in which so many of a thousand events are followed by a handing over.
    pub(crate) fn with_handings(mut self, of_thousand: u64) -> World {
        self.handing.0 = of_thousand;
        self
    }

    /// Miners work for a while, then what is on its way arrives, then the shard drains.
    pub(crate) fn run(mut self) -> Report {
        let works_us = self.rng.between(20, 120) * SECOND;
        self.run_until(self.now + works_us);
        self.is_quiet = true;
        let settles_us = if self.rng.percent(10) { 150 } else { 12 } * SECOND;
        self.run_until(self.now + settles_us);
        while (0..self.links.len()).any(|link| self.is_alive(link) && !self.is_settled(link)) {
            assert!(self.step(), "bytes are on their way and nothing moves them");
        }
        for link in 0..self.links.len() {
            self.ledger.check_refusals(link, self.is_alive(link));
            if self.is_alive(link) {
                self.ledger.check_answers(link, self.links[link].moves.generation, self.now);
            }
            self.after(0, Event::Drain(link));
        }
        self.run_until(self.now + DRAIN_US + SECOND);
        self.report()
    }

    fn report(mut self) -> Report {
        let mut stats = Stats::default();
        for (number, link) in self.links.iter().enumerate() {
            assert!(link.session.is_over(), "link {number} outlived its drain");
            link.check_model();
            self.ledger.check_refusals(number, false);
            let mut verdicts = 0;
            for client in &link.clients {
                let seen = self.shard.probe.0.borrow().get(client).copied().unwrap_or_default();
                assert_eq!(seen.closes, 1, "stages hear once of each end, and of each that goes elsewhere");
                verdicts += seen.verdicts;
            }
            let rejected: u64 = link.stats.counts.shares.rejected.iter().sum();
            assert_eq!(verdicts, link.stats.counts.shares.accepted + rejected);
            stats.merge(&link.stats);
        }
        check_workers(&mut self.shard, &stats);
        let sessions = self.links.len() as u64;
        assert_eq!(stats.counts.ends.iter().sum::<u64>(), sessions, "one end per session");
        let mut losses = self.losses;
        stats.pools.iter().for_each(|pool| losses.add(&pool.losses));
        let (events, digest, handed) = (self.sequence, self.digest, self.handed);
        Report { stats, sessions, events, digest, losses, handed }
    }

    /// Neither side has gone, so that every answer has a way.
    fn is_alive(&self, link: usize) -> bool {
        let has_pool = self.links[link].is_up && !self.pools[link].is_done;
        (has_pool || !self.links[link].has_dialed)
            && self.links[link].session.listens_to_miner()
            && self.pipes[link].iter().all(|pipe| !pipe.is_closed())
    }

    /// Nothing is on its way.
    fn is_settled(&self, link: usize) -> bool {
        self.pipes[link].iter().all(Pipe::is_quiet)
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    fn run_until(&mut self, end: u64) {
        while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else { return false };
        self.now = at;
        self.shows.then(|| show(at, &event));
        match event {
            Event::MinerActs(link) => self.miner_acts(link),
            Event::PoolActs(link, generation) => self.pool_acts(link, generation),
            Event::PoolSays(link, generation, bytes) => {
                let pool = &self.pools[link];
                if pool.place.generation == generation && !pool.is_done {
                    self.send(link, Side::PoolToProxy, &bytes);
                }
            }
            Event::Arrives(link, side) => self.arrives(link, side),
            Event::Dials(link) => self.dials(link),
            Event::Dialed(link, found) => self.dialed(link, found),
            Event::Leaves(link, loss) => self.leaves(link, loss),
            Event::Timer(link) => self.timer(link),
            Event::Drain(link) => {
                let until = Tick(self.now + DRAIN_US);
                let outcome = self.links[link]
                    .finishes(&mut self.shard, self.now, |session, cx| session.handle_drain(cx, until));
                self.follow(link, outcome);
            }
            Event::Fails(link) => self.fails(link, End::SlowReader),
        }
        self.hand_over();
        true
    }

    /// Perhaps a session goes on in another process: in a new one, or in one where others are already.
    fn hand_over(&mut self) {
        let (of_thousand, chance) = &mut self.handing;
        if chance.below(1_000) >= *of_thousand {
            return;
        }
        let any = |chance: &mut Rng, count: usize| {
            usize::try_from(chance.below(count as u64)).expect("a small number")
        };
        let number = any(chance, self.links.len());
        let process = any(chance, 2 * self.shard.processes.len()).min(self.shard.processes.len());
        if process == self.shard.processes.len() {
            self.shard.processes.push(Process::default());
        }
        let link = &mut self.links[number];
        let is_handed = link.process != process && link.hand_over(&mut self.shard, process, self.now);
        self.handed += u64::from(is_handed);
    }

    fn miner_acts(&mut self, link: usize) {
        let pipes = &self.pipes[link];
        let is_gone = pipes[Side::MinerToProxy as usize].is_closed() || self.miners[link].is_done;
        if is_gone || self.is_quiet {
            return;
        }
        let act = self.miners[link].act(&mut self.rng, &mut self.ledger, self.now);
        self.send(link, Side::MinerToProxy, &act.bytes);
        if let Some(fin) = act.fin {
            self.close(link, Side::MinerToProxy, fin);
        }
        match self.rng.below(1_000) {
            0 => self.after(0, Event::Drain(link)),
            1 => self.after(0, Event::Fails(link)),
            2..5 => self.after(0, Event::Leaves(link, PoolLoss::Switched)),
            5 => self.after(0, Event::Leaves(link, PoolLoss::Stalled)),
            _ => {}
        }
        let pause = self.rng.between(20_000, 900_000);
        self.after(pause, Event::MinerActs(link));
    }

    fn pool_acts(&mut self, link: usize, generation: u32) {
        let pool = &self.pools[link];
        let is_gone = self.pipes[link][Side::PoolToProxy as usize].is_closed() || pool.is_done;
        if is_gone || pool.place.generation != generation || self.is_quiet {
            return;
        }
        let (bytes, fin) = self.pools[link].act(&mut self.rng, self.now);
        self.send(link, Side::PoolToProxy, &bytes);
        if let Some(fin) = fin {
            self.close(link, Side::PoolToProxy, fin);
        }
        let pause = self.rng.between(100_000, 2 * SECOND);
        self.after(pause, Event::PoolActs(link, generation));
    }

    fn send(&mut self, link: usize, side: Side, bytes: &[u8]) {
        self.shows.then(|| show_bytes(link, side, bytes));
        self.digest = bytes.iter().fold(self.digest ^ self.now, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.pipes[link][side as usize].send(bytes);
        self.schedule(link, side);
    }

    fn close(&mut self, link: usize, side: Side, fin: Fin) {
        self.pipes[link][side as usize].close(fin);
        self.schedule(link, side);
    }

    fn schedule(&mut self, link: usize, side: Side) {
        if let Some(delay) = self.pipes[link][side as usize].schedule(&mut self.rng) {
            self.after(delay, Event::Arrives(link, side));
        }
    }

    fn arrives(&mut self, number: usize, side: Side) {
        let Some(arrival) = self.pipes[number][side as usize].arrive(&mut self.rng) else { return };
        let (link, shard, ledger, now) =
            (&mut self.links[number], &mut self.shard, &mut self.ledger, self.now);
        match (side, arrival) {
            (Side::MinerToProxy, Arrival::Bytes(bytes)) => {
                let outcome = link.miner_says(shard, ledger, now, &bytes);
                self.follow(number, outcome);
            }
            (Side::PoolToProxy, Arrival::Bytes(bytes)) => {
                let outcome = link.pool_says(shard, ledger, now, &bytes);
                self.follow(number, outcome);
            }
            (Side::ProxyToPool, Arrival::Bytes(bytes)) => {
                let generation = self.pools[number].place.generation;
                for (at, line) in self.pools[number].receive(&bytes, &mut self.rng, ledger, now) {
                    self.after(at - now, Event::PoolSays(number, generation, line));
                }
            }
            (Side::ProxyToMiner, Arrival::Bytes(bytes)) => self.miners[number].receive(&bytes, ledger, now),
            (Side::MinerToProxy, Arrival::Fin(Fin::Reset)) => self.fails(number, End::MinerReset),
            (Side::MinerToProxy, Arrival::Fin(Fin::Closed)) => {
                let outcome = link.finishes(shard, now, |session, cx| session.handle_miner_eof(cx));
                self.follow(number, outcome);
            }
            (Side::PoolToProxy, Arrival::Fin(fin)) => {
                let loss = if fin == Fin::Reset { PoolLoss::Reset } else { PoolLoss::Closed };
                let outcome = link.call(shard, now, |session, cx, _| session.handle_pool_down(cx, loss));
                self.follow(number, outcome);
            }
            (Side::ProxyToPool | Side::ProxyToMiner, Arrival::Fin(_)) => {}
        }
        self.schedule(number, side);
    }

    fn fails(&mut self, link: usize, end: End) {
        let outcome = self.links[link]
            .call(&mut self.shard, self.now, |session, cx, _| session.handle_failure(cx, end));
        self.follow(link, outcome);
    }

    /// The caller gives the pool connection up, for another one or for what it finds of its socket.
    fn leaves(&mut self, number: usize, loss: PoolLoss) {
        let link = &mut self.links[number];
        if !link.is_up || !link.session.listens_to_miner() {
            return;
        }
        let outcome =
            link.call(&mut self.shard, self.now, |session, cx, _| session.handle_pool_down(cx, loss));
        self.follow(number, outcome);
    }

    /// Looks for a pool.
    fn dials(&mut self, number: usize) {
        if self.links[number].session.waits_for_pool() {
            let (takes_us, mut found) = dialing(&mut self.rng, self.shard.accounts.len());
            if self.now < self.droughts[number] {
                found = Found::Nobody;
            }
            self.after(takes_us, Event::Dialed(number, found));
        }
    }

    fn dialed(&mut self, number: usize, found: Found) {
        if !self.links[number].session.waits_for_pool() {
            return;
        }
        match found {
            Found::Pool(pool) => self.pool_up(number, pool),
            Found::Lost(loss) => {
                self.losses.0[loss.index()] += 1;
                let outcome = self.links[number]
                    .call(&mut self.shard, self.now, |session, cx, _| session.handle_pool_down(cx, loss));
                self.follow(number, outcome);
            }
            Found::Nobody => {}
        }
        // Where a miner is not kept without a pool, its caller gives it up: here, the next dial does.
        if self.links[number].session.waits_for_pool() {
            let pause = self.rng.between(100_000, 8 * SECOND);
            self.after(pause, Event::Dials(number));
        }
    }

    fn pool_up(&mut self, number: usize, pool: usize) {
        let outcome = self.links[number].pool_up(&mut self.shard, self.now, PoolId::of(pool));
        let generation = self.links[number].moves.generation;
        let place = Place { link: number, generation, account: self.shard.accounts[pool] };
        self.pools[number] = Pool::new(place, self.characters[number][pool], &mut self.rng);
        let choppy = self.rng.percent(60);
        for side in [Side::ProxyToPool, Side::PoolToProxy] {
            self.pipes[number][side as usize] = Pipe::new(choppy);
        }
        self.after(0, Event::PoolActs(number, generation));
        if generation > 1 && self.rng.percent(15) {
            // In the middle of the move, or soon after it.
            let at = self.rng.below(6 * SECOND);
            self.after(at, Event::Leaves(number, PoolLoss::Switched));
        }
        self.follow(number, outcome);
    }

    /// The pool connection is closed. What is on its way there, or from there, is lost.
    fn drop_pool(&mut self, number: usize) {
        self.pools[number].is_done = true;
        if self.rng.percent(10) {
            self.droughts[number] = self.now + self.rng.between(1, 70) * SECOND;
        }
        for side in [Side::ProxyToPool, Side::PoolToProxy] {
            self.pipes[number][side as usize] = Pipe::default();
        }
    }

    fn timer(&mut self, number: usize) {
        self.timers[number] = u64::MAX;
        let link = &mut self.links[number];
        let outcome = link.call(&mut self.shard, self.now, |session, cx, _| session.handle_timeout(cx));
        let due = link.session.poll_timeout(&self.shard.policy);
        assert!(due.is_none_or(|due| due > Tick(self.now)), "a timer that is due again at once");
        self.follow(number, outcome);
    }

    /// Does what a call left to do.
    fn follow(&mut self, number: usize, outcome: Outcome) {
        self.links[number].check_output(&mut self.ledger, &self.shard.policy, &outcome, self.now);
        self.send(number, Side::ProxyToMiner, &outcome.to_miner);
        if outcome.is_pool_lost {
            self.drop_pool(number);
        } else {
            self.send(number, Side::ProxyToPool, &outcome.to_pool);
        }
        for intent in &outcome.intents {
            match intent {
                Intent::DialPool => {
                    if !outcome.is_pool_lost {
                        self.links[number].moves.dials(self.now);
                    }
                    self.dials(number);
                }
                Intent::Close(_) => {
                    self.close(number, Side::ProxyToMiner, Fin::Closed);
                    self.close(number, Side::ProxyToPool, Fin::Closed);
                }
            }
        }
        if let Some(due) = self.links[number].session.poll_timeout(&self.shard.policy)
            && due.0 < self.timers[number]
        {
            // The runtime's timers are coarse: some come late. Others come early, which does no harm.
            let late = if self.rng.percent(90) { self.rng.below(200_000) } else { 0 };
            self.timers[number] = due.0;
            let delay = due.0.saturating_sub(self.now);
            let delay = if self.rng.percent(5) { delay / 2 } else { delay + late };
            self.after(delay, Event::Timer(number));
        }
    }
}

/// How often sessions are handed over in the run of a seed, of a thousand events: never, now and then, or all the time.
fn handings_of(seed: u64) -> u64 {
    [0, 5, 50, 500][usize::try_from(seed % 4).unwrap_or(0)]
}
