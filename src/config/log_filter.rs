//! Which messages are logged: `info`, or `info,loka_stratum::protocol=trace`. The same is read from `logging.level`, from
//! `RUST_LOG` and while the program runs. Nothing is logged here, and no word is guessed: a misspelt level is an error.

use std::ffi::{OsStr, OsString};
use std::fmt;

use super::error::{Origin, Problems, Subject};
use super::key::Form;
use super::sections::LogLevel;
use super::value::{Given, shown};

/// The variable that adds to `logging.level`.
const VARIABLE: &str = "RUST_LOG";
/// Targets of one filter: each message that might be logged is held against all of them once.
const TARGETS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4096;

/// A level for everything, and levels of their own for some targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    level: LogLevel,
    targets: Vec<(String, LogLevel)>,
}

impl LogFilter {
    /// One level for everything.
    pub fn all(level: LogLevel) -> Self {
        Self { level, targets: Vec::new() }
    }

    /// Reads levels and `TARGET=LEVEL` separated by commas; the last of two that speak of the same counts. Without a level
    /// for everything that is `info`.
    ///
    /// # Errors
    /// What is wrong with it, in words that name the part.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Parts { level, targets } = parts(text, false)?;
        if level.is_none() && targets.is_empty() {
            return Err("must name a level, such as info".to_owned());
        }
        Ok(Self { level: level.unwrap_or(LogLevel::Info), targets })
    }

    /// The level of whatever has none of its own.
    pub fn level(&self) -> LogLevel {
        self.level
    }

    /// Targets with a level of their own. A target stands for all that begin with it; the longest counts.
    pub fn targets(&self) -> &[(String, LogLevel)] {
        &self.targets
    }

    /// With what the variable says: a bare level takes the place of all this, a target stands beside it.
    fn with(self, variable: Parts) -> Self {
        let Parts { level, targets } = variable;
        let mut filter = level.map_or(self, Self::all);
        for (target, level) in targets {
            set(&mut filter.targets, target, level);
        }
        filter
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={}", level.as_str()))
    }
}

#[derive(Default)]
struct Parts {
    level: Option<LogLevel>,
    targets: Vec<(String, LogLevel)>,
}

/// `bare_targets`: a target alone means all of its messages, as is usual in `RUST_LOG`.
fn parts(text: &str, bare_targets: bool) -> Result<Parts, String> {
    let mut parts = Parts::default();
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("must be at most {TEXT_BYTES_MAX} bytes"));
    }
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            None => match level(part) {
                Some(level) => parts.level = Some(level),
                None if bare_targets => set(&mut parts.targets, target(part)?, LogLevel::Trace),
                None => return Err(format!("{} is no level; {}", quoted(part), expected())),
            },
            Some((name, word)) => {
                let level = level(word).ok_or_else(|| {
                    format!("{} in {} is no level; {}", quoted(word), quoted(part), expected())
                })?;
                set(&mut parts.targets, target(name)?, level);
            }
        }
    }
    if parts.targets.len() > TARGETS_MAX {
        return Err(format!("must name at most {TARGETS_MAX} targets"));
    }
    Ok(parts)
}

fn set(targets: &mut Vec<(String, LogLevel)>, target: String, level: LogLevel) {
    targets.retain(|(other, _)| *other != target);
    targets.push((target, level));
}

fn level(word: &str) -> Option<LogLevel> {
    let word = word.trim().to_ascii_lowercase();
    let known = LogLevel::NAMES.iter().chain(&[("warning", LogLevel::Warn)]).find(|(name, _)| *name == word);
    known.map(|(_, level)| *level)
}

