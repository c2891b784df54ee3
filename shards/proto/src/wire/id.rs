//! Request ids: kept and echoed as the bytes that came.

use crate::limits::ID_BYTES_MAX;
use simd_json::OwnedValue;
use simd_json::prelude::{TypedScalarValue, ValueAsScalar};
use smallvec::SmallVec;

/// A request id as written in the message: a number, a string with its quotes, or `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(SmallVec<[u8; 24]>);

impl Id {
    /// The id `null`, also used for messages that have none.
    #[must_use]
    pub fn null() -> Id {
        Id::from_raw(b"null")
    }

    /// Takes the raw bytes of a JSON scalar.
    #[must_use]
    pub fn from_raw(raw: &[u8]) -> Id {
        Id(SmallVec::from_slice(raw))
    }

    /// Takes an id as it is written, if it is one that a message may have.
    #[must_use]
    pub(crate) fn read(raw: &str) -> Option<Id> {
        let is_bare =
            raw.len() <= ID_BYTES_MAX && raw.trim_ascii() == raw && raw.bytes().all(|byte| byte >= b' ');
        let value = decode(raw.as_bytes()).filter(|_| is_bare)?;
        let is_id = value.as_str().is_some() || value.cast_f64().is_some() || value.is_null();
        is_id.then(|| Id::from_raw(raw.as_bytes()))
    }

    /// The bytes to echo.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.0
    }

    /// Whether nobody can match an answer to it.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.as_slice() == b"null"
    }

    /// Whether `raw` means the same id. A pool that decodes and re-encodes may escape a string or write a number
    /// in another way; the miner still gets its own spelling back.
    #[must_use]
    pub fn means_same(&self, raw: &[u8]) -> bool {
        self.0.as_slice() == raw || (is_respelled(&self.0) || is_respelled(raw)) && same_value(&self.0, raw)
    }
}

/// Spellings that have a twin: escapes in a string, a fraction or an exponent in a number, and minus zero.
fn is_respelled(raw: &[u8]) -> bool {
    match raw.first() {
        Some(b'"') => raw.contains(&b'\\') || !raw.is_ascii(),
        Some(_) => raw.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) || raw == b"-0",
        None => false,
    }
}

fn same_value(a: &[u8], b: &[u8]) -> bool {
    match (decode(a), decode(b)) {
        (Some(a), Some(b)) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => a.cast_f64().is_some() && a.cast_f64() == b.cast_f64(),
            (Some(_), None) | (None, Some(_)) => false,
        },
        (None, _) | (_, None) => false,
    }
}

fn decode(raw: &[u8]) -> Option<OwnedValue> {
    simd_json::to_owned_value(&mut raw.to_vec()).ok()
}

/// FNV-1a: names are told apart, not protected.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_id_match_and_others_do_not() {
        let same = [
            ("1", "1"),
            ("1.0", "1"),
            ("1e3", "1000"),
            (r#""a""#, r#""\u0061""#),
            ("-0", "0"),
            ("null", "null"),
        ];
        for (a, b) in same {
            assert!(Id::from_raw(a.as_bytes()).means_same(b.as_bytes()), "{a} {b}");
        }
        let other =
            [("1", "2"), ("1", "\"1\""), ("4294967297", "1"), ("null", "0"), (r#""a""#, r#""\u0062""#)];
        for (a, b) in other {
            assert!(!Id::from_raw(a.as_bytes()).means_same(b.as_bytes()), "{a} {b}");
        }
    }
}
