//! What the pool said of a share. `result === true` is accepted and nothing else is.

use crate::wire::{Json, JsonKind};

labels! {
    /// Why the pool refused a share, as far as its answer tells.
    pub enum RejectClass {
        /// Job unknown or stale (code 21).
        Stale => "stale",
        /// Same share sent before (code 22).
        Duplicate => "duplicate",
        /// Hash above the target (code 23).
        LowDifficulty => "low_difficulty",
        /// The worker is not authorized (code 24).
        Unauthorized => "unauthorized",
        /// The connection is not subscribed (code 25).
        NotSubscribed => "not_subscribed",
        /// Any other error, or none given.
        Other => "other",
    }
}

/// The pool's answer to one `mining.submit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `result` was `true`.
    Accepted,
    /// Anything else.
    Rejected(RejectClass),
}

impl Verdict {
    /// Reads the verdict from an answer's `result`, `error` and `reject-reason`.
    #[must_use]
    pub fn read(result: Option<Json<'_>>, error: Option<Json<'_>>, reason: Option<Json<'_>>) -> Verdict {
        if result.is_some_and(|value| value.kind() == JsonKind::Bool(true)) {
            return Verdict::Accepted;
        }
        let class = error.and_then(class_of_error).or_else(|| reason.and_then(class_of_text));
        Verdict::Rejected(class.unwrap_or(RejectClass::Other))
    }
}

/// Errors come as `[code, text, trace]`, as `{"code":…,"message":…}`, or as a bare string; a code may be a string.
fn class_of_error(error: Json<'_>) -> Option<RejectClass> {
    let (code, text) = match error.kind() {
        JsonKind::Array => (error.at(0), error.at(1)),
        JsonKind::Object => (error.get("code"), error.get("message")),
        JsonKind::Str => (None, Some(error)),
        JsonKind::Null | JsonKind::Bool(_) | JsonKind::Number => (None, None),
    };
    code.and_then(class_of_code).or_else(|| text.and_then(class_of_text))
}

fn class_of_code(code: Json<'_>) -> Option<RejectClass> {
    let number = code.as_i64().or_else(|| code.as_str()?.parse().ok())?;
    match number {
        21 => Some(RejectClass::Stale),
        22 => Some(RejectClass::Duplicate),
        23 => Some(RejectClass::LowDifficulty),
        24 => Some(RejectClass::Unauthorized),
        25 => Some(RejectClass::NotSubscribed),
        _ => None,
    }
}

/// Pools with codes of their own still use a few words that mean the same everywhere.
fn class_of_text(text: Json<'_>) -> Option<RejectClass> {
    const WORDS: [(&str, RejectClass); 11] = [
        ("stale", RejectClass::Stale),
        ("job not found", RejectClass::Stale),
        ("unknown-work", RejectClass::Stale),
        ("duplicate", RejectClass::Duplicate),
        ("low diff", RejectClass::LowDifficulty),
        ("above target", RejectClass::LowDifficulty),
        ("high-hash", RejectClass::LowDifficulty),
        ("low-diff", RejectClass::LowDifficulty),
        ("unauthorized", RejectClass::Unauthorized),
        ("not authorized", RejectClass::Unauthorized),
        ("not subscribed", RejectClass::NotSubscribed),
    ];
    let text = text.as_str()?.to_ascii_lowercase();
    if text.starts_with("job '") && text.ends_with("not found") {
        return Some(RejectClass::Stale);
    }
    WORDS.iter().find(|(word, _)| text.contains(word)).map(|(_, class)| *class)
}
