//! The thread that writes: what the aggregator hands over is put together and written every few seconds.
//!
//! It answers nobody and nobody waits for it. When it cannot write it says so once, keeps what there is up to a bound, tries
//! again after pauses that grow to half a minute, and says once that it goes on. It refuses to give up.

#[cfg(test)]
mod tests;

use super::central::Outlet;
use super::feed::{count_all, unix_ms};
use super::figures::{RecordsFailure, RecordsMeter};
use super::pending::{Lost, Pending};
use super::store::{Forgotten, Kept, Sent, Store, StoreError, put_aside};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// The shortest time between two transactions.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// The longest: a crash of the process costs no more than what came in that time.
const WRITE_EVERY_MAX: Duration = Duration::from_secs(60);
/// After so many rows a second is waited: a large farm is written less often, since a row that changes in every transaction
/// is written in every one.
const ROWS_PER_SECOND: usize = 2_000;
/// The first pause after a failure; the next is twice as long.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often old rows are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How often names without rows are looked for: it reads all of them.
const NAMES_EVERY: Duration = Duration::from_secs(3_600);

/// How much of what was written is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    pub(super) term: Duration,
    pub(super) bytes_max: Option<NonZeroU64>,
}

/// What it writes where, and what of it is kept, which a reload may change.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) file: PathBuf,
    pub(super) keeping: watch::Receiver<Keeping>,
}

/// It cannot write at present.
#[derive(Debug)]
struct Trouble {
    kind: RecordsFailure,
    since: Instant,
    /// What was lost since.
    lost: Lost,
    pause: Duration,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Writer {
    settings: Settings,
    from: Receiver<Pending>,
    pending: Pending,
    store: Option<Store>,
    meter: RecordsMeter,
    trouble: Option<Trouble>,
    due: Instant,
    prune_at: Instant,
    names_at: Instant,
    is_crowded: bool,
    /// Who sends what is written to the database of a fleet.
    outlet: Option<Outlet>,
    /// What is there, and is still to be taken off in the file.
    sent: Vec<Sent>,
    /// The last time, rows were forgotten before they were sent.
    is_losing: bool,
}

impl Writer {
    pub(super) fn new(
        settings: Settings,
        from: Receiver<Pending>,
        outlet: Option<Outlet>,
        meter: RecordsMeter,
    ) -> Writer {
        let now = Instant::now();
        Writer {
            settings,
            from,
            pending: Pending::default(),
            store: None,
            meter,
            trouble: None,
            // At once, so that the file is there, and what is wrong with it is told, before there is anything to write.
            due: now,
            prune_at: now,
            names_at: now,
            is_crowded: false,
            outlet,
            sent: Vec::new(),
            is_losing: false,
        }
    }

    /// Runs until nobody is left to hand anything over, and writes the last.
    pub(super) fn run(mut self) {
        loop {
            match self.from.recv_deadline(self.due) {
                Ok(more) => self.take(more),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= self.due {
                self.look();
            }
        }
        self.look();
        if let Some(outlet) = &mut self.outlet {
            outlet.finish();
            // What was sent last is taken off too, or it would be sent once more at the next start.
            self.look();
        }
        if !self.pending.is_empty() {
            let rows = self.pending.rows();
            tracing::error!(
                rows,
                events = self.pending.events().len(),
                "records are lost: they could not be written at the end"
            );
            count_all(&self.meter, self.pending);
        }
    }

    fn take(&mut self, more: Pending) {
        self.pending.merge(more);
        let lost = self.pending.take_lost();
        self.meter.lost(lost);
        if let Some(trouble) = &mut self.trouble {
            trouble.lost.shares += lost.shares;
            trouble.lost.events += lost.events;
        }
        self.meter.pending(self.pending.rows());
    }

    /// Writes what there is, and sets when to do so again.
    fn look(&mut self) {
        let pause = match self.write() {
            Ok(rows) => {
                self.tell_recovered();
                let seconds = u64::try_from(rows / ROWS_PER_SECOND).unwrap_or(u64::MAX);
                Duration::from_secs(seconds).clamp(WRITE_EVERY, WRITE_EVERY_MAX)
            }
            Err(error) => self.failed(&error),
        };
        self.due = Instant::now() + pause;
    }

    fn write(&mut self) -> Result<usize, StoreError> {
        if self.store.as_ref().is_some_and(|store| !store.is_in_place()) {
            tracing::warn!(file = %self.settings.file.display(), "the file of records was taken away: a new one is begun");
            self.store = None;
        }
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(Store::open(&self.settings.file)?),
        };
        let (rows, events) = (self.pending.rows(), self.pending.events().len());
        if rows + events > 0 {
            store.write(&self.pending)?;
            self.pending.clear();
        }
        let bytes = store.bytes();
        self.meter.written(rows, events, bytes);
        self.meter.pending(0);
        if let Some(outlet) = &self.outlet {
            self.sent.extend(outlet.sent());
            store.mark_sent(&self.sent)?;
            self.sent.clear();
        }
        self.forget()?;
        Ok(rows)
    }

