//! The table of all keys: the only place where a key's name, type, default, range and meaning are written
//! down. The longest sections have a file each.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::form::{Choice, Switch, Text, Time, Whole};
use super::key::{Entry, Key};
use super::lists::Networks;
use super::log_filter::Levels;
use super::net::Address;
use super::sections::{LogFormat, LogLevel};

mod alerts;
mod api;
mod failover;
mod pool;
mod records;
mod security;
mod server;

pub(super) use alerts::*;
pub(super) use api::*;
pub(super) use failover::*;
pub(super) use pool::*;
pub(super) use records::*;
pub(super) use security::*;
pub(super) use server::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// Sections in the order of the reference, each with what it is about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("server", "Where miners connect."),
    ("server.tls", "TLS to miners: at a port of its own, at the port that all miners use, or both."),
    (
        "pool",
        "A pool that miners are connected to. Several pools, at most 16, are several sections [[pool]], in the order in \
         which they are preferred; [pool] means the same as one [[pool]]. Environment and command line set the keys of \
         the first pool.",
    ),
    (
        "failover",
        "When a pool has failed, and what then happens to its miners. A pool whose work is bad (notify_silence, behind_for, \
         reject_percent, response_p95) fails only where another one is usable.",
    ),
    ("limiter", "How long things are kept."),
    ("security", "Protection from miners that misbehave."),
    ("metrics", "The HTTP endpoint for Prometheus and for health checks."),
    ("api", "The REST API under /api/v1 and the live feeds, wherever the metrics are."),
    ("alerts", "Messages to a webhook when something is wrong, and when it is right again."),
    (
        "records",
        "Records of shares in a file of SQLite: what each worker did in each minute, and each share that came to nothing. Kept \
         for limiter.submissions. `loka-stratum records` reads them.",
    ),
    (
        "logging",
        "Logs. The environment variable RUST_LOG is written like `level`: targets in it stand beside `level`, a bare level in \
         it takes the place of all that `level` says.",
    ),
    ("performance", "Sizes and threads. The defaults suit a host that does nothing else."),
];

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
    "How long a job is good for shares once a newer one has come; after that they are refused as stale. The newest job is \
     good however old it is. Jobs that the pool voids are good for 5s more, whatever this says.",
);

pub(super) static LIMITER_SUBMISSIONS: Key<Time> = Key::new(
    "limiter.submissions",
    Time { min: SECOND, max: days(365) },
    days(2),
    "For how long, from the coming of a job, its shares are held against those sent before, to refuse duplicates; at \
     least as long as limiter.jobs. A connection remembers its last 256 shares, and none of a job that is no longer good. \
     Records of shares are kept for as long (see [records]).",
);

pub(super) static METRICS_ENABLE_PROMETHEUS: Key<Switch> = Key::new(
    "metrics.enable_prometheus",
    Switch,
    true,
    "Serve metrics and health over HTTP at prometheus_port.",
)
.at_start();

pub(super) static METRICS_ADDRESS: Key<Address> = Key::new(
    "metrics.address",
    Address,
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    "IP address of that endpoint. It asks for no password: keep it on an address that only you can reach.",
)
.at_start();

pub(super) static METRICS_PROMETHEUS_PORT: Key<Whole> =
    Key::new("metrics.prometheus_port", Whole { min: 1, max: 65_535 }, 9090, "TCP port of that endpoint.")
        .at_start();

pub(super) static METRICS_MINER_PORT_FROM: Key<Networks> = Key::new(
    "metrics.miner_port_from",
    Networks { count_max: 64 },
    &[
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 32)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ],
    "Who may ask the same over HTTP at server.port, where miners connect, whether or not prometheus_port is served; there \
     /metrics is JSON unless asked for otherwise. Everybody else who speaks HTTP there is disconnected as no miner. Behind a \
     proxy the address in its PROXY header counts; behind one on this host that sends none everybody seems to come from \
     127.0.0.1: leave this empty then, which means nobody.",
)
.at_start();

pub(super) static METRICS_COLLECTION_INTERVAL: Key<Time> = Key::new(
    "metrics.collection_interval",
    Time { min: Duration::from_millis(100), max: HOUR },
    SECOND,
    "How often rates and process figures are renewed, which are means over this time, or 5 s if that is longer. Counters are collected at least four times a second.",
);

