//! The table of all keys: the only place where a key's name, type, default, range and meaning are written
//! down.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::cpus::Cpus;
use super::form::{Choice, Hidden, Switch, Text, Time, Whole, Words};
use super::key::{Entry, Key};
use super::net::{Address, Addresses, PoolHost};
use super::sections::{LogFormat, LogLevel};
use loka_runtime::Steering;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// Sections in the order of the reference, each with what it is about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("server", "Where miners connect."),
    ("pool", "The pool that miners are connected to. [[pool]] with one entry means the same."),
    ("limiter", "How long things are kept."),
    ("security", "Protection from miners that misbehave."),
    ("metrics", "The HTTP endpoint for Prometheus and for health checks."),
    (
        "logging",
        "Logs. The environment variable RUST_LOG, when set, sets levels per target beside `level`; a bare level in it takes the place of `level`.",
    ),
    ("performance", "Sizes and threads. The defaults suit a host that does nothing else."),
];

pub(super) static SERVER_PORT: Key<Whole> =
    Key::new("server.port", Whole { min: 1, max: 65_535 }, 3333, "TCP port that miners connect to.")
        .flag("--listen");

pub(super) static SERVER_ADDRESS: Key<Addresses> = Key::new(
    "server.address",
    Addresses,
    &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    "IP addresses to listen on. \"0.0.0.0\" means every IPv4 address of the host, \"::\" every IPv6 address.",
)
.flag("--listen");

pub(super) static SERVER_MAX_CONNECTIONS: Key<Whole> = Key::new(
    "server.max_connections",
    Whole { min: 0, max: 10_000_000 },
    0,
    "Most miners connected at one time; more are refused. It is shared out over the shards, each of which \
     takes up to an eighth more than its part, since the kernel does not spread miners evenly. 0 means as \
     many as the limit of open files allows (a miner needs two), at most 30000 on a shard.",
);

pub(super) static SERVER_DRAIN_TIMEOUT: Key<Time> = Key::new(
    "server.drain_timeout",
    Time { min: Duration::ZERO, max: HOUR },
    Duration::from_secs(30),
    "How long a stopping proxy waits for the pool's answers to shares in flight before it closes every \
     connection.",
);

pub(super) static SERVER_HANDSHAKE_TIMEOUT: Key<Time> = Key::new(
    "server.handshake_timeout",
    Time { min: SECOND, max: Duration::from_secs(600) },
    Duration::from_secs(15),
    "How long a new connection may take until it has sent subscribe and authorize; then it is closed.",
);

pub(super) static SERVER_CPUS: Key<Cpus> = Key::new(
    "server.cpus",
    Cpus,
    (),
    "CPUs the shards are pinned to, one shard each. Empty means all CPUs the process may run on (taskset, \
     cgroup).",
)
.flag("--cpus");

pub(super) static SERVER_STEERING: Key<Choice<Steering>> = Key::new(
    "server.steering",
    Choice { listed: &[("hash", Steering::Hash), ("cpu", Steering::Cpu)], accepted: &[] },
    Steering::Hash,
    "Which shard gets a new connection: by the kernel's hash, which spreads many miners evenly, or the shard of the CPU \
     that received it, for hosts whose network card has a queue for each of those CPUs. Each shard still takes no \
     more than its part of max_connections.",
);

pub(super) static POOL_NAME: Key<Text> =
    Key::new("pool.name", Text { min: 1, max: 64 }, "pool", "Name of the pool in logs.");

pub(super) static POOL_HOST: Key<PoolHost> = Key::new(
    "pool.host",
    PoolHost,
    (),
    "Host name or IP address of the pool, optionally with stratum+tcp:// before it and a port behind it; \
     that port then takes the place of `port`. There is no default: the pool must be named here, by the \
     environment or by --pool.",
)
.flag("--pool");

pub(super) static POOL_PORT: Key<Whole> =
    Key::new("pool.port", Whole { min: 1, max: 65_535 }, 3333, "TCP port of the pool.").flag("--pool");

pub(super) static POOL_USERNAME: Key<Text> = Key::new(
    "pool.username",
    Text { min: 0, max: 128 },
    "",
    "Account at the pool that takes the place of the account in each miner's user name; the worker part \
     behind the separator is kept byte for byte. Empty means that miners' names are passed on unchanged.",
);

pub(super) static POOL_PASSWORD: Key<Hidden> = Key::new(
    "pool.password",
    Hidden(Text { min: 0, max: 128 }),
    "",
    "Password sent to the pool in place of the miners' own. Empty means that each miner's password is \
     passed on. Never printed or logged.",
);

pub(super) static POOL_SEPARATOR: Key<Words> = Key::new(
    "pool.separator",
    Words { count_max: 8, bytes_max: 8 },
    &[".", "_"],
    "What separates account and worker in a miner's user name.",
);

