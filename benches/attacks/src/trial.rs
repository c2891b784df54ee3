//! One attack on one proxy, and what honest miners, the proxy and the attackers say of it.

use crate::bench::{Arguments, Mode};
use crate::proxy::{Counted, Proxy};
use crate::{Conduct, Crew, CrewConfig, CrewReport};
use anyhow::{Context, anyhow};
use loka_rig::{Load, Miner, Phase, PoolConfig, PoolHandle, PoolReport, Progress, SwarmConfig, SwarmReport};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What an attack may add to the 99th percentile of honest miners, in microseconds.
const ADDED_P99_US_MAX: u64 = 2_000;
/// What memory may grow by for each byte of a line that attackers hold open; and what nobody asks about.
const MEMORY_FACTOR_MAX: u64 = 4;
const MEMORY_FREE: u64 = 8 * 1024 * 1024;
/// Time between two miners that come while the attack goes on.
const NEWCOMER_EVERY: Duration = Duration::from_millis(200);
/// What is waited for after an attack before memory is looked at.
const AFTERMATH: Duration = Duration::from_millis(1500);
/// Time between jobs where readers are drowned in them, and the branches of each.
const FLOOD_OF_JOBS: Duration = Duration::from_millis(20);
const BRANCHES: usize = 32;

/// What came of one attack.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) attack: Conduct,
    pub(crate) mode: Mode,
    /// Of miners behind the proxy.
    pub(crate) proxied: Phases,
    /// Of as many miners with as many shares that do not go through the proxy, at the same times. An attack that goes past them
    /// all the same slows them only by what it takes of the kernel and of the CPU that pool, generator and attackers share.
    pub(crate) direct: Phases,
    pub(crate) newcomers: Newcomers,
    pub(crate) memory: Memory,
    pub(crate) proxy_cpu_share: f64,
    pub(crate) attackers: CrewReport,
    pub(crate) counted: Counted,
    pub(crate) pool: PoolReport,
}

/// What one load found, before an attack, while it went on, and after it.
#[derive(Debug, Serialize)]
pub(crate) struct Phases {
    pub(crate) before: SwarmReport,
    pub(crate) during: SwarmReport,
    pub(crate) after: SwarmReport,
}

impl Phases {
    /// A figure of each.
    pub(crate) fn triple(&self, of: fn(&SwarmReport) -> u64) -> [u64; 3] {
        [of(&self.before), of(&self.during), of(&self.after)]
    }

    /// By how much the attack raised the 99th percentile.
    pub(crate) fn added_p99_us(&self) -> u64 {
        let [before, during, after] = self.triple(|report| report.submit_us.p99);
        during.saturating_sub(before.max(after))
    }
}

/// Bytes of the proxy's private memory.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) before: u64,
    pub(crate) peak: u64,
    pub(crate) after: u64,
}

/// Honest miners that came while the attack went on.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Newcomers {
    pub(crate) tried: u64,
    pub(crate) failed: u64,
    /// From connect to first job.
    pub(crate) slowest_ms: u64,
}

impl Trial {
    /// What honest miners noticed, or memory took, beyond what was promised.
    pub(crate) fn problem(&self) -> Option<String> {
        let mut found = Vec::new();
        let Phases { before, during, after } = &self.proxied;
        for (when, report) in [("before", before), ("during", during), ("after", after)] {
            let (astray, gone) = (report.shares.astray(), report.disconnected);
            // Of fifty jobs a second, shares that are on their way are rejected when one voids those before it.
            let rejected = if self.attack == Conduct::NeverReads { 0 } else { report.shares.rejected };
            let refused = rejected + report.refused + report.not_sent;
            if astray + gone + refused > 0 {
                found.push(format!(
                    "{when}: {astray} shares astray, {gone} miners disconnected, {refused} refused or unsent"
                ));
            }
        }
        if self.newcomers.failed > 0 {
            found
                .push(format!("{} of {} newcomers got no work", self.newcomers.failed, self.newcomers.tried));
        }
        let (added, machine) = (self.proxied.added_p99_us(), self.direct.added_p99_us());
        if added > machine + ADDED_P99_US_MAX {
            found.push(format!("p99 is {added} us above the quiet one, {machine} us without the proxy"));
        }
        let growth = self.memory.peak.saturating_sub(self.memory.before);
        let held = self.attackers.held_bytes_max;
        if growth > MEMORY_FREE + MEMORY_FACTOR_MAX * held {
            found.push(format!("memory grew by {growth} bytes, of which attackers held {held} open"));
        }
        let what = format!("{:?}, {}", self.attack, self.mode.name());
        (!found.is_empty()).then(|| format!("{what}: {}", found.join("; ")))
    }
}

/// Attackers at one time.
fn connections(attack: Conduct) -> usize {
    match attack {
        Conduct::EndlessLine | Conduct::HalfLine | Conduct::OneByte => 1_000,
        Conduct::Silent => 2_000,
        Conduct::Reset => 256,
        Conduct::Documents | Conduct::Scanner => 64,
        Conduct::NeverReads => 20,
        Conduct::Firehose | Conduct::BadShares | Conduct::UnknownJobs | Conduct::Authorize => 16,
    }
}

