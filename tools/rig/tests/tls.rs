//! The relay's TLS front, and the certificates it shows.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{PATIENCE, wait_for};
use loka_rig::{
    Authority, Fault, PoolConfig, PoolHandle, Relay, RelayConfig, RelayHandle, ServerIdentity, TlsVersions,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, StreamOwned};

/// How long a test watches that something does not come.
const WATCH: Duration = Duration::from_millis(100);
const SUBSCRIBE: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";

type Client = StreamOwned<ClientConnection, TcpStream>;

fn front(pool: &PoolHandle, tls: Arc<ServerConfig>, fault: Fault) -> RelayHandle {
    Relay::start(RelayConfig { tls: Some(tls), fault, ..RelayConfig::to(pool.addr()) }).unwrap()
}

fn connect(relay: &RelayHandle, config: &Arc<ClientConfig>, name: &'static str) -> Client {
    let stream = TcpStream::connect_timeout(&relay.addr(), PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// Subscribes to the pool behind the relay.
fn subscribe(client: &mut Client) -> std::io::Result<()> {
    client.write_all(SUBSCRIBE)?;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    assert!(line.starts_with(b"{\"id\":1,\"result\":[["), "{}", String::from_utf8_lossy(&line));
    Ok(())
}

#[test]
fn tls_is_ended_at_the_relay_and_the_pool_sees_plain_text() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let authority = Authority::new().unwrap();
    let identity = authority.issue(&["pool.test", "127.0.0.1"]).unwrap();
    let client = authority.client_config().unwrap();
    for (versions, spoken) in [
        (TlsVersions::Both, ProtocolVersion::TLSv1_3),
        (TlsVersions::Only12, ProtocolVersion::TLSv1_2),
        (TlsVersions::Only13, ProtocolVersion::TLSv1_3),
    ] {
        let relay = front(&pool, identity.server_config_for(versions).unwrap(), Fault::None);
        for name in ["pool.test", "127.0.0.1"] {
            let mut miner = connect(&relay, &client, name);
            subscribe(&mut miner).unwrap();
            assert_eq!(miner.conn.protocol_version(), Some(spoken));
            miner.conn.send_close_notify();
            miner.flush().unwrap();
            let mut rest = Vec::new();
            miner.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "the pool's end comes as an end of TLS");
        }
        wait_for(|| relay.report(), |report| report.active == 0);
        let report = relay.stop();
        assert_eq!((report.tls_handshakes, report.tls_failed, report.bytes_lost), (2, 0, 0));
        assert_eq!(report.bytes_up, 2 * SUBSCRIBE.len() as u64);
    }
    let pool = pool.stop();
    assert_eq!((pool.subscribes, pool.malformed_lines), (6, 0));
}

#[test]
fn certificates_are_as_bad_as_asked_for() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let client = authority.client_config().unwrap();
    let cases = [
        ("Expired", authority.issue_expired(&["pool.test"]).unwrap()),
        ("NotValidForName", authority.issue(&["elsewhere.test"]).unwrap()),
        ("UnknownIssuer", ServerIdentity::self_signed(&["pool.test"]).unwrap()),
        ("", other.issue(&["pool.test"]).unwrap()),
    ];
    for (reason, identity) in cases {
        let relay = front(&pool, identity.server_config().unwrap(), Fault::None);
        let error = subscribe(&mut connect(&relay, &client, "pool.test")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(format!("{error:?}").contains(reason), "{reason}: {error:?}");
        wait_for(|| relay.report(), |report| report.tls_failed == 1 && report.active == 0);
        assert_eq!(relay.stop().bytes_up, 0);
    }
    assert_eq!(pool.stop().subscribes, 0);
}

#[test]
fn a_pin_is_the_hash_of_the_public_key_info() {
    let identity = ServerIdentity::self_signed(&["pool.test"]).unwrap();
    let other = ServerIdentity::self_signed(&["pool.test"]).unwrap();
    assert_ne!(identity.spki_sha256, other.spki_sha256);
    assert_eq!(identity.spki_sha256_hex().len(), 64);
    // The key as the certificate holds it: the info stands in it byte for byte, and is found by its hash.
    let key = rcgen::KeyPair::from_pem(&identity.key_pem).unwrap();
    let info = rcgen::PublicKeyData::subject_public_key_info(&key);
    let hash = ring::digest::digest(&ring::digest::SHA256, &info);
    assert_eq!(hash.as_ref(), identity.spki_sha256);
    use rustls::pki_types::pem::PemObject;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    assert!(der.windows(info.len()).any(|window| window == info));
    assert!(Authority::new().unwrap().issue(&["pö.test"]).is_err(), "no name that is no ASCII");
}

