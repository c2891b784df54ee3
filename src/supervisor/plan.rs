//! From the configuration to what a shard is told: intent flows this way only.

use crate::aggregate::Limits;
use crate::config::{Config, Host, PoolConfig, RateLimits, ServerConfig};
use crate::guard::GuardLimits;
use crate::logging::TraceLog;
use crate::pools::{Socks5, Target};
use loka_proto::middleware::RateLimit;
use loka_proto::{MessagePipeline, MessagePipelineBuilder, Policy, PoolPolicy, UserRule};
use loka_runtime::limits::CONNECTIONS_PER_SHARD_MAX;
use loka_runtime::preflight::Preflight;
use loka_runtime::{
    Guard, HttpGuests, HttpPlan, PoolNow, PoolPlan, PoolTls, Quotas, Rates, ShardPlan, SocksLogin,
    SocksRoute, SocksTarget, Speaks, address_of, http_door,
};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// The middleware that the product ships.
pub type StandardPipeline = MessagePipeline<TraceLog>;

/// Authentication, security, and the rate limit where it is switched on; messages are logged at TRACE.
pub fn standard_pipeline(config: &Config) -> StandardPipeline {
    MessagePipelineBuilder::standard().with_logging(TraceLog).with_rate_limit(rate_limit(config)).build()
}

/// What the messages of a connection are held to.
pub(super) fn rate_limit(config: &Config) -> Option<RateLimit> {
    let limits = &config.security.rate_limits;
    config.security.requests_per_minute().map(|messages| {
        RateLimit::per_minute(messages.get())
            .with_submits(limits.submits.map(NonZeroU32::get))
            .with_authorizations(limits.authorizations.map(NonZeroU32::get))
            .with_window(us(limits.window))
    })
}

/// What each of `shards` shards does.
pub(super) fn shard_plan(
    config: &Config,
    targets: &[Arc<Target>],
    pools: &[PoolNow],
    miner_tls: Option<Arc<rustls::ServerConfig>>,
    http: Option<HttpPlan>,
    shards: usize,
    host: Preflight,
) -> ShardPlan {
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
        pools: targets
            .iter()
            .zip(pools)
            .zip(&config.pools)
            .map(|((t, now), pool)| pool_plan(t, now, pool))
            .collect(),
        connects_per_second: config.failover.connects_per_second.map(|all| part_of(all, shards)),
        stable_us: us(config.failover.stable_for),
        warm_links: config.performance.connection_pool_size.div_ceil(shards),
        guard: guard(config),
        speaks: speaks(&config.server),
        miner_tls,
        proxies: config.server.proxy_protocol_from.clone(),
        http,
        policy: policy(config),
        connect_us: us(config.performance.connection_timeout),
        connections_max: usize::try_from(connections).unwrap_or(usize::MAX),
        spare_buffers: config.performance.buffer_pool_size,
        interns_jobs: config.performance.enable_string_interning,
        linger: config.performance.enable_lingering,
    }
}

/// Who may speak HTTP where miners connect, and where the admin thread meets them; neither where nobody may.
///
/// # Errors
/// No descriptor is left for the door between them.
pub(super) fn http(config: &Config) -> io::Result<(Option<HttpPlan>, Option<HttpGuests>)> {
    let from = config.metrics.miner_port_from.clone();
    if from.is_empty() {
        return Ok((None, None));
    }
    let (door, guests) = http_door()?;
    Ok((Some(HttpPlan { from, door }), Some(guests)))
}

/// The score at which an address is kept out, for each of its miners at work; see `End::offence`.
const SCORE_MAX: u32 = 100;

fn guard(config: &Config) -> Guard {
    let security = &config.security;
    Guard {
        allow: security.allow.clone(),
        deny: security.deny.clone(),
        connections_max: security.max_connections_per_ip.map(NonZeroU32::get),
        connects_per_minute: security.max_connects_per_minute,
        score_max: security.enable_ddos_protection.then_some(SCORE_MAX),
        quotas: if security.enable_rate_limiting { quotas(&security.rate_limits) } else { Quotas::default() },
        block_us: us(security.blocked_ip_ttl),
    }
}

