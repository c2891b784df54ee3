//! Reads the configuration again when somebody asks, on a thread of its own, and hands what is new to the proxy as a whole.
//!
//! Everything that can go wrong goes wrong here, before anything has changed.

use super::{Ends, Event, Proxy, certificate, plan, start_alerts, watch_certificate};
use crate::aggregate::{Limits, SnapshotReader};
use crate::alerts::{AlertCounts, Alerts, AlertsError};
use crate::config::{Config, InForce, LogFilter, ServerTls, Standing};
use crate::pools::{LookoutReload, Roster};
use crate::reload::{ReloadCounts, ReloadError, ReloadWish, Reloaded};
use certificate::Certificate;
use crossbeam::channel::Sender;
use loka_runtime::preflight::Preflight;
use loka_runtime::{Command, Reload};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What the proxy is to change, all of it checked.
pub(super) struct Renewal {
    /// Counts reloads.
    pub(super) number: u32,
    pub(super) shards: Arc<Reload>,
    pub(super) lookout: LookoutReload,
    pub(super) roster: Roster,
    pub(super) limits: Limits,
    pub(super) config: Config,
    pub(super) in_force: Vec<InForce>,
    pub(super) alerts: NewAlerts,
    pub(super) certificate: Option<(ServerTls, Certificate)>,
    /// What is to be logged, where that has changed.
    pub(super) level: Option<LogFilter>,
    /// Hears whether it was taken.
    pub(super) taken: SyncSender<bool>,
}

/// What becomes of alerts: whoever goes on as before keeps what stands.
#[derive(Debug)]
pub(super) enum NewAlerts {
    AsBefore,
    From(Option<Box<Alerts>>),
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What some shard could not be told yet, because too much was waiting for it.
#[derive(Debug, Default)]
pub(super) struct Untold {
    pub(super) reload: Option<Command>,
    pub(super) certificate: Option<Command>,
}

impl Untold {
    pub(super) fn tell(&mut self, ends: &Ends) {
        for command in [&mut self.reload, &mut self.certificate] {
            *command = command.take().filter(|command| !ends.tell_all(command));
        }
    }
}

impl Proxy {
    /// Puts a new configuration in force.
    pub(super) fn renew(&mut self, renewal: Renewal, untold: &mut Untold) {
        let Renewal { number, shards, lookout, config, certificate, taken, .. } = renewal;
        let is_taken = self.lookout.reload(lookout);
        if is_taken {
            self.reloads = number;
            self.roster = renewal.roster;
            untold.reload = Some(Command::Reload(shards));
            self.knobs.limits.send_replace(renewal.limits);
            self.knobs.api.send_replace(config.api.clone());
            self.aggregator.set_interval(config.metrics.collection_interval);
            self.drain_timeout = config.server.drain_timeout;
            if let Some(records) = &self.records {
                records.hold_to(&config);
            }
            self.show(renewal.in_force);
            if let Some((tls, first)) = certificate {
                untold.certificate = Some(Command::MinerTls(Arc::clone(&first.config)));
                match watch_certificate(Some(&tls), Some(&first), &self.events.0) {
                    Ok(watch) => self.certificate = watch,
                    Err(error) => tracing::error!(%error, "the certificate is not watched as it should be"),
                }
            }
            if let Some(level) = renewal.level
                && let Err(error) = self.knobs.levels.set(&level.to_string())
            {
                tracing::error!(%error, "what is logged has not changed");
            }
            untold.tell(&self.ends);
            if let NewAlerts::From(alerts) = renewal.alerts {
                self.renew_alerts(alerts.map(|alerts| *alerts));
            }
        }
        // Who asked may have gone.
        let _ = taken.send(is_taken);
    }

