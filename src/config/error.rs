//! What can be wrong with a configuration, and how it is said.

use std::fmt;
use std::sync::Arc;

/// Problems listed one by one; a file of nonsense has thousands that help nobody.
const LISTED_MAX: usize = 50;

/// Who gave a setting. The order is the precedence: later beats earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody: the key stands at its default.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named.
        file: Arc<str>,
        /// Its line.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// A flag of the command line.
    Flag {
        /// The flag with its dashes.
        flag: String,
    },
}

impl Origin {
    /// 0 to 3 for default, file, environment, command line: a higher rank overrides a lower one.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment { .. } => 2,
            Self::Flag { .. } => 3,
        }
    }

    fn line(&self) -> usize {
        match self {
            Self::File { line, .. } => *line,
            Self::Default | Self::Environment { .. } | Self::Flag { .. } => 0,
        }
    }
}

/// A setting as its giver wrote it: `config.toml:12: server.port = 70000`, `LOKA_SERVER_PORT = "abc"`,
/// `--shards 0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who gave it.
    pub origin: Origin,
    /// The key it is for, such as `server.port`.
    pub key: &'static str,
    /// The value as written, cut to a printable length; secrets are hidden.
    pub shown: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, shown } = self;
        match origin {
            Origin::Default => write!(f, "{key} = {shown} (the default)"),
            Origin::File { file, line } => write!(f, "{file}:{line}: {key} = {shown}"),
            Origin::Environment { name } => write!(f, "{name} = {shown}"),
            Origin::Flag { flag } => write!(f, "{flag} {shown}"),
        }
    }
}

/// One mistake. Its text is one line that names the place, the value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read, or is not a text file.
    #[error("{file}: {reason}{}", by(.named_by))]
    File {
        /// The file as it was named.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// `--config` or `LOKA_CONFIG`, when one of them named it.
        named_by: Option<&'static str>,
    },
    /// The file is not TOML.
    #[error("{file}:{line}:{column}: not valid TOML: {message}")]
    Syntax {
        /// The file as it was named.
        file: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the TOML parser says.
        message: String,
    },
    /// A section or key that does not exist.
    #[error("{}unknown {what}{}", place(.origin), did_you_mean(.nearest))]
    Unknown {
        /// Where it was written.
        origin: Origin,
        /// `key server.prot` or `section [sever]`.
        what: String,
        /// The nearest name that does exist.
        nearest: Option<String>,
    },
    /// A section that is not written as one table.
    #[error("{}{section}: {complaint}", place(.origin))]
    Section {
        /// Where it was written.
        origin: Origin,
        /// The section as written.
        section: String,
        /// What it must be.
        complaint: String,
    },
    /// A value that its key does not take, or that contradicts another one.
    #[error("{subject}: {complaint}")]
    Value {
        /// The setting.
        subject: Subject,
        /// What it must be.
        complaint: String,
    },
    /// A key without a default that nobody gave.
    #[error("{key} is not set: {how}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How it can be given.
        how: &'static str,
    },
}

impl Problem {
    /// Rank of the source, then line: the order in which problems are listed.
    fn order(&self) -> (u8, usize) {
        match self {
            Self::File { .. } => (0, 0),
            Self::Syntax { line, .. } => (1, *line),
            Self::Unknown { origin, .. } | Self::Section { origin, .. } => (origin.rank(), origin.line()),
            Self::Value { subject, .. } => match subject.origin.rank() {
                // A contradiction between defaults is a contradiction with something below; it reads best
                // last.
                0 => (4, 0),
                rank => (rank, subject.origin.line()),
            },
            Self::Missing { .. } => (5, 0),
        }
    }
}

/// Everything that is wrong with a configuration, one line each. Never empty, never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The mistakes: file first, by line; then environment, command line, and what is missing.
    pub problems: Vec<Problem>,
    /// How many more there are than `problems` lists.
    pub more: usize,
}

impl ConfigError {
    /// The exit code of a program that cannot run with its configuration (`EX_CONFIG`).
    pub const EXIT_CODE: u8 = 78;
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], more: 0 }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// Collects problems up to the number that is listed, and counts the rest.
#[derive(Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Builds the problem only when it will be listed: suggestions cost time.
    pub(super) fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.list.len() < LISTED_MAX {
            self.list.push(problem());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn value(&mut self, subject: &Subject, complaint: impl Into<String>) {
        self.push_with(|| Problem::Value { subject: subject.clone(), complaint: complaint.into() });
    }

    pub(super) fn has_syntax_errors(&self) -> bool {
        self.list.iter().any(|problem| matches!(problem, Problem::Syntax { .. }))
    }

    /// `Ok` without problems, else all of them in reading order.
    pub(super) fn into_result(mut self) -> Result<(), ConfigError> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort_by_key(Problem::order);
        Err(ConfigError { problems: self.list, more: self.more })
    }
}

fn by(named_by: &Option<&'static str>) -> String {
    named_by.map(|by| format!(" (named by {by})")).unwrap_or_default()
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        Origin::File { file, line } => format!("{file}:{line}: "),
        Origin::Environment { name } => format!("{name}: "),
        Origin::Flag { flag } => format!("{flag}: "),
    }
}
