//! The table: medians of the rounds, and ratios that were taken within each round.

use crate::loads::Load;
use crate::machine::Machine;
use crate::measure::{Measured, float};
use std::fmt::Write;

/// The proxy that all others are compared with.
const PEER: &str = "haproxy";

/// One figure of one load.
struct Figure {
    name: &'static str,
    load: Load,
    /// Whether more is better.
    more: bool,
    of: fn(&Measured, Option<&Measured>) -> Option<f64>,
}

/// The share of a percentile that the proxy adds to a direct connection in the same round.
fn added(
    measured: &Measured,
    direct: Option<&Measured>,
    of: fn(&loka_rig::Percentiles) -> u64,
) -> Option<f64> {
    Some(float(of(&measured.swarm.submit_us)) - float(of(&direct?.swarm.submit_us)))
}

fn per_cpu_second(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    measured.cpu_us_each.map(|us| 1e6 / us)
}

fn cpu(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    measured.cpu_us_each
}

const fn less(name: &'static str, load: Load, of: fn(&Measured, Option<&Measured>) -> Option<f64>) -> Figure {
    Figure { name, load, more: false, of }
}

const fn more(name: &'static str, load: Load, of: fn(&Measured, Option<&Measured>) -> Option<f64>) -> Figure {
    Figure { name, load, more: true, of }
}

fn p50(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(float(measured.swarm.submit_us.p50))
}

fn p99(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(float(measured.swarm.submit_us.p99))
}

fn added_p50(measured: &Measured, direct: Option<&Measured>) -> Option<f64> {
    added(measured, direct, |times| times.p50)
}

fn added_p99(measured: &Measured, direct: Option<&Measured>) -> Option<f64> {
    added(measured, direct, |times| times.p99)
}

fn per_second(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(measured.swarm.shares_per_second)
}

fn handshakes(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(measured.swarm.handshakes_per_second)
}

fn job_p99(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(float(measured.swarm.job_us.p99))
}

fn established_p50(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(float(measured.established.as_ref()?.submit_us.p50))
}

fn established_p99(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(float(measured.established.as_ref()?.submit_us.p99))
}

fn bytes(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    measured.bytes_per_miner
}

fn imbalance(measured: &Measured, _: Option<&Measured>) -> Option<f64> {
    measured.imbalance
}

const FIGURES: [Figure; 23] = [
    less("alone: p50 us", Load::Lone, p50),
    less("alone: added p50 us", Load::Lone, added_p50),
    less("alone: added p99 us", Load::Lone, added_p99),
    less("5,000/s: CPU us a submit", Load::Open5k, cpu),
    less("5,000/s: p50 us", Load::Open5k, p50),
    less("5,000/s: p99 us", Load::Open5k, p99),
    less("5,000/s: added p50 us", Load::Open5k, added_p50),
    less("5,000/s: added p99 us", Load::Open5k, added_p99),
    less("20,000/s: CPU us a submit", Load::Open20k, cpu),
    less("20,000/s: p99 us", Load::Open20k, p99),
    more("1 in flight: submits a CPU second", Load::Closed, per_cpu_second),
    more("1 in flight: submits/s", Load::Closed, per_second),
    less("1 in flight: busiest shard over the mean", Load::Closed, imbalance),
    more("16 in flight: submits a CPU second", Load::Deep, per_cpu_second),
    more("16 in flight: submits/s", Load::Deep, per_second),
    less("block to 5,000: CPU us a job", Load::Burst, cpu),
    less("block to 5,000: p99 us", Load::Burst, job_p99),
    more("storm: handshakes/s", Load::Storm, handshakes),
    less("storm: CPU us a handshake", Load::Storm, cpu),
    less("siege: established p50 us", Load::Siege, established_p50),
    less("siege: established p99 us", Load::Siege, established_p99),
    more("siege: handshakes/s", Load::Siege, handshakes),
    less("idle: bytes a miner", Load::Idle, bytes),
];

pub(crate) fn table(machine: &Machine, measured: &[Measured]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for one in measured {
        if !names.contains(&one.target.as_str()) {
            names.push(&one.target);
        }
    }
    names.sort_unstable();
    let mut text = format!("{}, {} CPUs, Linux {}\n", machine.cpu, machine.cpus, machine.kernel);
    for program in &machine.programs {
        let _ = writeln!(text, "- {program}");
    }
    let _ = write!(
        text,
        "\nMedians of the rounds; in brackets the median of the ratios to {PEER}, round by round.\n\n"
    );
    let _ = writeln!(text, "| | better | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(names.len()));
    for figure in &FIGURES {
        if let Some(row) = row(figure, &names, measured) {
            let _ = writeln!(text, "{row}");
        }
    }
    for one in measured {
        for note in [&one.disturbed, &one.problem].into_iter().flatten() {
            let _ = write!(text, "\nround {}, {:?}, {}: {note}", one.round, one.load, one.target);
        }
    }
    text
}

/// `None` when nobody has this figure.
fn row(figure: &Figure, names: &[&str], measured: &[Measured]) -> Option<String> {
    let mut row = format!("| {} | {}", figure.name, if figure.more { "more" } else { "less" });
    let mut found = false;
    for name in names {
        let values = rounds(figure, name, measured);
        let ratios: Vec<f64> = rounds(figure, PEER, measured)
            .iter()
            .filter_map(|(round, peer)| {
                let own = values.iter().find(|(of, _)| of == round)?;
                (*peer > 0.0).then_some(own.1 / peer)
            })
            .collect();
        let value = median(values.iter().map(|(_, value)| *value).collect());
        found |= value.is_some();
        let cell = match (value, median(ratios)) {
            (Some(value), Some(ratio)) if *name != PEER => format!("{} ({ratio:.2}x)", number(value)),
            (Some(value), _) => number(value),
            (None, _) => "-".to_owned(),
        };
        let _ = write!(row, " | {cell}");
    }
    found.then(|| row + " |")
}

/// The figure of one proxy in each round in which it is worth something.
fn rounds(figure: &Figure, name: &str, measured: &[Measured]) -> Vec<(u32, f64)> {
    let of_load = |name: &str| {
        let name = name.to_owned();
        measured
            .iter()
            .filter(move |one| one.load == figure.load && one.target == name && one.problem.is_none())
    };
    let direct = |round: u32| of_load("direct").find(|one| one.round == round);
    of_load(name).filter_map(|one| Some((one.round, (figure.of)(one, direct(one.round))?))).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn number(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