#[test]
fn a_handshake_can_stall_and_go_on() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let authority = Authority::new().unwrap();
    let tls = authority.issue(&["pool.test"]).unwrap().server_config().unwrap();
    let client = authority.client_config().unwrap();
    let relay = front(&pool, tls, Fault::None);
    let mut open = connect(&relay, &client, "pool.test");
    subscribe(&mut open).unwrap();
    relay.set(Fault::StallHandshake);
    let mut stalled = connect(&relay, &client, "pool.test");
    stalled.sock.set_read_timeout(Some(WATCH)).unwrap();
    let error = stalled.conn.complete_io(&mut stalled.sock).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert!(stalled.conn.is_handshaking());
    subscribe(&mut open).unwrap();
    let report = relay.report();
    assert_eq!((report.connections, report.active, report.tls_handshakes), (2, 2, 1));
    assert_eq!(pool.report().connections_accepted, 1, "the pool never heard of it");
    relay.set(Fault::None);
    stalled.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    subscribe(&mut stalled).unwrap();
    assert_eq!(relay.stop().tls_handshakes, 2);
}

#[test]
fn without_tls_a_stall_is_silence_for_newcomers() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let relay = Relay::start(RelayConfig::to(pool.addr())).unwrap();
    let mut open = loka_rig::Miner::connect(relay.addr()).unwrap();
    open.request("1", "mining.subscribe", "[]").unwrap();
    relay.set(Fault::StallHandshake);
    let mut new = loka_rig::Miner::connect(relay.addr()).unwrap();
    new.set_read_timeout(WATCH).unwrap();
    assert!(new.request("1", "mining.subscribe", "[]").is_err());
    open.request("2", "mining.ping", "[]").unwrap();
    assert_eq!(pool.report().connections_accepted, 1);
    assert_eq!(relay.stop().connections, 2);
}

#[test]
fn faults_work_on_encrypted_bytes_too() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let authority = Authority::new().unwrap();
    let tls = authority.issue(&["pool.test"]).unwrap().server_config().unwrap();
    let client = authority.client_config().unwrap();
    let relay = front(&pool, tls, Fault::Split { bytes: 5 });
    let mut torn = connect(&relay, &client, "pool.test");
    subscribe(&mut torn).unwrap();
    relay.set(Fault::Delay(Duration::from_millis(20)));
    let start = Instant::now();
    subscribe(&mut torn).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
    relay.set(Fault::HalfClose);
    assert_eq!(torn.read(&mut [0]).unwrap(), 0, "an end that TLS was told of");
    relay.set(Fault::None);
    let mut black = connect(&relay, &client, "pool.test");
    subscribe(&mut black).unwrap();
    relay.set(Fault::BlackHole);
    black.write_all(SUBSCRIBE).unwrap();
    wait_for(|| relay.report(), |report| report.bytes_lost > SUBSCRIBE.len() as u64);
    relay.reset_all();
    let error = black.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(pool.stop().subscribes, 3);
}

#[test]
fn a_client_without_tls_and_a_target_that_is_down() {
    let authority = Authority::new().unwrap();
    let tls = authority.issue(&["pool.test"]).unwrap().server_config().unwrap();
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let relay = Relay::start(RelayConfig { tls: Some(tls), ..RelayConfig::to(nobody) }).unwrap();
    let mut plain = loka_rig::Miner::connect(relay.addr()).unwrap();
    plain.send_bytes(SUBSCRIBE).unwrap();
    wait_for(|| relay.report(), |report| report.tls_failed == 1 && report.active == 0);
    let mut client = connect(&relay, &authority.client_config().unwrap(), "pool.test");
    client.conn.complete_io(&mut client.sock).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let report = relay.report();
    assert_eq!((report.tls_handshakes, report.target_failed), (1, 1));
}
