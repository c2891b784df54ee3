//! `demo`: an embedded pool, simulated miners and the proxy in one process, and a line a second of what happens.

use super::{Failure, screen};
use crate::aggregate::Snapshot;
use crate::config::{self, Config, Loaded, Overrides, Sources};
use crate::logging;
use crate::supervisor::{CaughtSignals, Proxy};
use anyhow::Context;
use clap::Args;
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use loka_rig::{Load, PoolConfig, PoolHandle, Quirks, SwarmConfig, SwarmReport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anybody watches.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Shares in a thousand that the embedded pool rejects, so that rejects are seen too.
const REJECT_PERMILLE: u32 = 10;
/// Descriptors besides those of miners and their links, twice what the proxy keeps back.
const OPEN_FILES_RESERVED: u64 = 512;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Simulated miners
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    miners: u16,
    /// Shares a second of all miners together
    #[arg(long, default_value_t = 25.0, value_parser = super::load::rate)]
    rate: f64,
    /// End after this many seconds, not at Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
}

pub(super) fn execute(overrides: &Overrides, arguments: &Arguments) -> Result<(), Failure> {
    check_open_files(arguments.miners)?;
    let pool_config = PoolConfig {
        reject_permille: REJECT_PERMILLE,
        notify_interval: Duration::from_secs(10),
        answer_delay: Duration::from_millis(20),
        ..PoolConfig::default()
    };
    let pool = PoolHandle::start(pool_config).context("cannot start the embedded pool")?;
    let config = configure(overrides, pool.addr())?;
    let log = logging::init(&config.logging)?;
    let proxy = Proxy::start(&config, log.handle())?;
    proxy.stop_on(CaughtSignals::catch()?)?;
    let target = loopback_of(proxy.addresses())?;
    greet(&proxy, &pool, arguments)?;
    let swarm = Swarm::start(target, arguments)?;
    let (ended, end) = bounded::<()>(1);
    let watcher = watch(&proxy, end, arguments.seconds)?;
    let outcome = proxy.run();
    drop(ended);
    let _ = watcher.join();
    let miners = swarm.stop();
    let ledger = pool.stop();
    let last = outcome?;
    let shares = &last.stats.counts.shares;
    screen::say(&format_args!(
        "ended: the pool saw {} shares, {} of them twice; the proxy forwarded {}; miners got {} answers",
        ledger.shares_received,
        ledger.shares_duplicate,
        shares.forwarded,
        miners.map_or(0, |miners| miners.shares.accepted + miners.shares.rejected),
    ))?;
    Ok(())
}

/// Miners, proxy and pool live in one process here, with four descriptors a miner.
fn check_open_files(miners: u16) -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit};
    // The soft limit is raised to the hard one by the preflight.
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let need = OPEN_FILES_RESERVED + 4 * u64::from(miners);
    anyhow::ensure!(
        limit >= need,
        "{miners} miners, their proxy and their pool need {need} open files and the limit is {limit}\n  fix: fewer --miners, or \
         `ulimit -n {need}`"
    );
    Ok(())
}

/// The configuration that somebody wrote plays no part in a demo; flags do, so that other ports can be chosen.
fn configure(overrides: &Overrides, pool: SocketAddr) -> Result<Config, Failure> {
    let quiet = overrides.log_level.clone().unwrap_or_else(|| "warn".to_owned());
    let overrides =
        Overrides { config: None, pool: Some(pool.to_string()), log_level: Some(quiet), ..overrides.clone() };
    let local = [("server.address".to_owned(), Ipv4Addr::LOCALHOST.to_string())];
    let overrides = Overrides { set: local.into_iter().chain(overrides.set.clone()).collect(), ..overrides };
    let sources = Sources { search: Vec::new(), ..Sources::new(overrides, Vec::new()) };
    let Loaded { config, .. } = config::load(&sources)?;
    Ok(config)
}

/// Where a miner on this machine reaches the proxy.
fn loopback_of(addresses: &[SocketAddr]) -> anyhow::Result<SocketAddr> {
    let address = addresses.first().context("the proxy listens nowhere")?;
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    };
    Ok(SocketAddr::new(ip, address.port()))
}

fn greet(proxy: &Proxy, pool: &PoolHandle, arguments: &Arguments) -> std::io::Result<()> {
    let page = proxy.admin_address().map_or_else(|| "off".to_owned(), |address| format!("http://{address}/"));
    screen::say(&format_args!(
        "proxy      {}   (point a miner here: any user name will do)\ndashboard  {page}\npool       {}   (embedded)\n\
         miners     {}   (simulated)\nCtrl-C ends it.\n",
        proxy.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        pool.addr(),
        arguments.miners,
    ))
}

/// The simulated miners on a thread of their own.
struct Swarm {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<SwarmReport>>,
}

impl Swarm {
    fn start(target: SocketAddr, arguments: &Arguments) -> std::io::Result<Swarm> {
        let config = SwarmConfig {
            target,
            connections: usize::from(arguments.miners),
            ramp: SECOND,
            load: Load::OpenLoop { per_second: arguments.rate },
            duration: FOR_EVER,
            user_prefix: "demo".to_owned(),
            quirks: Quirks { mixed: true, reconnect: true, ..Quirks::default() },
            ..SwarmConfig::default()
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let swarm = move || match loka_rig::run(&config, &stopped, &mut |_| {}) {
            Ok(report) => Some(report),
            Err(error) => {
                tracing::warn!(%error, "the simulated miners stopped");
                None
            }
        };
        let thread = std::thread::Builder::new().name("swarm".to_owned()).spawn(swarm)?;
        Ok(Swarm { stop, thread })
    }

    fn stop(self) -> Option<SwarmReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().flatten()
    }
}

/// Prints a line a second until the proxy has ended, or asks it to end when the time is over.
fn watch(proxy: &Proxy, ended: Receiver<()>, seconds: Option<u64>) -> std::io::Result<JoinHandle<()>> {
    let (snapshots, stopper) = (proxy.snapshots(), proxy.stopper());
    let watch = move || {
        let mut second = 0;
        while ended.recv_timeout(SECOND) == Err(RecvTimeoutError::Timeout) {
            second += 1;
            let is_read = screen::try_say(&line(second, &snapshots.latest())).is_ok();
            if !is_read || Some(second) == seconds {
                // Once: a second wish would cut the drain short.
                return stopper.stop("the demo is over");
            }
        }
    };
    std::thread::Builder::new().name("screen".to_owned()).spawn(watch)
}

fn line(second: u64, snapshot: &Snapshot) -> String {
    let stats = &snapshot.stats;
    let shares = &stats.counts.shares;
    format!(
        "{second:>5} s  miners {:>4}  shares {:>7}  accepted {:>7}  rejected {:>5}  refused {:>3}  unanswered {:>3}  \
         answer p50 {:>6.1} ms  p99 {:>6.1} ms",
        snapshot.shell(|shell| shell.connections),
        shares.forwarded,
        shares.accepted,
        shares.rejected.iter().sum::<u64>(),
        shares.refused,
        shares.unanswered,
        ms(stats.submit_us.value_at_quantile(0.5)),
        ms(stats.submit_us.value_at_quantile(0.99)),
    )
}

#[allow(clippy::cast_precision_loss, reason = "microseconds for the eye")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
