//! `bench`: the included load generator, against any Stratum V1 server, or against this proxy and its pool in turn.

mod measure;
mod report;

use super::load::{Farm, Kind, Meter, rate};
use super::{Failure, Options, screen};
use anyhow::{Context, anyhow};
use clap::Args;
use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};

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

impl Arguments {
    fn kinds(&self) -> Vec<Kind> {
        match (self.load.is_empty(), &self.target) {
            (false, _) => self.load.clone(),
            (true, Some(_)) => vec![Kind::Open],
            (true, None) => vec![Kind::Open, Kind::Closed, Kind::Deep, Kind::Storm, Kind::Idle],
        }
    }

    fn farm(&self) -> Farm {
        Farm {
            connections: self.connections,
            rate: self.rate,
            in_flight: self.in_flight,
            storm: self.storm,
            idle: self.idle,
            seconds: self.seconds,
            user: self.user.clone(),
            password: self.password.clone(),
        }
    }
}

pub(super) fn execute(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let target = arguments.target.as_deref().map(resolve).transpose()?;
    let bars = !arguments.json && std::io::stderr().is_terminal();
    let meter = Meter { farm: arguments.farm(), options, bars };
    let outcome = match target {
        Some(target) => measure::of_target(&meter, &arguments.kinds(), target)?,
        None => measure::of_proxy(&meter, &arguments.kinds())?,
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
