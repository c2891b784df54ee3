//! What was measured, as a table for the eye.

use super::super::load::{Kind, Measured};
use super::measure::Outcome;
use std::fmt::Write;

pub(super) fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    for measured in &outcome.measured {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", row(measured));
    }
    for added in added_latency(&outcome.measured) {
        let _ = writeln!(text, "{added}");
    }
    text
}

fn row(measured: &Measured) -> String {
    let swarm = &measured.swarm;
    let name = format!("{:<7}{:<8}", format!("{:?}", measured.kind).to_lowercase(), measured.path);
    let shares = &swarm.shares;
    let mut row = match measured.kind {
        Kind::Open | Kind::Closed | Kind::Deep => format!(
            "{name} {:>9.0} shares/s  p50 {:>6} us  p99 {:>7} us  p99.9 {:>7} us  sent {} accepted {} rejected {} lost {} twice {}",
            swarm.shares_per_second,
            swarm.submit_us.p50,
            swarm.submit_us.p99,
            swarm.submit_us.p999,
            shares.sent,
            shares.accepted,
            shares.rejected,
            shares.lost,
            shares.duplicate_answers + shares.mismatched,
        ),
        Kind::Storm => format!(
            "{name} {:>9.0} handshakes/s  p50 {:>6} us  p99 {:>7} us  failed {}",
            swarm.handshakes_per_second,
            swarm.handshake_us.p50,
            swarm.handshake_us.p99,
            swarm.connect_failed + swarm.handshake_timeouts,
        ),
        Kind::Idle => format!("{name} {:>9} miners", swarm.ready),
    };
    let Some(used) = &measured.proxy else { return row };
    if let Some(us) = used.cpu_us_each {
        let _ = write!(row, "  cpu {us:.1} us each");
    }
    if let Some(bytes) = used.bytes_per_miner {
        let _ = write!(row, "  memory {bytes:.0} bytes each");
    }
    row
}

/// What the proxy adds to a direct connection, where both were measured.
fn added_latency(measured: &[Measured]) -> Vec<String> {
    let open = |path: &str| {
        measured
            .iter()
            .find(|measured| measured.kind == Kind::Open && measured.path == path)
            .map(|found| &found.swarm)
    };
    let (Some(direct), Some(proxy)) = (open("direct"), open("proxy")) else { return Vec::new() };
    let added = |with: u64, without: u64| i128::from(with) - i128::from(without);
    vec![format!(
        "added latency: p50 {} us, p99 {} us",
        added(proxy.submit_us.p50, direct.submit_us.p50),
        added(proxy.submit_us.p99, direct.submit_us.p99),
    )]
}
