//! Miners that speak TLS: where they may, what they are shown, and what becomes of those who speak something else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod farm;
mod support;

use farm::{Farm, Gate, Opening};
use loka_rig::{Authority, Miner, PoolConfig, PoolHandle, ServerIdentity};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use support::{Proxy, until};

const NAME: &str = "proxy.test";
const TLS_FAILED: &str = r#"loka_stratum_connections_ended_total{reason="tls_failed"}"#;
const NOT_STRATUM: &str = r#"loka_stratum_connections_ended_total{reason="not_stratum"}"#;

/// A farm with a pool and this certificate in `miners.pem` and `miners.key`.
fn farm(pool: &PoolHandle, identity: &ServerIdentity, lines: &str) -> Farm {
    let mut farm = Farm::new();
    farm.pool("main", &pool.addr().to_string(), "");
    let (certificate, key) = show(&farm, identity);
    farm.miner_tls(&certificate, &key, lines);
    farm
}

fn show(farm: &Farm, identity: &ServerIdentity) -> (std::path::PathBuf, std::path::PathBuf) {
    (farm.file("miners.pem", &identity.certificate_pem), farm.file("miners.key", &identity.key_pem))
}

fn gate(target: SocketAddr, config: Arc<ClientConfig>) -> Gate {
    Gate::start(target, Opening { tls: Some((config, NAME)), ..Opening::default() })
}

/// Connects, subscribes, authorizes and submits; fails when any of it does.
fn mines(address: SocketAddr) -> std::io::Result<Miner> {
    let mut miner = Miner::connect(address)?;
    let work = miner.handshake("farm.rig")?;
    share(&mut miner, &work, "10", "00000001")?;
    Ok(miner)
}

