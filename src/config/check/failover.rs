//! `[failover]`: its values against each other.

use std::num::NonZeroU32;

use super::View;
use crate::config::duration;
use crate::config::error::Problems;
use crate::config::sections::FailoverConfig;
use crate::config::table;

impl View<'_> {
    pub(super) fn failover(&self, problems: &mut Problems) -> FailoverConfig {
        let failures = self.get(&table::FAILOVER_FAILURES);
        let failover = FailoverConfig {
            hold_miners: self.get(&table::FAILOVER_HOLD_MINERS),
            handshake_timeout: self.get(&table::FAILOVER_HANDSHAKE_TIMEOUT),
            notify_silence: self.get(&table::FAILOVER_NOTIFY_SILENCE),
            behind_for: self.get(&table::FAILOVER_BEHIND_FOR),
            failures: NonZeroU32::new(failures).unwrap_or(NonZeroU32::MIN),
            backoff_min: self.get(&table::FAILOVER_BACKOFF_MIN),
            backoff_max: self.get(&table::FAILOVER_BACKOFF_MAX),
            stable_for: self.get(&table::FAILOVER_STABLE_FOR),
            connects_per_second: NonZeroU32::new(self.get(&table::FAILOVER_CONNECTS_PER_SECOND)),
            reject_percent: self.get(&table::FAILOVER_REJECT_PERCENT),
            response_p95: self.get(&table::FAILOVER_RESPONSE_P95),
            window: self.get(&table::FAILOVER_WINDOW),
            dns_servers: self.get(&table::FAILOVER_DNS_SERVERS),
        };
        if failover.backoff_max < failover.backoff_min
            && self.all_read(&[&table::FAILOVER_BACKOFF_MIN, &table::FAILOVER_BACKOFF_MAX])
        {
            let (min, max) = (duration::format(failover.backoff_min), duration::format(failover.backoff_max));
            let complaint = format!(
                "failover.backoff_max ({max}) must be at least as long as failover.backoff_min ({min})"
            );
            problems
                .value(&self.later(&table::FAILOVER_BACKOFF_MIN, &table::FAILOVER_BACKOFF_MAX), complaint);
        }
        failover
    }
}