pub(super) static LOGGING_LEVEL: Key<Levels> = Key::new(
    "logging.level",
    Levels,
    LogLevel::Info,
    "Least important messages that are logged. debug logs each connection, trace each message. Targets may have levels of \
     their own: \"info,loka_stratum::protocol=trace\".",
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
.aliases(&["LOKA_LOG_FORMAT"])
.at_start();

pub(super) static LOGGING_ENABLE_FILE_LOGGING: Key<Switch> = Key::new(
    "logging.enable_file_logging",
    Switch,
    false,
    "Write the log to log_file instead of standard error.",
)
.at_start();

pub(super) static LOGGING_LOG_FILE: Key<Text> = Key::new(
    "logging.log_file",
    Text { min: 0, max: 4096 },
    "",
    "Path of the log file; needed with enable_file_logging. SIGUSR1 makes the program open it anew, for a program that has \
     moved it away.",
)
.aliases(&["LOKA_LOG_FILE"])
.at_start();

pub(super) static LOGGING_ROTATE_BYTES: Key<Whole> = Key::new(
    "logging.rotate_bytes",
    Whole { min: 0, max: 4_000_000_000 },
    100_000_000,
    "A log file that would grow beyond so many bytes is renamed to log_file.1, that one to log_file.2 and so on, and a new one \
     is begun. 0 leaves that to others, such as logrotate.",
)
.at_start();

pub(super) static LOGGING_ROTATE_KEEP: Key<Whole> = Key::new(
    "logging.rotate_keep",
    Whole { min: 1, max: 1000 },
    5,
    "How many renamed log files are kept; the oldest is overwritten.",
)
.at_start();

pub(super) static PERFORMANCE_CONNECTION_POOL_SIZE: Key<Whole> = Key::new(
    "performance.connection_pool_size",
    Whole { min: 0, max: 100_000 },
    0,
    "Connections to the preferred pool that are opened ahead of need, with TCP and TLS done, shared out over the shards.",
);

pub(super) static PERFORMANCE_CONNECTION_TIMEOUT: Key<Time> = Key::new(
    "performance.connection_timeout",
    Time { min: Duration::from_millis(100), max: Duration::from_secs(600) },
    Duration::from_secs(10),
    "How long an attempt to connect to an address of a pool may take, with SOCKS5 and TLS; at most 2 s while another pool \
     is usable.",
);

pub(super) static PERFORMANCE_ENABLE_STRING_INTERNING: Key<Switch> = Key::new(
    "performance.enable_string_interning",
    Switch,
    true,
    "Keep the newest jobs once per shard: a job that a pool sends to many miners is checked for the first and passed on \
     to the others as it came. Names of workers and agents are kept once per shard either way.",
)
.at_start();

pub(super) static PERFORMANCE_BUFFER_POOL_SIZE: Key<Whole> = Key::new(
    "performance.buffer_pool_size",
    Whole { min: 0, max: 1_000_000 },
    1_000,
    "Spare buffers that a shard keeps for reuse.",
)
.at_start();

pub(super) static PERFORMANCE_ENABLE_LINGERING: Key<Switch> = Key::new(
    "performance.enable_lingering",
    Switch,
    true,
    "Between two ticks a shard waits for its sockets itself, instead of through its executor each time, which costs \
     several system calls. Switch it off to measure that.",
)
.at_start();

pub(super) static PERFORMANCE_WORKER_THREADS: Key<Whole> = Key::new(
    "performance.worker_threads",
    Whole { min: 0, max: 1024 },
    0,
    "Number of shards, one per CPU of server.cpus when 0. More shards than CPUs share them in turn.",
)
.flag("--shards")
.at_start();

pub(super) static PERFORMANCE_BLOCKING_THREADS: Key<Whole> = Key::new(
    "performance.blocking_threads",
    Whole { min: 1, max: 512 },
    2,
    "Threads for blocking work outside the shards, such as reading certificates and asking the host's resolver.",
)
.at_start();

pub(super) static PERFORMANCE_ENABLE_MEMORY_PROFILING: Key<Switch> = Key::new(
    "performance.enable_memory_profiling",
    Switch,
    false,
    "Read what the allocator holds: a log line a minute at info, and figures in /metrics. It costs next to nothing.",
)
.aliases(&["LOKA_ENABLE_MEMORY_PROFILING"])
.at_start();

/// Every key, section by section, in the order of the reference.
static ENTRIES: &[&dyn Entry] = &[
    &SERVER_PORT,
    &SERVER_ADDRESS,
    &SERVER_MAX_CONNECTIONS,
    &SERVER_HANDSHAKE_TIMEOUT,
    &SERVER_DRAIN_TIMEOUT,
    &SERVER_CPUS,
    &SERVER_STEERING,
    &SERVER_PROXY_PROTOCOL_FROM,
    &SERVER_TLS_CERT_FILE,
    &SERVER_TLS_KEY_FILE,
    &SERVER_TLS_PORT,
    &SERVER_TLS_SAME_PORT,
    &SERVER_TLS_MIN_VERSION,
    &POOL_NAME,
    &POOL_HOST,
    &POOL_PORT,
    &POOL_USERNAME,
    &POOL_PASSWORD,
    &POOL_SEPARATOR,
    &POOL_EXTRANONCE,
    &POOL_PRIORITY,
    &POOL_WEIGHT,
    &POOL_TLS_CA_FILE,
    &POOL_TLS_SERVER_NAME,
    &POOL_TLS_PINS,
    &POOL_TLS_MIN_VERSION,
    &POOL_PROXY,
    &POOL_RECONNECT_DOMAINS,
    &FAILOVER_HOLD_MINERS,
    &FAILOVER_HANDSHAKE_TIMEOUT,
    &FAILOVER_NOTIFY_SILENCE,
    &FAILOVER_BEHIND_FOR,
    &FAILOVER_FAILURES,
    &FAILOVER_BACKOFF_MIN,
    &FAILOVER_BACKOFF_MAX,
    &FAILOVER_STABLE_FOR,
    &FAILOVER_CONNECTS_PER_SECOND,
    &FAILOVER_REJECT_PERCENT,
    &FAILOVER_RESPONSE_P95,
    &FAILOVER_WINDOW,
    &FAILOVER_DNS_SERVERS,
    &LIMITER_CONNECTIONS,
    &LIMITER_JOBS,
    &LIMITER_SUBMISSIONS,
    &SECURITY_ENABLE_RATE_LIMITING,
    &SECURITY_MAX_REQUESTS_PER_MINUTE,
    &SECURITY_MAX_SUBMITS_PER_MINUTE,
    &SECURITY_MAX_AUTHORIZATIONS_PER_MINUTE,
    &SECURITY_MAX_BYTES_PER_MINUTE,
    &SECURITY_MAX_REQUESTS_PER_MINUTE_PER_IP,
    &SECURITY_MAX_AUTHORIZATIONS_PER_MINUTE_PER_IP,
    &SECURITY_MAX_BYTES_PER_MINUTE_PER_IP,
    &SECURITY_LIMIT_WINDOW,
    &SECURITY_ALLOW,
    &SECURITY_DENY,
    &SECURITY_MAX_CONNECTIONS_PER_IP,
    &SECURITY_MAX_CONNECTS_PER_MINUTE,
    &SECURITY_ENABLE_DDOS_PROTECTION,
    &SECURITY_BLOCKED_IP_TTL,
    &SECURITY_MAX_MEMORY_MIB,
    &METRICS_ENABLE_PROMETHEUS,
    &METRICS_ADDRESS,
    &METRICS_PROMETHEUS_PORT,
    &METRICS_MINER_PORT_FROM,
    &METRICS_COLLECTION_INTERVAL,
    &API_TOKEN,
    &API_HOSTS,
    &ALERTS_URL,
    &ALERTS_SECRET,
    &ALERTS_CA_FILE,
    &ALERTS_FORMAT,
    &ALERTS_SOURCE,
    &ALERTS_POOLS,
    &ALERTS_SHARDS,
    &ALERTS_RESOURCES,
    &ALERTS_SILENT_FOR,
    &ALERTS_SILENT_FORGET,
    &ALERTS_SILENT_MIN,
    &ALERTS_REJECT_PERCENT,
    &ALERTS_REJECT_WINDOW,
    &ALERTS_FIRE_AFTER,
    &ALERTS_RESOLVE_AFTER,
    &ALERTS_REPEAT,
    &ALERTS_BATCH,
    &RECORDS_ENABLE,
    &RECORDS_FILE,
    &RECORDS_MAX_MIB,
    &RECORDS_URL,
    &RECORDS_CA_FILE,
    &RECORDS_HOST,
    &RECORDS_SEND_EVERY,
    &LOGGING_LEVEL,
    &LOGGING_FORMAT,
    &LOGGING_ENABLE_FILE_LOGGING,
    &LOGGING_LOG_FILE,
    &LOGGING_ROTATE_BYTES,
    &LOGGING_ROTATE_KEEP,
    &PERFORMANCE_WORKER_THREADS,
    &PERFORMANCE_CONNECTION_TIMEOUT,
    &PERFORMANCE_BUFFER_POOL_SIZE,
    &PERFORMANCE_ENABLE_LINGERING,
    &PERFORMANCE_CONNECTION_POOL_SIZE,
    &PERFORMANCE_ENABLE_STRING_INTERNING,
    &PERFORMANCE_BLOCKING_THREADS,
    &PERFORMANCE_ENABLE_MEMORY_PROFILING,
];

/// True for the path of a section, such as `server` or `server.tls`.
pub(super) fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == path)
}

/// Every key, section by section.
pub(super) fn entries() -> &'static [&'static dyn Entry] {
    ENTRIES
}

/// The key of that path, such as `server.port`.
pub(super) fn find(path: &str) -> Option<&'static dyn Entry> {
    entries().iter().copied().find(|entry| entry.path() == path)
}
