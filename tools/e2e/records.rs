//! Share records through the real binary: they hold what miners and pools have counted, and no trouble with their file costs a
//! share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "records/trouble.rs"]
mod trouble;

use loka_rig::{Greeting, Miner, PoolConfig, PoolHandle};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use support::{PATIENCE, Proxy, farm, finish, program, raise_open_files, until};

const ROWS: &str = r#"loka_stratum_records_rows_written_total{table="minutes"}"#;

/// A proxy that keeps records in `file`.
fn recording(pool: &PoolHandle, file: &Path, arguments: &[&str]) -> Proxy {
    let file = format!("records.file={}", file.display());
    let arguments: Vec<&str> = ["--set", &file, "--shards", "2"].iter().chain(arguments).copied().collect();
    Proxy::start(pool.addr(), &arguments)
}

fn records(arguments: &[&str]) -> Output {
    finish(program().arg("records").args(arguments))
}

/// What `records` prints as JSON.
fn told(file: &Path, arguments: &[&str]) -> Value {
    let output = records(&[arguments, &["--file", file.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn summary(file: &Path) -> Value {
    told(file, &["summary", "--json"])
}

fn reason(summary: &Value, side: &str, reason: &str) -> u64 {
    let reasons = summary["reasons"].as_array().unwrap();
    let found = reasons.iter().find(|one| one["side"] == side && one["reason"] == reason);
    found.map_or(0, |one| one["count"].as_u64().unwrap())
}

struct Place {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.sqlite");
    Place { _folder: folder, file }
}

/// Three shares, the second of them twice.
fn with_a_duplicate(proxy: &Proxy, worker: &str) {
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    let work: Greeting = miner.handshake(worker).unwrap();
    for (id, nonce) in ["1", "2", "2", "3"].iter().enumerate() {
        let id = format!("{}", 100 + id);
        miner.submit_for(&work, worker, &id, &format!("0000000{nonce}")).unwrap();
        miner.answer_to(&id).unwrap();
    }
}

#[test]
fn the_sums_are_those_of_the_miners_and_of_the_pool() {
    let place = place();
    let pool = PoolHandle::start(PoolConfig { reject_permille: 50, ..PoolConfig::default() }).unwrap();
    let proxy = recording(&pool, &place.file, &[]);
    let swarm = farm(&proxy, 200, 10_000).shares;
    with_a_duplicate(&proxy, "odd,\"name\"");
    proxy.terminate();
    assert!(proxy.wait().success());
    let (summary, ledger) = (summary(&place.file), pool.report());
    let sum = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((sum("accepted"), sum("rejected")), (ledger.shares_accepted, ledger.shares_rejected));
    assert_eq!(sum("accepted") + sum("rejected"), swarm.accepted + swarm.rejected + 3);
    assert!(swarm.rejected > 100, "{swarm:?}");
    assert_eq!(reason(&summary, "pool", "low_difficulty"), ledger.shares_low_difficulty);
    assert_eq!((sum("refused"), reason(&summary, "proxy", "duplicate_share")), (1, 1));
    assert_eq!((sum("unanswered"), sum("lost")), (0, 0));
    let work = PoolConfig::default().difficulty * ledger.shares_accepted as f64;
    assert_eq!(summary["difficulty"].as_f64(), Some(work));

    // Every row again, added up by somebody else, and every share that came to nothing.
    let rows = told(&place.file, &["export", "--format", "json"]);
    let rows = rows.as_array().unwrap();
    let total = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (total("accepted"), total("rejected"), total("refused")),
        (sum("accepted"), sum("rejected"), 1)
    );
    let events = told(&place.file, &["export", "--format", "json", "--events"]);
    let events = events.as_array().unwrap();
    assert_eq!(events.len() as u64, sum("rejected") + 1);
    let of_pool = events.iter().filter(|event| event["side"] == "pool").count() as u64;
    assert_eq!(of_pool, ledger.shares_rejected);
    check_one_worker(&place.file);
}

fn check_one_worker(file: &Path) {
    let one = told(file, &["worker", "odd,\"name\"", "--json"]);
    assert_eq!(one["accepted"].as_u64().unwrap() + one["rejected"].as_u64().unwrap(), 3);
    assert_eq!((one["refused"].as_u64(), one["workers"].as_u64()), (Some(1), Some(1)));
    let file = file.to_str().unwrap();
    let csv = records(&["export", "--format", "csv", "--worker", "odd,\"name\"", "--file", file]);
    let text = String::from_utf8(csv.stdout).unwrap();
    assert!(text.lines().count() >= 2 && text.starts_with("minute,worker,"), "{text}");
    assert!(text.lines().skip(1).all(|line| line.contains(",\"odd,\"\"name\"\"\",")), "{text}");
    let nobody = records(&["worker", "nobody", "--file", file]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("knows no worker"));
}

#[test]
fn they_are_read_while_the_proxy_writes_and_where_it_writes_them() {
    let place = place();
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let folder = place.file.parent().unwrap();
    let mut state = program();
    // As systemd would.
    state.env("STATE_DIRECTORY", folder);
    let proxy = Proxy::start_as(state, pool.addr(), &["--shards", "1"]);
    with_a_duplicate(&proxy, "farm.rig");
    until("it is written", || proxy.labelled(ROWS) > 0.0);
    until("all of it", || summary(&place.file)["accepted"] == 3);
    assert_eq!(proxy.metric("loka_stratum_records_enabled"), 1.0);
    assert!(proxy.metric("loka_stratum_records_file_bytes") > 0.0);
    assert_eq!(proxy.metric("loka_stratum_records_failures_total"), 0.0);
    let text = records(&["summary", "--file", place.file.to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("accepted     3\n") && text.contains("farm.rig"), "{text}");
    let later = told(&place.file, &["summary", "--json", "--from", "2999-01-01"]);
    assert_eq!((later["rows"].as_u64(), later["first_minute"].is_null()), (Some(0), true));
}

#[test]
fn without_a_place_for_them_there_are_none() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "1"]);
    assert_eq!(proxy.metric("loka_stratum_records_enabled"), 0.0);
    let missing = records(&["summary", "--file", "/nowhere/records.sqlite"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("does not exist"));
    for wrong in [&["export"][..], &["summary", "--from", "soon"], &["summary", "--from", "1h", "--to", "2h"]]
    {
        assert_eq!(records(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let bad = finish(program().args(["records", "summary", "--set", "server.port=0"]));
    assert_eq!(bad.status.code(), Some(78));
}
