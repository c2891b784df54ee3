//! All workers of the proxy: what shards tell of them, added up, with hashrates over three windows.
//!
//! Pure: news and times come in, pages of figures go out. It lives on the aggregator's thread, which answers questions
//! itself, so that nothing is copied while nobody asks. It refuses to remember more than [`WORKERS_KEPT_MAX`] names: of those
//! without a connection, the ones longest silent make room, and their counts join those of all others.

mod hashrate;
mod question;
mod reader;
mod silent;
#[cfg(test)]
mod tests;

pub use hashrate::{WINDOWS, Window};
pub use question::{PAGE_MAX, WorkerPage, WorkerQuery, WorkerSort, WorkerView};
pub use reader::{AskError, WorkersReader};
pub(super) use reader::{Wake, Waker};
pub use silent::{SILENT_NAMED, SilentQuery, SilentWorker, SilentWorkers};

use hashrate::Means;
use loka_proto::{PoolId, Reject, RejectClass, WorkerCounts, WorkerNews};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names that are remembered.
pub const WORKERS_KEPT_MAX: usize = 250_000;
/// How often a full book looks for names to forget: it reads all of them, whoever makes it do so.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Names that are forgotten at once, to make room.
const FORGOTTEN_AT_ONCE: usize = 4_096;

/// What became of the shares of one worker, since it was first heard of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkerShares {
    /// The proxy found no fault, and the pool accepted.
    pub accepted: u64,
    /// The proxy found no fault, and the pool rejected, by class.
    pub rejected: [u64; RejectClass::COUNT],
    /// The proxy refused, by reason. Most workers have none.
    refused: Option<Box<[u64; Reject::COUNT]>>,
    /// Never answered: the link ended or the answer took too long.
    pub unanswered: u64,
    /// In flight when their pool connection was lost, of miners that stayed and were told so.
    pub lost: u64,
    /// Sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
}

impl WorkerShares {
    /// Shares that the proxy refused for this reason.
    pub fn refused(&self, reject: Reject) -> u64 {
        self.refused.as_ref().map_or(0, |refused| refused[reject.index()])
    }

    /// Shares that the proxy refused.
    pub fn refusals(&self) -> u64 {
        self.refused.as_ref().map_or(0, |refused| refused.iter().sum())
    }

    /// Shares that the pool rejected.
    pub fn rejections(&self) -> u64 {
        self.rejected.iter().sum()
    }

    fn add(&mut self, counts: &WorkerCounts) {
        self.accepted += u64::from(counts.accepted);
        let rejected = self.rejected.iter_mut().zip(counts.rejected);
        rejected.for_each(|(mine, theirs)| *mine += u64::from(theirs));
        if counts.refusals() > 0 {
            let refused = self.refused.get_or_insert_default();
            refused.iter_mut().zip(counts.refused).for_each(|(mine, theirs)| *mine += u64::from(theirs));
        }
        self.unanswered += u64::from(counts.unanswered);
        self.lost += u64::from(counts.lost);
        self.accepted_difficulty += counts.accepted_difficulty;
    }

    fn merge(&mut self, other: &WorkerShares) {
        self.accepted += other.accepted;
        self.rejected.iter_mut().zip(other.rejected).for_each(|(mine, theirs)| *mine += theirs);
        if let Some(theirs) = &other.refused {
            let refused = self.refused.get_or_insert_default();
            refused.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.unanswered += other.unanswered;
        self.lost += other.lost;
        self.accepted_difficulty += other.accepted_difficulty;
    }
}

/// One worker. Times are milliseconds since the book was opened.
#[derive(Debug)]
struct Record {
    /// None for all others.
    name: Option<Arc<str>>,
    agent: Option<Arc<str>>,
    shares: WorkerShares,
    means: Means,
    difficulty: f64,
    first_ms: u64,
    /// When it was heard of last.
    heard_ms: u64,
    accepted_ms: Option<u64>,
    sessions: i64,
    pool: Option<PoolId>,
    is_granted: Option<bool>,
}

impl Record {
    fn new(name: Option<Arc<str>>, now_ms: u64) -> Record {
        Record {
            name,
            agent: None,
            shares: WorkerShares::default(),
            means: Means::new(now_ms),
            difficulty: 0.0,
            first_ms: now_ms,
            heard_ms: now_ms,
            accepted_ms: None,
            sessions: 0,
            pool: None,
            is_granted: None,
        }
    }

