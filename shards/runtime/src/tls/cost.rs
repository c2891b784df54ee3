//! What a TLS connection costs: its memory, which is held to a bound, and its time, which is only told:
//!
//!     cargo test -p loka-runtime --lib tls::cost -- --ignored --nocapture

use super::tests::{NAME, VERSIONS, client_config, issued, server_config, settle};
use super::*;
use rustls::SupportedProtocolVersion;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Bytes that an idle connection of either side may hold, with its struct and the peer's certificate chain of 0.4 KiB.
const IDLE_BYTES_MAX: usize = 5 * 1024;
const LINES: u32 = 20_000;
const HANDSHAKES: u32 = 500;
/// As long as a share.
const LINE: [u8; 100] = [b'x'; 100];

/// Counts the bytes that each thread of the unit tests holds.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends frees its own memory after its cell is gone; that is nobody's figure.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call goes to the system's allocator as it came; the count touches no memory that is allocated here.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Two configurations of one version. Without resumption, as every link of a shard has it: the memory of past sessions
/// is behind a lock.
fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let pki = issued();
    let mut of_client = (*client_config(&pki, &[version])).clone();
    of_client.resumption = Resumption::disabled();
    let mut of_server = (*server_config(&pki, &[version])).clone();
    of_server.session_storage = Arc::new(NoServerSessionStorage {});
    of_server.send_tls13_tickets = 0;
    (Arc::new(of_client), Arc::new(of_server))
}

fn connected(of_client: &Arc<ClientConfig>, of_server: &Arc<ServerConfig>) -> (Box<Tls>, Box<Tls>) {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = Box::new(Tls::client(of_client, &name).unwrap());
    let mut server = Box::new(Tls::server(of_server).unwrap());
    settle(&mut client, &mut server, usize::MAX);
    (client, server)
}

/// The time that a client and a server spend on one handshake.
fn handshake(of_client: &Arc<ClientConfig>, of_server: &Arc<ServerConfig>) -> [Duration; 2] {
    let name = ServerName::try_from(NAME).unwrap();
    let started = Instant::now();
    let mut client = Tls::client(of_client, &name).unwrap();
    let mut took = [started.elapsed(), Duration::ZERO];
    let started = Instant::now();
    let mut server = Tls::server(of_server).unwrap();
    took[1] += started.elapsed();
    let (mut cipher, mut plain) = (Vec::new(), Vec::new());
    while client.is_handshaking() || server.is_handshaking() {
        cipher.clear();
        client.take_output(&mut cipher);
        let started = Instant::now();
        server.receive(&cipher, &mut plain).unwrap();
        took[1] += started.elapsed();
        cipher.clear();
        server.take_output(&mut cipher);
        let started = Instant::now();
        client.receive(&cipher, &mut plain).unwrap();
        took[0] += started.elapsed();
    }
    took
}

fn freed_by(tls: Box<Tls>) -> usize {
    let before = HELD.get();
    drop(tls);
    usize::try_from(before - HELD.get()).unwrap()
}

#[test]
fn an_idle_connection_holds_little() {
    for version in VERSIONS {
        let (of_client, of_server) = configs(version);
        let (mut client, mut server) = connected(&of_client, &of_server);
        client.send(&[b'x'; 50_000]).unwrap();
        server.send(&[b'x'; 50_000]).unwrap();
        settle(&mut client, &mut server, 1000);
        let (client, server) = (freed_by(client), freed_by(server));
        println!("{version:?}: client {client} bytes, server {server} bytes, struct {}", size_of::<Tls>());
        assert!(client <= IDLE_BYTES_MAX && server <= IDLE_BYTES_MAX, "{client} and {server} bytes");
    }
}

#[test]
#[ignore = "tells figures of this host"]
fn time_of_a_handshake_and_of_a_line() {
    for version in VERSIONS {
        let (of_client, of_server) = configs(version);
        let (mut of_both, mut longest) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
        for _ in 0..HANDSHAKES {
            let took = handshake(&of_client, &of_server);
            for (at, took) in took.into_iter().enumerate() {
                of_both[at] += took;
                longest[at] = longest[at].max(took);
            }
        }
        let [client, server] = of_both.map(|sum| sum / HANDSHAKES);
        println!(
            "{version:?}: a handshake takes a client {client:?}, a server {server:?}, at most {longest:?}"
        );
        let (mut client, mut server) = connected(&of_client, &of_server);
        let (mut cipher, mut plain) = (Vec::new(), Vec::new());
        let (mut out, mut back) = (0, 0);
        for _ in 0..LINES {
            let started = Instant::now();
            cipher.clear();
            client.send(&LINE).unwrap();
            client.take_output(&mut cipher);
            out += started.elapsed().as_nanos();
            let started = Instant::now();
            plain.clear();
            server.receive(&cipher, &mut plain).unwrap();
            back += started.elapsed().as_nanos();
            assert_eq!(plain, LINE);
        }
        let of = |sum: u128| sum / u128::from(LINES);
        println!("{} ns to encrypt a line, {} ns to decrypt it", of(out), of(back));
    }
}
