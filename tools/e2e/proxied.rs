//! What stands in front: load balancers that tell miners' addresses by the PROXY protocol, and SOCKS5 proxies on the way to
//! pools.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod farm;
mod support;

use farm::{Farm, Gate, Opening, health, wait_for_state};
use loka_rig::{
    Authority, Fault, Miner, PoolConfig, PoolHandle, Relay, RelayConfig, Socks5Config, Socks5Destination,
    Socks5Manners, Socks5Stub,
};
use std::net::{Ipv4Addr, SocketAddr};
use support::{PATIENCE, Proxy, until};

const SUBSCRIBE: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"rig\"]}\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 3333\r\n";
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// Version 2, with a source over IPv6 and an extension that nobody knows.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x2a".to_vec();
    header.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    header.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend_from_slice(&[0x0f, 0xa0, 0x0d, 0x05, 0xee, 0, 3, 1, 2, 3]);
    header
}

/// Version 2 of a balancer that speaks for itself.
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

fn pool(prefix: &str) -> PoolHandle {
    PoolHandle::start(PoolConfig { job_id_prefix: prefix.to_owned(), ..PoolConfig::default() }).unwrap()
}

fn ended(proxy: &Proxy, reason: &str, count: f64) {
    let series = format!("loka_stratum_connections_ended_total{{reason=\"{reason}\"}}");
    until(&series, || proxy.labelled(&series) == count);
}

fn subscribed(miner: &mut Miner) {
    assert!(miner.answer_to("1").unwrap().contains("mining.notify"));
}

/// A farm behind a balancer at 127.0.0.1 and nowhere else.
fn balanced(pool: &PoolHandle) -> Farm {
    let mut farm = Farm::new();
    farm.server("proxy_protocol_from = [\"127.0.0.1/32\"]\nhandshake_timeout = \"1s\"");
    farm.pool("main", &pool.addr().to_string(), "");
    farm
}

#[test]
fn headers_are_taken_however_they_come() {
    let pool = pool("");
    let mut farm = balanced(&pool);
    farm.section("[failover]\nhandshake_timeout = \"30s\"");
    let proxy = farm.start();
    let headers = [V1, V1_UNKNOWN, &v2(), V2_LOCAL];
    for header in headers {
        let all = [header, SUBSCRIBE].concat();
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.send_bytes(&all).unwrap();
        subscribed(&mut miner);
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.send_bytes(header).unwrap();
        miner.send_bytes(SUBSCRIBE).unwrap();
        subscribed(&mut miner);
        for cut in [1, 5, 12, 13, 15, header.len() - 1, header.len() + 1] {
            let (before, after) = all.split_at(cut);
            let mut miner = Miner::connect(proxy.address).unwrap();
            miner.send_bytes(before).unwrap();
            miner.send_bytes(after).unwrap();
            subscribed(&mut miner);
        }
    }
    let mut miner = Miner::connect(proxy.address).unwrap();
    for byte in [&v2()[..], SUBSCRIBE].concat() {
        miner.send_bytes(&[byte]).unwrap();
    }
    subscribed(&mut miner);
    assert_eq!(pool.report().subscribes, 4 * 9 + 1);
    for reason in ["bad_proxy_header", "not_stratum", "tls_failed"] {
        ended(&proxy, reason, 0.0);
    }
}

