//! Every file of the fuzz corpus and every input that ever broke a promise, through the bodies of the fuzz targets,
//! without libFuzzer. `tools/fuzz/README.md` tells how to look for more.
#![allow(unreachable_pub, reason = "the bodies are public to the targets of libFuzzer, another package")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../fuzz/src/files.rs"]
mod files;
#[path = "../fuzz/src/front.rs"]
mod front;
#[path = "../fuzz/src/links.rs"]
mod links;
#[path = "../fuzz/src/pair.rs"]
mod pair;

use loka_proto::End;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz")
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Replays the corpus of a target, of which there are at least so many files, and what is kept of its crashes.
fn replay(target: &str, at_least: usize, body: fn(&[u8])) {
    let mut found = inputs(&folder().join("corpus").join(target));
    assert!(found.len() >= at_least, "{} files for {target}: some are missing", found.len());
    found.extend(inputs(&folder().join("crashes").join(target)));
    let broken: Vec<String> = found
        .iter()
        .filter(|path| {
            let bytes = fs::read(path).unwrap();
            catch_unwind(AssertUnwindSafe(|| body(&bytes))).is_err()
        })
        .map(|path| path.display().to_string())
        .collect();
    assert!(broken.is_empty(), "broken by, with the reasons above:\n{}", broken.join("\n"));
}

#[test]
fn what_miners_send_is_survived() {
    replay("miner_line", 40, links::miner_line);
}

#[test]
fn what_pools_send_is_survived() {
    replay("pool_line", 44, links::pool_line);
}

#[test]
fn what_happens_to_a_link_is_survived() {
    replay("session", 73, links::session);
}

/// Seeds that no longer say what they are named for would be replayed for nothing.
#[test]
fn the_corpus_reaches_every_end() {
    let paths = inputs(&folder().join("corpus/session"));
    let all: Vec<_> = paths.iter().map(|path| links::count(&fs::read(path).unwrap())).collect();
    // The runtime alone finds the first; the chain of these sessions limits no rate; a flood of output needs more than
    // the corpus says at once.
    let by_runtime = [End::Panicked, End::OverCapacity, End::Shed, End::BadProxyHeader, End::TlsFailed];
    let guests = [End::Http, End::HttpBusy];
    let at_the_door =
        [End::Denied, End::Blocked, End::Kicked, End::AddressLimit, End::ConnectRate, End::Overloaded];
    let not_here = [by_runtime.as_slice(), &guests, &at_the_door, &[End::Flood, End::OutputFlood]].concat();
    for end in End::ALL.iter().filter(|end| !not_here.contains(end)) {
        assert!(all.iter().any(|counts| counts.ends[end.index()] > 0), "no session ends with {end}");
    }
    assert!(all.iter().any(|counts| counts.moved > 1), "no miner moves twice");
    assert!(all.iter().any(|counts| counts.shares.lost > 1), "no miner loses several shares");
}

/// The golden dialogues are sessions too: the target ignores what they expect.
#[test]
fn golden_dialogues_are_survived_in_two_cuts() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("shards/proto/tests/golden");
    let files: Vec<PathBuf> = inputs(&golden).into_iter().filter(|path| path.is_file()).collect();
    assert!(files.len() >= 80, "{} dialogues", files.len());
    for path in files {
        links::session(&fs::read(path).unwrap());
    }
}

#[test]
fn what_stands_before_a_connection_is_survived() {
    replay("proxy_header", 45, front::proxy_header);
}

#[test]
fn what_a_configuration_says_is_survived() {
    replay("config_toml", 49, files::config_toml);
}

/// A replay that lets everything pass would be worse than none.
#[test]
fn a_body_that_panics_is_told_by_its_file() {
    let told = catch_unwind(|| replay("session", 1, |data| assert!(!data.starts_with(b"!up 1"), "as meant")));
    let told = told.unwrap_err().downcast::<String>().unwrap();
    assert!(told.ends_with("session/up-unasked"), "{told}");
}

/// Files of libFuzzer are of other kinds than ours; a folder in the wrong place would be replayed by nobody.
#[test]
fn every_folder_of_inputs_has_a_target() {
    for kept in ["corpus", "crashes"] {
        for path in inputs(&folder().join(kept)) {
            let target = path.file_name().unwrap().to_string_lossy().into_owned();
            let source = folder().join("fuzz_targets").join(format!("{target}.rs"));
            assert!(path.is_file() || source.is_file(), "{} has no target", path.display());
        }
    }
}
