//! The file itself: what is added up, what is forgotten, and what happens when it cannot be written.

use super::*;
use loka_proto::{Reject, RejectClass, WorkerCounts};
use std::os::unix::fs::PermissionsExt;

/// A file in a folder that is still to be made.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("records.sqlite");
    (folder, path)
}

fn tally(accepted: u32, stale: u32) -> Tally {
    let mut counts =
        WorkerCounts { accepted, accepted_difficulty: f64::from(accepted) * 16.0, ..WorkerCounts::default() };
    counts.rejected[RejectClass::Stale.index()] = stale;
    counts.refused[Reject::DuplicateShare.index()] = 2 * stale;
    Tally::of(&counts).unwrap()
}

fn event(at_ms: i64, worker: &str) -> EventRow {
    let fate = ShareFate::Rejected(RejectClass::Stale);
    let (worker, pool) = (Some(worker.into()), Some("p".into()));
    EventRow { at_ms, worker, pool, fate, difficulty: 16.0, waited_us: 250 }
}

/// So many workers with a share in this minute.
fn minute(minute: i64, workers: usize) -> Pending {
    let mut pending = Pending::default();
    for number in 0..workers {
        pending.add(minute, Some(&format!("rack.{number:05}").into()), &tally(1, 0));
    }
    pending
}

fn number(store: &Store, sql: &str) -> i64 {
    store.connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_comes_later_is_added_and_nothing_stands_there_twice() {
    let (_folder, path) = place();
    let mut pending = Pending::default();
    for worker in ["a", "b\"c", ""] {
        pending.add(7, Some(&worker.into()), &tally(3, 1));
        pending.event(event(7 * 60_000, worker));
    }
    pending.add(7, None, &tally(5, 0));
    for _ in 0..2 {
        // Another process goes on where this one has ended.
        let mut store = Store::open(&path).unwrap();
        (0..2).for_each(|_| store.write(&pending).unwrap());
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM minutes"), 4);
    assert_eq!(number(&store, "SELECT count(*) FROM workers"), 4, "with the one of all others");
    assert_eq!(number(&store, "SELECT sum(accepted) FROM worker_minutes WHERE worker IS NULL"), 20);
    assert_eq!(number(&store, "SELECT sum(accepted) FROM worker_minutes WHERE worker = 'b\"c'"), 12);
    assert_eq!(number(&store, "SELECT sum(rejected) * 1000 + sum(refused) FROM minutes"), 12_024);
    assert_eq!(
        number(&store, "SELECT CAST(sum(difficulty) AS INTEGER) FROM minutes WHERE worker = 1"),
        12 * 16
    );
    let by_reason = "SELECT sum(count) FROM minute_reasons JOIN reasons ON reasons.id = reason WHERE side = ";
    assert_eq!(number(&store, &format!("{by_reason} 'pool' AND name = 'stale'")), 12);
    assert_eq!(number(&store, &format!("{by_reason} 'proxy' AND name = 'duplicate_share'")), 24);
    assert_eq!(number(&store, "SELECT count(*) FROM share_events WHERE pool = 'p' AND reason = 'stale'"), 12);
    assert_eq!(number(&store, "SELECT count(DISTINCT number) FROM events"), 12);
}

#[test]
fn the_best_share_of_a_minute_is_the_highest_that_was_told() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    for best in [None, Some(3.0), Some(9.0), Some(4.0), None] {
        let mut pending = Pending::default();
        let mut row = tally(1, 0);
        row.best = best;
        pending.add(1, None, &row);
        store.write(&pending).unwrap();
    }
    assert_eq!(number(&store, "SELECT CAST(best AS INTEGER) FROM minutes"), 9);
}

#[test]
fn the_file_is_for_the_owner_and_the_group_and_its_folder_is_made() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    store.write(&minute(1, 1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path) & 0o027, 0, "{:o}", mode(&path));
    assert_eq!(mode(&beside(&path, "-wal")), mode(&path));
    assert!(store.is_in_place());
    fs::remove_file(&path).unwrap();
    assert!(!store.is_in_place());
    let deeper = path.parent().unwrap().join("a/b/records.sqlite");
    let error = Store::open(&deeper).unwrap_err();
    assert_eq!(error.kind, RecordsFailure::Open);
    assert!(error.to_string().contains("a/b"), "{error}");
    let error = Store::open(path.parent().unwrap()).unwrap_err();
    assert_eq!(error.kind, RecordsFailure::Open);
}

#[test]
fn a_full_file_takes_nothing_of_a_transaction_and_all_of_it_when_there_is_room_again() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    store.write(&minute(1, 10)).unwrap();
    store.connection.execute_batch("PRAGMA max_page_count = 16").unwrap();
    let more = minute(2, 20_000);
    let error = store.write(&more).unwrap_err();
    assert_eq!(error.kind, RecordsFailure::Full, "{error}");
    assert_eq!(number(&store, "SELECT count(*) FROM minutes"), 10);
    store.connection.execute_batch("PRAGMA max_page_count = 1000000").unwrap();
    store.write(&more).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM minutes"), 20_010);
    assert_eq!(number(&store, "SELECT count(*) FROM minutes m JOIN workers w ON w.id = m.worker"), 20_010);
}

