//! The keys of `[[pool]]`.

use crate::config::domains::{Domains, ServerName};
use crate::config::form::{Choice, Hidden, Switch, Text, Whole, Words};
use crate::config::key::Key;
use crate::config::net::PoolHost;
use crate::config::pins::Pins;
use crate::config::sections::TlsVersion;
use crate::config::socks5::Socks5;

pub(in crate::config) static POOL_NAME: Key<Text> = Key::new(
    "pool.name",
    Text { min: 1, max: 64 },
    "pool",
    "Name of the pool in logs and metrics; no two pools share one. The second pool is called pool2 when it has no name, \
     the third pool3.",
);

pub(in crate::config) static POOL_HOST: Key<PoolHost> = Key::new(
    "pool.host",
    PoolHost,
    (),
    "Host name or IP address of the pool, optionally with stratum+tcp:// before it, or stratum+ssl:// for TLS, and a \
     port behind it; that port then takes the place of `port`. There is no default: every pool must be named here, the \
     first one here, by the environment or by --pool.",
)
.flag("--pool");

pub(in crate::config) static POOL_PORT: Key<Whole> =
    Key::new("pool.port", Whole { min: 1, max: 65_535 }, 3333, "TCP port of the pool.").flag("--pool");

pub(in crate::config) static POOL_USERNAME: Key<Text> = Key::new(
    "pool.username",
    Text { min: 0, max: 128 },
    "",
    "Account at the pool that takes the place of the account in each miner's user name; the worker part \
     behind the separator is kept byte for byte. Empty means that miners' names are passed on unchanged.",
);

pub(in crate::config) static POOL_PASSWORD: Key<Hidden> = Key::new(
    "pool.password",
    Hidden(Text { min: 0, max: 128 }),
    "",
    "Password sent to the pool in place of the miners' own. Empty means that each miner's password is \
     passed on. Never printed or logged.",
);

pub(in crate::config) static POOL_SEPARATOR: Key<Words> = Key::new(
    "pool.separator",
    Words { count_max: 8, bytes_max: 8 },
    &[".", "_"],
    "What separates account and worker in a miner's user name.",
);

pub(in crate::config) static POOL_EXTRANONCE: Key<Switch> = Key::new(
    "pool.extranonce",
    Switch,
    false,
    "Subscribe to extranonce changes at the pool, and relay them to the miners that asked for them.",
);

pub(in crate::config) static POOL_PRIORITY: Key<Whole> = Key::new(
    "pool.priority",
    Whole { min: 1, max: 1000 },
    1,
    "Miners go to the pools with the lowest number that are well. The default is the pool's place in the file: 1 for \
     the first, 2 for the second.",
);

pub(in crate::config) static POOL_WEIGHT: Key<Whole> = Key::new(
    "pool.weight",
    Whole { min: 1, max: 1000 },
    1,
    "Pools of the same priority share the miners in the proportion of their weights.",
);

pub(in crate::config) static POOL_TLS_CA_FILE: Key<Text> = Key::new(
    "pool.tls_ca_file",
    Text { min: 0, max: 4096 },
    "",
    "PEM file of the authorities that may vouch for the pool's certificate. Empty means those of the system. This key \
     and the other tls_ keys need stratum+ssl:// before the pool's host.",
);

pub(in crate::config) static POOL_TLS_SERVER_NAME: Key<ServerName> = Key::new(
    "pool.tls_server_name",
    ServerName,
    (),
    "Name or IP address that the pool's certificate must be for. Empty means the pool's host.",
);

pub(in crate::config) static POOL_TLS_PINS: Key<Pins> = Key::new(
    "pool.tls_pins",
    Pins { count_max: 8 },
    (),
    "Public keys that the pool may show beside a valid certificate: each \"sha256/\" and the base64 of the SHA-256 of \
     the key (SubjectPublicKeyInfo). Empty means any key.",
);

pub(in crate::config) static POOL_TLS_MIN_VERSION: Key<Choice<TlsVersion>> = Key::new(
    "pool.tls_min_version",
    Choice { listed: TlsVersion::NAMES, accepted: &[] },
    TlsVersion::V1_2,
    "The oldest version of TLS that is spoken with the pool.",
);

pub(in crate::config) static POOL_PROXY: Key<Socks5> = Key::new(
    "pool.proxy",
    Socks5,
    (),
    "SOCKS5 proxy on the way to the pool, such as \"socks5://10.0.0.5:1080\" or \"socks5://user:password@proxy:1080\"; \
     user and password are taken as they are written, without percent signs for anything. Empty means none. A value \
     with a password is never printed or logged.",
);

pub(in crate::config) static POOL_RECONNECT_DOMAINS: Key<Domains> = Key::new(
    "pool.reconnect_domains",
    Domains { count_max: 16 },
    (),
    "Domains that this pool may send its miners to by client.reconnect; \"example.com\" stands for that name and all \
     names under it.",
);
