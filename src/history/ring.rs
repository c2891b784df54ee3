//! One ring of samples: what the counters grew by in a step becomes a row of means. Pure: snapshots and times come in.

use super::{Metric, Past, SHARDS_KEPT_MAX};
use crate::aggregate::Snapshot;
use hdrhistogram::Histogram;
use loka_proto::HASHES_OF_ONE;
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Places of a row before those of pools and shards.
const FIXED: [Metric; 7] = [
    Metric::Hashrate,
    Metric::Accepted,
    Metric::Rejected,
    Metric::Refused,
    Metric::Connections,
    Metric::ResponseP50,
    Metric::ResponseP99,
];

/// Counters at the end of a step.
#[derive(Debug)]
struct Mark {
    at: Instant,
    difficulty: f64,
    accepted: u64,
    rejected: u64,
    refused: u64,
    submit_us: Histogram<u64>,
    pools: Vec<f64>,
    busy_us: Vec<u64>,
}

impl Mark {
    fn new(now: &Snapshot) -> Mark {
        let shares = &now.stats.counts.shares;
        let of_pool = |index: usize| now.stats.pools.get(index).map_or(0.0, |pool| pool.accepted_difficulty);
        Mark {
            at: now.taken,
            difficulty: shares.accepted_difficulty,
            accepted: shares.accepted,
            rejected: shares.rejected.iter().sum(),
            refused: shares.refused,
            submit_us: now.stats.submit_us.clone(),
            pools: (0..now.pools.len()).map(of_pool).collect(),
            busy_us: now.shards.iter().take(SHARDS_KEPT_MAX).map(|shard| shard.shell.busy_us).collect(),
        }
    }

    /// Means from `before` to this.
    fn row(&self, before: &Mark, connections: u64) -> Box<[f32]> {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let rate = |before: u64, now: u64| (now.saturating_sub(before) as f64 / seconds) as f32;
        let hashrate = |before: f64, now: f64| ((now - before).max(0.0) * HASHES_OF_ONE / seconds) as f32;
        let mut answers = self.submit_us.clone();
        // It only grows, so that nothing can be left over.
        let is_known = answers.subtract(&before.submit_us).is_ok() && !answers.is_empty();
        let percentile =
            |quantile| if is_known { answers.value_at_quantile(quantile) as f32 / 1_000.0 } else { f32::NAN };
        let mut row = vec![
            hashrate(before.difficulty, self.difficulty),
            rate(before.accepted, self.accepted),
            rate(before.rejected, self.rejected),
            rate(before.refused, self.refused),
            connections as f32,
            percentile(0.5),
            percentile(0.99),
        ];
        row.extend(before.pools.iter().zip(&self.pools).map(|(before, now)| hashrate(*before, *now)));
        let busy = |(before, now): (&u64, &u64)| (rate(*before, *now) / 1e6).min(1.0);
        row.extend(before.busy_us.iter().zip(&self.busy_us).map(busy));
        row.into()
    }
}

/// Rows, the newest last.
#[derive(Debug)]
pub(super) struct Ring {
    step: Duration,
    rows_max: usize,
    rows: VecDeque<(u64, Box<[f32]>)>,
    before: Option<Mark>,
    pools: Vec<String>,
    shards: usize,
}

impl Ring {
    pub(super) fn new(step: Duration, rows_max: usize) -> Ring {
        Ring { step, rows_max, rows: VecDeque::new(), before: None, pools: Vec::new(), shards: 0 }
    }

    /// How far back it goes.
    pub(super) fn reach(&self) -> Duration {
        self.step.saturating_mul(u32::try_from(self.rows_max).unwrap_or(u32::MAX))
    }

    pub(super) fn bytes(&self) -> usize {
        let row = |(_, row): &(u64, Box<[f32]>)| size_of_val(&**row);
        self.rows.capacity() * size_of::<(u64, Box<[f32]>)>() + self.rows.iter().map(row).sum::<usize>()
    }

    pub(super) fn see(&mut self, now: &Snapshot, at: SystemTime) {
        self.follow(now);
        let Some(before) = &self.before else {
            self.before = Some(Mark::new(now));
            return;
        };
        if now.taken.saturating_duration_since(before.at) < self.step {
            return;
        }
        let mark = Mark::new(now);
        let row = mark.row(before, now.shell(|shell| shell.connections));
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // A clock that was set back: what was before would stand after what is now.
        if self.rows.back().is_some_and(|(last, _)| *last >= at_ms) {
            self.rows.clear();
        }
        if self.rows.len() >= self.rows_max {
            self.rows.pop_front();
        }
        self.rows.push_back((at_ms, row));
        self.before = Some(mark);
    }

    /// Where pools or shards are others than before, the old ones' figures are forgotten: no place means two things.
    fn follow(&mut self, now: &Snapshot) {
        let shards = now.shards.len().min(SHARDS_KEPT_MAX);
        let is_same = self.shards == shards && self.pools.iter().eq(now.pools.iter().map(|pool| &pool.name));
        if is_same {
            return;
        }
        for (_, row) in &mut self.rows {
            *row = row[..FIXED.len().min(row.len())].into();
        }
        self.before = None;
        self.pools = now.pools.iter().map(|pool| pool.name.clone()).collect();
        self.shards = shards;
    }

    /// The places of a metric in a row, with the names of their lines.
    fn places(&self, metric: Metric) -> Vec<(String, usize)> {
        let name = metric.label();
        let pools_end = FIXED.len() + self.pools.len();
        match metric {
            Metric::PoolHashrate => {
                let named = self.pools.iter().map(|pool| format!("{name}/{pool}"));
                named.zip(FIXED.len()..).collect()
            }
            Metric::ShardBusy => {
                (0..self.shards).map(|shard| format!("{name}/{shard}")).zip(pools_end..).collect()
            }
            Metric::Hashrate
            | Metric::Accepted
            | Metric::Rejected
            | Metric::Refused
            | Metric::Connections
            | Metric::ResponseP50
            | Metric::ResponseP99 => {
                let place = FIXED.iter().position(|fixed| *fixed == metric);
                place.map(|place| (name.to_owned(), place)).into_iter().collect()
            }
        }
    }

    pub(super) fn past(&self, range: Duration, wanted: &[Metric]) -> Past {
        let range_ms = u64::try_from(range.as_millis()).unwrap_or(u64::MAX);
        let newest = self.rows.back().map_or(0, |(at, _)| *at);
        let is_wanted = |at: u64| newest.saturating_sub(at) < range_ms;
        let rows: Vec<&(u64, Box<[f32]>)> = self.rows.iter().filter(|(at, _)| is_wanted(*at)).collect();
        let line = |(name, place): (String, usize)| {
            let values = rows.iter().map(|(_, row)| row.get(place).copied().unwrap_or(f32::NAN));
            (name, values.collect())
        };
        Past {
            step: self.step,
            unix_milliseconds: rows.iter().map(|(at, _)| *at).collect(),
            series: wanted.iter().flat_map(|metric| self.places(*metric)).map(line).collect(),
        }
    }
}
