//! The tables in the database of a fleet, and the statements that fill them: plain SQL that PostgreSQL, CockroachDB and
//! YugabyteDB take alike.
//!
//! Every row is sent with what it is, not with what is to be added, and found again by its key; so whatever is sent twice, after
//! an answer that was lost or by a process that was killed, is there once. It connects to nothing.

use super::figures::CentralTable;
use super::local::{EventRow, MinuteRow, ReasonRow};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres::types::{ToSql, Type};

/// A column: its name, its type in the table, whether it belongs to the key.
struct Column {
    name: &'static str,
    kind: Kind,
    is_key: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Time,
    Whole,
    Real,
    /// As the one before, and may be unknown.
    MaybeText,
    MaybeWhole,
    MaybeReal,
}

impl Kind {
    fn sql(self) -> &'static str {
        match self {
            Self::Text => "text NOT NULL",
            Self::Time => "timestamptz NOT NULL",
            Self::Whole => "bigint NOT NULL",
            Self::Real => "double precision NOT NULL",
            Self::MaybeText => "text",
            Self::MaybeWhole => "bigint",
            Self::MaybeReal => "double precision",
        }
    }

    /// As many of it as there are rows.
    fn array(self) -> Type {
        match self {
            Self::Text | Self::MaybeText => Type::TEXT_ARRAY,
            Self::Time => Type::TIMESTAMPTZ_ARRAY,
            Self::Whole | Self::MaybeWhole => Type::INT8_ARRAY,
            Self::Real | Self::MaybeReal => Type::FLOAT8_ARRAY,
        }
    }

    fn array_sql(self) -> &'static str {
        match self {
            Self::Text | Self::MaybeText => "text[]",
            Self::Time => "timestamptz[]",
            Self::Whole | Self::MaybeWhole => "bigint[]",
            Self::Real | Self::MaybeReal => "double precision[]",
        }
    }
}

const fn key(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_key: true }
}

const fn value(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_key: false }
}

/// Behind `host` and `file`, with which the key of every table begins.
const MINUTES: &[Column] = &[
    key("worker", Kind::Text),
    key("minute", Kind::Time),
    value("accepted", Kind::Whole),
    value("rejected", Kind::Whole),
    value("refused", Kind::Whole),
    value("unanswered", Kind::Whole),
    value("lost", Kind::Whole),
    value("difficulty", Kind::Real),
    value("best", Kind::MaybeReal),
];

const REASONS: &[Column] = &[
    key("worker", Kind::Text),
    key("minute", Kind::Time),
    key("side", Kind::Text),
    key("reason", Kind::Text),
    value("shares", Kind::Whole),
];

const EVENTS: &[Column] = &[
    key("at", Kind::Time),
    key("number", Kind::Whole),
    value("worker", Kind::Text),
    value("side", Kind::Text),
    value("reason", Kind::Text),
    value("pool", Kind::MaybeText),
    value("difficulty", Kind::MaybeReal),
    value("waited_us", Kind::MaybeWhole),
    value("share_difficulty", Kind::MaybeReal),
    value("hash", Kind::MaybeText),
];

fn columns(table: CentralTable) -> &'static [Column] {
    match table {
        CentralTable::Minutes => MINUTES,
        CentralTable::Reasons => REASONS,
        CentralTable::Events => EVENTS,
    }
}

/// Its name there.
fn name(table: CentralTable) -> &'static str {
    match table {
        CentralTable::Minutes => "loka_minutes",
        CentralTable::Reasons => "loka_minute_reasons",
        CentralTable::Events => "loka_events",
    }
}

fn listed<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

fn keys(table: CentralTable) -> String {
    let own = columns(table).iter().filter(|column| column.is_key).map(|column| column.name);
    listed(["host", "file"].into_iter().chain(own))
}

/// The statements that make the tables where they are missing, one each. By the time rows are found and taken away.
pub(crate) fn schema() -> Vec<String> {
    let mut statements = Vec::new();
    for table in CentralTable::ALL.iter().copied() {
        let mut sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (\n    host text NOT NULL,\n    file text NOT NULL",
            name(table)
        );
        for column in columns(table) {
            let _ = write!(sql, ",\n    {} {}", column.name, column.kind.sql());
        }
        let _ = write!(sql, ",\n    PRIMARY KEY ({}))", keys(table));
        statements.push(sql);
        let time = columns(table).iter().find(|column| matches!(column.kind, Kind::Time));
        let time = time.map_or("minute", |column| column.name);
        let name = name(table);
        statements.push(format!("CREATE INDEX IF NOT EXISTS {name}_by_time ON {name} ({time})"));
    }
    statements
}

/// Puts rows there, whether they are there already or not. The first two parameters are host and file, each of the others
/// is as many values of one column as there are rows.
pub(super) fn upsert(table: CentralTable) -> String {
    let (name, columns) = (name(table), columns(table));
    let names = listed(columns.iter().map(|column| column.name));
    let arrays: Vec<String> = columns
        .iter()
        .zip(3..)
        .map(|(column, number)| format!("${number}::{}", column.kind.array_sql()))
        .collect();
    let values: Vec<String> = columns
        .iter()
        .filter(|column| !column.is_key)
        .map(|column| format!("{0} = excluded.{0}", column.name))
        .collect();
    format!(
        "INSERT INTO {name} (host, file, {names}) SELECT $1::text, $2::text, sent.* FROM unnest({}) AS sent ({names}) \
         ON CONFLICT ({}) DO UPDATE SET {}",
        arrays.join(", "),
        keys(table),
        values.join(", ")
    )
}

