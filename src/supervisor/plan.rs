//! From the configuration to what a shard is told: intent flows this way only.

use crate::config::{Config, Host};
use crate::logging::TraceLog;
use loka_proto::middleware::RateLimit;
use loka_proto::{MessagePipeline, MessagePipelineBuilder, Policy, UserRule};
use loka_runtime::limits::CONNECTIONS_PER_SHARD_MAX;
use loka_runtime::preflight::Preflight;
use loka_runtime::{ShardPlan, address_of};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The middleware that the product ships.
pub type StandardPipeline = MessagePipeline<TraceLog>;

/// Authentication, security, and the rate limit where it is switched on; messages are logged at TRACE.
pub fn standard_pipeline(config: &Config) -> StandardPipeline {
    let limit = config.security.requests_per_minute().map(|limit| RateLimit::per_minute(limit.get()));
    MessagePipelineBuilder::standard().with_logging(TraceLog).with_rate_limit(limit).build()
}

/// What each of `shards` shards does.
pub(super) fn shard_plan(config: &Config, pool: &[SocketAddr], shards: usize, host: Preflight) -> ShardPlan {
    let wanted = config.server.max_connections.map_or(u64::MAX, |max| u64::from(max.get()));
    let of_shard = CONNECTIONS_PER_SHARD_MAX as u64;
    let possible = host.connections_max.min(of_shard * shards as u64);
    if wanted != u64::MAX && wanted > possible {
        tracing::warn!(
            wanted,
            possible,
            "server.max_connections is more than the open files and shards allow"
        );
    }
    // The kernel spreads miners by a hash, not evenly: each shard may hold somewhat more than its part of the limit.
    let even = wanted.min(possible).div_ceil(shards as u64);
    let slack = if shards > 1 { even / 8 } else { 0 };
    let connections = (even + slack).min(host.connections_max / shards as u64).min(wanted).min(of_shard);
    ShardPlan {
        pool_addresses: pool.to_vec(),
        policy: policy(config),
        connect_us: us(config.performance.connection_timeout),
        connections_max: usize::try_from(connections).unwrap_or(usize::MAX),
        spare_buffers: config.performance.buffer_pool_size,
        interns_jobs: config.performance.enable_string_interning,
        linger: config.performance.enable_lingering,
    }
}

fn policy(config: &Config) -> Policy {
    let pool = config.first_pool();
    Policy {
        user: UserRule::new(&pool.username, pool.password.reveal(), &pool.separator),
        extranonce: pool.extranonce,
        pool_host: match &pool.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        },
        pool_port: pool.port,
        handshake_us: us(config.server.handshake_timeout),
        idle_us: us(config.limiter.connections),
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The addresses that the first shard's sockets are bound to; the others have the same.
pub(super) fn addresses_of(sockets: &[Vec<OwnedFd>]) -> Vec<SocketAddr> {
    sockets.first().into_iter().flatten().filter_map(address_of).collect()
}
