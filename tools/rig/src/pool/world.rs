//! What the connections of a pool have in common, and what it says to each line.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::jobs::Jobs;
use super::peer::Peer;
use super::shares::{Notes, Refusal, judge};
use super::{Misbehaviour, PoolConfig, PoolReport};
use crate::hashed::{Choice, HashedShare};
use crate::seed::mix;
use crate::wire::{Message, SubmitParams};

/// Answers that may be held back at a time; the next one closes its connection.
const DELAYED_MAX: usize = 1_000_000;
/// Different user names that are counted, and how many of them are reported by name.
const USERS_COUNTED_MAX: usize = 65_536;
const USERS_SHOWN_MAX: usize = 32;
/// No good name is longer; the sample of names must stay small.
const USER_BYTES_MAX: usize = 256;

/// What becomes of a connection after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Continue,
    /// Sends what is queued, then closes.
    Close,
    Reset,
    /// Sends what is queued, then ends the pool's direction.
    HalfClose,
}

/// An answer that is held back.
pub(super) struct Delayed {
    due: Instant,
    pub(super) slot: usize,
    pub(super) serial: u64,
    pub(super) answer: Box<[u8]>,
}

pub(super) struct World {
    pub(super) config: PoolConfig,
    pub(super) jobs: Jobs,
    pub(super) report: PoolReport,
    delayed: VecDeque<Delayed>,
    extranonces_given: u64,
    users: HashSet<Box<str>>,
}

impl World {
    pub(super) fn new(config: PoolConfig) -> Self {
        World {
            jobs: Jobs::new(config.seed, config.merkle_branches, &config.job_id_prefix, config.nbits),
            report: PoolReport { jobs: 1, ..PoolReport::default() },
            delayed: VecDeque::new(),
            extranonces_given: 0,
            users: HashSet::new(),
            config,
        }
    }

    /// Never the same twice: a counter from a seeded start, spread by an odd factor, which maps one to one.
    pub(super) fn next_extranonce1(&mut self) -> u32 {
        self.extranonces_given += 1;
        let start = mix(self.config.seed, u64::MAX) as u32;
        start.wrapping_add((self.extranonces_given as u32).wrapping_mul(0x9e37_79b1))
    }

    /// Answers one line of the connection in `slot`.
    pub(super) fn handle_line(&mut self, slot: usize, peer: &mut Peer, line: &[u8]) -> After {
        self.report.lines_received += 1;
        let Ok(message) = Message::parse(line) else {
            self.report.malformed_lines += 1;
            return After::Continue;
        };
        let Some(method) = message.method_name() else {
            let is_answer = message.result.is_some() || message.error.is_some();
            let counter =
                if is_answer { &mut self.report.answers_received } else { &mut self.report.malformed_lines };
            *counter += 1;
            return After::Continue;
        };
        if self.config.misbehaviour == Misbehaviour::ServerFull {
            peer.send_error(message.id_text(), "[20,\"Server full\",null]");
            return After::Continue;
        }
        if method == "mining.submit" {
            return self.handle_submit(slot, peer, &message);
        }
        self.handle_other(peer, method, &message)
    }

    fn handle_submit(&mut self, slot: usize, peer: &mut Peer, message: &Message<'_>) -> After {
        self.report.shares_received += 1;
        if peer.silent {
            self.report.shares_unanswered += 1;
            return After::Continue;
        }
        let params = SubmitParams::parse(message.params);
        let mut notes = Notes::default();
        let verdict = judge(peer, &self.jobs, params.as_ref(), &mut notes).and_then(|()| self.luck());
        self.report.shares_unpadded += u64::from(notes.unpadded);
        self.report.shares_with_version_bits += u64::from(notes.version_bits);
        self.report.uniqueness_forgotten += u64::from(notes.forgot);
        self.count_verdict(verdict);
        if self.config.hash_shares
            && let Some(params) = &params
            && matches!(verdict, Ok(()) | Err(Refusal::LowDifficulty))
        {
            self.hash(peer, params, verdict.is_ok());
        }
        let answers = if self.config.misbehaviour == Misbehaviour::AnswerTwice { 2 } else { 1 };
        for _ in 0..answers {
            if !self.answer_share(slot, peer, message.id_text(), verdict) {
                return After::Close;
            }
        }
        peer.shares_answered += 1;
        self.after_share(peer)
    }

    /// Rejects the share of this rank or not; depends on nothing but seed and rank.
    fn luck(&self) -> Result<(), Refusal> {
        let draw = mix(self.config.seed, self.report.shares_received) % 1000;
        if draw < u64::from(self.config.reject_permille) { Err(Refusal::LowDifficulty) } else { Ok(()) }
    }

    /// Counts what a good share is worth by its hash.
    fn hash(&mut self, peer: &Peer, params: &SubmitParams<'_>, is_accepted: bool) {
        let extranonce1 = format!("{:08x}", peer.extranonce1);
        let choice = Choice {
            extranonce2: params.extranonce2(),
            ntime: params.ntime(),
            nonce: params.nonce(),
            version_bits: params.version_bits(),
        };
        let line = self.jobs.line_of(params.job_id());
        let share = line
            .and_then(|line| HashedShare::of(line, &extranonce1, &choice, peer.version_mask.unwrap_or(0)));
        let Some(share) = share else { return };
        let report = &mut self.report;
        let blocks = if is_accepted { &mut report.blocks_accepted } else { &mut report.blocks_rejected };
        *blocks += u64::from(share.is_block);
        let hash = share.hex();
        if is_accepted && (report.best_hash.is_empty() || hash < report.best_hash) {
            report.best_hash = hash;
        }
    }

