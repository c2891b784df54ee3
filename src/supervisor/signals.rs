//! Signals to events, on a thread of their own.

use super::Stopper;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;

/// SIGTERM and SIGINT ask for the drain. SIGHUP, which ends a process that does not know it, is kept from doing so: a
/// terminal that closes must not stop a farm.
pub(super) fn watch(stopper: Stopper) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let watch = move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM => stopper.stop("SIGTERM"),
                SIGINT => stopper.stop("SIGINT"),
                _ => {
                    tracing::warn!("SIGHUP: this version cannot reload its configuration; restart it instead")
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}
