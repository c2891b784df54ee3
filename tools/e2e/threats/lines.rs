//! T1: lines that never end, and lines that stay unfinished, in a process that may not have more than 256 MiB.

use crate::honest::{Honest, crew, ended, pool, quick};
use crate::support::{Proxy, raise_open_files, until};
use loka_attacks::{Conduct, Crew, CrewConfig, CrewReport, HALF_LINE_BYTES};

const MIB: u64 = 1024 * 1024;
/// KiB of private memory that the proxy may have at most: 256 MiB.
const LIMIT: &str = "-d 262144";
/// What memory may grow by, however much is sent at one connection.
const GROWTH_MAX: u64 = 8 * MIB;
/// What a connection may cost besides that, for each byte of a line that it holds open.
const FACTOR_MAX: u64 = 4;
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// What a crew did while an honest miner worked beside it, and the most memory that the proxy took meanwhile.
fn beside(config: CrewConfig, honest: &mut Honest, proxy: &Proxy) -> (CrewReport, u64) {
    let mut peak = proxy.memory("RssAnon");
    let mut crew = Crew::start(config).unwrap();
    while !crew.has_ended() {
        honest.share();
        peak = peak.max(proxy.memory("RssAnon"));
    }
    (crew.wait().unwrap(), peak)
}

/// Sends so many bytes without an end over so many connections, each made anew when it is closed.
fn endless(connections: usize, bytes: u64) {
    raise_open_files();
    let pool = pool();
    let proxy = Proxy::start_limited(LIMIT, pool.addr(), &quick(&[]));
    let mut honest = Honest::start(&proxy);
    honest.share();
    let before = proxy.memory("RssAnon");
    let config = CrewConfig { bytes_max: Some(bytes), ..crew(&proxy, Conduct::EndlessLine, connections) };
    let (told, peak) = beside(config, &mut honest, &proxy);
    honest.share();
    let growth = peak.saturating_sub(before);
    eprintln!(
        "{connections} connections: RssAnon {before} -> {peak} bytes, {told:?}, {} shares",
        honest.shares
    );
    assert!(told.bytes_sent >= bytes, "{told:?}");
    assert!(
        growth <= GROWTH_MAX + FACTOR_MAX * LINE_BYTES_MAX * connections as u64,
        "grew by {growth} bytes"
    );
    // What the proxy counts is told twice a second.
    until("all have ended", || {
        let cut = ended(&proxy, "line_too_long");
        cut > 0.0 && proxy.metric("loka_stratum_active_connections") == 1.0
    });
    until("all that the crew saw is counted", || {
        proxy.metric("loka_stratum_connections_ended_total") == told.connects as f64
    });
    let cut = ended(&proxy, "line_too_long");
    // Those that the crew left behind when it had sent enough.
    let left = ended(&proxy, "miner_left") + ended(&proxy, "miner_reset");
    assert!(cut > 0.0 && left <= connections as f64, "{cut} cut, {left} left");
    assert_eq!(cut + left, told.connects as f64);
    let ledger = pool.report();
    assert_eq!((ledger.connections_accepted, ledger.shares_accepted), (1, honest.shares));
}

#[test]
fn a_line_without_an_end_costs_nothing_at_one_connection() {
    endless(1, 64 * MIB);
}

#[test]
fn a_line_without_an_end_costs_nothing_at_a_thousand_connections() {
    endless(1_000, 64 * MIB);
}

#[test]
#[ignore = "takes half a minute: cargo test --test threats -- --ignored"]
fn a_gibibyte_without_an_end_costs_nothing_at_one_connection() {
    endless(1, 1024 * MIB);
}

#[test]
#[ignore = "takes half a minute: cargo test --test threats -- --ignored"]
fn a_gibibyte_without_an_end_costs_nothing_at_a_thousand_connections() {
    endless(1_000, 1024 * MIB);
}

#[test]
fn unfinished_lines_cost_less_than_four_times_their_bytes_and_end_in_time() {
    const CONNECTIONS: u64 = 500;
    raise_open_files();
    let pool = pool();
    let proxy = Proxy::start_limited(LIMIT, pool.addr(), &quick(&["server.handshake_timeout=2s"]));
    let mut honest = Honest::start(&proxy);
    let before = proxy.memory("RssAnon");
    let config = CrewConfig {
        connects_max: Some(CONNECTIONS),
        ..crew(&proxy, Conduct::HalfLine, usize::try_from(CONNECTIONS).unwrap())
    };
    let (told, peak) = beside(config, &mut honest, &proxy);
    let (growth, held) = (peak.saturating_sub(before), told.held_bytes_max);
    eprintln!("{held} bytes held open cost {growth}");
    assert_eq!(held, CONNECTIONS * HALF_LINE_BYTES as u64, "all stood open at one time");
    assert!(growth < FACTOR_MAX * held, "{held} bytes held open cost {growth}");
    until("all are counted", || ended(&proxy, "handshake_timeout") == CONNECTIONS as f64);
    honest.share();
    assert_eq!(pool.report().connections_accepted, 1);
}
