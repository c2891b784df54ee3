//! `tune`: measures shard counts and CPU lists on this host, recommends one, and can write it into the configuration.
//!
//! It changes no file without `--write`, and recommends nothing when a share was lost.

mod candidates;
mod measure;
mod noise;
mod recommend;
mod report;
mod setting;
mod topology;
mod write;

use super::load::{Farm, Meter, rate};
use super::{Failure, Options, screen};
use crate::config::{self, Config, Overrides, Sources};
use anyhow::{Context, anyhow, ensure};
use candidates::{Candidate, candidates};
use clap::Args;
use loka_runtime::{cores, preflight};
use measure::Series;
use noise::Noise;
use recommend::Figures;
use report::Outcome;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use write::Target;

/// Stands in for the pool while options are checked, before it is started, and while a file that is new is.
const ANY_POOL: &str = "127.0.0.1:3333";
/// Part of the room for miners that is used: the kernel does not spread them evenly over the shards.
const ROOM_USED: u64 = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How long each load is measured
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Simulated miners; fewer where the limit of open files is too low for them
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Shares a second of all miners together, for the p99
    #[arg(long, default_value_t = 5000.0, value_parser = rate)]
    rate: f64,
    /// Write the recommendation into this configuration file, and leave the rest of it as it is
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let host = Host::look(&configured(options)?)?;
    let target = arguments.write.as_deref().map(|path| open(path, &host.candidates)).transpose()?;
    let connections = connections(arguments.connections, &host.candidates)?;
    let bars = !arguments.json && std::io::stderr().is_terminal();
    let meter = Meter { farm: farm(arguments, connections), options, bars };
    screen::complain(&format_args!(
        "measuring {} {} with {connections} simulated miners, the direct connection before and after each",
        host.candidates.len(),
        if host.candidates.len() == 1 { "candidate" } else { "candidates" },
    ));
    let series = Series::run(&meter, host.candidates, &|figures| {
        if !bars {
            screen::complain(&line(figures));
        }
    })?;
    let problem = series.problem();
    let noise = Noise::of(&series.direct);
    let ceiling = noise::ceiling(&series.direct);
    let mut notes = recommend::notes(&series.tried, noise, ceiling, arguments.rate, host.cpus);
    notes.extend(host.silence);
    let recommendation = if problem.is_none() { recommend::recommend(&series.tried, noise) } else { None };
    let written = match (&target, &recommendation) {
        (Some(target), Some(found)) => Some(target.write(&found.candidate)),
        (Some(_) | None, _) => None,
    };
    let outcome = Outcome {
        version: env!("CARGO_PKG_VERSION"),
        connections,
        rate: arguments.rate,
        seconds: arguments.seconds,
        series,
        noise,
        notes,
        recommendation,
        written: arguments.write.clone().filter(|_| matches!(written, Some(Ok(())))),
    };
    tell(&outcome, arguments.json)?;
    // After the table: what was measured is not lost with the file.
    written.unwrap_or(Ok(()))?;
    problem.map_or(Ok(()), |problem| Err(anyhow!("{problem}").into()))
}

fn tell(outcome: &Outcome, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(screen::say(&serde_json::to_string_pretty(outcome)?)?);
    }
    screen::say(&report::table(outcome).trim_end())?;
    if let Some(file) = &outcome.written {
        screen::say(&format_args!("written to {}; it counts from the next start", file.display()))?;
    }
    Ok(())
}

/// One candidate as a line, for those who see no bars.
fn line(figures: &Figures) -> String {
    let Figures { candidate, shares_per_second, p99_us, .. } = figures;
    format!("{}: {shares_per_second:.0} shares/s, p99 {p99_us} us", candidate.name())
}

/// The options as the proxies will read them: their mistakes are told now, and not by the first child.
fn configured(options: &Options) -> Result<Config, Failure> {
    let overrides = Overrides { pool: Some(ANY_POOL.to_owned()), ..options.overrides() };
    let sources = Sources { search: Vec::new(), ..Sources::new(overrides, Vec::new()) };
    Ok(config::load(&sources)?.config)
}

/// What there is to be tried.
struct Host {
    /// CPUs that the process may use for everything.
    cpus: usize,
    candidates: Vec<Candidate>,
    /// Said when the kernel does not tell which CPUs belong together.
    silence: Option<String>,
}

impl Host {
    fn look(config: &Config) -> anyhow::Result<Host> {
        let allowed = cores::allowed()?;
        let wanted = config.server.cpus.as_ref().map_or(&[][..], |cpus| cpus.ids());
        let placed = cores::place(0, wanted, &allowed)?;
        let cpus: Vec<usize> = placed.iter().map(|shard| shard.cpu).collect();
        let read = topology::read(Path::new(topology::SYSTEM), &cpus);
        let silence = read.is_none().then(|| {
            "The kernel does not tell which CPUs share a core or a package: they are taken in plain order.".to_owned()
        });
        let threads = read.unwrap_or_else(|| topology::plain(&cpus));
        let shards_max = config.performance.worker_threads.map(std::num::NonZeroUsize::get);
        let candidates = candidates(&threads, shards_max);
        ensure!(!candidates.is_empty(), "no CPU is allowed to this process");
        Ok(Host { cpus: allowed.len(), candidates, silence })
    }
}

fn open(path: &Path, candidates: &[Candidate]) -> Result<Target, Failure> {
    let environment = Sources::from_process(Overrides::default()).env;
    let (target, warnings) = Target::open(path, candidates, environment)?;
    for warning in warnings {
        screen::complain(&format_args!("warning: {warning}"));
    }
    Ok(target)
}

/// How many miners there can be: as many as were asked for, or as the open files give room for. Also raises the limits,
/// which the children inherit.
fn connections(asked: u32, candidates: &[Candidate]) -> anyhow::Result<u32> {
    let shards = candidates.iter().map(|candidate| candidate.shards).max().unwrap_or(1);
    let found = preflight::check(shards)?;
    let room = u32::try_from(found.connections_max / ROOM_USED).unwrap_or(u32::MAX);
    if room < asked {
        let limit = found.open_files;
        screen::complain(&format_args!(
            "warning: {room} miners instead of {asked}: open files are limited to {limit}\n  fix: `ulimit -n {}`",
            u64::from(asked) * 2 * ROOM_USED + limit - found.connections_max * 2
        ));
    }
    Some(asked.min(room))
        .filter(|miners| *miners > 0)
        .context("the limit of open files leaves no room for miners")
}

fn farm(arguments: &Arguments, connections: u32) -> Farm {
    Farm {
        connections,
        rate: arguments.rate,
        in_flight: 1,
        storm: 0,
        idle: connections,
        seconds: arguments.seconds,
        user: "tune".to_owned(),
        password: "x".to_owned(),
    }
}
