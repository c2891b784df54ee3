//! Reads `counts.txt`, and makes gungraun hold each path to its row.

use gungraun::{Callgrind, EntryPoint, EventKind, LibraryBenchmarkConfig};

/// Read at run time: a new number in it must not change the program that is counted.
const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/counts.txt");

/// The limit of a path. One without a row gets none at all, so that it fails until it has one.
pub(crate) fn limit(path: &str) -> LibraryBenchmarkConfig {
    config(path, EntryPoint::Default)
}

/// The same where only the stage's own function is counted.
pub(crate) fn limit_of_stage(path: &str) -> LibraryBenchmarkConfig {
    config(path, EntryPoint::Custom("*::through_the_chain".to_owned()))
}

fn config(path: &str, entry: EntryPoint) -> LibraryBenchmarkConfig {
    let counts = std::fs::read_to_string(COUNTS).unwrap_or_default();
    let row = counts.lines().find(|row| row.split_whitespace().next() == Some(path));
    let most = row.and_then(|row| row.split_whitespace().nth(2)?.parse().ok()).unwrap_or(0);
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.entry_point(entry).hard_limits([(EventKind::Ir, most as u64)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}
