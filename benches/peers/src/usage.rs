//! What the processes of a proxy have used, as the kernel counts it.

use anyhow::Context;
use std::fs;

/// CPU and memory of a group of processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_s: f64,
    pub(crate) memory_bytes: u64,
}

impl Usage {
    /// CPU is that of all threads, in nanoseconds of the scheduler; memory is the proportional set, so that pages which
    /// the processes of one proxy share count once.
    pub(crate) fn of(processes: &[u32]) -> anyhow::Result<Usage> {
        let memory_bytes =
            processes.iter().map(|process| memory_bytes(*process)).sum::<anyhow::Result<u64>>()?;
        Ok(Usage { cpu_s: cpu_of(processes)?, memory_bytes })
    }
}

/// Seconds of CPU of all threads of the processes.
pub(crate) fn cpu_of(processes: &[u32]) -> anyhow::Result<f64> {
    processes.iter().map(|process| cpu_s(*process)).sum()
}

fn cpu_s(process: u32) -> anyhow::Result<f64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).context("the proxy has ended")?;
    let mut total_ns = 0_u64;
    for task in tasks {
        // A thread that ends between the two reads takes its figure with it; the proxies keep theirs.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(std::time::Duration::from_nanos(total_ns).as_secs_f64())
}

fn memory_bytes(process: u32) -> anyhow::Result<u64> {
    let text =
        fs::read_to_string(format!("/proc/{process}/smaps_rollup")).context("reading the proxy's memory")?;
    let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: u64 = pss.and_then(|pss| pss.split_whitespace().next()?.parse().ok()).context("no Pss")?;
    Ok(kib * 1024)
}

/// The process and its children, of which nginx has one that does the work.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(process).chain(children).collect()
}
