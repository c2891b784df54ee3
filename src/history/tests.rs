//! A day of made-up figures.

use super::*;
use crate::aggregate::tests::{report, running, wait_for};
use std::time::{Instant, UNIX_EPOCH};

/// Figures that grow evenly: a share of difficulty 1 accepted a second, and every fourth rejected.
struct Farm {
    now: Snapshot,
    begin: Instant,
    history: History,
}

impl Farm {
    fn new() -> Farm {
        let (post, aggregator) = running(2);
        post.send(report(0));
        post.send(report(1));
        let now = Snapshot::clone(&wait_for(aggregator.snapshots(), Snapshot::is_ready));
        let begin = now.taken;
        Farm { now, begin, history: History::default() }
    }

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
    }

    fn second(&mut self, second: u64) {
        self.now.taken = self.begin + Duration::from_secs(second);
        let shares = &mut self.now.stats.counts.shares;
        shares.accepted += 1;
        shares.accepted_difficulty += 1.0;
        shares.rejected[0] += u64::from(second.is_multiple_of(4));
        self.now.stats.pools[0].accepted_difficulty += 1.0;
        self.now.stats.submit_us.record(20_000).unwrap();
        for shard in &mut self.now.shards {
            shard.shell.busy_us += 250_000;
        }
        self.history.see(&self.now, Farm::at(second));
    }
}

fn line<'a>(past: &'a Past, name: &str) -> &'a [f32] {
    let found = past.series.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no {name}: {:?}", past.series)).1
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

#[test]
fn samples_are_means_over_their_step() {
    let mut farm = Farm::new();
    (0..=3_000).for_each(|second| farm.second(second));
    let past = farm.history.past(Duration::from_secs(900), Metric::ALL);
    assert_eq!((past.step, past.unix_milliseconds.len()), (Duration::from_secs(2), 450));
    assert_eq!(*past.unix_milliseconds.last().unwrap(), 1_700_003_000_000);
    assert!(past.unix_milliseconds.is_sorted());
    for (name, expected) in [
        ("hashrate", 4_294_967_296.0),
        ("accepted", 1.0),
        ("rejected", 0.25),
        ("refused", 0.0),
        ("connections", 14.0),
        ("response_p50_ms", 20.0),
        ("response_p99_ms", 20.0),
        ("pool_hashrate/pool", 4_294_967_296.0),
        ("shard_busy/0", 0.25),
        ("shard_busy/1", 0.25),
    ] {
        let told = mean(line(&past, name));
        assert!((told - expected).abs() <= expected * 0.02, "{name}: {told}");
    }
    assert_eq!(past.series.len(), 10);
}

#[test]
fn a_day_is_kept_in_so_many_bytes_and_no_more() {
    let mut farm = Farm::new();
    (0..=90_000).for_each(|second| farm.second(second));
    let day = farm.history.past(RANGE_MAX, &[Metric::Accepted]);
    assert_eq!((day.step, day.unix_milliseconds.len()), (Duration::from_secs(30), 2_880));
    assert!((mean(line(&day, "accepted")) - 1.0).abs() < 0.01);
    let hour = farm.history.past(Duration::from_secs(3_600), &[Metric::Accepted]);
    assert_eq!(hour.unix_milliseconds.len(), 1_800);
    // One pool and two shards: ten places of four bytes, and less than 40 bytes beside them.
    let bytes = farm.history.bytes();
    assert!((4_680 * 40..4_680 * 80).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_not_known_is_no_number_and_other_pools_take_no_old_figures() {
    let mut farm = Farm::new();
    assert_eq!(farm.history.past(RANGE_MAX, Metric::ALL).unix_milliseconds, [0_u64; 0]);
    (0..=100).for_each(|second| farm.second(second));
    // Nobody answers for a while.
    for second in (102..=110).step_by(2) {
        farm.now.taken = farm.begin + Duration::from_secs(second);
        farm.history.see(&farm.now, Farm::at(second));
    }
    let past = farm.history.past(Duration::from_secs(20), &[Metric::ResponseP99, Metric::Accepted]);
    let waits = line(&past, "response_p99_ms");
    assert!(waits[0] > 19.0 && waits[waits.len() - 1].is_nan());
    assert_eq!(line(&past, "accepted").last(), Some(&0.0));
    let mut other = farm.now.pools[0].clone();
    other.name = "other".to_owned();
    farm.now.pools = Arc::from([other]);
    (111..=120).for_each(|second| farm.second(second));
    let past = farm.history.past(Duration::from_secs(60), &[Metric::PoolHashrate, Metric::Accepted]);
    let of_pool = line(&past, "pool_hashrate/other");
    assert!(of_pool[0].is_nan() && !of_pool[of_pool.len() - 1].is_nan(), "{of_pool:?}");
    assert!(!line(&past, "accepted")[0].is_nan());
    // A clock that is set back by an hour.
    farm.now.taken = farm.begin + Duration::from_secs(130);
    farm.history.see(&farm.now, Farm::at(0));
    let hour = farm.history.past(Duration::from_secs(3_600), &[Metric::Accepted]);
    assert_eq!(hour.unix_milliseconds, [1_700_000_000_000]);
}
