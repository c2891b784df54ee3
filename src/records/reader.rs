//! The file as `loka-stratum records` reads it, while the proxy runs or after it: nothing is ever written.
//!
//! It refuses to hold rows: what is exported is handed on row by row, minute by minute, so that neither memory nor the
//! writer's log of writes ahead grows with what is read.

mod summary;
#[cfg(test)]
mod tests;

pub use summary::{Part, PartSum, Reason, Summary};

use super::schema::{self, Stranger};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a lock is waited for. The writer takes none that a reader would wait for, but somebody's shell may.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there are no records: {} does not exist", path.display())]
    Missing {
        /// Where they would be.
        path: PathBuf,
    },
    /// Nobody has begun to write it.
    #[error("{} holds no records: it is empty", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{} holds no records: it is no database", path.display())]
    NoDatabase {
        /// Which.
        path: PathBuf,
    },
    /// It is a database, and not one for us.
    #[error("{} cannot be read: {stranger}", path.display())]
    Stranger {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        stranger: Stranger,
    },
    /// Anything else.
    #[error("{} cannot be read: {error}", path.display())]
    Sqlite {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// What was read could not be handed on.
    #[error("cannot write what was read: {0}")]
    Output(#[from] std::io::Error),
}

/// What became of shares: of those of one row, or of many.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shares {
    /// Shares that a pool accepted.
    pub accepted: u64,
    /// Shares that a pool rejected.
    pub rejected: u64,
    /// Shares that the proxy refused.
    pub refused: u64,
    /// Shares that were never answered.
    pub unanswered: u64,
    /// Shares in flight when their pool connection was lost.
    pub lost: u64,
    /// Sum of the difficulties of accepted shares.
    pub difficulty: f64,
    /// The highest difficulty that a share reached, where that is known.
    pub best: Option<f64>,
}

impl Shares {
    fn read(row: &Row<'_>) -> rusqlite::Result<Shares> {
        Ok(Shares {
            accepted: count(row, "accepted")?,
            rejected: count(row, "rejected")?,
            refused: count(row, "refused")?,
            unanswered: count(row, "unanswered")?,
            lost: count(row, "lost")?,
            difficulty: row.get("difficulty")?,
            best: row.get("best")?,
        })
    }
}

/// What a worker did in a minute.
#[derive(Debug, Clone, PartialEq)]
pub struct MinuteRow {
    /// Unix time divided by sixty.
    pub minute: i64,
    /// Its name; `None` for all that cannot be told apart.
    pub worker: Option<String>,
    /// Its shares.
    pub shares: Shares,
    /// Why shares were rejected or refused.
    pub reasons: Vec<Reason>,
}

/// A share that came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadEvent {
    /// Milliseconds of Unix time.
    pub at_ms: i64,
    /// Whose it was; `None` for all that cannot be told apart.
    pub worker: Option<String>,
    /// The pool, where that is known.
    pub pool: Option<String>,
    /// Who said no, `pool` or `proxy`.
    pub side: String,
    /// Why.
    pub reason: String,
    /// The difficulty that was set for it, where it went to a pool.
    pub difficulty: Option<f64>,
    /// Microseconds until the pool answered.
    pub waited_us: Option<u64>,
    /// The difficulty that it reached, where that is known.
    pub share_difficulty: Option<f64>,
    /// Its hash, where that is known.
    pub hash: Option<String>,
}

/// A file of records, open for reading.
#[derive(Debug)]
pub struct Records {
    connection: Connection,
    path: PathBuf,
}

