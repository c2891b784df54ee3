//! The file as the writer has it: opened, written in whole transactions, pruned, put aside when it is broken.
//!
//! Each function does what it does at once and says what went wrong; when to try again is the writer's business. It refuses to
//! touch a database that is not ours.

mod prune;
mod sent;
#[cfg(test)]
mod tests;

pub(super) use prune::{Forgotten, Kept};
pub(super) use sent::Sent;

use super::figures::RecordsFailure;
use super::pending::{EventRow, Pending, Tally};
use super::schema::{self, Stranger};
use loka_proto::ShareFate;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a lock of somebody else is waited for. The feed holds what comes meanwhile.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// Names of workers whose numbers are kept at hand: as many as the aggregator remembers.
const IDS_MAX: usize = 250_000;
/// A worker that has a row is marked as seen so often, in seconds.
const SEEN_EVERY_S: i64 = 3_600;
/// Broken files that are kept beside a new one; with so many there something is wrong with the disk, and no new one is begun.
pub(super) const ASIDE_MAX: usize = 3;

/// Write ahead, so that readers and the writer do not wait for each other. A power cut may take the last seconds with it and
/// breaks nothing. The log of writes ahead is emptied at 4 MiB and cut to 16 after a large one.
const PRAGMAS: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 1000;
PRAGMA journal_size_limit = 16777216;
PRAGMA cache_size = -8192;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
";

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct StoreError {
    /// As metrics count it.
    pub(super) kind: RecordsFailure,
    text: String,
}

impl StoreError {
    fn new(kind: RecordsFailure, text: impl ToString) -> StoreError {
        StoreError { kind, text: text.to_string() }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => RecordsFailure::Busy,
            Some(ErrorCode::DiskFull) => RecordsFailure::Full,
            Some(ErrorCode::SystemIoFailure) => RecordsFailure::Io,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => RecordsFailure::Corrupt,
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                RecordsFailure::Open
            }
            _ => RecordsFailure::Other,
        };
        StoreError::new(kind, error)
    }
}

impl From<Stranger> for StoreError {
    fn from(stranger: Stranger) -> Self {
        StoreError::new(RecordsFailure::Foreign, stranger)
    }
}

/// What is known of a worker's row.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: i64,
    seen: i64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    connection: Connection,
    /// Of the file that was opened: another one under its name is not ours.
    identity: (u64, u64),
    /// What tells its contents from those of any other.
    origin: String,
    workers: HashMap<Arc<str>, Known>,
    pools: HashMap<Arc<str>, i64>,
    reasons: HashMap<(&'static str, &'static str), i64>,
}

impl Store {
    /// Opens the file, makes it if there is none, and its folder if that is all that is missing.
    ///
    /// # Errors
    /// It cannot be opened, is no database, or is not ours.
    pub(super) fn open(path: &Path) -> Result<Store, StoreError> {
        let identity = make(path).map_err(|error| StoreError::new(RecordsFailure::Open, error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(32);
        schema::prepare(&mut connection)??;
        connection.execute_batch(PRAGMAS)?;
        let origin = connection.query_row("SELECT id FROM origin", [], |row| row.get(0))?;
        let (workers, pools, reasons) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Store { path: path.to_owned(), connection, identity, origin, workers, pools, reasons })
    }

    /// Whether the file under its name is still the one that was opened.
    pub(super) fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == self.identity)
    }

    /// Bytes of the file and of what is written ahead.
    pub(super) fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
        size(&self.path) + size(&beside(&self.path, "-wal"))
    }

    /// Adds all that waits, in one transaction: all of it is in the file, or nothing.
    ///
    /// # Errors
    /// Nothing was written.
    pub(super) fn write(&mut self, pending: &Pending) -> Result<(), StoreError> {
        let written = self.write_all(pending);
        if written.is_err() || self.workers.len() > IDS_MAX {
            // Numbers given in a transaction that was taken back are not theirs.
            self.forget_ids();
        }
        written
    }

    fn write_all(&mut self, pending: &Pending) -> Result<(), StoreError> {
        let Store { connection, workers, pools, reasons, .. } = self;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ids = Ids { connection: &change, workers, pools, reasons };
        for (minute, rows) in pending.minutes() {
            let numbered =
                rows.iter().map(|(name, tally)| Ok((ids.worker(name.as_ref(), minute * 60)?, tally)));
            let mut numbered: Vec<(i64, &Tally)> = numbered.collect::<Result<_, StoreError>>()?;
            // In the order of the table, so that pages are filled one after the other.
            numbered.sort_unstable_by_key(|(worker, _)| *worker);
            for (worker, tally) in numbered {
                ids.add_row(minute, worker, tally)?;
            }
        }
        for event in pending.events() {
            ids.add_event(event)?;
        }
        sent::mark_unsent(&change, pending)?;
        change.commit()?;
        Ok(())
    }

    fn forget_ids(&mut self) {
        self.workers.clear();
        self.pools.clear();
        self.reasons.clear();
    }
}

/// Writes within a transaction, and knows the numbers of names.
struct Ids<'a> {
    connection: &'a Connection,
    workers: &'a mut HashMap<Arc<str>, Known>,
    pools: &'a mut HashMap<Arc<str>, i64>,
    reasons: &'a mut HashMap<(&'static str, &'static str), i64>,
}

