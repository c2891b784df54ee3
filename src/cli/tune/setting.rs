//! The recommendation as two keys of a TOML text. Everything else in it stays as it is: comments, order, line ends.

use crate::config::CpuList;
use toml_edit::{DocumentMut, Item, Table, TomlError, Value};

/// The text with `server.cpus` and `performance.worker_threads` set.
pub(super) fn edited(text: &str, shards: usize, cpus: &CpuList) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    set(&mut document, "server", "cpus", Value::from(cpus.to_string()));
    // There are at most 1024 CPUs.
    set(&mut document, "performance", "worker_threads", Value::from(shards as i64));
    let written = document.to_string();
    // The parser gives lines back with the ends of this system.
    let foreign = text.contains("\r\n") && !text.replace("\r\n", "").contains('\n');
    Ok(if foreign { written.replace("\r\n", "\n").replace('\n', "\r\n") } else { written })
}

fn set(document: &mut DocumentMut, section: &str, key: &str, mut value: Value) {
    if let Some(table) = document.get_mut(section).and_then(Item::as_table_like_mut) {
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(present) => {
                // The comment behind a value belongs to it.
                *value.decor_mut() = present.decor().clone();
                *present = value;
            }
            None => {
                table.insert(key, Item::Value(value));
            }
        }
        return;
    }
    // Comments at the end of the text belong to the section before: they must not end up behind the new one.
    let mut before = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    if !before.is_empty() && !before.ends_with('\n') {
        before.push('\n');
    }
    if !document.is_empty() || !before.is_empty() {
        before.push('\n');
    }
    let mut table = Table::new();
    table.insert(key, Item::Value(value));
    table.decor_mut().set_prefix(before);
    document.insert(section, Item::Table(table));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect(text: &str, wanted: &str) {
        let cpus = CpuList::parse("0-1").unwrap();
        assert_eq!(edited(text, 2, &cpus).unwrap(), wanted);
        // A second time changes nothing.
        assert_eq!(edited(wanted, 2, &cpus).unwrap(), wanted);
    }

    #[test]
    fn sections_that_are_missing_come_at_the_end() {
        let both = "[server]\ncpus = \"0-1\"\n\n[performance]\nworker_threads = 2\n";
        expect("", both);
        expect("[pool]\nhost = \"p\"", &format!("[pool]\nhost = \"p\"\n\n{both}"));
        let commented = "# farm\n[pool]\nhost = \"p\" # ours\n# username = \"u\"\n";
        expect(commented, &format!("{commented}\n{both}"));
        expect("# nothing yet", &format!("# nothing yet\n\n{both}"));
    }

    #[test]
    fn keys_that_are_there_keep_their_comments() {
        expect(
            "[performance]\n# how many\nworker_threads = 8   # of 16\n\n[server] # miners\nport=3333\n  cpus   = \"2-5\" # fast\n# end\n",
            "[performance]\n# how many\nworker_threads = 2   # of 16\n\n[server] # miners\nport=3333\n  cpus   = \"0-1\" # fast\n# end\n",
        );
    }

    #[test]
    fn every_way_to_write_a_section_is_kept() {
        expect(
            "server.port = 1\nperformance.worker_threads = 3\n[pool]\nhost = \"p\"\n",
            "server.port = 1\nserver.cpus = \"0-1\"\nperformance.worker_threads = 2\n[pool]\nhost = \"p\"\n",
        );
        let cpus = CpuList::parse("0-1").unwrap();
        let inline = edited("server = { port = 1 }\nperformance = {}\n", 2, &cpus).unwrap();
        let read: toml::Table = inline.parse().unwrap();
        assert_eq!(read["server"]["cpus"].as_str(), Some("0-1"), "{inline}");
        assert_eq!(read["performance"]["worker_threads"].as_integer(), Some(2), "{inline}");
    }

    #[test]
    fn line_ends_of_another_system_stay() {
        expect(
            "# farm\r\n[server]\r\nport = 1\r\n",
            "# farm\r\n[server]\r\nport = 1\r\ncpus = \"0-1\"\r\n\r\n[performance]\r\nworker_threads = 2\r\n",
        );
    }

    #[test]
    fn what_is_no_toml_is_an_error() {
        assert!(edited("[server", 1, &CpuList::parse("0").unwrap()).is_err());
    }
}
