//! Measures the proxy with a large farm connected: 9,000 connections that carry more than 100,000 workers at work, how long it
//! takes to ask about them, and what asking costs the miners.
//!
//! Windows of time in which nobody asks and in which many do take turns, in one process of the proxy, and in each of them
//! miners measure the way through the proxy and, at the same time, the way to the pool without it. It refuses to compare
//! figures of different runs.

mod asking;

use crate::machine::{Machine, Others};
use crate::targets::{self, unused_addresses};
use crate::usage::Usage;
use anyhow::{Context, anyhow, bail};
use asking::{Asked, Asking};
use clap::Parser;
use loka_rig::{Load, Phase, PoolConfig, PoolHandle, SwarmConfig, SwarmReport};
use serde::Serialize;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// What the figures are held against: one scrape, a page of workers.
const SCRAPE_MS_MAX: f64 = 100.0;
const SCRAPE_BYTES_MAX: usize = 1 << 20;
const PAGE_MS_MAX: f64 = 50.0;
/// What asking may add to the 99th percentile of the proxy's miners, beyond what it adds to those without a proxy: what the
/// machine and the load generator add is not the proxy's.
const ADDED_US_MAX: f64 = 1_000.0;
/// Miners that measure, through the proxy and directly.
const MEASURING: usize = 100;
const MEASURING_PER_SECOND: f64 = 1_000.0;
/// How long the farm may take to come up.
const UP_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);

/// The proxy with a large farm, asked and not asked.
#[derive(Debug, Parser)]
struct Arguments {
    /// Connections of the farm
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=9_700))]
    connections: u32,
    /// Workers on each of them
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=32))]
    workers: u32,
    /// Shares a second of all of them
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Windows of time; in every other one the proxy is asked
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=100))]
    windows: u32,
    /// How long each of them is
    #[arg(long, default_value_t = 8, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The loka-stratum to measure; without it the release build of this checkout, made now
    #[arg(long, value_name = "FILE")]
    loka: Option<PathBuf>,
    /// Folder for the table and the raw figures
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// One window.
#[derive(Debug, Serialize)]
struct Window {
    is_asked: bool,
    proxy: SwarmReport,
    direct: SwarmReport,
    /// What others did meanwhile, when that was too much.
    disturbed: Option<String>,
    asked: Vec<Asked>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Measured {
    machine: Machine,
    connections: u64,
    workers: u64,
    /// Bytes of memory of the proxy (proportional set): when nobody is there, and with the whole farm.
    memory_before: u64,
    memory: u64,
    /// Seconds of CPU of the whole proxy for a second of time, in windows without and with questions.
    cpu: [f64; 2],
    windows: Vec<Window>,
    farm: SwarmReport,
}

/// What `cargo run --release -p loka-peers --example scale` does.
///
/// # Errors
/// The farm does not come up, a share is lost, or a figure misses its mark.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let program = targets::loka_program(arguments.loka.as_deref())?;
    let pool = PoolHandle::start(PoolConfig { notify_interval: Duration::ZERO, ..PoolConfig::default() })?;
    let proxy = Proxy::start(&program, pool.addr())?;
    let memory_before = proxy.usage()?.memory_bytes;
    let (stop, settled) = (AtomicBool::new(false), channel());
    let config = farm(&arguments, proxy.address);
    let measured = std::thread::scope(|scope| {
        let (stop, told) = (&stop, settled.0);
        let farm = scope.spawn(move || {
            loka_rig::run(&config, stop, &mut |progress| {
                if progress.phase == Phase::Measure {
                    // Told several times, and heard once.
                    let _ = told.send(());
                }
            })
        });
        // Whatever comes of it, the farm must be told to leave.
        let windows = settled
            .1
            .recv_timeout(UP_MAX)
            .context("the farm does not come up")
            .and_then(|()| all_windows(&arguments, &proxy, pool.addr()));
        stop.store(true, Ordering::Relaxed);
        let farm = farm.join().map_err(|_| anyhow!("the farm panicked"))??;
        let (connections, workers, memory, cpu, windows) = windows?;
        let machine = Machine::describe(&[])?;
        anyhow::Ok(Measured { machine, connections, workers, memory_before, memory, cpu, windows, farm })
    })?;
    let table = table(&arguments, &measured);
    crate::tell(&table)?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("scale.json"), serde_json::to_string_pretty(&measured)?)?;
        std::fs::write(folder.join("scale.md"), table)?;
    }
    let problems = problems(&measured);
    if !problems.is_empty() {
        bail!(problems.join("\n"));
    }
    Ok(())
}

