//! HTTP where miners connect: who may ask is handed out at the door, socket and all; who may not is a scanner as ever; and
//! miners beside notice nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{PATIENCE, Proxy};
use loka_proto::End;
use loka_rig::{Authority, Load, Miner, PoolConfig, PoolHandle, SwarmConfig};
use loka_runtime::limits::GUESTS_MAX;
use loka_runtime::{Guard, Guest, HttpGuests, HttpPlan, ShardPlan, Speaks, http_door};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n";

/// A proxy that hands out those who ask from 127.0.0.1.
fn start(change: impl Fn(&mut ShardPlan)) -> (PoolHandle, Proxy, HttpGuests) {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let (door, guests) = http_door().unwrap();
    let proxy = Proxy::start(pool.addr(), 1, |plan| {
        plan.http = Some(HttpPlan { from: vec!["127.0.0.1/32".parse().unwrap()], door: door.clone() });
        change(plan);
    });
    (pool, proxy, guests)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn elsewhere(proxy: &Proxy) -> Miner {
    let source: SocketAddr = "127.0.0.2:0".parse().unwrap();
    Miner::connect_from(source, proxy.address).unwrap()
}

fn wait_for_guest(guests: &HttpGuests) -> Guest {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(guest) = guests.next() {
            guest.socket.set_nonblocking(false).unwrap();
            guest.socket.set_read_timeout(Some(PATIENCE)).unwrap();
            return guest;
        }
        assert!(Instant::now() < deadline, "nobody is handed in");
        std::thread::yield_now();
    }
}

/// All that the guest says: what was read before it was handed in, and `count` bytes in all.
fn heard(guest: &mut Guest, count: usize) -> Vec<u8> {
    let mut rest = vec![0; count - guest.said.len()];
    guest.socket.read_exact(&mut rest).unwrap();
    [&guest.said[..], &rest].concat()
}

/// The connection is open from end to end.
fn answered(guest: &mut Guest, asker: &mut TcpStream) {
    guest.socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let mut answer = [0; 19];
    asker.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n\r\n");
}

fn wait_for_ends(proxy: &mut Proxy, end: End, count: u64) {
    proxy.until(end.label(), |stats, _| stats.counts.ends[end.index()] == count);
}

#[test]
fn a_request_is_handed_out_whole_however_it_comes() {
    let (pool, mut proxy, guests) = start(|_| {});
    let cuts = [1, 2, 3, 4, 5, GET.len() - 1, GET.len()];
    for cut in cuts {
        let mut asker = connect(&proxy);
        asker.write_all(&GET[..cut]).unwrap();
        // Each piece is read by itself, where that can be seen from outside.
        if cut < 4 {
            let open = |_: &_, shells: &[loka_runtime::Shell]| shells[0].connections == 1;
            proxy.until("it is not known yet what begins", open);
            assert!(guests.next().is_none());
        }
        asker.write_all(&GET[cut..]).unwrap();
        let mut guest = wait_for_guest(&guests);
        assert_eq!(heard(&mut guest, GET.len()), GET);
        proxy.until("its link is gone", |_, shells| shells[0].connections == 0);
        answered(&mut guest, &mut asker);
    }
    let mut blank = connect(&proxy);
    blank.write_all(b"\r\n").unwrap();
    blank.write_all(GET).unwrap();
    let mut guest = wait_for_guest(&guests);
    assert_eq!(heard(&mut guest, GET.len()), GET);
    wait_for_ends(&mut proxy, End::Http, cuts.len() as u64 + 1);
    let counts = &proxy.stats.counts;
    assert_eq!(counts.ends.iter().sum::<u64>(), cuts.len() as u64 + 1, "and nothing else is counted");
    assert_eq!(pool.report().connections_accepted, 0);
}

#[test]
fn what_a_guest_says_later_wakes_no_shard() {
    const WORDS: u64 = 2_000;
    let (_pool, mut proxy, guests) = start(|_| {});
    let mut asker = connect(&proxy);
    asker.write_all(GET).unwrap();
    let mut guest = wait_for_guest(&guests);
    heard(&mut guest, GET.len());
    wait_for_ends(&mut proxy, End::Http, 1);
    let before = proxy.shells[0].turns;
    for _ in 0..WORDS {
        asker.write_all(b"x").unwrap();
        guest.socket.read_exact(&mut [0]).unwrap();
    }
    let _miner = Miner::connect(proxy.address).unwrap();
    proxy.until("a report has come since", |_, shells| shells[0].connections == 1);
    let turns = proxy.shells[0].turns - before;
    assert!(turns < WORDS / 10, "{turns} turns of a shard that has nothing to do but to tick");
}