fn share(miner: &mut Miner, work: &loka_rig::Greeting, id: &str, nonce: &str) -> std::io::Result<()> {
    miner.submit_for(work, "farm.rig", id, nonce)?;
    assert!(miner.answer_to(id)?.contains(r#""result":true"#));
    Ok(())
}

fn ended(proxy: &Proxy, series: &str, count: f64) {
    until(series, || proxy.labelled(series) == count);
}

#[test]
fn at_a_port_of_its_own_tls_is_spoken_and_nothing_else() {
    let (pool, authority) = (PoolHandle::start(PoolConfig::default()).unwrap(), Authority::new().unwrap());
    let farm = farm(&pool, &authority.issue(&[NAME]).unwrap(), "");
    let proxy = farm.start();
    let gate = gate(farm.tls_address, authority.client_config().unwrap());
    let _at_work = mines(gate.address).unwrap();
    let _plain = mines(farm.address).unwrap();
    for (count, bytes) in [
        (1.0, &b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n"[..]),
        (2.0, b"GET / HTTP/1.1\r\nHost: farm\r\n\r\n"),
        (3.0, b"\x16\x03\x01\x00\x05hello"),
        (4.0, &[0; 64]),
    ] {
        let mut stranger = Miner::connect(farm.tls_address).unwrap();
        stranger.send_bytes(bytes).unwrap();
        stranger.read_to_end().unwrap();
        ended(&proxy, TLS_FAILED, count);
    }
    let mut hello = Miner::connect(farm.address).unwrap();
    hello.send_bytes(b"\x16\x03\x01\x00\x05hello").unwrap();
    hello.read_to_end().unwrap();
    ended(&proxy, NOT_STRATUM, 1.0);
    until("the others are at work", || proxy.metric("loka_stratum_active_connections") == 2.0);
    assert_eq!(pool.report().connections_accepted, 2);
}

#[test]
fn at_the_same_port_the_first_bytes_decide_however_they_come() {
    let (pool, authority) = (PoolHandle::start(PoolConfig::default()).unwrap(), Authority::new().unwrap());
    let farm = farm(&pool, &authority.issue(&[NAME]).unwrap(), "same_port = true");
    let proxy = farm.start();
    let config = authority.client_config().unwrap();
    let gates: Vec<Gate> =
        [farm.address, farm.tls_address].map(|address| gate(address, Arc::clone(&config))).into();
    let mut open: Vec<Miner> = gates.iter().map(|gate| mines(gate.address).unwrap()).collect();
    open.push(mines(farm.address).unwrap());
    let mut slow = Miner::connect(farm.address).unwrap();
    for byte in b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"slow\"]}\n" {
        slow.send_bytes(&[*byte]).unwrap();
    }
    assert!(slow.answer_to("1").unwrap().contains("mining.notify"));
    let mut half = Miner::connect(farm.address).unwrap();
    half.send_bytes(b"\x16").unwrap();
    half.send_bytes(b"no TLS after all\n").unwrap();
    half.read_to_end().unwrap();
    ended(&proxy, NOT_STRATUM, 1.0);
    let mut broken = Miner::connect(farm.address).unwrap();
    broken.send_bytes(b"\x16\x03\x03\x00\x04\x01\x00\x00\x00").unwrap();
    broken.read_to_end().unwrap();
    ended(&proxy, TLS_FAILED, 1.0);
    assert_eq!(pool.report().shares_accepted, 3);
    until("the others are at work", || proxy.metric("loka_stratum_active_connections") == 4.0);
}

#[test]
fn a_handshake_that_is_begun_and_not_ended_is_closed_in_time() {
    let (pool, authority) = (PoolHandle::start(PoolConfig::default()).unwrap(), Authority::new().unwrap());
    let mut farm = farm(&pool, &authority.issue(&[NAME]).unwrap(), "same_port = true");
    farm.server("handshake_timeout = \"1s\"");
    let proxy = farm.start();
    for address in [farm.address, farm.tls_address] {
        // A record of 512 bytes of which a part comes.
        for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
            let mut miner = Miner::connect(address).unwrap();
            miner.send_bytes(bytes).unwrap();
            miner.read_to_end().unwrap();
        }
    }
    ended(&proxy, r#"loka_stratum_connections_ended_total{reason="handshake_timeout"}"#, 6.0);
    assert_eq!(pool.report().connections_accepted, 0);
}

#[test]
fn a_version_that_is_too_old_and_a_name_that_is_wrong_are_refused_by_whom_they_concern() {
    let (pool, authority) = (PoolHandle::start(PoolConfig::default()).unwrap(), Authority::new().unwrap());
    let farm = farm(&pool, &authority.issue(&[NAME]).unwrap(), "min_version = \"1.3\"");
    let proxy = farm.start();
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem();
    let root = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let old = gate(farm.tls_address, Arc::new(old));
    assert!(mines(old.address).is_err());
    ended(&proxy, TLS_FAILED, 1.0);
    let tls = Some((authority.client_config().unwrap(), "other.test"));
    let misled = Gate::start(farm.tls_address, Opening { tls, ..Opening::default() });
    assert!(mines(misled.address).is_err());
    ended(&proxy, TLS_FAILED, 2.0);
    let gate = gate(farm.tls_address, authority.client_config().unwrap());
    mines(gate.address).unwrap();
    assert_eq!(pool.report().connections_accepted, 1);
}

#[test]
fn a_renewed_certificate_is_shown_to_new_miners_and_a_broken_one_to_nobody() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let (before, after) = (Authority::new().unwrap(), Authority::new().unwrap());
    let mut farm = farm(&pool, &before.issue(&[NAME]).unwrap(), "");
    // This test asks for the new certificate until it is there, which looks like an attack.
    farm.section("[security]\nenable_ddos_protection = false");
    let _proxy = farm.start();
    let old = gate(farm.tls_address, before.client_config().unwrap());
    let new = gate(farm.tls_address, after.client_config().unwrap());
    let mut open = Miner::connect(old.address).unwrap();
    let work = open.handshake("farm.rig").unwrap();
    assert!(mines(new.address).is_err());

    farm.file("miners.key", "-----BEGIN PRIVATE KEY-----\nMAA=\n");
    farm.wait_for_log(&["WARN", "miners are still shown the last good certificate", "miners.key"]);
    mines(old.address).unwrap();

    show(&farm, &after.issue(&[NAME]).unwrap());
    farm.wait_for_log(&["INFO", "miners are shown the new certificate"]);
    // The shards are told on their next tick.
    until("the new certificate is shown", || mines(new.address).is_ok());
    until("the old one is not", || mines(old.address).is_err());
    share(&mut open, &work, "11", "00000002").unwrap();

    let stray = after.issue(&[NAME]).unwrap();
    farm.file("miners.pem", &stray.certificate_pem);
    farm.wait_for_log(&["WARN", "miners are still shown the last good certificate", "do not fit"]);
    mines(new.address).unwrap();
    share(&mut open, &work, "12", "00000003").unwrap();
}
