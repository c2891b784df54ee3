//! Pools that fail under a farm at work: the real binary, real sockets, and at the end the books of all sides.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "failover/farm.rs"]
mod farm;
mod support;

use farm::{Farm, Setup, Work};
use loka_rig::{Fault, Load, Misbehaviour};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;
use support::program;
use tempfile::TempDir;

/// Lets one thing happen to the first pool while all work, and waits until all work at the second.
fn fail_over(what: &str, setup: Setup, fault: impl FnOnce(&Farm)) {
    let farm = Farm::start(setup);
    let miners = farm.work(|work| {
        work.mark();
        fault(&farm);
        until_at_second(&farm, work);
        assert!(farm.failures_of_first() >= 1.0, "the breaker has tripped");
    });
    assert!(miners.movable.extranonces >= farm::MOVABLE as u64, "all were told of another extranonce");
    farm.settle(what, &miners);
}

fn until_at_second(farm: &Farm, work: &Work) {
    work.until("all miners are at the second pool", || farm::has_all(&farm.second));
    work.until_all_work("all miners work at the second pool");
    work.until("the first is known to have failed", || farm.failures_of_first() >= 1.0);
}

#[test]
fn a_pool_that_is_killed() {
    fail_over("killed", Setup::default(), |farm| {
        farm.way.set(Fault::RefuseConnections);
        farm.first.kill_listener();
        farm.first.kill_connections();
    });
}

#[test]
fn a_pool_that_is_frozen_with_its_sockets_open() {
    fail_over("frozen", Setup::default(), |farm| farm.way.set(Fault::BlackHole));
}

/// Most miners have no share on its way and could not tell: the few that have are enough for all.
#[test]
fn a_pool_that_is_frozen_under_miners_that_say_little() {
    let setup = Setup { load: Load::OpenLoop { per_second: 10.0 }, ..Setup::default() };
    fail_over("frozen, few shares", setup, |farm| farm.way.set(Fault::BlackHole));
}

#[test]
fn a_pool_that_accepts_and_never_speaks() {
    fail_over("never speaks", Setup::default(), |farm| {
        farm.way.set(Fault::StallHandshake);
        farm.way.reset_all();
    });
}

#[test]
fn a_pool_that_closes_its_half() {
    fail_over("half-closed", Setup::default(), |farm| farm.way.set(Fault::HalfClose));
}

#[test]
fn a_pool_that_breaks_all_connections_again_and_again() {
    fail_over("resets", Setup::default(), |farm| {
        farm.way.set(Fault::ResetEvery(Duration::from_millis(300)));
    });
}

#[test]
fn a_pool_that_says_it_is_full() {
    fail_over("full", Setup::default(), |farm| farm.first.misbehave(Misbehaviour::ServerFull));
}

/// A pool in a process of its own, which can be stopped as a whole: its kernel goes on accepting connections.
struct PoolProcess {
    child: Child,
    address: SocketAddr,
}

