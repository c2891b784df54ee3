//! The bench: each attack on a fresh proxy, beside honest miners that are measured before, during and after it.
//!
//! It refuses to hide noise: the unattacked load is measured twice in each trial, and both figures stand in the table.

use crate::Conduct;
use crate::table;
use crate::trial::{Trial, run};
use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measures what honest miners notice of attacks on Loka Stratum. All of it takes about five minutes.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Which attacks; without it all
    #[arg(long, value_enum)]
    attack: Vec<Conduct>,
    /// With which protection; without it both
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
    /// Honest miners
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) miners: u32,
    /// Shares a second of all honest miners together
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rate: u32,
    /// Addresses that attackers come from
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) sources: u8,
    /// How long an attack lasts
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// How long the same load is measured without it, before and after
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) quiet_seconds: u64,
    /// CPU of the proxy
    #[arg(long, default_value_t = 0)]
    pub(crate) proxy_cpu: usize,
    /// CPU of pool, honest miners and attackers
    #[arg(long, default_value_t = 1)]
    pub(crate) load_cpu: usize,
    /// The loka-stratum to measure; without it the release build of this checkout, made now
    #[arg(long, value_name = "FILE")]
    loka: Option<PathBuf>,
    /// Folder for the table and the raw figures
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// What protects the proxy besides what each connection is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// As delivered: addresses that attack are kept out
    Guarded,
    /// No address is kept out, so that an attack goes on for as long as it can
    Bare,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Guarded => "guarded",
            Mode::Bare => "bare",
        }
    }
}

/// What `cargo run --release -p loka-attacks --example attacks` does.
///
/// # Errors
/// A proxy that does not start, a load that cannot be carried out, or an honest miner that lost something.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let program = program(&arguments)?;
    let attacks = if arguments.attack.is_empty() { Conduct::ALL.to_vec() } else { arguments.attack.clone() };
    let modes =
        if arguments.mode.is_empty() { vec![Mode::Guarded, Mode::Bare] } else { arguments.mode.clone() };
    let mut trials = Vec::new();
    for mode in modes {
        for attack in &attacks {
            let trial = run(&arguments, &program, *attack, mode)
                .with_context(|| format!("{attack:?}, {}", mode.name()))?;
            tell(&table::line(&trial))?;
            trials.push(trial);
        }
    }
    let table = table::table(&machine()?, &trials);
    tell(&table)?;
    if let Some(folder) = &arguments.out {
        keep(folder, &trials, &table)?;
    }
    let problems: Vec<String> = trials.iter().filter_map(Trial::problem).collect();
    if !problems.is_empty() {
        bail!("honest miners noticed more than they may:\n{}", problems.join("\n"));
    }
    Ok(())
}

fn tell(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn keep(folder: &Path, trials: &[Trial], table: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let raw = serde_json::json!({ "machine": machine()?, "trials": trials });
    std::fs::write(folder.join("attacks.json"), serde_json::to_string_pretty(&raw)?)?;
    std::fs::write(folder.join("attacks.md"), table)?;
    Ok(())
}

/// The machine in one line.
fn machine() -> anyhow::Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{}, {cpus} CPUs, Linux {}", model.unwrap_or("unknown"), kernel.trim()))
}

/// The program that is measured, with a path that holds everywhere.
fn program(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    if let Some(program) = &arguments.loka {
        return program.canonicalize().with_context(|| format!("no program at {}", program.display()));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["build", "--release", "-p", "loka-stratum", "--bin", "loka-stratum"])
        .status()
        .context("running cargo")?;
    if !done.success() {
        bail!("cargo build --release failed");
    }
    let me = std::env::current_exe()?;
    let examples = me.parent().context("this program stands nowhere")?;
    let built = examples.with_file_name("loka-stratum");
    built.is_file().then_some(built).context("loka-stratum was not built")
}

/// Pins this thread, and all threads and processes it starts from now on.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to CPU {cpu}"))
}
