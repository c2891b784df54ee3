//! The checked sections. A value of these types was read, is in range, and fits the others.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::cpus::CpuList;
use super::log_filter::LogFilter;
use ipnet::IpNet;
use loka_runtime::Steering;

mod alerts;
mod api;
mod failover;
mod pool;
mod records;
mod security;

pub use alerts::{AlertFormat, AlertsConfig, Webhook};
pub use api::ApiConfig;
pub use failover::FailoverConfig;
pub use pool::{PoolConfig, PoolTls, Socks5Proxy};
pub use records::{Database, DatabasePlace, RecordsConfig, SslMode};
pub use security::{RateLimits, SecurityConfig};

/// `[server]`: where miners connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// TCP port, never 0 in a loaded configuration.
    pub port: u16,
    /// Addresses to listen on: at least one, none twice.
    pub addresses: Vec<IpAddr>,
    /// Most miners connected at one time over all shards; `None`: as many as the descriptors allow.
    pub max_connections: Option<NonZeroU32>,
    /// Time from accept to authorized; 1 s to 10 min.
    pub handshake_timeout: Duration,
    /// How long a drain waits for answers; 0 to 1 h.
    pub drain_timeout: Duration,
    /// CPUs for the shards; `None`: all that the process may run on.
    pub cpus: Option<CpuList>,
    /// How new connections are spread over the shards.
    pub steering: Steering,
    /// Connections from these networks must begin with a PROXY header, others must not; at most 64, none twice.
    pub proxy_protocol_from: Vec<IpNet>,
    /// TLS to miners; `None`: they are spoken to without.
    pub tls: Option<ServerTls>,
}

impl ServerConfig {
    /// Every address with the port, in the order given.
    pub fn listen(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.at(self.port)
    }

    /// Every address with the port that TLS has of its own; nothing where it has none.
    pub fn listen_tls(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.tls.as_ref().and_then(|tls| tls.port).into_iter().flat_map(|port| self.at(port))
    }

    fn at(&self, port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map(move |address| SocketAddr::new(*address, port))
    }
}

/// `[server.tls]`: TLS to miners, on a port of its own, on the port that all miners use, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file of the certificate and those that vouch for it.
    pub cert_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
    /// TCP port for TLS alone, never 0; `None` only with `same_port`.
    pub port: Option<u16>,
    /// Whether miners may speak TLS on `server.port` too.
    pub same_port: bool,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 and newer.
    V1_2,
    /// TLS 1.3 and newer.
    V1_3,
}

impl TlsVersion {
    pub(super) const NAMES: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];

    /// The number as people write it: `1.2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// `[limiter]`: how long things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimiterConfig {
    /// How long a connection may be silent both ways; 1 s to 30 days.
    pub connections: Duration,
    /// How long a job is good once there is a newer one; 1 s to 7 days.
    pub jobs: Duration,
    /// How long the shares of a job are held against those sent before, at least as long as `jobs`.
    pub submissions: Duration,
}

/// `[metrics]`: the HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether the endpoint is served.
    pub enable_prometheus: bool,
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port, never 0 in a loaded configuration.
    pub prometheus_port: u16,
    /// Who may ask where miners connect too; at most 64 networks.
    pub miner_port_from: Vec<IpNet>,
    /// How often the shards' boxes are collected; 100 ms to 1 h.
    pub collection_interval: Duration,
}

impl MetricsConfig {
    /// Where to serve; `None` when the endpoint is switched off.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.enable_prometheus.then(|| SocketAddr::new(self.address, self.prometheus_port))
    }
}

/// `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// What is logged, with what `RUST_LOG` says.
    pub level: LogFilter,
    /// How a line is written.
    pub format: LogFormat,
    /// The log file; `None` when file logging is switched off.
    pub file: Option<LogFile>,
}

/// Where log lines are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file that is written.
    pub path: PathBuf,
    /// A file that would grow beyond so many bytes is put aside; `None`: however large it is.
    pub rotate_bytes: Option<NonZeroU64>,
    /// How many files that were put aside are kept; one at least.
    pub rotate_keep: u32,
}

/// Levels, by who must wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Cannot go on.
    Error,
    /// Somebody should look.
    Warn,
    /// The state of the service.
    Info,
    /// Each connection.
    Debug,
    /// Each message.
    Trace,
}

impl LogLevel {
    pub(super) const NAMES: &'static [(&'static str, Self)] = &[
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("off", Self::Off),
    ];

    /// All of them, the most important first.
    pub const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// The name as tracing's filters spell it: `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    pub(super) const NAMES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// `[performance]`: sizes and threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerformanceConfig {
    /// Number of shards; `None`: one per CPU. Never more than the CPUs of `server.cpus`.
    pub worker_threads: Option<NonZeroUsize>,
    /// How long connecting to the pool may take; 100 ms to 10 min.
    pub connection_timeout: Duration,
    /// Spare buffers a shard keeps.
    pub buffer_pool_size: usize,
    /// Whether a shard waits for its sockets itself between two ticks.
    pub enable_lingering: bool,
    /// Connections to the preferred pool that are opened ahead of need, over all shards.
    pub connection_pool_size: usize,
    /// Whether a shard keeps the newest jobs once.
    pub enable_string_interning: bool,
    /// Threads for blocking work outside the shards.
    pub blocking_threads: NonZeroUsize,
    /// Whether the allocator's figures are read, logged and exported.
    pub enable_memory_profiling: bool,
}
