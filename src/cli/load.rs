//! One load on one server, and what a proxy of ours used for it: what `bench` and `tune` have in common.
//!
//! It does not say what figures are good for; it only tells when they are worth nothing (`Measured::problem`).

mod bar;
mod used;

use super::children::{Running, Shape};
use super::{Failure, Options};
use bar::Bar;
use clap::ValueEnum;
use loka_rig::{Load, Progress, SwarmConfig, SwarmReport};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
pub(super) use used::Used;
use used::Watch;

/// Miners of the closed loop with many shares in flight.
const DEEP_MINERS: u32 = 200;
/// Connections that a storm makes at a time.
const STORM_CONCURRENCY: usize = 200;

/// One way to load a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// So many shares a second, whether or not earlier ones are answered: latency
    Open,
    /// Every miner has one share in flight: throughput
    Closed,
    /// Few miners with many shares in flight: throughput with full segments
    Deep,
    /// Connect, handshake, first job, close, again
    Storm,
    /// Connect and say nothing: memory
    Idle,
}

impl Kind {
    /// The pool that this load needs: jobs would wake miners whose memory is to be seen.
    pub(super) fn shape(self) -> Shape {
        match self {
            Kind::Idle => Shape::Quiet,
            Kind::Open | Kind::Closed | Kind::Deep | Kind::Storm => Shape::Steady,
        }
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    let usable = number.is_finite() && number > 0.0 && number <= 1e7;
    if usable { Ok(number) } else { Err("must be above 0 and at most 10000000".to_owned()) }
}

/// The simulated miners of a run.
#[derive(Debug, Clone)]
pub(super) struct Farm {
    pub(super) connections: u32,
    /// Shares a second of all miners together, for the open loop.
    pub(super) rate: f64,
    /// Shares that each miner keeps in flight, for the deep loop.
    pub(super) in_flight: u16,
    /// Connections that the storm makes in all.
    pub(super) storm: u64,
    /// Miners that say nothing, for the memory figure.
    pub(super) idle: u32,
    /// How long each load is measured.
    pub(super) seconds: u64,
    pub(super) user: String,
    pub(super) password: String,
}

impl Farm {
    /// Miners that are to be there when the measured phase begins.
    fn asked(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Open | Kind::Closed => u64::from(self.connections),
            Kind::Deep => u64::from(self.connections.min(DEEP_MINERS)),
            Kind::Idle => u64::from(self.idle),
            Kind::Storm => 0,
        }
    }

    fn swarm(&self, kind: Kind, target: SocketAddr) -> SwarmConfig {
        let (connections, load) = match kind {
            Kind::Open => (self.connections, Load::OpenLoop { per_second: self.rate }),
            Kind::Closed => (self.connections, Load::ClosedLoop { in_flight: 1 }),
            Kind::Deep => {
                let in_flight = usize::from(self.in_flight);
                (self.connections.min(DEEP_MINERS), Load::ClosedLoop { in_flight })
            }
            Kind::Storm => (1, Load::Storm { connects: self.storm, concurrency: STORM_CONCURRENCY }),
            Kind::Idle => (self.idle, Load::Idle),
        };
        // Many handshakes at once would measure the storm once more; idle miners come over a few seconds.
        let ramp = if kind == Kind::Storm { 0 } else { u64::from(connections) / 4 };
        SwarmConfig {
            target,
            connections: connections as usize,
            ramp: Duration::from_millis(ramp),
            load,
            duration: Duration::from_secs(self.seconds),
            user_prefix: self.user.clone(),
            password: self.password.clone(),
            ..SwarmConfig::default()
        }
    }
}

/// One load on one server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    pub(super) kind: Kind,
    /// What was loaded: `direct`, a proxy, or the target's address.
    pub(super) path: String,
    /// Miners that were to be there when the measured phase began; zero for a storm.
    pub(super) asked: u64,
    pub(super) swarm: SwarmReport,
    /// What the proxy used for it, where it is ours.
    pub(super) proxy: Option<Used>,
}

impl Measured {
    /// What makes the figures worthless: a share lost, answered twice, or answered to the wrong one; or miners that were
    /// not there.
    pub(super) fn problem(&self) -> Option<String> {
        let Measured { kind, path, asked, swarm, .. } = self;
        let shares = &swarm.shares;
        if shares.astray() > 0 {
            return Some(format!(
                "{kind:?} over {path}: {} shares lost, {} answered twice, {} answers to nothing",
                shares.lost, shares.duplicate_answers, shares.mismatched
            ));
        }
        (swarm.ready < *asked).then(|| {
            let cause = swarm.first_error.as_deref().unwrap_or("connections were closed or not answered");
            format!(
                "{kind:?} over {path}: {} of {asked} miners were there: {cause}\n  fix: `ulimit -n` for thousands of miners",
                swarm.ready
            )
        })
    }
}

/// A proxy of ours to be measured.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// How it is called in what is measured.
    pub(super) path: String,
    pub(super) shards: Option<usize>,
    pub(super) cpus: Option<String>,
}

/// Loads servers with a farm.
pub(super) struct Meter<'a> {
    pub(super) farm: Farm,
    /// Handed on to the proxies.
    pub(super) options: &'a Options,
    /// Whether progress is drawn on the terminal.
    pub(super) bars: bool,
}

impl Meter<'_> {
    /// One load on a server of which no more is known than what miners see.
    pub(super) fn on(&self, kind: Kind, target: SocketAddr, path: &str) -> Result<Measured, Failure> {
        let swarm = self.load(kind, target, path, |_| {})?;
        Ok(self.measured(kind, path, swarm, None))
    }

    /// One load on a proxy that is started for it, in front of this pool.
    pub(super) fn through(&self, kind: Kind, pool: SocketAddr, place: &Place) -> Result<Measured, Failure> {
        let mut proxy = Running::start(&self.arguments(pool, place))?;
        let mut watch = Watch::begin(proxy.usage()?);
        let address = proxy.address;
        let swarm = self.load(kind, address, &place.path, |progress| watch.look(&mut proxy, progress))?;
        let used = watch.used(&mut proxy, kind, &swarm)?;
        Ok(self.measured(kind, &place.path, swarm, Some(used)))
    }

    fn measured(&self, kind: Kind, path: &str, swarm: SwarmReport, proxy: Option<Used>) -> Measured {
        Measured { kind, path: path.to_owned(), asked: self.farm.asked(kind), swarm, proxy }
    }

    /// The command line of the child that is the proxy.
    fn arguments(&self, pool: SocketAddr, place: &Place) -> Vec<String> {
        let log_level = self.options.log_level.as_deref().unwrap_or("warn");
        let mut arguments: Vec<String> =
            ["proxy", "--pool", &pool.to_string(), "--log-level", log_level].map(str::to_owned).into();
        if let Some(shards) = place.shards {
            arguments.extend(["--shards".to_owned(), shards.to_string()]);
        }
        if let Some(cpus) = &place.cpus {
            arguments.extend(["--cpus".to_owned(), cpus.clone()]);
        }
        for (key, value) in &self.options.set {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        arguments
    }

    fn load(
        &self,
        kind: Kind,
        target: SocketAddr,
        path: &str,
        mut look: impl FnMut(&Progress),
    ) -> Result<SwarmReport, Failure> {
        let config = self.farm.swarm(kind, target);
        let bar = Bar::new(kind, path, self.bars);
        let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |progress| {
            bar.show(progress, config.duration);
            look(progress);
        });
        bar.clear();
        Ok(report?)
    }
}
