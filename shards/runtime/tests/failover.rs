//! Pools that fail under a shard: miners that can be moved are moved, others are let go, and no share goes astray.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{PATIENCE, Proxy};
use loka_proto::{End, PoolLoss, PoolState, RejectClass, Stats};
use loka_rig::{Fault, Greeting, Miner, Misbehaviour, PoolConfig, PoolHandle, Relay, RelayConfig, Shape};
use loka_runtime::{Command, PoolNow, PoolPlan, ShardPlan};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;

/// How long a miner is held in these tests: longer than any of them takes.
const HOLD_US: u64 = 600_000_000;

fn plan(plan: &mut ShardPlan, pools: &[SocketAddr]) {
    plan.policy.hold_us = HOLD_US;
    plan.policy.answer_us = 1_000_000;
    plan.policy.pools = vec![plan.policy.pools[0].clone(); pools.len()];
    plan.pools = pools.iter().map(|address| PoolPlan::at(*address)).collect();
    for (pool, priority) in plan.pools.iter_mut().zip(1..) {
        pool.priority = priority;
    }
}

fn pool(seed: u64) -> PoolHandle {
    PoolHandle::start(PoolConfig { seed, ..PoolConfig::default() }).unwrap()
}

/// A miner at work that takes new extranonces.
fn movable(address: SocketAddr) -> (Miner, Greeting) {
    let mut miner = Miner::connect(address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    assert!(miner.request("3", "mining.extranonce.subscribe", "[]").unwrap().contains("true"));
    (miner, work)
}

/// What a miner is told when it is moved, as its next work.
fn told(miner: &mut Miner) -> Greeting {
    let params = |line: String| {
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        message["params"].clone()
    };
    let set = params(miner.notice("mining.set_extranonce").unwrap());
    let difficulty = params(miner.notice("mining.set_difficulty").unwrap());
    let job = params(miner.notice("mining.notify").unwrap());
    assert_eq!(job.as_array().unwrap().last().unwrap(), true, "the first job is a clean one");
    Greeting {
        extranonce1: set[0].as_str().unwrap().to_owned(),
        extranonce2_size: usize::try_from(set[1].as_u64().unwrap()).unwrap(),
        difficulty: difficulty[0].as_f64().unwrap(),
        job_id: job[0].as_str().unwrap().to_owned(),
        ntime: job[7].as_str().unwrap().to_owned(),
    }
}

fn share(miner: &mut Miner, work: &Greeting, id: &str, nonce: &str) {
    miner.submit_for(work, "farm.rig", id, nonce).unwrap();
}

fn accepted(miner: &mut Miner, work: &Greeting, id: &str, nonce: &str) -> bool {
    share(miner, work, id, nonce);
    miner.answer_to(id).unwrap().contains("\"result\":true")
}

#[test]
fn a_miner_moves_to_the_next_pool_and_back_to_its_own_work_there() {
    let (first, second) = (pool(1), pool(2));
    let mut proxy = Proxy::start(first.addr(), 1, |p| plan(p, &[first.addr(), second.addr()]));
    let (mut miner, work) = movable(proxy.address);
    assert!(accepted(&mut miner, &work, "5", "00000005"));
    let first = first.stop();
    let next = told(&mut miner);
    assert_ne!((&next.extranonce1, &next.job_id), (&work.extranonce1, &work.job_id));
    assert!(!accepted(&mut miner, &work, "6", "00000006"), "the old job is of another pool");
    assert!(accepted(&mut miner, &next, "7", "00000007"));
    let second = second.report();
    assert_eq!((first.shares_received, second.shares_received, second.shares_accepted), (1, 1, 1));
    proxy.until("all is counted", |stats, shells| {
        stats.counts.moved == 1 && stats.counts.shares.accepted == 2 && shells[0].links_of_pool[1] == 1
    });
    assert_eq!(proxy.stats.counts.ends.iter().sum::<u64>(), 0, "the miner never left");
    assert_eq!(proxy.stats.pools[1].accepted, 1);
}

#[test]
fn a_share_in_flight_is_answered_when_its_pool_dies_and_one_that_cannot_be_told_connects_again() {
    let first =
        PoolHandle::start(PoolConfig { answer_delay: 10 * PATIENCE, ..PoolConfig::default() }).unwrap();
    let second = pool(2);
    let mut proxy = Proxy::start(first.addr(), 1, |p| plan(p, &[first.addr(), second.addr()]));
    let (mut miner, work) = movable(proxy.address);
    let mut plain = Miner::connect(proxy.address).unwrap();
    plain.handshake("farm.old").unwrap();
    share(&mut miner, &work, "5", "00000005");
    // Never answered: the pool is taken for frozen.
    assert!(miner.answer_to("5").unwrap().contains("No pool connection"));
    told(&mut miner);
    first.kill_connections();
    plain.read_to_end().unwrap();
    Miner::connect(proxy.address).unwrap().handshake("farm.old").unwrap();
    proxy.until("all is counted", |stats, _| {
        stats.counts.shares.lost == 1 && stats.counts.ends[End::PoolReset.index()] == 1
    });
    assert_eq!(proxy.stats.pools[0].losses[PoolLoss::Silent.index()], 1);
}

#[test]
fn a_pool_that_never_speaks_or_is_full_sends_its_miners_on() {
    for misbehaviour in [Misbehaviour::AcceptAndSilent, Misbehaviour::ServerFull, Misbehaviour::CloseOnAccept]
    {
        let (first, second) = (pool(1), pool(2));
        first.misbehave(misbehaviour);
        let proxy = Proxy::start(first.addr(), 1, |p| plan(p, &[first.addr(), second.addr()]));
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.set_read_timeout(PATIENCE).unwrap();
        let work = miner.handshake("farm.rig").unwrap();
        assert!(accepted(&mut miner, &work, "5", "00000005"), "{misbehaviour:?}");
        assert_eq!(second.report().shares_accepted, 1);
    }
}

#[test]
fn miners_wait_for_a_pool_that_is_not_there_yet_and_get_it_when_it_comes() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let mut proxy = Proxy::start(address, 1, |p| plan(p, &[address]));
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":[]}"#).unwrap();
    proxy.until("it waits", |_, shells| shells[0].waiting == 1);
    let _pool = PoolHandle::start(PoolConfig { listen: address, ..PoolConfig::default() }).unwrap();
    assert!(miner.answer_to("1").unwrap().contains("\"error\":null"));
}

