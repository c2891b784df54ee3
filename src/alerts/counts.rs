//! What became of alerts, counted for the metrics. It counts and decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of alerts, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertFigures {
    /// Messages that the receiver has taken.
    pub sent: u64,
    /// Messages given up: the queue was full, the receiver refused them, or could not be reached for too long.
    pub dropped: u64,
    /// Attempts to post that failed.
    pub failed_posts: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// What is wrong now, and was told.
    pub standing: u64,
}

/// The counters; clones count together.
#[derive(Debug, Clone, Default)]
pub struct AlertCounts(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed_posts: AtomicU64,
    waiting: AtomicU64,
    standing: AtomicU64,
}

impl AlertCounts {
    pub(super) fn sent(&self, messages: usize) {
        self.0.sent.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, messages: usize) {
        self.0.dropped.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn failed_post(&self) {
        self.0.failed_posts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, messages: usize) {
        self.0.waiting.store(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn standing(&self, alerts: usize) {
        self.0.standing.store(alerts as u64, Ordering::Relaxed);
    }

    /// What is so now.
    pub fn now(&self) -> AlertFigures {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        AlertFigures {
            sent: read(&self.0.sent),
            dropped: read(&self.0.dropped),
            failed_posts: read(&self.0.failed_posts),
            waiting: read(&self.0.waiting),
            standing: read(&self.0.standing),
        }
    }
}
