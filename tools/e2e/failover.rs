//! Pools that fail under a farm at work: the real binary, real sockets, and at the end the books of all sides.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "failover/farm.rs"]
mod farm;
mod support;

use farm::{Farm, Setup, Work};
use loka_rig::{Fault, Misbehaviour};
use std::time::Duration;

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
    work.until("all miners are at the second pool", || farm.are_at_second());
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
