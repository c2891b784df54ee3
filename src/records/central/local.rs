//! The file of this host as the thread sees it that sends from it: what is still to be sent, and the rows of it.
//!
//! It writes nothing, and holds nothing for long: each look is a statement of its own that reads a bounded number of rows, so
//! that the writer can empty its log of writes ahead whatever the database far away does.

use crate::records::schema::{self, VERSION};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a lock is waited for. The writer takes none that a reader would wait for, but somebody's shell may.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// Stands for all workers that cannot be told apart. No miner can have a name with a control character.
const UNNAMED: &str = "\u{7f}unnamed";

/// Where the next rows of a minute begin: behind these numbers.
pub(super) type Cursor = (i64, i64);
/// Before the first.
pub(super) const START: Cursor = (i64::MIN, i64::MIN);

/// A minute that is still to be sent, and its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsent {
    pub(super) minute: i64,
    pub(super) change: i64,
}

/// What a worker did in a minute.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MinuteRow {
    pub(super) worker: String,
    /// Accepted, rejected, refused, unanswered, lost.
    pub(super) shares: [i64; 5],
    pub(super) difficulty: f64,
    pub(super) best: Option<f64>,
}

/// Why shares of a worker came to nothing in a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReasonRow {
    pub(super) worker: String,
    pub(super) side: String,
    pub(super) reason: String,
    pub(super) count: i64,
}

/// A share that came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventRow {
    /// Milliseconds of Unix time, with a number that tells it from others of the same.
    pub(super) at: (i64, i64),
    pub(super) worker: String,
    pub(super) side: String,
    pub(super) reason: String,
    pub(super) pool: Option<String>,
    pub(super) difficulty: Option<f64>,
    pub(super) waited_us: Option<i64>,
    pub(super) share_difficulty: Option<f64>,
    pub(super) hash: Option<String>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Local {
    connection: Connection,
    identity: (u64, u64),
    pub(super) origin: Arc<str>,
}

