//! The log of the real binary: what is logged, files that are put aside, moved away or full.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Miner, PoolConfig, PoolHandle};
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Proxy, finish, free_port, http, limited, program, until};

const BAD_CONFIGURATION: i32 = 78;
const DROPPED: &str = "loka_stratum_log_lines_dropped_total";

struct Place {
    folder: tempfile::TempDir,
    pool: PoolHandle,
}

impl Place {
    fn new() -> Self {
        let pool = PoolHandle::start(PoolConfig::default()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), pool }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A proxy that logs to `log`, with these settings.
    fn start(&self, log: &Path, mut program: Command, level: &str, settings: &[&str]) -> Proxy {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, metrics) = (local(free_port()), local(free_port()));
        let file = format!("logging.log_file={}", log.display());
        let metrics_port = format!("metrics.prometheus_port={}", metrics.port());
        program.args(["--listen", &address.to_string(), "--pool", &self.pool.addr().to_string()]);
        program.args(["--log-level", level, "--set", "logging.enable_file_logging=true"]);
        program.args(["--set", &file, "--set", &metrics_port]);
        program.args(settings.iter().flat_map(|setting| ["--set", *setting]));
        Proxy::ready(&mut program, address, metrics)
    }
}

/// Each is a few lines at DEBUG.
fn visit(proxy: &Proxy) {
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
}

#[test]
fn a_file_that_has_grown_is_put_aside_and_so_many_are_kept() {
    let place = Place::new();
    let settings = ["logging.rotate_bytes=2000", "logging.rotate_keep=2", "logging.format=json"];
    let proxy =
        place.start(&place.path("log"), program(), "info,loka_stratum=debug,loka_runtime=debug", &settings);
    until("files were put aside twice", || {
        visit(&proxy);
        place.path("log.2").exists()
    });
    proxy.terminate();
    assert!(proxy.wait().success());
    assert!(!place.path("log.3").exists());
    for name in ["log", "log.1", "log.2"] {
        let text = place.text(name);
        assert!(!text.is_empty() && text.len() <= 2000, "{name}: {text}");
        for line in text.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{name}: {line}");
        }
    }
    assert!(place.text("log").contains("drained"), "the last lines are in the file that bears the name");
}

#[test]
fn sigusr1_opens_the_file_anew() {
    let place = Place::new();
    let proxy = place.start(&place.path("log"), program(), "info", &[]);
    until("the start is logged", || place.text("log").contains("started"));
    fs::rename(place.path("log"), place.path("moved")).unwrap();
    proxy.signal(Signal::USR1);
    until("there is a new file", || place.text("log").contains("SIGUSR1"));
    let moved = place.text("moved");
    proxy.terminate();
    assert!(proxy.wait().success());
    assert!(place.text("log").contains("drained"));
    assert_eq!(place.text("moved"), moved, "nothing comes into the file that was moved away");
}

#[test]
fn sigusr1_without_a_file_ends_nothing() {
    let place = Place::new();
    let proxy = Proxy::start(place.pool.addr(), &[]);
    proxy.signal(Signal::USR1);
    visit(&proxy);
    proxy.terminate();
    assert!(proxy.wait().success());
}

/// A disk that is full, as the kernel keeps one, in the place of the log; then there is room again.
#[test]
fn a_full_disk_costs_lines_that_are_counted_and_no_miner() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let place = Place::new();
    let log = place.path("log");
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let proxy = place.start(&log, program(), "info", &[]);
    assert!(proxy.metric(DROPPED) > 0.0, "the lines of the start had no room");
    visit(&proxy);
    fs::remove_file(&log).unwrap();
    proxy.signal(Signal::USR1);
    until("it is told what was lost", || {
        let text = place.text("log");
        text.contains("log lines could not be written") && text.contains("lost=")
    });
    let lost = proxy.metric(DROPPED);
    proxy.terminate();
    assert!(proxy.wait().success());
    let text = place.text("log");
    assert!(text.contains(&format!("lost={lost}")), "{lost} lines: {text}");
}

/// `ulimit -f` counts blocks of 512 or 1024 bytes; the signal that comes with it would end another program.
#[test]
fn a_file_at_its_limit_costs_lines_and_no_miner() {
    let place = Place::new();
    let proxy =
        place.start(&place.path("log"), limited("-f 4"), "info,loka_stratum=debug,loka_runtime=debug", &[]);
    until("the limit is reached", || {
        visit(&proxy);
        proxy.metric(DROPPED) > 0.0
    });
    assert!(fs::metadata(place.path("log")).unwrap().len() <= 4096);
    visit(&proxy);
    fs::remove_file(place.path("log")).unwrap();
    proxy.signal(Signal::USR1);
    until("it is written again", || place.text("log").contains("log lines could not be written"));
    proxy.terminate();
    assert!(proxy.wait().success());
}

#[test]
fn a_malformed_filter_is_named_and_is_a_bad_configuration() {
    let check = |command: &mut Command| finish(command.args(["check", "--pool", "127.0.0.1:9"]));
    let words = [
        (check(program().env("RUST_LOG", "info,loka=loud")), "RUST_LOG = \"info,loka=loud\": \"loud\" in"),
        (finish(program().arg("--pool=127.0.0.1:9").env("RUST_LOG", "a b=info")), "\"a b\" is no target"),
        (check(program().args(["--log-level", "info,loka=loud"])), "--log-level info,loka=loud: \"loud\" in"),
    ];
    for (output, words) in words {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(BAD_CONFIGURATION), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn targets_have_levels_of_their_own() {
    let place = Place::new();
    let proxy = place.start(&place.path("log"), program(), "off,loka_stratum::protocol=trace", &[]);
    visit(&proxy);
    until("messages are logged", || place.text("log").contains("authorize"));
    proxy.terminate();
    assert!(proxy.wait().success());
    let text = place.text("log");
    assert!(text.lines().all(|line| line.contains("loka_stratum::protocol")), "{text}");
}

#[test]
fn memory_profiling_is_logged_and_exported_where_it_is_asked_for() {
    const COMMITTED: &str = "loka_stratum_allocator_committed_bytes";
    let place = Place::new();
    let settings = ["performance.enable_memory_profiling=true"];
    let proxy = place.start(&place.path("log"), program(), "info", &settings);
    assert!(proxy.metric(COMMITTED) > 100_000.0, "mimalloc is the allocator of the binary");
    assert!(proxy.metric("loka_stratum_peak_resident_memory_bytes") > 1_000_000.0);
    until("a line is logged", || place.text("log").contains("committed_bytes="));
    let without = place.start(&place.path("other"), program(), "info", &[]);
    let text = http(without.metrics, "/metrics").unwrap();
    assert!(!text.contains(COMMITTED) && text.contains("process_resident_memory_bytes"), "{text}");
}
