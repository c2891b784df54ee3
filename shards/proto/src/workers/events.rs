//! Shares that came to nothing, one by one, for whoever keeps records of them.
//!
//! It keeps at most [`SHARE_EVENTS_MAX`] of them between two reports and counts the others: a flood of bad shares costs a
//! counter, not memory. Accepted shares are counted only, and not kept here.

use crate::limits::SHARE_EVENTS_MAX;
use crate::session::{PoolId, Reject};
use crate::tick::Tick;
use crate::verdict::RejectClass;
use std::sync::Arc;

/// What became of such a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareFate {
    /// The pool rejected it.
    Rejected(RejectClass),
    /// The proxy refused it.
    Refused(Reject),
}

/// One such share.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareEvent {
    /// Whose it was; `None` for workers that cannot be told apart.
    pub worker: Option<Arc<str>>,
    /// The pool that it went to, or whose work it was made of, where that is known.
    pub pool: Option<PoolId>,
    /// What became of it.
    pub fate: ShareFate,
    /// The difficulty that the pool had set for it; zero where it never went to a pool.
    pub difficulty: f64,
    /// Microseconds that it waited for the pool's answer.
    pub waited_us: u64,
    /// When it was answered, by the clock of its shard.
    pub at: Tick,
}

/// Those since the last report.
#[derive(Debug, Default)]
pub(super) struct ShareEvents {
    kept: Vec<ShareEvent>,
    missed: u64,
}

impl ShareEvents {
    pub(super) fn add(&mut self, event: impl FnOnce() -> ShareEvent) {
        if self.kept.len() < SHARE_EVENTS_MAX {
            self.kept.push(event());
        } else {
            self.missed += 1;
        }
    }

    /// Hands all of them over, and how many more there were. What is kept for them is kept for the next ones.
    pub(super) fn tell(&mut self, to: &mut Vec<ShareEvent>) -> u64 {
        to.append(&mut self.kept);
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_the_first_are_kept() {
        let mut events = ShareEvents::default();
        let event = |number: u64| ShareEvent {
            worker: None,
            pool: None,
            fate: ShareFate::Refused(Reject::DuplicateShare),
            difficulty: 0.0,
            waited_us: 0,
            at: Tick(number),
        };
        (0..10 + SHARE_EVENTS_MAX as u64).for_each(|number| events.add(|| event(number)));
        let mut told = Vec::new();
        assert_eq!((events.tell(&mut told), told.len()), (10, SHARE_EVENTS_MAX));
        assert_eq!(told[7], event(7));
        events.add(|| event(1));
        assert_eq!((events.tell(&mut told), told.len()), (0, SHARE_EVENTS_MAX + 1));
    }
}
