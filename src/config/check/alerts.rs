//! `[alerts]`: its values against each other.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::View;
use crate::config::duration;
use crate::config::error::Problems;
use crate::config::net::Host;
use crate::config::sections::AlertsConfig;
use crate::config::table;

impl View<'_> {
    pub(super) fn alerts(&self, problems: &mut Problems) -> AlertsConfig {
        let ca_file = self.get(&table::ALERTS_CA_FILE);
        let time = |time: Duration| (!time.is_zero()).then_some(time);
        let alerts = AlertsConfig {
            webhook: self.get(&table::ALERTS_URL),
            secret: self.get(&table::ALERTS_SECRET),
            ca_file: (!ca_file.is_empty()).then(|| PathBuf::from(ca_file)),
            format: self.get(&table::ALERTS_FORMAT),
            source: self.get(&table::ALERTS_SOURCE),
            pools: self.get(&table::ALERTS_POOLS),
            shards: self.get(&table::ALERTS_SHARDS),
            resources: self.get(&table::ALERTS_RESOURCES),
            silent_for: time(self.get(&table::ALERTS_SILENT_FOR)),
            silent_forget: self.get(&table::ALERTS_SILENT_FORGET),
            silent_min: NonZeroU32::new(self.get(&table::ALERTS_SILENT_MIN)).unwrap_or(NonZeroU32::MIN),
            reject_percent: NonZeroU32::new(self.get(&table::ALERTS_REJECT_PERCENT)),
            reject_window: self.get(&table::ALERTS_REJECT_WINDOW),
            fire_after: self.get(&table::ALERTS_FIRE_AFTER),
            resolve_after: self.get(&table::ALERTS_RESOLVE_AFTER),
            repeat: time(self.get(&table::ALERTS_REPEAT)),
            batch: self.get(&table::ALERTS_BATCH),
        };
        if let Some(silent) = alerts.silent_for.filter(|silent| *silent >= alerts.silent_forget)
            && self.all_read(&[&table::ALERTS_SILENT_FOR, &table::ALERTS_SILENT_FORGET])
        {
            let (silent, forget) = (duration::format(silent), duration::format(alerts.silent_forget));
            let complaint = format!(
                "alerts.silent_forget ({forget}) must be longer than alerts.silent_for ({silent}), or no worker would ever \
                 be silent"
            );
            problems.value(&self.later(&table::ALERTS_SILENT_FOR, &table::ALERTS_SILENT_FORGET), complaint);
        }
        alerts
    }

    /// Names of workers and pools that anybody on the way can read.
    pub(super) fn warn_of_plain_alerts(&self) -> Option<String> {
        let webhook = self.get(&table::ALERTS_URL).filter(|webhook| !webhook.tls)?;
        let is_here = match &webhook.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        };
        let told = "without https:// anybody on the way can read and change alerts";
        (!is_here).then(|| format!("{}: {told}", self.subject(&table::ALERTS_URL)))
    }
}
