//! Who wants the configuration read again, and what came of it: a desk for signals and the API, and the counts for the metrics.
//!
//! It reads no file and changes nothing; that is the supervisor's.

use crate::alerts::AlertsError;
use crate::config::{Change, ConfigError};
use crate::pools::tls::TlsSetupError;
use crate::pools::{LookoutError, RosterFull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::oneshot;

/// Reloads that may wait: each reads all there is to be read, so more of them would change nothing.
const ASKED_MAX: usize = 4;

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Every difference to what was in force; those that need a restart were not taken.
    pub changes: Vec<Change>,
    /// What an operator should know although it is no mistake.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// How many were taken.
    pub fn taken(&self) -> usize {
        self.changes.iter().filter(|change| !change.needs_restart).count()
    }
}

/// Why a reload changed nothing.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The configuration has mistakes, or cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pools cannot be used as they are described.
    #[error(transparent)]
    Pools(#[from] LookoutError),
    /// There is no number left for a pool.
    #[error(transparent)]
    Roster(#[from] RosterFull),
    /// Alerts cannot be posted as they should be.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// The certificate for miners cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsSetupError),
    /// Others wait already, or the proxy has more to do than it can take.
    #[error("the proxy is busy: try again")]
    Busy,
    /// The configuration of this process came from nowhere that could be read again.
    #[error("this process was not started from a configuration that can be read again")]
    Off,
    /// The proxy is about to end.
    #[error("the proxy is about to end")]
    Ended,
}

/// Whoever gets the answer of a reload.
pub type ReloadAnswer = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// A wish that the configuration is read again.
#[derive(Debug)]
pub struct ReloadWish {
    /// Such as `SIGHUP`.
    pub cause: &'static str,
    /// Who wants to know, where somebody does.
    pub answer: Option<ReloadAnswer>,
}

/// Where reloads are asked for; cheap to clone, from any thread.
#[derive(Debug, Clone, Default)]
pub struct ReloadDesk(Arc<OnceLock<SyncSender<ReloadWish>>>);

impl ReloadDesk {
    /// Opens it. What is asked for comes out here; `None` when it is open already.
    pub fn open(&self) -> Option<Receiver<ReloadWish>> {
        let (send, wishes) = sync_channel(ASKED_MAX);
        self.0.set(send).ok().map(|()| wishes)
    }

    /// Asks, and does not wait for what comes of it; the log tells.
    ///
    /// # Errors
    /// [`ReloadError::Off`], [`ReloadError::Busy`], [`ReloadError::Ended`]
    pub fn ask(&self, cause: &'static str) -> Result<(), ReloadError> {
        self.wish(ReloadWish { cause, answer: None })
    }

    /// Asks, and waits for what comes of it.
    ///
    /// # Errors
    /// [`ReloadError`]
    pub async fn reload(&self, cause: &'static str) -> Result<Reloaded, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.wish(ReloadWish { cause, answer: Some(answer) })?;
        answered.await.unwrap_or(Err(ReloadError::Ended))
    }

    fn wish(&self, wish: ReloadWish) -> Result<(), ReloadError> {
        let desk = self.0.get().ok_or(ReloadError::Off)?;
        desk.try_send(wish).map_err(|error| match error {
            TrySendError::Full(_) => ReloadError::Busy,
            TrySendError::Disconnected(_) => ReloadError::Ended,
        })
    }
}

/// Counts of reloads, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReloadFigures {
    /// Those that were applied, without a change too.
    pub applied: u64,
    /// Those that changed nothing because something was wrong.
    pub refused: u64,
    /// Whether the last one, if any, was refused.
    pub is_last_refused: bool,
    /// When the configuration in force was taken: seconds since 1970, UTC.
    pub applied_unix_seconds: u64,
}

/// Counts reloads; clones count together. Made when the first configuration is in force.
#[derive(Debug, Clone)]
pub struct ReloadCounts(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    applied: AtomicU64,
    refused: AtomicU64,
    last_refused: AtomicU64,
    applied_at: AtomicU64,
}

impl Default for ReloadCounts {
    fn default() -> Self {
        let (applied, refused, last_refused) = Default::default();
        ReloadCounts(Arc::new(Counts { applied, refused, last_refused, applied_at: unix_seconds().into() }))
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl ReloadCounts {
    /// One more.
    pub fn add(&self, is_refused: bool) {
        let Counts { applied, refused, last_refused, applied_at } = &*self.0;
        last_refused.store(is_refused.into(), Ordering::Relaxed);
        if is_refused {
            refused.fetch_add(1, Ordering::Relaxed);
        } else {
            applied.fetch_add(1, Ordering::Relaxed);
            applied_at.store(unix_seconds(), Ordering::Relaxed);
        }
    }

    /// The counts so far.
    pub fn figures(&self) -> ReloadFigures {
        ReloadFigures {
            applied: self.0.applied.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
            is_last_refused: self.0.last_refused.load(Ordering::Relaxed) != 0,
            applied_unix_seconds: self.0.applied_at.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_is_closed_until_it_is_opened_and_bounded_then() {
        let desk = ReloadDesk::default();
        assert!(matches!(desk.ask("test"), Err(ReloadError::Off)));
        let wishes = desk.open().unwrap();
        assert!(desk.open().is_none());
        for _ in 0..ASKED_MAX {
            desk.ask("test").unwrap();
        }
        assert!(matches!(desk.ask("test"), Err(ReloadError::Busy)));
        assert_eq!(wishes.recv().map(|wish| wish.cause), Ok("test"));
        drop(wishes);
        assert!(matches!(desk.ask("test"), Err(ReloadError::Ended)));
    }

    #[test]
    fn the_last_one_counts() {
        let counts = ReloadCounts::default();
        assert!(counts.figures().applied_unix_seconds > 0, "the first configuration was taken at the start");
        counts.add(true);
        let figures = counts.figures();
        assert_eq!((figures.applied, figures.refused, figures.is_last_refused), (0, 1, true));
        counts.add(false);
        assert!(!counts.figures().is_last_refused);
    }
}
