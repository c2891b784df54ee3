//! Runs the loads, direct and through the proxy in turn.

use super::super::Failure;
use super::super::children::Running;
use super::super::load::{Kind, Measured, Meter, Place};
use serde::Serialize;
use std::net::SocketAddr;

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    pub(super) version: &'static str,
    pub(super) shards: Option<usize>,
    pub(super) measured: Vec<Measured>,
}

impl Outcome {
    /// The first thing that makes the figures worthless.
    pub(super) fn first_problem(&self) -> Option<String> {
        self.measured.iter().find_map(Measured::problem)
    }
}

/// Every load on somebody else's server.
pub(super) fn of_target(meter: &Meter<'_>, kinds: &[Kind], target: SocketAddr) -> Result<Outcome, Failure> {
    let path = target.to_string();
    let measured = kinds.iter().map(|kind| meter.on(*kind, target, &path)).collect::<Result<_, _>>()?;
    Ok(Outcome { version: env!("CARGO_PKG_VERSION"), shards: None, measured })
}

/// Every load on a pool of our own, direct and through the proxy, in the same run.
pub(super) fn of_proxy(meter: &Meter<'_>, kinds: &[Kind]) -> Result<Outcome, Failure> {
    let (shards, cpus) = (meter.options.shards, meter.options.cpus.clone());
    let place = Place { path: "proxy".to_owned(), shards, cpus };
    let mut measured = Vec::new();
    for kind in kinds.iter().copied() {
        let pool = Running::pool(kind.shape())?;
        if kind != Kind::Idle {
            measured.push(meter.on(kind, pool.address, "direct")?);
        }
        measured.push(meter.through(kind, pool.address, &place)?);
    }
    Ok(Outcome { version: env!("CARGO_PKG_VERSION"), shards, measured })
}