fn say(proxy: &Proxy, pools: [(SocketAddr, PoolState); 2], place: u32) {
    let now = |(address, state): (SocketAddr, PoolState)| PoolNow {
        addresses: [address].into(),
        state,
        place,
        server_name: None,
    };
    let pools: Vec<PoolNow> = pools.into_iter().map(now).collect();
    proxy.ends[0].command(Command::Pools(pools.into())).unwrap();
}

#[test]
fn the_control_plane_decides_who_is_used_and_miners_follow() {
    let (first, second) = (pool(1), pool(2));
    let addresses = [first.addr(), second.addr()];
    let mut proxy = Proxy::start(first.addr(), 1, |p| plan(p, &addresses));
    let (mut miner, _) = movable(proxy.address);
    let say = |proxy: &Proxy, states: [PoolState; 2], place: u32| {
        say(proxy, [(addresses[0], states[0]), (addresses[1], states[1])], place);
    };
    say(&proxy, [PoolState::Failed, PoolState::Healthy], 0);
    let work = told(&mut miner);
    assert!(accepted(&mut miner, &work, "5", "00000005"));
    assert_eq!(second.report().shares_accepted, 1);
    // It is back, but has to prove itself: new miners go to the other one.
    say(&proxy, [PoolState::Recovering, PoolState::Healthy], 0);
    let mut newcomer = Miner::connect(proxy.address).unwrap();
    newcomer.handshake("farm.new").unwrap();
    assert_eq!(first.report().connections_active, 0);
    say(&proxy, [PoolState::Healthy, PoolState::Healthy], 0);
    let work = told(&mut miner);
    assert!(accepted(&mut miner, &work, "6", "00000006"));
    assert_eq!(first.report().shares_accepted, 1);
    // The pool has moved: connections to it are made anew, once.
    say(&proxy, [PoolState::Healthy, PoolState::Healthy], 1);
    let work = told(&mut miner);
    assert!(accepted(&mut miner, &work, "7", "00000007"));
    proxy.until("all is counted", |stats, _| {
        stats.counts.moved == 3 && stats.counts.ends[End::PoolSwitched.index()] == 1
    });
    let rejected: u64 =
        RejectClass::ALL.iter().map(|class| proxy.stats.counts.shares.rejected[class.index()]).sum();
    assert_eq!((rejected, proxy.stats.counts.shares.lost), (0, 0));
}

