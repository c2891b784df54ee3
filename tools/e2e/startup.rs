//! Wrong input of every kind to the real binary: a clear message, the right exit code, no panic text.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule};
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output};
use support::{finish, free_port, program};

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const BAD_CONFIGURATION: i32 = 78;
/// Nobody dials it: these runs end before.
const POOL: &str = "127.0.0.1:9";

#[track_caller]
fn expect(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    for ugly in ["panicked", "RUST_BACKTRACE", "unwrap", "thread '"] {
        assert!(!text.contains(ugly), "{ugly:?} is in: {text}");
    }
}

fn free_listen() -> String {
    format!("127.0.0.1:{}", free_port())
}

fn run_with(arguments: &[&str]) -> Output {
    let metrics = format!("metrics.prometheus_port={}", free_port());
    finish(program().args(["--listen", &free_listen(), "--set", &metrics]).args(arguments))
}

fn limited(limit: &str, arguments: &[&str]) -> Output {
    let metrics = format!("metrics.prometheus_port={}", free_port());
    let mut command = support::limited(limit);
    finish(command.args(["--listen", &free_listen(), "--pool", POOL, "--set", &metrics]).args(arguments))
}

#[test]
fn usage_errors_exit_with_2() {
    expect(&run_with(&["--no-such-flag"]), USAGE, &["--no-such-flag"]);
    expect(&run_with(&["mine"]), USAGE, &["unrecognized subcommand", "mine"]);
    expect(&run_with(&["--set", "pool.username"]), USAGE, &["expected KEY=VALUE"]);
    expect(&run_with(&["bench", "--rate=-1"]), USAGE, &["--rate"]);
    expect(&run_with(&["bench"]), USAGE, &["--listen means nothing"]);
    expect(&run_with(&["demo", "--pool", POOL]), USAGE, &["--pool means nothing"]);
}

#[test]
fn configuration_errors_exit_with_78_and_name_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("farm.toml");
    let mut file = std::fs::File::create(&path).unwrap();
    write!(file, "[server]\nprot = 3333\n\n[pool]\nhost = \"pool.example\"\nport = 70000\n").unwrap();
    let path = path.to_str().unwrap();
    let words = ["farm.toml:2", "server.prot", "server.port", "farm.toml:6", "70000", "65535"];
    expect(&run_with(&["--config", path]), BAD_CONFIGURATION, &words);
    expect(&run_with(&["check", "--config", path]), BAD_CONFIGURATION, &words);
    expect(&run_with(&["--validate", "--config", path]), BAD_CONFIGURATION, &words);
    expect(&run_with(&["--config", "/nowhere/farm.toml"]), BAD_CONFIGURATION, &["/nowhere/farm.toml"]);
    expect(&run_with(&[]), BAD_CONFIGURATION, &["pool.host", "LOKA_POOL_HOST", "--pool"]);
    std::fs::write(path, "[server\nport = 1").unwrap();
    expect(&run_with(&["--config", path]), BAD_CONFIGURATION, &["farm.toml:1"]);
}