#[test]
fn from_elsewhere_it_is_a_scanner_and_what_only_begins_like_it_is_one_too() {
    let (_pool, mut proxy, guests) = start(|_| {});
    for (count, said) in [(1, &b"G"[..]), (2, GET), (3, b"POST / HTTP/1.1\r\n")] {
        let mut scanner = elsewhere(&proxy);
        scanner.send_bytes(said).unwrap();
        scanner.read_to_end().unwrap();
        wait_for_ends(&mut proxy, End::NotStratum, count);
    }
    let mut almost = connect(&proxy);
    almost.write_all(b"GE").unwrap();
    almost.write_all(b"NTLE\n").unwrap();
    assert_eq!(almost.read(&mut [0]).unwrap(), 0);
    wait_for_ends(&mut proxy, End::NotStratum, 4);
    // A miner that stands where others may ask.
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    elsewhere(&proxy).handshake("farm.rig").unwrap();
    assert!(guests.next().is_none());
}

#[test]
fn asking_speaks_against_nobody_and_takes_nothing_from_miners() {
    let (_pool, mut proxy, guests) = start(|plan| {
        plan.guard = Guard {
            score_max: Some(100),
            block_us: 60_000_000,
            connects_per_minute: std::num::NonZeroU32::new(3),
            connections_max: Some(2),
            ..Guard::default()
        };
    });
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.handshake("farm.rig").unwrap();
    for _ in 0..30 {
        let mut asker = connect(&proxy);
        asker.write_all(GET).unwrap();
        // Its link is gone in the same turn: before the next is let in.
        wait_for_guest(&guests);
    }
    wait_for_ends(&mut proxy, End::Http, 30);
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
}

