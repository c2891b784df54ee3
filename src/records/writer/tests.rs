//! The thread's state without the thread: trouble with the file, what waits meanwhile, and how it ends.

use super::*;
use crate::records::pending::{ROWS_MAX, Tally};
use crossbeam::channel::{Sender, bounded};
use loka_proto::WorkerCounts;
use rusqlite::Connection;
use std::fs;
use std::path::Path;

struct Desk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    _to: Sender<Pending>,
    writer: Writer,
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    let (to, from) = bounded(1);
    let keeping = watch::channel(Keeping { term: Duration::from_secs(86_400), bytes_max: None }).1;
    let settings = Settings { file: path.clone(), keeping };
    let writer = Writer::new(settings, from, None, RecordsMeter::default());
    Desk { _folder: folder, path, _to: to, writer }
}

/// An accepted share of a worker of this number, a moment ago.
fn share(number: usize) -> Pending {
    let mut pending = Pending::default();
    let minute = unix_ms(SystemTime::now()) / 60_000;
    let counts = WorkerCounts { accepted: 1, ..WorkerCounts::default() };
    pending.add(minute, Some(&format!("rig.{number}").into()), &Tally::of(&counts).unwrap());
    pending
}

fn written(path: &Path) -> i64 {
    let file = Connection::open(path).unwrap();
    file.query_row("SELECT coalesce(sum(accepted), 0) FROM minutes", [], |row| row.get(0)).unwrap()
}

impl Desk {
    fn failures(&self) -> Vec<(&'static str, u64)> {
        let failures = self.writer.meter.figures().failures;
        let some = RecordsFailure::ALL.iter().zip(failures).filter(|(_, count)| *count > 0);
        some.map(|(kind, count)| (kind.label(), count)).collect()
    }
}

#[test]
fn while_the_file_is_locked_what_comes_waits_and_then_all_of_it_is_written_once() {
    let mut desk = desk();
    desk.writer.look();
    let other = Connection::open(&desk.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0..3 {
        desk.writer.take(share(number % 2));
    }
    desk.writer.look();
    assert_eq!((desk.failures(), desk.writer.meter.figures().pending), (vec![("busy", 1)], 2));
    assert!(desk.writer.due > Instant::now(), "it is not tried again at once");
    other.execute_batch("COMMIT").unwrap();
    desk.writer.take(share(7));
    desk.writer.look();
    desk.writer.look();
    assert_eq!((written(&desk.path), desk.writer.trouble.is_none()), (4, true));
    let figures = desk.writer.meter.figures();
    assert_eq!((figures.rows, figures.pending, figures.lost), (3, 0, Lost::default()));
}

#[test]
fn what_waits_has_an_end_and_the_rest_is_counted() {
    let mut desk = desk();
    fs::create_dir(&desk.path).unwrap();
    let mut many = Pending::bounded(usize::MAX, 0);
    let counts = WorkerCounts { accepted: 2, ..WorkerCounts::default() };
    let tally = Tally::of(&counts).unwrap();
    (0..ROWS_MAX + 5).for_each(|number| many.add(1, Some(&format!("{number}").into()), &tally));
    desk.writer.take(many);
    desk.writer.look();
    let figures = desk.writer.meter.figures();
    assert_eq!((figures.lost.shares, figures.pending), (10, ROWS_MAX as u64));
    assert_eq!(desk.failures(), [("open", 1)]);
    assert_eq!(
        desk.writer.trouble.as_ref().map(|trouble| trouble.lost.shares),
        Some(0),
        "before it was known"
    );
}

#[test]
fn pauses_grow_and_one_kind_of_trouble_is_told_once() {
    let mut desk = desk();
    fs::create_dir(&desk.path).unwrap();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        desk.writer.look();
        pauses.push(desk.writer.trouble.as_ref().unwrap().pause.as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    fs::remove_dir(&desk.path).unwrap();
    desk.writer.take(share(1));
    desk.writer.look();
    assert_eq!((written(&desk.path), desk.writer.trouble.is_none()), (1, true));
}

#[test]
fn a_broken_file_is_put_aside_and_what_waits_goes_into_a_new_one() {
    let mut desk = desk();
    fs::write(
        &desk.path,
        "no database at all, and longer than a header of one, which has a hundred bytes, or so one says: 16",
    )
    .unwrap();
    desk.writer.take(share(1));
    desk.writer.look();
    assert_eq!(desk.failures(), [("corrupt", 1)]);
    assert!(desk.writer.due <= Instant::now(), "the new one is begun at once");
    desk.writer.look();
    assert_eq!(written(&desk.path), 1);
    let aside = fs::read_dir(desk.path.parent().unwrap()).unwrap().flatten();
    assert_eq!(aside.filter(|entry| entry.file_name().to_string_lossy().contains(".broken-")).count(), 1);
}

#[test]
fn a_file_that_breaks_while_it_is_open_is_put_aside_too() {
    let mut desk = desk();
    (0..2_000).for_each(|number| desk.writer.take(share(number)));
    desk.writer.look();
    let store = desk.writer.store.take().unwrap();
    drop(store);
    desk.writer.look();
    let bytes = fs::metadata(&desk.path).unwrap().len();
    assert!(bytes > 3 * 4_096, "{bytes}");
    // The head is whole, all that follows is not.
    let mut broken = fs::read(&desk.path).unwrap();
    broken[4_096..].fill(0xee);
    fs::write(&desk.path, broken).unwrap();
    desk.writer.store = None;
    desk.writer.take(share(1));
    for _ in 0..3 {
        desk.writer.look();
    }
    assert_eq!((desk.failures(), written(&desk.path)), (vec![("corrupt", 1)], 1));
}

#[test]
fn a_database_of_others_is_left_as_it_is() {
    let mut desk = desk();
    let other = Connection::open(&desk.path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (7)").unwrap();
    let before = fs::read(&desk.path).unwrap();
    desk.writer.take(share(1));
    desk.writer.look();
    assert_eq!(desk.failures(), [("foreign", 1)]);
    assert_eq!((fs::read(&desk.path).unwrap() == before, desk.writer.pending.rows()), (true, 1));
}

#[test]
fn a_file_that_was_taken_away_is_made_anew() {
    let mut desk = desk();
    desk.writer.take(share(1));
    desk.writer.look();
    fs::remove_file(&desk.path).unwrap();
    desk.writer.take(share(2));
    desk.writer.look();
    assert_eq!((written(&desk.path), desk.failures()), (1, vec![]));
}

#[test]
fn a_large_farm_is_written_less_often() {
    let mut desk = desk();
    let pause = |desk: &mut Desk, rows: usize| {
        (0..rows).for_each(|number| desk.writer.take(share(number)));
        desk.writer.look();
        desk.writer.due.saturating_duration_since(Instant::now()).as_secs()
    };
    assert!((4..=5).contains(&pause(&mut desk, 10)));
    assert!((9..=10).contains(&pause(&mut desk, 10 * ROWS_PER_SECOND)));
}
