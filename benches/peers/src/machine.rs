//! The machine: what it is, where threads run, and whether something else disturbed a measurement.

use crate::targets::Target;
use crate::usage;
use anyhow::Context;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::fs;
use std::time::Instant;

/// Kernel ticks a second in `/proc/stat`.
const TICKS_PER_SECOND: f64 = 100.0;
/// Share of a CPU's time that others may take before a measurement counts as disturbed.
const DISTURBED: f64 = 0.05;

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

/// What everybody but us had used at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Others {
    at: Instant,
    /// CPU of all processes besides those under test and this one, in seconds of the scheduler. The ticks of `/proc/stat`
    /// would not do: a proxy that wakes in step with them is charged for far more than it used.
    used_s: f64,
    /// What the host took away from the CPU under test.
    stolen_s: f64,
}

impl Others {
    pub(crate) fn read(cpu: usize, ours: &[u32]) -> anyhow::Result<Others> {
        let me = std::process::id();
        let mut used_s = 0.0;
        for entry in fs::read_dir("/proc").context("reading /proc")? {
            let process = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some(process) = process.filter(|process| *process != me && !ours.contains(process)) {
                // One that has ended meanwhile takes its figure with it.
                used_s += usage::cpu_of(&[process]).unwrap_or(0.0);
            }
        }
        Ok(Others { at: Instant::now(), used_s, stolen_s: stolen_s(cpu)? })
    }

    /// What they did since `before`: in words when it was too much.
    pub(crate) fn disturbance_since(&self, before: Others) -> Option<String> {
        let span_s = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let stolen = (self.stolen_s - before.stolen_s) / span_s;
        let others = (self.used_s - before.used_s) / span_s;
        if stolen > DISTURBED {
            return Some(format!("{} of the CPU taken by the host", percent(stolen)));
        }
        (others > DISTURBED).then(|| format!("{} of a CPU used by others", percent(others)))
    }
}

fn stolen_s(cpu: usize) -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let name = format!("cpu{cpu} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).context("no such CPU")?;
    // user nice system idle iowait irq softirq steal
    let ticks: f64 = line.split_whitespace().nth(7).and_then(|ticks| ticks.parse().ok()).unwrap_or(0.0);
    Ok(ticks / TICKS_PER_SECOND)
}
