//! `/metrics` as JSON: the keys that dashboards of the first version read, and more beside them.

use super::health::pool_label;
use crate::aggregate::{ShardFigures, Snapshot};
use hdrhistogram::Histogram;
use loka_proto::{BlockAnswer, End, Reject, RejectClass};
use loka_runtime::AllocatorFigures;
use serde::Serialize;
use std::collections::BTreeMap;

/// Counts by reason; only those that occurred.
type ByReason = BTreeMap<&'static str, u64>;

/// The body of `/metrics` in JSON. Counts are since the start.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Version of this program.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Whether every shard has reported and the proxy is not draining.
    pub ready: bool,
    /// Miners' connections.
    pub connections: Connections,
    /// Messages in both directions.
    pub messages: Messages,
    /// Times and resources.
    pub performance: Performance,
    /// What became of shares.
    pub shares: ShareFigures,
    /// Answers to `mining.authorize`.
    pub authorizations: Authorizations,
    /// The pool.
    pub pool: Pool,
    /// Means over the last interval.
    pub rates: RateFigures,
    /// Each shard.
    pub shards: Vec<Shard>,
    /// What the process uses.
    pub process: Process,
}

/// Miners' connections.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// Accepted.
    pub total: u64,
    /// Open now.
    pub active: u64,
    /// Ended by somebody's fault.
    pub errors: u64,
    /// Ended, by reason.
    pub ended: ByReason,
}

/// Messages in both directions.
#[derive(Debug, Clone, Serialize)]
pub struct Messages {
    /// From miners and pools.
    pub received: u64,
    /// To miners and pools.
    pub sent: u64,
    /// Those that do not keep to the protocol.
    pub protocol_errors: u64,
    /// Those of miners that the proxy refused, shares among them, by reason.
    pub refused_by_reason: ByReason,
}

/// Times and resources.
#[derive(Debug, Clone, Serialize)]
pub struct Performance {
    /// Mean milliseconds from a share to the pool's answer; 0 before the first.
    pub avg_response_time: f64,
    /// Percent of one CPU over the last interval.
    pub cpu_usage: f64,
    /// Bytes of memory in use.
    pub memory_usage: u64,
    /// Milliseconds from a share to the pool's answer.
    pub response_time_ms: Percentiles,
    /// Milliseconds to open a connection to the pool.
    pub pool_connect_time_ms: Percentiles,
    /// What the allocator holds; only with memory profiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocator: Option<AllocatorUse>,
}

/// Memory as the allocator sees it.
#[derive(Debug, Clone, Serialize)]
pub struct AllocatorUse {
    /// Bytes that it has of the kernel.
    pub committed_bytes: u64,
    /// The most that it has had.
    pub peak_committed_bytes: u64,
    /// The most bytes of memory in use.
    pub peak_resident_bytes: u64,
    /// Pages read from a disk.
    pub major_page_faults: u64,
}

impl From<AllocatorFigures> for AllocatorUse {
    fn from(figures: AllocatorFigures) -> Self {
        Self {
            committed_bytes: figures.committed_bytes,
            peak_committed_bytes: figures.committed_bytes_max,
            peak_resident_bytes: figures.resident_bytes_max,
            major_page_faults: figures.page_faults,
        }
    }
}

/// Where a distribution lies; all 0 when nothing was recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 % are below.
    pub p90: f64,
    /// 99 % are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// What became of shares.
#[derive(Debug, Clone, Serialize)]
pub struct ShareFigures {
    /// Sent to the pool.
    pub forwarded: u64,
    /// Accepted by the pool.
    pub accepted: u64,
    /// Rejected by the pool.
    pub rejected: u64,
    /// The same by reason.
    pub rejected_by_reason: ByReason,
    /// Never answered: the link ended or the answer took too long.
    pub unanswered: u64,
    /// In flight when their pool connection was lost, of miners that stayed and were told so.
    pub lost: u64,
    /// Refused by the proxy.
    pub refused: u64,
    /// Sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
    /// Answered by the pool, though easier than it asked for by their hash.
    pub below_difficulty: u64,
    /// Difficulty of the hardest accepted share by its hash; null where none was hashed.
    pub best_difficulty: Option<f64>,
    /// Shares that were blocks by the target of their job, by what the pool said.
    pub block_candidates: BTreeMap<&'static str, u64>,
}

/// Answers to `mining.authorize`.
#[derive(Debug, Clone, Serialize)]
pub struct Authorizations {
    /// The pool said `true`.
    pub accepted: u64,
    /// The pool said anything else.
    pub refused: u64,
}

/// The pool.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// `up`, `idle` or `unreachable`.
    pub state: &'static str,
    /// Connections open now.
    pub links: u64,
    /// Attempts to open one.
    pub dials: u64,
    /// Attempts that failed.
    pub dial_failures: u64,
}

/// Means over the last interval.
#[derive(Debug, Clone, Serialize)]
pub struct RateFigures {
    /// Seconds that the figures cover; 0 before the first interval has passed.
    pub window_seconds: f64,
    /// Shares accepted by the pool.
    pub accepted_shares_per_second: f64,
    /// Messages received.
    pub messages_per_second: f64,
    /// Connections accepted.
    pub connects_per_second: f64,
}

