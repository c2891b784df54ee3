//! Alerts of the real binary: a pool that dies and comes back, a worker that stops, a receiver that hangs, and the command
//! that tries the way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Authority, HookManners, HookReceiver, HookRequest, Miner, PoolConfig, PoolHandle};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Output;
use support::{PATIENCE, Proxy, finish, movable, program, until};

const SECRET: &str = "hunter2-hunter2-hunter2";

/// Everything is told at once: how long things have to last is tried elsewhere, with a clock of the test's own.
const QUICK: [&str; 4] =
    ["alerts.fire_after=0s", "alerts.resolve_after=0s", "alerts.batch=1s", "alerts.silent_for=0s"];
/// A pool is taken for failed, and tried again, soon.
const HASTY: [&str; 4] = [
    "failover.failures=1",
    "failover.stable_for=0s",
    "failover.backoff_min=100ms",
    "failover.backoff_max=400ms",
];

fn start(pool: &PoolHandle, hook: &HookReceiver, settings: &[&str]) -> Proxy {
    let url = format!("alerts.url=http://{}/hook", hook.addr());
    let secret = format!("alerts.secret={SECRET}");
    let mut arguments = vec!["--shards", "1", "--set", &url, "--set", &secret];
    for setting in QUICK.iter().chain(&HASTY).chain(settings) {
        arguments.extend(["--set", setting]);
    }
    Proxy::start(pool.addr(), &arguments)
}

/// The body of a post that was signed with the secret.
fn verified(request: &HookRequest) -> Value {
    let headers = &request.headers;
    let signed = format!("{}.{}", headers["x-loka-timestamp"], request.body);
    let tag = headers["x-loka-signature"].strip_prefix("v1=").unwrap();
    let tag: Vec<u8> =
        (0..tag.len()).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    ring::hmac::verify(&key, signed.as_bytes(), &tag).expect("the signature is good");
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["delivery"], headers["idempotency-key"].as_str());
    body
}

/// All messages so far, of posts that were signed.
fn messages(hook: &HookReceiver) -> Vec<Value> {
    hook.requests().iter().flat_map(|post| verified(post)["alerts"].as_array().unwrap().clone()).collect()
}

/// Waits for a message about `id`.
fn told(hook: &HookReceiver, id: &str, status: &str) -> Value {
    let mut found = None;
    until(&format!("{id} is {status}"), || {
        found = messages(hook).into_iter().find(|one| one["id"] == id && one["status"] == status);
        found.is_some()
    });
    found.unwrap()
}