/// A proxy with a shard on each CPU; ends with this value.
struct Proxy {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Proxy {
    fn start(program: &std::path::Path, pool: SocketAddr) -> anyhow::Result<Proxy> {
        let (address, metrics) = unused_addresses()?;
        let mut command = Command::new(program);
        command.args(["run", "--listen", &address.to_string(), "--pool", &pool.to_string()]);
        command.args(["--shards", "2", "--log-level", "error"]);
        for setting in [
            format!("metrics.prometheus_port={}", metrics.port()),
            // The load generator is one farm on a few addresses, and faster than any.
            "security.enable_rate_limiting=false".to_owned(),
            "security.enable_ddos_protection=false".to_owned(),
            "failover.connects_per_second=0".to_owned(),
            "server.drain_timeout=1s".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting the proxy")?;
        let proxy = Proxy { child, address, metrics };
        let began = Instant::now();
        while asking::get(metrics, "/readyz").is_err() {
            if began.elapsed() > UP_MAX {
                bail!("the proxy does not come up");
            }
            std::thread::sleep(POLL);
        }
        Ok(proxy)
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(&[self.child.id()])
    }

    /// Miners and workers that it knows now.
    fn known(&self) -> anyhow::Result<(u64, u64)> {
        let health = asking::json(self.metrics, "/health")?;
        let page = asking::json(self.metrics, "/api/v1/workers?limit=1")?;
        Ok((health["connections"].as_u64().unwrap_or(0), page["known"].as_u64().unwrap_or(0)))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn farm(arguments: &Arguments, target: SocketAddr) -> SwarmConfig {
    SwarmConfig {
        target,
        connections: arguments.connections as usize,
        workers: arguments.workers as usize,
        ramp: Duration::from_millis(u64::from(arguments.connections) * 2),
        load: Load::OpenLoop { per_second: arguments.rate },
        duration: Duration::from_secs(3_600),
        user_prefix: "farm".to_owned(),
        handshake_timeout: UP_MAX,
        ..SwarmConfig::default()
    }
}

type Windows = (u64, u64, u64, [f64; 2], Vec<Window>);

fn all_windows(arguments: &Arguments, proxy: &Proxy, pool: SocketAddr) -> anyhow::Result<Windows> {
    let all = u64::from(arguments.connections) * u64::from(arguments.workers);
    let began = Instant::now();
    let (connections, workers) = loop {
        // Shards tell of some thousand workers in a report.
        let known = proxy.known()?;
        if known.1 >= all {
            break known;
        }
        if began.elapsed() > UP_MAX {
            bail!("of {all} workers {} are known", known.1);
        }
        std::thread::sleep(POLL);
    };
    let (mut windows, mut cpu) = (Vec::new(), [0.0; 2]);
    for number in 0..arguments.windows {
        let is_asked = number % 2 == 1;
        let before = proxy.usage()?;
        let (began, others) = (Instant::now(), Others::read(0, &[proxy.child.id()])?);
        let window = window(arguments, proxy, pool, is_asked)?;
        let used = (proxy.usage()?.cpu_s - before.cpu_s) / began.elapsed().as_secs_f64();
        let windows_of_kind = f64::from(arguments.windows.div_ceil(2).max(1));
        cpu[usize::from(is_asked)] += used / windows_of_kind;
        let disturbed = Others::read(0, &[proxy.child.id()])?.disturbance_since(others);
        let window = Window { disturbed, ..window };
        crate::tell(&line(number, &window))?;
        windows.push(window);
    }
    Ok((connections, workers, proxy.usage()?.memory_bytes, cpu, windows))
}

fn window(arguments: &Arguments, proxy: &Proxy, pool: SocketAddr, is_asked: bool) -> anyhow::Result<Window> {
    let measuring = |target: SocketAddr, prefix: &str| SwarmConfig {
        target,
        connections: MEASURING,
        load: Load::OpenLoop { per_second: MEASURING_PER_SECOND },
        duration: Duration::from_secs(arguments.seconds),
        user_prefix: prefix.to_owned(),
        ..SwarmConfig::default()
    };
    let never = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = is_asked.then(|| Asking::start(scope, proxy.metrics));
        let never = &never;
        let beside = measuring(pool, "direct");
        let direct = scope.spawn(move || loka_rig::run(&beside, never, &mut |_| {}));
        let through = loka_rig::run(&measuring(proxy.address, "measure"), never, &mut |_| {});
        let asked = asking.map(Asking::stop).transpose();
        let direct = direct.join().map_err(|_| anyhow!("the miners panicked"))??;
        Ok(Window { is_asked, proxy: through?, direct, disturbed: None, asked: asked?.unwrap_or_default() })
    })
}

fn line(number: u32, window: &Window) -> String {
    let (proxy, direct) = (&window.proxy.submit_us, &window.direct.submit_us);
    let kind = if window.is_asked { "asked" } else { "quiet" };
    let noise = window.disturbed.as_deref().unwrap_or("");
    let (p50, p99) = (proxy.p50, proxy.p99);
    format!("window {number} {kind}: p50 {p50} us, p99 {p99} us; direct p99 {} us {noise}", direct.p99)
}

/// The middle one of these figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[allow(clippy::cast_precision_loss, reason = "microseconds and bytes for the eye")]
fn of_windows(measured: &Measured, is_asked: bool, figure: Figure) -> Vec<f64> {
    let windows = measured.windows.iter().filter(|window| window.is_asked == is_asked);
    windows.map(|window| figure(window) as f64).collect()
}

/// A figure of one window.
type Figure = fn(&Window) -> u64;

/// The table of the run, as Markdown.
#[allow(clippy::cast_precision_loss, reason = "microseconds and bytes for the eye")]
fn table(arguments: &Arguments, measured: &Measured) -> String {
    let Machine { cpu, cpus, kernel, .. } = &measured.machine;
    let mut text = format!(
        "{cpu}, {cpus} CPUs, Linux {kernel}. {} connections, {} workers, {} shares a second of them, 2 shards. {} windows of \
         {} s.\n\n",
        measured.connections, measured.workers, arguments.rate, arguments.windows, arguments.seconds
    );
    // A String takes whatever is written to it.
    let mut say = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    say("| microseconds | nobody asks | many ask | ratio of the medians |\n|---|---|---|---|".to_owned());
    let rows: [(&str, Figure); 3] = [
        ("p50 through the proxy", |window| window.proxy.submit_us.p50),
        ("p99 through the proxy", |window| window.proxy.submit_us.p99),
        ("p99 without a proxy, at the same time", |window| window.direct.submit_us.p99),
    ];
    for (name, figure) in rows {
        let [quiet, asked] = [false, true].map(|is_asked| of_windows(measured, is_asked, figure));
        let each =
            |figures: &[f64]| figures.iter().map(|us| format!("{us:.0}")).collect::<Vec<_>>().join(" / ");
        let ratio = median(asked.clone()) / median(quiet.clone());
        say(format!("| {name} | {} | {} | {ratio:.2} |", each(&quiet), each(&asked)));
    }
    say(format!(
        "\nAsking adds {:.0} us to the p99 through the proxy beyond what it adds to the p99 without.\n",
        added_us(measured)
    ));
    let [quiet, asked] = measured.cpu.map(|cpu| 100.0 * cpu);
    say(format!("CPU of the proxy: {quiet:.1} % of one when nobody asks, {asked:.1} % when many do."));
    say("\n| question | times | median ms | largest ms | largest KiB |\n|---|---|---|---|---|".to_owned());
    for (question, asked) in questions(measured) {
        let times: Vec<f64> = asked.iter().map(|asked| asked.ms).collect();
        let bytes = asked.iter().map(|asked| asked.bytes).max().unwrap_or(0) as f64 / 1024.0;
        let largest = times.iter().copied().fold(0.0, f64::max);
        let count = times.len();
        say(format!("| `{question}` | {count} | {:.1} | {largest:.1} | {bytes:.1} |", median(times)));
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (before, after) = (mib(measured.memory_before), mib(measured.memory));
    say(format!(
        "\nMemory of the proxy: {before:.1} MiB when nobody is there, {after:.1} MiB with all of them."
    ));
    text
}

/// What asking adds to the 99th percentile of the proxy's miners, beyond what it adds to the others.
fn added_us(measured: &Measured) -> f64 {
    let added = |figure: Figure| {
        median(of_windows(measured, true, figure)) - median(of_windows(measured, false, figure))
    };
    added(|window| window.proxy.submit_us.p99) - added(|window| window.direct.submit_us.p99)
}

/// All answers, by question.
fn questions(measured: &Measured) -> Vec<(&'static str, Vec<&Asked>)> {
    let all = || measured.windows.iter().flat_map(|window| &window.asked);
    let of = |question: &'static str| (question, all().filter(|asked| asked.path == question).collect());
    asking::QUESTIONS.iter().map(|question| of(question.path)).collect()
}

/// What is not as it should be.
fn problems(measured: &Measured) -> Vec<String> {
    let mut problems = Vec::new();
    for window in &measured.windows {
        for report in [&window.proxy, &window.direct] {
            if report.shares.astray() > 0 || report.disconnected > 0 {
                problems.push(format!("shares or connections were lost: {:?}", report.shares));
            }
        }
    }
    if measured.farm.shares.astray() > 0 || measured.farm.disconnected > 0 {
        problems.push(format!("of the farm, shares or connections were lost: {:?}", measured.farm.shares));
    }
    if added_us(measured) > ADDED_US_MAX {
        problems.push(format!("asking adds {:.0} us to the p99 of the proxy's miners", added_us(measured)));
    }
    for (question, asked) in questions(measured) {
        let is_scrape = question.starts_with("/metrics");
        let ms_max = if is_scrape { SCRAPE_MS_MAX } else { PAGE_MS_MAX };
        let is_of_shards = question.ends_with("/sessions");
        let late = asked.iter().filter(|asked| asked.ms >= ms_max && !is_of_shards).count();
        if late > 0 {
            problems.push(format!("{question}: {late} of {} took {ms_max} ms or longer", asked.len()));
        }
        if is_scrape && asked.iter().any(|asked| asked.bytes >= SCRAPE_BYTES_MAX) {
            problems.push(format!("{question}: an answer of a MiB or more"));
        }
    }
    problems
}
