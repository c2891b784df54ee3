//! One load on one proxy: starts both, watches what the proxy uses, and gives the figures.

use crate::Arguments;
use crate::loads::{ESTABLISHED, Load, established};
use crate::loka;
use crate::machine::Others;
use crate::targets::{Kind, Running, Target};
use crate::usage::{Usage, cpu_of};
use anyhow::{Context, anyhow};
use loka_rig::{JobClock, Phase, PoolHandle, Progress, SwarmReport};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Time between two blocks: long enough for the slowest proxy to be done with the one before.
const BETWEEN_BLOCKS: Duration = Duration::from_millis(700);

/// What came of one load on one proxy.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) round: u32,
    pub(crate) load: Load,
    pub(crate) kind: Kind,
    pub(crate) target: String,
    pub(crate) swarm: SwarmReport,
    /// Of a siege: the miners that were at work all the time.
    pub(crate) established: Option<SwarmReport>,
    /// Microseconds of CPU of the whole proxy for each share answered, job delivered or handshake made.
    pub(crate) cpu_us_each: Option<f64>,
    /// Growth of the proxy's memory for each miner that was connected.
    pub(crate) bytes_per_miner: Option<f64>,
    /// Of this project with several shards: what its busiest shard did over the mean.
    pub(crate) imbalance: Option<f64>,
    /// What others did meanwhile, when that was too much.
    pub(crate) disturbed: Option<String>,
    /// Why the figures are worth nothing, if they are.
    pub(crate) problem: Option<String>,
}

pub(crate) fn measure(
    arguments: &Arguments,
    round: u32,
    load: Load,
    target: &Target,
) -> anyhow::Result<Measured> {
    let clock = JobClock::default();
    let pool = PoolHandle::start(load.pool(&clock))?;
    let running = Running::start(target, arguments, pool.addr())?;
    let config = load.swarm(running.address, arguments.seconds, &clock);
    let mut watch = Watch::new(running.processes(), arguments.target_cpu)?;

    let (mut swarm, mut others) = (None, None);
    match load {
        Load::Burst => swarm = Some(with_blocks(&pool, &config, &mut watch)?),
        Load::Siege => {
            let (storm, miners) = besiege(running.address, &config, &mut watch)?;
            (swarm, others) = (Some(storm), Some(miners));
        }
        Load::Lone | Load::Open5k | Load::Open20k | Load::Closed | Load::Deep | Load::Storm | Load::Idle => {}
    }
    let swarm = match swarm {
        Some(swarm) => swarm,
        None => loka_rig::run(&config, &AtomicBool::new(false), &mut |progress| watch.look(progress))?,
    };

    let figures = watch.figures(load, &swarm)?;
    let shares = running.metrics.map(loka::shares_by_shard).transpose()?.unwrap_or_default();
    Ok(Measured {
        round,
        load,
        kind: target.kind,
        target: target.name.clone(),
        problem: problem(load, &swarm, others.as_ref()),
        established: others,
        cpu_us_each: figures.cpu_us_each.filter(|_| target.kind != Kind::Direct),
        bytes_per_miner: figures.bytes_per_miner.filter(|_| target.kind != Kind::Direct),
        imbalance: loka::imbalance(&shares),
        disturbed: figures.disturbed,
        swarm,
    })
}

/// The swarm waits for jobs; the pool finds blocks once all miners are there.
fn with_blocks(
    pool: &PoolHandle,
    config: &loka_rig::SwarmConfig,
    watch: &mut Watch,
) -> anyhow::Result<SwarmReport> {
    let blocks = config.duration.as_millis() / BETWEEN_BLOCKS.as_millis();
    let (begin, begun): (_, Receiver<()>) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Ends unused when the swarm never gets as far as its measured phase.
            if begun.recv().is_ok() {
                for _ in 0..blocks {
                    pool.notify(true);
                    std::thread::sleep(BETWEEN_BLOCKS);
                }
            }
        });
        let mut begin = Some(begin);
        let report = loka_rig::run(config, &AtomicBool::new(false), &mut |progress| {
            watch.look(progress);
            if progress.phase == Phase::Measure
                && let Some(begin) = begin.take()
            {
                // Fails only when the thread above is gone, which it is not before this.
                let _ = begin.send(());
            }
        });
        drop(begin);
        Ok(report?)
    })
}

/// A storm while other miners are at work. The storm, and those miners.
fn besiege(
    address: SocketAddr,
    storm: &loka_rig::SwarmConfig,
    watch: &mut Watch,
) -> anyhow::Result<(SwarmReport, SwarmReport)> {
    let stop = AtomicBool::new(false);
    let (at_work, wait) = channel();
    std::thread::scope(|scope| {
        let stop = &stop;
        let miners = scope.spawn(move || {
            let mut at_work = Some(at_work);
            loka_rig::run(&established(address), stop, &mut |progress| {
                if progress.phase == Phase::Measure {
                    // Told once; closing the channel is the telling.
                    at_work = None;
                }
            })
        });
        let _ = wait.recv() as Result<(), _>;
        let report = loka_rig::run(storm, &AtomicBool::new(false), &mut |progress| watch.look(progress));
        stop.store(true, Ordering::Relaxed);
        let miners = miners.join().map_err(|_| anyhow!("the established miners panicked"))?;
        Ok((report?, miners.context("the established miners")?))
    })
}

