//! Shards on real sockets, with the simulated pool and miners of the rig.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{PATIENCE, Proxy, Setup, plan_for};
use loka_proto::{End, MessagePipelineBuilder};
use loka_rig::{Load, Miner, PoolConfig, PoolHandle, SwarmConfig};
use loka_runtime::limits::KICKS_PER_TICK;
use loka_runtime::{Clock, Command, Ready, ShardSpec, Start, Steering, bind_all, cores, mailbox, spawn};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

#[test]
fn two_shards_relay_every_share_once() {
    let pool = PoolHandle::start(PoolConfig { reject_permille: 100, ..PoolConfig::default() }).unwrap();
    let proxy = Proxy::start(pool.addr(), 2, |_| {});
    let swarm = SwarmConfig {
        target: proxy.address,
        connections: 200,
        load: Load::ClosedLoop { in_flight: 4 },
        duration: PATIENCE,
        answers_target: Some(4_000),
        quirks: loka_rig::Quirks { mixed: true, ..Default::default() },
        ..SwarmConfig::default()
    };
    let report = loka_rig::run(&swarm, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let counts = report.shares;
    assert_eq!((counts.sent, counts.lost, counts.duplicate_answers, counts.mismatched), (4_000, 0, 0, 0));
    let stats = proxy.drain(PATIENCE);
    let ledger = pool.stop();
    assert_eq!((ledger.shares_received, ledger.shares_duplicate), (4_000, 0));
    let shares = stats.counts.shares;
    assert_eq!((shares.forwarded, shares.accepted), (4_000, counts.accepted));
    assert_eq!(shares.rejected.iter().sum::<u64>(), counts.rejected);
    assert_eq!(stats.submit_us.len(), 4_000);
    assert_eq!(stats.counts.ends.iter().sum::<u64>(), 200);
}

#[test]
fn a_bug_in_a_handler_closes_one_link() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let mut honest = Miner::connect(proxy.address).unwrap();
    let work = honest.handshake("farm.rig").unwrap();
    let mut unlucky = Miner::connect(proxy.address).unwrap();
    unlucky.handshake("farm.unlucky").unwrap();
    unlucky.send_line(r#"{"id":9,"method":"mining.term","params":[]}"#).unwrap();
    unlucky.read_to_end().unwrap();
    proxy.until("the panic is counted", |stats, _| stats.counts.ends[End::Panicked.index()] == 1);
    honest.submit_for(&work, "farm.rig", "5", "00000001").unwrap();
    assert!(honest.answer_to("5").unwrap().contains("true"));
    proxy.drain(PATIENCE);
}

#[test]
fn a_kick_ends_all_that_an_address_has_in_parts_and_nothing_of_others() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let count = 2 * KICKS_PER_TICK + 10;
    let other: SocketAddr = "127.0.9.1:0".parse().unwrap();
    let mut honest = Miner::connect_from(other, proxy.address).unwrap();
    let work = honest.handshake("farm.rig").unwrap();
    let mut kicked: Vec<Miner> = (0..count).map(|_| Miner::connect(proxy.address).unwrap()).collect();
    proxy.until("all are there", |_, shells| shells[0].connections == count as u64 + 1);
    proxy.ends[0].command(Command::Kick(Ipv4Addr::LOCALHOST.into())).unwrap();
    for miner in &mut kicked {
        miner.read_to_end().unwrap();
    }
    proxy.until("all are counted", |stats, _| stats.counts.ends[End::Kicked.index()] == count as u64);
    honest.submit_for(&work, "farm.rig", "5", "00000001").unwrap();
    assert!(honest.answer_to("5").unwrap().contains("true"));
    // It is over: who comes now stays.
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    assert_eq!(proxy.drain(PATIENCE).counts.ends[End::Kicked.index()], count as u64);
}

#[test]
fn connections_beyond_the_cap_are_turned_away_and_counted() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |plan| plan.connections_max = 2);
    let mut kept = [Miner::connect(proxy.address).unwrap(), Miner::connect(proxy.address).unwrap()];
    for miner in &mut kept {
        miner.handshake("farm.kept").unwrap();
    }
    Miner::connect(proxy.address).unwrap().read_to_end().unwrap();
    proxy.until("one is turned away", |stats, _| stats.counts.ends[End::OverCapacity.index()] == 1);
    assert_eq!(pool.report().connections_accepted, 2);
}

#[test]
fn a_pool_that_refuses_ends_the_miner_and_a_silent_port_costs_the_pool_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut proxy = Proxy::start(closed, 1, |_| {});
    let _scanner = Miner::connect(proxy.address).unwrap();
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":[]}"#).unwrap();
    miner.read_to_end().unwrap();
    proxy.until("the end is counted", |stats, _| stats.counts.ends[End::PoolUnreachable.index()] == 1);
    assert_eq!(proxy.shells[0].dials, 1, "only the miner that spoke caused a dial");
}

