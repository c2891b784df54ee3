//! Too much of something: bytes, authorizations, connections, memory. Who causes it waits or goes, and who works does not notice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::Proxy;
use loka_proto::End;
use loka_rig::{Greeting, Miner, PoolConfig, PoolHandle};
use loka_runtime::{Command, Excess, MemoryLoad, Quotas, Rates};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::thread;

const SECOND_US: u64 = 1_000_000;

fn pool() -> PoolHandle {
    PoolHandle::start(PoolConfig::default()).unwrap()
}

fn at_work(address: SocketAddr) -> (Miner, Greeting) {
    let mut miner = Miner::connect(address).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    (miner, work)
}

fn still_works((miner, work): &mut (Miner, Greeting), id: &str) {
    miner.submit_for(work, "farm.rig", id, &format!("{:0>8}", id)).unwrap();
    assert!(miner.answer_to(id).unwrap().contains("true"));
}

fn excesses(proxy: &mut Proxy, excess: Excess) -> u64 {
    proxy.collect();
    proxy.shells.iter().map(|shell| shell.excesses[excess.index()]).sum()
}

#[test]
fn who_sends_too_much_is_read_as_fast_as_it_may_send_and_nothing_is_lost() {
    let pool = pool();
    let mut proxy = Proxy::start(pool.addr(), 1, |plan| {
        let connection_bytes = NonZeroU32::new(60_000_000);
        plan.guard.quotas = Quotas { connection_bytes, address: Rates::default(), window_us: SECOND_US };
    });
    let mut honest = at_work(proxy.address);
    let (mut flood, work) = at_work(proxy.address);
    let sender = thread::spawn(move || {
        flood.send_bytes(&vec![b'\n'; 2_500_000]).unwrap();
        flood.submit_for(&work, "farm.rig", "9", "00000009").unwrap();
        assert!(flood.answer_to("9").unwrap().contains("true"), "it was only slowed down");
    });
    proxy.until("it is held back", |_, shells| shells[0].excesses[Excess::ConnectionBytes.index()] > 0);
    still_works(&mut honest, "1");
    sender.join().unwrap();
    assert_eq!(excesses(&mut proxy, Excess::AddressBytes), 0);
}

#[test]
fn an_address_is_held_to_its_bytes_whatever_its_connections_are() {
    let pool = pool();
    let mut proxy = Proxy::start(pool.addr(), 1, |plan| {
        let address = Rates { bytes: NonZeroU32::new(60_000_000), ..Rates::default() };
        plan.guard.quotas = Quotas { connection_bytes: None, address, window_us: SECOND_US };
    });
    let mut honest = at_work(proxy.address);
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (mut flood, _work) = at_work(proxy.address);
            thread::spawn(move || flood.send_bytes(&vec![b'\n'; 700_000]).unwrap())
        })
        .collect();
    proxy.until("they are held back", |_, shells| shells[0].excesses[Excess::AddressBytes.index()] > 0);
    // It has the same address, and has sent next to nothing.
    still_works(&mut honest, "1");
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn too_many_authorizations_of_an_address_make_those_that_come_wait_and_nobody_else() {
    let pool = pool();
    let mut proxy = Proxy::start(pool.addr(), 1, |plan| {
        let address = Rates { authorizations: NonZeroU32::new(3_000), ..Rates::default() };
        plan.guard.quotas = Quotas { connection_bytes: None, address, window_us: SECOND_US };
    });
    let mut honest = at_work(proxy.address);
    let (mut guessing, _) = at_work(proxy.address);
    // In one piece, so that all of it is read before it is held back.
    let guess = "{\"id\":4,\"method\":\"mining.authorize\",\"params\":[\"farm.rig\",\"guess\"]}\n";
    guessing.send_bytes(guess.repeat(200).as_bytes()).unwrap();
    proxy.until("it has gone too far", |_, shells| {
        shells[0].excesses[Excess::AddressAuthorizations.index()] > 0
    });
    let before = excesses(&mut proxy, Excess::AddressAuthorizations);
    let address = proxy.address;
    let newcomer = thread::spawn(move || at_work(address));
    proxy.until("the newcomer waits", |_, shells| {
        shells[0].excesses[Excess::AddressAuthorizations.index()] > before
    });
    assert_eq!(pool.report().connections_accepted, 2, "the pool hears nothing of it yet");
    still_works(&mut honest, "1");
    still_works(&mut newcomer.join().unwrap(), "2");
}

#[test]
fn strangers_make_room_for_miners_and_miners_at_work_do_not() {
    let pool = pool();
    let mut proxy = Proxy::start(pool.addr(), 1, |plan| plan.connections_max = 2);
    let mut honest = at_work(proxy.address);
    let mut stranger = Miner::connect(proxy.address).unwrap();
    let mut second = None;
    while second.is_none() {
        let mut miner = Miner::connect(proxy.address).unwrap();
        second = miner.handshake("farm.rig").ok().map(|work| (miner, work));
    }
    stranger.read_to_end().unwrap();
    proxy.until("it is counted", |stats, _| stats.counts.ends[End::Shed.index()] == 1);
    let before = proxy.ended(End::OverCapacity);
    Miner::connect(proxy.address).unwrap().read_to_end().unwrap();
    proxy.until("the next finds no room", |stats, _| {
        stats.counts.ends[End::OverCapacity.index()] == before + 1
    });
    still_works(&mut honest, "1");
    still_works(&mut second.unwrap(), "2");
}

#[test]
fn when_memory_is_short_nobody_comes_in_then_strangers_go_and_miners_at_work_stay() {
    let pool = pool();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let mut honest = at_work(proxy.address);
    let mut stranger = Miner::connect(proxy.address).unwrap();
    stranger.send_bytes(b"{").unwrap();
    proxy.until("both are there", |_, shells| shells[0].connections == 2);
    proxy.ends[0].command(Command::Memory(MemoryLoad::High)).unwrap();
    while proxy.ended(End::Overloaded) == 0 {
        let _ = Miner::connect(proxy.address).unwrap().send_bytes(b"{");
        proxy.collect();
    }
    still_works(&mut honest, "1");
    assert_eq!(proxy.ended(End::Shed), 0);
    proxy.ends[0].command(Command::Memory(MemoryLoad::Critical)).unwrap();
    stranger.read_to_end().unwrap();
    proxy.until("it is counted", |stats, _| stats.counts.ends[End::Shed.index()] >= 1);
    still_works(&mut honest, "2");
    proxy.ends[0].command(Command::Memory(MemoryLoad::Fine)).unwrap();
    let mut next = None;
    while next.is_none() {
        let mut miner = Miner::connect(proxy.address).unwrap();
        next = miner.handshake("farm.rig").ok().map(|work| (miner, work));
    }
    still_works(&mut next.unwrap(), "3");
    still_works(&mut honest, "4");
}