#[test]
fn a_lock_of_another_program_is_no_fault_of_the_file() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    store.connection.busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.write(&minute(1, 1)).unwrap_err().kind, RecordsFailure::Busy);
    other.execute_batch("ROLLBACK").unwrap();
    store.write(&minute(1, 1)).unwrap();
}

#[test]
fn a_broken_file_is_put_aside_and_no_more_than_a_few() {
    let (_folder, path) = place();
    for round in 0..=ASIDE_MAX {
        let mut store = Store::open(&path).unwrap();
        store.write(&minute(1, 1)).unwrap();
        drop(store);
        fs::write(&path, [b'x'; 8_192]).unwrap();
        assert_eq!(Store::open(&path).unwrap_err().kind, RecordsFailure::Corrupt);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(round as u64);
        let aside = put_aside(&path, now);
        assert_eq!(aside.is_ok(), round < ASIDE_MAX, "{aside:?}");
        assert_eq!(path.exists(), aside.is_err());
        if let Ok(aside) = aside {
            assert_eq!(fs::read(aside).unwrap().len(), 8_192);
        }
    }
}

#[test]
fn what_is_too_old_is_forgotten_with_the_names_that_nobody_bears_any_more() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    for at in [100, 200, 300] {
        let mut pending = minute(at, 3);
        pending.add(at, Some(&format!("only.{at}").into()), &tally(1, 1));
        pending.event(event(at * 60_000 + 7, &format!("only.{at}")));
        store.write(&pending).unwrap();
    }
    assert!(!store.prune(Kept { since_minute: 300, bytes_max: None }).unwrap().is_crowded);
    assert_eq!(number(&store, "SELECT min(minute) * 10 + count(*) FROM minutes"), 3_004);
    assert_eq!(number(&store, "SELECT count(*) FROM minute_reasons"), 2);
    assert_eq!(number(&store, "SELECT count(*) FROM events"), 1);
    store.forget_names().unwrap();
    let names = "SELECT group_concat(name) FROM (SELECT name FROM workers ORDER BY name)";
    let names: String = store.connection.query_row(names, [], |row| row.get(0)).unwrap();
    assert_eq!(
        names, "only.200,only.300,rack.00000,rack.00001,rack.00002",
        "within two hours of the oldest row"
    );
    // Numbers that are free again are not taken for those that had them.
    store.write(&minute(301, 3)).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM minutes m JOIN workers w ON w.id = m.worker"), 7);
}

#[test]
fn with_too_many_bytes_the_oldest_go_and_the_newest_stay() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    (0..60).for_each(|at| store.write(&minute(at, 1_000)).unwrap());
    let bytes_max = Some(1024 * 1024);
    while store.prune(Kept { since_minute: -1, bytes_max }).unwrap().is_crowded {}
    let used = number(&store, "PRAGMA page_count") - number(&store, "PRAGMA freelist_count");
    assert!(used * 4_096 <= 1024 * 1024, "{used} pages");
    assert_eq!(number(&store, "SELECT max(minute) FROM minutes"), 59);
    assert!(number(&store, "SELECT count(DISTINCT minute) FROM minutes") > 5);
    // The newest is kept even where nothing fits.
    store.prune(Kept { since_minute: -1, bytes_max: Some(1) }).unwrap();
    while store.prune(Kept { since_minute: -1, bytes_max: Some(1) }).unwrap().is_crowded {}
}

/// What 100,000 workers cost: `cargo test --release --lib a_minute_of_a_hundred_thousand -- --ignored --nocapture`. The folder is
/// that of the temporary files: set TMPDIR to the disk that is meant.
#[test]
#[ignore = "it measures and proves nothing"]
#[allow(clippy::print_stdout, reason = "figures are what it is for")]
fn a_minute_of_a_hundred_thousand_workers() {
    const WORKERS: usize = 100_000;
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let mut bytes = store.bytes();
    for at in 0..10 {
        let mut pending = minute(at, WORKERS);
        for number in (0..WORKERS).step_by(100) {
            let name = format!("rack.{number:05}");
            pending.add(at, Some(&name.as_str().into()), &tally(0, 1));
            pending.event(event(at * 60_000, &name));
        }
        let began = std::time::Instant::now();
        store.write(&pending).unwrap();
        let (seconds, size) = (began.elapsed().as_secs_f64(), fs::metadata(&path).unwrap().len());
        println!("minute {at}: {seconds:.3} s, the file grew by {} bytes", size.saturating_sub(bytes));
        bytes = size;
    }
    let began = std::time::Instant::now();
    store.prune(Kept { since_minute: 1, bytes_max: None }).unwrap();
    println!("one minute forgotten: {:.3} s", began.elapsed().as_secs_f64());
    let began = std::time::Instant::now();
    let records = crate::records::Records::open(&path).unwrap();
    let rows = records.summary(0..100, None).unwrap().rows;
    println!("sums of {rows} rows: {:.3} s", began.elapsed().as_secs_f64());
    let began = std::time::Instant::now();
    let worker = records.worker("rack.00077").unwrap();
    let rows = records.summary(0..100, worker).unwrap().rows;
    println!("sums of one worker, {rows} rows: {:.4} s", began.elapsed().as_secs_f64());
}
