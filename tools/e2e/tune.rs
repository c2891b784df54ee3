//! `tune` of the real binary: it measures, recommends, and writes into a file without touching the rest of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use support::{PATIENCE, finish, finish_within, program};

const USAGE: i32 = 2;
const BAD_CONFIGURATION: i32 = 78;
const FARM: &str = "# our farm\n[server]\nport = 4444 # not 3333\n\n[pool]\nhost = \"pool.example\" # the good one\n# username = \"farm\"\n";

fn tune(arguments: &[&str]) -> Output {
    // Seven loads for one candidate and twelve for two, of a second each.
    finish_within(4 * PATIENCE, program().arg("tune").args(arguments))
}

fn farm(folder: &Path, text: &str) -> String {
    let path = folder.join("farm.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn expect_refused(output: &Output, code: i32, word: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(word) && !text.contains("panicked") && !text.contains("measuring"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn it_measures_recommends_and_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = farm(folder.path(), FARM);
    let small = ["--seconds", "1", "--connections", "50", "--rate", "500", "--json", "--shards", "2"];
    let output = tune(&[&small[..], &["--write", &path]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tried = told["tried"].as_array().unwrap();
    assert!(matches!(tried.len(), 1 | 2), "{told}");
    assert_eq!(told["direct"].as_array().unwrap().len(), tried.len() + 1);
    assert_eq!(errors.matches("shares/s, p99").count(), tried.len(), "{errors}");
    for figures in tried {
        assert!(figures["shares_per_second"].as_f64().unwrap() > 0.0, "{figures}");
        assert!(figures["cpu_us_each"].as_f64().unwrap() > 0.0, "{figures}");
        assert!(figures["resident_bytes"].as_u64().unwrap() > 0, "{figures}");
    }
    for load in told["measured"].as_array().unwrap() {
        assert_eq!(
            (&load["swarm"]["ready"], &load["swarm"]["shares"]["lost"]),
            (&50.into(), &0.into()),
            "{load}"
        );
    }
    assert_eq!(told["written"], path.as_str());
    let found = &told["recommendation"];
    let text = fs::read_to_string(&path).unwrap();
    let wanted = format!(
        "# our farm\n[server]\nport = 4444 # not 3333\ncpus = {}\n\n[pool]\nhost = \"pool.example\" # the good one\n\
         # username = \"farm\"\n\n[performance]\nworker_threads = {}\n",
        found["cpus"], found["shards"]
    );
    assert_eq!(text, wanted);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(finish(program().args(["check", "--config", &path])).status.success());
}

#[test]
fn what_is_wrong_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = farm(folder.path(), "[server]\nprot = 1\n\n[pool]\nhost = \"p\"\n");
    expect_refused(&tune(&["--write", &path]), BAD_CONFIGURATION, "farm.toml:2: unknown key server.prot");
    expect_refused(&tune(&["--set", "server.prot=1"]), BAD_CONFIGURATION, "server.prot");
    expect_refused(&tune(&["--cpus", "x"]), BAD_CONFIGURATION, "--cpus");
    expect_refused(&tune(&["--cpus", "1000"]), 1, "CPU 1000");
    expect_refused(&tune(&["--pool", "p:1"]), USAGE, "--pool means nothing");
    expect_refused(&tune(&["--listen", "1"]), USAGE, "--listen means nothing");
    expect_refused(&tune(&["--config", &path]), USAGE, "--config means nothing");
    expect_refused(&tune(&["--rate", "0"]), USAGE, "--rate");
}