    fn add(&mut self, news: &WorkerNews, now_ms: u64) {
        let counts = &news.counts;
        self.shares.add(counts);
        self.sessions += i64::from(news.sessions);
        self.heard_ms = now_ms;
        self.means.add(now_ms, counts.accepted_difficulty, counts.waited_us, counts.answered());
        if let Some(ago_us) = news.accepted_ago_us {
            self.accepted_ms = self.accepted_ms.max(Some(now_ms.saturating_sub(ago_us / 1_000)));
        }
        if counts.answered() > 0 {
            self.difficulty = counts.difficulty;
        }
        self.agent = news.agent.clone().or(self.agent.take());
        self.pool = counts.pool.or(self.pool);
        self.is_granted = counts.is_granted.or(self.is_granted);
    }

    /// Milliseconds since a share was accepted, or since it was first heard of where none was.
    fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.accepted_ms.unwrap_or(self.first_ms))
    }
}

/// Everything that is known of workers.
#[derive(Debug)]
pub struct WorkerBook {
    opened: Instant,
    places: HashMap<Arc<str>, u32>,
    records: Vec<Record>,
    /// Those that have no record of their own.
    others: Record,
    swept: Option<Instant>,
    /// Names forgotten to make room.
    forgotten: u64,
}

impl WorkerBook {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> WorkerBook {
        WorkerBook {
            opened: now,
            places: HashMap::new(),
            records: Vec::new(),
            others: Record::new(None, 0),
            swept: None,
            forgotten: 0,
        }
    }

    /// Workers known by name.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Names forgotten since the start, to make room for others.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes what a shard tells.
    pub fn add(&mut self, news: &[WorkerNews], now: Instant) {
        let now_ms = self.ms(now);
        for news in news {
            let record = match &news.name {
                Some(name) => self.record(name, now, now_ms),
                None => &mut self.others,
            };
            record.add(news, now_ms);
            if record.sessions < 0 {
                // Its connection was counted with the others, when there was no room for it.
                let beyond = std::mem::take(&mut record.sessions);
                self.others.sessions += beyond;
            }
        }
    }

    fn record(&mut self, name: &Arc<str>, now: Instant, now_ms: u64) -> &mut Record {
        if let Some(place) = self.places.get(name) {
            return &mut self.records[*place as usize];
        }
        if self.records.len() >= WORKERS_KEPT_MAX {
            self.sweep(now);
        }
        let place = self.records.len();
        match u32::try_from(place) {
            Ok(number) if place < WORKERS_KEPT_MAX => {
                self.places.insert(Arc::clone(name), number);
                self.records.push(Record::new(Some(Arc::clone(name)), now_ms));
                &mut self.records[place]
            }
            Ok(_) | Err(_) => &mut self.others,
        }
    }

    /// Forgets those that have no connection and were heard of least lately.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.duration_since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        let gone = self.records.iter().enumerate().filter(|(_, record)| record.sessions == 0);
        let mut gone: Vec<(u64, usize)> = gone.map(|(place, record)| (record.heard_ms, place)).collect();
        if gone.len() > FORGOTTEN_AT_ONCE {
            gone.select_nth_unstable(FORGOTTEN_AT_ONCE);
            gone.truncate(FORGOTTEN_AT_ONCE);
        }
        // From the last place on, so that what takes the place of one is never one that is yet to go.
        gone.sort_unstable_by_key(|(_, place)| std::cmp::Reverse(*place));
        for (_, place) in gone {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: usize) {
        let record = self.records.swap_remove(place);
        self.others.shares.merge(&record.shares);
        self.forgotten += 1;
        if let Some(name) = &record.name {
            self.places.remove(name);
        }
        if let Some(name) = self.records.get(place).and_then(|moved| moved.name.as_ref()) {
            // It had a number before, and has a smaller one now.
            self.places.insert(Arc::clone(name), u32::try_from(place).unwrap_or(u32::MAX));
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }
}
