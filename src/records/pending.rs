//! What is to be written and has not been yet: counts added up per worker and minute, and shares that came to nothing.
//!
//! Pure: reports and times come in, rows go out. It refuses to grow beyond its bounds: while nothing can be written, counts go
//! on into rows that are there, and what would need a further row is counted as lost.

use loka_proto::{Reject, RejectClass, ShareFate, WorkerCounts};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Rows of workers and minutes that may wait: five minutes of 100,000 workers, some 80 MiB at most.
pub const ROWS_MAX: usize = 500_000;
/// Single shares that may wait: ten minutes of 80 a second.
pub const EVENTS_MAX: usize = 50_000;

/// What one worker did in one minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Shares that a pool accepted.
    pub accepted: u64,
    /// Shares that a pool rejected, by class. Most rows have none.
    rejected: Option<Box<[u32; RejectClass::COUNT]>>,
    /// Shares that the proxy refused, by reason. Most rows have none.
    refused: Option<Box<[u32; Reject::COUNT]>>,
    /// Shares that were never answered.
    pub unanswered: u64,
    /// Shares in flight when their pool connection was lost, of miners that stayed.
    pub lost: u64,
    /// Sum of the difficulties of accepted shares.
    pub difficulty: f64,
    /// The highest difficulty that a share reached, where somebody worked that out.
    pub best: Option<f64>,
}

impl Tally {
    /// What was counted of a worker; `None` where there was no share, as of one that has only connected.
    pub fn of(counts: &WorkerCounts) -> Option<Tally> {
        let tally = Tally {
            accepted: counts.accepted.into(),
            rejected: (counts.rejected.iter().any(|count| *count > 0)).then(|| Box::new(counts.rejected)),
            refused: (counts.refusals() > 0).then(|| Box::new(counts.refused)),
            unanswered: counts.unanswered.into(),
            lost: counts.lost.into(),
            difficulty: counts.accepted_difficulty,
            best: None,
        };
        (tally.shares() > 0).then_some(tally)
    }

