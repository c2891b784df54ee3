//! Against a small name server on loopback, whose answers are made by hand.

use super::*;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
const NXDOMAIN: u8 = 3;

/// What the server says of one name.
#[derive(Clone, Default)]
struct Zone {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    ttl: u32,
}

#[derive(Default)]
struct Shared {
    zones: Mutex<HashMap<String, Zone>>,
    silent: AtomicBool,
    ended: AtomicBool,
    questions: AtomicUsize,
}

/// A name server over UDP. It knows the names it was told, and nothing else exists.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&socket, &of_thread));
        Server { address, shared, thread: Some(thread) }
    }

    fn tell(&self, name: &str, zone: Zone) {
        self.shared.zones.lock().unwrap().insert(name.to_owned(), zone);
    }

    fn resolve(&self, name: &str) -> Result<Resolved, ResolveError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let resolver = Resolver::with_servers(&[self.address]).unwrap();
            resolver.resolve(&Host::Name(name.to_owned()), 3333).await
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0_u8; 512];
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        shared.questions.fetch_add(1, Ordering::Relaxed);
        if !shared.silent.load(Ordering::Relaxed) {
            socket.send_to(&answer(&buffer[..length], shared), from).unwrap();
        }
    }
}

/// The question's header and question, and records that point back to its name.
fn answer(question: &[u8], shared: &Shared) -> Vec<u8> {
    let (mut at, mut name) = (12, String::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        name.push_str(std::str::from_utf8(&question[at + 1..end]).unwrap());
        name.push('.');
        at = end;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let zone = shared.zones.lock().unwrap().get(name.trim_end_matches('.')).cloned();
    let code = if zone.is_some() { 0 } else { NXDOMAIN };
    let zone = zone.unwrap_or_default();
    let records: Vec<Vec<u8>> = match kind {
        A => zone.v4.iter().map(|ip| ip.octets().to_vec()).collect(),
        AAAA => zone.v6.iter().map(|ip| ip.octets().to_vec()).collect(),
        _ => Vec::new(),
    };
    let mut told =
        vec![question[0], question[1], 0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    told.extend_from_slice(&question[12..at + 5]);
    for record in records {
        told.extend_from_slice(&[0xc0, 12]);
        told.extend_from_slice(&kind.to_be_bytes());
        told.extend_from_slice(&[0, 1]);
        told.extend_from_slice(&zone.ttl.to_be_bytes());
        told.extend_from_slice(&(record.len() as u16).to_be_bytes());
        told.extend_from_slice(&record);
    }
    told
}

fn texts(resolved: &Resolved) -> Vec<String> {
    resolved.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn both_families_are_asked_and_come_in_turn_ipv6_first() {
    let server = Server::start();
    let zone = Zone {
        v4: vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()],
        v6: vec!["2001:db8::1".parse().unwrap()],
        ttl: 300,
    };
    server.tell("pool.farm.example", zone);
    let found = server.resolve("pool.farm.example").unwrap();
    assert_eq!(texts(&found), ["[2001:db8::1]:3333", "192.0.2.1:3333", "192.0.2.2:3333"]);
    assert!(found.valid_for <= Duration::from_secs(300) && found.valid_for > Duration::from_secs(200));
    assert_eq!(server.shared.questions.load(Ordering::Relaxed), 2);
}

#[test]
fn times_are_held_within_bounds_and_an_answer_that_changes_is_seen() {
    let server = Server::start();
    server.tell("a.example", Zone { v4: vec![[192, 0, 2, 1].into()], v6: vec![], ttl: 0 });
    server.tell("b.example", Zone { v4: vec![], v6: vec!["2001:db8::2".parse().unwrap()], ttl: 90_000 });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let resolver = Resolver::with_servers(&[server.address]).unwrap();
        let (a, b) = (Host::Name("a.example".to_owned()), Host::Name("b.example".to_owned()));
        let found = resolver.resolve(&a, 1).await.unwrap();
        assert_eq!((texts(&found), found.valid_for), (vec!["192.0.2.1:1".to_owned()], TTL_MIN));
        let found = resolver.resolve(&b, 1).await.unwrap();
        assert_eq!((texts(&found), found.valid_for), (vec!["[2001:db8::2]:1".to_owned()], TTL_MAX));
        server.tell("b.example", Zone { v4: vec![[192, 0, 2, 9].into()], v6: vec![], ttl: 90_000 });
        assert_eq!(texts(&resolver.resolve(&b, 1).await.unwrap()), ["192.0.2.9:1"]);
    });
}

