//! How it goes with the database of the fleet, for metrics: counters that its thread sets and anybody reads.
//!
//! It counts and decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

loka_proto::labels! {
    /// Why records could not be sent.
    pub enum CentralFailure {
        /// Its name leads nowhere, nobody answers there, or it is starting or ending.
        Unreachable => "unreachable",
        /// TLS: a certificate that is not trusted, or a server without TLS where it is required.
        Tls => "tls",
        /// It refuses the user, the password or the database.
        Login => "login",
        /// Tables or columns are missing and cannot be made, or the user may not write into them.
        Schema => "schema",
        /// It has no room: disk, memory or connections.
        Full => "full",
        /// It does not answer in time.
        Slow => "slow",
        /// The connection broke.
        Lost => "lost",
        /// It refuses what it is told for another reason.
        Refused => "refused",
        /// The file of records of this host cannot be read.
        File => "file",
    }
}

loka_proto::labels! {
    /// What is sent.
    pub enum CentralTable {
        /// What each worker did in each minute.
        Minutes => "minutes",
        /// Why shares of it came to nothing.
        Reasons => "minute_reasons",
        /// Each share that came to nothing.
        Events => "events",
    }
}

/// How it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CentralFigures {
    /// Whether there is such a database.
    pub enabled: bool,
    /// Rows sent since the start, by [`CentralTable::index`]; a row that changes later is sent again.
    pub rows: [u64; CentralTable::COUNT],
    /// Attempts that failed, by [`CentralFailure::index`].
    pub failures: [u64; CentralFailure::COUNT],
    /// What is wrong now.
    pub trouble: Option<CentralFailure>,
    /// Minutes that are over and still to be sent, as last looked at.
    pub waiting: u64,
    /// Seconds since the end of the oldest of them; zero when there is none.
    pub lag_seconds: f64,
    /// Unix time at which all there was had been sent last; zero: not since the start.
    pub sent_unix: u64,
    /// Rows that were forgotten here before they were sent.
    pub forgotten: u64,
}

#[derive(Debug, Default)]
struct Counters {
    enabled: AtomicBool,
    rows: [AtomicU64; CentralTable::COUNT],
    failures: [AtomicU64; CentralFailure::COUNT],
    /// One more than the index of what is wrong; zero when all is well.
    trouble: AtomicU64,
    waiting: AtomicU64,
    /// The oldest minute that waits; zero when none does.
    oldest: AtomicI64,
    sent_unix: AtomicU64,
    forgotten: AtomicU64,
}

/// The counters; clones count together.
#[derive(Debug, Clone, Default)]
pub(in crate::records) struct CentralMeter(Arc<Counters>);

impl CentralMeter {
    /// The figures now.
    pub(in crate::records) fn figures(&self) -> CentralFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let oldest = self.0.oldest.load(Ordering::Relaxed);
        let trouble = usize::try_from(read(&self.0.trouble)).unwrap_or(0).checked_sub(1);
        CentralFigures {
            enabled: self.0.enabled.load(Ordering::Relaxed),
            rows: std::array::from_fn(|index| read(&self.0.rows[index])),
            failures: std::array::from_fn(|index| read(&self.0.failures[index])),
            trouble: trouble.and_then(|index| CentralFailure::ALL.get(index).copied()),
            waiting: read(&self.0.waiting),
            lag_seconds: if oldest > 0 { lag(oldest, SystemTime::now()) } else { 0.0 },
            sent_unix: read(&self.0.sent_unix),
            forgotten: read(&self.0.forgotten),
        }
    }

    pub(super) fn enable(&self) {
        self.0.enabled.store(true, Ordering::Relaxed);
    }

    pub(super) fn rows(&self, table: CentralTable, count: usize) {
        self.0.rows[table.index()].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: CentralFailure) {
        self.0.failures[why.index()].fetch_add(1, Ordering::Relaxed);
        self.0.trouble.store(why.index() as u64 + 1, Ordering::Relaxed);
    }

    /// So many minutes wait, of which this is the oldest.
    pub(super) fn waiting(&self, count: usize, oldest: Option<i64>) {
        self.0.waiting.store(count as u64, Ordering::Relaxed);
        self.0.oldest.store(oldest.unwrap_or(0), Ordering::Relaxed);
    }

    /// All that there was is there.
    pub(super) fn all_sent(&self, now: SystemTime) {
        self.waiting(0, None);
        self.0.trouble.store(0, Ordering::Relaxed);
        let since = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.0.sent_unix.store(since, Ordering::Relaxed);
    }

    pub(in crate::records) fn forgotten(&self, rows: u64) {
        self.0.forgotten.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Seconds since the end of a minute; none for one that is not over by this clock.
fn lag(minute: i64, now: SystemTime) -> f64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    (now - (minute as f64 + 1.0) * 60.0).max(0.0)
}