impl Records {
    /// Opens the file.
    ///
    /// # Errors
    /// There is none, or it is not ours to read.
    pub fn open(path: &Path) -> Result<Records, ReadError> {
        let owned = || path.to_owned();
        if !fs::exists(path).unwrap_or(true) {
            return Err(ReadError::Missing { path: owned() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        let opened = connection.and_then(|connection| look(&connection).map(|version| (connection, version)));
        let opened = match opened {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => still(path, error),
            other => other,
        };
        match opened {
            Ok((_, Ok(0))) => Err(ReadError::Empty { path: owned() }),
            Ok((connection, Ok(_))) => Ok(Records { connection, path: owned() }),
            Ok((_, Err(stranger))) => Err(ReadError::Stranger { path: owned(), stranger }),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                Err(ReadError::NoDatabase { path: owned() })
            }
            Err(error) => Err(ReadError::Sqlite { path: owned(), error }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn told<T>(&self, result: rusqlite::Result<T>) -> Result<T, ReadError> {
        result.map_err(|error| ReadError::Sqlite { path: self.path.clone(), error })
    }

    /// The number of a worker; zero is for all that cannot be told apart.
    ///
    /// # Errors
    /// SQLite's.
    pub fn worker(&self, name: &str) -> Result<Option<i64>, ReadError> {
        let sql = "SELECT id FROM workers WHERE name = ?1";
        self.told(self.connection.query_row(sql, [name], |row| row.get(0)).optional())
    }

    /// Hands on each row of these minutes, in the order of time and then of workers' numbers; those of one worker only, if one is
    /// named.
    ///
    /// # Errors
    /// SQLite's, or those of `hand_on`.
    pub fn minutes(
        &self,
        minutes: Range<i64>,
        worker: Option<i64>,
        mut hand_on: impl FnMut(&MinuteRow) -> std::io::Result<()>,
    ) -> Result<(), ReadError> {
        let mut from = minutes.start;
        while let Some(minute) = self.told(self.next_minute(from..minutes.end))? {
            // A short look each, so that the writer can empty its log between two.
            let look = self.told(self.connection.unchecked_transaction())?;
            let which = if worker.is_some() { "m.worker = ?2" } else { "?2 IS NULL" };
            let sql = format!(
                "SELECT m.*, w.name FROM minutes m LEFT JOIN workers w ON w.id = m.worker WHERE m.minute = ?1 AND {which}"
            );
            let mut statement = self.told(look.prepare_cached(&sql))?;
            let mut rows = self.told(statement.query(params![minute, worker]))?;
            while let Some(row) = self.told(rows.next())? {
                hand_on(&self.told(self.minute_row(row))?)?;
            }
            from = minute + 1;
        }
        Ok(())
    }

    fn next_minute(&self, minutes: Range<i64>) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT minute FROM minutes WHERE minute >= ?1 AND minute < ?2 ORDER BY minute LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row([minutes.start, minutes.end], |row| row.get(0)).optional()
    }

    fn minute_row(&self, row: &Row<'_>) -> rusqlite::Result<MinuteRow> {
        let (minute, worker): (i64, i64) = (row.get("minute")?, row.get("worker")?);
        let shares = Shares::read(row)?;
        let has_reasons = shares.rejected + shares.refused > 0;
        let reasons = if has_reasons { self.reasons_of(minute, worker)? } else { Vec::new() };
        Ok(MinuteRow { minute, worker: row.get("name")?, shares, reasons })
    }

    fn reasons_of(&self, minute: i64, worker: i64) -> rusqlite::Result<Vec<Reason>> {
        let sql = "SELECT side, name, count FROM minute_reasons JOIN reasons ON reasons.id = reason \
                   WHERE minute = ?1 AND worker = ?2 ORDER BY side, name";
        let mut statement = self.connection.prepare_cached(sql)?;
        let reasons = statement.query_map([minute, worker], summary::reason)?;
        reasons.collect()
    }

    /// Hands on each share that came to nothing in these minutes, in the order of time.
    ///
    /// # Errors
    /// SQLite's, or those of `hand_on`.
    pub fn events(
        &self,
        minutes: Range<i64>,
        mut hand_on: impl FnMut(&ReadEvent) -> std::io::Result<()>,
    ) -> Result<(), ReadError> {
        let sql = "SELECT e.*, w.name, p.name AS pool_name, r.side, r.name AS reason_name FROM events e \
                   LEFT JOIN workers w ON w.id = e.worker LEFT JOIN pools p ON p.id = e.pool \
                   LEFT JOIN reasons r ON r.id = e.reason \
                   WHERE (e.at_ms, e.number) > (?1, ?2) AND e.at_ms < ?3 ORDER BY e.at_ms, e.number LIMIT ?4";
        let end = minutes.end.saturating_mul(60_000);
        let mut after = (minutes.start.saturating_mul(60_000).saturating_sub(1), i64::MAX);
        loop {
            let mut statement = self.told(self.connection.prepare_cached(sql))?;
            let mut rows = self.told(statement.query(params![after.0, after.1, end, EVENTS_AT_ONCE]))?;
            let mut found = 0;
            while let Some(row) = self.told(rows.next())? {
                after = self.told(place(row))?;
                hand_on(&self.told(event(row))?)?;
                found += 1;
            }
            if found < EVENTS_AT_ONCE {
                return Ok(());
            }
        }
    }
}

/// Events that one look reads.
const EVENTS_AT_ONCE: i64 = 10_000;

/// What the first look at a file tells.
type Version = Result<i32, Stranger>;

fn look(connection: &Connection) -> rusqlite::Result<Version> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(16);
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192; PRAGMA trusted_schema = OFF;")?;
    schema::version(connection)
}

/// Who may not write into the folder cannot read a database with a log of writes ahead that nobody has open. Where there is
/// nothing in such a log, nobody is writing, and the file can be read as it is.
fn still(path: &Path, error: rusqlite::Error) -> rusqlite::Result<(Connection, Version)> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(error);
    }
    let escaped: String = path
        .to_string_lossy()
        .chars()
        .map(|character| match character {
            '%' => "%25".to_owned(),
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?;
    let version = look(&connection)?;
    Ok((connection, version))
}

fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0))
}

fn place(row: &Row<'_>) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get("at_ms")?, row.get("number")?))
}

fn event(row: &Row<'_>) -> rusqlite::Result<ReadEvent> {
    Ok(ReadEvent {
        at_ms: row.get("at_ms")?,
        worker: row.get("name")?,
        pool: row.get("pool_name")?,
        side: row.get::<_, Option<String>>("side")?.unwrap_or_default(),
        reason: row.get::<_, Option<String>>("reason_name")?.unwrap_or_default(),
        difficulty: row.get("difficulty")?,
        waited_us: row.get::<_, Option<i64>>("waited_us")?.map(|us| u64::try_from(us).unwrap_or(0)),
        share_difficulty: row.get("share_difficulty")?,
        hash: row.get("hash")?,
    })
}
