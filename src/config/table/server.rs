//! The keys of `[server]` and `[server.tls]`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{HOUR, SECOND};
use crate::config::cpus::Cpus;
use crate::config::form::{Choice, Switch, Text, Time, Whole};
use crate::config::key::Key;
use crate::config::lists::{Addresses, Networks};
use crate::config::sections::TlsVersion;
use loka_runtime::Steering;

pub(in crate::config) static SERVER_PORT: Key<Whole> =
    Key::new("server.port", Whole { min: 1, max: 65_535 }, 3333, "TCP port that miners connect to.")
        .flag("--listen")
        .at_start();

pub(in crate::config) static SERVER_ADDRESS: Key<Addresses> = Key::new(
    "server.address",
    Addresses { min: 1, max: 16, example: "[\"0.0.0.0\", \"::\"]" },
    &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    "IP addresses to listen on. \"0.0.0.0\" means every IPv4 address of the host, \"::\" every IPv6 address.",
)
.flag("--listen")
.at_start();

pub(in crate::config) static SERVER_MAX_CONNECTIONS: Key<Whole> = Key::new(
    "server.max_connections",
    Whole { min: 0, max: 10_000_000 },
    0,
    "Most miners connected at one time; more are refused. It is shared out over the shards, each of which \
     takes up to an eighth more than its part, since the kernel does not spread miners evenly. 0 means as \
     many as the limit of open files allows (a miner needs two), at most 30000 on a shard.",
);

pub(in crate::config) static SERVER_DRAIN_TIMEOUT: Key<Time> = Key::new(
    "server.drain_timeout",
    Time { min: Duration::ZERO, max: HOUR },
    Duration::from_secs(30),
    "How long a stopping proxy waits for the pool's answers to shares in flight before it closes every \
     connection.",
);

pub(in crate::config) static SERVER_HANDSHAKE_TIMEOUT: Key<Time> = Key::new(
    "server.handshake_timeout",
    Time { min: SECOND, max: Duration::from_secs(600) },
    Duration::from_secs(15),
    "How long a new connection may take until it has sent subscribe and authorize; then it is closed.",
);

pub(in crate::config) static SERVER_CPUS: Key<Cpus> = Key::new(
    "server.cpus",
    Cpus,
    (),
    "CPUs the shards are pinned to, one shard each. Empty means all CPUs the process may run on (taskset, \
     cgroup).",
)
.flag("--cpus")
.at_start();

pub(in crate::config) static SERVER_STEERING: Key<Choice<Steering>> = Key::new(
    "server.steering",
    Choice { listed: &[("hash", Steering::Hash), ("cpu", Steering::Cpu)], accepted: &[] },
    Steering::Hash,
    "Which shard gets a new connection: by the kernel's hash, which spreads many miners evenly, or the shard of the CPU \
     that received it, for hosts whose network card has a queue for each of those CPUs. Each shard still takes no \
     more than its part of max_connections.",
)
.at_start();

pub(in crate::config) static SERVER_PROXY_PROTOCOL_FROM: Key<Networks> = Key::new(
    "server.proxy_protocol_from",
    Networks { count_max: 64 },
    &[],
    "Load balancers that tell miners' addresses: connections from these must begin with a PROXY header (version 1 or 2), \
     connections from elsewhere must not.",
);

pub(in crate::config) static SERVER_TLS_CERT_FILE: Key<Text> = Key::new(
    "server.tls.cert_file",
    Text { min: 0, max: 4096 },
    "",
    "PEM file of the certificate that miners see, followed by those that vouch for it. Empty means no TLS to miners.",
);

pub(in crate::config) static SERVER_TLS_KEY_FILE: Key<Text> = Key::new(
    "server.tls.key_file",
    Text { min: 0, max: 4096 },
    "",
    "PEM file of the certificate's private key; needed with cert_file.",
);

pub(in crate::config) static SERVER_TLS_PORT: Key<Whole> = Key::new(
    "server.tls.port",
    Whole { min: 0, max: 65_535 },
    0,
    "TCP port for miners that speak TLS, at the addresses of server.address. 0 means none; same_port is then needed.",
)
.at_start();

pub(in crate::config) static SERVER_TLS_SAME_PORT: Key<Switch> = Key::new(
    "server.tls.same_port",
    Switch,
    false,
    "Miners may speak TLS at server.port too; the first bytes of a connection decide.",
)
.at_start();

pub(in crate::config) static SERVER_TLS_MIN_VERSION: Key<Choice<TlsVersion>> = Key::new(
    "server.tls.min_version",
    Choice { listed: TlsVersion::NAMES, accepted: &[] },
    TlsVersion::V1_2,
    "The oldest version of TLS that is spoken with miners.",
);
