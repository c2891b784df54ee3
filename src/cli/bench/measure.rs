//! Runs the loads, direct and through the proxy in turn.

use super::super::children::{Running, Shape, Usage};
use super::super::{Failure, Options};
use super::{Arguments, Kind};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use loka_rig::{Phase, Progress, SwarmReport};
use serde::Serialize;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// One load on one server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    pub(super) kind: Kind,
    /// What was loaded: `direct`, `proxy` or the target's address.
    pub(super) path: String,
    /// Miners that were to be there when the measured phase began; zero for a storm.
    pub(super) asked: u64,
    pub(super) swarm: SwarmReport,
    /// What the proxy used for it, where it is ours.
    pub(super) proxy: Option<Used>,
}

/// What the proxy used during one load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Used {
    pub(super) cpu_seconds: f64,
    /// Microseconds of CPU for each share answered; for a storm, for each handshake.
    pub(super) cpu_us_each: Option<f64>,
    /// Growth of the resident set for each miner that was connected.
    pub(super) bytes_per_miner: Option<f64>,
}

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    pub(super) version: &'static str,
    pub(super) shards: Option<usize>,
    pub(super) measured: Vec<Measured>,
}

impl Outcome {
    /// The first thing that makes the figures worthless: a share lost, answered twice, or answered to the wrong one; or
    /// miners that were not there.
    pub(super) fn first_problem(&self) -> Option<String> {
        self.measured.iter().find_map(Measured::problem)
    }
}

