//! The configuration file: finding it, reading it, and the TOML in it as a list of settings.
//!
//! A serde mirror of the sections would stop at the first mistake; this walk over the spanned document
//! reports all of them, each with its line.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::Setting;
use super::error::{Origin, Problem, Problems, Subject};
use super::nearest::nearest;
use super::table;
use super::value::{Given, Value, shown, shown_path};

/// Most pools of a file.
const POOLS_MAX: usize = 16;
/// The one section that may stand several times.
const POOL: &str = "pool";

/// No configuration is this large; whatever is, is not one.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Above this size only the first syntax error is reported.
const RECOVERED_BYTES_MAX: usize = 64 * 1024;
/// Errors of the parser that are looked at: finding the line of each costs a walk through the text.
const ERRORS_MAX: usize = 40;

/// Reads a file that was named by `named_by` (a flag or a variable), or the first of the usual places that
/// exists.
pub(super) fn read(
    named: Option<(&Path, &'static str)>,
    search: &[PathBuf],
) -> Result<Option<(PathBuf, String)>, Problem> {
    if let Some((path, named_by)) = named {
        let text = read_one(path).map_err(|error| problem(path, reason(&error), Some(named_by)))?;
        return decode(path, text, Some(named_by)).map(|text| Some((path.to_owned(), text)));
    }
    for path in search {
        match read_one(path) {
            Ok(bytes) => return decode(path, bytes, None).map(|text| Some((path.clone(), text))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // A file that is there but cannot be read was meant; running without it would be a surprise.
            Err(error) => return Err(problem(path, reason(&error), None)),
        }
    }
    Ok(None)
}

fn read_one(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn decode(path: &Path, bytes: Vec<u8>, named_by: Option<&'static str>) -> Result<String, Problem> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        problem(path, format!("line {line} is not UTF-8 text"), named_by)
    })
}

fn problem(path: &Path, reason: String, named_by: Option<&'static str>) -> Problem {
    Problem::File { file: shown_path(&path.to_string_lossy()), reason, named_by }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list of kinds is open")]
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "no permission to read it".to_owned(),
        ErrorKind::IsADirectory => "is a directory, not a file".to_owned(),
        ErrorKind::FileTooLarge => format!("is larger than {FILE_BYTES_MAX} bytes"),
        _ => format!("cannot be read: {error}"),
    }
}

/// What a file says.
#[derive(Default)]
pub(super) struct Written {
    /// Its settings, in the order of its lines.
    pub(super) settings: Vec<Setting>,
    /// Where each of its pools begins; at most [`POOLS_MAX`].
    pub(super) pools: Vec<Origin>,
}

/// The settings of a TOML text. What is no known key becomes a problem. Text that is no TOML gives problems only.
pub(super) fn settings(name: &str, text: &str, problems: &mut Problems) -> Written {
    let walk = Walk { file: Arc::from(shown_path(name).as_str()), text };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(first) => {
            // The parser keeps every error it finds; in a large text of nonsense those take hundreds of
            // megabytes.
            let all = text.len() <= RECOVERED_BYTES_MAX;
            let errors = if all { DeTable::parse_recoverable(text).1 } else { vec![first] };
            walk.syntax(errors, problems);
            return Written::default();
        }
    };
    let mut found = Found::default();
    for (key, value) in document.get_ref() {
        walk.section(key, value, &mut found, problems);
    }
    found.leaves.sort_by_key(|leaf| leaf.start);
    let settings = found.leaves.iter().filter_map(|leaf| walk.setting(leaf, problems)).collect();
    Written { settings, pools: found.pools }
}

/// A key with its value, before it is known whether such a key exists.
struct Leaf<'a> {
    path: String,
    pool: usize,
    start: usize,
    value: &'a Spanned<DeValue<'a>>,
}

/// What the walk found.
#[derive(Default)]
struct Found<'a> {
    leaves: Vec<Leaf<'a>>,
    pools: Vec<Origin>,
}

