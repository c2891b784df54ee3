//! What is wrong with the database, in a word for metrics and a sentence for people.
//!
//! What a server says is bounded and shown without what could steer a terminal; no row, and no password, is ever part of it.

use super::figures::CentralFailure;
use crate::pools::{Problem, tls};
use std::error::Error as _;
use std::io;
use std::time::Duration;
use tokio_postgres::error::{DbError, SqlState};

/// The longest sentence of a server that is shown.
const SAID_CHARS_MAX: usize = 240;

/// Why records could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CentralError {
    /// As metrics count it.
    pub kind: CentralFailure,
    text: String,
}

impl CentralError {
    pub(super) fn new(kind: CentralFailure, text: impl Into<String>) -> CentralError {
        CentralError { kind, text: text.into() }
    }

    pub(super) fn slow(what: &str, within: Duration) -> CentralError {
        CentralError::new(CentralFailure::Slow, format!("{what}: no answer within {} s", within.as_secs()))
    }

    /// On the way to the database.
    pub(super) fn connecting(problem: &Problem) -> CentralError {
        CentralError::new(CentralFailure::Unreachable, problem.to_string())
    }

    /// The same with what to do about it.
    pub(super) fn with(mut self, more: &str) -> CentralError {
        self.text.push_str(more);
        self
    }
}

impl From<rusqlite::Error> for CentralError {
    fn from(error: rusqlite::Error) -> Self {
        CentralError::new(CentralFailure::File, format!("the file of records cannot be read: {error}"))
    }
}

impl From<tokio_postgres::Error> for CentralError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(told) = error.as_db_error() {
            return CentralError::new(kind_of(told.code()), said(told));
        }
        let cause = error.source();
        let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        if let Some(tls) =
            io.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return CentralError::new(
                CentralFailure::Tls,
                format!("{}\n  fix: {}", tls::explain(tls), tls::fix(tls)),
            );
        }
        let text = match cause {
            Some(cause) => format!("{error}: {}", shown(&cause.to_string())),
            None => error.to_string(),
        };
        // It has no other word for what it was that failed.
        let begins = |beginning: &str| text.starts_with(beginning);
        let kind = if begins("error performing TLS") {
            CentralFailure::Tls
        } else if begins("authentication") || begins("invalid configuration") {
            CentralFailure::Login
        } else {
            CentralFailure::Lost
        };
        CentralError::new(kind, text)
    }
}

fn kind_of(code: &SqlState) -> CentralFailure {
    match code.code() {
        // No such database.
        "3D000" => CentralFailure::Login,
        // No table, no column, no key of that form, no right to any of it, no folder for new tables.
        "42P01" | "42703" | "42P10" | "42804" | "42501" | "3F000" => CentralFailure::Schema,
        // Cancelled, since it took too long; a lock that was not given.
        "57014" | "55P03" => CentralFailure::Slow,
        // It is going down, it is coming up.
        "57P01" | "57P02" | "57P03" => CentralFailure::Unreachable,
        code if code.starts_with("28") => CentralFailure::Login,
        code if code.starts_with("53") => CentralFailure::Full,
        code if code.starts_with("08") => CentralFailure::Lost,
        _ => CentralFailure::Refused,
    }
}

/// Without its details: those may be a row.
fn said(told: &DbError) -> String {
    format!("it says \"{}\" (SQLSTATE {})", shown(told.message()), told.code().code())
}

/// One line of bounded length.
fn shown(text: &str) -> String {
    let printable = |character: char| if character.is_control() { '?' } else { character };
    text.chars().take(SAID_CHARS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_has_a_word() {
        for (code, expected) in [
            ("28P01", CentralFailure::Login),
            ("28000", CentralFailure::Login),
            ("3D000", CentralFailure::Login),
            ("42P01", CentralFailure::Schema),
            ("42501", CentralFailure::Schema),
            ("53100", CentralFailure::Full),
            ("53300", CentralFailure::Full),
            ("57P01", CentralFailure::Unreachable),
            ("57014", CentralFailure::Slow),
            ("22021", CentralFailure::Refused),
            ("40001", CentralFailure::Refused),
        ] {
            assert_eq!(kind_of(&SqlState::from_code(code)), expected, "{code}");
        }
        assert_eq!(shown(&format!("a\n\u{1b}[31m{}", "x".repeat(1_000))).len(), SAID_CHARS_MAX);
    }
}
