//! `[records]`: its values against each other.

use std::num::NonZeroU64;
use std::path::PathBuf;

use super::View;
use crate::config::error::Problems;
use crate::config::net::Host;
use crate::config::sections::{Database, DatabasePlace, RecordsConfig, SslMode};
use crate::config::table;

impl View<'_> {
    pub(super) fn records(&self, problems: &mut Problems) -> RecordsConfig {
        let path = |text: String| (!text.is_empty()).then(|| PathBuf::from(text));
        let records = RecordsConfig {
            enable: self.get(&table::RECORDS_ENABLE),
            file: path(self.get(&table::RECORDS_FILE)),
            bytes_max: NonZeroU64::new(u64::from(self.get(&table::RECORDS_MAX_MIB)) * 1024 * 1024),
            database: self.get(&table::RECORDS_URL),
            ca_file: path(self.get(&table::RECORDS_CA_FILE)),
            host: self.get(&table::RECORDS_HOST),
            send_every: self.get(&table::RECORDS_SEND_EVERY),
        };
        let checks_nobody = records.database.as_ref().is_some_and(|it| it.tls != SslMode::VerifyFull);
        if checks_nobody && records.ca_file.is_some() {
            let complaint =
                "has an effect with sslmode=verify-full in records.url only: otherwise nobody is checked";
            problems.value(&self.subject(&table::RECORDS_CA_FILE), complaint);
        }
        records
    }

    /// Names of workers, and the password, for whoever is on the way.
    pub(super) fn warn_of_open_database(&self) -> Option<String> {
        let Database { place, tls, .. } = self.get(&table::RECORDS_URL)?;
        let is_here = match place {
            DatabasePlace::Socket(_) => true,
            DatabasePlace::Tcp { host: Host::Ip(ip), .. } => ip.is_loopback(),
            DatabasePlace::Tcp { host: Host::Name(name), .. } => name == "localhost",
        };
        let told = "without sslmode=verify-full anybody on the way can be taken for the database";
        (!is_here && tls != SslMode::VerifyFull)
            .then(|| format!("{}: {told}", self.subject(&table::RECORDS_URL)))
    }
}
