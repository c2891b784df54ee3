//! `doctor` against pools of every kind: what it tells people, what it tells programs, and its exit code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Misbehaviour, PoolConfig, PoolHandle};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Output;
use support::{finish, free_port, limited, program};

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const BAD_CONFIGURATION: i32 = 78;
/// Long for a pool on this machine, short for one that never answers.
const TIMEOUT: &str = "2s";

fn pool(misbehaviour: Misbehaviour) -> PoolHandle {
    PoolHandle::start(PoolConfig { misbehaviour, ..PoolConfig::default() }).unwrap()
}

fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

fn doctor(pool: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = program();
    finish(command.args(["doctor", "--timeout", TIMEOUT, "--pool", &pool.to_string()]).args(arguments))
}

fn table(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The JSON object, with the only pool in it.
fn json(output: &Output) -> (Value, Value) {
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pools = object["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 1, "{object}");
    (object.clone(), pools[0].clone())
}

#[track_caller]
fn expect(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_good_pool_is_told_with_its_facts() {
    let pool = pool(Misbehaviour::None);
    let account = ["--set", "pool.username=farm", "--set", "pool.password=hunter2"];
    let output = doctor(pool.addr(), &account);
    let text = table(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let endpoint = pool.addr().to_string();
    expect(
        &text,
        &[&endpoint, "): ok", "extranonce 4 + 8 bytes", "1fffe000", "accepted", "1024", "on block"],
    );
    expect(
        &text,
        &["\nhost: ", "\n  kernel", "io_uring", "open files", "net.core.somaxconn", "tcp_migrate_req"],
    );
    assert!(!text.contains("hunter2"));
    let output = doctor(pool.addr(), &[&account[..], &["--json"]].concat());
    let (all, told) = json(&output);
    assert_eq!((output.status.code(), &all["good"], &told["good"]), (Some(0), &true.into(), &true.into()));
    assert_eq!((&told["endpoint"], &told["address"]), (&endpoint.as_str().into(), &endpoint.as_str().into()));
    assert_eq!((&told["extranonce1_bytes"], &told["extranonce2_size"]), (&4.into(), &8.into()));
    assert_eq!((&told["version_mask"], &told["authorized"]), (&"1fffe000".into(), &true.into()));
    assert_eq!((&told["difficulty"], &told["problem"]), (&1024.0.into(), &Value::Null));
    assert!(told["time_to_first_job_ms"].as_f64().unwrap() >= told["time_to_subscribe_ms"].as_f64().unwrap());
    assert_eq!(told["block_hash"].as_str().unwrap().len(), 64);
    let checks = all["host"]["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "io_uring" && check["grade"] == "ok"), "{all}");
    assert_eq!(pool.report().users, ["farm"]);
    assert_eq!(pool.report().shares_received, 0);
}

#[test]
fn without_an_account_a_subscription_is_enough() {
    let pool = pool(Misbehaviour::None);
    let output = doctor(pool.addr(), &[]);
    let text = table(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    expect(&text, &["none configured"]);
    assert_eq!(pool.report().authorizes, 0);
}

#[test]
fn a_flag_of_the_top_level_does_the_same() {
    let good = pool(Misbehaviour::None);
    let output = finish(program().args(["--test-pool-connection", "--pool", &good.addr().to_string()]));
    assert_eq!(output.status.code(), Some(0), "{}", table(&output));
    let output = finish(program().args(["--test-pool-connection", "--pool", &nobody().to_string()]));
    assert_eq!(output.status.code(), Some(FAILED));
    expect(&table(&output), &["connection refused"]);
}

#[test]
fn pools_that_give_no_work_are_told_with_cause_and_fix() {
    let full = pool(Misbehaviour::ServerFull);
    let silent = pool(Misbehaviour::AcceptAndSilent);
    let stranger = pool(Misbehaviour::RejectAuthorize);
    for (address, kind, words) in [
        (nobody(), "connection_refused", &["connection refused", "port"][..]),
        (full.addr(), "subscribe_refused", &["Server full", "connected"]),
        (silent.addr(), "no_subscribe_answer", &["does not answer mining.subscribe", "connected"]),
        (stranger.addr(), "unauthorized", &["refuses the account", "Unauthorized worker", "subscribed"]),
    ] {
        let output = doctor(address, &["--set", "pool.username=farm"]);
        assert_eq!(output.status.code(), Some(FAILED), "{}", table(&output));
        expect(&table(&output), &["): bad", "\n  problem", "\n  fix"]);
        expect(&table(&output), words);
        expect(&String::from_utf8_lossy(&output.stderr), &["no pool gives work"]);
        let output = doctor(address, &["--set", "pool.username=farm", "--json"]);
        let (all, told) = json(&output);
        assert_eq!((output.status.code(), &all["good"]), (Some(FAILED), &false.into()));
        assert_eq!(told["problem"]["kind"], kind, "{told}");
        assert!(!told["problem"]["fix"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_name_that_leads_nowhere_is_told() {
    let output = finish(program().args(["doctor", "--json", "--pool", "no-such-pool.invalid:3333"]));
    let (_, told) = json(&output);
    assert_eq!((output.status.code(), &told["problem"]["kind"]), (Some(FAILED), &"dns".into()));
    expect(told["problem"]["text"].as_str().unwrap(), &["no-such-pool.invalid"]);
}

#[test]
fn a_host_that_cannot_run_the_shards_fails_although_the_pool_is_good() {
    let pool = pool(Misbehaviour::None);
    let arguments = ["doctor", "--pool", &pool.addr().to_string()];
    let output = finish(limited("-n 64").args(arguments));
    assert_eq!(output.status.code(), Some(FAILED), "{}", table(&output));
    expect(
        &table(&output),
        &["): ok", "\nhost: bad", "bad   open files are limited to 64", "fix: LimitNOFILE"],
    );
    expect(&String::from_utf8_lossy(&output.stderr), &["cannot run the shards"]);
    let output = finish(program().args(arguments).args(["--cpus", "1000"]));
    assert_eq!(output.status.code(), Some(FAILED));
    expect(&table(&output), &["CPU 1000"]);
}

#[test]
fn wrong_use_and_wrong_configuration_have_their_own_codes() {
    let code = |arguments: &[&str]| finish(program().arg("doctor").args(arguments)).status.code();
    assert_eq!(code(&["--timeout", "soon", "--pool", "127.0.0.1:9"]), Some(USAGE));
    assert_eq!(code(&["--timeout", "1h", "--pool", "127.0.0.1:9"]), Some(USAGE));
    assert_eq!(code(&[]), Some(BAD_CONFIGURATION), "no pool is named");
}