/// The parameters of [`upsert`] behind the first two, with their types.
pub(super) type Arrays = Vec<(Box<dyn ToSql + Sync + Send>, Type)>;

/// Rows of one table.
#[derive(Debug, PartialEq)]
pub(super) enum Batch {
    /// Of a minute.
    Minutes(i64, Vec<MinuteRow>),
    /// Of a minute.
    Reasons(i64, Vec<ReasonRow>),
    Events(Vec<EventRow>),
}

impl Batch {
    pub(super) fn empty(table: CentralTable) -> Batch {
        match table {
            CentralTable::Minutes => Batch::Minutes(0, Vec::new()),
            CentralTable::Reasons => Batch::Reasons(0, Vec::new()),
            CentralTable::Events => Batch::Events(Vec::new()),
        }
    }

    pub(super) fn table(&self) -> CentralTable {
        match self {
            Batch::Minutes(..) => CentralTable::Minutes,
            Batch::Reasons(..) => CentralTable::Reasons,
            Batch::Events(_) => CentralTable::Events,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Batch::Minutes(_, rows) => rows.len(),
            Batch::Reasons(_, rows) => rows.len(),
            Batch::Events(rows) => rows.len(),
        }
    }

    /// Its columns, in their order.
    pub(super) fn arrays(self) -> Arrays {
        let kinds = columns(self.table()).iter().map(|column| column.kind.array());
        let values: Vec<Box<dyn ToSql + Sync + Send>> = match self {
            Batch::Minutes(minute, rows) => {
                let shares = |which: usize| all(&rows, move |row| row.shares[which]);
                vec![
                    all(&rows, |row| row.worker.clone()),
                    all(&rows, |_| time(minute.saturating_mul(60_000))),
                    shares(0),
                    shares(1),
                    shares(2),
                    shares(3),
                    shares(4),
                    all(&rows, |row| row.difficulty),
                    all(&rows, |row| row.best),
                ]
            }
            Batch::Reasons(minute, rows) => vec![
                all(&rows, |row| row.worker.clone()),
                all(&rows, |_| time(minute.saturating_mul(60_000))),
                all(&rows, |row| row.side.clone()),
                all(&rows, |row| row.reason.clone()),
                all(&rows, |row| row.count),
            ],
            Batch::Events(rows) => vec![
                all(&rows, |row| time(row.at.0)),
                all(&rows, |row| row.at.1),
                all(&rows, |row| row.worker.clone()),
                all(&rows, |row| row.side.clone()),
                all(&rows, |row| row.reason.clone()),
                all(&rows, |row| row.pool.clone()),
                all(&rows, |row| row.difficulty),
                all(&rows, |row| row.waited_us),
                all(&rows, |row| row.share_difficulty),
                all(&rows, |row| row.hash.clone()),
            ],
        };
        values.into_iter().zip(kinds).collect()
    }
}

fn all<R, T: ToSql + Sync + Send + 'static>(
    rows: &[R],
    of: impl Fn(&R) -> T,
) -> Box<dyn ToSql + Sync + Send> {
    Box::new(rows.iter().map(of).collect::<Vec<T>>())
}

/// Milliseconds of Unix time; a clock before 1970 counts as 1970.
fn time(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_whole_and_found_by_its_key() {
        let expected = "INSERT INTO loka_minute_reasons (host, file, worker, minute, side, reason, shares) \
             SELECT $1::text, $2::text, sent.* FROM unnest($3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::bigint[]) \
             AS sent (worker, minute, side, reason, shares) \
             ON CONFLICT (host, file, worker, minute, side, reason) DO UPDATE SET shares = excluded.shares";
        assert_eq!(upsert(CentralTable::Reasons), expected);
        for table in CentralTable::ALL.iter().copied() {
            let sql = upsert(table);
            assert!(!sql.contains(" + "), "what is sent twice must not count twice: {sql}");
            assert_eq!(Batch::empty(table).arrays().len(), columns(table).len());
            assert_eq!(Batch::empty(table).table(), table);
        }
    }

    #[test]
    fn the_tables_are_plain_sql_that_every_such_database_knows() {
        let statements = schema();
        assert_eq!(statements.len(), 2 * CentralTable::COUNT);
        assert!(statements[0].contains("PRIMARY KEY (host, file, worker, minute)"), "{}", statements[0]);
        for word in ["serial", "extension", "identity", "trigger", "unlogged", "partition", "jsonb"] {
            assert!(statements.iter().all(|sql| !sql.to_lowercase().contains(word)), "{word}");
        }
    }

    #[test]
    fn the_schema_of_the_document_is_the_one_that_is_made() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/fleet.sql")).unwrap();
        let text: String = text.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
        let written: String = schema().iter().map(|sql| format!("{sql};\n")).collect();
        assert!(text.contains(written.trim_end()), "config/fleet.sql must hold\n{written}");
    }
}