impl Local {
    /// Opens the file; `None` while nobody has made it yet, or not yet in the form of this version.
    ///
    /// # Errors
    /// SQLite's; or it is not ours.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Option<Local>> {
        let Ok(about) = fs::metadata(path) else { return Ok(None) };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(16);
        connection.execute_batch(
            "PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA trusted_schema = OFF;",
        )?;
        // Whatever else it is, the writer says so, and puts it aside or leaves it.
        if schema::version(&connection)? != Ok(VERSION) {
            return Ok(None);
        }
        let origin: String = connection.query_row("SELECT id FROM origin", [], |row| row.get(0))?;
        Ok(Some(Local { connection, identity: (about.dev(), about.ino()), origin: origin.into() }))
    }

    /// Whether the file under this name is still the one that was opened.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|about| (about.dev(), about.ino()) == self.identity)
    }

    /// The first minute after `after` and before `before` that is still to be sent.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn next(&self, after: i64, before: i64) -> rusqlite::Result<Option<Unsent>> {
        let sql =
            "SELECT minute, change FROM unsent WHERE minute > ?1 AND minute < ?2 ORDER BY minute LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok(Unsent { minute: row.get(0)?, change: row.get(1)? });
        statement.query_row([after, before], read).optional()
    }

    /// How many minutes before this one are still to be sent, those left out that `handed` says are, and the oldest of them.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn waiting(
        &self,
        before: i64,
        handed: &BTreeMap<i64, i64>,
    ) -> rusqlite::Result<(usize, Option<i64>)> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT minute, change FROM unsent WHERE minute < ?1 ORDER BY minute")?;
        let mut rows = statement.query([before])?;
        let (mut count, mut oldest) = (0, None);
        while let Some(row) = rows.next()? {
            let (minute, change): (i64, i64) = (row.get(0)?, row.get(1)?);
            if handed.get(&minute) != Some(&change) {
                count += 1;
                oldest = oldest.or(Some(minute));
            }
        }
        Ok((count, oldest))
    }

    /// How each worker did in a minute, behind `after`, at most so many; and where the rest begins.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn minutes(
        &self,
        minute: i64,
        after: Cursor,
        limit: usize,
    ) -> rusqlite::Result<(Vec<MinuteRow>, Cursor)> {
        let sql = "SELECT m.worker, 0, w.name, m.accepted, m.rejected, m.refused, m.unanswered, m.lost, m.difficulty, m.best \
                   FROM minutes m LEFT JOIN workers w ON w.id = m.worker \
                   WHERE m.minute = ?1 AND m.worker > ?2 AND ?3 IS NOT NULL ORDER BY m.worker LIMIT ?4";
        self.rows(sql, params![minute, after.0, after.1, count(limit)], after, |row| {
            let mut shares = [0; 5];
            for (index, share) in shares.iter_mut().enumerate() {
                *share = row.get(3 + index)?;
            }
            Ok(MinuteRow { worker: worker(row, 0, 2)?, shares, difficulty: row.get(8)?, best: row.get(9)? })
        })
    }

    /// Why shares came to nothing in a minute, in the same way.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn reasons(
        &self,
        minute: i64,
        after: Cursor,
        limit: usize,
    ) -> rusqlite::Result<(Vec<ReasonRow>, Cursor)> {
        let sql = "SELECT m.worker, m.reason, w.name, r.side, r.name, m.count FROM minute_reasons m \
                   JOIN reasons r ON r.id = m.reason LEFT JOIN workers w ON w.id = m.worker \
                   WHERE m.minute = ?1 AND (m.worker, m.reason) > (?2, ?3) ORDER BY m.worker, m.reason LIMIT ?4";
        self.rows(sql, params![minute, after.0, after.1, count(limit)], after, |row| {
            Ok(ReasonRow {
                worker: worker(row, 0, 2)?,
                side: row.get(3)?,
                reason: row.get(4)?,
                count: row.get(5)?,
            })
        })
    }

    /// The shares that came to nothing in a minute, in the same way.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn events(
        &self,
        minute: i64,
        after: Cursor,
        limit: usize,
    ) -> rusqlite::Result<(Vec<EventRow>, Cursor)> {
        let sql = "SELECT e.at_ms, e.number, e.worker, w.name, r.side, r.name, p.name, e.difficulty, e.waited_us, \
                   e.share_difficulty, e.hash FROM events e \
                   LEFT JOIN reasons r ON r.id = e.reason LEFT JOIN workers w ON w.id = e.worker \
                   LEFT JOIN pools p ON p.id = e.pool \
                   WHERE e.at_ms >= ?1 * 60000 AND e.at_ms < (?1 + 1) * 60000 AND (e.at_ms, e.number) > (?2, ?3) \
                   ORDER BY e.at_ms, e.number LIMIT ?4";
        self.rows(sql, params![minute, after.0, after.1, count(limit)], after, |row| {
            Ok(EventRow {
                at: (row.get(0)?, row.get(1)?),
                worker: worker(row, 2, 3)?,
                side: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                reason: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                pool: row.get(6)?,
                difficulty: row.get(7)?,
                waited_us: row.get(8)?,
                share_difficulty: row.get(9)?,
                hash: row.get(10)?,
            })
        })
    }

    /// The rows of a statement, the first two columns of which say where each stands.
    fn rows<T>(
        &self,
        sql: &str,
        parameters: &[&dyn rusqlite::ToSql],
        after: Cursor,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<(Vec<T>, Cursor)> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        let (mut found, mut last) = (Vec::new(), after);
        while let Some(row) = rows.next()? {
            last = (row.get(0)?, row.get(1)?);
            found.push(read(row)?);
        }
        Ok((found, last))
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Its name. One that is missing in the file gets a name that nobody else has, or two rows would be one.
fn worker(row: &Row<'_>, id: usize, name: usize) -> rusqlite::Result<String> {
    let (id, name): (i64, Option<String>) = (row.get(id)?, row.get(name)?);
    Ok(match (name, id) {
        (Some(name), _) => name,
        (None, 0) => UNNAMED.to_owned(),
        (None, id) => format!("{UNNAMED} {id}"),
    })
}
