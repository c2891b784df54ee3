//! Blocks among the figures: that one was found, and that a pool did not take one. The counters tell; the newest notes of
//! blocks say which it was, where they hold one of the kind.

use super::message::Severity;
use super::rules::{Seen, Trouble};
use crate::aggregate::{Found, Snapshot};
use loka_proto::BlockAnswer;
use std::time::{Duration, Instant};

/// How long a block stays worth an alert.
const BLOCK_STANDS: Duration = Duration::from_secs(600);

/// What was counted so far, and when that last grew.
#[derive(Debug, Default)]
struct Grown {
    counted: u64,
    at: Option<Instant>,
}

impl Grown {
    /// When it last grew, unless that is long ago.
    fn look(&mut self, count: u64, now: Instant) -> Option<Instant> {
        if count > self.counted {
            self.counted = count;
            self.at = Some(now);
        }
        self.at.filter(|at| now.saturating_duration_since(*at) < BLOCK_STANDS)
    }
}

/// Remembers how many there were.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    taken: Grown,
    not_taken: Grown,
}

impl Blocks {
    /// What is in these figures is no news.
    pub(super) fn know(&mut self, figures: &Snapshot) {
        (self.taken.counted, self.not_taken.counted) = (count(figures, true), count(figures, false));
    }

    /// Whether a block was found that its pool took.
    pub(super) fn found(&mut self, figures: &Snapshot, now: Instant) -> Seen {
        let count = count(figures, true);
        let Some(at) = self.taken.look(count, now) else {
            return Seen::Well("no block was found for 10 minutes".to_owned());
        };
        let text = newest(figures, true);
        Seen::Bad(Trouble {
            text,
            value: Some(count as f64),
            grew: Some(at),
            ..Trouble::new(Severity::Info, "a block was found")
        })
    }

    /// Whether a pool rejected a block, or never answered.
    pub(super) fn lost(&mut self, figures: &Snapshot, now: Instant) -> Seen {
        let count = count(figures, false);
        let Some(at) = self.not_taken.look(count, now) else {
            return Seen::Well("no pool refused a block for 10 minutes".to_owned());
        };
        let text = newest(figures, false);
        Seen::Bad(Trouble {
            text,
            value: Some(count as f64),
            grew: Some(at),
            ..Trouble::new(Severity::Critical, "a pool did not take a block")
        })
    }
}

fn is_taken(answer: BlockAnswer) -> bool {
    match answer {
        BlockAnswer::Accepted => true,
        BlockAnswer::Rejected | BlockAnswer::Unanswered => false,
    }
}

fn count(figures: &Snapshot, taken: bool) -> u64 {
    let counts = BlockAnswer::ALL.iter().zip(figures.stats.counts.block_candidates);
    counts.filter(|(answer, _)| is_taken(**answer) == taken).map(|(_, count)| count).sum()
}

/// The newest one in words. With very many in a minute there may be no note of it.
fn newest(figures: &Snapshot, taken: bool) -> String {
    let found = figures.finds.iter().rev().find(|(_, found)| is_taken(found.answer()) == taken);
    found.map_or_else(
        || "the log and the events tell of the first ones".to_owned(),
        |(_, found)| Found::of(found, &figures.pools).to_string(),
    )
}
