//! Which shares the proxy must keep from a pool and which it may not, written a second time in the simplest way.
//!
//! It knows what the pool gave and what went to the pool. A share that is judged otherwise than here is a fault, whichever of
//! the two is wrong.

use crate::ledger::Said;
use loka_proto::{Policy, limits};
use std::collections::VecDeque;

const SECOND: u64 = 1_000_000;

const SENT: &str = "";
const JOB: &str = "Job not found";
const NTIME: &str = "Ntime out of range";
const BITS: &str = "Invalid version mask";
const DUPLICATE: &str = "Duplicate share";
const REFUSALS: [&str; 4] = [JOB, NTIME, BITS, DUPLICATE];

/// A job as the pool gave it, in the order of its coming.
#[derive(Debug)]
struct Given {
    name: String,
    difficulty: f64,
    ntime: u64,
    at: u64,
    is_clean: bool,
    /// Tells it from a job of the same name.
    number: u64,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    Sent,
    /// The text of the error.
    Refused(String),
}

/// Job, extranonce2 with its size, time, nonce, and bits if there are any.
type Share = (u64, usize, u128, u64, u64, Option<u64>);

#[derive(Debug)]
pub(crate) struct Credit {
    given: Vec<Given>,
    jobs: u64,
    /// Before this time nobody can tell which jobs there are.
    doubt_until: u64,
    /// Shares that the pool was sent for jobs that are known.
    sent: VecDeque<Share>,
    /// The miner has moved: its jobs carry the name of their pool connection.
    is_tagged: bool,
    /// The miner asked for version bits in some way.
    asked_for_bits: bool,
}

impl Default for Credit {
    fn default() -> Credit {
        Credit {
            given: Vec::new(),
            jobs: 0,
            doubt_until: u64::MAX,
            sent: VecDeque::new(),
            is_tagged: false,
            asked_for_bits: false,
        }
    }
}

impl Credit {
    /// The pool gives a job.
    pub(crate) fn gives(
        &mut self,
        params: &serde_json::Value,
        is_clean: bool,
        difficulty: f64,
        (policy, now): (&Policy, u64),
    ) {
        if is_clean {
            let alive: Vec<bool> = (0..self.given.len()).map(|at| self.is_alive(at, policy, now)).collect();
            let mut alive = alive.into_iter();
            self.given.retain(|_| alive.next().expect("one for each"));
            self.doubt_until = self.doubt_until.min(now + limits::VOID_JOB_GRACE_US);
        }
        if self.given.len() == limits::JOBS_MAX {
            if self.is_alive(0, policy, now) {
                self.doubt_until = if is_clean { now + limits::VOID_JOB_GRACE_US } else { u64::MAX };
            }
            self.given.remove(0);
        }
        let given = &self.given;
        self.sent.retain(|share| given.iter().any(|job| job.number == share.0));
        self.jobs += 1;
        self.given.push(Given {
            name: params[0].as_str().expect("jobs have names").to_owned(),
            difficulty,
            ntime: number(&params[7]),
            at: now,
            is_clean,
            number: self.jobs,
        });
    }

    /// The pool connection is lost, and the miner stays.
    pub(crate) fn lose_pool(&mut self, is_subscribed: bool) {
        self.given.clear();
        self.sent.clear();
        self.doubt_until = u64::MAX;
        self.is_tagged |= is_subscribed;
    }

    /// What a share on this job is worth, where it is known.
    pub(crate) fn difficulty_of(&self, job: &str) -> Option<f64> {
        self.given.iter().rev().find(|given| given.name == job).map(|given| given.difficulty)
    }

    /// Whether shares of the job at this place are credited.
    fn is_alive(&self, at: usize, policy: &Policy, now: u64) -> bool {
        let later = &self.given[at + 1..];
        let is_old = later.first().is_some_and(|next| now >= next.at + policy.jobs_us);
        let voids = later.iter().find(|job| job.is_clean);
        !is_old && voids.is_none_or(|job| now < job.at + limits::VOID_JOB_GRACE_US)
    }

