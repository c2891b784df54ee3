//! T5 to T8: floods of shares, of bad shares, of guesses and of connections.

use crate::honest::{Honest, arguments, crew, ended, pool, proxy, quick, refused};
use crate::support::{PATIENCE, Proxy, raise_open_files, until};
use loka_attacks::{Conduct, Crew, CrewConfig};
use loka_rig::{Load, Miner, SwarmConfig};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

#[test]
fn a_firehose_is_refused_and_closed_and_honest_miners_lose_nothing() {
    const PER_MINUTE: u64 = 1_200;
    let pool = pool();
    let limit = format!("security.max_requests_per_minute={PER_MINUTE}");
    let proxy = Proxy::start(pool.addr(), &arguments(&[&limit]));
    let mut crew = Some(Crew::start(crew(&proxy, Conduct::Firehose, 4)).unwrap());
    until("the first is closed", || ended(&proxy, "flood") >= 1.0);
    let swarm = SwarmConfig {
        target: proxy.address,
        connections: 20,
        load: Load::OpenLoop { per_second: 100.0 },
        duration: Duration::from_secs(2),
        settle: PATIENCE,
        ..SwarmConfig::default()
    };
    let report = loka_rig::run(&swarm, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let told = crew.take().unwrap().stop().unwrap();
    let shares = report.shares;
    eprintln!(
        "{told:?}; honest p99 {} us, swarm's own part {} us",
        report.submit_us.p99, report.send_lag_us.p99
    );
    assert_eq!((report.ready, report.disconnected, report.not_sent), (20, 0, 0));
    assert!(shares.sent >= 150, "{shares:?}");
    assert_eq!((shares.accepted, shares.astray()), (shares.sent, 0));
    until("they are counted", || refused(&proxy, "rate_limited") > 1024.0);
    let ledger = pool.report();
    assert_eq!(ledger.shares_duplicate, 0);
    let allowed = shares.sent + told.connects * 2 * PER_MINUTE;
    assert!(ledger.shares_received <= allowed, "{} at the pool, {allowed} at most", ledger.shares_received);
}

#[test]
fn of_a_flood_of_bad_shares_the_pool_sees_nothing() {
    let pool = pool();
    let proxy = Proxy::start(pool.addr(), &quick(&[]));
    let mut honest = Honest::start(&proxy);
    let crew = Crew::start(crew(&proxy, Conduct::BadShares, 4)).unwrap();
    until("some are closed for them", || {
        honest.share();
        ended(&proxy, "bad_shares") >= 4.0
    });
    let told = crew.stop().unwrap();
    honest.share();
    for reason in ["duplicate_share", "bad_ntime", "bad_extranonce2"] {
        until(reason, || refused(&proxy, reason) >= 900.0);
    }
    // Each of the attackers' connections began with one good share.
    let ledger = pool.report();
    assert!(ledger.shares_received <= honest.shares + told.connects, "{}", ledger.shares_received);
    assert_eq!(ledger.shares_rejected, 0);
}

/// In the first seconds of a connection nobody can tell such a share from one for a job that came before, so the pool judges:
/// the rate limit is what it is protected by.
#[test]
fn of_shares_for_jobs_that_nobody_gave_the_pool_sees_no_more_than_the_rate_limit() {
    const PER_MINUTE: u64 = 600;
    let pool = pool();
    let limit = format!("security.max_requests_per_minute={PER_MINUTE}");
    let proxy = Proxy::start(pool.addr(), &arguments(&[&limit]));
    let mut honest = Honest::start(&proxy);
    let config = CrewConfig { connects_max: Some(4), ..crew(&proxy, Conduct::UnknownJobs, 4) };
    let told = Crew::start(config).unwrap().wait().unwrap();
    honest.share();
    assert_eq!(told.ended_by_other, 4);
    until("they are closed for it", || ended(&proxy, "flood") + ended(&proxy, "bad_shares") == 4.0);
    let seen = pool.report().shares_unknown_job;
    eprintln!("{seen} of {} shares came to the pool", told.messages);
    // What comes again while the crew is served is a part of a second minute's worth.
    assert!(seen <= 4 * 2 * PER_MINUTE, "{seen} at the pool");
}

#[test]
fn of_fifteen_authorizes_a_packet_the_pool_sees_few() {
    /// Workers of one connection.
    const WORKERS_MAX: u64 = 32;
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let mut honest = Honest::start(&proxy);
    let crew = Crew::start(crew(&proxy, Conduct::Authorize, 4)).unwrap();
    until("some are closed for it", || {
        honest.share();
        ended(&proxy, "too_many_errors") >= 8.0
    });
    let told = crew.stop().unwrap();
    honest.share();
    assert!(refused(&proxy, "too_many_workers") >= 8.0 * 32.0);
    let seen = pool.report().authorizes;
    assert!(told.messages > 8 * 64, "{told:?}");
    assert!(seen <= 1 + WORKERS_MAX * told.connects, "{seen} at the pool of {} said", told.messages);
}

#[test]
fn thousands_of_connects_and_resets_with_few_descriptors_leave_nothing_behind() {
    raise_open_files();
    let pool = pool();
    let proxy = Proxy::start_limited("-n 256", pool.addr(), &quick(&[]));
    let mut honest = Honest::start(&proxy);
    let before = proxy.memory("RssAnon");
    // More at one time than there are descriptors.
    let config = CrewConfig { connects_max: Some(10_000), ..crew(&proxy, Conduct::Reset, 512) };
    let mut crew = Crew::start(config).unwrap();
    while !crew.has_ended() {
        honest.share();
    }
    let told = crew.wait().unwrap();
    assert_eq!(told.connects, 10_000, "{told:?}");
    until("all are gone", || proxy.metric("loka_stratum_active_connections") == 1.0);
    let growth = proxy.memory("RssAnon").saturating_sub(before);
    assert!(growth < 8 * 1024 * 1024, "{growth} bytes are left");
    Honest::start(&proxy).share();
    honest.share();
    assert!(pool.report().connections_accepted <= 2);
}

#[test]
fn scanners_are_told_nothing_and_cost_the_pool_nothing() {
    const KNOCKS: u64 = 500;
    let pool = pool();
    // They come from the loopback, where HTTP may be spoken otherwise.
    let proxy = proxy(&pool, &["metrics.miner_port_from="]);
    let mut honest = Honest::start(&proxy);
    let config = CrewConfig { connects_max: Some(KNOCKS), ..crew(&proxy, Conduct::Scanner, 50) };
    let told = Crew::start(config).unwrap().wait().unwrap();
    assert_eq!((told.connects, told.ended_by_other, told.bytes_received), (KNOCKS, KNOCKS, 0));
    until("all are counted", || ended(&proxy, "not_stratum") == KNOCKS as f64);
    honest.share();
    assert_eq!(pool.report().connections_accepted, 1);
}

/// T16: a name is no label, and nothing is kept of one that has left.
#[test]
fn ten_thousand_invented_names_make_no_metric_and_cost_a_bounded_memory() {
    const MINERS: u64 = 320;
    const NAMES: u64 = 32;
    const GROWTH_MAX: u64 = 32 * 1024 * 1024;
    raise_open_files();
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let lines = crate::support::http(proxy.metrics, "/metrics").unwrap().lines().count();
    let before = proxy.memory("RssAnon");
    let mut miners = Vec::new();
    for number in 0..MINERS {
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":["bomb/1"]}"#).unwrap();
        for name in 0..NAMES {
            let id = 2 + name;
            let user = format!("bomb.{number}x{name}");
            miner
                .send_line(&format!(r#"{{"id":{id},"method":"mining.authorize","params":["{user}","x"]}}"#))
                .unwrap();
        }
        miners.push(miner);
    }
    until("all are known to the pool", || pool.report().authorizes == MINERS * NAMES);
    let growth = proxy.memory("RssAnon").saturating_sub(before);
    let metrics = crate::support::http(proxy.metrics, "/metrics").unwrap();
    eprintln!("{} names cost {growth} bytes; /metrics has {} bytes", MINERS * NAMES, metrics.len());
    assert!(!metrics.contains("bomb"), "a name is a label");
    assert!(metrics.lines().count() <= lines + 16, "lines come with names");
    assert!(metrics.len() < 256 * 1024, "{} bytes", metrics.len());
    assert!(growth < GROWTH_MAX, "{growth} bytes for {} names", MINERS * NAMES);
}