    /// Shares that the pool rejected, by class, those classes only that there were.
    pub fn rejections(&self) -> impl Iterator<Item = (RejectClass, u32)> + '_ {
        let counts = self.rejected.iter().flat_map(|counts| counts.iter());
        RejectClass::ALL.iter().copied().zip(counts.copied()).filter(|(_, count)| *count > 0)
    }

    /// Shares that the proxy refused, by reason, those reasons only that there were.
    pub fn refusals(&self) -> impl Iterator<Item = (Reject, u32)> + '_ {
        let counts = self.refused.iter().flat_map(|counts| counts.iter());
        Reject::ALL.iter().copied().zip(counts.copied()).filter(|(_, count)| *count > 0)
    }

    /// Shares that the pool rejected.
    pub fn rejected(&self) -> u64 {
        self.rejections().map(|(_, count)| u64::from(count)).sum()
    }

    /// Shares that the proxy refused.
    pub fn refused(&self) -> u64 {
        self.refusals().map(|(_, count)| u64::from(count)).sum()
    }

    /// All shares of the row.
    pub fn shares(&self) -> u64 {
        self.accepted + self.rejected() + self.refused() + self.unanswered + self.lost
    }

    fn merge(&mut self, other: &Tally) {
        self.accepted += other.accepted;
        merge(&mut self.rejected, &other.rejected);
        merge(&mut self.refused, &other.refused);
        self.unanswered += other.unanswered;
        self.lost += other.lost;
        self.difficulty += other.difficulty;
        self.best = match (self.best, other.best) {
            (Some(mine), Some(theirs)) => Some(mine.max(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

fn merge<const N: usize>(mine: &mut Option<Box<[u32; N]>>, theirs: &Option<Box<[u32; N]>>) {
    let Some(theirs) = theirs else { return };
    let mine = mine.get_or_insert_with(|| Box::new([0; N]));
    mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
}

/// One share that came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// When it was answered, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Whose it was; `None` for workers that cannot be told apart.
    pub worker: Option<Arc<str>>,
    /// Name of the pool, where that is known.
    pub pool: Option<Arc<str>>,
    /// What became of it.
    pub fate: ShareFate,
    /// The difficulty set for it; zero where it never went to a pool.
    pub difficulty: f64,
    /// Microseconds that it waited for the pool's answer.
    pub waited_us: u64,
}

/// What will never be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Shares that are missing in the rows of their workers and minutes.
    pub shares: u64,
    /// Shares that came to nothing and have no row of their own. They are counted in the row of their minute all the same.
    pub events: u64,
}

/// Everything that waits.
#[derive(Debug)]
pub struct Pending {
    minutes: BTreeMap<i64, HashMap<Option<Arc<str>>, Tally>>,
    rows: usize,
    events: Vec<EventRow>,
    lost: Lost,
    rows_max: usize,
    events_max: usize,
}

impl Default for Pending {
    fn default() -> Self {
        Pending::bounded(ROWS_MAX, EVENTS_MAX)
    }
}

impl Pending {
    /// Nothing waits; no more than so many rows and events ever will.
    pub fn bounded(rows_max: usize, events_max: usize) -> Pending {
        Pending {
            minutes: BTreeMap::new(),
            rows: 0,
            events: Vec::new(),
            lost: Lost::default(),
            rows_max,
            events_max,
        }
    }

    /// Whether there is nothing to write, and nothing lost to tell of.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.events.is_empty() && self.lost == Lost::default()
    }

    /// Rows of workers and minutes that wait.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows, minute by minute in the order of time. Minutes are Unix time divided by sixty.
    pub fn minutes(&self) -> impl Iterator<Item = (i64, &HashMap<Option<Arc<str>>, Tally>)> {
        self.minutes.iter().map(|(minute, rows)| (*minute, rows))
    }

    /// The events, in the order in which they came.
    pub fn events(&self) -> &[EventRow] {
        &self.events
    }

    /// Takes what was lost since this was last asked.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// What was counted of a worker in a minute.
    pub fn add(&mut self, minute: i64, worker: Option<&Arc<str>>, tally: &Tally) {
        let rows = self.minutes.entry(minute).or_default();
        let worker = worker.cloned();
        if let Some(row) = rows.get_mut(&worker) {
            row.merge(tally);
        } else if self.rows < self.rows_max {
            self.rows += 1;
            rows.insert(worker, tally.clone());
        } else {
            self.lost.shares += tally.shares();
        }
    }

    /// One share that came to nothing.
    pub fn event(&mut self, event: EventRow) {
        if self.events.len() < self.events_max {
            self.events.push(event);
        } else {
            self.lost.events += 1;
        }
    }

    /// So many more of them were never told of.
    pub fn events_lost(&mut self, count: u64) {
        self.lost.events += count;
    }

    /// Adds what came later.
    pub fn merge(&mut self, later: Pending) {
        for (minute, rows) in &later.minutes {
            for (worker, tally) in rows {
                self.add(*minute, worker.as_ref(), tally);
            }
        }
        later.events.into_iter().for_each(|event| self.event(event));
        self.lost.shares += later.lost.shares;
        self.lost.events += later.lost.events;
    }

    /// Forgets what has been written, and keeps what was lost.
    pub fn clear(&mut self) {
        self.minutes.clear();
        self.rows = 0;
        // A flood that has passed is no reason to keep its memory.
        self.events = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(accepted: u32, stale: u32) -> WorkerCounts {
        let mut counts = WorkerCounts {
            accepted,
            accepted_difficulty: f64::from(accepted) * 512.0,
            ..WorkerCounts::default()
        };
        counts.rejected[RejectClass::Stale.index()] = stale;
        counts.refused[Reject::DuplicateShare.index()] = stale;
        counts
    }

    fn event(at_ms: i64) -> EventRow {
        let fate = ShareFate::Refused(Reject::DuplicateShare);
        EventRow { at_ms, worker: None, pool: None, fate, difficulty: 0.0, waited_us: 0 }
    }

    #[test]
    fn a_worker_has_one_row_a_minute_whatever_comes_when() {
        let worker: Arc<str> = "farm.rig".into();
        let (mut all, mut later) = (Pending::default(), Pending::default());
        all.add(7, Some(&worker), &Tally::of(&counts(2, 0)).unwrap());
        all.add(8, Some(&worker), &Tally::of(&counts(1, 0)).unwrap());
        later.add(7, Some(&Arc::from("farm.rig")), &Tally::of(&counts(3, 4)).unwrap());
        later.event(event(1));
        all.merge(later);
        assert_eq!((all.rows(), all.events().len()), (2, 1));
        let (minute, rows) = all.minutes().next().unwrap();
        let row = &rows[&Some(worker)];
        assert_eq!((minute, row.accepted, row.rejected(), row.refused()), (7, 5, 4, 4));
        assert_eq!((row.difficulty, row.shares()), (5.0 * 512.0, 13));
        assert_eq!(row.rejections().collect::<Vec<_>>(), [(RejectClass::Stale, 4)]);
        assert_eq!(row.refusals().collect::<Vec<_>>(), [(Reject::DuplicateShare, 4)]);
    }

    #[test]
    fn beyond_the_bounds_what_is_there_goes_on_and_the_rest_is_counted() {
        let names: Vec<Arc<str>> = (0..5).map(|number| format!("rig{number}").into()).collect();
        let mut pending = Pending::bounded(3, 2);
        for name in names.iter().chain(&names) {
            pending.add(1, Some(name), &Tally::of(&counts(1, 1)).unwrap());
        }
        (0..5).for_each(|number| pending.event(event(number)));
        pending.events_lost(10);
        assert_eq!((pending.rows(), pending.events().len()), (3, 2));
        let kept: u64 = pending.minutes().flat_map(|(_, rows)| rows.values()).map(Tally::shares).sum();
        let lost = Lost { shares: 12, events: 13 };
        assert_eq!((kept, pending.take_lost(), pending.take_lost()), (18, lost, Lost::default()));
        pending.clear();
        assert!(pending.is_empty());
    }

    #[test]
    fn a_worker_without_a_share_has_no_row() {
        assert_eq!(Tally::of(&WorkerCounts { granted: 1, ..WorkerCounts::default() }), None);
        let unanswered = WorkerCounts { unanswered: 1, ..WorkerCounts::default() };
        assert_eq!(Tally::of(&unanswered).map(|tally| tally.shares()), Some(1));
    }
}
