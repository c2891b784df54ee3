//! `[alerts]`, checked: where alerts go, and what is worth one.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::net::Host;
use crate::config::secret::Secret;

/// `[alerts]`: messages to a webhook when something is wrong, and when it is right again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Where they go; `None`: there are none.
    pub webhook: Option<Webhook>,
    /// What messages are signed with; empty: they are not.
    pub secret: Secret,
    /// PEM file of the authorities that are trusted; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What a message looks like.
    pub format: AlertFormat,
    /// What this proxy calls itself; empty: the name of the host.
    pub source: String,
    /// Whether the states of pools are worth an alert.
    pub pools: bool,
    /// Whether silent shards, and panics, are.
    pub shards: bool,
    /// Whether shortages of memory and descriptors are.
    pub resources: bool,
    /// A worker without an accepted share for so long is silent, if it had one before; `None`: that is worth no alert.
    pub silent_for: Option<Duration>,
    /// A worker silent for so long was taken away and counts no more; longer than `silent_for`.
    pub silent_forget: Duration,
    /// So many silent workers are worth an alert.
    pub silent_min: NonZeroU32,
    /// Percent of the shares of `reject_window` that are worth an alert when they are bad; `None`: none are.
    pub reject_percent: Option<NonZeroU32>,
    /// The time over which they are counted; 10 s to 1 day.
    pub reject_window: Duration,
    /// How long a state lasts before it is told; at most 1 h.
    pub fire_after: Duration,
    /// How long it is over before that is told; at most 1 day.
    pub resolve_after: Duration,
    /// What lasts is told again so often; `None`: once.
    pub repeat: Option<Duration>,
    /// At most one message is posted in this time, with all that is to be told; 1 s to 10 min.
    pub batch: Duration,
}

/// Where alerts are posted to. It prints no path: with some receivers that is the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Whether it is spoken to in TLS.
    pub tls: bool,
    /// The machine; a name is not yet resolved.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
    /// Path and query, beginning with `/`; printable ASCII.
    pub path: Secret,
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host.with_port(self.port))
    }
}

/// What a message looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFormat {
    /// The form of `config/ALERTS.md`.
    Json,
    /// `{"text": …}`, which chat tools take.
    Slack,
}

impl AlertFormat {
    pub(in crate::config) const NAMES: &'static [(&'static str, Self)] =
        &[("json", Self::Json), ("slack", Self::Slack)];

    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }
}
