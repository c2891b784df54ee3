//! `run`: the proxy in the foreground, until a signal asks it to drain.

use super::Failure;
use crate::config::{Loaded, Overrides, Sources, Standing};
use crate::handover::{Predecessor, Successor};
use crate::logging;
use crate::supervisor::{CaughtSignals, Proxy};
use crate::systemd::Manager;

pub(super) fn execute(overrides: Overrides) -> Result<(), Failure> {
    let (first, standing) = Standing::load(Sources::from_process(overrides))?;
    let Loaded { config, file, warnings, .. } = first;
    let log = logging::init(&config.logging)?;
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), file, "starting");
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // Until here a signal ends the process at once: a start that waits for a name server must be stoppable.
    let (predecessor, inheritance) = Predecessor::from_process()?.unzip();
    let mut proxy = Proxy::start_after(&config, log.handle(), inheritance.unwrap_or_default())?;
    proxy.reload_from(standing)?;
    proxy.upgrade_to(Successor::of_process()?);
    proxy.stop_on(CaughtSignals::catch()?)?;
    if let Some(manager) = Manager::from_process() {
        manager.started(proxy.snapshots())?;
        proxy.on_drain(move |leaving| manager.leaving(leaving));
    }
    if let Some(predecessor) = predecessor {
        proxy.take_over(predecessor)?;
    }
    proxy.run()?;
    Ok(())
}
