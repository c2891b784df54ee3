//! Mining through the real binary over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Load, Miner, PoolConfig, PoolHandle, Quirks, SwarmConfig};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{PATIENCE, Proxy, http, raise_open_files, until};

fn swarm(target: SocketAddr, connections: usize, load: Load) -> SwarmConfig {
    let quirks = Quirks { mixed: true, ..Quirks::default() };
    SwarmConfig {
        target,
        connections,
        load,
        duration: PATIENCE,
        settle: PATIENCE,
        quirks,
        ..SwarmConfig::default()
    }
}

/// A miner that has its first job, and what it needs for shares.
fn working(address: SocketAddr) -> (Miner, loka_rig::Greeting) {
    let mut miner = Miner::connect(address).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    (miner, work)
}

#[test]
fn a_thousand_miners_lose_nothing_over_two_shards() {
    raise_open_files();
    let pool = PoolHandle::start(PoolConfig { reject_permille: 50, ..PoolConfig::default() }).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let config = SwarmConfig {
        answers_target: Some(20_000),
        ..swarm(proxy.address, 1_000, Load::ClosedLoop { in_flight: 2 })
    };
    let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let shares = report.shares;
    assert_eq!((report.ready, report.disconnected), (1_000, 0));
    assert_eq!((shares.sent, shares.accepted + shares.rejected), (20_000, 20_000));
    assert_eq!((shares.lost, shares.duplicate_answers, shares.mismatched), (0, 0, 0));
    assert!(shares.rejected > 0, "the pool rejects some, and the miners are told");

    until("the proxy has counted all", || proxy.metric("loka_stratum_connections_ended_total") == 1_000.0);
    assert_eq!(proxy.metric("loka_stratum_shares_accepted_total"), shares.accepted as f64);
    assert_eq!(proxy.metric("loka_stratum_shares_rejected_total"), shares.rejected as f64);
    assert_eq!(proxy.labelled(r#"loka_stratum_connections_ended_total{reason="miner_left"}"#), 1_000.0);
    for shard in 0..2 {
        let part =
            proxy.labelled(&format!(r#"loka_stratum_shard_shares_forwarded_total{{shard="{shard}"}}"#));
        assert!(
            part > 5_000.0,
            "the kernel spreads miners over both shards; shard {shard} took {part} shares"
        );
    }
    proxy.terminate();
    assert!(proxy.wait().success());
    let ledger = pool.stop();
    assert_eq!((ledger.shares_received, ledger.shares_duplicate, ledger.malformed_lines), (20_000, 0, 0));
    assert_eq!((ledger.shares_accepted, ledger.shares_rejected), (shares.accepted, shares.rejected));
    assert_eq!(ledger.connections_accepted, 1_000);
}

#[test]
fn a_miner_killed_in_the_middle_of_a_line_takes_nobody_with_it() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "1"]);
    let (mut honest, work) = working(proxy.address);
    let (mut killed, _) = working(proxy.address);
    killed.send_bytes(br#"{"id":5,"method":"mining.submit","params":["farm.rig","#).unwrap();
    killed.reset();
    until("its pool connection is closed too", || pool.report().connections_active == 1);
    honest.submit_for(&work, "farm.rig", "6", "00000006").unwrap();
    assert!(honest.answer_to("6").unwrap().contains(r#""result":true"#));
    let ledger = pool.report();
    assert_eq!((ledger.shares_received, ledger.malformed_lines), (1, 0));
    until("its end is counted", || proxy.metric("loka_stratum_connections_ended_total") == 1.0);
}

#[test]
fn a_pool_killed_in_the_middle_of_shares_costs_only_those() {
    let config = PoolConfig { answer_delay: PATIENCE, ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let mut miners: Vec<_> = (0..10).map(|_| working(proxy.address)).collect();
    for (miner, work) in &mut miners {
        miner.submit_for(work, "farm.rig", "5", "00000005").unwrap();
    }
    until("the shares are at the pool", || pool.report().shares_received == 10);
    pool.kill_connections();
    for (miner, _) in &mut miners {
        miner.read_to_end().unwrap();
    }
    until("they are counted as unanswered", || proxy.metric("loka_stratum_shares_unanswered_total") == 10.0);
    assert_eq!(proxy.metric("loka_stratum_shares_accepted_total"), 0.0);
    working(proxy.address);
}

#[test]
fn sigterm_under_load_loses_no_answered_share() {
    let config = PoolConfig { answer_delay: Duration::from_millis(5), ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let config = swarm(proxy.address, 200, Load::ClosedLoop { in_flight: 4 });
    let terminated = AtomicBool::new(false);
    let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |progress| {
        if progress.shares.accepted > 1_000 && !terminated.swap(true, Ordering::Relaxed) {
            proxy.terminate();
        }
    })
    .unwrap();
    assert!(proxy.wait().success(), "a drain that ends in time is a success");
    let ledger = pool.stop();
    let shares = report.shares;
    assert_eq!(report.disconnected, 200);
    assert!(shares.accepted > 1_000);
    assert_eq!(shares.accepted, ledger.shares_accepted, "every answer that the pool gave arrived");
    assert_eq!((shares.duplicate_answers, shares.mismatched, ledger.shares_duplicate), (0, 0, 0));
}

/// The kernel may take the CPU away at any point of the executor's loop. Between two of them glommio 0.9 then goes to
/// sleep over work that is ready; a shard must wake from that.
#[test]
fn a_proxy_that_is_stopped_and_continued_goes_on() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let config = SwarmConfig {
        answers_target: Some(40_000),
        ..swarm(proxy.address, 20, Load::ClosedLoop { in_flight: 1 })
    };
    let running = AtomicBool::new(true);
    let shares = std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                proxy.signal(Signal::STOP);
                std::thread::yield_now();
                proxy.signal(Signal::CONT);
                std::thread::yield_now();
            }
        });
        let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |_| {});
        running.store(false, Ordering::Relaxed);
        report.unwrap().shares
    });
    assert_eq!((shares.sent, shares.lost, shares.duplicate_answers), (40_000, 0, 0));
    proxy.signal(Signal::CONT);
    proxy.terminate();
    assert!(proxy.wait().success());
}

#[test]
fn the_account_is_replaced_and_the_worker_kept() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let arguments = ["--set", "pool.username=bc1qfarm", "--set", "pool.password=secret"];
    let proxy = Proxy::start(pool.addr(), &arguments);
    Miner::connect(proxy.address).unwrap().handshake("own.rack7_slot3").unwrap();
    assert_eq!(pool.report().users, ["bc1qfarm.rack7_slot3"]);
}

#[test]
fn what_a_browser_and_a_prober_ask_for_is_there() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = Proxy::start(pool.addr(), &[]);
    let (_miner, _) = working(proxy.address);
    until("the miner is counted", || proxy.metric("loka_stratum_active_connections") == 1.0);
    for (path, expected) in [
        ("/health", r#""status":"healthy""#),
        ("/livez", "200 OK"),
        ("/readyz", "200 OK"),
        ("/metrics", "# TYPE loka_stratum_active_connections gauge"),
        ("/nothing", "404 Not Found"),
    ] {
        let answer = http(proxy.metrics, path).unwrap();
        assert!(answer.contains(expected), "{path}: {answer}");
    }
}
