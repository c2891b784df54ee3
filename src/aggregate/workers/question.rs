//! Questions about workers: a page of them, sorted and filtered, or one by its name.

use super::{Record, WINDOWS, Window, WorkerBook, WorkerShares};
use loka_proto::PoolId;
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Workers on one page.
pub const PAGE_MAX: usize = 1_000;

/// What workers are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerSort {
    /// The hashrate over this window.
    Hashrate(Window),
    /// Shares that the pool rejected or the proxy refused.
    Rejects,
    /// The hardest share.
    Best,
    /// When a share was accepted last; never is before all.
    LastShare,
    /// The name, by its bytes.
    Name,
}

/// Which workers are asked for.
#[derive(Debug, Clone)]
pub struct WorkerQuery {
    /// What they are sorted by. Those that are alike stand in the order of their names.
    pub sort: WorkerSort,
    /// The largest, newest or last first.
    pub descending: bool,
    /// How many of them are skipped.
    pub skip: usize,
    /// How many are wanted, at most [`PAGE_MAX`].
    pub take: usize,
    /// Only those that have this in their names; the case of ASCII letters does not matter.
    pub search: Option<String>,
    /// Only those that had no share accepted for so long.
    pub silent_for: Option<Duration>,
    /// Only those whose newest answer came from this pool.
    pub pool: Option<PoolId>,
    /// Only those that have a connection, or have none.
    pub connected: Option<bool>,
}

impl Default for WorkerQuery {
    fn default() -> Self {
        WorkerQuery {
            sort: WorkerSort::Name,
            descending: false,
            skip: 0,
            take: PAGE_MAX,
            search: None,
            silent_for: None,
            pool: None,
            connected: None,
        }
    }
}

/// The figures of one worker, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// Its name, as its miner wrote it: any text of at most 256 bytes without control characters. `None` for all that have no
    /// record of their own.
    pub name: Option<Arc<str>>,
    /// What its miner calls itself, if it said so: any text of at most 64 bytes.
    pub agent: Option<Arc<str>>,
    /// Connections that have it now.
    pub sessions: u64,
    /// The pool of its newest answer.
    pub pool: Option<PoolId>,
    /// Whether a pool granted its newest authorization.
    pub is_granted: Option<bool>,
    /// Hashes per second, over each of [`WINDOWS`].
    pub hashrate: [f64; WINDOWS.len()],
    /// What became of its shares.
    pub shares: WorkerShares,
    /// Difficulty of its newest share that was answered; zero before the first.
    pub difficulty: f64,
    /// Difficulty of its hardest accepted share by the hash, since it is known.
    pub best: Option<f64>,
    /// The same of the last 18 to 24 hours.
    pub best_of_day: Option<f64>,
    /// Microseconds from a share to its answer, on average lately.
    pub response_us: Option<f64>,
    /// How long it is known.
    pub known_for: Duration,
    /// How long ago a share was accepted last.
    pub last_share_ago: Option<Duration>,
}

/// A page of workers.
#[derive(Debug, Clone)]
pub struct WorkerPage {
    /// Workers known by name.
    pub known: usize,
    /// Of those, how many were asked for.
    pub matching: usize,
    /// The page.
    pub workers: Vec<WorkerView>,
    /// All that have no record of their own, together.
    pub others: WorkerView,
    /// Names forgotten since the start, to make room; their counts are among the others.
    pub forgotten: u64,
}

impl WorkerBook {
    /// The page that is asked for. It reads every record once and sorts no more than the page.
    pub fn page(&self, query: &WorkerQuery, now: Instant) -> WorkerPage {
        let now_ms = self.ms(now);
        let found = self.records.iter().enumerate().filter(|(_, record)| query.takes(record, now_ms));
        let mut keyed: Vec<(f64, u32)> = found
            .map(|(place, record)| (query.sort.key(record, now_ms), u32::try_from(place).unwrap_or(u32::MAX)))
            .collect();
        let matching = keyed.len();
        let (skip, end) = (query.skip.min(matching), query.skip.saturating_add(query.take.min(PAGE_MAX)));
        let order = |a: &(f64, u32), b: &(f64, u32)| {
            let names = || self.records[a.1 as usize].name.cmp(&self.records[b.1 as usize].name);
            let ordering = match query.sort {
                WorkerSort::Name => names(),
                WorkerSort::Hashrate(_) | WorkerSort::Rejects | WorkerSort::Best | WorkerSort::LastShare => {
                    a.0.total_cmp(&b.0)
                }
            };
            let ordering = if query.descending { ordering.reverse() } else { ordering };
            if ordering == Ordering::Equal { names() } else { ordering }
        };
        if end < matching {
            keyed.select_nth_unstable_by(end, order);
            keyed.truncate(end);
        }
        if skip > 0 && skip < keyed.len() {
            keyed.select_nth_unstable_by(skip, order);
        }
        let page = &mut keyed[skip..];
        page.sort_unstable_by(order);
        WorkerPage {
            known: self.records.len(),
            matching,
            workers: page.iter().map(|(_, place)| self.records[*place as usize].view(now_ms)).collect(),
            others: self.others.view(now_ms),
            forgotten: self.forgotten,
        }
    }

    /// The worker of this name.
    pub fn worker(&self, name: &str, now: Instant) -> Option<WorkerView> {
        let place = *self.places.get(name)?;
        Some(self.records[place as usize].view(self.ms(now)))
    }
}

impl WorkerQuery {
    fn takes(&self, record: &Record, now_ms: u64) -> bool {
        let silent = |time: Duration| u128::from(record.silent_ms(now_ms)) >= time.as_millis();
        self.connected.is_none_or(|connected| connected == (record.sessions > 0))
            && self.pool.is_none_or(|pool| record.pool == Some(pool))
            && self.silent_for.is_none_or(silent)
            && self.search.as_deref().is_none_or(|text| has(record.name.as_deref().unwrap_or_default(), text))
    }
}

fn has(name: &str, text: &str) -> bool {
    text.is_empty()
        || name.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

impl WorkerSort {
    fn key(self, record: &Record, now_ms: u64) -> f64 {
        match self {
            WorkerSort::Hashrate(window) => record.means.hashrate(window, record.first_ms, now_ms),
            WorkerSort::Rejects => (record.shares.rejections() + record.shares.refusals()) as f64,
            WorkerSort::Best => record.best.ever().unwrap_or(0.0),
            WorkerSort::LastShare => record.accepted_ms.map_or(-1.0, |at| at as f64),
            WorkerSort::Name => 0.0,
        }
    }
}

impl Record {
    fn view(&self, now_ms: u64) -> WorkerView {
        let ago = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
        WorkerView {
            name: self.name.clone(),
            agent: self.agent.clone(),
            sessions: u64::try_from(self.sessions).unwrap_or(0),
            pool: self.pool,
            is_granted: self.is_granted,
            hashrate: WINDOWS.map(|window| self.means.hashrate(window, self.first_ms, now_ms)),
            shares: self.shares.clone(),
            difficulty: self.difficulty,
            best: self.best.ever(),
            best_of_day: self.best.of_day(now_ms),
            response_us: self.means.response_us(),
            known_for: ago(self.first_ms),
            last_share_ago: self.accepted_ms.map(ago),
        }
    }
}
