//! How it goes with the records, for metrics: counters that the writer's thread sets and anybody reads.
//!
//! It counts and decides nothing.

use super::central::{CentralFigures, CentralMeter};
use super::pending::Lost;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

loka_proto::labels! {
    /// Why records could not be written.
    pub enum RecordsFailure {
        /// Another program holds the file locked.
        Busy => "busy",
        /// The disk is full.
        Full => "full",
        /// The disk, or a limit of the file's size, refuses.
        Io => "io",
        /// The file is broken, or is no database: it is put aside.
        Corrupt => "corrupt",
        /// The file cannot be opened or made.
        Open => "open",
        /// The file is a database of another program, or of a newer version of this one.
        Foreign => "foreign",
        /// Anything else.
        Other => "other",
    }
}

/// How it goes with the records.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RecordsFigures {
    /// Whether records are kept at all.
    pub enabled: bool,
    /// Rows of workers and minutes written since the start; a row that is added to later counts again.
    pub rows: u64,
    /// Rows of single shares written since the start.
    pub events: u64,
    /// What will never be written.
    pub lost: Lost,
    /// Rows that wait to be written.
    pub pending: u64,
    /// Seconds since all that there was had been written; zero without records.
    pub age_seconds: f64,
    /// Bytes of the file, as last looked at.
    pub file_bytes: u64,
    /// Attempts to write that failed, by [`RecordsFailure::index`].
    pub failures: [u64; RecordsFailure::COUNT],
    /// How it goes with the database of the fleet.
    pub central: CentralFigures,
}

#[derive(Debug, Default)]
struct Counters {
    enabled: AtomicBool,
    rows: AtomicU64,
    events: AtomicU64,
    lost_shares: AtomicU64,
    lost_events: AtomicU64,
    pending: AtomicU64,
    /// Milliseconds since `began` when all was written last.
    written_ms: AtomicU64,
    file_bytes: AtomicU64,
    failures: [AtomicU64; RecordsFailure::COUNT],
}

/// The counters; clones count together. The default is of a proxy that keeps no records.
#[derive(Debug, Clone)]
pub struct RecordsMeter {
    began: Instant,
    counters: Arc<Counters>,
    central: CentralMeter,
}

impl Default for RecordsMeter {
    fn default() -> Self {
        RecordsMeter { began: Instant::now(), counters: Arc::default(), central: CentralMeter::default() }
    }
}

impl RecordsMeter {
    /// The figures now.
    pub fn figures(&self) -> RecordsFigures {
        let counters = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let enabled = counters.enabled.load(Ordering::Relaxed);
        let written = Duration::from_millis(read(&counters.written_ms));
        let age = self.began.elapsed().saturating_sub(written);
        RecordsFigures {
            enabled,
            rows: read(&counters.rows),
            events: read(&counters.events),
            lost: Lost { shares: read(&counters.lost_shares), events: read(&counters.lost_events) },
            pending: read(&counters.pending),
            age_seconds: if enabled { age.as_secs_f64() } else { 0.0 },
            file_bytes: read(&counters.file_bytes),
            failures: std::array::from_fn(|index| read(&counters.failures[index])),
            central: self.central.figures(),
        }
    }

    pub(super) fn central(&self) -> &CentralMeter {
        &self.central
    }

    pub(super) fn enable(&self) {
        self.counters.enabled.store(true, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, lost: Lost) {
        self.counters.lost_shares.fetch_add(lost.shares, Ordering::Relaxed);
        self.counters.lost_events.fetch_add(lost.events, Ordering::Relaxed);
    }

    pub(super) fn pending(&self, rows: usize) {
        self.counters.pending.store(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: RecordsFailure) {
        self.counters.failures[why.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// All that there was has been written: so many rows, so many events, into a file of so many bytes.
    pub(super) fn written(&self, rows: usize, events: usize, file_bytes: u64) {
        self.counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.counters.events.fetch_add(events as u64, Ordering::Relaxed);
        self.counters.file_bytes.store(file_bytes, Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.counters.written_ms.store(now, Ordering::Relaxed);
    }
}
