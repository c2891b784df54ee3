//! T14 and T15: what miners call themselves, in the log, in the metrics and at the pool; and secrets, which are nowhere.

use crate::honest::pool;
use crate::support::{Proxy, free_port, http, program, until};
use loka_rig::{Miner, PoolHandle};
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

const SECRETS: [&str; 5] =
    ["pool-secret-1f", "miner-secret-2e", "cut-secret-3d", "doubled-secret-4c", "late-secret-5b"];
const FORGED: &str = "FORGED-RECORD";

/// The proxy at its most talkative, writing to a file of its own.
fn talkative(pool: &PoolHandle, folder: &TempDir, format: &str) -> (Proxy, std::path::PathBuf) {
    let log = folder.path().join("proxy.log");
    let here = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (address, metrics) = (here(), here());
    let mut program = program();
    program.args(["--listen", &address.to_string(), "--pool", &pool.addr().to_string(), "--shards", "1"]);
    for setting in [
        format!("metrics.prometheus_port={}", metrics.port()),
        "logging.enable_file_logging=true".to_owned(),
        format!("logging.log_file={}", log.display()),
        format!("logging.format={format}"),
        "pool.username=bc1qfarm".to_owned(),
        format!("pool.password={}", SECRETS[0]),
    ] {
        program.args(["--set", &setting]);
    }
    program.args(["--log-level", "trace"]);
    (Proxy::ready(&mut program, address, metrics), log)
}

/// A miner whose every word is an attempt to write into somebody's log or terminal.
fn misbehave(proxy: &Proxy) {
    let mut miner = Miner::connect(proxy.address).unwrap();
    let forged =
        format!(r"\r\n2026-11-25T00:00:00.000000Z ERROR {FORGED} \u001b[31m\u001b]0;owned\u0007\u009b2J");
    for line in [
        format!(r#"{{"id":1,"method":"mining.subscribe","params":["{forged}"]}}"#),
        format!(r#"{{"id":2,"method":"mining.authorize","params":["farm.rig","{}"]}}"#, SECRETS[1]),
        format!(r#"{{"id":3,"method":"mining.authorize","params":["{forged}","{}"]}}"#, SECRETS[1]),
        format!(r#"{{"id":"{forged}","method":"{forged}","params":["{forged}"]}}"#),
        format!(r#"{{"id":5,"method":"mining.submit","params":["{forged}","{forged}","00","00","00"]}}"#),
        format!(r#"{{"id":6,"method":"mining.authorize","params":["farm.rig","{}""#, SECRETS[2]),
        format!(
            r#"{{"id":7,"method":"mining.ping","params":[],"method":"mining.authorize","params":["a","{}"]}}"#,
            SECRETS[3]
        ),
        format!(r#"{{"id":8,"method":"mining.authorize","params":[["farm.rig"],{{"p":"{}"}}]}}"#, SECRETS[4]),
    ] {
        miner.send_line(&line).unwrap();
    }
    miner.send_bytes(b"{\"id\":9,\"method\":\"mining.\x1b[2J\xc2\x9b31m\"}\n").unwrap();
    miner.request("10", "mining.suggest_difficulty", "[1]").unwrap();
    let mut scanner = Miner::connect(proxy.address).unwrap();
    scanner.send_line(&format!("\u{1b}[31m GET /{FORGED} HTTP/1.1")).unwrap();
    scanner.read_to_end().unwrap();
}

/// Bytes of a log in which nobody can hide a line or speak to a terminal.
fn check_bytes(log: &str) {
    for (number, line) in log.lines().enumerate() {
        assert!(!line.chars().any(char::is_control), "line {number}: {line:?}");
    }
}

fn check_secrets(text: &str, of: &str) {
    for secret in SECRETS {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{of} tells {secret}: {line:?}");
    }
}

fn read(log: &Path) -> String {
    // Lossless: a log that is no UTF-8 fails here.
    String::from_utf8(std::fs::read(log).unwrap()).unwrap()
}

fn written(format: &str) -> String {
    let (pool, folder) = (pool(), TempDir::new().unwrap());
    let (proxy, log) = talkative(&pool, &folder, format);
    misbehave(&proxy);
    until("the last of it is logged", || read(&log).contains("suggest_difficulty"));
    until("the scanner is counted", || proxy.metric("loka_stratum_connections_ended_total") >= 1.0);
    for path in ["/metrics", "/health", "/", "/livez", "/readyz"] {
        let told = http(proxy.metrics, path).unwrap();
        check_secrets(&told, path);
        assert!(!told.contains(FORGED) && !told.contains('\u{1b}'), "{path}: {told}");
    }
    proxy.terminate();
    assert!(proxy.wait().success());
    let text = read(&log);
    check_bytes(&text);
    check_secrets(&text, "the log");
    assert!(text.contains("loka_stratum::protocol"), "messages are logged at all");
    text
}

#[test]
fn nothing_that_a_miner_says_can_forge_a_line_of_the_log_or_a_label() {
    let text = written("text");
    for line in text.lines() {
        let is_stamped = line.starts_with("20") && line.as_bytes().get(10) == Some(&b'T');
        assert!(is_stamped, "a line that the proxy did not begin: {line:?}");
    }
    assert!(!text.lines().any(|line| line.contains("ERROR") && !line.contains("TRACE")), "{FORGED}");
}

#[test]
fn a_log_in_json_is_one_object_a_line_whatever_miners_say() {
    for line in written("json").lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(told.is_object(), "{line}");
    }
}

/// T14: an account in a miner's name goes nowhere, and what could be read in two ways goes to nobody.
#[test]
fn names_reach_the_pool_behind_the_account_byte_for_byte_or_not_at_all() {
    let pool = pool();
    let proxy = Proxy::start(pool.addr(), &["--set", "pool.username=bc1qfarm"]);
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.request("1", "mining.subscribe", "[]").unwrap();
    let ten_kib = "n".repeat(10 * 1024);
    for bad in ["rig\\n1", "rig\\u0000", "rig\\u001b[31m", "rig\\u007f", &ten_kib] {
        let answer = miner.request("2", "mining.authorize", &format!(r#"["thief.{bad}","x"]"#)).unwrap();
        assert!(answer.contains("\"error\":[24"), "{bad}: {answer}");
    }
    let good = [
        ("thief.%n%s", "bc1qfarm.%n%s"),
        ("thief.' OR 1=1 --", "bc1qfarm.' OR 1=1 --"),
        ("thief.\u{202e}gir", "bc1qfarm.\u{202e}gir"),
        ("thief.\u{1f600}", "bc1qfarm.\u{1f600}"),
        ("thief.bc1qthief.rig", "bc1qfarm.bc1qthief.rig"),
        ("thief", "bc1qfarm"),
    ];
    for (number, (name, _)) in good.iter().enumerate() {
        let id = format!("{}", 10 + number);
        let answer = miner.request(&id, "mining.authorize", &format!(r#"["{name}","x"]"#)).unwrap();
        assert!(answer.contains(r#""result":true"#), "{name}: {answer}");
    }
    assert_eq!(pool.report().users, good.map(|(_, at_pool)| at_pool.to_owned()));
}
