//! The API of the real binary, by hand and by the commands that speak to it: addresses blocked, let in and kicked while
//! miners work, who is refused, and feeds that tell what `/metrics` tells.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod feeds;
mod support;

use feeds::{next_event, next_frame, until_end};
use loka_rig::{Miner, PoolConfig, PoolHandle};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Output;
use support::{PATIENCE, Proxy, finish, free_port, program, until};

const TOKEN: &str = "a token of 24 characters";
const BEARER: &str = "Authorization: Bearer token-of-24-characters-x\r\n";
const GOOD: &str = "token-of-24-characters-x";

/// The loopback network has many addresses; a miner may come from any of them.
fn from(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 8, host)), 0)
}

fn work(proxy: &Proxy, host: u8) -> Option<Miner> {
    let mut miner = Miner::connect_from(from(host), proxy.address).ok()?;
    miner.set_read_timeout(PATIENCE).ok()?;
    miner.handshake("farm.rig").ok()?;
    Some(miner)
}

struct Site {
    pool: PoolHandle,
    proxy: Proxy,
}

fn site() -> Site {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let token = format!("api.token={GOOD}");
    let proxy = Proxy::start(pool.addr(), &["--shards", "2", "--set", &token]);
    Site { pool, proxy }
}

/// Status and body of an answer to a whole request.
fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have answered and closed before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), body.to_owned())
}

