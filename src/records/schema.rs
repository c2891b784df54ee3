//! The tables of the file, and how an older file becomes a newer one.
//!
//! The version stands in `user_version`, and `application_id` tells that the file is ours. A database of another program, or of a
//! newer version of this one, is refused and left as it is.

use rusqlite::{Connection, TransactionBehavior};

/// "LOKA": tells our databases from others.
pub const APPLICATION_ID: i32 = 0x4c4f_4b41;

/// Element `n` makes version `n + 1` of version `n`; a new file goes through all of them. What is here has been used and is
/// never changed: a change of the tables is a further element.
const STEPS: &[&str] = &[FIRST, SECOND];

/// The version that this program writes.
pub const VERSION: i32 = STEPS.len() as i32;

/// Rows of `minutes` are in the order of time, so that a minute is written at one place of the file and forgotten at one.
/// `workers` holds with id 0 those that cannot be told apart; `seen` is Unix time, about an hour exact.
const FIRST: &str = "
CREATE TABLE workers (id INTEGER PRIMARY KEY, name TEXT UNIQUE, seen INTEGER NOT NULL) STRICT;
INSERT INTO workers VALUES (0, NULL, 0);
CREATE TABLE pools (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE reasons (id INTEGER PRIMARY KEY, side TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (side, name)) STRICT;
CREATE TABLE minutes (
    minute INTEGER NOT NULL, worker INTEGER NOT NULL, accepted INTEGER NOT NULL, rejected INTEGER NOT NULL,
    refused INTEGER NOT NULL, unanswered INTEGER NOT NULL, lost INTEGER NOT NULL, difficulty REAL NOT NULL, best REAL,
    PRIMARY KEY (minute, worker)) STRICT, WITHOUT ROWID;
CREATE TABLE minute_reasons (
    minute INTEGER NOT NULL, worker INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (minute, worker, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    at_ms INTEGER NOT NULL, number INTEGER NOT NULL, worker INTEGER NOT NULL, reason INTEGER NOT NULL, pool INTEGER,
    difficulty REAL, waited_us INTEGER, share_difficulty REAL, hash TEXT,
    PRIMARY KEY (at_ms, number)) STRICT, WITHOUT ROWID;
CREATE VIEW worker_minutes AS
    SELECT strftime('%Y-%m-%dT%H:%M:%SZ', m.minute * 60, 'unixepoch') AS minute, w.name AS worker, m.accepted, m.rejected,
        m.refused, m.unanswered, m.lost, m.difficulty, m.best
    FROM minutes m LEFT JOIN workers w ON w.id = m.worker;
CREATE VIEW share_events AS
    SELECT strftime('%Y-%m-%dT%H:%M:%fZ', e.at_ms / 1000.0, 'unixepoch') AS at, w.name AS worker, p.name AS pool, r.side,
        r.name AS reason, e.difficulty, e.waited_us, e.share_difficulty, e.hash
    FROM events e LEFT JOIN workers w ON w.id = e.worker LEFT JOIN pools p ON p.id = e.pool
        LEFT JOIN reasons r ON r.id = e.reason;
";

/// What is still to be sent to the database of a fleet. `origin` tells this file from every other, and counts the transactions
/// that changed rows; `unsent` has the minutes with such changes, and which transaction it was last: whoever has sent a minute
/// as it was by then takes it off, and one that has changed since stays. An older file has everything still to send; its
/// minutes are found by jumping from one to the next, for there may be a hundred million rows.
const SECOND: &str = "
CREATE TABLE origin (id TEXT NOT NULL, changes INTEGER NOT NULL) STRICT;
INSERT INTO origin VALUES (lower(hex(randomblob(8))), 1);
CREATE TABLE unsent (minute INTEGER PRIMARY KEY, change INTEGER NOT NULL) STRICT;
INSERT INTO unsent
    WITH RECURSIVE known (minute) AS (
        SELECT min(minute) FROM minutes
        UNION ALL
        SELECT (SELECT min(minute) FROM minutes WHERE minutes.minute > known.minute) FROM known WHERE known.minute IS NOT NULL)
    SELECT minute, 1 FROM known WHERE minute IS NOT NULL;
INSERT OR IGNORE INTO unsent
    WITH RECURSIVE known (minute) AS (
        SELECT min(at_ms) / 60000 FROM events
        UNION ALL
        SELECT (SELECT min(at_ms) / 60000 FROM events WHERE at_ms >= (known.minute + 1) * 60000)
        FROM known WHERE known.minute IS NOT NULL)
    SELECT minute, 1 FROM known WHERE minute IS NOT NULL;
";

/// Why a database is not ours to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It has tables, and not ours.
    #[error("it is a database of another program")]
    Foreign,
    /// A newer version of this program has written it.
    #[error(
        "a newer version of loka-stratum has written it (schema {found}, this program knows up to {VERSION})"
    )]
    Newer {
        /// Its version.
        found: i32,
    },
}

