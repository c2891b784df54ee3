//! The table of threats, held against the tree: each test that it names is there, and no threat is left out.

use std::path::Path;

const TABLE: &str = "tools/e2e/THREATS.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks and has the form of a path.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('/') && !word.starts_with('/') && !word.contains(' '))
}

/// Why a name leads nowhere, if it does.
fn fault(name: &str) -> Option<String> {
    let (path, function) =
        name.split_once("::").map_or((name, None), |(path, function)| (path, Some(function)));
    let path = root().join(path);
    let Some(function) = function else {
        return (!path.exists()).then(|| "there is no such file".to_owned());
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Some(error.to_string()),
    };
    (!text.contains(&format!("fn {function}("))).then(|| "there is no such test".to_owned())
}

#[test]
fn every_test_of_the_table_is_there_and_every_threat_is_in_it() {
    let text = std::fs::read_to_string(root().join(TABLE)).unwrap();
    let faults: Vec<String> =
        named(&text).filter_map(|name| Some(format!("{name}: {}", fault(name)?))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(named(&text).filter(|name| name.contains("::")).count() >= 60, "the table names few tests");
    for number in 1..=28 {
        let row = text.lines().find(|line| line.starts_with(&format!("| T{number} |")));
        let row = row.unwrap_or_else(|| panic!("T{number} is not in the table"));
        assert_eq!(row.matches(" | ").count(), 4, "T{number} has not all of its columns");
        assert!(row.contains('`') || row.contains("open"), "T{number} names no test and is not open");
    }
}

#[test]
fn a_name_that_leads_nowhere_is_found() {
    assert_eq!(fault("tools/e2e/threats/table.rs::a_name_that_leads_nowhere_is_found"), None);
    assert!(fault("tools/e2e/threats/table.rs::no_such_test").is_some());
    assert!(fault("tools/e2e/no-such-file.rs::a_test").is_some());
    assert!(fault("tools/e2e/no-such-file.txt").is_some());
}
