//! The keys of `[records]`.

use crate::config::form::{Switch, Text, Whole};
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
