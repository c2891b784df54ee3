//! Reading beside the writer, after it, and of what is no file of records.

use super::*;
use crate::records::pending::{EventRow, Pending, Tally};
use crate::records::store::Store;
use loka_proto::{Reject, RejectClass, ShareFate, WorkerCounts};

fn tally(accepted: u32, stale: u32) -> Tally {
    let mut counts =
        WorkerCounts { accepted, accepted_difficulty: f64::from(accepted), ..WorkerCounts::default() };
    counts.rejected[RejectClass::Stale.index()] = stale;
    counts.refused[Reject::DuplicateShare.index()] = 2 * stale;
    Tally::of(&counts).unwrap()
}

/// Minutes 10 to 19 of "a", "b" and all others.
fn written(path: &Path) -> Store {
    let mut store = Store::open(path).unwrap();
    let mut pending = Pending::default();
    for minute in 10..20 {
        pending.add(minute, Some(&"a".into()), &tally(3, 1));
        pending.add(minute, Some(&"b".into()), &tally(1, 0));
        pending.add(minute, None, &tally(0, 1));
        for _ in 0..2 {
            pending.event(EventRow {
                at_ms: minute * 60_000,
                worker: Some("a".into()),
                pool: None,
                fate: ShareFate::Refused(Reject::DuplicateShare),
                difficulty: 0.0,
                waited_us: 0,
            });
        }
    }
    store.write(&pending).unwrap();
    store
}

fn rows(records: &Records, minutes: Range<i64>, worker: Option<i64>) -> Vec<MinuteRow> {
    let mut rows = Vec::new();
    records
        .minutes(minutes, worker, |row| {
            rows.push(row.clone());
            Ok(())
        })
        .unwrap();
    rows
}

#[test]
fn sums_and_rows_of_a_time_and_of_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r");
    let _store = written(&path);
    let records = Records::open(&path).unwrap();
    let all = records.summary(0..1_000, None).unwrap();
    assert_eq!((all.minutes, all.rows, all.workers), (Some((10, 19)), 30, 3));
    assert_eq!(
        (all.shares.accepted, all.shares.rejected, all.shares.refused, all.shares.difficulty),
        (40, 20, 40, 40.0)
    );
    let reasons: Vec<_> = all.reasons.iter().map(|why| (&*why.side, &*why.name, why.count)).collect();
    assert_eq!(reasons, [("proxy", "duplicate_share", 40), ("pool", "stale", 20)]);
    let part = records.summary(12..14, None).unwrap();
    assert_eq!((part.minutes, part.shares.accepted, part.reasons.len()), (Some((12, 13)), 8, 2));
    let a = records.worker("a").unwrap().unwrap();
    let one = records.summary(12..1_000, Some(a)).unwrap();
    assert_eq!((one.minutes, one.rows, one.shares.accepted, one.shares.rejected), (Some((12, 19)), 8, 24, 8));
    assert_eq!(one.reasons[0].count, 16);
    assert_eq!(one.hashrate(), Some(24.0 * 4_294_967_296.0 / 480.0));
    let none = records.summary(500..1_000, Some(a)).unwrap();
    assert_eq!((none.minutes, none.shares.accepted, none.hashrate()), (None, 0, None));
    assert_eq!(records.worker("c").unwrap(), None);

    let of_a = rows(&records, 0..1_000, Some(a));
    assert_eq!(of_a.len(), 10);
    assert!(of_a.iter().all(|row| row.worker.as_deref() == Some("a") && row.reasons.len() == 2));
    assert_eq!(rows(&records, 15..17, None).len(), 6);
    let top = records.top(0..1_000, 2).unwrap();
    let top: Vec<_> = top.iter().map(|sum| (sum.of.clone(), sum.shares.accepted)).collect();
    assert_eq!(top, [("a", 30), ("b", 10)].map(|(name, count)| (Part::Worker(Some(name.to_owned())), count)));
    let hours = records.hours(0..1_000, a, 5).unwrap();
    assert_eq!(
        hours.iter().map(|sum| (sum.of.clone(), sum.shares.accepted)).collect::<Vec<_>>(),
        [(Part::Hour(0), 30)]
    );

    let mut events = Vec::new();
    records
        .events(11..13, |event| {
            events.push(event.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(
        events.iter().map(|event| event.at_ms).collect::<Vec<_>>(),
        [660_000, 660_000, 720_000, 720_000]
    );
    assert_eq!(
        (&*events[0].side, &*events[0].reason, events[0].difficulty),
        ("proxy", "duplicate_share", None)
    );
}

#[test]
fn a_reader_and_the_writer_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r");
    let mut store = written(&path);
    let records = Records::open(&path).unwrap();
    let mut seen = 0;
    records
        .minutes(0..1_000, None, |row| {
            let mut more = Pending::default();
            more.add(900, row.worker.as_deref().map(Into::into).as_ref(), &tally(1, 0));
            store.write(&more).map_err(std::io::Error::other)?;
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 33, "what was written meanwhile is there too");
}

#[test]
fn a_file_that_nobody_writes_is_read_without_writing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd name? 100%#1");
    drop(written(&path));
    assert!(!folder.path().join("odd name? 100%#1-wal").exists(), "the last one to leave cleans up");
    assert_eq!(Records::open(&path).unwrap().summary(0..1_000, None).unwrap().rows, 30);
    let cannot = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(14), None);
    let (still, version) = still(&path, cannot).unwrap();
    assert_eq!(version, Ok(schema::VERSION));
    drop(still);
    let names = std::fs::read_dir(folder.path()).unwrap().flatten().count();
    assert!(names <= 3);
}

#[test]
fn what_is_no_file_of_records_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r");
    let told = || Records::open(&path).unwrap_err().to_string();
    assert!(told().contains("does not exist"), "{}", told());
    std::fs::write(&path, "").unwrap();
    assert!(told().contains("it is empty"), "{}", told());
    std::fs::write(&path, "x".repeat(5_000)).unwrap();
    assert!(told().contains("it is no database"), "{}", told());
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(told().contains("of another program"), "{}", told());
    drop(other);
    std::fs::remove_file(&path).unwrap();
    drop(written(&path));
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    assert!(told().contains("newer version") && told().contains("schema 99"), "{}", told());
}
