//! Sums over records: of all workers, or of one.

use super::{ReadError, Records, count};
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
    /// Why shares were rejected or refused, the most frequent first.
    pub reasons: Vec<Reason>,
}

/// Sums of one worker, or of one hour of it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerSum {
    /// Its name, `None` for all that cannot be told apart; of an hour, its first minute.
    pub of: Option<String>,
    /// The hour, in hours of Unix time, where hours were asked for.
    pub hour: Option<i64>,
    /// Shares that a pool accepted.
    pub accepted: u64,
    /// Shares that a pool rejected.
    pub rejected: u64,
    /// Shares that the proxy refused.
    pub refused: u64,
    /// Sum of the difficulties of accepted shares.
    pub difficulty: f64,
}

impl Summary {
    /// Mean of the hashes a second over the minutes from the first to the last.
    pub fn hashrate(&self) -> Option<f64> {
        let (first, last) = self.minutes?;
        Some(self.difficulty * 4_294_967_296.0 / ((last - first + 1) as f64 * 60.0))
    }
}

pub(super) fn reason(row: &Row<'_>) -> rusqlite::Result<Reason> {
    Ok(Reason { side: row.get("side")?, name: row.get("name")?, count: count(row, "count")? })
}

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
             total(accepted) AS accepted, total(rejected) AS rejected, total(refused) AS refused, \
             total(unanswered) AS unanswered, total(lost) AS lost, total(difficulty) AS difficulty, max(best) AS best {from}"
        );
        let mut summary = self.connection.query_row(&sql, which, |row| {
            let first: Option<i64> = row.get("first")?;
            let total = |column: &str| row.get::<_, f64>(column).map(|sum| sum as u64);
            Ok(Summary {
                minutes: first.map(|first| row.get("last").map(|last| (first, last))).transpose()?,
                rows: count(row, "rows")?,
                workers: count(row, "workers")?,
                accepted: total("accepted")?,
                rejected: total("rejected")?,
                refused: total("refused")?,
                unanswered: total("unanswered")?,
                lost: total("lost")?,
                difficulty: row.get("difficulty")?,
                best: row.get("best")?,
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
    pub fn top(&self, minutes: Range<i64>, max: u32) -> Result<Vec<WorkerSum>, ReadError> {
        let sql = "SELECT w.name AS of, NULL AS hour, s.* FROM (SELECT worker, total(accepted) AS accepted, \
                   total(rejected) AS rejected, total(refused) AS refused, total(difficulty) AS difficulty FROM minutes \
                   WHERE minute >= ?1 AND minute < ?2 GROUP BY worker ORDER BY 5 DESC, 2 DESC, 1 LIMIT ?3) s \
                   LEFT JOIN workers w ON w.id = s.worker ORDER BY difficulty DESC, accepted DESC, worker";
        self.told(self.list(sql, params![minutes.start, minutes.end, max]))
    }

    /// The last hours of a worker in these minutes, the newest first, at most `max`; hours without a row are left out.
    ///
    /// # Errors
    /// SQLite's.
    pub fn hours(&self, minutes: Range<i64>, worker: i64, max: u32) -> Result<Vec<WorkerSum>, ReadError> {
        let sql = format!(
            "{} SELECT NULL AS of, m.minute / 60 AS hour, total(accepted) AS accepted, total(rejected) AS rejected, \
             total(refused) AS refused, total(difficulty) AS difficulty {} GROUP BY 2 ORDER BY 2 DESC LIMIT ?4",
            Rows::OfOne.with(),
            Rows::OfOne.from("minutes")
        );
        self.told(self.list(&sql, params![minutes.start, minutes.end, worker, max]))
    }

    fn list(&self, sql: &str, which: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Vec<WorkerSum>> {
        let mut statement = self.connection.prepare(sql)?;
        let sums = statement.query_map(which, |row| {
            let total = |column: &str| row.get::<_, f64>(column).map(|sum| sum as u64);
            Ok(WorkerSum {
                of: row.get("of")?,
                hour: row.get("hour")?,
                accepted: total("accepted")?,
                rejected: total("rejected")?,
                refused: total("refused")?,
                difficulty: row.get("difficulty")?,
            })
        })?;
        sums.collect()
    }
}