pub(crate) fn run(
    arguments: &Arguments,
    program: &Path,
    attack: Conduct,
    mode: Mode,
) -> anyhow::Result<Trial> {
    // The others get one job, as nothing else is to differ between the three measurements.
    let mut pool = PoolConfig { notify_interval: Duration::ZERO, ..PoolConfig::default() };
    if attack == Conduct::NeverReads {
        (pool.notify_interval, pool.merkle_branches) = (FLOOD_OF_JOBS, BRANCHES);
    }
    crate::bench::pin(arguments.load_cpu)?;
    let pool = PoolHandle::start(pool)?;
    let proxy = Proxy::start(arguments, program, pool.addr(), mode)?;
    let targets = Targets { proxy: proxy.address, pool: pool.addr() };
    let quiet = |prefix| targets.load(arguments, arguments.quiet_seconds, prefix, &mut |_| {});
    let before = quiet("before").context("before the attack")?;
    let mut memory = Memory { before: proxy.anonymous_bytes().unwrap_or(0), ..Memory::default() };
    let besieged = besiege(arguments, &proxy, targets, attack, &mut memory)?;
    std::thread::sleep(AFTERMATH);
    memory.after = proxy.anonymous_bytes().context("the proxy is gone")?;
    let after = quiet("after").context("after the attack")?;
    std::thread::sleep(AFTERMATH);
    Ok(Trial {
        attack,
        mode,
        proxied: Phases { before: before.proxied, during: besieged.honest.proxied, after: after.proxied },
        direct: Phases { before: before.direct, during: besieged.honest.direct, after: after.direct },
        newcomers: besieged.newcomers,
        memory,
        proxy_cpu_share: besieged.cpu_share,
        attackers: besieged.attackers,
        counted: proxy.counted()?,
        pool: pool.stop(),
    })
}

/// Where honest miners go.
#[derive(Debug, Clone, Copy)]
struct Targets {
    proxy: SocketAddr,
    pool: SocketAddr,
}

/// What two equal loads at the same time found.
struct Loads {
    proxied: SwarmReport,
    direct: SwarmReport,
}

impl Targets {
    /// `progress` is told of the load on the proxy.
    fn load(
        self,
        arguments: &Arguments,
        seconds: u64,
        prefix: &str,
        progress: &mut dyn FnMut(&Progress),
    ) -> anyhow::Result<Loads> {
        let swarm = |target, prefix| SwarmConfig {
            target,
            connections: arguments.miners as usize,
            ramp: Duration::from_millis(200),
            load: Load::OpenLoop { per_second: f64::from(arguments.rate) },
            duration: Duration::from_secs(seconds),
            user_prefix: prefix,
            ..SwarmConfig::default()
        };
        let (proxied, direct) =
            (swarm(self.proxy, prefix.to_owned()), swarm(self.pool, format!("{prefix}-direct")));
        let never = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let direct = scope.spawn(|| loka_rig::run(&direct, &never, &mut |_| {}));
            let proxied = loka_rig::run(&proxied, &never, progress)?;
            let direct = direct.join().map_err(|_| anyhow!("the direct load panicked"))??;
            Ok(Loads { proxied, direct })
        })
    }
}

/// What came of the middle part of a trial.
struct Besieged {
    honest: Loads,
    newcomers: Newcomers,
    attackers: CrewReport,
    cpu_share: f64,
}

/// Attackers come when all honest miners are at work, and go when these are done.
fn besiege(
    arguments: &Arguments,
    proxy: &Proxy,
    targets: Targets,
    attack: Conduct,
    memory: &mut Memory,
) -> anyhow::Result<Besieged> {
    let attackers = CrewConfig {
        sources: arguments.sources,
        ..CrewConfig::new(proxy.address, attack, connections(attack))
    };
    let (ended, newcomers) = (AtomicBool::new(false), Mutex::new(Newcomers::default()));
    let mut crew: Option<std::io::Result<Crew>> = None;
    let (mut began, mut cpu_s) = (Instant::now(), 0.0);
    let honest = std::thread::scope(|scope| {
        let honest = targets.load(arguments, arguments.seconds, "honest", &mut |progress| {
            if progress.phase == Phase::Measure && crew.is_none() {
                (began, cpu_s) = (Instant::now(), proxy.cpu_s());
                crew = Some(Crew::start(attackers.clone()));
                scope.spawn(|| *lock(&newcomers) = welcome(proxy.address, &ended));
            }
            memory.peak = memory.peak.max(proxy.anonymous_bytes().unwrap_or(0));
        });
        ended.store(true, Ordering::Relaxed);
        honest
    });
    let cpu_share = (proxy.cpu_s() - cpu_s) / began.elapsed().as_secs_f64().max(0.001);
    let attackers = crew.context("the honest miners never got to work")??.stop()?;
    Ok(Besieged { honest: honest?, newcomers: std::mem::take(&mut lock(&newcomers)), attackers, cpu_share })
}

fn lock(newcomers: &Mutex<Newcomers>) -> std::sync::MutexGuard<'_, Newcomers> {
    newcomers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Miners come one after the other, from an address that attackers do not have.
fn welcome(target: SocketAddr, ended: &AtomicBool) -> Newcomers {
    let mut told = Newcomers::default();
    while !ended.load(Ordering::Relaxed) {
        let began = Instant::now();
        let here = SocketAddr::from(([127, 0, 8, 1], 0));
        let greeted = Miner::connect_from(here, target).and_then(|mut miner| miner.handshake("newcomer.rig"));
        told.tried += 1;
        told.failed += u64::from(greeted.is_err());
        told.slowest_ms = told.slowest_ms.max(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        std::thread::sleep(NEWCOMER_EVERY);
    }
    told
}