fn quotas(limits: &RateLimits) -> Quotas {
    Quotas {
        connection_bytes: limits.bytes,
        address: Rates {
            bytes: limits.address_bytes,
            requests: limits.address_requests,
            authorizations: limits.address_authorizations,
        },
        window_us: us(limits.window),
    }
}

/// What addresses are held to over all shards, and the process.
pub(super) fn limits(config: &Config) -> Limits {
    let security = &config.security;
    Limits {
        guard: GuardLimits {
            connections_max: security.max_connections_per_ip.map(NonZeroU32::get),
            term: security.blocked_ip_ttl,
        },
        max_memory_mib: security.max_memory_mib.map(NonZeroU32::get),
    }
}

/// A limit of the whole proxy, shared out: rounded down, so that all together keep it, but at least one.
fn part_of(all: NonZeroU32, shards: usize) -> NonZeroU32 {
    let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
    NonZeroU32::new(all.get() / shards).unwrap_or(NonZeroU32::MIN)
}

/// What miners speak on each listener, in the order of [`listen`].
fn speaks(server: &ServerConfig) -> Vec<Speaks> {
    let on_port = match &server.tls {
        Some(tls) if tls.same_port => Speaks::Either,
        Some(_) | None => Speaks::Plain,
    };
    let plain = server.listen().map(|_| on_port);
    plain.chain(server.listen_tls().map(|_| Speaks::Tls)).collect()
}

/// Where miners connect: the plain port's addresses first.
pub(super) fn listen(server: &ServerConfig) -> Vec<SocketAddr> {
    server.listen().chain(server.listen_tls()).collect()
}

fn pool_plan(target: &Target, now: &PoolNow, pool: &PoolConfig) -> PoolPlan {
    let tls = target
        .tls
        .as_ref()
        .map(|tls| PoolTls { config: Arc::clone(&tls.config), server_name: tls.server_name.clone() });
    PoolPlan {
        addresses: Arc::clone(&now.addresses),
        state: now.state,
        priority: pool.priority,
        weight: pool.weight,
        tls,
        socks: target.proxy.as_ref().and_then(|proxy| socks_route(target, proxy)),
    }
}

/// What the proxy on the way is asked for. The configuration has checked the lengths already.
fn socks_route(target: &Target, proxy: &Socks5) -> Option<SocksRoute> {
    let to = match &target.host {
        Host::Ip(ip) => SocksTarget::Address(SocketAddr::new(*ip, target.port)),
        Host::Name(name) => SocksTarget::Name(name.clone(), target.port),
    };
    let login = match &proxy.credentials {
        Some((user, password)) => Some(SocksLogin::new(user.clone(), password.reveal().to_owned()).ok()?),
        None => None,
    };
    Some(SocksRoute { target: to, login })
}

fn policy(config: &Config) -> Policy {
    Policy {
        pools: config.pools.iter().map(pool_policy).collect(),
        handshake_us: us(config.server.handshake_timeout),
        idle_us: us(config.limiter.connections),
        hold_us: us(config.failover.hold_miners),
        answer_us: us(config.failover.handshake_timeout),
        jobs_us: us(config.limiter.jobs),
        submissions_us: us(config.limiter.submissions),
    }
}

fn pool_policy(pool: &PoolConfig) -> PoolPolicy {
    PoolPolicy {
        user: UserRule::new(&pool.username, pool.password.reveal(), &pool.separator),
        extranonce: pool.extranonce,
        host: pool.host.to_string(),
        port: pool.port,
        reconnect_domains: pool.reconnect_domains.clone(),
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The addresses that the first shard's sockets are bound to; the others have the same.
pub(super) fn addresses_of(sockets: &[Vec<OwnedFd>]) -> Vec<SocketAddr> {
    sockets.first().into_iter().flatten().filter_map(address_of).collect()
}
