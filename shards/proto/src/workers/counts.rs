//! What was counted of one worker between two reports. Plain integers; `merge` is all that is done with them.

use crate::session::{PoolId, Reject};
use crate::verdict::RejectClass;

/// What was counted of one worker. Counters stop at their largest value: no worker gets there between two reports.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WorkerCounts {
    /// Shares that a pool accepted.
    pub accepted: u32,
    /// Shares that a pool rejected, by class.
    pub rejected: [u32; RejectClass::COUNT],
    /// Shares that the proxy refused, by reason.
    pub refused: [u32; Reject::COUNT],
    /// Shares that were never answered: the link ended or the answer took too long.
    pub unanswered: u32,
    /// Shares in flight when their pool connection was lost, of miners that stayed and were told so.
    pub lost: u32,
    /// Authorizations that a pool granted.
    pub granted: u32,
    /// Authorizations that a pool refused.
    pub denied: u32,
    /// Whether the newest of them was granted, if there was one.
    pub is_granted: Option<bool>,
    /// The pool of its newest answer.
    pub pool: Option<PoolId>,
    /// Sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
    /// Difficulty of the newest share that a pool answered; zero where there is none.
    pub difficulty: f64,
    /// Difficulty of the hardest accepted share by its hash; zero where none is known.
    pub best_difficulty: f64,
    /// Microseconds that shares waited for their answers, together.
    pub waited_us: u64,
}

impl WorkerCounts {
    /// Shares that a pool answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        u64::from(self.accepted) + sum(&self.rejected)
    }

    /// Shares that the proxy refused, whatever the reason.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        sum(&self.refused)
    }

    /// Adds what was counted later.
    pub fn merge(&mut self, later: &WorkerCounts) {
        let add = |mine: &mut u32, theirs: u32| *mine = mine.saturating_add(theirs);
        add(&mut self.accepted, later.accepted);
        self.rejected.iter_mut().zip(later.rejected).for_each(|(mine, theirs)| add(mine, theirs));
        self.refused.iter_mut().zip(later.refused).for_each(|(mine, theirs)| add(mine, theirs));
        add(&mut self.unanswered, later.unanswered);
        add(&mut self.lost, later.lost);
        add(&mut self.granted, later.granted);
        add(&mut self.denied, later.denied);
        self.is_granted = later.is_granted.or(self.is_granted);
        self.pool = later.pool.or(self.pool);
        self.accepted_difficulty += later.accepted_difficulty;
        self.difficulty = if later.answered() > 0 { later.difficulty } else { self.difficulty };
        self.best_difficulty = self.best_difficulty.max(later.best_difficulty);
        self.waited_us = self.waited_us.saturating_add(later.waited_us);
    }
}

fn sum(counters: &[u32]) -> u64 {
    counters.iter().map(|count| u64::from(*count)).sum()
}
