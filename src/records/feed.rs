//! The aggregator's end: takes from each report what is recorded, and hands it to the writer's thread.
//!
//! It never waits. What the queue has no room for stays here, added up, and goes with the next that it has room for; so a disk
//! that hangs costs memory up to a bound, and then counts, but no shard and no snapshot.

use super::figures::RecordsMeter;
use super::pending::{EventRow, Pending, Tally};
use crate::pools::{PoolView, PoolViews};
use crossbeam::channel::{Sender, TrySendError};
use loka_proto::{PoolId, ShareEvent};
use loka_runtime::Report;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rows that wait here while the queue is full.
const ROWS_MAX: usize = 250_000;
/// Events that wait here meanwhile.
const EVENTS_MAX: usize = 20_000;
/// How long the last of all waits for room in the queue.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes reports. What it holds when it is dropped goes to the writer too.
#[derive(Debug)]
pub struct RecordsFeed {
    to: Sender<Pending>,
    pending: Pending,
    pools: PoolViews,
    /// Their names, as they were the last time.
    names: Vec<Arc<str>>,
    meter: RecordsMeter,
}

impl RecordsFeed {
    pub(super) fn new(to: Sender<Pending>, pools: PoolViews, meter: RecordsMeter) -> RecordsFeed {
        let names = names(&pools);
        RecordsFeed { to, pending: empty(), pools, names, meter }
    }

    /// Takes what is recorded of a report that was collected at `now`: shares count for the minute in which they are heard of.
    pub fn take(&mut self, report: &Report, now: SystemTime) {
        let now_ms = unix_ms(now);
        let minute = now_ms.div_euclid(60_000);
        for news in &report.workers {
            if let Some(tally) = Tally::of(&news.counts) {
                self.pending.add(minute, news.name.as_ref(), &tally);
            }
        }
        for event in &report.events {
            let ago_ms = (report.finished - event.at) / 1_000;
            let at_ms = now_ms.saturating_sub(i64::try_from(ago_ms).unwrap_or(0));
            self.pending.event(self.row(event, at_ms));
        }
        self.pending.events_lost(report.events_missed);
    }

    fn row(&self, event: &ShareEvent, at_ms: i64) -> EventRow {
        EventRow {
            at_ms,
            worker: event.worker.clone(),
            pool: event.pool.and_then(|pool: PoolId| self.names.get(pool.index()).cloned()),
            fate: event.fate,
            difficulty: event.difficulty,
            waited_us: event.waited_us,
        }
    }

    /// Hands over what there is, if there is room for it.
    pub fn send(&mut self) {
        let is_known = |(pool, name): (&PoolView, &Arc<str>)| *pool.name == **name;
        let views = self.pools.borrow().clone();
        if views.len() != self.names.len() || !views.iter().zip(&self.names).all(is_known) {
            self.names = names(&self.pools);
        }
        if self.pending.is_empty() {
            return;
        }
        match self.to.try_send(std::mem::replace(&mut self.pending, empty())) {
            Ok(()) => {}
            Err(TrySendError::Full(back)) => self.pending = back,
            // The thread has panicked: what comes is lost, and counted.
            Err(TrySendError::Disconnected(back)) => count_all(&self.meter, back),
        }
    }
}

impl Drop for RecordsFeed {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut self.pending, empty());
        if !last.is_empty()
            && let Err(error) = self.to.send_timeout(last, LAST_WAIT)
        {
            count_all(&self.meter, error.into_inner());
        }
    }
}

fn empty() -> Pending {
    Pending::bounded(ROWS_MAX, EVENTS_MAX)
}

/// Nothing of this will be written.
pub(super) fn count_all(meter: &RecordsMeter, mut pending: Pending) {
    let mut lost = pending.take_lost();
    lost.shares += pending.minutes().flat_map(|(_, rows)| rows.values()).map(Tally::shares).sum::<u64>();
    lost.events += pending.events().len() as u64;
    meter.lost(lost);
}

fn names(pools: &PoolViews) -> Vec<Arc<str>> {
    pools.borrow().iter().map(|pool| pool.name.as_str().into()).collect()
}

/// A clock before 1970 counts as 1970.
pub(super) fn unix_ms(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