pub(super) static POOL_EXTRANONCE: Key<Switch> = Key::new(
    "pool.extranonce",
    Switch,
    false,
    "Subscribe to extranonce changes at the pool, and relay them to the miners that asked for them.",
);

pub(super) static LIMITER_CONNECTIONS: Key<Time> = Key::new(
    "limiter.connections",
    Time { min: SECOND, max: days(30) },
    Duration::from_secs(600),
    "How long a connection may stay without a message in either direction before it is closed. (The \
     number of connections is limited by server.max_connections.)",
);

pub(super) static LIMITER_JOBS: Key<Time> = Key::new(
    "limiter.jobs",
    Time { min: SECOND, max: days(7) },
    Duration::from_secs(600),
    "How long a job stays known; shares for older jobs are stale.",
)
.later();

pub(super) static LIMITER_SUBMISSIONS: Key<Time> = Key::new(
    "limiter.submissions",
    Time { min: SECOND, max: days(365) },
    days(2),
    "How long submissions are kept to recognise duplicates and for the share records; at least as long as \
     limiter.jobs.",
)
.later();

pub(super) static SECURITY_ENABLE_RATE_LIMITING: Key<Switch> = Key::new(
    "security.enable_rate_limiting",
    Switch,
    true,
    "Refuse the requests of a connection that sends more than max_requests_per_minute.",
);

pub(super) static SECURITY_MAX_REQUESTS_PER_MINUTE: Key<Whole> = Key::new(
    "security.max_requests_per_minute",
    Whole { min: 1, max: 10_000_000 },
    6_000,
    "Requests one connection may send in a minute. A miner sends about 20; a connection that carries many \
     workers, or difficulty that is still settling, needs more.",
);

pub(super) static SECURITY_ENABLE_DDOS_PROTECTION: Key<Switch> = Key::new(
    "security.enable_ddos_protection",
    Switch,
    true,
    "Recognise attacks by their traffic pattern and block the addresses they come from.",
)
.later();

pub(super) static SECURITY_BLOCKED_IP_TTL: Key<Time> = Key::new(
    "security.blocked_ip_ttl",
    Time { min: SECOND, max: days(365) },
    HOUR,
    "How long an address stays blocked.",
)
.later();

pub(super) static METRICS_ENABLE_PROMETHEUS: Key<Switch> = Key::new(
    "metrics.enable_prometheus",
    Switch,
    true,
    "Serve metrics and health over HTTP at prometheus_port.",
);

pub(super) static METRICS_ADDRESS: Key<Address> = Key::new(
    "metrics.address",
    Address,
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    "IP address of that endpoint. It asks for no password: keep it on an address that only you can reach.",
);

pub(super) static METRICS_PROMETHEUS_PORT: Key<Whole> =
    Key::new("metrics.prometheus_port", Whole { min: 1, max: 65_535 }, 9090, "TCP port of that endpoint.");

pub(super) static METRICS_COLLECTION_INTERVAL: Key<Time> = Key::new(
    "metrics.collection_interval",
    Time { min: Duration::from_millis(100), max: HOUR },
    SECOND,
    "How often rates and process figures are renewed, which are means over this time, or 5 s if that is longer. Counters are collected at least four times a second.",
);

pub(super) static LOGGING_LEVEL: Key<Choice<LogLevel>> = Key::new(
    "logging.level",
    Choice { listed: LogLevel::NAMES, accepted: &[("warning", LogLevel::Warn)] },
    LogLevel::Info,
    "Least important messages that are logged. debug logs each connection, trace each message.",
)
.aliases(&["LOKA_LOG_LEVEL"])
.flag("--log-level");

pub(super) static LOGGING_FORMAT: Key<Choice<LogFormat>> = Key::new(
    "logging.format",
    Choice {
        listed: LogFormat::NAMES,
        accepted: &[("pretty", LogFormat::Text), ("compact", LogFormat::Text), ("full", LogFormat::Text)],
    },
    LogFormat::Text,
    "How a log line is written: for people, or as one JSON object. \"pretty\", \"compact\" and \"full\" \
     mean \"text\".",
)
.aliases(&["LOKA_LOG_FORMAT"]);

pub(super) static LOGGING_ENABLE_FILE_LOGGING: Key<Switch> = Key::new(
    "logging.enable_file_logging",
    Switch,
    false,
    "Write the log to log_file instead of standard error.",
);

pub(super) static LOGGING_LOG_FILE: Key<Text> = Key::new(
    "logging.log_file",
    Text { min: 0, max: 4096 },
    "",
    "Path of the log file; needed with enable_file_logging.",
)
.aliases(&["LOKA_LOG_FILE"]);

