//! House rules that no lint knows: sizes of files, which room may use which, no locks on the data plane, and documents
//! that name everything there is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use loka_proto::{End, Filtered, PoolLoss, Reject};
use loka_stratum::export::{FAMILIES, WORKER_FAMILIES};
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What cargo-fuzz builds may stand among the sources.
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn no_file_outgrows_its_purpose() {
    for folder in ["src", "shards", "tools", "benches"] {
        for (path, text) in sources(folder) {
            assert!(text.lines().count() <= LINES_MAX, "{}: more than {LINES_MAX} lines", path.display());
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for folder in [
        "src",
        "shards/proto/src",
        "shards/runtime/src",
        "tools/rig/src",
        "tools/fuzz",
        "benches/peers/src",
        "benches/attacks/src",
    ] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{}: begins without a module comment", path.display());
        }
    }
}

#[test]
fn the_data_plane_takes_no_lock() {
    for (path, text) in sources("shards") {
        for lock in ["Mutex", "RwLock", "parking_lot", "Condvar"] {
            assert!(!text.contains(lock), "{}: {lock}", path.display());
        }
    }
}

#[test]
fn rooms_use_each_other_one_way() {
    let uses = |manifest: &str, package: &str| {
        let text = read(manifest);
        let dependencies =
            text.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap().to_owned();
        dependencies.contains(package)
    };
    assert!(!uses("shards/proto/Cargo.toml", "loka-"), "the core knows nobody");
    assert!(!uses("shards/proto/Cargo.toml", "glommio"), "the core knows no executor");
    assert!(uses("shards/runtime/Cargo.toml", "loka-proto"));
    assert!(!uses("shards/runtime/Cargo.toml", "loka-rig"), "the rig is for tests of the runtime only");
    assert!(!uses("tools/rig/Cargo.toml", "loka-runtime") && !uses("tools/rig/Cargo.toml", "loka-stratum"));
    for (bench, why) in [
        ("benches/peers/Cargo.toml", "the bench beside other proxies starts this one as it starts them"),
        ("benches/attacks/Cargo.toml", "attackers know no more than where the proxy listens"),
    ] {
        assert!(uses(bench, "loka-rig"));
        for ours in ["loka-proto", "loka-runtime", "loka-stratum"] {
            assert!(!uses(bench, ours), "{why}");
        }
    }
}

#[test]
fn every_metric_is_documented_in_order() {
    let text = read("config/METRICS.md");
    let documented: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let exported = FAMILIES.iter().map(|family| family.name);
    let exported: Vec<&str> = exported.chain(WORKER_FAMILIES.iter().map(|family| family.name)).collect();
    assert_eq!(documented, exported);
}

#[test]
fn every_reason_is_documented() {
    let text = read("shards/README.md");
    let labels = End::ALL.iter().map(|end| end.label());
    let labels = labels.chain(Reject::ALL.iter().map(|reject| reject.label()));
    let labels = labels.chain(PoolLoss::ALL.iter().map(|loss| loss.label()));
    for label in labels.chain(Filtered::ALL.iter().map(|filtered| filtered.label())) {
        assert!(text.contains(&format!("`{label}`")), "{label} is not in shards/README.md");
    }
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "config/README.md",
        "config/ALERTS.md",
        "config/FLEETS.md",
        "config/OPERATING.md",
        "config/SIZING.md",
        "config/TUNING.md",
        "config/UPGRADES.md",
        "config/TROUBLE.md",
        "config/deploy/README.md",
        "config/observe/README.md",
        "shards/README.md",
    ] {
        let folder = root().join(document).parent().unwrap().to_owned();
        for link in
            read(document).split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned))
        {
            let path = link.split('#').next().unwrap();
            let is_elsewhere = path.is_empty() || path.contains("://");
            assert!(is_elsewhere || folder.join(path).exists(), "{document}: {link}");
        }
    }
}

/// What `SECURITY.md` promises has a test, and that test is there.
#[test]
fn every_promise_of_security_has_its_tests() {
    let code: String =
        ["src", "shards", "tools"].iter().flat_map(|folder| sources(folder)).map(|(_, text)| text).collect();
    let text = read("SECURITY.md");
    let promised = text.split("## Promised").nth(1).unwrap().split("## Not promised").next().unwrap();
    let mut count = 0;
    for row in promised.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise")) {
        let held_by = row.trim_end_matches(" |").rsplit_once(" | ").unwrap().1;
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let is_there = match name.strip_prefix("golden/") {
                Some(file) => root().join("shards/proto/tests/golden").join(file).is_file(),
                None => code.contains(&format!("fn {name}(")),
            };
            assert!(is_there, "{name}: no such test");
        }
        count += 1;
    }
    assert!(count >= 25, "only {count} promises");
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_second() {
    let readme = read("README.md");
    assert!(readme.contains("cargo run --release -- demo"));
    assert!(readme.lines().any(|line| line.trim() == "cargo test" || line.contains("`cargo test`")));
    assert!(read(".ci/run").contains("cargo test"));
}
