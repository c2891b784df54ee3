//! Why a proxy does not start, and why it ends other than by a drain.

use crate::admin::AdminError;
use crate::alerts::AlertsError;
use crate::pools::LookoutError;
use crate::pools::tls::TlsSetupError;
use crate::records::FleetError;
use loka_runtime::cores::CoresError;
use loka_runtime::preflight::PreflightError;
use loka_runtime::{ListenError, ShardError};
use std::io;
use thiserror::Error;

/// Why the proxy could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The host lacks what shards need.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The pools cannot be watched, or none of their names leads anywhere.
    #[error(transparent)]
    Lookout(#[from] LookoutError),
    /// The certificate for miners cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsSetupError),
    /// The CPUs asked for cannot be had.
    #[error(transparent)]
    Cores(#[from] CoresError),
    /// The miners' port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The metrics port cannot be listened on.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Alerts cannot be posted.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// Share records cannot be kept or sent.
    #[error(transparent)]
    Records(#[from] FleetError),
    /// A shard could not be started.
    #[error("a shard cannot start: {0}")]
    Shard(#[from] ShardError),
    /// A shard did not come up, and did not say why either.
    #[error("shards did not come up in time")]
    Slow,
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Why the proxy ended other than by a drain.
#[derive(Debug, Error)]
pub enum RunError {
    /// A shard cannot go on.
    #[error("shard {shard} died: {cause}")]
    ShardDied {
        /// Its number.
        shard: usize,
        /// Its error.
        #[source]
        cause: ShardError,
    },
    /// A shard ended that nobody had asked to.
    #[error("shard {shard} ended by itself")]
    ShardEnded {
        /// Its number.
        shard: usize,
    },
    /// A second signal came during the drain.
    #[error("stopped before the drain was done")]
    Impatient,
    /// The drain took longer than its deadline.
    #[error("shards did not end within the drain's deadline")]
    DrainOverdue,
}
