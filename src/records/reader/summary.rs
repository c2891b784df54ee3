//! Sums over records: of all workers, or of one.

use super::{ReadError, Records, Shares, count};
use loka_proto::HASHES_OF_ONE;
use rusqlite::{Row, params};
use std::ops::Range;

/// Why shares were rejected or refused, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Who said no: `pool` or `proxy`.
    pub side: String,
    /// Its label, as metrics have it.
    pub name: String,
    /// Shares.
    pub count: u64,
}

/// Sums of a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The first and the last minute with a row; `None` where there is no row.
    pub minutes: Option<(i64, i64)>,
    /// Rows that were added up.
    pub rows: u64,
    /// Workers with a row.
    pub workers: u64,
    /// All shares.
    pub shares: Shares,
    /// Why shares were rejected or refused, the most frequent first.
    pub reasons: Vec<Reason>,
}

/// Of what a sum is that stands beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Of a worker, by its name; `None` for all that cannot be told apart.
    Worker(Option<String>),
    /// Of an hour, in hours of Unix time.
    Hour(i64),
}

/// A sum that stands beside others.
#[derive(Debug, Clone, PartialEq)]
pub struct PartSum {
    /// Of what.
    pub of: Part,
    /// The shares.
    pub shares: Shares,
}

impl Summary {
    /// Mean of the hashes a second over the minutes from the first to the last.
    pub fn hashrate(&self) -> Option<f64> {
        let (first, last) = self.minutes?;
        Some(self.shares.difficulty * HASHES_OF_ONE / ((last - first + 1) as f64 * 60.0))
    }
}

pub(super) fn reason(row: &Row<'_>) -> rusqlite::Result<Reason> {
    Ok(Reason { side: row.get("side")?, name: row.get("name")?, count: count(row, "count")? })
}

/// Rows of minutes added up, as [`Shares::read`] takes them.
const TOTALS: &str = "CAST(total(accepted) AS INTEGER) AS accepted, CAST(total(rejected) AS INTEGER) AS rejected, \
    CAST(total(refused) AS INTEGER) AS refused, CAST(total(unanswered) AS INTEGER) AS unanswered, \
    CAST(total(lost) AS INTEGER) AS lost, total(difficulty) AS difficulty, max(best) AS best";

/// How the rows of ?1 to ?2 are found, of the worker ?3 or of all.
#[derive(Debug, Clone, Copy)]
enum Rows {
    OfAll,
    OfOne,
}

impl Rows {
    fn of(worker: Option<i64>) -> Rows {
        if worker.is_some() { Rows::OfOne } else { Rows::OfAll }
    }

    /// Rows of one worker stand in each minute at another place: one look a minute finds them, where reading all would take as long as
    /// there are workers.
    fn with(self) -> &'static str {
        match self {
            Rows::OfAll => "",
            Rows::OfOne => {
                "WITH RECURSIVE present (minute) AS (\
                 SELECT min(minute) FROM minutes WHERE minute >= ?1 AND minute < ?2 UNION ALL \
                 SELECT (SELECT min(minute) FROM minutes WHERE minute > present.minute AND minute < ?2) \
                 FROM present WHERE present.minute IS NOT NULL)"
            }
        }
    }

    /// The rows of a table, as `m`.
    fn from(self, table: &str) -> String {
        match self {
            Rows::OfAll => format!("FROM {table} m WHERE m.minute >= ?1 AND m.minute < ?2 AND ?3 IS NULL"),
            Rows::OfOne => {
                format!("FROM present CROSS JOIN {table} m ON m.minute = present.minute AND m.worker = ?3")
            }
        }
    }
}

impl Records {
    /// Sums of these minutes: of one worker, if one is named, else of all.
    ///
    /// # Errors
    /// SQLite's.
    pub fn summary(&self, minutes: Range<i64>, worker: Option<i64>) -> Result<Summary, ReadError> {
        self.told(self.sums(minutes, worker))
    }

    fn sums(&self, minutes: Range<i64>, worker: Option<i64>) -> rusqlite::Result<Summary> {
        let (which, of) = (params![minutes.start, minutes.end, worker], Rows::of(worker));
        let (with, from) = (of.with(), of.from("minutes"));
        let sql = format!(
            "{with} SELECT min(m.minute) AS first, max(m.minute) AS last, count(*) AS rows, count(DISTINCT worker) AS workers, \
             {TOTALS} {from}"
        );
        let mut summary = self.connection.query_row(&sql, which, |row| {
            let first: Option<i64> = row.get("first")?;
            Ok(Summary {
                minutes: first.map(|first| row.get("last").map(|last| (first, last))).transpose()?,
                rows: count(row, "rows")?,
                workers: count(row, "workers")?,
                shares: Shares::read(row)?,
                reasons: Vec::new(),
            })
        })?;
        let sql = format!(
            "{with} SELECT side, name, count FROM (SELECT reason, sum(m.count) AS count {} GROUP BY reason) \
             JOIN reasons ON reasons.id = reason ORDER BY count DESC, side, name",
            of.from("minute_reasons")
        );
        summary.reasons =
            self.connection.prepare(&sql)?.query_map(which, reason)?.collect::<Result<_, _>>()?;
        Ok(summary)
    }

    /// The workers with the most accepted work in these minutes, at most `max`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn top(&self, minutes: Range<i64>, max: u32) -> Result<Vec<PartSum>, ReadError> {
        let sql = format!(
            "SELECT w.name, s.* FROM (SELECT worker, {TOTALS} FROM minutes WHERE minute >= ?1 AND minute < ?2 \
             GROUP BY worker ORDER BY difficulty DESC, accepted DESC, worker LIMIT ?3) s \
             LEFT JOIN workers w ON w.id = s.worker ORDER BY difficulty DESC, accepted DESC, worker"
        );
        let worker = |row: &Row<'_>| row.get("name").map(Part::Worker);
        self.told(self.list(&sql, params![minutes.start, minutes.end, max], worker))
    }

    /// The last hours of a worker in these minutes, the newest first, at most `max`; hours without a row are left out.
    ///
    /// # Errors
    /// SQLite's.
    pub fn hours(&self, minutes: Range<i64>, worker: i64, max: u32) -> Result<Vec<PartSum>, ReadError> {
        let sql = format!(
            "{} SELECT m.minute / 60 AS hour, {TOTALS} {} GROUP BY hour ORDER BY hour DESC LIMIT ?4",
            Rows::OfOne.with(),
            Rows::OfOne.from("minutes")
        );
        let hour = |row: &Row<'_>| row.get("hour").map(Part::Hour);
        self.told(self.list(&sql, params![minutes.start, minutes.end, worker, max], hour))
    }

    fn list(
        &self,
        sql: &str,
        which: &[&dyn rusqlite::ToSql],
        of: impl Fn(&Row<'_>) -> rusqlite::Result<Part>,
    ) -> rusqlite::Result<Vec<PartSum>> {
        let mut statement = self.connection.prepare(sql)?;
        let sums =
            statement.query_map(which, |row| Ok(PartSum { of: of(row)?, shares: Shares::read(row)? }))?;
        sums.collect()
    }
}