struct Walk<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Walk<'_> {
    /// The parser recovers and goes on, but the mistakes it then finds on one line are consequences of the
    /// first.
    fn syntax(&self, errors: Vec<toml::de::Error>, problems: &mut Problems) {
        let mut last_line = 0;
        for error in errors.into_iter().take(ERRORS_MAX) {
            let span = error.span().unwrap_or(0..0);
            let (line, column) = self.place(span.start);
            if line != last_line {
                let mut message = shown_message(error.message());
                // The parser does not say which; no other piece of the text is repeated, for it may be a
                // secret.
                if message == "duplicate key" {
                    message = format!("{message} {}", shown(self.written(span)));
                }
                problems.push_with(|| Problem::Syntax { file: self.file.clone(), line, column, message });
            }
            last_line = line;
        }
    }

    fn section<'v>(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &'v Spanned<DeValue<'v>>,
        found: &mut Found<'v>,
        problems: &mut Problems,
    ) {
        let (name, start) = (key.get_ref().as_ref(), key.span().start);
        let known = table::is_section(name);
        match value.get_ref() {
            DeValue::Table(keys) if known => {
                if name == POOL {
                    found.pools.push(self.origin(start));
                }
                self.keys(name, 0, keys, &mut found.leaves, problems);
            }
            DeValue::Array(list) if name == POOL => self.pools(start, list, found, problems),
            DeValue::Table(_) => problems.push_with(|| unknown_section(self.origin(start), name)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                if known {
                    self.not_a_section(name, start, complaint_about(value), problems);
                } else {
                    problems.push_with(|| unknown_key(self.origin(start), name));
                }
            }
        }
    }

    /// The keys of a section and of the sections in it, which the table of sections bounds.
    fn keys<'v>(
        &self,
        section: &str,
        pool: usize,
        keys: &'v DeTable<'v>,
        leaves: &mut Vec<Leaf<'v>>,
        problems: &mut Problems,
    ) {
        for (key, value) in keys {
            let (path, start) = (format!("{section}.{}", key.get_ref()), key.span().start);
            let is_section = table::is_section(&path);
            match value.get_ref() {
                DeValue::Table(keys) if is_section => self.keys(&path, pool, keys, leaves, problems),
                DeValue::Table(_) if table::find(&path).is_none() => {
                    problems.push_with(|| unknown_section(self.origin(start), &path));
                }
                DeValue::Table(_)
                | DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    if is_section {
                        self.not_a_section(&path, start, complaint_about(value), problems);
                    } else {
                        leaves.push(Leaf { path, pool, start, value });
                    }
                }
            }
        }
    }

    /// `[[pool]]`, as often as there are pools; with one entry it is `[pool]`.
    fn pools<'v>(
        &self,
        start: usize,
        list: &'v [Spanned<DeValue<'v>>],
        found: &mut Found<'v>,
        problems: &mut Problems,
    ) {
        if list.is_empty() {
            self.not_a_section(POOL, start, "must be a section", problems);
        }
        for (index, entry) in list.iter().enumerate() {
            let origin = self.origin(entry.span().start);
            if index == POOLS_MAX {
                return problems.push_with(|| Problem::Section {
                    origin,
                    section: "[[pool]]".to_owned(),
                    complaint: format!("there may be at most {POOLS_MAX} pools"),
                });
            }
            match entry.get_ref() {
                DeValue::Table(keys) => {
                    found.pools.push(origin);
                    self.keys(POOL, index, keys, &mut found.leaves, problems);
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    return self.not_a_section(POOL, start, "must be a section", problems);
                }
            }
        }
    }

    fn not_a_section(&self, name: &str, start: usize, complaint: &str, problems: &mut Problems) {
        problems.push_with(|| Problem::Section {
            origin: self.origin(start),
            section: name.to_owned(),
            complaint: format!("{complaint}, written [{name}] on a line of its own"),
        });
    }

    fn setting(&self, leaf: &Leaf<'_>, problems: &mut Problems) -> Option<Setting> {
        let Some(entry) = table::find(&leaf.path) else {
            problems.push_with(|| unknown_key(self.origin(leaf.start), &leaf.path));
            return None;
        };
        let given = Given::Toml(Value::from(leaf.value.get_ref()));
        let written = match leaf.value.get_ref() {
            // The span of a table built from headers or dotted keys is not its text.
            DeValue::Table(_) => "{…}",
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => self.written(leaf.value.span()),
        };
        let shown = entry.shown(&given, written);
        let subject = Subject { origin: self.origin(leaf.start), key: entry.path(), shown };
        Some(Setting { entry, pool: leaf.pool, given, subject })
    }

    fn written(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or("…")
    }

    fn origin(&self, start: usize) -> Origin {
        Origin::File { file: self.file.clone(), line: self.place(start).0 }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    fn place(&self, start: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..start.min(self.text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
    }
}

/// What is wrong with a section that is no table.
fn complaint_about(value: &Spanned<DeValue<'_>>) -> &'static str {
    if value.get_ref().is_array() { "there is one such section" } else { "must be a section" }
}

/// A section in a section is compared with those beside it only: what is right elsewhere would mislead.
fn unknown_section(origin: Origin, path: &str) -> Problem {
    let beside = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let known = table::SECTIONS.iter().map(|(section, _)| *section);
    let known = known.filter(|section| section.starts_with(beside));
    let nearest = nearest(path, known).map(|section| format!("[{section}]"));
    Problem::Unknown { origin, what: format!("section [{}]", shown(path)), nearest }
}

/// The value is not repeated: it may be a secret under a mistyped name.
pub(super) fn unknown_key(origin: Origin, path: &str) -> Problem {
    let known = table::entries().iter().map(|entry| entry.path());
    let nearest = nearest(path, known).map(str::to_owned);
    Problem::Unknown { origin, what: format!("key {}", shown(path)), nearest }
}

fn shown_message(message: &str) -> String {
    message.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
