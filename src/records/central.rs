//! The database of a fleet (`records.url`): share records of many hosts, put together in one place.
//!
//! The file of this host stays the truth and the buffer. A thread of its own (`fleet`) reads from it what is not there yet and
//! sends it; the writer of the file only notes which minutes have changed, and takes off what is sent. So a database that is
//! away, slow, full or hostile delays neither the file nor a shard, and costs no record that is still kept when it is back.

mod client;
mod error;
mod figures;
mod local;
mod sender;
mod statements;
#[cfg(test)]
mod tests;
mod tls;

pub use error::CentralError;
pub(super) use figures::CentralMeter;
pub use figures::{CentralFailure, CentralFigures, CentralTable};

use super::store::Sent;
use crate::alerts::host_name;
use crate::config::{Config, Database};
use crate::pools::resolve::{ResolveError, Resolver};
use crate::pools::tls::TlsSetupError;
use client::{Client, Target};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use sender::{LAST_MAX, Sender};
use std::io;
use std::path::Path;
use std::time::Duration;
use tls::Connector;
use tokio::sync::oneshot;

/// Minutes that the writer may still have to be told of.
const SENT_MAX: usize = 4_096;
/// How long the thread may take to end: what is left, and a little.
pub(super) const END_MAX: Duration = LAST_MAX.saturating_add(Duration::from_millis(500));

/// Why nothing can be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The authorities cannot be read.
    #[error("records.ca_file: {0}")]
    Tls(#[from] TlsSetupError),
    /// Names cannot be looked up.
    #[error(transparent)]
    Resolver(#[from] ResolveError),
    /// No thread, or no event queue for it.
    #[error("cannot start the thread that sends records: {0}")]
    Thread(#[from] io::Error),
}

/// The writer's end: what is sent, and the thread that sends it.
#[derive(Debug)]
pub(super) struct Outlet {
    sent: Receiver<Sent>,
    end: Option<oneshot::Sender<()>>,
    ended: Receiver<()>,
}

/// Starts the thread where there is a database to send to. `file` is what it reads from.
///
/// # Errors
/// [`FleetError`]. Whatever is wrong with the database is told, counted and tried again, and is no error here.
pub(super) fn start(
    config: &Config,
    file: &Path,
    meter: &CentralMeter,
) -> Result<Option<Outlet>, FleetError> {
    let records = &config.records;
    let Some(database) = records.sent_to().cloned() else { return Ok(None) };
    let host = if records.host.is_empty() { host_name() } else { records.host.clone() };
    if host.is_empty() || host.starts_with("localhost") || host == "(none)" {
        tracing::warn!(host, "records.host is not set and the name of this host tells it from no other");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = {
        let _within = runtime.enter();
        target(config, &database, host.clone())?
    };
    tracing::info!(database = %database, host, every = ?records.send_every, "records are sent");
    let (to, sent) = bounded(SENT_MAX);
    meter.enable();
    let sender = Sender::new(file.to_owned(), target, records.send_every, meter.clone(), to);
    let (end, asked) = oneshot::channel();
    let (alive, ended) = bounded::<()>(0);
    std::thread::Builder::new().name("fleet".to_owned()).spawn(move || {
        runtime.block_on(sender.run(asked));
        // A look-up of a name that hangs must not hold the process.
        runtime.shutdown_background();
        drop(alive);
    })?;
    Ok(Some(Outlet { sent, end: Some(end), ended }))
}

/// Within a runtime.
fn target(config: &Config, database: &Database, host: String) -> Result<Target, FleetError> {
    let tls = Connector::new(database.tls, &database.place, config.records.ca_file.as_deref())?;
    let resolver = Resolver::new(&config.failover.dns_servers)?;
    Ok(Target { database: database.clone(), tls, resolver, host })
}

/// Logs in to a database as a proxy would, and sees whether its tables can be written. It writes nothing and makes no table.
///
/// # Errors
/// What is wrong, with what to do about it behind `\n  fix: ` where that is known.
pub async fn examine(config: &Config, database: &Database) -> Result<(), CentralError> {
    let target = target(config, database, String::new())
        .map_err(|error| CentralError::new(CentralFailure::Tls, error.to_string()))?;
    match Client::log_in(&target).await?.try_tables(&target).await {
        Err(error) if error.kind == CentralFailure::Schema => Err(error.with(
            "\n  fix: a proxy makes missing tables where its user may; else let the owner of the database run config/fleet.sql",
        )),
        other => other,
    }
}

impl Outlet {
    /// What is sent since this was last asked.
    pub(super) fn sent(&self) -> impl Iterator<Item = Sent> + '_ {
        self.sent.try_iter()
    }

    /// Lets it send what is left, for [`END_MAX`] at most.
    pub(super) fn finish(&mut self) {
        drop(self.end.take());
        if self.ended.recv_timeout(END_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the thread that sends records does not end");
        }
    }
}