    /// The old ones may take [`LAST_WORDS_MAX`](crate::alerts::LAST_WORDS_MAX) for what is left; a drain waits for that too.
    fn renew_alerts(&mut self, alerts: Option<Alerts>) {
        if let Some(old) = self.alerts.take() {
            old.stop();
        }
        match start_alerts(alerts, &self.aggregator) {
            Ok(alerts) => self.alerts = alerts,
            Err(error) => tracing::error!(%error, "there are no alerts until the next reload"),
        }
    }
}

/// Reads, checks, and hands over.
pub(super) struct Reloader {
    pub(super) standing: Standing,
    pub(super) roster: Roster,
    pub(super) number: u32,
    pub(super) shards: usize,
    pub(super) host: Preflight,
    pub(super) snapshots: SnapshotReader,
    pub(super) counts: ReloadCounts,
    pub(super) alert_counts: AlertCounts,
    pub(super) events: Sender<Event>,
}

impl Reloader {
    /// Serves `wishes` on a thread named `reload`, which ends with the desk.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(mut self, wishes: Receiver<ReloadWish>) -> io::Result<()> {
        let serve = move || {
            for ReloadWish { cause, answer } in wishes {
                let result = self.reload();
                self.counts.add(result.is_err());
                tell(cause, &result);
                if let Some(answer) = answer {
                    // Who has gone meanwhile reads the log.
                    let _ = answer.send(result);
                }
            }
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(serve).map(drop)
    }

    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let proposal = self.standing.reread()?;
        let new = proposal.standing.config().clone();
        let now = self.snapshots.latest();
        let roster = self.roster.renewed(&new.pools, |number| now.links_of_pool(number) == 0)?;
        let (taken, is_taken) = sync_channel(1);
        let renewal = self.renewal(&new, proposal.standing.in_force(), &roster, taken)?;
        let event = Event::Reload(Box::new(renewal));
        self.events.send(event).map_err(|_| ReloadError::Ended)?;
        if !is_taken.recv().map_err(|_| ReloadError::Ended)? {
            return Err(ReloadError::Busy);
        }
        (self.standing, self.roster) = (proposal.standing, roster);
        self.number += 1;
        Ok(Reloaded { changes: proposal.changes, warnings: proposal.warnings })
    }

    fn alerts(&self, new: &Config) -> Result<NewAlerts, AlertsError> {
        let old = self.standing.config();
        let is_same = (&old.alerts, &old.failover.dns_servers) == (&new.alerts, &new.failover.dns_servers);
        if is_same {
            Ok(NewAlerts::AsBefore)
        } else {
            Alerts::prepare(new, &self.alert_counts).map(|alerts| NewAlerts::From(alerts.map(Box::new)))
        }
    }

    fn renewal(
        &self,
        new: &Config,
        in_force: &[InForce],
        roster: &Roster,
        taken: SyncSender<bool>,
    ) -> Result<Renewal, ReloadError> {
        let number = self.number + 1;
        let by_number = Config { pools: roster.pools(), ..new.clone() };
        let lookout = LookoutReload::prepare(&by_number, roster.clone(), &self.roster, number)?;
        let certificate = match &new.server.tls {
            Some(tls) => Some((tls.clone(), certificate::read(tls)?)),
            None => None,
        };
        let shown = certificate.as_ref().map(|(_, certificate)| Arc::clone(&certificate.config));
        let (targets, first_seen) = (lookout.targets(), lookout.first_seen());
        let plan = plan::shard_plan(&by_number, &targets, &first_seen, shown, None, self.shards, self.host);
        let level = &new.logging.level;
        Ok(Renewal {
            number,
            shards: Arc::new(Reload { plan, rate_limit: plan::rate_limit(new) }),
            lookout,
            roster: roster.clone(),
            limits: plan::limits(new),
            config: new.clone(),
            in_force: in_force.to_vec(),
            alerts: self.alerts(new)?,
            certificate,
            level: Some(level).filter(|level| **level != self.standing.config().logging.level).cloned(),
            taken,
        })
    }
}

/// The log is where an operator looks who sent a signal.
fn tell(cause: &str, result: &Result<Reloaded, ReloadError>) {
    match result {
        Ok(reloaded) => {
            for warning in &reloaded.warnings {
                tracing::warn!("{warning}");
            }
            for change in &reloaded.changes {
                tracing::info!(needs_restart = change.needs_restart, "configuration: {change}");
            }
            let (taken, all) = (reloaded.taken(), reloaded.changes.len());
            tracing::info!(cause, taken, needing_restart = all - taken, "the configuration was reloaded");
        }
        Err(error) => {
            tracing::error!(cause, %error, "the configuration was not reloaded: nothing has changed");
        }
    }
}