#[test]
fn the_environment_configures_and_is_checked_too() {
    let output =
        finish(program().arg("check").env("LOKA_POOL_HOST", "pool.example").env("LOKA_SERVER_PORT", "4444"));
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("0.0.0.0:4444") && text.contains("pool.example:3333"), "{text}");
    let output =
        finish(program().arg("check").env("LOKA_POOL_HOST", "pool.example").env("LOKA_SERVER_PORT", "many"));
    expect(&output, BAD_CONFIGURATION, &["LOKA_SERVER_PORT", "many"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let metrics = format!("metrics.prometheus_port={}", free_port());
    let output = finish(program().args(["--listen", &address, "--pool", POOL, "--set", &metrics]));
    expect(&output, FAILED, &["cannot listen on", &address, "in use"]);
    let port = format!("metrics.prometheus_port={}", taken.local_addr().unwrap().port());
    let output = finish(program().args(["--listen", &free_listen(), "--pool", POOL, "--set", &port]));
    expect(&output, FAILED, &["cannot serve metrics on", "in use"]);
}

#[test]
fn a_second_proxy_on_the_same_port_is_refused() {
    let pool = loka_rig::PoolHandle::start(loka_rig::PoolConfig::default()).unwrap();
    let first = support::Proxy::start(pool.addr(), &[]);
    let metrics = format!("metrics.prometheus_port={}", free_port());
    let output =
        finish(program().args(["--listen", &first.address.to_string(), "--pool", POOL, "--set", &metrics]));
    expect(&output, FAILED, &["cannot listen on", "in use"]);
}

#[test]
fn a_pool_name_that_does_not_exist_is_named() {
    let output = run_with(&["--pool", "no-such-pool.invalid:3333"]);
    expect(&output, FAILED, &["cannot resolve", "no-such-pool.invalid", "fix:"]);
}

#[test]
fn cpus_that_are_not_there_are_named() {
    expect(&run_with(&["--pool", POOL, "--cpus", "1000"]), FAILED, &["CPU 1000", "allowed"]);
}

#[test]
fn too_little_locked_memory_is_named_with_the_fix() {
    expect(&limited("-l 64", &[]), FAILED, &["memlock", "64 KiB", "LimitMEMLOCK"]);
}

#[test]
fn too_few_open_files_are_named_with_the_fix() {
    expect(&limited("-n 64", &["--shards", "2"]), FAILED, &["open files", "64", "LimitNOFILE"]);
}

#[test]
fn with_256_open_files_it_turns_miners_away_and_serves_again_when_some_have_left() {
    let pool = loka_rig::PoolHandle::start(loka_rig::PoolConfig::default()).unwrap();
    let proxy = support::Proxy::start_limited("-n 256", pool.addr(), &["--shards", "1"]);
    let miners: Vec<_> = (0..200).map(|_| loka_rig::Miner::connect(proxy.address).unwrap()).collect();
    let turned_away = r#"loka_stratum_connections_ended_total{reason="over_capacity"}"#;
    support::until("some are turned away", || proxy.labelled(turned_away) > 0.0);
    assert!(proxy.metric("loka_stratum_active_connections") > 0.0);
    drop(miners);
    support::until("all have left", || proxy.metric("loka_stratum_active_connections") == 0.0);
    loka_rig::Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    proxy.terminate();
    assert!(proxy.wait().success());
}

#[test]
fn a_filter_that_denies_io_uring_is_named_with_the_fix() {
    // A filter holds for its thread and whatever the thread starts.
    let output = std::thread::spawn(|| {
        seccompiler::apply_filter(&deny_io_uring()).unwrap();
        run_with(&["--pool", POOL])
    });
    expect(&output.join().unwrap(), FAILED, &["io_uring is forbidden", "EPERM", "seccomp", "fix:"]);
}

/// What the default profiles of container engines do: EPERM for io_uring_setup, _enter and _register.
fn deny_io_uring() -> BpfProgram {
    let denied = [425_i64, 426, 427].map(|call| (call, Vec::<SeccompRule>::new()));
    let denied = denied.into_iter().collect();
    let eperm = SeccompAction::Errno(1);
    let filter =
        SeccompFilter::new(denied, SeccompAction::Allow, eperm, std::env::consts::ARCH.try_into().unwrap());
    filter.unwrap().try_into().unwrap()
}

#[test]
fn an_ipv6_farm_mines() {
    let pool = loka_rig::PoolHandle::start(loka_rig::PoolConfig {
        listen: "[::1]:0".parse().unwrap(),
        ..loka_rig::PoolConfig::default()
    })
    .unwrap();
    let port = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
    let proxy = support::Proxy::start_on(format!("[::1]:{port}").parse().unwrap(), pool.addr(), &[]);
    let mut miner = loka_rig::Miner::connect(proxy.address).unwrap();
    miner.handshake("farm.rig").unwrap();
    proxy.terminate();
    assert!(proxy.wait().success());
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bin = env!("CARGO_BIN_EXE_loka-stratum");
    let output = finish(Command::new("sh").args(["-c", "\"$0\" config reference | head -n 1", bin]));
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_demo_mines_and_ends_with_equal_ledgers() {
    let metrics = format!("metrics.prometheus_port={}", free_port());
    let arguments =
        ["demo", "--listen", &free_listen(), "--set", &metrics, "--miners", "5", "--seconds", "3"];
    let output = finish(program().args(arguments));
    expect(&output, 0, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let ended = text.lines().last().unwrap();
    let numbers: Vec<u64> =
        ended.split_whitespace().filter_map(|word| word.trim_end_matches([',', ';']).parse().ok()).collect();
    assert!(ended.starts_with("ended:") && numbers.len() == 4, "{text}");
    assert!(numbers[0] > 0 && numbers[1] == 0 && numbers[0] == numbers[2], "{text}");
}

#[test]
fn a_demo_of_more_miners_than_files_is_refused() {
    let output = finish(support::limited("-n 1024").args(["demo", "--miners", "500"]));
    expect(&output, FAILED, &["500 miners", "open files", "fix:"]);
}

#[test]
fn the_bench_measures_direct_and_through_the_proxy() {
    let arguments =
        ["bench", "--load", "open", "--connections", "20", "--rate", "200", "--seconds", "1", "--json"];
    let output = finish(program().args(arguments));
    expect(&output, 0, &[]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = told["measured"].as_array().unwrap();
    let paths: Vec<_> = measured.iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["direct", "proxy"]);
    for row in measured {
        assert_eq!(
            (&row["swarm"]["ready"], &row["swarm"]["shares"]["lost"]),
            (&20.into(), &0.into()),
            "{row}"
        );
        assert!(row["swarm"]["shares"]["accepted"].as_u64().unwrap() >= 190, "{row}");
    }
    assert!(measured[1]["proxy"]["cpu_us_each"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_bench_whose_miners_were_not_there_fails() {
    let arguments = ["bench", "--load", "open", "--connections", "500", "--seconds", "1"];
    let output = finish(support::limited("-n 256").args(arguments));
    expect(&output, FAILED, &["of 500 miners were there", "ulimit -n"]);
}