#[test]
fn behind_a_header_tls_begins_at_both_ports_and_torn_too() {
    let (pool, authority) = (pool(""), Authority::new().unwrap());
    let mut farm = balanced(&pool);
    let identity = authority.issue(&["proxy.test"]).unwrap();
    let (certificate, key) =
        (farm.file("miners.pem", &identity.certificate_pem), farm.file("miners.key", &identity.key_pem));
    farm.miner_tls(&certificate, &key, "same_port = true");
    let proxy = farm.start();
    let tls = Some((authority.client_config().unwrap(), "proxy.test"));
    for target in [farm.address, farm.tls_address] {
        for header in [V1, &v2()] {
            for split in [None, Some(1), Some(7)] {
                let torn = Relay::start(RelayConfig::to(target)).unwrap();
                torn.set(split.map_or(Fault::None, |bytes| Fault::Split { bytes }));
                let opening = Opening { before: header.to_vec(), tls: tls.clone() };
                let gate = Gate::start(torn.addr(), opening);
                Miner::connect(gate.address).unwrap().handshake("farm.rig").unwrap();
            }
        }
    }
    let mut plain = Miner::connect(farm.address).unwrap();
    plain.send_bytes(&[V1, SUBSCRIBE].concat()).unwrap();
    subscribed(&mut plain);
    let mut bare = Miner::connect(farm.tls_address).unwrap();
    bare.send_bytes(&[V1, SUBSCRIBE].concat()).unwrap();
    bare.read_to_end().unwrap();
    ended(&proxy, "tls_failed", 1.0);
    let gate = Gate::start(farm.tls_address, Opening { tls, ..Opening::default() });
    assert!(Miner::connect(gate.address).unwrap().handshake("farm.rig").is_err());
    ended(&proxy, "bad_proxy_header", 1.0);
}

#[test]
fn who_must_tell_and_does_not_is_closed_and_who_may_not_is_not_believed() {
    let pool = pool("");
    let farm = balanced(&pool);
    let proxy = farm.start();
    for (count, bytes) in [
        (1.0, SUBSCRIBE),
        (2.0, b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 99999\r\n"),
        (3.0, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"),
        (4.0, b"\x16\x03\x01\x02\x00"),
    ] {
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.send_bytes(bytes).unwrap();
        miner.read_to_end().unwrap();
        ended(&proxy, "bad_proxy_header", count);
    }
    let elsewhere: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), 0).into();
    for (count, header) in [(1.0, V1), (2.0, &v2())] {
        let mut miner = Miner::connect_from(elsewhere, proxy.address).unwrap();
        miner.send_bytes(&[header, SUBSCRIBE].concat()).unwrap();
        miner.read_to_end().unwrap();
        ended(&proxy, "not_stratum", count);
    }
    Miner::connect_from(elsewhere, proxy.address).unwrap().handshake("farm.rig").unwrap();
    for half in [&V1[..20], &v2()[..14], &v2()[..40], V1] {
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.send_bytes(half).unwrap();
        miner.read_to_end().unwrap();
    }
    ended(&proxy, "handshake_timeout", 4.0);
    assert_eq!(pool.report().connections_accepted, 1);
}

/// A pool that is known to the stub and to nobody else.
const HIDDEN: &str = "pool.invalid";

fn stub(login: Option<(&str, &str)>, manners: Socks5Manners) -> Socks5Stub {
    let names = [(HIDDEN.to_owned(), Ipv4Addr::LOCALHOST.into())].into();
    let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
    Socks5Stub::start(Socks5Config { login, names, manners, ..Socks5Config::default() }).unwrap()
}

#[test]
fn a_pool_is_reached_by_its_name_through_a_proxy_with_and_without_login_and_tls() {
    let (plain, tls, authority) = (pool("plain-"), pool("tls-"), Authority::new().unwrap());
    let mut farm = Farm::new();
    let ca = farm.file("ca.pem", &authority.pem());
    let identity = authority.issue(&[HIDDEN]).unwrap();
    let relay = Relay::start(RelayConfig {
        tls: Some(identity.server_config().unwrap()),
        ..RelayConfig::to(tls.addr())
    })
    .unwrap();
    let (open, guarded) =
        (stub(None, Socks5Manners::Serve), stub(Some(("farm", "s3cret")), Socks5Manners::Serve));
    let through =
        |stub: &Socks5Stub, login: &str| format!("priority = 1\nproxy = \"socks5://{login}{}\"", stub.addr());
    farm.pool("plain", &format!("{HIDDEN}:{}", plain.addr().port()), &through(&open, ""));
    farm.pool(
        "tls",
        &format!("stratum+ssl://{HIDDEN}:{}", relay.addr().port()),
        &format!("{}\ntls_ca_file = {ca:?}", through(&guarded, "farm:s3cret@")),
    );
    assert!(farm.doctor().iter().all(|told| told["good"] == true));
    let proxy = farm.start();
    let jobs: Vec<String> = (0..4)
        .map(|_| Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap().job_id)
        .collect();
    for prefix in ["plain-", "tls-"] {
        assert_eq!(jobs.iter().filter(|job| job.starts_with(prefix)).count(), 2, "{jobs:?}");
    }
    let wanted = Socks5Destination::Name(HIDDEN.to_owned(), relay.addr().port());
    let report = guarded.report();
    assert!(report.requests.iter().all(|asked| asked.destination == wanted), "{report:?}");
    assert!(report.requests.iter().all(|asked| asked.user.as_deref() == Some("farm")), "{report:?}");
    assert_eq!((report.logins_refused, report.malformed, open.report().malformed), (0, 0, 0));
    assert_eq!(proxy.metric("loka_stratum_pool_dial_failures_total"), 0.0);
    assert!(!farm.log().contains("s3cret"));
}

