//! The reference: every key with its meaning, range, default and environment variable, as a file that can be
//! loaded.

use super::key::Entry;
use super::table;

/// Columns of a comment line, the sign included.
const COLUMNS: usize = 110;

const HEADER: &str = "\
# Every key of the configuration, each standing at its default.
#
# The file is `--config FILE`, else LOKA_CONFIG, else ./config.toml, else /etc/loka-stratum/config.toml, else
# none. The file overrides the defaults, the environment the file, the command line the environment.
# A key that is left out stands at its default; a key that does not exist is an error.
# SIGHUP or `loka-stratum reload` takes a changed file while miners work on, but for keys that say otherwise.
# Written by `loka-stratum config reference`.
";

/// What a second pool looks like; in comments, since the reference is the defaults.
const SECOND_POOL: &str = "
# A second pool, for the time when the first has failed. It takes the same keys.
# [[pool]]
# host = \"stratum+ssl://backup.example.com:443\"
# username = \"your_account\"
";

/// The text of `config/reference.toml`.
pub fn reference() -> String {
    let mut text = HEADER.to_owned();
    for (section, doc) in table::SECTIONS {
        text.push('\n');
        comment(&mut text, doc);
        let is_pool = *section == "pool";
        text.push_str(&if is_pool { format!("[[{section}]]\n") } else { format!("[{section}]\n") });
        for entry in table::entries() {
            if let Some((_, name)) = entry.path().rsplit_once('.').filter(|(of, _)| of == section) {
                key(&mut text, name, *entry);
            }
        }
        if is_pool {
            text.push_str(SECOND_POOL);
        }
    }
    text
}

fn key(text: &mut String, name: &str, entry: &dyn Entry) {
    text.push('\n');
    comment(text, entry.doc());
    comment(text, &format!("Allowed: {}.", entry.allowed()));
    let flag = entry.flag().map(|flag| format!(" Command line: {flag}.")).unwrap_or_default();
    comment(text, &format!("Environment: {}.{flag}", entry.environment().join(" or ")));
    if entry.is_at_start() {
        comment(text, "A change takes a restart.");
    }
    match entry.default_toml() {
        Some(default) => text.push_str(&format!("{name} = {default}\n")),
        None => text.push_str(&format!("# {name} = \"pool.example.com\"\n")),
    }
}

fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
