//! One session under test, with everything that must hold after each of its calls.

use crate::credit::Fate;
use crate::ledger::{Kind, Ledger, Said, nonce_of, number_after, verdict_of};
use crate::model::Model;
use crate::moves::{Moves, check_pools, end_of};
use crate::net::Lines;
use crate::setting::{Pipeline, Process, Shard};
use loka_proto::{
    ClientId, Cx, Direction, End, Intent, Out, Parser, Policy, PoolId, Session, Stats, Tick, limits,
};
use std::collections::BTreeMap;

/// What one call of a session left to do.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) to_miner: Vec<u8>,
    pub(crate) to_pool: Vec<u8>,
    pub(crate) intents: Vec<Intent>,
    /// The pool connection was lost, and the miner stays.
    pub(crate) is_pool_lost: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    number: usize,
    pub(crate) session: Session,
    /// The number of the process that it is in.
    pub(crate) process: usize,
    /// What it was called in each process that it was in.
    pub(crate) clients: Vec<ClientId>,
    /// It goes on in another process: here it is over and has not ended.
    pub(crate) is_leaving: bool,
    /// Shares in flight that it came with, to all of them together.
    pub(crate) taken_over: u64,
    pub(crate) stats: Stats,
    pub(crate) has_dialed: bool,
    pub(crate) is_up: bool,
    pub(crate) model: Model,
    pub(crate) moves: Moves,
    /// What the proxy says again to its present pool, by id, until that answers.
    again: BTreeMap<usize, usize>,
    pub(crate) out: Out,
    from_miner: Lines,
    from_pool: Lines,
    lines_to_miner: u64,
    lines_to_pool: u64,
    bytes_from: [u64; 2],
}

impl Link {
    pub(crate) fn new(number: usize, client: ClientId, now: u64) -> Link {
        Link {
            number,
            session: Session::new(client, Tick(now)),
            process: 0,
            clients: vec![client],
            is_leaving: false,
            taken_over: 0,
            stats: Stats::default(),
            has_dialed: false,
            is_up: false,
            model: Model::default(),
            moves: Moves::default(),
            again: BTreeMap::new(),
            out: Out::default(),
            from_miner: Lines::default(),
            from_pool: Lines::default(),
            lines_to_miner: 0,
            lines_to_pool: 0,
            bytes_from: [0; 2],
        }
    }

    pub(crate) fn messages(&self, direction: Direction) -> u64 {
        self.stats.counts.messages[direction.index()].iter().sum()
    }

