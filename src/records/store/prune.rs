//! Forgetting: what is older than it has to be kept, and what is oldest when there is more than may be.
//!
//! It works in small transactions and for a short time at once, so that a mountain of old rows never stands in the way of new
//! ones; what is left goes the next time.

use super::{Store, StoreError};
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use std::time::{Duration, Instant};

/// How long it works at once.
const WORK_MAX: Duration = Duration::from_millis(500);
/// Events that one transaction forgets.
const EVENTS_AT_ONCE: i64 = 5_000;
/// Free pages in the file, 16 MiB, above which it gives some back, if they are a quarter of all.
const FREE_PAGES_MAX: i64 = 4_096;
/// Pages that it gives back at once.
const PAGES_AT_ONCE: i64 = 2_048;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::records) struct Kept {
    /// Nothing before this minute.
    pub(in crate::records) since_minute: i64,
    /// No more bytes than this; `None`: as many as there are.
    pub(in crate::records) bytes_max: Option<u64>,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::records) struct Forgotten {
    /// There was more than may be kept, so that rows went before their time.
    pub(in crate::records) is_crowded: bool,
    /// Rows of minutes and events that were still to be sent.
    pub(in crate::records) unsent: u64,
}

impl Store {
    /// Forgets what is too old or too much.
    ///
    /// # Errors
    /// SQLite's. What was forgotten by then stays forgotten.
    pub(in crate::records) fn prune(&mut self, kept: Kept) -> Result<Forgotten, StoreError> {
        let until = Instant::now() + WORK_MAX;
        let mut forgotten = Forgotten::default();
        loop {
            let is_full = self.is_full(kept)?;
            let before = match self.oldest()? {
                // What comes in now is never forgotten at once.
                Some(oldest) if is_full => kept.since_minute.max(oldest + 1),
                Some(_) | None => kept.since_minute,
            };
            let (more, unsent) = self.forget_before(before)?;
            forgotten.is_crowded |= is_full && more;
            forgotten.unsent += unsent;
            if !more || Instant::now() >= until {
                break;
            }
        }
        self.shrink()?;
        Ok(forgotten)
    }

    fn is_full(&self, kept: Kept) -> Result<bool, StoreError> {
        let Some(bytes_max) = kept.bytes_max else { return Ok(false) };
        let used = (self.number("PRAGMA page_count")? - self.number("PRAGMA freelist_count")?)
            .saturating_mul(self.number("PRAGMA page_size")?);
        Ok(u64::try_from(used).unwrap_or(0) > bytes_max)
    }

    /// The oldest minute that something is known of.
    fn oldest(&self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT min(minute) FROM (SELECT min(minute) AS minute FROM minutes UNION ALL SELECT min(at_ms) / 60000 FROM events)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Forgets the oldest minute, and the oldest events, before this minute. Tells whether there was anything, and how many of
    /// the rows were still to be sent.
    fn forget_before(&mut self, before: i64) -> Result<(bool, u64), StoreError> {
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let oldest: Option<i64> = change
            .prepare_cached("SELECT minute FROM minutes WHERE minute < ?1 ORDER BY minute LIMIT 1")?
            .query_row([before], |row| row.get(0))
            .optional()?;
        let mut unsent = 0;
        if let Some(minute) = oldest {
            let rows = change.prepare_cached("DELETE FROM minutes WHERE minute = ?1")?.execute([minute])?;
            change.prepare_cached("DELETE FROM minute_reasons WHERE minute = ?1")?.execute([minute])?;
            let is_unsent =
                change.prepare_cached("SELECT 1 FROM unsent WHERE minute = ?1")?.exists([minute])?;
            unsent += if is_unsent { rows as u64 } else { 0 };
        }
        let before_ms = before.saturating_mul(60_000);
        let sql = "SELECT count(*) FROM (SELECT at_ms FROM events WHERE at_ms < ?1 ORDER BY at_ms, number LIMIT ?2) \
                   WHERE at_ms / 60000 IN (SELECT minute FROM unsent)";
        let of_events: i64 =
            change.prepare_cached(sql)?.query_row(params![before_ms, EVENTS_AT_ONCE], |row| row.get(0))?;
        unsent += u64::try_from(of_events).unwrap_or(0);
        let sql = "DELETE FROM events WHERE (at_ms, number) IN \
                   (SELECT at_ms, number FROM events WHERE at_ms < ?1 ORDER BY at_ms, number LIMIT ?2)";
        let events = change.prepare_cached(sql)?.execute(params![before_ms, EVENTS_AT_ONCE])?;
        let more = oldest.is_some() || events > 0;
        if !more {
            change.prepare_cached("DELETE FROM unsent WHERE minute < ?1")?.execute([before])?;
        }
        change.commit()?;
        Ok((more, unsent))
    }

    /// Forgets the names of workers that have no row any more. Their numbers are given anew.
    ///
    /// # Errors
    /// SQLite's.
    pub(in crate::records) fn forget_names(&mut self) -> Result<(), StoreError> {
        let Some(oldest) = self.oldest()? else { return Ok(()) };
        // Whoever was seen later than an hour before the oldest row may have one.
        let sql = "DELETE FROM workers WHERE id > 0 AND seen < ?1";
        if self.connection.execute(sql, [oldest * 60 - 2 * super::SEEN_EVERY_S])? > 0 {
            self.forget_ids();
        }
        Ok(())
    }

    fn shrink(&mut self) -> Result<(), StoreError> {
        let free = self.number("PRAGMA freelist_count")?;
        if free > FREE_PAGES_MAX && free > self.number("PRAGMA page_count")? / 4 {
            self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
        }
        Ok(())
    }

    fn number(&self, sql: &str) -> Result<i64, StoreError> {
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }
}
