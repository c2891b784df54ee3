//! What is told: one message, and a post of several as JSON or as chat tools take it.
//!
//! Texts of miners and pools may stand in it. They are cut, hold no control characters, and no chat tool finds a command
//! in them.

use super::rules::{Trouble, TroubleKind};
use crate::config::AlertFormat;
use serde::Serialize;
use std::fmt::Write as _;

/// Version of the form, which `config/ALERTS.md` documents.
pub const FORM_VERSION: u32 = 1;
/// Bytes of a text; a longer one is cut.
const TEXT_BYTES_MAX: usize = 512;
/// Bytes of a name; a longer one is cut.
const NAME_BYTES_MAX: usize = 96;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong.
    Info,
    /// Somebody should look.
    Warning,
    /// Miners earn nothing, or soon will not.
    Critical,
}

impl Severity {
    fn label(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// It is wrong.
    Firing,
    /// It is right again.
    Resolved,
}

/// One message about one alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Which alert: the same for as long as it is about the same thing, over restarts too.
    pub id: String,
    /// What it is about.
    pub kind: &'static str,
    /// Whether it is wrong or right again.
    pub status: AlertStatus,
    /// How bad it is, or was.
    pub severity: Severity,
    /// Whether it was told before and is told again: it lasts, or has become worse.
    pub again: bool,
    /// When it began, in seconds since 1970.
    pub since_unix_seconds: u64,
    /// When this was found, in seconds since 1970.
    pub at_unix_seconds: u64,
    /// One line.
    pub title: String,
    /// More of it.
    pub text: String,
    /// How much: workers, percent, shards, panics.
    pub value: Option<f64>,
    /// Whom it is about, where there are several.
    pub names: Vec<String>,
    /// How many more there are.
    pub more_names: usize,
}

impl Message {
    pub(super) fn firing(
        id: &str,
        kind: TroubleKind,
        trouble: &Trouble,
        (since, at): (u64, u64),
        again: bool,
    ) -> Message {
        Message {
            id: id.to_owned(),
            kind: kind.label(),
            status: AlertStatus::Firing,
            severity: trouble.severity,
            again,
            since_unix_seconds: since,
            at_unix_seconds: at,
            title: cut(&trouble.title, TEXT_BYTES_MAX),
            text: cut(&trouble.text, TEXT_BYTES_MAX),
            value: trouble.value,
            names: trouble.names.iter().map(|name| cut(name, NAME_BYTES_MAX)).collect(),
            more_names: trouble.more_names,
        }
    }

    pub(super) fn resolved(
        id: &str,
        kind: TroubleKind,
        severity: Severity,
        title: &str,
        (since, at): (u64, u64),
    ) -> Message {
        Message {
            id: id.to_owned(),
            kind: kind.label(),
            status: AlertStatus::Resolved,
            severity,
            again: false,
            since_unix_seconds: since,
            at_unix_seconds: at,
            title: cut(title, TEXT_BYTES_MAX),
            text: String::new(),
            value: None,
            names: Vec::new(),
            more_names: 0,
        }
    }

    /// What `loka-stratum alerts test` sends.
    pub(super) fn test(at: u64) -> Message {
        let trouble = Trouble {
            text: "somebody runs `loka-stratum alerts test`; nothing is wrong".to_owned(),
            ..Trouble::new(Severity::Info, "this is a test")
        };
        Message::firing("test", TroubleKind::Test, &trouble, (at, at), false)
    }

    /// A line for people.
    fn line(&self) -> String {
        let state = match (self.status, self.again) {
            (AlertStatus::Resolved, _) => "resolved",
            (AlertStatus::Firing, false) => self.severity.label(),
            (AlertStatus::Firing, true) => "still",
        };
        let mut line = format!("[{state}] {}", self.title);
        if !self.text.is_empty() {
            let _ = write!(line, ": {}", self.text);
        }
        if !self.names.is_empty() {
            let _ = write!(line, " ({}", self.names.join(", "));
            if self.more_names > 0 {
                let _ = write!(line, " and {} more", self.more_names);
            }
            line.push(')');
        }
        line
    }
}

/// One post: what goes to the receiver in one request.
#[derive(Debug, Serialize)]
pub(super) struct Post<'a> {
    pub(super) version: u32,
    pub(super) program: &'a str,
    pub(super) source: &'a str,
    pub(super) instance: &'a str,
    pub(super) delivery: &'a str,
    pub(super) dropped: u64,
    pub(super) standing: &'a [String],
    pub(super) alerts: &'a [Message],
}

#[derive(Serialize)]
struct Chat {
    text: String,
}

impl Post<'_> {
    /// The body, which is the same at every attempt.
    pub(super) fn body(&self, format: AlertFormat) -> String {
        let written = match format {
            AlertFormat::Json => serde_json::to_string(self),
            AlertFormat::Slack => serde_json::to_string(&Chat { text: self.chat() }),
        };
        // Numbers and texts can always be written.
        written.unwrap_or_default()
    }

    fn chat(&self) -> String {
        let mut text = format!("loka-stratum on {}", self.source);
        for alert in self.alerts {
            text.push('\n');
            text.push_str(&alert.line());
        }
        if self.dropped > 0 {
            let _ = write!(text, "\n[{} earlier messages were lost]", self.dropped);
        }
        // The three that Slack and its likes give a meaning to: a name must not call everybody.
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}

/// One line of bounded length.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if line.len() + character.len_utf8() > bytes_max {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { '?' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let trouble = Trouble {
            text: "x".repeat(9_999),
            value: Some(2.0),
            names: vec!["<!channel> & co".to_owned(), format!("a\n{}", "é".repeat(999))],
            more_names: 7,
            ..Trouble::new(Severity::Warning, "two\u{1b}[31m are silent")
        };
        Message::firing("workers_silent", TroubleKind::WorkersSilent, &trouble, (1, 2), false)
    }

    #[test]
    fn texts_are_cut_and_hold_no_control_characters() {
        let told = message();
        assert_eq!(told.title, "two?[31m are silent");
        assert!(told.text.len() <= TEXT_BYTES_MAX + 3);
        assert!(told.names[1].starts_with("a?é") && told.names[1].len() <= NAME_BYTES_MAX + 3);
    }

    #[test]
    fn chat_tools_get_a_text_without_commands() {
        let alerts = [message(), Message::test(5)];
        let post = Post {
            version: FORM_VERSION,
            program: "loka-stratum 1.2.3",
            source: "hall 1",
            instance: "i",
            delivery: "d",
            dropped: 3,
            standing: &[],
            alerts: &alerts,
        };
        let body: serde_json::Value = serde_json::from_str(&post.body(AlertFormat::Slack)).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 1);
        let lines: Vec<&str> = body["text"].as_str().unwrap().lines().collect();
        assert_eq!(lines[0], "loka-stratum on hall 1");
        assert!(lines[1].starts_with("[warning] two?[31m are silent: xxx"));
        assert!(lines[1].contains("(&lt;!channel&gt; &amp; co, a?é") && lines[1].ends_with("and 7 more)"));
        assert!(lines[2].starts_with("[info] this is a test: somebody"));
        assert_eq!(lines[3], "[3 earlier messages were lost]");
    }
}
