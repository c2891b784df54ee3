//! Sums since the start. Merging is all that happens here; nothing is derived.

use super::finds::Finds;
use loka_proto::stats::REDIRECTS_MAX;
use loka_proto::{Redirect, Stats};
use loka_runtime::{Report, Shell};
use std::collections::VecDeque;
use std::time::Instant;

/// Everything counted since the start.
#[derive(Debug)]
pub struct Totals {
    /// What the sessions of all shards counted.
    pub stats: Stats,
    /// What each shard counted, by its number.
    pub shards: Vec<ShardTotals>,
    /// The last requests of pools to go elsewhere, each with its number.
    pub redirects: VecDeque<(u64, Redirect)>,
    redirects_counted: u64,
    /// The newest blocks that miners found.
    pub finds: Finds,
    /// Whether the newest outcome of opening a pool connection was a failure. A report that holds both counts as a
    /// success: the pool can be reached.
    pub last_dial_failed: bool,
}

/// What one shard counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShardTotals {
    /// Its shell: counters are sums, gauges are as last reported.
    pub shell: Shell,
    /// Shares it sent on to the pool.
    pub shares_forwarded: u64,
    /// Shares of its miners that the pool accepted.
    pub shares_accepted: u64,
    /// When its last report was collected; `None` before the first.
    pub reported: Option<Instant>,
}

impl Totals {
    /// Nothing yet, for so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            stats: Stats::default(),
            redirects: VecDeque::new(),
            redirects_counted: 0,
            finds: Finds::default(),
            shards: vec![ShardTotals::default(); shards],
            last_dial_failed: false,
        }
    }

    /// Adds a report that was collected at `now`.
    pub fn add(&mut self, report: &Report, now: Instant) {
        self.stats.merge(&report.stats);
        for redirect in self.stats.redirects.drain(..) {
            self.redirects.push_back((self.redirects_counted, redirect));
            self.redirects_counted += 1;
            // Every miner of a pool is asked the same: the newest few are enough.
            if self.redirects.len() > REDIRECTS_MAX {
                self.redirects.pop_front();
            }
        }
        for found in self.stats.candidates.drain(..) {
            self.finds.add(&found, now);
        }
        if !report.stats.connect_us.is_empty() {
            self.last_dial_failed = false;
        } else if report.shell.dial_failures > 0 {
            self.last_dial_failed = true;
        }
        debug_assert!(report.shard < self.shards.len(), "ends are in the order of the shards");
        if let Some(shard) = self.shards.get_mut(report.shard) {
            shard.shell = sum(&shard.shell, &report.shell);
            shard.shares_forwarded += report.stats.counts.shares.forwarded;
            shard.shares_accepted += report.stats.counts.shares.accepted;
            shard.reported = Some(now);
        }
    }

    /// A counter of the shells, over all shards.
    pub fn shell(&self, counter: impl Fn(&Shell) -> u64) -> u64 {
        self.shards.iter().map(|shard| counter(&shard.shell)).sum()
    }
}

/// Names every field, so that a new one cannot be forgotten here.
fn sum(before: &Shell, new: &Shell) -> Shell {
    let Shell {
        accepted,
        accept_errors,
        handed_over,
        taken_over,
        not_taken_over,
        dials,
        dial_failures,
        pauses,
        excesses,
        turns,
        busy_us,
        span_us,
        connections,
        pool_links,
        links_of_pool,
        waiting,
        warm,
        visitors,
        workers,
        workers_untold,
        queued_bytes,
    } = *new;
    Shell {
        accepted: before.accepted + accepted,
        accept_errors: before.accept_errors + accept_errors,
        handed_over: before.handed_over + handed_over,
        taken_over: before.taken_over + taken_over,
        not_taken_over: before.not_taken_over + not_taken_over,
        dials: before.dials + dials,
        dial_failures: before.dial_failures + dial_failures,
        pauses: before.pauses + pauses,
        excesses: std::array::from_fn(|index| before.excesses[index] + excesses[index]),
        turns: before.turns + turns,
        busy_us: before.busy_us + busy_us,
        span_us: before.span_us + span_us,
        connections,
        pool_links,
        links_of_pool,
        waiting,
        warm,
        visitors,
        workers,
        workers_untold: before.workers_untold + workers_untold,
        queued_bytes,
    }
}