impl PoolProcess {
    fn start() -> PoolProcess {
        let mut program = program();
        let mut child = program
            .args(["child", "pool", "quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        PoolProcess { child, address: told["address"].as_str().unwrap().parse().unwrap() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for PoolProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pool_whose_process_is_stopped() {
    let (first, second) = (PoolProcess::start(), farm::pool(2));
    let setup = Setup { load: Load::OpenLoop { per_second: 400.0 }, ..Setup::default() };
    let folder = TempDir::new().unwrap();
    let proxy = farm::proxy(&folder, first.address, second.addr(), &setup);
    let miners = farm::work(proxy.address, setup.load, |work| {
        work.until_all_work("all miners work at the first pool");
        work.mark();
        first.signal(Signal::STOP);
        work.until("all miners are at the second pool", || farm::has_all(&second));
        work.until_all_work("all miners work at the second pool");
        // It has forgotten nothing, and reads what was sent to it before.
        first.signal(Signal::CONT);
        work.until_all_work("all miners go on");
    });
    farm::check_proxy(&proxy, &miners);
    farm::check_pool(&second.stop());
    farm::tell("stopped process", &miners);
}

/// Kills the first pool and lets it come back, so many times.
fn come_back(what: &str, times: usize, load: Load) {
    let farm = Farm::start(Setup { stable_for: "1s", load, ..Setup::default() });
    let mut took = Vec::new();
    let miners = farm.work(|work| {
        for _ in 0..times {
            work.mark();
            farm.first.kill_listener();
            farm.first.kill_connections();
            until_at_second(&farm, work);
            assert!(farm.second.notify(false) > 0, "a job like any other, for miners that have moved");
            farm.first.listen_again().unwrap();
            took.push(work.until("all miners are at the first pool", || farm::has_all(&farm.first)));
            work.until_all_work("all miners work at the first pool");
            work.until("nobody is left at the second", || farm.second.report().connections_active == 0);
        }
    });
    farm::note(&format!("{what}: all miners back after {took:.1?}, of which 1 s to be seen stable"));
    farm.settle(what, &miners);
}

#[test]
fn a_pool_that_comes_back_gets_its_miners_back_every_time() {
    come_back("comes back", 2, Load::OpenLoop { per_second: 1000.0 });
}

#[test]
fn miners_that_always_wait_for_an_answer_are_brought_back_too() {
    come_back("comes back, closed loop", 1, Load::ClosedLoop { in_flight: 2 });
}

#[test]
fn no_pool_at_all_and_then_the_second() {
    let farm = Farm::start(Setup { load: Load::OpenLoop { per_second: 400.0 }, ..Setup::default() });
    let miners = farm.work(|work| {
        for pool in [&farm.second, &farm.first] {
            pool.kill_listener();
            pool.kill_connections();
        }
        work.until("all wait", || farm.proxy.metric("loka_stratum_miners_waiting") >= farm::MOVABLE as f64);
        work.until("none is usable", || farm.proxy.metric("loka_stratum_pool_transitions_total") >= 2.0);
        work.mark();
        farm.second.listen_again().unwrap();
        work.until("all miners are at the second pool", || farm::has_all(&farm.second));
        work.until_all_work("all miners work at the second pool");
    });
    farm.settle("none, then the second", &miners);
}

#[test]
fn no_pool_for_longer_than_miners_are_held() {
    let setup = Setup { hold_miners: "1s", load: Load::OpenLoop { per_second: 400.0 }, ..Setup::default() };
    let farm = Farm::start(setup);
    let mut held = Duration::ZERO;
    let miners = farm.work(|work| {
        for pool in [&farm.second, &farm.first] {
            pool.kill_listener();
            pool.kill_connections();
        }
        held = work.until("the miners are let go", || work.have_movable_gone());
    });
    assert_eq!(miners.movable.disconnected, farm::MOVABLE as u64);
    let shares = miners.movable.shares;
    assert_eq!(shares.sent, shares.accepted + shares.rejected + shares.lost);
    assert!(held >= Duration::from_secs(1), "they were held for a second: {held:?}");
    farm::note(&format!("held for 1 s: let go after {held:.1?}"));
}

/// All faults, one after the other and both pools at once, in an order that follows from the seed.
fn chaos(seed: u64, rounds: usize) {
    const FAULTS: [Fault; 11] = [
        Fault::None,
        Fault::None,
        Fault::Delay(Duration::from_millis(30)),
        Fault::Split { bytes: 7 },
        Fault::Coalesce { window: Duration::from_millis(50) },
        Fault::Reset,
        Fault::HalfClose,
        Fault::BlackHole,
        Fault::RefuseConnections,
        Fault::NoTarget,
        Fault::StallHandshake,
    ];
    let farm = Farm::start(Setup {
        stable_for: "500ms",
        load: Load::OpenLoop { per_second: 2000.0 },
        ..Setup::default()
    });
    let mut state = seed;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let miners = farm.work(|work| {
        for round in 0..rounds {
            let way = if draw(2) == 0 { &farm.way } else { &farm.way_to_second };
            let fault = FAULTS[draw(FAULTS.len())];
            way.set(fault);
            if draw(3) == 0 {
                way.reset_all();
            }
            if draw(4) == 0 {
                farm.first.notify(false);
                farm.second.notify(false);
            }
            work.go_on(1 + draw(3));
            assert!(
                farm.proxy.metric("loka_stratum_connections_total") > 0.0,
                "round {round}: the proxy lives"
            );
        }
        farm.way.set(Fault::None);
        farm.way_to_second.set(Fault::None);
        work.until_all_work("all miners work again");
        work.until("all miners are where they belong", || farm::has_all(&farm.first));
        work.until_all_work("all miners work at the first pool");
    });
    farm.settle(&format!("chaos of seed {seed}"), &miners);
}

#[test]
fn faults_of_both_pools_in_any_order() {
    chaos(1, 20);
}

/// Runs for minutes: `cargo test --test failover -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn faults_of_both_pools_in_many_orders() {
    for seed in 2..8 {
        chaos(seed, 60);
    }
}