fn work(address: SocketAddr, user: &str) -> Miner {
    let mut miner = Miner::connect(address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    let work = miner.handshake(user).unwrap();
    miner.submit_for(&work, user, "9", "00000001").unwrap();
    assert!(miner.answer_to("9").unwrap().contains("true"));
    miner
}

#[test]
fn a_pool_that_dies_is_told_and_so_is_its_return() {
    let (pool, hook) =
        (PoolHandle::start(PoolConfig::default()).unwrap(), HookReceiver::start(None).unwrap());
    let proxy = start(&pool, &hook, &[]);
    // It stays, and asks for a pool again and again.
    let _miner = movable(proxy.address);
    pool.kill_listener();
    pool.kill_connections();
    let firing = told(&hook, "pool/pool", "firing");
    assert_eq!((&firing["kind"], &firing["severity"]), (&"pool".into(), &"critical".into()), "{firing}");
    assert_eq!(told(&hook, "no_pool", "firing")["severity"], "critical");
    until("it stands", || proxy.metric("loka_stratum_alerts_standing") >= 2.0);
    pool.listen_again().unwrap();
    let resolved = told(&hook, "pool/pool", "resolved");
    assert_eq!(resolved["since_unix_seconds"], firing["since_unix_seconds"]);
    told(&hook, "no_pool", "resolved");
    until("nothing stands", || proxy.metric("loka_stratum_alerts_standing") == 0.0);
    let sent = messages(&hook).len() as f64;
    until("all is counted", || proxy.metric("loka_stratum_alerts_sent_total") == sent);
    assert_eq!(proxy.metric("loka_stratum_alerts_dropped_total"), 0.0);
}

#[test]
fn a_worker_that_stops_is_told_by_its_name_and_its_return_too() {
    let (pool, hook) =
        (PoolHandle::start(PoolConfig::default()).unwrap(), HookReceiver::start(None).unwrap());
    let proxy = start(&pool, &hook, &["alerts.silent_for=3s"]);
    // It was authorized and never had a share accepted: nobody misses it.
    let mut idle = Miner::connect(proxy.address).unwrap();
    idle.handshake("farm.idle").unwrap();
    let _miner = work(proxy.address, "farm.rack7");
    let firing = told(&hook, "workers_silent", "firing");
    assert_eq!((&firing["names"], &firing["value"]), (&serde_json::json!(["farm.rack7"]), &1.0.into()));
    let _back = work(proxy.address, "farm.rack7");
    let resolved = told(&hook, "workers_silent", "resolved");
    assert_eq!(resolved["since_unix_seconds"], firing["since_unix_seconds"]);
}

#[test]
fn a_receiver_that_hangs_holds_up_neither_miners_nor_the_end() {
    let (pool, hook) =
        (PoolHandle::start(PoolConfig::default()).unwrap(), HookReceiver::start(None).unwrap());
    hook.set_manners(HookManners::Hang);
    let proxy = start(&pool, &hook, &["alerts.silent_for=1s", "server.drain_timeout=1s"]);
    drop(work(proxy.address, "farm.one"));
    until("it is posted", || !hook.requests().is_empty());
    until("it waits", || proxy.metric("loka_stratum_alerts_waiting") == 1.0);
    drop(work(proxy.address, "farm.two"));
    proxy.terminate();
    assert!(proxy.wait().success());
    verified(&hook.requests()[0]);
}

/// The command, with the secrets in the environment.
fn test_command(url: &str, ca_file: &str) -> Output {
    let mut command = program();
    let ca_file = format!("alerts.ca_file={ca_file}");
    command.args(["alerts", "test", "--pool", "127.0.0.1:1", "--set", &ca_file]);
    finish(command.env("LOKA_ALERTS_URL", url).env("LOKA_ALERTS_SECRET", SECRET))
}

#[test]
fn the_test_command_tells_what_came_back() {
    let authority = Authority::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let ca_file = ca_file.to_str().unwrap();
    let tls = authority.issue(&["127.0.0.1"]).unwrap().server_config().unwrap();
    let hook = HookReceiver::start(Some(tls)).unwrap();
    let url = format!("https://{}/hunter2", hook.addr());
    let said = |output: &Output| {
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        let all = String::from_utf8(all).unwrap();
        assert!(!all.contains("hunter2"), "{all}");
        (output.status.code().unwrap(), all)
    };
    hook.set_manners(HookManners::Answer {
        status: 200,
        headers: String::new(),
        text: "thanks\u{1b}".to_owned(),
    });
    let (code, text) = said(&test_command(&url, ca_file));
    assert!(code == 0 && text.contains(&format!("https://{} answers 200", hook.addr())), "{code} {text}");
    assert!(text.contains("(signed)\nit says: thanks\n"), "{text:?}");
    let body = verified(&hook.requests()[0]);
    assert_eq!(
        (&body["alerts"][0]["kind"], &body["alerts"][0]["severity"]),
        (&"test".into(), &"info".into())
    );
    hook.set_manners(HookManners::status(403));
    let (code, text) = said(&test_command(&url, ca_file));
    assert!(code == 1 && text.contains("the receiver answers 403"), "{code} {text}");
    // The authorities of the system do not know this one.
    let (code, text) = said(&test_command(&url, ""));
    assert!(code == 1 && hook.requests().len() == 2, "{code} {text}");
    let (code, text) = said(&test_command("", ""));
    assert!(code == 1 && text.contains("set alerts.url"), "{code} {text}");
    let (code, text) = said(&test_command("ftp://hunter2/", ""));
    assert!(code == 78 && text.contains("LOKA_ALERTS_URL = (hidden): must be"), "{code} {text}");
}
