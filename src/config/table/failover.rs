//! The keys of `[failover]`.

use std::time::Duration;

use super::{HOUR, SECOND, days};
use crate::config::form::{Time, Whole};
use crate::config::key::Key;
use crate::config::lists::Addresses;

const MINUTE: Duration = Duration::from_secs(60);
const TEN_SECONDS: Duration = Duration::from_secs(10);
const TEN_MINUTES: Duration = Duration::from_secs(600);

pub(in crate::config) static FAILOVER_HOLD_MINERS: Key<Time> = Key::new(
    "failover.hold_miners",
    Time { min: Duration::ZERO, max: HOUR },
    Duration::from_secs(60),
    "How long a miner may wait without any pool before it is disconnected, so that it can try its own next pool. With 0s \
     every miner leaves with its pool.",
);

pub(in crate::config) static FAILOVER_HANDSHAKE_TIMEOUT: Key<Time> = Key::new(
    "failover.handshake_timeout",
    Time { min: SECOND, max: MINUTE },
    TEN_SECONDS,
    "How long a pool may take to answer mining.subscribe once it is connected. Where miners are held (hold_miners), it is \
     also how long a pool may say nothing at all while shares wait for their answers.",
);

pub(in crate::config) static FAILOVER_NOTIFY_SILENCE: Key<Time> = Key::new(
    "failover.notify_silence",
    Time { min: TEN_SECONDS, max: days(1) },
    Duration::from_secs(300),
    "A pool that sends no job for so long has failed.",
);

pub(in crate::config) static FAILOVER_BEHIND_FOR: Key<Time> = Key::new(
    "failover.behind_for",
    Time { min: TEN_SECONDS, max: days(1) },
    Duration::from_secs(120),
    "How long a pool may stay on an older block than the other pools.",
);

pub(in crate::config) static FAILOVER_FAILURES: Key<Whole> = Key::new(
    "failover.failures",
    Whole { min: 1, max: 100 },
    3,
    "Failures in a row that make a pool failed: connections that could not be had. After as many losses of another kind, \
     such as subscriptions that it refuses, a handshake of the proxy's own decides.",
);

pub(in crate::config) static FAILOVER_BACKOFF_MIN: Key<Time> = Key::new(
    "failover.backoff_min",
    Time { min: Duration::from_millis(100), max: HOUR },
    SECOND,
    "How long a failed pool is left alone before it is tried again; the time grows with each further failure.",
);

pub(in crate::config) static FAILOVER_BACKOFF_MAX: Key<Time> = Key::new(
    "failover.backoff_max",
    Time { min: Duration::from_millis(100), max: days(1) },
    Duration::from_secs(60),
    "The longest such time; at least backoff_min.",
);

pub(in crate::config) static FAILOVER_STABLE_FOR: Key<Time> = Key::new(
    "failover.stable_for",
    Time { min: Duration::ZERO, max: days(1) },
    Duration::from_secs(60),
    "How long a pool that came back must stay well before miners return to it.",
);

pub(in crate::config) static FAILOVER_CONNECTS_PER_SECOND: Key<Whole> = Key::new(
    "failover.connects_per_second",
    Whole { min: 0, max: 1_000_000 },
    1000,
    "New connections a second to one pool, over all shards: a pool that comes back is not overrun. 0 means no limit.",
);

pub(in crate::config) static FAILOVER_REJECT_PERCENT: Key<Whole> = Key::new(
    "failover.reject_percent",
    Whole { min: 1, max: 100 },
    50,
    "A pool that rejects at least this part of the shares within `window`, in percent, has failed.",
);

pub(in crate::config) static FAILOVER_RESPONSE_P95: Key<Time> = Key::new(
    "failover.response_p95",
    Time { min: Duration::from_millis(10), max: TEN_MINUTES },
    Duration::from_secs(5),
    "A pool whose response times to shares within `window` have a 95th percentile above this has failed.",
);

pub(in crate::config) static FAILOVER_WINDOW: Key<Time> = Key::new(
    "failover.window",
    Time { min: TEN_SECONDS, max: HOUR },
    Duration::from_secs(60),
    "The time over which rejects and response times are judged. A pool that answered fewer than 20 shares in it is not \
     judged by them.",
);

pub(in crate::config) static FAILOVER_DNS_SERVERS: Key<Addresses> = Key::new(
    "failover.dns_servers",
    Addresses { min: 0, max: 4, example: "[\"192.0.2.53\", \"2001:db8::53\"]" },
    &[],
    "Name servers that are asked for the pools' names. Empty means the host's resolver.",
);
