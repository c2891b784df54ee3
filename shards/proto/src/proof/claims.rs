//! Shares that a pool has answered and that are yet to be hashed, and what comes of it: the best share of a worker, shares
//! that are easier than the pool asked for, and blocks.

use super::work::{Extranonce1, Trial};
use super::works::Works;
use crate::limits::CLAIMS_MAX;
use crate::session::PoolId;
use crate::stats::Stats;
use crate::tick::Tick;
use crate::verdict::Verdict;
use crate::workers::{WorkerId, Workers};
use std::collections::VecDeque;
use std::sync::Arc;

/// How far below the difficulty that was asked for a share may be, as a part of it: pools count difficulty one as 65,535
/// times 2^208 or as 2^224, and round their targets.
const TOLERANCE: f64 = 1.0 / 32_768.0;

labels! {
    /// What a pool said of a share that is a block by its job's own target.
    pub enum BlockAnswer {
        /// The pool accepted it.
        Accepted => "accepted",
        /// The pool rejected it.
        Rejected => "rejected",
        /// The pool never answered: the connection ended or the answer took too long.
        Unanswered => "unanswered",
    }
}

impl BlockAnswer {
    fn of(verdict: Option<Verdict>) -> BlockAnswer {
        match verdict {
            Some(Verdict::Accepted) => BlockAnswer::Accepted,
            Some(Verdict::Rejected(_)) => BlockAnswer::Rejected,
            None => BlockAnswer::Unanswered,
        }
    }
}

/// A share that is a block by its job's own target.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Whose it was, where that is known: any text without control characters.
    pub worker: Option<Arc<str>>,
    /// The pool that gave the job.
    pub pool: PoolId,
    /// The job's id as the pool wrote it, cut: any text. `None` where the pool gave the job under several.
    pub job: Option<Box<str>>,
    /// The hash, the most significant byte first.
    pub hash: [u8; 32],
    /// Its difficulty.
    pub difficulty: f64,
    /// The difficulty that the pool asked for; zero where that is not known.
    pub asked: f64,
    /// What the pool said; `None` where it never did.
    pub verdict: Option<Verdict>,
    /// When it was answered, or given up, by the clock of its shard.
    pub at: Tick,
}

impl Candidate {
    /// What the pool said of it, in one word.
    #[must_use]
    pub fn answer(&self) -> BlockAnswer {
        BlockAnswer::of(self.verdict)
    }

    /// The hash in hexadecimal, as people write it.
    #[must_use]
    pub fn hash_text(&self) -> String {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        self.hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
    }
}

/// A share that is yet to be hashed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) trial: Trial,
    pub(crate) extranonce1: Extranonce1,
    /// The difficulty that the pool asks for; zero where that is not known.
    pub(crate) asked: f64,
    pub(crate) worker: WorkerId,
    pub(crate) pool: PoolId,
    /// What the pool said; `None` where it never did.
    pub(crate) verdict: Option<Verdict>,
    /// When that was.
    pub(crate) at: Tick,
}

/// At most [`CLAIMS_MAX`] shares, the oldest first.
#[derive(Debug)]
pub(crate) struct Claims {
    waiting: VecDeque<Claim>,
    /// How many more may be taken until somebody allows more.
    allowed: u32,
}

impl Default for Claims {
    fn default() -> Self {
        Claims { waiting: VecDeque::new(), allowed: u32::MAX }
    }
}

impl Claims {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// So many are taken from now on.
    pub(crate) fn allow(&mut self, allowed: u32) {
        self.allowed = allowed;
    }

    /// Whether another is taken; it counts as taken then.
    pub(crate) fn take_allowance(&mut self) -> bool {
        let is_allowed = self.allowed > 0;
        self.allowed = self.allowed.saturating_sub(1);
        is_allowed
    }

    /// Puts a share behind the others. When there is no room, the oldest is hashed at once: none is lost.
    pub(crate) fn push(&mut self, claim: Claim, works: &Works, workers: &mut Workers, stats: &mut Stats) {
        if self.waiting.len() >= CLAIMS_MAX {
            self.prove(1, works, workers, stats);
        }
        self.waiting.push_back(claim);
    }

    /// Hashes at most `max` of them.
    pub(crate) fn prove(&mut self, max: usize, works: &Works, workers: &mut Workers, stats: &mut Stats) {
        for claim in self.waiting.drain(..max.min(self.waiting.len())) {
            settle(&claim, works, workers, stats);
        }
    }
}

/// Counts what a share is worth. One whose job is forgotten has no figure.
fn settle(claim: &Claim, works: &Works, workers: &mut Workers, stats: &mut Stats) {
    let Some(work) = works.get(claim.trial.work) else { return };
    let proof = work.prove(&claim.trial, &claim.extranonce1);
    let difficulty = proof.difficulty();
    let shares = &mut stats.counts.shares;
    if claim.verdict == Some(Verdict::Accepted) {
        shares.best_difficulty = shares.best_difficulty.max(difficulty);
        workers.found(claim.worker, difficulty);
    }
    if claim.verdict.is_some() && difficulty < claim.asked * (1.0 - TOLERANCE) {
        shares.below_difficulty += 1;
    }
    if proof.meets(work.nbits) {
        stats.candidate(Candidate {
            worker: workers.name(claim.worker),
            pool: claim.pool,
            job: (!work.job.is_empty()).then(|| work.job.as_str().into()),
            hash: proof.hash(),
            difficulty,
            asked: claim.asked,
            verdict: claim.verdict,
            at: claim.at,
        });
    }
}
