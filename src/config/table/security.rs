//! The keys of `[security]`.

use std::time::Duration;

use super::{HOUR, SECOND, days};
use crate::config::form::{Switch, Time, Whole};
use crate::config::key::Key;
use crate::config::lists::Networks;

/// The largest limit.
const MAX: u32 = 4_000_000_000;

pub(in crate::config) static SECURITY_ENABLE_RATE_LIMITING: Key<Switch> = Key::new(
    "security.enable_rate_limiting",
    Switch,
    true,
    "Hold connections and addresses to the limits a minute that follow. A request beyond a limit of its connection is answered \
     with an error, and who goes on is disconnected; who sends too many bytes, or whose address sends too much, is not read \
     for a while.",
);

pub(in crate::config) static SECURITY_MAX_REQUESTS_PER_MINUTE: Key<Whole> = Key::new(
    "security.max_requests_per_minute",
    Whole { min: 1, max: 10_000_000 },
    6_000,
    "Requests one connection may send in a minute. A miner sends about 20; a connection that carries many \
     workers, or difficulty that is still settling, needs more.",
);

pub(in crate::config) static SECURITY_MAX_SUBMITS_PER_MINUTE: Key<Whole> = Key::new(
    "security.max_submits_per_minute",
    Whole { min: 0, max: 10_000_000 },
    0,
    "Shares one connection may send in a minute, of those requests. 0 means no limit besides max_requests_per_minute.",
);

pub(in crate::config) static SECURITY_MAX_AUTHORIZATIONS_PER_MINUTE: Key<Whole> = Key::new(
    "security.max_authorizations_per_minute",
    Whole { min: 0, max: 10_000_000 },
    600,
    "Authorizations one connection may ask for in a minute, of those requests; one may have 32 workers, who come at once. 0 means no limit besides \
     max_requests_per_minute.",
);

pub(in crate::config) static SECURITY_MAX_BYTES_PER_MINUTE: Key<Whole> = Key::new(
    "security.max_bytes_per_minute",
    Whole { min: 0, max: MAX },
    6_000_000,
    "Bytes one connection may send in a minute, checked every 64 KiB. A miner sends about 3,000. 0 means no limit.",
);

pub(in crate::config) static SECURITY_MAX_REQUESTS_PER_MINUTE_PER_IP: Key<Whole> = Key::new(
    "security.max_requests_per_minute_per_ip",
    Whole { min: 0, max: MAX },
    1_200_000,
    "Requests that all connections of one address may send in a minute, on each shard: a farm may stand behind one address, \
     and 60,000 miners send as many. 0 means no limit.",
);

pub(in crate::config) static SECURITY_MAX_AUTHORIZATIONS_PER_MINUTE_PER_IP: Key<Whole> = Key::new(
    "security.max_authorizations_per_minute_per_ip",
    Whole { min: 0, max: MAX },
    30_000,
    "Authorizations that all connections of one address may ask for in a minute, on each shard. One that the pool refuses counts \
     for eleven. Beyond it those that come wait; miners at work do not. 0 means no limit.",
);

pub(in crate::config) static SECURITY_MAX_BYTES_PER_MINUTE_PER_IP: Key<Whole> = Key::new(
    "security.max_bytes_per_minute_per_ip",
    Whole { min: 0, max: MAX },
    600_000_000,
    "Bytes that all connections of one address may send in a minute, on each shard. 0 means no limit.",
);

pub(in crate::config) static SECURITY_LIMIT_WINDOW: Key<Time> = Key::new(
    "security.limit_window",
    Time { min: SECOND, max: HOUR },
    Duration::from_secs(10),
    "What a limit allows in so long may come at once: of 6,000 requests a minute, 1,000. A connection that has just come may send \
     as much to the pool before any limit holds.",
);

pub(in crate::config) static SECURITY_MAX_MEMORY_MIB: Key<Whole> = Key::new(
    "security.max_memory_mib",
    Whole { min: 0, max: 16_777_216 },
    0,
    "MiB of memory that the proxy may use. From 95 percent on nobody new is let in; from 98 percent on connections are closed: first \
     those that have not said who they are, the oldest first, then others that are not at work, then those that keep most. 0 \
     means what its cgroup allows, or what the host has.",
);

pub(in crate::config) static SECURITY_ENABLE_DDOS_PROTECTION: Key<Switch> = Key::new(
    "security.enable_ddos_protection",
    Switch,
    true,
    "Keep addresses out for a while that attack: by what is no Stratum, lines and handshakes that never end, floods, or \
     connections that say nothing, again and again. A miner that finds no pool has done nothing, and an address with \
     miners at work is forgiven more.",
);

pub(in crate::config) static SECURITY_ALLOW: Key<Networks> = Key::new(
    "security.allow",
    Networks { count_max: 256 },
    &[],
    "Only addresses in these networks may connect. Empty means all.",
);

pub(in crate::config) static SECURITY_DENY: Key<Networks> = Key::new(
    "security.deny",
    Networks { count_max: 256 },
    &[],
    "Addresses in these networks may not connect, whatever `allow` says.",
);

pub(in crate::config) static SECURITY_MAX_CONNECTIONS_PER_IP: Key<Whole> = Key::new(
    "security.max_connections_per_ip",
    Whole { min: 0, max: 1_000_000 },
    0,
    "Connections that one address may have at one time, over all shards (a /64 of IPv6 is one address). 0 means no limit: a \
     farm may stand behind one address.",
);

pub(in crate::config) static SECURITY_MAX_CONNECTS_PER_MINUTE: Key<Whole> = Key::new(
    "security.max_connects_per_minute",
    Whole { min: 0, max: 10_000_000 },
    0,
    "Connections that one address may make in a minute, on each shard. 0 means no limit.",
);

pub(in crate::config) static SECURITY_BLOCKED_IP_TTL: Key<Time> = Key::new(
    "security.blocked_ip_ttl",
    Time { min: SECOND, max: days(365) },
    HOUR,
    "How long an address is kept out that attacks. Each further time within a day it is twice as long, at most a week.",
);