pub(super) static PERFORMANCE_CONNECTION_POOL_SIZE: Key<Whole> = Key::new(
    "performance.connection_pool_size",
    Whole { min: 0, max: 100_000 },
    0,
    "Connections to the pool that are opened ahead of need, shared out over the shards.",
)
.later();

pub(super) static PERFORMANCE_CONNECTION_TIMEOUT: Key<Time> = Key::new(
    "performance.connection_timeout",
    Time { min: Duration::from_millis(100), max: Duration::from_secs(600) },
    Duration::from_secs(10),
    "How long connecting to the pool may take.",
);

pub(super) static PERFORMANCE_ENABLE_STRING_INTERNING: Key<Switch> = Key::new(
    "performance.enable_string_interning",
    Switch,
    true,
    "Keep the newest jobs once per shard: a job that a pool sends to many miners is checked for the first and passed on \
     to the others as it came. Of names a miner keeps eight bytes either way.",
);

pub(super) static PERFORMANCE_BUFFER_POOL_SIZE: Key<Whole> = Key::new(
    "performance.buffer_pool_size",
    Whole { min: 0, max: 1_000_000 },
    1_000,
    "Spare buffers that a shard keeps for reuse.",
);

pub(super) static PERFORMANCE_ENABLE_LINGERING: Key<Switch> = Key::new(
    "performance.enable_lingering",
    Switch,
    true,
    "Between two ticks a shard waits for its sockets itself, instead of through its executor each time, which costs \
     several system calls. Switch it off to measure that.",
);

pub(super) static PERFORMANCE_WORKER_THREADS: Key<Whole> = Key::new(
    "performance.worker_threads",
    Whole { min: 0, max: 1024 },
    0,
    "Number of shards, one per CPU of server.cpus when 0. More shards than CPUs share them in turn.",
)
.flag("--shards");

pub(super) static PERFORMANCE_BLOCKING_THREADS: Key<Whole> = Key::new(
    "performance.blocking_threads",
    Whole { min: 1, max: 512 },
    2,
    "Threads for blocking work outside the shards, such as name resolution.",
)
.later();

pub(super) static PERFORMANCE_ENABLE_MEMORY_PROFILING: Key<Switch> = Key::new(
    "performance.enable_memory_profiling",
    Switch,
    false,
    "Collect the allocator's statistics and log them.",
)
.aliases(&["LOKA_ENABLE_MEMORY_PROFILING"])
.later();

/// Every key, section by section, in the order of the reference.
static ENTRIES: &[&dyn Entry] = &[
    &SERVER_PORT,
    &SERVER_ADDRESS,
    &SERVER_MAX_CONNECTIONS,
    &SERVER_HANDSHAKE_TIMEOUT,
    &SERVER_DRAIN_TIMEOUT,
    &SERVER_CPUS,
    &SERVER_STEERING,
    &POOL_NAME,
    &POOL_HOST,
    &POOL_PORT,
    &POOL_USERNAME,
    &POOL_PASSWORD,
    &POOL_SEPARATOR,
    &POOL_EXTRANONCE,
    &LIMITER_CONNECTIONS,
    &LIMITER_JOBS,
    &LIMITER_SUBMISSIONS,
    &SECURITY_ENABLE_RATE_LIMITING,
    &SECURITY_MAX_REQUESTS_PER_MINUTE,
    &SECURITY_ENABLE_DDOS_PROTECTION,
    &SECURITY_BLOCKED_IP_TTL,
    &METRICS_ENABLE_PROMETHEUS,
    &METRICS_ADDRESS,
    &METRICS_PROMETHEUS_PORT,
    &METRICS_COLLECTION_INTERVAL,
    &LOGGING_LEVEL,
    &LOGGING_FORMAT,
    &LOGGING_ENABLE_FILE_LOGGING,
    &LOGGING_LOG_FILE,
    &PERFORMANCE_WORKER_THREADS,
    &PERFORMANCE_CONNECTION_TIMEOUT,
    &PERFORMANCE_BUFFER_POOL_SIZE,
    &PERFORMANCE_ENABLE_LINGERING,
    &PERFORMANCE_CONNECTION_POOL_SIZE,
    &PERFORMANCE_ENABLE_STRING_INTERNING,
    &PERFORMANCE_BLOCKING_THREADS,
    &PERFORMANCE_ENABLE_MEMORY_PROFILING,
];

/// Every key, section by section.
pub(super) fn entries() -> &'static [&'static dyn Entry] {
    ENTRIES
}

/// The key of that path, such as `server.port`.
pub(super) fn find(path: &str) -> Option<&'static dyn Entry> {
    entries().iter().copied().find(|entry| entry.path() == path)
}