/// Targets are paths of modules. Spans and fields, which `RUST_LOG` may filter elsewhere, are not made by this program.
fn target(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.');
    if text.is_empty() || !text.chars().all(is_good) {
        return Err(format!("{} is no target; a target is such as loka_stratum::protocol", quoted(text)));
    }
    Ok(text.to_owned())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

fn expected() -> String {
    let names: Vec<&str> = LogLevel::NAMES.iter().map(|(name, _)| *name).collect();
    format!("a level is one of {}", names.join(", "))
}

/// `logging.level` as a key.
pub(super) struct Levels;

impl Form for Levels {
    type Out = LogFilter;
    type Default = LogLevel;

    fn read(&self, given: &Given) -> Result<LogFilter, String> {
        let text = given.text().ok_or_else(|| super::key::must_be(self))?;
        LogFilter::parse(text)
    }

    fn allowed(&self) -> String {
        let names: Vec<String> = LogLevel::NAMES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("one of {}, and beside it TARGET=LEVEL, separated by commas", names.join(", "))
    }

    fn default_value(&self, default: &LogLevel) -> LogFilter {
        LogFilter::all(*default)
    }

    fn default_toml(&self, default: &LogLevel) -> Option<String> {
        Some(format!("\"{}\"", default.as_str()))
    }
}

/// The variable out of the environment. A mistake in it becomes a problem.
pub(super) struct Variable(Parts);

impl Variable {
    pub(super) fn read(env: &[(OsString, OsString)], problems: &mut Problems) -> Self {
        let given = env.iter().find(|(name, _)| name == VARIABLE).map(|(_, value)| value.as_os_str());
        let read = given.map(OsStr::to_string_lossy).map(|text| (parts(&text, true), text));
        Self(match read {
            None => Parts::default(),
            Some((Ok(parts), _)) => parts,
            Some((Err(complaint), text)) => {
                let origin = Origin::Environment { name: VARIABLE.to_owned() };
                problems.value(&Subject { origin, key: "logging.level", shown: quoted(&text) }, complaint);
                Parts::default()
            }
        })
    }

    /// What the configuration says, with what the variable says on top of it.
    pub(super) fn over(self, filter: LogFilter) -> LogFilter {
        filter.with(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        LogFilter::parse(text).map_or_else(|complaint| complaint, |filter| filter.to_string())
    }

    #[test]
    fn levels_and_targets_are_read_and_written() {
        for (text, expected) in [
            ("info", "info"),
            (" Warning ,", "warn"),
            ("debug,error", "error"),
            ("a::b=trace", "info,a::b=trace"),
            ("warn, a=debug ,a::b=OFF,a=trace", "warn,a::b=off,a=trace"),
        ] {
            assert_eq!(parsed(text), expected, "{text:?}");
            assert_eq!(parsed(expected), expected);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let levels = "a level is one of trace, debug, info, warn, error, off";
        for (text, expected) in [
            ("", "must name a level, such as info".to_owned()),
            (" , ", "must name a level, such as info".to_owned()),
            ("verbose", format!("\"verbose\" is no level; {levels}")),
            ("info,a=loud", format!("\"loud\" in \"a=loud\" is no level; {levels}")),
            ("a=", format!("\"\" in \"a=\" is no level; {levels}")),
            ("=info", "\"\" is no target; a target is such as loka_stratum::protocol".to_owned()),
            ("a[{x=1}]=info", format!("\"1}}]=info\" in \"a[{{x=1}}]=info\" is no level; {levels}")),
            ("a b=info", "\"a b\" is no target; a target is such as loka_stratum::protocol".to_owned()),
        ] {
            assert_eq!(parsed(text), expected, "{text:?}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("t{number}=info")).collect();
        assert_eq!(parsed(&many.join(",")), "must name at most 64 targets");
        assert_eq!(parsed(&"a".repeat(5000)), "must be at most 4096 bytes");
    }

    #[test]
    fn the_variable_stands_on_top() {
        for (level, variable, expected) in [
            ("info", "", "info"),
            ("info", "loka_stratum", "info,loka_stratum=trace"),
            ("info,a=trace", "a=warn,b=debug", "info,a=warn,b=debug"),
            ("info,a=trace", "off", "off"),
            ("info,a=trace", "b=debug,error", "error,b=debug"),
        ] {
            let mut problems = Problems::default();
            let variable = Variable::read(&[("RUST_LOG".into(), variable.into())], &mut problems);
            assert_eq!(variable.over(LogFilter::parse(level).unwrap()).to_string(), expected);
            assert!(problems.into_result().is_ok());
        }
        let mut problems = Problems::default();
        let _ = Variable::read(&[("RUST_LOG".into(), "a=loud".into())], &mut problems);
        let error = problems.into_result().unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG = \"a=loud\": \"loud\" in \"a=loud\" is no level; "), "{error}");
    }
}