fn problem(load: Load, swarm: &SwarmReport, established: Option<&SwarmReport>) -> Option<String> {
    for report in [Some(swarm), established].into_iter().flatten() {
        let astray = report.shares.astray();
        if astray > 0 {
            return Some(format!("{astray} shares lost, answered twice, or answers to nothing"));
        }
        let failed = report.connect_failed + report.handshake_timeouts + report.refused + report.disconnected;
        if failed > 0 {
            let cause = report.first_error.as_deref().unwrap_or("ended by the other side");
            return Some(format!("{failed} connections failed: {cause}"));
        }
    }
    let there =
        |who: &str, found: u64, asked: u64| (found < asked).then(|| format!("{found} of {asked} {who}"));
    there("miners were there", swarm.ready, load.asked() as u64)
        .or_else(|| there("handshakes were made", swarm.handshakes, load.connects()))
        .or_else(|| there("established miners were there", established?.ready, ESTABLISHED as u64))
}

/// What the proxy had used, and what had been done, at one moment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    cpu_s: f64,
    done: u64,
    memory_bytes: u64,
}

struct Figures {
    cpu_us_each: Option<f64>,
    bytes_per_miner: Option<f64>,
    disturbed: Option<String>,
}

/// What the proxy uses while it is loaded.
struct Watch {
    processes: Vec<u32>,
    cpu: usize,
    before: Usage,
    others: Others,
    /// At the first and at the last look in the measured phase.
    first: Option<Mark>,
    last: Option<Mark>,
}

impl Watch {
    fn new(processes: Vec<u32>, cpu: usize) -> anyhow::Result<Watch> {
        let before = Usage::of(&processes)?;
        let others = Others::read(cpu, &processes)?;
        Ok(Watch { processes, cpu, before, others, first: None, last: None })
    }

    fn look(&mut self, progress: &Progress) {
        if progress.phase == Phase::Measure {
            let done = progress.shares.accepted + progress.shares.rejected;
            // A proxy that has ended shows in the run itself.
            let mark = Usage::of(&self.processes).ok();
            let mark = mark.map(|Usage { cpu_s, memory_bytes }| Mark { cpu_s, done, memory_bytes });
            self.last = mark.or(self.last);
            self.first = self.first.or(self.last);
        }
    }

    fn figures(self, load: Load, swarm: &SwarmReport) -> anyhow::Result<Figures> {
        let cpu_s = cpu_of(&self.processes)?;
        let whole_s = cpu_s - self.before.cpu_s;
        let marks = self.first.zip(self.last);
        let charged = match load {
            Load::Lone | Load::Open5k | Load::Open20k | Load::Closed | Load::Deep => {
                marks.map(|(first, last)| (last.cpu_s - first.cpu_s, last.done - first.done))
            }
            // The first job of each miner came with its handshake, before the first look; the last block is done long before
            // the last.
            Load::Burst => marks.map(|(first, last)| {
                (last.cpu_s - first.cpu_s, swarm.jobs_received.saturating_sub(swarm.handshakes))
            }),
            Load::Storm | Load::Siege => Some((whole_s, swarm.handshakes)),
            Load::Idle => None,
        };
        let idle = self.last.filter(|_| load == Load::Idle && swarm.ready > 0);
        Ok(Figures {
            cpu_us_each: charged.filter(|(_, each)| *each > 0).map(|(s, each)| s * 1e6 / float(each)),
            bytes_per_miner: idle.map(|last| {
                float(last.memory_bytes.saturating_sub(self.before.memory_bytes)) / float(swarm.ready)
            }),
            disturbed: Others::read(self.cpu, &self.processes)?.disturbance_since(self.others),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for the eye")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// One measurement in one line, while the run goes on.
pub(crate) fn line(measured: &Measured) -> String {
    let Measured { round, load, target, swarm, cpu_us_each, bytes_per_miner, .. } = measured;
    let p99 = measured.established.as_ref().map_or(swarm.submit_us.p99, |miners| miners.submit_us.p99);
    let mut text = format!(
        "{round} {:<8}{target:<8} {:>7.0} shares/s  p50 {:>6}  p99 {p99:>7} us  {:>6.0} handshakes/s  job p99 {:>7} us",
        format!("{load:?}").to_lowercase(),
        swarm.shares_per_second,
        swarm.submit_us.p50,
        swarm.handshakes_per_second,
        swarm.job_us.p99,
    );
    if let Some(us) = cpu_us_each {
        text += &format!("  cpu {us:.2} us each");
    }
    if let Some(bytes) = bytes_per_miner {
        text += &format!("  {bytes:.0} bytes each");
    }
    for note in [&measured.disturbed, &measured.problem].into_iter().flatten() {
        text += &format!("  ! {note}");
    }
    text
}
