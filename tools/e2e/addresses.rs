//! Addresses that are kept out, by lists, by limits, and for what they do, through the real binary over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Miner, PoolConfig, PoolHandle};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use support::{Proxy, until};

/// The loopback network has many addresses; a miner may come from any of them.
fn from(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 7, host)), 0)
}

fn pool() -> PoolHandle {
    PoolHandle::start(PoolConfig::default()).unwrap()
}

/// Whether a miner from there gets work. One that is turned away sees its connection end before anything is said.
fn is_let_in(proxy: &Proxy, host: u8) -> Option<Miner> {
    let mut miner = Miner::connect_from(from(host), proxy.address).ok()?;
    match miner.handshake("farm.rig") {
        Ok(_) => Some(miner),
        Err(error) => {
            let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(ended.contains(&error.kind()), "{error}");
            None
        }
    }
}

fn ended(proxy: &Proxy, reason: &str) -> f64 {
    proxy.labelled(&format!(r#"loka_stratum_connections_ended_total{{reason="{reason}"}}"#))
}

#[test]
fn lists_keep_addresses_out() {
    let pool = pool();
    let lists = ["--set", "security.allow=127.0.7.0/28", "--set", "security.deny=127.0.7.5"];
    let proxy = Proxy::start(pool.addr(), &lists);
    assert!(is_let_in(&proxy, 4).is_some());
    assert!(is_let_in(&proxy, 5).is_none(), "denied although it is in an allowed network");
    assert!(is_let_in(&proxy, 16).is_none(), "not in any allowed network");
    until("both are counted", || ended(&proxy, "denied") == 2.0);
    assert_eq!(pool.report().connections_accepted, 1, "the pool never heard of them");
}

#[test]
fn connections_of_an_address_are_limited_over_all_shards() {
    let pool = pool();
    let limit = ["--shards", "2", "--set", "security.max_connections_per_ip=4"];
    let proxy = Proxy::start(pool.addr(), &limit);
    let mut miners: Vec<Miner> = Vec::new();
    // Until shards have told each other one more than its part may get in on each; then the newest leave.
    until("the limit is reached", || match is_let_in(&proxy, 1) {
        Some(miner) => {
            miners.push(miner);
            false
        }
        None => miners.len() >= 4,
    });
    miners.truncate(4);
    until("shards know of the four", || proxy.metric("loka_stratum_active_connections") == 4.0);
    until("all know", || (0..8).all(|_| is_let_in(&proxy, 1).is_none()));
    assert!(is_let_in(&proxy, 2).is_some(), "others are not concerned");
    until("they are counted", || ended(&proxy, "address_limit") >= 8.0);
    drop(miners.pop());
    until("there is room again", || is_let_in(&proxy, 1).is_some());
}

#[test]
fn a_scanner_is_kept_out_by_all_shards_and_a_miner_beside_it_works_on() {
    let pool = pool();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let mut honest = is_let_in(&proxy, 1).unwrap();
    until("it is known for what it does", || {
        if let Ok(mut scanner) = Miner::connect_from(from(9), proxy.address) {
            let _ = scanner.send_line("GET / HTTP/1.1");
            let _ = scanner.read_to_end();
        }
        proxy.metric("loka_stratum_blocked_addresses") == 1.0
    });
    until("every shard keeps it out", || (0..8).all(|_| is_let_in(&proxy, 9).is_none()));
    until("they are counted", || ended(&proxy, "blocked") >= 8.0);
    let violations = r#"loka_stratum_security_violations_total{kind="not_stratum"}"#;
    assert!(proxy.labelled(violations) >= 10.0);
    assert!(honest.request("7", "mining.suggest_difficulty", "[1]").is_ok());
    assert!(is_let_in(&proxy, 2).is_some(), "others are not concerned");
}

#[test]
fn a_farm_whose_pool_is_away_is_not_taken_for_an_attack() {
    let pool = pool();
    let address = pool.addr();
    pool.kill_listener();
    let proxy = Proxy::start(address, &["--shards", "1"]);
    for _ in 0..300 {
        let mut miner = Miner::connect_from(from(3), proxy.address).unwrap();
        miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":[]}"#).unwrap();
        miner.reset();
    }
    until("all have left", || proxy.metric("loka_stratum_active_connections") == 0.0);
    assert_eq!(proxy.metric("loka_stratum_addresses_blocked_total"), 0.0);
    pool.listen_again().unwrap();
    until("the next gets its work", || is_let_in(&proxy, 3).is_some());
}

#[test]
fn violations_are_logged_with_evidence_and_without_secrets() {
    let pool = pool();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = format!("logging.log_file={}", log.display());
    let settings = ["--log-level", "info", "--shards", "1", "--set", "logging.format=json", "--set", &file];
    let settings = [&settings[..], &["--set", "logging.enable_file_logging=true"]].concat();
    let proxy = Proxy::start(pool.addr(), &settings);
    let say = |host: u8, said: &[u8]| {
        let mut scanner = Miner::connect_from(from(host), proxy.address).unwrap();
        scanner.send_bytes(said).unwrap();
        let _ = scanner.read_to_end();
    };
    say(20, b"\x16\x03\x01\x1b[31m\"\r\n");
    say(21, b"GET /?password=hunter2 HTTP/1.1\r\n\r\n");
    let mut miner = is_let_in(&proxy, 22).unwrap();
    miner.send_line(r#"{"id":5,"method":"mining.authorize","params":["a\u001bb","hunter2"]}"#).unwrap();
    miner.answer_to("5").unwrap();
    let records = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        all.filter(|record| record["target"] == "loka_stratum::violations").collect::<Vec<_>>()
    };
    until("all are written", || records().len() >= 3);
    let shown: Vec<_> = records()
        .iter()
        .map(|record| {
            let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            (field("address"), field("kind"), field("evidence"), field("response"))
        })
        .collect();
    let expected = [
        ("127.0.7.20", "not_stratum", r#"\x16\x03\x01\x1b[31m\"..."#, "disconnected"),
        ("127.0.7.21", "not_stratum", "(not shown: it may hold a secret)", "disconnected"),
        ("127.0.7.22", "bad_user", "malformed=1 bad_shares=0 too_fast=0 bytes_held=0", "refused"),
    ];
    for (shown, (address, kind, evidence, response)) in shown.iter().zip(expected) {
        assert_eq!(*shown, (address.into(), kind.into(), evidence.into(), response.into()));
    }
    assert!(!std::fs::read_to_string(&log).unwrap().contains("hunter2"));
}

#[test]
fn with_too_little_memory_nobody_is_let_in_and_it_is_told() {
    let pool = pool();
    let proxy = Proxy::start(pool.addr(), &["--shards", "1", "--set", "security.max_memory_mib=1"]);
    until("it is noticed", || proxy.metric("loka_stratum_memory_load") == 2.0);
    until("shards are told", || is_let_in(&proxy, 1).is_none());
    until("it is counted", || ended(&proxy, "overloaded") > 0.0);
    assert_eq!(proxy.metric("loka_stratum_memory_limit_bytes"), f64::from(1 << 20));
    assert_eq!(proxy.metric("loka_stratum_blocked_addresses"), 0.0, "it is nobody's fault");
}

#[test]
fn protection_can_be_switched_off() {
    let pool = pool();
    let off = ["--shards", "1", "--set", "security.enable_ddos_protection=false"];
    let proxy = Proxy::start(pool.addr(), &off);
    for _ in 0..30 {
        let mut scanner = Miner::connect_from(from(9), proxy.address).unwrap();
        scanner.send_line("GET / HTTP/1.1").unwrap();
        scanner.read_to_end().unwrap();
    }
    until("all are counted", || ended(&proxy, "not_stratum") == 30.0);
    assert!(is_let_in(&proxy, 9).is_some());
}
