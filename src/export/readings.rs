//! How families with many series read their figures of a snapshot. It knows no name of a metric.

use super::series::Series;
use crate::aggregate::{ShardFigures, Snapshot};
use loka_proto::{Direction, End, Fault, Filtered, Method, PoolStats, Reject};
use loka_runtime::{AllocatorFigures, Excess};

/// The only series of a family that is there with memory profiling only.
pub(super) fn allocator(now: &Snapshot, out: &mut Series, figure: impl Fn(&AllocatorFigures) -> u64) {
    if let Some(figures) = &now.process.allocator {
        out.count(figure(figures));
    }
}

pub(super) fn messages(now: &Snapshot, out: &mut Series, sides: &[(&str, Direction)]) {
    for (side, direction) in sides {
        let counts = &now.stats.counts.messages[direction.index()];
        for method in Method::ALL {
            out.value(&[side, method.label()], counts[method.index()] as f64);
        }
    }
}

pub(super) fn bytes(now: &Snapshot, out: &mut Series, sides: &[(&str, Direction)]) {
    for (side, direction) in sides {
        out.value(&[side], now.stats.counts.bytes[direction.index()] as f64);
    }
}

pub(super) fn protocol_errors(now: &Snapshot, out: &mut Series) {
    let counts = &now.stats.counts;
    for why in Reject::ALL.iter().filter(|why| why.fault() == Some(Fault::Protocol)) {
        out.value(&["miner", why.label()], counts.rejects[why.index()] as f64);
    }
    for why in Filtered::ALL {
        out.value(&["pool", why.label()], counts.filtered[why.index()] as f64);
    }
}

pub(super) fn rate_limit_hits(now: &Snapshot, out: &mut Series) {
    let rejects = &now.stats.counts.rejects;
    for (kind, reject) in [
        ("requests", Reject::RateLimited),
        ("submits", Reject::SubmitRate),
        ("authorizations", Reject::AuthorizeRate),
    ] {
        out.value(&[kind], rejects[reject.index()] as f64);
    }
    out.value(&["connects"], now.stats.counts.ends[End::ConnectRate.index()] as f64);
    for excess in Excess::ALL {
        out.value(&[excess.label()], now.shell(|shell| shell.excesses[excess.index()]) as f64);
    }
}

pub(super) fn pools(now: &Snapshot, out: &mut Series, figure: impl Fn(&PoolStats) -> u64) {
    for pool in now.pools_shown() {
        out.value(&[&pool.view.name], figure(&pool.stats) as f64);
    }
}

pub(super) fn shards(now: &Snapshot, out: &mut Series, figure: impl Fn(&ShardFigures) -> f64) {
    for shard in &now.shards {
        out.value(&[&shard.shard.to_string()], figure(shard));
    }
}
