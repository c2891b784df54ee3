//! Workers that worked and do not any more: how many, and the names of those that stopped last.
//!
//! One pass over all records, which copies [`SILENT_NAMED`] names at most. Workers that never had a share accepted are left
//! out: anybody can invent such a name.

use super::WorkerBook;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names that an answer holds.
pub const SILENT_NAMED: usize = 20;

/// Which workers are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentQuery {
    /// Those that had no share accepted for so long.
    pub silent_for: Duration,
    /// Those that had none for so long were taken away, and count nowhere.
    pub forget: Duration,
}

/// One that is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentWorker {
    /// Its name.
    pub name: Arc<str>,
    /// How long ago a share of it was accepted last.
    pub silence: Duration,
}

/// Those that are silent at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SilentWorkers {
    /// How many.
    pub count: usize,
    /// How many have worked lately, these included.
    pub worked: usize,
    /// Those that stopped last, the latest first; at most [`SILENT_NAMED`].
    pub latest: Vec<SilentWorker>,
}

impl WorkerBook {
    /// Those that are silent now.
    pub fn silent(&self, query: &SilentQuery, now: Instant) -> SilentWorkers {
        let now_ms = self.ms(now);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (silent_ms, forget_ms) = (ms(query.silent_for), ms(query.forget));
        let (mut count, mut worked) = (0, 0);
        let mut latest: BinaryHeap<(u64, usize)> = BinaryHeap::with_capacity(SILENT_NAMED + 1);
        for (place, record) in self.records.iter().enumerate() {
            let Some(accepted_ms) = record.accepted_ms else { continue };
            let silence_ms = now_ms.saturating_sub(accepted_ms);
            if silence_ms >= forget_ms {
                continue;
            }
            worked += 1;
            if silence_ms < silent_ms {
                continue;
            }
            count += 1;
            // The heap's top has been silent longest of those that are named.
            let is_named = latest.len() < SILENT_NAMED || latest.peek().is_some_and(|top| silence_ms < top.0);
            if is_named {
                latest.push((silence_ms, place));
                if latest.len() > SILENT_NAMED {
                    latest.pop();
                }
            }
        }
        let named = latest.into_sorted_vec().into_iter().filter_map(|(silence_ms, place)| {
            let name = self.records[place].name.clone()?;
            Some(SilentWorker { name, silence: Duration::from_millis(silence_ms) })
        });
        SilentWorkers { count, worked, latest: named.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::tests::worker;

    const QUERY: SilentQuery =
        SilentQuery { silent_for: Duration::from_secs(60), forget: Duration::from_secs(3_600) };

    #[test]
    fn those_that_worked_and_stopped_are_counted_and_the_latest_named() {
        let begin = Instant::now();
        let mut book = WorkerBook::new(begin);
        let at = |second: u64| begin + Duration::from_secs(second);
        for number in 0..100 {
            book.add(&[worker(&format!("farm.{number:03}"))], at(number));
        }
        // It was authorized and never had a share accepted.
        let mut never = worker("farm.never");
        (never.counts.accepted, never.accepted_ago_us) = (0, None);
        book.add(&[never], at(0));
        assert_eq!(book.silent(&QUERY, at(59)).count, 0);
        assert_eq!(book.silent(&QUERY, at(60)).count, 1, "just as long as said");
        let silent = book.silent(&QUERY, at(150));
        assert_eq!((silent.count, silent.worked, silent.latest.len()), (91, 100, SILENT_NAMED));
        assert_eq!(
            (&*silent.latest[0].name, silent.latest[0].silence),
            ("farm.090", Duration::from_secs(60))
        );
        assert_eq!(&*silent.latest[SILENT_NAMED - 1].name, "farm.071");
        // One works again, and the first ones are forgotten.
        book.add(&[worker("farm.090")], at(150));
        assert_eq!(&*book.silent(&QUERY, at(150)).latest[0].name, "farm.089");
        let later = book.silent(&QUERY, at(3_650));
        assert_eq!((later.count, later.worked), (49, 49));
        assert_eq!(book.silent(&QUERY, at(9_999)), SilentWorkers::default());
    }
}
