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

const FIGURES: [Figure; 19] = [
    Figure { name: "5,000/s: CPU us a submit", load: Load::Open5k, more: false, of: cpu },
    Figure {
        name: "5,000/s: p50 us",
        load: Load::Open5k,
        more: false,
        of: |m, _| Some(float(m.swarm.submit_us.p50)),
    },
    Figure {
        name: "5,000/s: p99 us",
        load: Load::Open5k,
        more: false,
        of: |m, _| Some(float(m.swarm.submit_us.p99)),
    },
    Figure {
        name: "5,000/s: added p50 us",
        load: Load::Open5k,
        more: false,
        of: |m, d| added(m, d, |p| p.p50),
    },
    Figure {
        name: "5,000/s: added p99 us",
        load: Load::Open5k,
        more: false,
        of: |m, d| added(m, d, |p| p.p99),
    },
    Figure { name: "20,000/s: CPU us a submit", load: Load::Open20k, more: false, of: cpu },
    Figure {
        name: "20,000/s: p99 us",
        load: Load::Open20k,
        more: false,
        of: |m, _| Some(float(m.swarm.submit_us.p99)),
    },
    Figure { name: "1 in flight: submits a CPU second", load: Load::Closed, more: true, of: per_cpu_second },
    Figure {
        name: "1 in flight: submits/s",
        load: Load::Closed,
        more: true,
        of: |m, _| Some(m.swarm.shares_per_second),
    },
    Figure { name: "16 in flight: submits a CPU second", load: Load::Deep, more: true, of: per_cpu_second },
    Figure {
        name: "16 in flight: submits/s",
        load: Load::Deep,
        more: true,
        of: |m, _| Some(m.swarm.shares_per_second),
    },
    Figure { name: "block to 5,000: CPU us a job", load: Load::Burst, more: false, of: cpu },
    Figure {
        name: "block to 5,000: p99 us",
        load: Load::Burst,
        more: false,
        of: |m, _| Some(float(m.swarm.job_us.p99)),
    },
    Figure {
        name: "storm: handshakes/s",
        load: Load::Storm,
        more: true,
        of: |m, _| Some(m.swarm.handshakes_per_second),
    },
    Figure { name: "storm: CPU us a handshake", load: Load::Storm, more: false, of: cpu },
    Figure {
        name: "siege: established p50 us",
        load: Load::Siege,
        more: false,
        of: |m, _| Some(float(m.established.as_ref()?.submit_us.p50)),
    },
    Figure {
        name: "siege: established p99 us",
        load: Load::Siege,
        more: false,
        of: |m, _| Some(float(m.established.as_ref()?.submit_us.p99)),
    },
    Figure {
        name: "siege: handshakes/s",
        load: Load::Siege,
        more: true,
        of: |m, _| Some(m.swarm.handshakes_per_second),
    },
    Figure { name: "idle: bytes a miner", load: Load::Idle, more: false, of: |m, _| m.bytes_per_miner },
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
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
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
