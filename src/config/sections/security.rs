//! `[security]`, checked: what miners are held to, and who may connect.

use ipnet::IpNet;
use std::num::NonZeroU32;
use std::time::Duration;

/// `[security]`: protection from miners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Whether limits a minute are enforced.
    pub enable_rate_limiting: bool,
    /// Requests per minute and connection.
    pub max_requests_per_minute: NonZeroU32,
    /// The other limits a minute.
    pub rate_limits: RateLimits,
    /// Only addresses in these networks may connect; empty: all.
    pub allow: Vec<IpNet>,
    /// Addresses in these networks may not.
    pub deny: Vec<IpNet>,
    /// Connections that one address may have; `None`: no limit.
    pub max_connections_per_ip: Option<NonZeroU32>,
    /// Connections that one address may make in a minute on one shard; `None`: no limit.
    pub max_connects_per_minute: Option<NonZeroU32>,
    /// Whether addresses are kept out for what they do.
    pub enable_ddos_protection: bool,
    /// For how long, the first time.
    pub blocked_ip_ttl: Duration,
    /// MiB of memory that the process may use; `None`: what its cgroup or the host allows.
    pub max_memory_mib: Option<NonZeroU32>,
}

impl SecurityConfig {
    /// Requests per minute and connection; `None` when rate limiting is switched off.
    pub fn requests_per_minute(&self) -> Option<NonZeroU32> {
        self.enable_rate_limiting.then_some(self.max_requests_per_minute)
    }
}

/// Limits a minute; `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits {
    /// Shares of one connection.
    pub submits: Option<NonZeroU32>,
    /// Authorizations of one connection.
    pub authorizations: Option<NonZeroU32>,
    /// Bytes of one connection.
    pub bytes: Option<NonZeroU32>,
    /// Requests of one address, on each shard.
    pub address_requests: Option<NonZeroU32>,
    /// Authorizations of one address, on each shard.
    pub address_authorizations: Option<NonZeroU32>,
    /// Bytes of one address, on each shard.
    pub address_bytes: Option<NonZeroU32>,
    /// What a limit allows in this time may come at once; 1 s to 1 h.
    pub window: Duration,
}
