//! Measures this proxy and its peers in one run: the same pool, the same miners, one core for the proxy under test, the
//! loads of all proxies interleaved, and ratios taken within each round.
//!
//! It refuses to compare figures of different runs, and to hide a round that something else disturbed.

mod loads;
mod loka;
mod machine;
mod measure;
pub mod scale;
mod table;
mod targets;
mod usage;

use anyhow::Context;
use clap::Parser;
use loads::Load;
use machine::Machine;
use measure::Measured;
use std::io::Write;
use std::path::PathBuf;
use targets::Kind;

/// Compares Loka Stratum with HAProxy, nginx and a plain Tokio proxy, in the same run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; each runs every load on every proxy once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each steady load is measured
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Which loads; without it all
    #[arg(long, value_enum)]
    load: Vec<Load>,
    /// Which proxies; without it all that are installed
    #[arg(long, value_enum)]
    target: Vec<Kind>,
    /// CPU of the proxy under test
    #[arg(long, default_value_t = 1)]
    target_cpu: usize,
    /// CPU of the pool and of the miners
    #[arg(long, default_value_t = 0)]
    load_cpu: usize,
    /// The loka-stratum to measure; without it the release build of this checkout, made now
    #[arg(long, value_name = "FILE")]
    loka: Option<PathBuf>,
    /// Other builds of loka-stratum to measure beside it, as further proxies
    #[arg(long, value_name = "FILE")]
    also: Vec<PathBuf>,
    /// The same loka-stratum once more with other options, as a further proxy, such as two='--shards 2 --cpus 0-1'
    #[arg(long, value_name = "NAME=OPTIONS")]
    variant: Vec<String>,
    /// Folder for the table, the raw figures and the description of the machine
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// What `cargo run --release -p loka-peers --example peers` does.
///
/// # Errors
/// A proxy that does not start, or a load that cannot be carried out.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let targets = targets::find(&arguments).context("finding the proxies to measure")?;
    let loads = if arguments.load.is_empty() { Load::ALL.to_vec() } else { arguments.load.clone() };
    let machine = Machine::describe(&targets)?;
    machine::pin(arguments.load_cpu)?;

    let mut measured = Vec::new();
    for round in 1..=arguments.rounds {
        for load in &loads {
            for target in targets::in_turn(&targets, round) {
                let figures = measure::measure(&arguments, round, *load, target)
                    .with_context(|| format!("round {round}, {load:?} on {}", target.name))?;
                tell(&measure::line(&figures))?;
                measured.push(figures);
            }
        }
    }

    let table = table::table(&machine, &measured);
    tell(&table)?;
    if let Some(folder) = &arguments.out {
        keep(folder, &machine, &measured, &table)?;
    }
    Ok(())
}

fn tell(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn keep(folder: &PathBuf, machine: &Machine, measured: &[Measured], table: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let raw = serde_json::json!({ "machine": machine, "measured": measured });
    std::fs::write(folder.join("peers.json"), serde_json::to_string_pretty(&raw)?)?;
    std::fs::write(folder.join("peers.md"), table)?;
    Ok(())
}