#[test]
fn a_watch_tells_where_a_name_leads_as_soon_as_it_knows() {
    use crate::pools::Watch;
    let server = Server::start();
    server.tell("b.example", Zone { v4: vec![[192, 0, 2, 2].into()], v6: vec![], ttl: 60 });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let resolver = Arc::new(Resolver::with_servers(&[server.address]).unwrap());
        let (mut watch, now) = (Watch::default(), Instant::now());
        for name in ["gone.example", "b.example"] {
            watch.add(Host::Name(name.to_owned()), 1, None, now);
        }
        let changes = watch.changed(&resolver).await;
        assert_eq!(changes.iter().map(|change| change.index).collect::<Vec<_>>(), [1]);
        assert_eq!(watch.known(1), ["192.0.2.2:1".parse().unwrap()]);
        assert!(watch.known(0).is_empty());
        assert!(watch.next_due().unwrap() > now, "the one that failed is asked for again later");
    });
}

#[test]
fn what_is_wrong_is_told_apart() {
    let server = Server::start();
    let host = |name: &str| name.to_owned();
    server.tell("empty.example", Zone::default());
    server.tell("blocked.example", Zone { v4: vec![Ipv4Addr::UNSPECIFIED], v6: vec![], ttl: 60 });
    let gone = server.resolve("gone.example").unwrap_err();
    assert_eq!(gone, ResolveError::NoSuchName { host: host("gone.example") });
    let empty = server.resolve("empty.example").unwrap_err();
    assert_eq!(empty, ResolveError::NoAddress { host: host("empty.example") });
    let blocked = server.resolve("blocked.example").unwrap_err();
    assert!(blocked.to_string().contains("0.0.0.0"), "{blocked}");
    server.shared.silent.store(true, Ordering::Relaxed);
    let silent = server.resolve("silent.example").unwrap_err();
    assert_eq!(silent, ResolveError::Silent { host: host("silent.example") });
}

#[test]
fn an_address_needs_no_name_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(async {
        let resolver = Resolver::new(&["127.0.0.1".parse().unwrap()]).unwrap();
        resolver.resolve(&Host::Ip([192, 0, 2, 7].into()), 25).await.unwrap()
    });
    assert_eq!(texts(&found), ["192.0.2.7:25"]);
}

#[test]
fn the_system_knows_its_own_name() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(async {
        let resolver = Resolver::new(&[]).unwrap();
        resolver.resolve(&Host::Name("localhost".to_owned()), 1).await.unwrap()
    });
    assert!(found.addresses.iter().all(|address| address.ip().is_loopback()), "{found:?}");
}

#[test]
fn addresses_are_bounded_and_none_comes_twice() {
    let v4 = (1..=20).map(|last| IpAddr::from([192, 0, 2, last]));
    let v6 = (1..=20_u16).map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
    let all: Vec<IpAddr> = v4.chain(v6).collect();
    let found = in_turn(&all, 1);
    assert_eq!(found.len(), ADDRESSES_MAX);
    assert!(found.iter().step_by(2).all(SocketAddr::is_ipv6));
    let twice = [IpAddr::from([192, 0, 2, 1]); 2];
    assert_eq!(in_turn(&twice, 1).len(), 1);
    assert!(in_turn(&["224.0.0.1".parse().unwrap(), "::".parse().unwrap()], 1).is_empty());
}
