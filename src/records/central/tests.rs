//! Between the file and the database, without one: what is still to be sent, and what is read of it, as the writer leaves it.

use super::local::{Local, START, Unsent};
use crate::records::pending::{EventRow, Pending, Tally};
use crate::records::store::{Kept, Sent, Store};
use loka_proto::{Reject, RejectClass, ShareFate, WorkerCounts};
use std::path::PathBuf;

struct Desk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Store,
    local: Local,
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    assert!(Local::open(&path).unwrap().is_none(), "nobody has made it yet");
    std::fs::write(&path, "").unwrap();
    assert!(Local::open(&path).unwrap().is_none(), "nobody has written into it yet");
    let store = Store::open(&path).unwrap();
    let local = Local::open(&path).unwrap().unwrap();
    Desk { _folder: folder, path, store, local }
}

fn tally(accepted: u32, stale: u32) -> Tally {
    let mut counts = WorkerCounts { accepted, accepted_difficulty: 512.0, ..WorkerCounts::default() };
    counts.rejected[RejectClass::Stale.index()] = stale;
    Tally::of(&counts).unwrap()
}

fn event(at_ms: i64) -> EventRow {
    let fate = ShareFate::Refused(Reject::DuplicateShare);
    EventRow { at_ms, worker: Some("rig.1".into()), pool: None, fate, difficulty: 0.0, waited_us: 0 }
}

impl Desk {
    fn write(&mut self, minute: i64, workers: usize) {
        let mut pending = Pending::default();
        for number in 0..workers {
            pending.add(minute, Some(&format!("rig.{number}").into()), &tally(1, 1));
        }
        self.store.write(&pending).unwrap();
    }

    fn unsent(&self) -> Vec<Unsent> {
        let (mut after, mut found) = (i64::MIN, Vec::new());
        while let Some(unsent) = self.local.next(after, i64::MAX).unwrap() {
            after = unsent.minute;
            found.push(unsent);
        }
        found
    }

    fn minutes(&self) -> Vec<i64> {
        self.unsent().iter().map(|unsent| unsent.minute).collect()
    }

    fn sent(&self, unsent: Unsent) -> Sent {
        Sent { origin: self.local.origin.clone(), minute: unsent.minute, change: unsent.change }
    }
}

#[test]
fn a_minute_is_sent_until_it_is_there_as_it_is() {
    let mut desk = desk();
    desk.write(7, 1);
    desk.write(8, 1);
    let before = desk.unsent();
    assert_eq!(desk.minutes(), [7, 8]);
    // A late share, after the minute was read and before the file knows that it was sent.
    desk.write(7, 1);
    let sent: Vec<Sent> = before.iter().map(|unsent| desk.sent(*unsent)).collect();
    desk.store.mark_sent(&sent).unwrap();
    assert_eq!(desk.minutes(), [7]);
    let again = desk.sent(desk.unsent()[0]);
    desk.store.mark_sent(std::slice::from_ref(&again)).unwrap();
    assert!(desk.minutes().is_empty());
    // The number of a change is never used twice: what was said of an earlier one says nothing of this one.
    desk.write(7, 1);
    desk.store.mark_sent(&[again, sent[0].clone()]).unwrap();
    assert_eq!(desk.minutes(), [7]);
    let of_another_file = Sent { origin: "another".into(), ..desk.sent(desk.unsent()[0]) };
    desk.store.mark_sent(&[of_another_file]).unwrap();
    assert_eq!(desk.minutes(), [7]);
    assert_eq!(desk.local.waiting(7, &Default::default()).unwrap(), (0, None));
    let handed = desk.unsent().iter().map(|unsent| (unsent.minute, unsent.change)).collect();
    assert_eq!(desk.local.waiting(8, &handed).unwrap(), (0, None));
    assert_eq!(desk.local.waiting(8, &Default::default()).unwrap(), (1, Some(7)));
}

#[test]
fn an_event_of_an_earlier_minute_makes_that_one_be_sent() {
    let mut desk = desk();
    let mut pending = Pending::default();
    pending.event(event(7 * 60_000 + 59_999));
    pending.event(event(8 * 60_000));
    desk.store.write(&pending).unwrap();
    assert_eq!(desk.minutes(), [7, 8]);
    let (events, _) = desk.local.events(7, START, 10).unwrap();
    assert_eq!((events.len(), events[0].at, events[0].reason.as_str()), (1, (479_999, 0), "duplicate_share"));
}

#[test]
fn rows_are_read_in_parts_and_none_is_left_out_or_read_twice() {
    let mut desk = desk();
    desk.write(7, 25);
    let mut pending = Pending::default();
    pending.add(7, None, &tally(3, 0));
    (0..5).for_each(|_| pending.event(event(7 * 60_000)));
    desk.store.write(&pending).unwrap();
    let (mut after, mut names, mut accepted) = (START, Vec::new(), 0);
    loop {
        let (rows, last) = desk.local.minutes(7, after, 10).unwrap();
        accepted += rows.iter().map(|row| row.shares[0]).sum::<i64>();
        names.extend(rows.iter().map(|row| row.worker.clone()));
        after = last;
        if rows.len() < 10 {
            break;
        }
    }
    names.sort();
    names.dedup();
    assert_eq!((names.len(), accepted), (26, 28));
    assert!(names.contains(&"\u{7f}unnamed".to_owned()), "those without a name are one row of their own");
    let (first, after) = desk.local.reasons(7, START, 20).unwrap();
    let (rest, _) = desk.local.reasons(7, after, 20).unwrap();
    assert_eq!(
        (first.len(), rest.len(), rest[0].side.as_str(), rest[0].reason.as_str()),
        (20, 5, "pool", "stale")
    );
    let (first, after) = desk.local.events(7, START, 3).unwrap();
    let (rest, _) = desk.local.events(7, after, 3).unwrap();
    assert_eq!([first.len(), rest.len()], [3, 2]);
    assert_eq!(rest[1].at, (420_000, 4));
}

#[test]
fn what_is_forgotten_before_it_was_sent_is_counted() {
    let mut desk = desk();
    desk.write(7, 3);
    desk.write(8, 4);
    let mut pending = Pending::default();
    (0..2).for_each(|_| pending.event(event(8 * 60_000)));
    desk.store.write(&pending).unwrap();
    let sent = desk.sent(desk.unsent()[0]);
    desk.store.mark_sent(&[sent]).unwrap();
    let forgotten = desk.store.prune(Kept { since_minute: 9, bytes_max: None }).unwrap();
    assert_eq!(forgotten.unsent, 6, "4 rows and 2 events of minute 8; minute 7 was sent");
    assert!(desk.minutes().is_empty());
    assert_eq!(desk.store.prune(Kept { since_minute: 9, bytes_max: None }).unwrap().unsent, 0);
}

#[test]
fn a_file_that_takes_the_place_of_another_is_another() {
    let mut desk = desk();
    desk.write(7, 1);
    assert!(desk.local.is_at(&desk.path));
    std::fs::rename(&desk.path, desk.path.with_extension("old")).unwrap();
    assert!(!desk.local.is_at(&desk.path));
    Store::open(&desk.path).unwrap();
    assert!(!desk.local.is_at(&desk.path));
    let new = Local::open(&desk.path).unwrap().unwrap();
    assert_ne!(new.origin, desk.local.origin);
}
