//! What the API tells, as far as `top` shows it.
//!
//! A field that a proxy of another version does not tell stays zero or empty, and one that it tells besides is not read. Texts
//! are what miners, pools and operators say: nothing of them may steer a terminal, so they are cleaned as they are read.

use serde::Deserialize;

/// Characters of a text that are kept; a column shows fewer.
const TEXT_MAX: usize = 256;

/// A text that is fit for a terminal; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<String>")]
pub(super) struct Text(String);

impl From<Option<String>> for Text {
    fn from(told: Option<String>) -> Text {
        Text::from(told.as_deref().unwrap_or_default())
    }
}

impl From<&str> for Text {
    fn from(told: &str) -> Text {
        Text(told.chars().filter(|told| !steers(*told)).take(TEXT_MAX).collect())
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Control characters, and those that turn the direction of what follows.
fn steers(told: char) -> bool {
    told.is_control()
        || matches!(told, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Of `/metrics`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Figures {
    pub(super) version: Text,
    pub(super) uptime_seconds: u64,
    pub(super) connections: Connections,
    pub(super) performance: Performance,
    pub(super) shares: Shares,
    pub(super) rates: Rates,
    pub(super) shards: Vec<Shard>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connections {
    pub(super) active: u64,
    pub(super) errors: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Performance {
    /// Percent of one CPU.
    pub(super) cpu_usage: f64,
    /// Bytes.
    pub(super) memory_usage: u64,
    pub(super) response_time_ms: Percentiles,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shares {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
    pub(super) lost: u64,
    pub(super) accepted_difficulty: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rates {
    pub(super) accepted_shares_per_second: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shard {
    pub(super) shard: u64,
    pub(super) cpu: Option<u64>,
    pub(super) connections: u64,
    pub(super) pool_links: u64,
    pub(super) queued_bytes: u64,
    pub(super) shares_accepted: u64,
    /// 0 to 1.
    pub(super) busy_ratio: f64,
    pub(super) report_age_seconds: Option<f64>,
}

/// Of `/api/v1/status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) status: Text,
    pub(super) miners_waiting: u64,
    pub(super) blocked_addresses: u64,
}

/// A part of a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Page<T> {
    /// How long the whole list is.
    pub(super) total: usize,
    pub(super) items: Vec<T>,
    /// Of workers: how many are known, whoever is asked for.
    pub(super) known: usize,
}

impl<T> Default for Page<T> {
    fn default() -> Page<T> {
        Page { total: 0, items: Vec::new(), known: 0 }
    }
}

/// Of `/api/v1/pools`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) name: Text,
    pub(super) endpoint: Text,
    pub(super) state: Text,
    pub(super) cause: Text,
    pub(super) state_seconds: u64,
    pub(super) connections: u64,
    pub(super) shares_accepted: u64,
    pub(super) shares_rejected: u64,
}

/// Of `/api/v1/workers`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Worker {
    pub(super) name: Text,
    pub(super) connections: u64,
    pub(super) pool: Text,
    pub(super) hashrate: Hashrate,
    pub(super) shares: Shares,
    pub(super) difficulty: Option<f64>,
    /// Of its hardest accepted share, by the hash.
    pub(super) best_difficulty: Option<f64>,
    pub(super) response_ms: Option<f64>,
    pub(super) last_share_seconds: Option<f64>,
}

/// Hashes per second.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hashrate {
    #[serde(rename = "1m")]
    pub(super) minute: f64,
    #[serde(rename = "15m")]
    pub(super) quarter: f64,
}

/// Of `/api/v1/events`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    pub(super) unix_seconds: u64,
    pub(super) kind: Text,
    pub(super) text: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_steer_no_terminal_and_missing_fields_are_zero() {
        let told = r#"{"name":"rig\u001b[31m\u202e1\n","pool":null,"hashrate":{"1m":3.5},"more":[1]}"#;
        let worker: Worker = serde_json::from_str(told).unwrap();
        assert_eq!((&*worker.name, &*worker.pool, worker.hashrate.minute), ("rig[31m1", "", 3.5));
        assert_eq!((worker.connections, worker.last_share_seconds), (0, None));
        let page: Page<Pool> = serde_json::from_str("{}").unwrap();
        assert_eq!((page.total, page.items.len()), (0, 0));
        assert_eq!(Text::from("ä".repeat(1000).as_str()).chars().count(), TEXT_MAX);
        assert!(serde_json::from_str::<Worker>("[]").is_ok_and(|worker| worker.name.is_empty()));
        assert!(serde_json::from_str::<Worker>("3").is_err());
    }
}