    /// Notes what else a miner says that matters here.
    pub(crate) fn said(&mut self, said: &Said) {
        self.asked_for_bits |= said.holds("\"version-rolling\"") || said.method == "mining.multi_version";
    }

    /// A share has come to the proxy at work. `generation`: of the present pool connection.
    pub(crate) fn judge(&mut self, said: &Said, fate: &Fate, generation: u32, (policy, now): (&Policy, u64)) {
        let right = self.verdicts(said, generation, policy, now);
        let is_right = match fate {
            Fate::Sent => right.contains(&SENT),
            // Other refusals are the business of others.
            Fate::Refused(why) => !REFUSALS.contains(&why.as_str()) || right.contains(&why.as_str()),
        };
        assert!(is_right, "{fate:?}, and right is {right:?}: now {now}: {said:?}\n{self:?}");
        if *fate == Fate::Sent {
            self.remember(said, policy, now);
        }
    }

    /// Why the share must not go to the pool, or that it must. Two, where that depends on the order of lines on their way.
    fn verdicts(&self, said: &Said, generation: u32, policy: &Policy, now: u64) -> Vec<&'static str> {
        if self.is_tagged && said.work.generation != Some(generation) {
            return vec![JOB];
        }
        let is_named = |given: &&Given| given.name == said.work.job;
        let alive: Vec<&Given> = (0..self.given.len())
            .filter(|at| self.is_alive(*at, policy, now))
            .map(|at| &self.given[at])
            .filter(is_named)
            .collect();
        let Some(newest) = alive.last() else {
            let is_known = self.given.iter().any(|given| is_named(&given));
            let is_sure = is_known || now >= self.doubt_until;
            return vec![if is_sure { JOB } else { SENT }];
        };
        let share = share_of(said, newest.number);
        let in_time = |given: &&Given| {
            let passed = (now - given.at).div_ceil(SECOND);
            (given.ntime..=given.ntime + 7_200 + passed).contains(&share.3)
        };
        if !alive.iter().any(in_time) {
            return vec![NTIME];
        }
        let bits = share.5.unwrap_or(0);
        if bits != 0 && !self.asked_for_bits {
            return vec![BITS];
        }
        let is_repeated = now < newest.at + policy.submissions_us && self.sent.contains(&share);
        let verdict = if is_repeated { DUPLICATE } else { SENT };
        // What the miner was told when the job came is good for the job. Others may be, or not.
        if bits & !u64::from(said.work.mask) != 0 { vec![verdict, BITS] } else { vec![verdict] }
    }

    fn remember(&mut self, said: &Said, policy: &Policy, now: u64) {
        let known = (0..self.given.len())
            .rev()
            .find(|at| self.is_alive(*at, policy, now) && self.given[*at].name == said.work.job);
        let Some(job) = known.map(|at| &self.given[at]) else { return };
        if now >= job.at + policy.submissions_us {
            return;
        }
        self.sent.push_back(share_of(said, job.number));
        if self.sent.len() > limits::SHARES_KEPT_MAX {
            self.sent.pop_front();
        }
    }
}

fn share_of(said: &Said, job: u64) -> Share {
    let message: serde_json::Value = serde_json::from_slice(&said.lines.0[0]).expect("miners write JSON");
    let params = &message["params"];
    let extranonce2 = params[2].as_str().expect("text");
    let value = u128::from_str_radix(extranonce2, 16).expect("hexadecimal");
    let bits = params.get(5).filter(|bits| !bits.is_null()).map(number);
    (job, extranonce2.len(), value, number(&params[3]), number(&params[4]), bits)
}

fn number(value: &serde_json::Value) -> u64 {
    u64::from_str_radix(value.as_str().expect("text"), 16).expect("hexadecimal")
}