    /// Makes one call of the session and checks what must hold behind every call.
    pub(crate) fn call(
        &mut self,
        shard: &mut Shard,
        now: u64,
        what: impl FnOnce(&mut Session, &mut Cx<'_, Pipeline>, &mut Parser),
    ) -> Outcome {
        let was_over = self.session.is_over();
        self.out.clear();
        let Process { parser, jobs, workers } = &mut shard.processes[self.process];
        let mut cx = Cx {
            now: Tick(now),
            out: &mut self.out,
            stats: &mut self.stats,
            policy: &shard.policy,
            pipeline: &mut shard.pipeline,
            jobs,
            workers,
        };
        what(&mut self.session, &mut cx, parser);
        let intents: Vec<Intent> = std::iter::from_fn(|| self.session.poll_intent()).collect();
        if was_over {
            assert!(self.out.to_miner.is_empty() && self.out.to_pool.is_empty(), "output after the end");
            assert!(intents.is_empty(), "intents after the end: {intents:?}");
        }
        let is_pool_lost = self.is_up && self.session.waits_for_pool();
        self.is_up &= !is_pool_lost;
        self.check_intents(&intents, was_over, is_pool_lost);
        self.check_bounds();
        self.check_balance(&shard.policy);
        check_pools(&self.stats, &self.session, self.moves.generation);
        let (to_miner, to_pool) =
            (std::mem::take(&mut self.out.to_miner), std::mem::take(&mut self.out.to_pool));
        Outcome { to_miner, to_pool, intents, is_pool_lost }
    }

    /// The pool connection is open.
    pub(crate) fn pool_up(&mut self, shard: &mut Shard, now: u64, pool: PoolId) -> Outcome {
        self.is_up = true;
        self.from_pool = Lines::default();
        self.again.clear();
        self.moves.connected();
        let outcome =
            self.call(shard, now, |session, cx, parser| session.handle_pool_up(cx, parser, pool, 1_000));
        assert_eq!(self.session.pool(), pool);
        outcome
    }

    /// The miner has left, or a drain begins: shares in flight are waited for.
    pub(crate) fn finishes(
        &mut self,
        shard: &mut Shard,
        now: u64,
        what: impl FnOnce(&mut Session, &mut Cx<'_, Pipeline>),
    ) -> Outcome {
        let waits = self.is_up && self.session.shares_in_flight() > 0;
        let outcome = self.call(shard, now, |session, cx, _| what(session, cx));
        assert!(!self.session.listens_to_miner(), "the miner has left");
        assert_eq!(self.session.is_over(), !waits, "answers in flight are waited for");
        outcome
    }

    /// Bytes of the miner.
    pub(crate) fn miner_says(
        &mut self,
        shard: &mut Shard,
        ledger: &mut Ledger,
        now: u64,
        bytes: &[u8],
    ) -> Outcome {
        let (before, was_up) = (self.messages(Direction::FromMiner), self.is_up);
        let outcome =
            self.call(shard, now, |session, cx, parser| session.handle_miner_bytes(cx, parser, bytes));
        self.bytes_from[0] += bytes.len() as u64;
        let lines = self.from_miner.cut(bytes);
        let taken = usize::try_from(self.messages(Direction::FromMiner) - before).expect("a small number");
        if self.session.listens_to_miner() {
            assert_eq!(taken, lines.len(), "each line of the miner is counted once");
        }
        assert!(taken <= lines.len());
        for line in &lines[..taken] {
            if let Some(tag) = number_after(line, "\"tag\":") {
                let said = &mut ledger.said[tag];
                said.arrived = Some(now);
                said.difficulty = self.model.difficulty_of(&said.work.job);
            }
        }
        if was_up && self.is_up && !self.session.is_over() {
            self.judge_shares(&shard.policy, ledger, now, &lines[..taken], &outcome);
        } else {
            let tags = lines[..taken].iter().filter_map(|line| number_after(line, "\"tag\":"));
            tags.for_each(|tag| self.model.credit.said(&ledger.said[tag]));
        }
        if self.is_up && !self.session.is_over() {
            let answered = count_lines(&outcome.to_miner);
            assert_eq!(answered + count_lines(&outcome.to_pool), taken as u64, "each line goes one way");
        }
        outcome
    }

    /// Holds what became of the miner's shares against the model: each line went to the pool or was answered, in its order.
    fn judge_shares(
        &mut self,
        policy: &Policy,
        ledger: &Ledger,
        now: u64,
        lines: &[Vec<u8>],
        outcome: &Outcome,
    ) {
        let sent = Lines::default().cut(&outcome.to_pool);
        let mut sent = sent.iter().filter_map(|line| number_after(line, "\"tag\":")).peekable();
        let mut answers = Lines::default().cut(&outcome.to_miner).into_iter();
        for line in lines {
            let tag = number_after(line, "\"tag\":");
            let fate = if tag.is_some() && sent.next_if(|sent| Some(*sent) == tag).is_some() {
                Fate::Sent
            } else {
                let answer = answers.next().expect("each line goes one way");
                let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
                Fate::Refused(answer["error"][1].as_str().unwrap_or_default().to_owned())
            };
            let Some(said) = tag.map(|tag| &ledger.said[tag]) else { continue };
            if said.kind == Kind::Submit {
                let generation = self.moves.generation;
                self.model.credit.judge(said, &fate, generation, (policy, now));
            }
            self.model.credit.said(said);
        }
    }

    /// Bytes of the pool.
    pub(crate) fn pool_says(
        &mut self,
        shard: &mut Shard,
        ledger: &mut Ledger,
        now: u64,
        bytes: &[u8],
    ) -> Outcome {
        let before = self.messages(Direction::FromPool);
        let outcome =
            self.call(shard, now, |session, cx, parser| session.handle_pool_bytes(cx, parser, bytes));
        self.bytes_from[1] += bytes.len() as u64;
        let lines = self.from_pool.cut(bytes);
        let taken = usize::try_from(self.messages(Direction::FromPool) - before).expect("a small number");
        if self.is_up && !self.session.is_over() {
            assert_eq!(taken, lines.len(), "each line of the pool is counted once");
        }
        assert!(taken <= lines.len());
        for line in &lines[..taken] {
            self.judge(ledger, &shard.policy, line, now);
        }
        outcome
    }

    /// Lets the model take a line of the pool.
    fn judge(&mut self, ledger: &mut Ledger, policy: &Policy, line: &[u8], now: u64) {
        let id = number_after(line, "\"id\":");
        if let Some(tag) = id.and_then(|id| self.again.remove(&id)) {
            return self.judge_again(&ledger.said[tag], line);
        }
        let Some(tag) = number_after(line, "\"echo\":") else {
            return self.model.pool_says(line, policy, now);
        };
        let said = &mut ledger.said[tag];
        if said.kind == Kind::Authorize {
            let message = serde_json::from_slice(line).expect("pools answer in JSON");
            self.moves.authorized(said.worker(), &message);
        }
        let Some(arrived) = said.arrived.filter(|_| said.kind == Kind::Submit && !said.judged) else {
            return;
        };
        said.judged = true;
        if now - arrived < limits::ANSWER_US {
            let (_, _, verdict) = verdict_of(nonce_of(tag));
            self.model.expected.verdict(verdict, said.difficulty, now - arrived);
        }
    }

    /// Takes an answer to what the proxy said again.
    fn judge_again(&mut self, said: &Said, line: &[u8]) {
        let message = serde_json::from_slice(line).expect("pools answer in JSON");
        match said.kind {
            Kind::Subscribe => {
                self.model.subscribe_said_again_answered();
                self.moves.subscribed_again(&message);
            }
            Kind::Authorize => self.moves.authorized(said.worker(), &message),
            Kind::Configure | Kind::Submit | Kind::Other | Kind::Silent | Kind::Bad => {}
        }
    }

    /// Each output must be looked at once, in order: counts lines, notes where they went, and checks what may come before
    /// a subscribe answer and after a loss.
    pub(crate) fn check_output(&mut self, ledger: &mut Ledger, policy: &Policy, outcome: &Outcome, now: u64) {
        for line in Lines::default().cut(&outcome.to_pool) {
            self.lines_to_pool += 1;
            self.check_line_to_pool(ledger, &line, now);
        }
        for line in Lines::default().cut(&outcome.to_miner) {
            self.lines_to_miner += 1;
            self.check_line_to_miner(ledger, &line);
        }
        let (to_pool, to_miner) = (self.messages(Direction::ToPool), self.messages(Direction::ToMiner));
        assert!(
            self.lines_to_pool <= to_pool && self.lines_to_miner <= to_miner,
            "lines that were not counted"
        );
        if outcome.is_pool_lost {
            let had_work = self.model.has_job();
            self.model.lose_pool();
            self.moves.lost(&self.model, &self.stats, policy, had_work, now);
            ledger.lost(self.number, now);
            // What was held back of the pool's lines is gone with it.
            self.lines_to_miner = to_miner;
        }
        if let Some(end) = end_of(&outcome.intents) {
            let waits = self.has_dialed && !self.is_up;
            assert!(end != End::Idle || !waits || policy.hold_us == 0, "idle, with nobody to talk to");
            self.moves.check_end(end, &self.model, policy, now);
        }
        if self.is_up {
            assert_eq!(self.lines_to_pool, to_pool, "lines counted and lines sent to the pool");
        }
        if !self.session.is_over() && !self.holds_early() {
            assert_eq!(self.lines_to_miner, to_miner, "lines counted and lines sent to the miner");
        }
        let bytes = &self.stats.counts.bytes;
        assert_eq!(self.bytes_from[0], bytes[Direction::FromMiner.index()]);
        assert_eq!(self.bytes_from[1], bytes[Direction::FromPool.index()]);
    }

    fn check_line_to_pool(&mut self, ledger: &mut Ledger, line: &[u8], now: u64) {
        let Some(tag) = number_after(line, "\"tag\":") else { return };
        let (kind, asks) = (ledger.said[tag].kind, ledger.said[tag].asks_for_extranonce());
        if kind == Kind::Authorize {
            self.moves.worker_asked(ledger.said[tag].worker());
        }
        let id = number_after(line, "\"id\":");
        if id.is_some_and(|id| {
            id > limits::OWN_REQUEST_ID as usize && id < limits::OWN_REQUEST_ID as usize + 101
        }) {
            self.again.extend(id.map(|id| (id, tag)));
            if kind == Kind::Subscribe {
                self.model.subscribe_said_again();
            }
            return;
        }
        ledger.sent(tag, now);
        self.moves.extranonce_asked |= asks;
        if kind == Kind::Subscribe {
            self.model.subscribe_sent();
        }
    }

    fn check_line_to_miner(&mut self, ledger: &Ledger, line: &[u8]) {
        let message: serde_json::Value = serde_json::from_slice(line).expect("miners get JSON only");
        if message["method"].is_string() {
            self.model.check_notification();
        }
        let tag = number_after(line, "\"echo\":");
        let is_subscribe = tag.is_some_and(|tag| ledger.said[tag].kind == Kind::Subscribe);
        if is_subscribe {
            self.model.subscribe_answered(message["result"].is_array());
        }
        if is_subscribe || message["method"].is_string() {
            self.moves.check_told(&message, line);
        }
        // The proxy itself answers an extranonce subscription so, and nothing else.
        self.moves.extranonce_asked |= tag.is_none() && message["result"] == true;
    }

    /// Whether lines of the pool may be held back from the miner.
    fn holds_early(&self) -> bool {
        let is_moving = self.moves.generation > 1 && !self.session.has_pool();
        self.model.holds_early() || is_moving
    }

    fn check_intents(&mut self, intents: &[Intent], was_over: bool, is_pool_lost: bool) {
        let is_over = self.session.is_over() && !self.is_leaving;
        assert!(is_over || !was_over, "a session that was over lives again");
        let closes = intents.iter().filter(|intent| matches!(intent, Intent::Close(_))).count();
        assert_eq!(
            closes,
            usize::from(is_over && !was_over),
            "one Close, when the session ends: {intents:?}"
        );
        let ends: u64 = self.stats.counts.ends.iter().sum();
        assert_eq!(ends, u64::from(is_over), "an end is counted once");
        let dials = intents.iter().filter(|intent| **intent == Intent::DialPool).count();
        let is_first = !self.has_dialed && self.session.waits_for_pool();
        assert_eq!(dials, usize::from(is_first || is_pool_lost), "a dial for each pool that is lost");
        self.has_dialed |= dials > 0;
    }

    fn check_bounds(&self) {
        let session = &self.session;
        let held_max = limits::MINER_LINE_BYTES_MAX
            + limits::POOL_LINE_BYTES_MAX
            + limits::HELD_BYTES_MAX
            + limits::EARLY_BYTES_MAX;
        assert!(session.bytes_held() <= held_max, "{} bytes held", session.bytes_held());
        if !self.is_up {
            let lines_max = limits::MINER_LINE_BYTES_MAX + limits::HELD_BYTES_MAX;
            assert!(session.bytes_held() <= lines_max, "{} bytes held for the pool", session.bytes_held());
        } else if !self.holds_early() {
            let lines_max = limits::MINER_LINE_BYTES_MAX + limits::POOL_LINE_BYTES_MAX;
            assert!(session.bytes_held() <= lines_max, "{} bytes held on an open link", session.bytes_held());
        }
        assert!(session.bytes_kept() <= limits::GREETING_BYTES_MAX, "{} bytes kept", session.bytes_kept());
        assert!(session.requests_pending() <= limits::PENDING_MAX);
        assert!(session.client().mining.jobs() <= limits::JOBS_MAX);
        assert!(session.client().workers() <= limits::WORKERS_MAX, "too many workers");
        assert!(session.client().errors <= limits::PROTOCOL_ERRORS_MAX + 1);
        assert!(self.out.to_miner.len().max(self.out.to_pool.len()) <= limits::OUT_BYTES_MAX);
        if session.is_over() {
            let kept = (session.bytes_held(), session.bytes_kept(), session.requests_pending());
            assert_eq!(kept, (0, 0, 0), "held after the end");
        }
    }

    fn check_balance(&self, policy: &Policy) {
        let is_finishing = !self.session.listens_to_miner() && !self.session.is_over();
        assert!(!is_finishing || self.session.shares_in_flight() > 0, "waits for nothing");
        let shares = &self.stats.counts.shares;
        let rejected: u64 = shares.rejected.iter().sum();
        let in_flight = self.session.shares_in_flight() as u64;
        assert_eq!(
            shares.forwarded,
            shares.accepted + rejected + shares.unanswered + shares.lost + shares.handed_over + in_flight,
            "{shares:?}"
        );
        assert_eq!(self.stats.submit_us.len(), shares.accepted + rejected, "one time per verdict");
        let of_method = |direction: Direction| {
            self.stats.counts.messages[direction.index()][loka_proto::Method::Submit.index()]
        };
        let sent = shares.forwarded - self.taken_over;
        assert_eq!(of_method(Direction::FromMiner), sent + shares.refused, "{shares:?}");
        let tally = self.session.client().tally;
        let told = [tally.accepted, tally.rejected, tally.refused].map(u64::from);
        assert_eq!(told, [shares.accepted, rejected, shares.refused], "{tally:?}");
        assert_eq!(self.session.poll_timeout(policy).is_none(), self.session.is_over());
    }

    /// Compares what the session counted with what the model expects.
    pub(crate) fn check_model(&self) {
        let (expected, counted) = (&self.model.expected.counts.shares, &self.stats.counts.shares);
        assert_eq!((expected.accepted, expected.rejected), (counted.accepted, counted.rejected), "verdicts");
        assert!(
            (expected.accepted_difficulty - counted.accepted_difficulty).abs() < 1e-9,
            "difficulty of accepted shares: {} is not {}",
            counted.accepted_difficulty,
            expected.accepted_difficulty
        );
        assert!(self.model.expected.submit_us == self.stats.submit_us, "times from share to answer");
        assert_eq!(self.moves.moved, self.stats.counts.moved, "miners moved, and first jobs they were sent");
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