impl Measured {
    fn problem(&self) -> Option<String> {
        let Measured { kind, path, asked, swarm, .. } = self;
        let shares = &swarm.shares;
        if shares.lost + shares.duplicate_answers + shares.mismatched > 0 {
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

pub(super) struct Bench<'a> {
    options: &'a Options,
    arguments: &'a Arguments,
}

impl<'a> Bench<'a> {
    pub(super) fn new(options: &'a Options, arguments: &'a Arguments) -> Bench<'a> {
        Bench { options, arguments }
    }

    /// Every load on somebody else's server.
    pub(super) fn of_target(&self, target: SocketAddr) -> Result<Outcome, Failure> {
        let mut measured = Vec::new();
        for kind in self.arguments.kinds() {
            let swarm = self.load(kind, target, &target.to_string())?;
            measured.push(Measured {
                kind,
                path: target.to_string(),
                asked: self.arguments.asked(kind),
                swarm,
                proxy: None,
            });
        }
        Ok(Outcome { version: env!("CARGO_PKG_VERSION"), shards: None, measured })
    }

    /// Every load on a pool of our own, direct and through the proxy, in the same run.
    pub(super) fn of_proxy(&self) -> Result<Outcome, Failure> {
        let mut measured = Vec::new();
        for kind in self.arguments.kinds() {
            let shape = if kind == Kind::Idle { Shape::Quiet } else { Shape::Steady };
            let pool = Running::start(&["pool".to_owned(), name_of(shape)])?;
            if kind != Kind::Idle {
                let swarm = self.load(kind, pool.address, "direct")?;
                measured.push(Measured {
                    kind,
                    path: "direct".to_owned(),
                    asked: self.arguments.asked(kind),
                    swarm,
                    proxy: None,
                });
            }
            measured.push(self.through_proxy(kind, pool.address)?);
        }
        Ok(Outcome { version: env!("CARGO_PKG_VERSION"), shards: self.options.shards, measured })
    }

    fn through_proxy(&self, kind: Kind, pool: SocketAddr) -> Result<Measured, Failure> {
        let mut arguments = vec!["proxy".to_owned(), "--pool".to_owned(), pool.to_string()];
        arguments.push("--log-level".to_owned());
        arguments.push(self.options.log_level.clone().unwrap_or_else(|| "warn".to_owned()));
        if let Some(shards) = self.options.shards {
            arguments.extend(["--shards".to_owned(), shards.to_string()]);
        }
        if let Some(cpus) = &self.options.cpus {
            arguments.extend(["--cpus".to_owned(), cpus.clone()]);
        }
        for (key, value) in &self.options.set {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        let mut proxy = Running::start(&arguments)?;
        let mut watch = Watch { before: proxy.usage()?, first: None, last: None };
        let address = proxy.address;
        let swarm = self.load_and(kind, address, "proxy", |progress| watch.look(&mut proxy, progress))?;
        let used = watch.used(&mut proxy, kind, &swarm)?;
        Ok(Measured {
            kind,
            path: "proxy".to_owned(),
            asked: self.arguments.asked(kind),
            swarm,
            proxy: Some(used),
        })
    }

    fn load(&self, kind: Kind, target: SocketAddr, path: &str) -> Result<SwarmReport, Failure> {
        self.load_and(kind, target, path, |_| {})
    }

    fn load_and(
        &self,
        kind: Kind,
        target: SocketAddr,
        path: &str,
        mut look: impl FnMut(&Progress),
    ) -> Result<SwarmReport, Failure> {
        let config = self.arguments.swarm(kind, target);
        let bar = bar(kind, path, self.arguments.json);
        let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |progress| {
            show(&bar, progress, config.duration);
            look(progress);
        });
        bar.finish_and_clear();
        Ok(report?)
    }
}

fn name_of(shape: Shape) -> String {
    shape.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What the proxy used, and what had been answered, at one moment of a run.
#[derive(Debug, Clone, Copy)]
struct Mark {
    usage: Usage,
    answered: u64,
}

/// What the proxy used at the marks of a run.
struct Watch {
    before: Usage,
    /// At the first look in the measured phase: the ramp is not charged to the shares.
    first: Option<Mark>,
    /// At the last look in it, while the miners are still connected.
    last: Option<Mark>,
}

impl Watch {
    fn look(&mut self, proxy: &mut Running, progress: &Progress) {
        if progress.phase == Phase::Measure {
            let answered = progress.shares.accepted + progress.shares.rejected;
            // A child that is gone shows in the run itself.
            self.last = proxy.usage().ok().map(|usage| Mark { usage, answered }).or(self.last);
            self.first = self.first.or(self.last);
        }
    }

    fn used(self, proxy: &mut Running, kind: Kind, swarm: &SwarmReport) -> anyhow::Result<Used> {
        let cpu_seconds = proxy.usage()?.cpu_seconds - self.before.cpu_seconds;
        let measured = self.first.zip(self.last).map(|(first, last)| {
            (last.usage.cpu_seconds - first.usage.cpu_seconds, last.answered - first.answered)
        });
        let charged = match kind {
            Kind::Open | Kind::Closed | Kind::Deep => measured,
            Kind::Storm => Some((cpu_seconds, swarm.handshakes)),
            Kind::Idle => None,
        };
        let cpu_us_each = charged.filter(|(_, each)| *each > 0).map(|(cpu, each)| cpu * 1e6 / ratio(each, 1));
        let idle = self.last.filter(|_| kind == Kind::Idle && swarm.ready > 0);
        let bytes_per_miner = idle.map(|last| {
            ratio(last.usage.resident_bytes.saturating_sub(self.before.resident_bytes), swarm.ready)
        });
        Ok(Used { cpu_seconds, cpu_us_each, bytes_per_miner })
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for the eye")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}

fn bar(kind: Kind, path: &str, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{prefix:<16} {bar:30} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(format!("{kind:?} {path}"));
    bar
}

fn show(bar: &ProgressBar, progress: &Progress, duration: Duration) {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    bar.set_length(ms(duration));
    bar.set_position(if progress.phase == Phase::Ramp { 0 } else { ms(progress.elapsed) });
    bar.set_message(format!(
        "{:?}: {} miners, {} shares, {} handshakes, p99 {} us",
        progress.phase, progress.ready, progress.shares.sent, progress.handshakes, progress.submit_p99_us
    ));
}