impl Ids<'_> {
    fn worker(&mut self, name: Option<&Arc<str>>, now_s: i64) -> Result<i64, StoreError> {
        let Some(name) = name else { return Ok(0) };
        let known = self.workers.get(name).filter(|known| now_s < known.seen + SEEN_EVERY_S);
        if let Some(known) = known {
            return Ok(known.id);
        }
        let sql = "INSERT INTO workers (name, seen) VALUES (?1, ?2) \
                   ON CONFLICT DO UPDATE SET seen = max(seen, excluded.seen) RETURNING id, seen";
        let mut statement = self.connection.prepare_cached(sql)?;
        let known = statement
            .query_row(params![name, now_s], |row| Ok(Known { id: row.get(0)?, seen: row.get(1)? }))?;
        self.workers.insert(Arc::clone(name), known);
        Ok(known.id)
    }

    fn pool(&mut self, name: &Arc<str>) -> Result<i64, StoreError> {
        if let Some(id) = self.pools.get(name) {
            return Ok(*id);
        }
        let sql = "INSERT INTO pools (name) VALUES (?1) ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id";
        let id = self.connection.prepare_cached(sql)?.query_row([name], |row| row.get(0))?;
        self.pools.insert(Arc::clone(name), id);
        Ok(id)
    }

    fn reason(&mut self, side: &'static str, name: &'static str) -> Result<i64, StoreError> {
        if let Some(id) = self.reasons.get(&(side, name)) {
            return Ok(*id);
        }
        let sql = "INSERT INTO reasons (side, name) VALUES (?1, ?2) \
                   ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id";
        let id = self.connection.prepare_cached(sql)?.query_row([side, name], |row| row.get(0))?;
        self.reasons.insert((side, name), id);
        Ok(id)
    }

    fn add_row(&mut self, minute: i64, worker: i64, tally: &Tally) -> Result<(), StoreError> {
        let sql = "INSERT INTO minutes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET \
                   accepted = accepted + excluded.accepted, rejected = rejected + excluded.rejected, \
                   refused = refused + excluded.refused, unanswered = unanswered + excluded.unanswered, \
                   lost = lost + excluded.lost, difficulty = difficulty + excluded.difficulty, \
                   best = coalesce(max(best, excluded.best), best, excluded.best)";
        let Tally { accepted, unanswered, lost, difficulty, best, .. } = tally;
        let (rejected, refused) = (tally.rejected(), tally.refused());
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![
            minute,
            worker,
            signed(*accepted),
            signed(rejected),
            signed(refused),
            signed(*unanswered),
            signed(*lost),
            difficulty,
            best
        ])?;
        for (class, count) in tally.rejections() {
            self.add_reason((minute, worker), (POOL, class.label()), count)?;
        }
        for (reject, count) in tally.refusals() {
            self.add_reason((minute, worker), (PROXY, reject.label()), count)?;
        }
        Ok(())
    }

    fn add_reason(
        &mut self,
        (minute, worker): (i64, i64),
        (side, name): (&'static str, &'static str),
        count: u32,
    ) -> Result<(), StoreError> {
        let reason = self.reason(side, name)?;
        let sql = "INSERT INTO minute_reasons VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO UPDATE SET count = count + excluded.count";
        self.connection.prepare_cached(sql)?.execute(params![minute, worker, reason, count])?;
        Ok(())
    }

    fn add_event(&mut self, event: &EventRow) -> Result<(), StoreError> {
        let worker = self.worker(event.worker.as_ref(), event.at_ms.div_euclid(1_000))?;
        let pool = event.pool.as_ref().map(|name| self.pool(name)).transpose()?;
        let (side, name) = match event.fate {
            ShareFate::Rejected(class) => (POOL, class.label()),
            ShareFate::Refused(reject) => (PROXY, reject.label()),
        };
        let reason = self.reason(side, name)?;
        let went = side == POOL;
        let (difficulty, waited_us) =
            (went.then_some(event.difficulty), went.then_some(signed(event.waited_us)));
        let sql = "INSERT INTO events SELECT ?1, coalesce((SELECT max(number) + 1 FROM events WHERE at_ms = ?1), 0), \
                   ?2, ?3, ?4, ?5, ?6, NULL, NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![event.at_ms, worker, reason, pool, difficulty, waited_us])?;
        Ok(())
    }
}

/// Whose reason it is: that of a pool which rejected the share.
pub(super) const POOL: &str = "pool";
/// That of the proxy, which refused it.
pub(super) const PROXY: &str = "proxy";

/// SQLite's numbers have a sign.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The file is there, for the owner to write and the group to read; gives what tells it from others.
fn make(path: &Path) -> io::Result<(u64, u64)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.exists()
    {
        DirBuilder::new()
            .mode(0o750)
            .create(folder)
            .map_err(|error| about("make the folder", folder, &error))?;
    }
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(path);
    let found = open.and_then(|file| file.metadata()).map_err(|error| about("open", path, &error))?;
    if !found.is_file() {
        return Err(about("use", path, &io::Error::other("it is no regular file")));
    }
    Ok((found.dev(), found.ino()))
}

fn about(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

/// A file that belongs to another by its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts a broken file aside, with what is written ahead of it, and gives its new name.
///
/// # Errors
/// It cannot be renamed; or [`ASIDE_MAX`] of them lie there already, and none is taken away: they are the operator's.
pub(super) fn put_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".broken-");
    let is_aside = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with(&*prefix.to_string_lossy()) && !name.ends_with("-wal")
    };
    let lying = fs::read_dir(folder)?.flatten().filter(|entry| is_aside(&entry.file_name())).count();
    if lying >= ASIDE_MAX {
        let text = format!("{lying} broken files lie beside it already; take them away");
        return Err(io::Error::other(text));
    }
    let at = super::feed::unix_ms(now);
    let aside = beside(path, &format!(".broken-{at}"));
    fs::rename(path, &aside)?;
    for (suffix, is_kept) in [("-wal", true), ("-shm", false), ("-journal", false)] {
        let old = beside(path, suffix);
        let moved = if is_kept { fs::rename(&old, beside(&aside, suffix)) } else { fs::remove_file(&old) };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}
