//! The table of a run, for people.

use crate::trial::{Phases, Trial};
use std::collections::BTreeMap;
use std::fmt::Write;

const MIB: f64 = 1024.0 * 1024.0;

fn mib(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "figures for the eye")]
    let bytes = bytes as f64;
    bytes / MIB
}

/// The largest of what was counted, first.
fn largest(counts: &BTreeMap<String, f64>) -> String {
    let mut counts: Vec<(&String, &f64)> = counts.iter().collect();
    counts.sort_by(|left, right| right.1.total_cmp(left.1));
    let told: Vec<String> = counts.iter().take(4).map(|(name, count)| format!("{name} {count}")).collect();
    told.join(", ")
}

/// One trial in one line, while the run goes on.
pub(crate) fn line(trial: &Trial) -> String {
    let Trial { proxied, direct, .. } = trial;
    let [p50_before, p50_during, p50_after] = proxied.triple(|report| report.submit_us.p50);
    let [before, during, after] = proxied.triple(|report| report.submit_us.p99);
    let mut text = format!(
        "{:<12} {:<8} p50 {}/{}/{} us  p99 {}/{}/{} us  +{} us, without the proxy +{} us  newcomers {} (slowest {} ms)  memory {:.1}/{:.1}/{:.1} MiB",
        format!("{:?}", trial.attack),
        trial.mode.name(),
        p50_before,
        p50_during,
        p50_after,
        before,
        during,
        after,
        proxied.added_p99_us(),
        direct.added_p99_us(),
        trial.newcomers.tried,
        trial.newcomers.slowest_ms,
        mib(trial.memory.before),
        mib(trial.memory.peak),
        mib(trial.memory.after),
    );
    if let Some(problem) = trial.problem() {
        let _ = write!(text, "\n  ! {problem}");
    }
    text
}

/// All trials; each triple is before, during and after the attack.
pub(crate) fn table(machine: &str, trials: &[Trial]) -> String {
    let mut text = format!(
        "{machine}\n\n| attack | mode | p50 us | p99 us | p99 us without the proxy | added to p99 us: behind the proxy, without it | the generator's own part (p99) | shares sent, lost, refused; miners lost | \
         newcomers: failed, slowest ms | private memory MiB: before, peak, after | attackers: open, connects, MiB sent, bytes held | \
         CPU of the proxy | ends | refused requests | at the pool: connections, shares, rejected, authorizes |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for trial in trials {
        let Trial { proxied, direct, attackers, newcomers, memory, counted, pool, .. } = trial;
        let during = &proxied.during;
        let triple = |phases: &Phases, of: fn(&loka_rig::SwarmReport) -> u64| {
            phases.triple(of).map(|figure| figure.to_string()).join(" / ")
        };
        let cells = [
            format!("{:?}", trial.attack),
            trial.mode.name().to_owned(),
            triple(proxied, |report| report.submit_us.p50),
            triple(proxied, |report| report.submit_us.p99),
            triple(direct, |report| report.submit_us.p99),
            format!("{}, {}", proxied.added_p99_us(), direct.added_p99_us()),
            triple(proxied, |report| report.send_lag_us.p99),
            format!(
                "{}, {}, {}; {}",
                during.shares.sent,
                during.shares.astray(),
                during.shares.rejected + during.not_sent,
                during.disconnected
            ),
            format!("{} of {}, {}", newcomers.failed, newcomers.tried, newcomers.slowest_ms),
            format!("{:.1}, {:.1}, {:.1}", mib(memory.before), mib(memory.peak), mib(memory.after)),
            format!(
                "{}, {}, {:.1}, {}",
                attackers.open_max,
                attackers.connects,
                mib(attackers.bytes_sent),
                attackers.held_bytes_max
            ),
            format!("{:.0} %", trial.proxy_cpu_share * 100.0),
            largest(&counted.ended),
            largest(&counted.refused),
            format!(
                "{}, {}, {}, {}",
                pool.connections_accepted, pool.shares_received, pool.shares_rejected, pool.authorizes
            ),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let problems: Vec<String> = trials.iter().filter_map(Trial::problem).collect();
    for problem in problems {
        let _ = writeln!(text, "\n- {problem}");
    }
    text
}
