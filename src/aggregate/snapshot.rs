//! One moment of the whole proxy, immutable: what every page, metric and check is made from.

use super::{Blocks, Facts, MemoryFigures, ProcessFigures, Totals, WorkerBook};
use crate::alerts::AlertFigures;
use crate::pools::PoolView;
use crate::records::RecordsFigures;
use crate::refusals::ApiRefusal;
use crate::reload::ReloadFigures;
use loka_proto::{Direction, End, Fault, PoolState, PoolStats, Redirect, Reject, Stats};
use loka_runtime::Shell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A shard that has not reported for this long is stalled. It reports every 500 ms.
const SHARD_SILENT: Duration = Duration::from_secs(5);
/// A snapshot this old tells that the aggregator hangs. It publishes every 250 ms at the latest.
const SNAPSHOT_OLD: Duration = Duration::from_secs(5);

/// One moment of the whole proxy.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Version of this program.
    pub version: &'static str,
    /// When the process began.
    pub started: SystemTime,
    /// How long ago that was.
    pub uptime: Duration,
    /// When this snapshot was taken.
    pub taken: Instant,
    /// Whether the proxy is about to end.
    pub draining: bool,
    /// What the sessions of all shards counted since the start.
    pub stats: Stats,
    /// Each shard, by its number.
    pub shards: Vec<ShardFigures>,
    /// What happened lately.
    pub rates: Rates,
    /// What the process uses; read once an interval.
    pub process: ProcessFigures,
    /// Each pool by its number, those that are not configured any more among them; see [`Snapshot::pools_shown`].
    pub pools: Arc<[PoolView]>,
    /// Addresses that are kept out.
    pub blocks: Blocks,
    /// What memory the process uses, of what it may.
    pub memory: MemoryFigures,
    /// Workers known by name.
    pub workers: u64,
    /// The last requests of pools to go elsewhere, each with its number.
    pub redirects: Vec<(u64, Redirect)>,
    /// Whether the newest outcome of opening a pool connection was a failure.
    pub last_dial_failed: bool,
    /// Requests to the API that were refused since the start, in the order of [`ApiRefusal::ALL`].
    pub refusals: [u64; ApiRefusal::COUNT],
    /// Reloads of the configuration since the start.
    pub reloads: ReloadFigures,
    /// What became of alerts since the start.
    pub alerts: AlertFigures,
    /// How it goes with the share records.
    pub records: RecordsFigures,
    /// Log lines lost since the start.
    pub log_lines_dropped: u64,
}

/// A pool of the configuration, with its figures.
#[derive(Debug, Clone)]
pub struct PoolShown<'a> {
    /// What is known of it.
    pub view: &'a PoolView,
    /// What was counted of it since the start.
    pub stats: PoolStats,
    /// Connections to it that are open now.
    pub links: u64,
}

/// One shard.
#[derive(Debug, Clone, Copy)]
pub struct ShardFigures {
    /// Its number.
    pub shard: usize,
    /// The CPU it is pinned to, if known.
    pub cpu: Option<usize>,
    /// Its shell: counters since the start, gauges as last reported.
    pub shell: Shell,
    /// Shares it sent on to the pool.
    pub shares_forwarded: u64,
    /// Shares of its miners that the pool accepted.
    pub shares_accepted: u64,
    /// Part of the last interval that it was busy, 0 to 1.
    pub busy_ratio: f64,
    /// How old its last report was when the snapshot was taken; `None` before the first.
    pub report_age: Option<Duration>,
}

impl ShardFigures {
    /// Whether it has not reported for too long.
    pub fn is_stalled(&self) -> bool {
        self.report_age.is_some_and(|age| age > SHARD_SILENT)
    }
}

/// Means over the last interval. All zero before the first interval has passed.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// Seconds that the figures cover.
    pub window_seconds: f64,
    /// Shares accepted by the pool, per second.
    pub accepted_shares: f64,
    /// Messages received from miners and pools, per second.
    pub messages: f64,
    /// Miners' connections accepted, per second.
    pub connects: f64,
    /// Percent of one CPU that the process used; two busy CPUs are 200.
    pub cpu_percent: f64,
    busy: Vec<f64>,
}

/// How pools are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolService {
    /// No miner needs it now.
    Idle,
    /// Connections are open.
    Up,
    /// The last attempts failed and no connection is open.
    Unreachable,
}

/// The counters that rates are made from, at one moment.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) at: Instant,
    accepted_shares: u64,
    messages: u64,
    connects: u64,
    cpu_seconds: f64,
    busy_us: Vec<u64>,
}

impl Mark {
    pub(super) fn new(at: Instant, totals: &Totals, process: &ProcessFigures) -> Self {
        Self {
            at,
            accepted_shares: totals.stats.counts.shares.accepted,
            messages: received(&totals.stats),
            connects: totals.shell(|shell| shell.accepted),
            cpu_seconds: process.cpu_seconds,
            busy_us: totals.shards.iter().map(|shard| shard.shell.busy_us).collect(),
        }
    }
}

impl Rates {
    pub(super) fn none(shards: usize) -> Self {
        Self { busy: vec![0.0; shards], ..Self::default() }
    }