/// One shard.
#[derive(Debug, Clone, Serialize)]
pub struct Shard {
    /// Its number.
    pub shard: usize,
    /// The CPU it is pinned to, if known.
    pub cpu: Option<usize>,
    /// Miners connected now.
    pub connections: u64,
    /// Connections to the pool now.
    pub pool_links: u64,
    /// Bytes waiting.
    pub queued_bytes: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Shares sent to the pool.
    pub shares_forwarded: u64,
    /// Shares accepted by the pool.
    pub shares_accepted: u64,
    /// Part of the last interval spent working, 0 to 1.
    pub busy_ratio: f64,
    /// Age of its last report; null before the first.
    pub report_age_seconds: Option<f64>,
}

/// What the process uses.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// CPU seconds, user and system.
    pub cpu_seconds: f64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most file descriptors allowed.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// Log lines lost.
    pub log_lines_dropped: u64,
}

impl Figures {
    /// Reads them from a snapshot.
    pub fn of(now: &Snapshot) -> Self {
        let counts = &now.stats.counts;
        let response = Percentiles::of(&now.stats.submit_us);
        Self {
            version: now.version,
            uptime_seconds: now.uptime.as_secs(),
            ready: now.is_ready(),
            connections: Connections {
                total: now.shell(|shell| shell.accepted),
                active: now.shell(|shell| shell.connections),
                errors: now.connection_errors(),
                ended: occurred(End::ALL.iter().map(|end| (end.label(), counts.ends[end.index()]))),
            },
            messages: Messages {
                received: now.messages_received(),
                sent: now.messages_sent(),
                protocol_errors: now.protocol_errors(),
                refused_by_reason: occurred(
                    Reject::ALL.iter().map(|reason| (reason.label(), counts.rejects[reason.index()])),
                ),
            },
            performance: Performance {
                avg_response_time: response.mean,
                cpu_usage: now.rates.cpu_percent,
                memory_usage: now.process.resident_bytes,
                response_time_ms: response,
                pool_connect_time_ms: Percentiles::of(&now.stats.connect_us),
                allocator: now.process.allocator.map(AllocatorUse::from),
            },
            shares: ShareFigures::of(now),
            authorizations: Authorizations {
                accepted: counts.authorizations.accepted,
                refused: counts.authorizations.refused,
            },
            pool: Pool::of(now),
            rates: RateFigures {
                window_seconds: now.rates.window_seconds,
                accepted_shares_per_second: now.rates.accepted_shares,
                messages_per_second: now.rates.messages,
                connects_per_second: now.rates.connects,
            },
            shards: now.shards.iter().map(Shard::of).collect(),
            process: Process::of(now),
        }
    }
}

impl Pool {
    fn of(now: &Snapshot) -> Self {
        Self {
            state: pool_label(now.pool_service()),
            links: now.shell(|shell| shell.pool_links),
            dials: now.shell(|shell| shell.dials),
            dial_failures: now.shell(|shell| shell.dial_failures),
        }
    }
}

impl ShareFigures {
    fn of(now: &Snapshot) -> Self {
        let shares = &now.stats.counts.shares;
        let classes = RejectClass::ALL.iter().map(|class| (class.label(), shares.rejected[class.index()]));
        Self {
            forwarded: shares.forwarded,
            accepted: shares.accepted,
            rejected: shares.rejected.iter().sum(),
            rejected_by_reason: occurred(classes),
            unanswered: shares.unanswered,
            lost: shares.lost,
            refused: shares.refused,
            accepted_difficulty: shares.accepted_difficulty,
            below_difficulty: shares.below_difficulty,
            best_difficulty: (shares.best_difficulty > 0.0).then_some(shares.best_difficulty),
            block_candidates: BlockAnswer::ALL
                .iter()
                .map(|answer| (answer.label(), now.stats.counts.block_candidates[answer.index()]))
                .collect(),
        }
    }
}

impl Shard {
    fn of(shard: &ShardFigures) -> Self {
        Self {
            shard: shard.shard,
            cpu: shard.cpu,
            connections: shard.shell.connections,
            pool_links: shard.shell.pool_links,
            queued_bytes: shard.shell.queued_bytes,
            accepted: shard.shell.accepted,
            shares_forwarded: shard.shares_forwarded,
            shares_accepted: shard.shares_accepted,
            busy_ratio: shard.busy_ratio,
            report_age_seconds: shard.report_age.map(|age| age.as_secs_f64()),
        }
    }
}

impl Process {
    fn of(now: &Snapshot) -> Self {
        Self {
            cpu_seconds: now.process.cpu_seconds,
            virtual_bytes: now.process.virtual_bytes,
            open_fds: now.process.open_fds,
            max_fds: now.process.max_fds,
            threads: now.process.threads,
            log_lines_dropped: now.log_lines_dropped,
        }
    }
}

impl Percentiles {
    fn of(recorded: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        Self {
            count: recorded.len(),
            mean: recorded.mean() / 1e3,
            p50: ms(recorded.value_at_quantile(0.5)),
            p90: ms(recorded.value_at_quantile(0.9)),
            p99: ms(recorded.value_at_quantile(0.99)),
            max: ms(recorded.max()),
        }
    }
}

fn occurred(counts: impl Iterator<Item = (&'static str, u64)>) -> ByReason {
    counts.filter(|(_, count)| *count > 0).collect()
}