#[test]
fn a_door_with_too_many_before_it_turns_the_next_away_and_miners_work_on() {
    let (_pool, mut proxy, guests) = start(|_| {});
    let mut honest = Miner::connect(proxy.address).unwrap();
    let work = honest.handshake("farm.rig").unwrap();
    let mut askers: Vec<TcpStream> = (0..GUESTS_MAX + 44).map(|_| connect(&proxy)).collect();
    for asker in &mut askers {
        asker.write_all(GET).unwrap();
    }
    wait_for_ends(&mut proxy, End::HttpBusy, 44);
    wait_for_ends(&mut proxy, End::Http, GUESTS_MAX as u64);
    let closed = askers.iter().filter(|asker| {
        let mut asker: &TcpStream = asker;
        asker.set_nonblocking(true).unwrap();
        // A socket that is closed with bytes that nobody read is reset.
        !matches!(asker.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert_eq!(closed.count(), 44);
    honest.submit_for(&work, "farm.rig", "5", "00000001").unwrap();
    assert!(honest.answer_to("5").unwrap().contains("true"));
    drop(guests);
    let mut late = connect(&proxy);
    late.write_all(GET).unwrap();
    wait_for_ends(&mut proxy, End::HttpBusy, 45);
    assert!(!matches!(late.read(&mut [0]), Ok(1)), "nobody comes for it");
}

#[test]
fn with_a_header_the_address_in_it_decides() {
    let (_pool, mut proxy, guests) = start(|plan| {
        plan.proxies = vec!["127.0.0.1/32".parse().unwrap()];
        plan.http.as_mut().unwrap().from = vec!["192.0.2.7/32".parse().unwrap()];
    });
    let header = |source: &str| format!("PROXY TCP4 {source} 198.51.100.1 4000 3333\r\n").into_bytes();
    let allowed = [header("192.0.2.7"), GET.to_vec()].concat();
    for cut in [allowed.len(), header("192.0.2.7").len(), header("192.0.2.7").len() + 2] {
        let mut asker = connect(&proxy);
        asker.write_all(&allowed[..cut]).unwrap();
        asker.write_all(&allowed[cut..]).unwrap();
        let mut guest = wait_for_guest(&guests);
        assert_eq!(heard(&mut guest, GET.len()), GET);
        answered(&mut guest, &mut asker);
    }
    wait_for_ends(&mut proxy, End::Http, 3);
    for (count, header) in [(1, header("192.0.2.8")), (2, b"PROXY UNKNOWN\r\n".to_vec())] {
        let mut scanner = connect(&proxy);
        scanner.write_all(&[&header[..], GET].concat()).unwrap();
        wait_for_ends(&mut proxy, End::NotStratum, count);
    }
    assert!(guests.next().is_none());
}

#[test]
fn where_tls_may_be_spoken_plain_http_is_too_and_on_a_port_of_tls_it_is_none() {
    let identity = Authority::new().unwrap().issue(&["proxy.test"]).unwrap();
    let config = identity.server_config().unwrap();
    let (_pool, mut proxy, guests) = start(|plan| {
        plan.miner_tls = Some(config.clone());
        plan.speaks = vec![Speaks::Either];
    });
    let mut asker = connect(&proxy);
    asker.write_all(GET).unwrap();
    assert_eq!(heard(&mut wait_for_guest(&guests), GET.len()), GET);
    wait_for_ends(&mut proxy, End::Http, 1);
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    let (_pool, mut proxy, guests) = start(|plan| {
        plan.miner_tls = Some(config.clone());
        plan.speaks = vec![Speaks::Tls];
    });
    let mut asker = connect(&proxy);
    asker.write_all(GET).unwrap();
    wait_for_ends(&mut proxy, End::TlsFailed, 1);
    assert!(guests.next().is_none());
}

#[test]
fn a_drain_ends_what_is_not_known_yet_and_leaves_guests_alone() {
    let (_pool, mut proxy, guests) = start(|_| {});
    let (mut asker, mut half) = (connect(&proxy), connect(&proxy));
    asker.write_all(GET).unwrap();
    half.write_all(b"GE").unwrap();
    let mut guest = wait_for_guest(&guests);
    proxy.until("both are there", |stats, shells| {
        stats.counts.ends[End::Http.index()] == 1 && shells[0].connections == 1
    });
    let stats = proxy.drain(PATIENCE);
    assert_eq!(stats.counts.ends[End::Drained.index()], 1);
    answered(&mut guest, &mut asker);
    assert!(!matches!(half.read(&mut [0]), Ok(1)));
}

#[test]
fn a_thousand_who_ask_cost_miners_beside_them_nothing() {
    const ASKERS: usize = 1_000;
    let (pool, proxy, guests) = start(|_| {});
    let swarm = SwarmConfig {
        target: proxy.address,
        connections: 200,
        load: Load::ClosedLoop { in_flight: 2 },
        duration: PATIENCE,
        answers_target: Some(20_000),
        ..SwarmConfig::default()
    };
    let (address, is_over) = (proxy.address, AtomicBool::new(false));
    let (report, fetched) = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| {
            let (mut askers, mut fetched) = (Vec::new(), 0);
            while !is_over.load(Ordering::Relaxed) || askers.len() < ASKERS {
                if askers.len() < ASKERS {
                    let mut asker = TcpStream::connect(address).unwrap();
                    asker.write_all(GET).unwrap();
                    askers.push(asker);
                }
                fetched += std::iter::from_fn(|| guests.next()).count();
            }
            fetched
        });
        let report = loka_rig::run(&swarm, &AtomicBool::new(false), &mut |_| {}).unwrap();
        is_over.store(true, Ordering::Relaxed);
        (report, fetch.join().unwrap())
    });
    let counts = report.shares;
    assert_eq!((counts.sent, counts.lost, counts.duplicate_answers, counts.mismatched), (20_000, 0, 0, 0));
    let stats = proxy.drain(PATIENCE);
    let ends = |end: End| stats.counts.ends[end.index()];
    assert_eq!(ends(End::Http) + ends(End::HttpBusy), ASKERS as u64);
    let left = std::iter::from_fn(|| guests.next()).count();
    assert_eq!(fetched + left, usize::try_from(ends(End::Http)).unwrap());
    assert_eq!(stats.counts.shares.unanswered, 0);
    assert_eq!(pool.stop().shares_received, 20_000);
}
