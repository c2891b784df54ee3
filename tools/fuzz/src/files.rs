//! Configuration files.

use loka_stratum::config::{Config, Overrides, parse_str};

/// A password that inputs use, and that nobody may be shown.
const PASSWORD: &str = "hunter2";

/// Any text: it loads, or every mistake is told in one line that names a line of the text. There is no function that
/// writes a configuration, so what loads is held against itself: the same with a comment behind it means the same.
pub fn config_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_str("fuzz.toml", text, &[], &Overrides::default()) {
        Ok(loaded) => {
            assert!((1..=16).contains(&loaded.config.pools.len()));
            let again = parse_str("fuzz.toml", &format!("{text}\n# A comment\n"), &[], &Overrides::default());
            assert_eq!(again.as_ref(), Ok(&loaded), "a comment changes what is meant");
            loaded.warnings.iter().for_each(|warning| check_told(warning));
            check_secrets(text, &loaded.config, &format!("{loaded:?} {}", loaded.warnings.join(" ")));
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            error.problems.iter().for_each(|problem| check_place(text, &problem.to_string()));
        }
    }
}

/// Whoever writes the file must not write lines of the log or move the cursor of a terminal.
fn check_told(line: &str) {
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
}

/// A place in a message is one of the text.
fn check_place(text: &str, line: &str) {
    check_told(line);
    let Some(place) = line.strip_prefix("fuzz.toml:") else { return };
    let number = place.split(':').next().and_then(|number| number.parse::<usize>().ok());
    let lines = text.split('\n').count();
    assert!(number.is_none_or(|number| (1..=lines).contains(&number)), "{line}: of {lines} lines");
}

fn check_secrets(text: &str, config: &Config, shown: &str) {
    let in_pools: usize =
        config.pools.iter().map(|pool| pool.password.reveal().matches(PASSWORD).count()).sum();
    // Where it is a name or a comment too, it is no secret.
    if in_pools > 0 && text.matches(PASSWORD).count() == in_pools {
        assert!(!shown.contains(PASSWORD), "a password is shown");
    }
}
