//! Signals to events, on a thread of their own.

use super::Stopper;
use crate::reload::ReloadDesk;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io;

/// Signals that no longer end the process at once. Those that come before somebody watches are kept.
#[derive(Debug)]
pub struct CaughtSignals(Signals);

impl CaughtSignals {
    /// Catches SIGTERM and SIGINT, which will ask for the drain, and SIGHUP, which will ask for a reload: a terminal that
    /// closes must not stop a farm. SIGUSR2 will ask for an upgrade. SIGUSR1, which the log listens to by itself, gets a line.
    ///
    /// # Errors
    /// The handlers cannot be set.
    pub fn catch() -> io::Result<CaughtSignals> {
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).map(CaughtSignals)
    }

    pub(super) fn watch(mut self, stopper: Stopper, reload: ReloadDesk) -> io::Result<()> {
        let watch = move || {
            for signal in self.0.forever() {
                match signal {
                    SIGTERM => stopper.stop("SIGTERM"),
                    SIGINT => stopper.stop("SIGINT"),
                    // The log thread opens the file when it has a line to write: here it is.
                    SIGUSR2 => stopper.upgrade(),
                    SIGUSR1 => tracing::info!("SIGUSR1: the log file is opened anew, if there is one"),
                    _ => {
                        if let Err(error) = reload.ask("SIGHUP") {
                            tracing::warn!(%error, "SIGHUP: the configuration is not reloaded");
                        }
                    }
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
    }
}
