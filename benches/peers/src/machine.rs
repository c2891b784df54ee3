//! The machine: what it is, where threads run, and whether something else disturbed a measurement.

use crate::targets::Target;
use anyhow::Context;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::fs;
use std::time::Instant;

/// Kernel ticks a second in `/proc/stat`.
const TICKS_PER_SECOND: f64 = 100.0;
/// Share of a CPU's time that others may take before a measurement counts as disturbed.
const DISTURBED: f64 = 0.10;

/// What the figures were taken on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    pub(crate) programs: Vec<String>,
}

impl Machine {
    pub(crate) fn describe(targets: &[Target]) -> anyhow::Result<Machine> {
        let info = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        Ok(Machine {
            cpu: model.unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            programs: targets.iter().map(|target| format!("{}: {}", target.name, target.version)).collect(),
        })
    }
}

/// Pins this thread, and all threads and processes it starts from now on.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to CPU {cpu}"))
}

/// Lets this thread, and all processes it starts from now on, run everywhere.
pub(crate) fn unpin() -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).context("running on every CPU")
}

/// What `/proc/stat` said of one CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTimes {
    at: Instant,
    busy_s: f64,
    stolen_s: f64,
}

impl CpuTimes {
    pub(crate) fn read(cpu: usize) -> anyhow::Result<CpuTimes> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let name = format!("cpu{cpu} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).context("no such CPU")?;
        let ticks: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0.0) / TICKS_PER_SECOND;
        // user nice system idle iowait irq softirq steal
        let busy_s = at(0) + at(1) + at(2) + at(5) + at(6);
        Ok(CpuTimes { at: Instant::now(), busy_s, stolen_s: at(7) })
    }
}

/// What others did with a CPU while `used_s` of it were ours: in words when it was too much.
pub(crate) fn disturbance(before: CpuTimes, after: CpuTimes, used_s: f64) -> Option<String> {
    let span_s = after.at.duration_since(before.at).as_secs_f64().max(0.001);
    let stolen = (after.stolen_s - before.stolen_s) / span_s;
    let others = (after.busy_s - before.busy_s - used_s) / span_s;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if stolen > DISTURBED {
        return Some(format!("{} stolen by the host", percent(stolen)));
    }
    (others > DISTURBED).then(|| format!("{} used by others", percent(others)))
}