    fn count_verdict(&mut self, verdict: Result<(), Refusal>) {
        let report = &mut self.report;
        let Err(refusal) = verdict else {
            report.shares_accepted += 1;
            return;
        };
        report.shares_rejected += 1;
        match refusal {
            Refusal::Malformed => report.shares_malformed += 1,
            Refusal::UnknownJob => report.shares_unknown_job += 1,
            Refusal::Duplicate => report.shares_duplicate += 1,
            Refusal::Unauthorized => report.shares_unauthorized += 1,
            Refusal::NotSubscribed => report.shares_not_subscribed += 1,
            Refusal::LowDifficulty => report.shares_low_difficulty += 1,
        }
    }

    /// False when the answer would have to be held back and too many are already.
    fn answer_share(&mut self, slot: usize, peer: &mut Peer, id: &str, verdict: Result<(), Refusal>) -> bool {
        if self.config.answer_delay.is_zero() {
            match verdict {
                Ok(()) => peer.send_result(id, "true"),
                Err(refusal) => peer.send_error(id, refusal.error()),
            }
            return true;
        }
        if self.delayed.len() >= DELAYED_MAX {
            return false;
        }
        let answer = match verdict {
            Ok(()) => format!("{{\"id\":{id},\"result\":true,\"error\":null}}\n"),
            Err(refusal) => format!("{{\"id\":{id},\"result\":null,\"error\":{}}}\n", refusal.error()),
        };
        self.delayed.push_back(Delayed {
            due: Instant::now() + self.config.answer_delay,
            slot,
            serial: peer.serial,
            answer: answer.into_bytes().into_boxed_slice(),
        });
        true
    }

    /// What a misbehaviour that counts shares does after this many.
    fn after_share(&self, peer: &mut Peer) -> After {
        let misbehaviour = self.config.misbehaviour;
        let reached = |limit: u64| peer.shares_answered >= limit;
        if let Misbehaviour::CloseAfterShares(limit) = misbehaviour
            && reached(limit)
        {
            return After::Close;
        }
        if let Misbehaviour::ResetAfterShares(limit) = misbehaviour
            && reached(limit)
        {
            return After::Reset;
        }
        if let Misbehaviour::SilentAfterShares(limit) = misbehaviour
            && reached(limit)
        {
            peer.silent = true;
            return After::Continue;
        }
        if let Misbehaviour::HalfCloseAfterShares(limit) = misbehaviour
            && reached(limit)
        {
            peer.silent = true;
            return After::HalfClose;
        }
        After::Continue
    }

    /// Sends difficulty and job once a connection has both a subscription and a user.
    pub(super) fn start_work(&mut self, peer: &mut Peer) {
        if peer.working || !peer.subscribed || !peer.has_user() {
            return;
        }
        peer.working = true;
        self.send_difficulty(peer);
        self.send_job(peer);
    }

    /// Makes a new job; see [`World::send_job`] for who gets it when.
    pub(super) fn make_job(&mut self, clean: bool) {
        self.jobs.make(clean);
        self.report.jobs = self.jobs.made();
    }

    /// Queues the newest job. False when the connection is not at work or has that job.
    pub(super) fn send_job(&mut self, peer: &mut Peer) -> bool {
        if !peer.working || peer.newest_job == self.jobs.made() {
            return false;
        }
        if peer.newest_job < self.jobs.clean_since() {
            peer.seen.clear();
        }
        if peer.newest_job == 0 {
            peer.first_job = self.jobs.made();
        }
        peer.newest_job = self.jobs.made();
        peer.send(&[self.jobs.line()]);
        self.report.jobs_sent += 1;
        true
    }

    /// Queues a new extranonce. False when the connection is not at work or has not asked to be told.
    pub(super) fn send_extranonce(&mut self, peer: &mut Peer, size: usize) -> bool {
        if !peer.working || !peer.takes_extranonce {
            return false;
        }
        peer.extranonce1 = self.next_extranonce1();
        peer.extranonce2_size = size;
        let line = format!(
            "{{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"{:08x}\",{size}]}}\n",
            peer.extranonce1
        );
        peer.send(&[line.as_bytes()]);
        self.report.extranonces_changed += 1;
        true
    }

    pub(super) fn send_difficulty(&self, peer: &mut Peer) {
        let difficulty = self.config.difficulty.to_string();
        peer.send(&[
            b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[",
            difficulty.as_bytes(),
            b"]}\n",
        ]);
    }

    pub(super) fn remember_user(&mut self, user: &str) {
        let is_new = self.users.len() < USERS_COUNTED_MAX
            && user.len() <= USER_BYTES_MAX
            && self.users.insert(user.into());
        if is_new {
            self.report.users_distinct += 1;
            if self.report.users.len() < USERS_SHOWN_MAX {
                self.report.users.push(user.to_owned());
            }
        }
    }

    /// The next answer whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Delayed> {
        self.delayed.front().filter(|delayed| delayed.due <= now)?;
        self.delayed.pop_front()
    }

    /// How long until the next held-back answer.
    pub(super) fn next_due(&self, now: Instant) -> Option<Duration> {
        self.delayed.front().map(|delayed| delayed.due.saturating_duration_since(now))
    }
}