impl Site {
    fn get(&self, path: &str) -> Value {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (status, body) = ask(self.proxy.metrics, &request);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn post(&self, action: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        ask(
            self.proxy.metrics,
            &format!(
                "POST /api/v1/{action} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            ),
        )
    }

    /// A command that speaks to this proxy.
    fn command(&self, arguments: &[&str], token: &str) -> Output {
        let port = format!("metrics.prometheus_port={}", self.proxy.metrics.port());
        let mut command = program();
        command.args(arguments).args(["--pool", "127.0.0.1:1", "--set", &port]);
        finish(command.env("LOKA_API_TOKEN", token))
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments, GOOD);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ended(&self, reason: &str) -> f64 {
        self.proxy.labelled(&format!(r#"loka_stratum_connections_ended_total{{reason="{reason}"}}"#))
    }
}

#[test]
fn an_address_at_work_is_blocked_listed_and_let_in_again() {
    let site = site();
    let mut honest = work(&site.proxy, 1).unwrap();
    let mut bad: Vec<Miner> = (0..6).map(|_| work(&site.proxy, 2).unwrap()).collect();
    until("shards have told of it", || site.get("/api/v1/status")["connections"] == 7);
    let (status, body) = site.post("block", BEARER, r#"{"address":"127.0.8.2","seconds":600}"#);
    assert_eq!(status, 200, "{body}");
    for miner in &mut bad {
        miner.read_to_end().unwrap();
    }
    until("its connections are counted", || site.ended("kicked") == 6.0);
    until("every shard keeps it out", || (0..8).all(|_| work(&site.proxy, 2).is_none()));
    assert!(honest.request("7", "mining.suggest_difficulty", "[1]").is_ok(), "others work on");
    let page = site.get("/api/v1/blocks");
    assert_eq!((&page["total"], &page["items"][0]["address"]), (&1.into(), &"127.0.8.2".into()));
    assert!((500..=600).contains(&page["items"][0]["seconds_left"].as_u64().unwrap()));
    assert!(site.said(&["blocks"]).starts_with("127.0.8.2 "));
    assert_eq!(site.proxy.metric("loka_stratum_blocked_addresses"), 1.0);
    assert_eq!(site.said(&["unblock", "127.0.8.2"]), "127.0.8.2 is let in again\n");
    until("it is let in again", || work(&site.proxy, 2).is_some());
    let events = site.get("/api/v1/events");
    let texts: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["127.0.8.2 is let in again", "127.0.8.2 is kept out for 600 s (offence 1)"]);
    assert_eq!(site.post("unblock", BEARER, r#"{"address":"127.0.8.2"}"#).0, 404);
    assert!(site.pool.report().connections_accepted >= 8);
}

#[test]
fn a_kick_ends_what_is_there_and_keeps_nobody_out() {
    let site = site();
    let mut miners: Vec<Miner> = (0..20).map(|_| work(&site.proxy, 3).unwrap()).collect();
    let mut other = work(&site.proxy, 4).unwrap();
    until("shards have told of it", || site.get("/api/v1/status")["connections"] == 21);
    let told: Value = serde_json::from_str(&site.said(&["kick", "127.0.8.3", "--json"])).unwrap();
    assert_eq!(told["connections"], 20);
    for miner in &mut miners {
        miner.read_to_end().unwrap();
    }
    assert!(work(&site.proxy, 3).is_some(), "it may come again at once");
    assert!(other.request("7", "mining.suggest_difficulty", "[1]").is_ok());
    until("all are counted", || site.ended("kicked") == 20.0);
}

#[test]
fn who_may_not_changes_nothing_and_is_counted() {
    let site = site();
    let kick = r#"{"address":"127.0.8.1"}"#;
    assert_eq!(site.post("kick", "", kick).0, 401);
    assert_eq!(site.post("kick", "Authorization: Bearer no\r\n", kick).0, 401);
    let foreign = format!("{BEARER}Origin: http://evil.example\r\n");
    assert_eq!(site.post("kick", &foreign, kick).0, 403);
    let metrics = site.proxy.metrics;
    let rebound = "GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(metrics, rebound).0, 403);
    let get = "GET /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(metrics, get).0, 405);
    assert_eq!(site.post("kick", BEARER, "{").0, 400);
    assert_eq!(site.post("kick", BEARER, r#"{"address":"nobody"}"#).0, 400);
    assert_eq!(site.post("kick", BEARER, &" ".repeat(20_000)).0, 413);
    let long =
        format!("GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!([431, 0].contains(&ask(metrics, &long).0), "a head of 1 MB is not taken");
    for (reason, count) in [("no_token", 1.0), ("wrong_token", 1.0), ("origin", 1.0), ("host", 1.0)] {
        let series = format!(r#"loka_stratum_api_requests_refused_total{{reason="{reason}"}}"#);
        until("it is counted", || site.proxy.labelled(&series) == count);
    }
    assert_eq!(site.get("/api/v1/status")["status"], "healthy");
    let config = site.get("/api/v1/config").to_string();
    assert!(config.contains(r#""key":"api.token""#) && !config.contains(GOOD), "{config}");
}

#[test]
fn commands_tell_what_is_wrong() {
    let site = site();
    let fails = |arguments: &[&str], token: &str, told: &str| {
        let output = site.command(arguments, token);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), complaint.contains(told)), (Some(1), true), "{complaint}");
    };
    fails(&["kick", "127.0.8.1"], "", "no token: set api.token");
    fails(&["kick", "127.0.8.1"], "another-token-of-24-chars", "the token is not api.token (401)");
    fails(&["unblock", "127.0.8.1"], GOOD, "this address is not blocked (404)");
    assert_eq!(site.command(&["kick", "nobody"], GOOD).status.code(), Some(2));
    assert_eq!(site.command(&["block", "127.0.8.1", "--for", "soon"], GOOD).status.code(), Some(2));
    // A token with spaces is no token.
    assert_eq!(site.command(&["drain"], TOKEN).status.code(), Some(78));
    let nobody = format!("metrics.prometheus_port={}", free_port());
    let output = finish(program().args(["blocks", "--pool", "127.0.0.1:1", "--set", &nobody]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no proxy answers at http://127.0.0.1:"));
}

#[test]
fn the_level_of_the_log_is_changed_and_a_drain_ends_the_proxy() {
    let site = site();
    assert_eq!(site.get("/api/v1/status")["log_level"], "warn");
    assert_eq!(site.said(&["log-level", "error"]), "the level of the log is error\n");
    assert_eq!(site.get("/api/v1/status")["log_level"], "error");
    assert_eq!(site.said(&["drain"]), "the proxy drains\n");
    assert!(site.proxy.wait().success());
}

#[test]
fn feeds_tell_the_numbers_of_metrics() {
    let site = site();
    let _miners: Vec<Miner> = (0..5).map(|_| work(&site.proxy, 1).unwrap()).collect();
    until("all are told of", || site.proxy.metric("loka_stratum_active_connections") == 5.0);
    let (mut events, mut frames) = (feeds::events(site.proxy.metrics), feeds::frames(site.proxy.metrics));
    for _ in 0..2 {
        let (event, frame) = (next_event(&mut events), next_frame(&mut frames));
        for told in [&event, &frame] {
            assert_eq!(told["connections"]["active"], 5);
            let total = site.proxy.metric("loka_stratum_connections_total");
            assert_eq!(told["connections"]["total"].as_f64(), Some(total));
            let authorized = site.proxy.metric("loka_stratum_authorizations_total");
            assert_eq!(told["authorizations"]["accepted"].as_f64(), Some(authorized));
            assert_eq!(
                (&told["pools"][0]["connections"], &told["shards"][1]["shard"]),
                (&5.into(), &1.into())
            );
        }
    }
    site.proxy.terminate();
    until_end(&mut events);
    until_end(&mut frames);
}