#[test]
fn connections_to_a_pool_are_paced() {
    let pool = pool(1);
    let mut proxy = Proxy::start(pool.addr(), 1, |p| {
        plan(p, &[pool.addr()]);
        p.connects_per_second = NonZeroU32::new(20);
    });
    let miners: Vec<Miner> = (0..10)
        .map(|_| {
            let mut miner = Miner::connect(proxy.address).unwrap();
            miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":[]}"#).unwrap();
            miner
        })
        .collect();
    proxy.until("some wait", |_, shells| shells[0].waiting > 0);
    for mut miner in miners {
        miner.answer_to("1").unwrap();
    }
    assert_eq!(pool.report().connections_accepted, 10);
}

#[test]
fn warm_connections_wait_for_miners_are_used_once_and_replaced() {
    let pool = pool(1);
    let mut proxy = Proxy::start(pool.addr(), 1, |p| {
        plan(p, &[pool.addr()]);
        p.warm_links = 3;
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    while pool.report().connections_active < 3 {
        assert!(std::time::Instant::now() < deadline, "{:?}", pool.report());
        std::thread::yield_now();
    }
    let mut miners: Vec<(Miner, Greeting)> = (0..3).map(|_| movable(proxy.address)).collect();
    for (miner, work) in &mut miners {
        assert!(accepted(miner, work, "5", "00000005"));
    }
    proxy.until("they are replaced", |_, shells| shells[0].warm == 3 && shells[0].links_of_pool[0] == 3);
    // The pool closes those that nobody uses, which harms nobody.
    pool.kill_connections();
    for (miner, _) in &mut miners {
        let next = told(miner);
        assert!(accepted(miner, &next, "6", "00000006"));
    }
    proxy.until("all is well again", |stats, shells| shells[0].warm == 3 && stats.counts.moved == 3);
    assert_eq!(proxy.stats.counts.ends.iter().sum::<u64>(), 0);
}

/// A miner that shakes hands with the second pool while the first comes back is brought back like those at work there.
#[test]
fn a_miner_on_its_way_to_the_next_pool_is_not_left_behind_when_its_own_comes_back() {
    let (first, second) = (pool(1), pool(2));
    let way = Relay::start(RelayConfig::to(second.addr())).unwrap();
    let mut proxy = Proxy::start(first.addr(), 1, |p| {
        plan(p, &[first.addr(), way.addr()]);
        p.policy.answer_us = HOLD_US;
    });
    let say = |proxy: &Proxy, state| {
        say(proxy, [(first.addr(), state), (way.addr(), PoolState::Healthy)], 0);
    };
    let (mut witness, _) = movable(proxy.address);
    say(&proxy, PoolState::Failed);
    told(&mut witness);
    // Nothing goes on there, and nothing is lost.
    let held = Shape { bytes_per_second: Some(0), ..Shape::default() };
    way.set(Fault::Shaped { up: held, down: held });
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":[]}"#).unwrap();
    let connected = |stats: &Stats| stats.pools.get(1).map_or(0, |second| second.connected);
    proxy.until("it is on its way", |stats, _| connected(stats) == 2);
    say(&proxy, PoolState::Healthy);
    told(&mut witness);
    proxy.until("the shard has looked at all", |_, shells| shells[0].links_of_pool[0] >= 1);
    way.set(Fault::None);
    assert!(miner.answer_to("1").unwrap().contains("\"error\":null"));
    proxy.until("both are where they belong", |_, shells| shells[0].links_of_pool[..2] == [2, 0]);
}

/// A pool that comes back may refuse one miner. That one stays where it is well, and is sent there a few times at most: a pool
/// that was in a hurry gets it in the end.
#[test]
fn a_miner_that_the_better_pool_refuses_is_not_sent_there_again_and_again() {
    let (first, second) = (pool(1), pool(2));
    let mut proxy = Proxy::start(first.addr(), 1, |p| plan(p, &[first.addr(), second.addr()]));
    let say = |proxy: &Proxy, state| {
        say(proxy, [(first.addr(), state), (second.addr(), PoolState::Healthy)], 0);
    };
    let (mut miner, _) = movable(proxy.address);
    say(&proxy, PoolState::Failed);
    told(&mut miner);
    first.misbehave(Misbehaviour::ServerFull);
    say(&proxy, PoolState::Healthy);
    let work = told(&mut miner);
    let refused =
        |stats: &Stats| stats.pools.first().map_or(0, |first| first.losses[PoolLoss::Refused.index()]);
    proxy.until("the first refuses it", |stats, _| refused(stats) >= 1);
    for round in 0..50 {
        proxy.until("a report", |_, shells| shells[0].links_of_pool[..2] == [0, 1]);
        assert!(accepted(&mut miner, &work, &format!("{}", 10 + round), &format!("{round:08x}")));
    }
    assert!(refused(&proxy.stats) <= 5, "one, two, four, eight, sixteen seconds apart");
    first.misbehave(Misbehaviour::None);
    proxy.until("the miner is back", |_, shells| shells[0].links_of_pool[..2] == [1, 0]);
}
/// A pool that has come back fails one connection more: whoever was to be brought back to it waits for a moment, not for ever.
#[test]
fn a_better_pool_that_stumbles_when_it_comes_back_gets_its_miners_all_the_same() {
    let (first, second) = (pool(1), pool(2));
    let way = Relay::start(RelayConfig::to(first.addr())).unwrap();
    let mut proxy = Proxy::start(way.addr(), 1, |p| plan(p, &[way.addr(), second.addr()]));
    let say = |proxy: &Proxy, state| {
        say(proxy, [(way.addr(), state), (second.addr(), PoolState::Healthy)], 0);
    };
    let (mut miner, _) = movable(proxy.address);
    say(&proxy, PoolState::Failed);
    told(&mut miner);
    way.set(Fault::RefuseConnections);
    say(&proxy, PoolState::Healthy);
    proxy.until("it stumbles", |stats, _| {
        stats.pools.first().is_some_and(|first| first.losses[PoolLoss::Unreachable.index()] > 0)
    });
    way.set(Fault::None);
    proxy.until("the miner is back", |_, shells| shells[0].links_of_pool[..2] == [1, 0]);
}

/// The one that tries a failed pool may be turned away by it: that is no reason for all others to wait until it would have
/// had to answer.
#[test]
fn a_trial_that_is_closed_makes_room_for_the_next() {
    let first = pool(1);
    let way = Relay::start(RelayConfig::to(first.addr())).unwrap();
    let mut proxy = Proxy::start(way.addr(), 1, |p| plan(p, &[way.addr()]));
    let (mut miner, _) = movable(proxy.address);
    way.set(Fault::RefuseConnections);
    way.reset_all();
    let lost =
        |stats: &Stats, loss: PoolLoss| stats.pools.first().is_some_and(|pool| pool.losses[loss.index()] > 0);
    proxy.until("it cannot be reached", |stats, _| lost(stats, PoolLoss::Unreachable));
    way.set(Fault::NoTarget);
    proxy.until("it closes a trial", |stats, _| lost(stats, PoolLoss::Closed));
    way.set(Fault::None);
    // Less than a trial may take.
    miner.set_read_timeout(PATIENCE / 2).unwrap();
    told(&mut miner);
}
