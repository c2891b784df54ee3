//! `bench`: the included load generator, against any Stratum V1 server, or against this proxy and its pool in turn.

mod measure;
mod report;

use super::{Failure, Options, screen};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use loka_rig::{Load, SwarmConfig};
use measure::Bench;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Miners of the closed loop with many shares in flight.
const DEEP_MINERS: usize = 200;
/// Connections that a storm makes at a time.
const STORM_CONCURRENCY: usize = 200;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Measure this server, with shares of no worth: host:port. Without it, this proxy against a direct connection
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// What to measure; without it all that makes sense for the target
    #[arg(long, value_enum)]
    load: Vec<Kind>,
    /// Simulated miners
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Shares a second of all miners together, for the open loop
    #[arg(long, default_value_t = 5000.0, value_parser = rate)]
    rate: f64,
    /// Shares that each miner keeps in flight, for the deep loop
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Connections that the storm makes in all
    #[arg(long, default_value_t = 10_000)]
    storm: u64,
    /// Miners that say nothing, for the memory figure
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    idle: u32,
    /// How long each load is measured
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// User names begin with this
    #[arg(long, default_value = "bench")]
    user: String,
    /// Password of the miners
    #[arg(long, default_value = "x")]
    password: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One way to load a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
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

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    let usable = number.is_finite() && number > 0.0 && number <= 1e7;
    if usable { Ok(number) } else { Err("must be above 0 and at most 10000000".to_owned()) }
}

impl Arguments {
    fn kinds(&self) -> Vec<Kind> {
        match (self.load.is_empty(), &self.target) {
            (false, _) => self.load.clone(),
            (true, Some(_)) => vec![Kind::Open],
            (true, None) => vec![Kind::Open, Kind::Closed, Kind::Deep, Kind::Storm, Kind::Idle],
        }
    }

    /// Miners that are to be there when the measured phase begins.
    fn asked(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Open | Kind::Closed => u64::from(self.connections),
            Kind::Deep => u64::from(self.connections).min(DEEP_MINERS as u64),
            Kind::Idle => u64::from(self.idle),
            Kind::Storm => 0,
        }
    }

    fn swarm(&self, kind: Kind, target: SocketAddr) -> SwarmConfig {
        let (connections, load) = match kind {
            Kind::Open => (self.connections as usize, Load::OpenLoop { per_second: self.rate }),
            Kind::Closed => (self.connections as usize, Load::ClosedLoop { in_flight: 1 }),
            Kind::Deep => {
                let in_flight = usize::from(self.in_flight);
                (DEEP_MINERS.min(self.connections as usize), Load::ClosedLoop { in_flight })
            }
            Kind::Storm => (1, Load::Storm { connects: self.storm, concurrency: STORM_CONCURRENCY }),
            Kind::Idle => (self.idle as usize, Load::Idle),
        };
        // Many handshakes at once would measure the storm once more; idle miners come over a few seconds.
        let ramp =
            if kind == Kind::Storm { Duration::ZERO } else { Duration::from_millis(connections as u64 / 4) };
        SwarmConfig {
            target,
            connections,
            ramp,
            load,
            duration: Duration::from_secs(self.seconds),
            user_prefix: self.user.clone(),
            password: self.password.clone(),
            ..SwarmConfig::default()
        }
    }
}

pub(super) fn execute(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let target = arguments.target.as_deref().map(resolve).transpose()?;
    let bench = Bench::new(options, arguments);
    let outcome = match target {
        Some(target) => bench.of_target(target)?,
        None => bench.of_proxy()?,
    };
    if arguments.json {
        screen::say(&serde_json::to_string_pretty(&outcome)?)?;
    } else {
        screen::say(&report::table(&outcome))?;
    }
    match outcome.first_problem() {
        Some(problem) => Err(anyhow!("{problem}").into()),
        None => Ok(()),
    }
}

fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let target = target.strip_prefix("stratum+tcp://").unwrap_or(target);
    let mut addresses =
        target.to_socket_addrs().with_context(|| format!("--target {target}: not a HOST:PORT to reach"))?;
    addresses.next().with_context(|| format!("--target {target}: the host has no address"))
}