    /// Forgets what is too old or too much, where that is due.
    fn forget(&mut self) -> Result<(), StoreError> {
        let (now, Some(store)) = (Instant::now(), &mut self.store) else { return Ok(()) };
        if now < self.prune_at {
            return Ok(());
        }
        self.prune_at = now + PRUNE_EVERY;
        let Keeping { term, bytes_max } = *self.settings.keeping.borrow();
        let keep = i64::try_from(term.as_secs() / 60).unwrap_or(i64::MAX);
        let since_minute = unix_ms(SystemTime::now()).div_euclid(60_000).saturating_sub(keep);
        let bytes_max = bytes_max.map(NonZeroU64::get);
        let Forgotten { is_crowded, unsent } = store.prune(Kept { since_minute, bytes_max })?;
        // Without a database nothing is ever sent, and nothing of that is lost.
        let unsent = if self.outlet.is_some() { unsent } else { 0 };
        self.meter.central().forgotten(unsent);
        if unsent > 0 && !self.is_losing {
            let file = self.settings.file.display();
            tracing::error!(%file, rows = unsent, "records are forgotten before they were sent: the database is away for longer than they are kept");
        }
        self.is_losing = unsent > 0;
        if is_crowded && !self.is_crowded {
            let file = self.settings.file.display();
            tracing::warn!(%file, "records have come to records.max_mib: they are kept for less than limiter.submissions");
        }
        self.is_crowded |= is_crowded;
        if now >= self.names_at {
            self.names_at = now + NAMES_EVERY;
            store.forget_names()?;
        }
        Ok(())
    }

    /// Counts and tells what is wrong, and gives the time until the next attempt.
    fn failed(&mut self, error: &StoreError) -> Duration {
        self.meter.failed(error.kind);
        let file = self.settings.file.display();
        let before = self.trouble.take();
        if before.as_ref().is_none_or(|before| before.kind != error.kind) {
            tracing::warn!(%file, kind = error.kind.label(), cause = %error, "records cannot be written: they wait in memory");
        }
        let pause = before.as_ref().map_or(RETRY_MIN, |before| (before.pause * 2).min(RETRY_MAX));
        let since = before.as_ref().map_or_else(Instant::now, |before| before.since);
        let lost = before.as_ref().map_or_else(Lost::default, |before| before.lost);
        self.trouble = Some(Trouble { kind: error.kind, since, lost, pause });
        match error.kind {
            // The connection is as good as before.
            RecordsFailure::Busy | RecordsFailure::Full => {}
            RecordsFailure::Corrupt => {
                self.store = None;
                return if self.put_aside(before.is_some_and(|before| before.kind == error.kind)) {
                    Duration::ZERO
                } else {
                    pause
                };
            }
            RecordsFailure::Io | RecordsFailure::Open | RecordsFailure::Foreign | RecordsFailure::Other => {
                self.store = None;
            }
        }
        pause
    }

    /// Makes room for a new file. False when that cannot be done; that is told the first time.
    fn put_aside(&self, is_known: bool) -> bool {
        let file = self.settings.file.display();
        match put_aside(&self.settings.file, SystemTime::now()) {
            Ok(aside) => {
                tracing::error!(%file, aside = %aside.display(), "the file of records is broken: it was put aside, a new one is begun");
                true
            }
            Err(cause) if !is_known => {
                tracing::error!(%file, %cause, "the file of records is broken and cannot be put aside");
                false
            }
            Err(_) => false,
        }
    }

    fn tell_recovered(&mut self) {
        let Some(Trouble { kind, since, lost, .. }) = self.trouble.take() else { return };
        let (file, seconds) = (self.settings.file.display(), since.elapsed().as_secs());
        let Lost { shares, events } = lost;
        tracing::warn!(%file, kind = kind.label(), seconds, shares_lost = shares, events_lost = events, "records are written again");
    }
}
