//! A dialogue for each miner, each pool quirk and each shape of bytes that the field is known for, as text files in
//! `golden/`, written from what miners and pools say and not from this crate. `common/script.rs` has the language.
//!
//! Every file is played with the bytes cut in several ways, since any split of the same bytes means the same.

mod common;
#[path = "common/player.rs"]
mod player;
#[path = "common/script.rs"]
mod script;

use player::{CUTS, Cut, play};
use script::Script;
use std::path::{Path, PathBuf};

fn files(prefix: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        name.starts_with(prefix) && name.ends_with(".txt")
    };
    let entries = std::fs::read_dir(dir).expect("the dialogues are beside the tests");
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable folder").path()).filter(is_ours).collect();
    found.sort();
    found
}

fn play_all(prefix: &str, at_least: usize) {
    let found = files(prefix);
    assert!(found.len() >= at_least, "{} files of {prefix}: some are missing", found.len());
    let mut failures = Vec::new();
    for path in &found {
        match Script::read(path) {
            Ok(script) => failures.extend(CUTS.iter().find_map(|cut| play(&script, *cut).err())),
            Err(error) => failures.push(error),
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), found.len(), failures.join("\n"));
}

#[test]
fn miners_are_understood() {
    play_all("miner-", 19);
}

#[test]
fn pools_are_understood() {
    play_all("pool-", 22);
}

#[test]
fn shapes_on_the_wire_are_understood() {
    play_all("wire-", 27);
}

#[test]
fn links_come_and_go() {
    play_all("link-", 6);
}

/// A runner that passes everything would be worse than none.
#[test]
fn a_script_that_does_not_hold_is_told_by_its_line() {
    let subscribe = "> {\"id\":1,\"method\":\"mining.subscribe\"}\n";
    let cases = [
        // Bytes and wishes that nobody expects.
        (subscribe.to_owned(), "text:1"),
        (format!("{subscribe}!dial\n!up\n"), "text:3"),
        (format!("{subscribe}!dial\n!up\n>> =\n!wait 30s\n!wait 1s\n"), "text:5"),
        // Expected, and not there.
        (format!("{subscribe}!dial\n>> =\n"), "text:3"),
        (format!("{subscribe}!dial\n!up\n<< {{}}\n"), "text:4"),
        ("!dial\n".to_owned(), "text:1"),
        (format!("{subscribe}!end miner_left\n"), "text:2"),
        ("!count shares.accepted 1\n".to_owned(), "text:1"),
        (">| GET /\n!alive\n".to_owned(), "text:2"),
        // One byte too many, one too few.
        (format!("{subscribe}!dial\n!up\n>>| {{\"id\":1,\"method\":\"mining.subscribe\"}}\n"), "text:3"),
        (
            format!("{subscribe}!dial\n!up\n>>| {{\"id\":1,\"method\":\"mining.subscribe\"}}\\n\\n\n"),
            "text:4",
        ),
        // A refusal that nobody speaks of.
        (
            "> {\"id\":1}\n<< {\"id\":1,\"result\":null,\"error\":[20,\"No method\",null]}\n".to_owned(),
            "text:1",
        ),
        // Not in the language.
        ("!dail\n".to_owned(), "text:1"),
        ("hello\n".to_owned(), "text:1"),
    ];
    for (text, place) in cases {
        let played = Script::of(&text).and_then(|script| play(&script, Cut::Whole));
        let error = played.expect_err(&text);
        assert!(error.starts_with(place), "{text}\nsaid at {place}, found: {error}");
    }
}
