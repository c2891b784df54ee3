//! The log of violations: who did what, and what was done about it.
//!
//! One record an event, at INFO with the target `loka_stratum::violations`. It refuses to write more of one kind than somebody
//! reads, and to write what may be a secret or is no printable ASCII.

use loka_proto::{Bucket, Tick};
use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;

/// Records of one kind that a shard writes at once.
const AT_ONCE: u64 = 5;
/// Microseconds in which another may be written.
const ANOTHER_US: u64 = 5_000_000;
/// Bytes of what was said that a record shows.
const EVIDENCE_BYTES_MAX: usize = 64;

/// What one shard has written lately, by kind. Kinds are labels, so there are some dozens of them.
#[derive(Default)]
pub(crate) struct Violations(HashMap<&'static str, Kind>);

#[derive(Default)]
struct Kind {
    bucket: Bucket,
    unlogged: u64,
}

/// One event.
pub(crate) struct Violation<'a> {
    pub(crate) shard: usize,
    /// The number of the connection in its shard, where it had got one.
    pub(crate) client: Option<u64>,
    /// `None` where a proxy in front has not told it.
    pub(crate) address: Option<IpAddr>,
    /// A label of `End`, `Reject` or `Excess`.
    pub(crate) kind: &'static str,
    /// What was said or counted.
    pub(crate) evidence: &'a dyn Display,
    /// What was done about it.
    pub(crate) response: &'static str,
}

impl Violations {
    /// Writes a record, if there have not been too many of its kind; then those are counted in the next.
    pub(crate) fn record(&mut self, violation: &Violation<'_>, now: Tick) {
        let Some(unlogged) = self.take(violation.kind, now) else { return };
        let Violation { shard, client, address, kind, evidence, response } = violation;
        let address = address.map(|address| address.to_canonical().to_string());
        tracing::info!(
            target: "loka_stratum::violations",
            shard, client, address, kind, %evidence, response, unlogged, "violation"
        );
    }

    /// How many of this kind were not written since the last one; `None` when this is not to be either.
    fn take(&mut self, kind: &'static str, now: Tick) -> Option<u64> {
        let known = self.0.entry(kind).or_default();
        if known.bucket.take(ANOTHER_US, AT_ONCE * ANOTHER_US, now) {
            return Some(std::mem::take(&mut known.unlogged));
        }
        known.unlogged += 1;
        None
    }
}

/// The beginning of what was said, for a log: one line of it, cut and escaped.
pub(crate) fn excerpt(said: &[u8]) -> String {
    // Looked for in all of it: what is cut off may be what tells that the rest is a secret.
    let is_secret = |word: &[u8]| said.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    if is_secret(b"auth") || is_secret(b"pass") || is_secret(b"token") {
        return "(not shown: it may hold a secret)".to_owned();
    }
    let line = said.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let shown = &line[..line.len().min(EVIDENCE_BYTES_MAX)];
    let more = if shown.len() < said.len() { "..." } else { "" };
    format!("{}{more}", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_kind_are_written_and_the_others_counted() {
        let (mut violations, now) = (Violations::default(), Tick(1_000_000_000));
        let written = (0..100).filter(|_| violations.take("flood", now).is_some()).count();
        assert_eq!((written, violations.take("not_stratum", now)), (5, Some(0)));
        assert_eq!(violations.take("flood", now + ANOTHER_US), Some(95));
        assert_eq!(violations.take("flood", now + ANOTHER_US), None);
    }

    #[test]
    fn what_is_shown_is_short_escaped_and_no_secret() {
        for (said, shown) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], "GET / HTTP/1.1..."),
            (b"\x16\x03\x01\x00\xff", "\\x16\\x03\\x01\\x00\\xff"),
            (b"\x1b[31mred\x07\"'\\", "\\x1b[31mred\\x07\\\"\\'\\\\"),
            (b"\xe2\x80\xae", "\\xe2\\x80\\xae"),
            (b"", ""),
            (b"GET / HTTP/1.1\r\nAuthorization: Basic Zm9v\r\n", "(not shown: it may hold a secret)"),
            (b"\"mining.AUTHORIZE\",[\"a\",\"hunter2\"]", "(not shown: it may hold a secret)"),
        ] {
            assert_eq!(excerpt(said), shown);
        }
        assert_eq!(excerpt(&[b'a'; 1000]).len(), EVIDENCE_BYTES_MAX + 3);
    }
}
