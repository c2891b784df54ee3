//! The keys of `[records]`.

use std::time::Duration;

use super::{HOUR, SECOND};
use crate::config::database::DatabaseUrl;
use crate::config::form::{Switch, Text, Time, Whole};
use crate::config::key::Key;

pub(in crate::config) static RECORDS_ENABLE: Key<Switch> =
    Key::new("records.enable", Switch, true, "Keep records of shares, where there is a file for them.")
        .at_start();

pub(in crate::config) static RECORDS_FILE: Key<Text> = Key::new(
    "records.file",
    Text { min: 0, max: 4096 },
    "",
    "Path of that file. Its folder is made if that is all that is missing. Empty means records.sqlite in the state folder that \
     systemd gives a service (STATE_DIRECTORY, for the unit of the package /var/lib/loka-stratum); where there is none, no \
     records are kept.",
)
.at_start();

pub(in crate::config) static RECORDS_MAX_MIB: Key<Whole> = Key::new(
    "records.max_mib",
    Whole { min: 0, max: 16_000_000 },
    10_240,
    "MiB that records may take of the disk; the oldest make room. 100,000 workers with a share in every minute need some 4,000 \
     a day. 0 sets no limit.",
);

pub(in crate::config) static RECORDS_URL: Key<DatabaseUrl> = Key::new(
    "records.url",
    DatabaseUrl,
    (),
    "The database that records of many hosts are put together in: PostgreSQL, or another that speaks as it does (FLEETS.md). \
     They are kept in the file all the same, and sent from there. Of TLS, sslmode says as usual: disable, prefer (the default), \
     require, verify-full. Empty means that nothing is sent. Never printed or logged with its password.",
)
.at_start();

pub(in crate::config) static RECORDS_CA_FILE: Key<Text> = Key::new(
    "records.ca_file",
    Text { min: 0, max: 4096 },
    "",
    "PEM file of the authorities that may vouch for the database's certificate, with sslmode=verify-full. Empty means those of \
     the system.",
)
.at_start();

pub(in crate::config) static RECORDS_HOST: Key<Text> = Key::new(
    "records.host",
    Text { min: 0, max: 128 },
    "",
    "What this host is called in that database. Empty means the name of the host.",
)
.at_start();

pub(in crate::config) static RECORDS_SEND_EVERY: Key<Time> = Key::new(
    "records.send_every",
    Time { min: SECOND, max: HOUR },
    Duration::from_secs(30),
    "How often minutes that are over are sent there.",
)
.at_start();