    pub(super) fn between(before: &Mark, after: &Mark) -> Self {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return Self::none(after.busy_us.len());
        }
        let per_second = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let busy = before.busy_us.iter().zip(&after.busy_us);
        Self {
            window_seconds: seconds,
            accepted_shares: per_second(before.accepted_shares, after.accepted_shares),
            messages: per_second(before.messages, after.messages),
            connects: per_second(before.connects, after.connects),
            cpu_percent: (after.cpu_seconds - before.cpu_seconds).max(0.0) / seconds * 100.0,
            // Reports come a little earlier or later than the interval ends: more than all of it means all of it.
            busy: busy.map(|(before, after)| (per_second(*before, *after) / 1e6).min(1.0)).collect(),
        }
    }
}

impl Snapshot {
    pub(super) fn new(
        now: Instant,
        facts: &Facts,
        (totals, workers): (&Totals, &WorkerBook),
        rates: &Rates,
        process: ProcessFigures,
        draining: bool,
    ) -> Self {
        let shards = totals.shards.iter().enumerate().map(|(shard, counted)| ShardFigures {
            shard,
            cpu: facts.cpus.get(shard).copied(),
            shell: counted.shell,
            shares_forwarded: counted.shares_forwarded,
            shares_accepted: counted.shares_accepted,
            busy_ratio: rates.busy.get(shard).copied().unwrap_or(0.0),
            report_age: counted.reported.map(|reported| now.duration_since(reported)),
        });
        Self {
            version: facts.version,
            started: facts.started,
            // A clock that was set back counts as no time at all.
            uptime: facts.started.elapsed().unwrap_or_default(),
            taken: now,
            draining,
            stats: totals.stats.clone(),
            shards: shards.collect(),
            rates: rates.clone(),
            process,
            pools: Arc::clone(&facts.pools.borrow()),
            blocks: facts.blocks.borrow().clone(),
            memory: *facts.memory.borrow(),
            workers: workers.len() as u64,
            redirects: totals.redirects.iter().cloned().collect(),
            last_dial_failed: totals.last_dial_failed,
            reloads: facts.reloads.figures(),
            refusals: std::array::from_fn(|index| facts.refusals.count(ApiRefusal::ALL[index])),
            alerts: facts.alerts.now(),
            records: facts.records.figures(),
            log_lines_dropped: facts.dropped_lines.count(),
        }
    }

    /// Whether every shard has reported and the proxy is not about to end.
    pub fn is_ready(&self) -> bool {
        !self.draining && !self.is_starting()
    }

    /// Whether a shard has not reported yet.
    pub fn is_starting(&self) -> bool {
        self.shards.iter().any(|shard| shard.report_age.is_none())
    }

    /// Whether the aggregator is alive, by the age of its newest snapshot, which this must be.
    pub fn is_fresh(&self) -> bool {
        self.taken.elapsed() <= SNAPSHOT_OLD
    }

    /// A figure of the shells, over all shards.
    pub fn shell(&self, figure: impl Fn(&Shell) -> u64) -> u64 {
        self.shards.iter().map(|shard| figure(&shard.shell)).sum()
    }

    /// The pools of the configuration. What was counted before a reload gave a pool another number is counted with it.
    pub fn pools_shown(&self) -> impl Iterator<Item = PoolShown<'_>> {
        let nothing = PoolStats::default();
        self.pools.iter().filter(|pool| pool.is_configured).map(move |view| {
            let mut shown = PoolShown { view, stats: nothing.clone(), links: 0 };
            for (number, _) in self.pools.iter().enumerate().filter(|(_, other)| other.name == view.name) {
                if let Some(stats) = self.stats.pools.get(number) {
                    shown.stats.merge(stats);
                }
                shown.links += self.links_of_pool(number);
            }
            shown
        })
    }

    /// Connections to one pool that are open now, by its number.
    pub fn links_of_pool(&self, index: usize) -> u64 {
        self.shell(|shell| shell.links_of_pool.get(index).copied().unwrap_or(0))
    }

    /// Connections that ended by somebody's fault.
    pub fn connection_errors(&self) -> u64 {
        let ends = &self.stats.counts.ends;
        End::ALL.iter().filter(|end| end.is_fault()).map(|end| ends[end.index()]).sum()
    }

    /// Messages that do not keep to the protocol: those of miners that got an error, those of pools not passed on.
    pub fn protocol_errors(&self) -> u64 {
        let counts = &self.stats.counts;
        let miners = Reject::ALL.iter().filter(|reason| reason.fault() == Some(Fault::Protocol));
        miners.map(|reason| counts.rejects[reason.index()]).sum::<u64>() + counts.filtered.iter().sum::<u64>()
    }

    /// Messages received from miners and pools.
    pub fn messages_received(&self) -> u64 {
        received(&self.stats)
    }

    /// Messages sent to miners and pools.
    pub fn messages_sent(&self) -> u64 {
        messages(&self.stats, Direction::ToMiner) + messages(&self.stats, Direction::ToPool)
    }

    /// How pools are reached.
    pub fn pool_service(&self) -> PoolService {
        let has_failed = |pool: &PoolView| !pool.is_configured || pool.state == PoolState::Failed;
        if self.shell(|shell| shell.pool_links) > 0 {
            PoolService::Up
        } else if self.last_dial_failed || !self.pools.is_empty() && self.pools.iter().all(has_failed) {
            PoolService::Unreachable
        } else {
            PoolService::Idle
        }
    }
}

fn received(stats: &Stats) -> u64 {
    messages(stats, Direction::FromMiner) + messages(stats, Direction::FromPool)
}

fn messages(stats: &Stats, direction: Direction) -> u64 {
    stats.counts.messages[direction.index()].iter().sum()
}