#[test]
fn a_proxy_that_refuses_or_stalls_costs_a_pool_its_turn_and_is_named() {
    let (hidden, second) = (pool("hidden-"), pool("second-"));
    let mut farm = Farm::new();
    let stubs = [
        ("refused", stub(None, Socks5Manners::Refuse(5)), "port refused its connection"),
        ("greeting", stub(None, Socks5Manners::StallAfterGreeting), "does not answer in time"),
        ("request", stub(None, Socks5Manners::StallAfterRequest), "does not answer in time"),
        ("method", stub(None, Socks5Manners::NoMethod), "neither a user name"),
        ("login", stub(Some(("farm", "right")), Socks5Manners::Serve), "refuses the user name"),
    ];
    for (name, stub, _) in &stubs {
        farm.pool(
            name,
            &format!("{HIDDEN}:{}", hidden.addr().port()),
            &format!("username = \"{name}\"\nproxy = \"socks5://farm:wrong@{}\"", stub.addr()),
        );
    }
    farm.pool("second", &second.addr().to_string(), "");
    farm.performance("connection_timeout = \"1s\"");
    let proxy = farm.start();
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    assert!(miner.handshake("farm.rig").unwrap().job_id.starts_with("second-"));
    for (name, _, words) in &stubs {
        let cause = wait_for_state(&proxy, name, "failed");
        assert!(cause.contains("SOCKS"), "{cause}");
        until(words, || health(&proxy, name)["cause"].as_str().unwrap().contains(words));
    }
    assert_eq!(hidden.report().connections_accepted, 0);
    assert!(!farm.log().contains("wrong@"));
}

/// With one pool no handshake of our own comes before the miners'.
#[test]
fn a_shard_that_is_refused_by_a_proxy_counts_it_and_says_why() {
    for (manners, words) in
        [(Socks5Manners::Refuse(2), "not allowed by its rules"), (Socks5Manners::StallAfterRequest, "")]
    {
        let hidden = pool("");
        let stub = stub(None, manners);
        let mut farm = Farm::new();
        farm.pool(
            "main",
            &format!("{HIDDEN}:{}", hidden.addr().port()),
            &format!("proxy = \"socks5://{}\"", stub.addr()),
        );
        farm.section("[failover]\nhold_miners = \"0s\"");
        let proxy = farm.performance("connection_timeout = \"500ms\"").start();
        let mut miner = Miner::connect(proxy.address).unwrap();
        miner.send_bytes(SUBSCRIBE).unwrap();
        miner.read_to_end().unwrap();
        ended(&proxy, "pool_proxy_failed", 1.0);
        let lost = r#"loka_stratum_pool_connections_lost_total{pool="main",reason="proxy_failed"}"#;
        assert_eq!(proxy.labelled(lost), 1.0);
        if !words.is_empty() {
            farm.wait_for_log(&["WARN", "the proxy on the way to a pool", HIDDEN, words]);
        }
    }
}