#[test]
fn an_address_that_refuses_is_tried_once_not_by_every_miner() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |plan| {
        plan.pools[0].addresses = [closed, pool.addr()].into();
    });
    for _ in 0..3 {
        Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    }
    proxy.until("all have left", |stats, _| stats.counts.ends.iter().sum::<u64>() == 3);
    assert_eq!(proxy.shells[0].dials, 4);
}

#[test]
fn a_shard_that_cannot_go_on_says_so() {
    let plan = plan_for(SocketAddr::from(([127, 0, 0, 1], 1)));
    let (mailbox, _end, report) = mailbox(0);
    // A file cannot be watched, let alone accepted from.
    let listeners = vec![std::fs::File::open("/dev/null").unwrap().into()];
    let pipeline = MessagePipelineBuilder::standard().build();
    let spec = cores::place(1, &[], &cores::allowed().unwrap()).unwrap()[0];
    let ready = Ready(Box::new(|| panic!("it is not ready")));
    let handle =
        spawn(Start { spec, plan, clock: Clock::start(), listeners, pipeline, mailbox, report, ready })
            .unwrap();
    assert!(handle.join().unwrap_err().to_string().contains("watch the listener"));
}

#[test]
fn a_miner_that_does_not_read_stops_the_pool_being_read() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let mut sleeper = Miner::connect(proxy.address).unwrap();
    sleeper.handshake("farm.sleeper").unwrap();
    let mut awake = Miner::connect(proxy.address).unwrap();
    awake.handshake("farm.awake").unwrap();
    let message =
        format!(r#"{{"id":null,"method":"mining.ping","params":[],"more":"{}"}}"#, "x".repeat(4_000));
    let deadline = Instant::now() + PATIENCE;
    while proxy.shells[0].pauses == 0 {
        pool.broadcast(&message);
        while awake.read_line().unwrap().len() < 4_000 {}
        proxy.collect();
        assert!(Instant::now() < deadline, "{:?}", proxy.shells);
    }
    let bound = loka_runtime::limits::QUEUE_BYTES_MAX as u64;
    proxy.until("the queue is bounded", |_, shells| (1..bound).contains(&shells[0].queued_bytes));
    drop(sleeper);
    proxy.until("the sleeper is gone", |stats, _| stats.counts.ends.iter().sum::<u64>() == 1);
}

#[test]
fn a_drain_answers_the_shares_in_flight_and_takes_no_more() {
    let config = PoolConfig { answer_delay: Duration::from_millis(300), ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let proxy = Proxy::start(pool.addr(), 1, |_| {});
    let mut miner = Miner::connect(proxy.address).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    let nonces: Vec<(String, String)> = (10..20).map(|n| (n.to_string(), format!("{n:08x}"))).collect();
    for (id, nonce) in &nonces {
        miner.submit_for(&work, "farm.rig", id, nonce).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while pool.report().shares_received < 10 {
        assert!(Instant::now() < deadline);
    }
    let stats = std::thread::scope(|scope| {
        let drained = scope.spawn(|| proxy.drain(PATIENCE));
        let answers = miner.read_to_end().unwrap();
        assert_eq!(answers.iter().filter(|line| line.contains(r#""result":true"#)).count(), 10);
        drained.join().unwrap()
    });
    assert_eq!((stats.counts.shares.accepted, stats.counts.shares.unanswered), (10, 0));
    assert_eq!(stats.counts.ends[End::Drained.index()], 1);
}

#[test]
fn a_pool_killed_mid_share_closes_the_miner_and_counts_the_share_as_unanswered() {
    let config = PoolConfig { answer_delay: PATIENCE, ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let mut miner = Miner::connect(proxy.address).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    for (id, nonce) in [("7", "00000001"), ("8", "00000002")] {
        miner.submit_for(&work, "farm.rig", id, nonce).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while pool.report().shares_received < 2 {
        assert!(Instant::now() < deadline);
    }
    pool.kill_connections();
    miner.read_to_end().unwrap();
    proxy.until("the end is counted", |stats, _| stats.counts.ends.iter().sum::<u64>() == 1);
    assert_eq!(proxy.ended(End::PoolReset), 1);
    let shares = proxy.stats.counts.shares;
    assert_eq!((shares.forwarded, shares.unanswered), (2, 2));
}

#[test]
fn ipv6_is_relayed_from_end_to_end() {
    let listen = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let pool = PoolHandle::start(PoolConfig { listen, ..PoolConfig::default() }).unwrap();
    let proxy = Proxy::start_with(Setup { listen, shards: 2, ..Setup::default() }, pool.addr(), |_| {});
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    let taken = bind_all(&[proxy.address], &[ShardSpec { index: 0, cpu: 0 }], Steering::Hash).unwrap_err();
    assert!(taken.to_string().contains("cannot listen on [::1]:"), "{taken}");
}
