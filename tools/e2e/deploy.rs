//! What stands under `config/deploy/`: the unit, the seccomp profile by applying it, and what the package brings along.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Miner, PoolConfig, PoolHandle};
use seccompiler::BpfProgram;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Proxy, finish, program};

const SYSTEMD_EXPOSURE_MAX: &str = "15";

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deploy").join(path)
}

fn lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(deploy(path)).unwrap();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_unit_says_what_the_program_does() {
    let unit = lines("systemd/loka-stratum.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/loka-stratum run --config /etc/loka-stratum/config.toml",
        "RestartPreventExitStatus=78",
        "SystemCallFilter=@system-service",
        "User=loka-stratum",
    ] {
        assert!(unit.iter().any(|found| found == line), "{line}");
    }
    // Without these pinning a shard would be refused.
    assert!(!unit.iter().any(|line| line.starts_with("SystemCallFilter=~") && line.contains("@resources")));
    assert!(lines("systemd/loka-stratum.sysusers").iter().any(|line| line.starts_with("u loka-stratum ")));
}

#[test]
fn systemd_finds_little_to_expose() {
    let unit = deploy("systemd/loka-stratum.service");
    let mut analyze = Command::new("systemd-analyze");
    let threshold = format!("--threshold={SYSTEMD_EXPOSURE_MAX}");
    analyze.args(["security", "--offline=true", &threshold, "--no-pager"]).arg(unit);
    // Where the tool is not there, or older than the option, nobody can say.
    let Ok(output) = analyze.output() else { return };
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("unrecognized option") {
        return;
    }
    assert!(output.status.success(), "{text}");
}

#[test]
fn kernel_settings_are_settings() {
    for line in lines("sysctl/60-loka-stratum.conf") {
        let (name, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}"));
        assert!(name.trim_start_matches('-').starts_with("net."), "{line}");
        assert!(value.split([' ', ',']).all(|number| number.parse::<u32>().is_ok()), "{line}");
    }
}

/// The profile of the container, applied to the program as an engine would: what is not on its list is refused. The program
/// must come up, pin two shards, and mine.
#[test]
fn under_the_seccomp_profile_of_the_container_it_mines() {
    let profile: Value =
        serde_json::from_str(&fs::read_to_string(deploy("docker/seccomp.json")).unwrap()).unwrap();
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    // A filter holds for its thread and whatever the thread starts.
    let proxy = std::thread::scope(|scope| {
        let confined = || {
            for filter in filters(&profile) {
                seccompiler::apply_filter(&filter).unwrap();
            }
            // What it must deny it denies, where the host has the program to try it with.
            let unshared = Command::new("unshare").args(["--user", "true"]).output();
            assert!(
                unshared.is_ok_and(|output| !output.status.success())
                    || !Path::new("/usr/bin/unshare").exists()
            );
            Proxy::start(pool.addr(), &["--shards", "2"])
        };
        scope.spawn(confined).join().unwrap()
    });
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.handshake("farm.rig").unwrap();
    proxy.terminate();
    assert!(proxy.wait().success());
}

/// Of the profile, which is for engines, what a kernel takes: a filter of what is allowed, and one for each refusal with an
/// error of its own. All of them hold, so these names are allowed by the first.
fn filters(profile: &Value) -> Vec<BpfProgram> {
    let (mut filters, mut allowed) = (Vec::new(), Vec::new());
    for rule in profile["syscalls"].as_array().unwrap() {
        let args: Vec<Value> = rule["args"].as_array().into_iter().flatten().map(condition).collect();
        let args = if args.is_empty() { Value::Null } else { json!(args) };
        let rows = |args: &Value| -> Vec<Value> {
            let names = rule["names"].as_array().unwrap().iter();
            names.map(|name| json!({ "syscall": name, "args": args })).collect()
        };
        match rule["action"].as_str().unwrap() {
            "SCMP_ACT_ALLOW" => allowed.extend(rows(&args)),
            "SCMP_ACT_ERRNO" => {
                assert!(args.is_null());
                filters.push(compile(
                    rows(&Value::Null),
                    json!("allow"),
                    json!({ "errno": rule["errnoRet"] }),
                ));
                allowed.extend(rows(&Value::Null));
            }
            other => panic!("{other}: not known here"),
        }
    }
    filters.push(compile(allowed, json!({ "errno": profile["defaultErrnoRet"] }), json!("allow")));
    filters
}

fn condition(arg: &Value) -> Value {
    assert_eq!(arg["op"], "SCMP_CMP_MASKED_EQ");
    json!({ "index": arg["index"], "type": "qword", "op": { "masked_eq": arg["value"] }, "val": arg["valueTwo"] })
}

fn compile(mut rules: Vec<Value>, otherwise: Value, matched: Value) -> BpfProgram {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    loop {
        let filter =
            json!({ "all": { "mismatch_action": otherwise, "match_action": matched, "filter": rules } });
        match seccompiler::compile_from_json(filter.to_string().as_bytes(), arch) {
            Ok(mut compiled) => return compiled.remove("all").unwrap(),
            // Each architecture lacks some: engines pass over them, too.
            Err(error) => {
                let text = error.to_string();
                let name =
                    text.split("Invalid syscall name: ").nth(1).and_then(|rest| rest.split(' ').next());
                let name = name.unwrap_or_else(|| panic!("{text}"));
                rules.retain(|rule| rule["syscall"] != name);
            }
        }
    }
}

#[test]
fn completions_and_the_manual_page_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = finish(program().args(["completions", shell]));
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("doctor") && text.contains("log-level") && !text.contains("child"),
            "{shell}: {text}"
        );
    }
    let output = finish(program().arg("man"));
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for words in
        [".TH loka-stratum 1", "loka\\-stratum doctor", "log\\-level", ".SH FILES", ".SH EXIT STATUS"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(finish(program().args(["completions", "csh"])).status.code(), Some(2));
}