/// The version of a file of ours; zero is one without anything in it.
///
/// # Errors
/// SQLite's; or the file is not ours, in the inner result.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Result<i32, Stranger>> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let found = number("PRAGMA user_version")?;
    if number("PRAGMA application_id")? == APPLICATION_ID {
        return Ok(if found > VERSION { Err(Stranger::Newer { found }) } else { Ok(found) });
    }
    let is_empty = number("SELECT count(*) FROM sqlite_master")? == 0;
    Ok(if is_empty && found == 0 { Ok(0) } else { Err(Stranger::Foreign) })
}

/// Makes the tables of this version, of whatever older version is there.
///
/// # Errors
/// SQLite's; or the file is not ours, in the inner result, and was not touched.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<Result<(), Stranger>> {
    match version(connection)? {
        Ok(VERSION) => return Ok(Ok(())),
        // Only a file without tables takes it.
        Ok(0) => connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?,
        Ok(_) => {}
        Err(stranger) => return Ok(Err(stranger)),
    }
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it since.
    let found = match version(&change)? {
        Ok(found) => usize::try_from(found).unwrap_or(0),
        Err(stranger) => return Ok(Err(stranger)),
    };
    for step in STEPS.iter().skip(found) {
        change.execute_batch(step)?;
    }
    change.pragma_update(None, "application_id", APPLICATION_ID)?;
    change.pragma_update(None, "user_version", VERSION)?;
    change.commit()?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of an older version, with two minutes and an event between them.
    #[test]
    fn an_older_file_has_all_of_it_still_to_send() {
        let mut file = Connection::open_in_memory().unwrap();
        file.execute_batch(FIRST).unwrap();
        let rows = "INSERT INTO minutes VALUES (7, 0, 1, 0, 0, 0, 0, 1.0, NULL), (7, 1, 1, 0, 0, 0, 0, 1.0, NULL), \
                    (9, 0, 1, 0, 0, 0, 0, 1.0, NULL); \
                    INSERT INTO events VALUES (480001, 0, 0, 1, NULL, NULL, NULL, NULL, NULL), \
                    (480001, 1, 0, 1, NULL, NULL, NULL, NULL, NULL), (540000, 0, 0, 1, NULL, NULL, NULL, NULL, NULL)";
        file.execute_batch(rows).unwrap();
        file.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        file.pragma_update(None, "user_version", 1).unwrap();
        assert_eq!(prepare(&mut file).unwrap(), Ok(()));
        let mut unsent = file.prepare("SELECT minute FROM unsent ORDER BY minute").unwrap();
        let unsent: Vec<i64> = unsent.query_map([], |row| row.get(0)).unwrap().flatten().collect();
        assert_eq!(unsent, [7, 8, 9]);
        let id: String = file.query_row("SELECT id FROM origin", [], |row| row.get(0)).unwrap();
        assert_eq!(id.len(), 16);
    }

    #[test]
    fn a_new_file_gets_all_tables_once_and_those_of_others_are_left_alone() {
        let mut ours = Connection::open_in_memory().unwrap();
        assert_eq!(version(&ours).unwrap(), Ok(0));
        for _ in 0..2 {
            assert_eq!(prepare(&mut ours).unwrap(), Ok(()));
            assert_eq!(version(&ours).unwrap(), Ok(VERSION));
        }
        ours.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert_eq!(prepare(&mut ours).unwrap(), Err(Stranger::Newer { found: VERSION + 1 }));
        let mut other = Connection::open_in_memory().unwrap();
        other.execute_batch("CREATE TABLE workers (name)").unwrap();
        assert_eq!(prepare(&mut other).unwrap(), Err(Stranger::Foreign));
        let tables: i64 =
            other.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
