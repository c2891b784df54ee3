//! What a handshake with a pool brought to light, and what is wrong where something is. Data only.

use super::certificate::Pin;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// All that was learned of a pool. What was not reached is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// The address that answered first: the proxy's where there is one.
    pub address: Option<SocketAddr>,
    /// How long connecting took, with the proxy's part in it.
    pub connect: Option<Duration>,
    /// What TLS agreed on, where it is spoken.
    pub tls: Option<TlsFacts>,
    /// Bytes of the extranonce1.
    pub extranonce1_bytes: Option<usize>,
    /// Bytes that miners may choose.
    pub extranonce2_size: Option<usize>,
    /// The version bits that may be rolled; `None`: none, or the pool did not say.
    pub version_mask: Option<u32>,
    /// What became of `mining.extranonce.subscribe`; `None`: not asked.
    pub extranonce_subscription: Option<ExtranonceSubscription>,
    /// Whether the account was taken; `None`: not asked, or not answered.
    pub authorized: Option<bool>,
    /// The last difficulty that was set.
    pub difficulty: Option<f64>,
    /// From the first word to the answer to `mining.subscribe`.
    pub time_to_subscribe: Option<Duration>,
    /// From the first word to the first job.
    pub time_to_first_job: Option<Duration>,
    /// The block that the first job builds on: 64 hex digits, in the order of Stratum. See [`block_hash`].
    pub prev_hash: Option<String>,
    /// What went wrong, if anything did.
    pub problem: Option<Problem>,
}

impl Findings {
    /// Findings of a pool that could not even be dialled.
    pub fn of(problem: Problem) -> Findings {
        Findings { problem: Some(problem), ..Findings::default() }
    }

    /// Whether miners could work here: nothing went wrong, and there was a job, or without an account a subscription.
    pub fn is_good(&self, has_account: bool) -> bool {
        let enough = if has_account { self.time_to_first_job } else { self.time_to_subscribe };
        self.problem.is_none() && enough.is_some()
    }
}

/// The hash of a block as explorers write it, from the `prevhash` of a job: its words come in the opposite order.
pub fn block_hash(prev_hash: &str) -> String {
    let words: Vec<&str> = (0..8).filter_map(|word| prev_hash.get(8 * word..8 * word + 8)).collect();
    words.into_iter().rev().collect()
}

/// What TLS agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLS 1.3`
    pub version: &'static str,
    /// The cipher suite, as its standard writes it.
    pub cipher: String,
    /// Whom the certificate names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Seconds since 1970 until which it is valid.
    pub expires: u64,
    /// The pin of its key.
    pub pin: Pin,
}

/// What a pool did when asked for changes of the extranonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtranonceSubscription {
    /// It answered: granted or not.
    Answered(bool),
    /// It said nothing in time.
    Silent,
    /// It closed the connection. The pool's `extranonce` must be off.
    Closed,
}

/// What is wrong with a pool, in the order in which one gets to know it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// Its name leads nowhere.
    #[error("{text}")]
    Dns {
        /// What the resolver said.
        text: String,
        /// What to do.
        fix: &'static str,
    },
    /// Nobody listens on its port.
    #[error("connection refused: nobody listens on this port")]
    ConnectionRefused,
    /// The network does not lead there.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// Nobody answered in time.
    #[error("no address answered in time")]
    ConnectTimeout,
    /// The SOCKS5 proxy in between.
    #[error("the SOCKS5 proxy: {0}")]
    Proxy(String),
    /// TLS.
    #[error("{text}")]
    Tls {
        /// One sentence.
        text: String,
        /// What to do.
        fix: &'static str,
    },
    /// It took the connection and never answered `mining.subscribe`.
    #[error("it takes connections and does not answer mining.subscribe")]
    NoSubscribeAnswer,
    /// It refused `mining.subscribe`.
    #[error("it refuses mining.subscribe: {0}")]
    SubscribeRefused(String),
    /// Its answer to `mining.subscribe` is of no use.
    #[error("its answer to mining.subscribe is of no use: {0}")]
    BadSubscribe(String),
    /// It does not know the account.
    #[error("it refuses the account: {0}")]
    Unauthorized(String),
    /// No job came.
    #[error("no job came in time")]
    NoJob,
    /// What it said is no Stratum.
    #[error("it does not speak Stratum: {0}")]
    Garbage(String),
    /// It closed the connection.
    #[error("it closed the connection {0}")]
    Closed(&'static str),
}

impl Problem {
    /// The label in JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::ConnectionRefused => "connection_refused",
            Self::Unreachable(_) => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::Proxy(_) => "proxy",
            Self::Tls { .. } => "tls",
            Self::NoSubscribeAnswer => "no_subscribe_answer",
            Self::SubscribeRefused(_) => "subscribe_refused",
            Self::BadSubscribe(_) => "bad_subscribe",
            Self::Unauthorized(_) => "unauthorized",
            Self::NoJob => "no_job",
            Self::Garbage(_) => "garbage",
            Self::Closed(_) => "closed",
        }
    }

    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Dns { fix, .. } | Self::Tls { fix, .. } => fix,
            Self::ConnectionRefused => "check the pool's port; pools publish which ports they serve",
            Self::Unreachable(_) => "check the route to the pool, and IPv6 if its address is one",
            Self::ConnectTimeout => {
                "check the firewall between this host and the pool, and the pool's host and port"
            }
            Self::Proxy(_) => {
                "check the proxy's address and credentials, and that it may reach the pool's port"
            }
            Self::NoSubscribeAnswer => {
                "check that the port is one for Stratum V1 without TLS, or with TLS if the pool is set to it; the pool \
                 may be overloaded"
            }
            Self::SubscribeRefused(_) => {
                "take another port or region of the pool, or ask it; a second pool keeps the miners at work meanwhile"
            }
            Self::BadSubscribe(_) => "tell the pool; miners could not work with this answer either",
            Self::Unauthorized(_) => "check the user name and password against the account at the pool",
            Self::NoJob => {
                "look at the pool's status page; it accepted the connection and has no work, or needs longer (--timeout)"
            }
            Self::Garbage(_) => "check the port: pools usually have one for TLS and another for plain TCP",
            Self::Closed(_) => {
                "check the port; pools also close on addresses they have banned and on clients they do not like"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_hash_has_its_zeros_in_front() {
        let prev = "c9a1b2f3d4e5061728394a5b6c7d8e9fa0b1c2d3e4f506170001a2b300000000";
        assert_eq!(block_hash(prev), "000000000001a2b3e4f50617a0b1c2d36c7d8e9f28394a5bd4e50617c9a1b2f3");
        assert_eq!(block_hash("short"), "");
    }

    #[test]
    fn every_problem_is_documented_and_has_a_fix() {
        let documents = include_str!("../../config/README.md");
        let text = || "text".to_owned();
        for problem in [
            Problem::Dns { text: text(), fix: "fix" },
            Problem::ConnectionRefused,
            Problem::Unreachable(text()),
            Problem::ConnectTimeout,
            Problem::Proxy(text()),
            Problem::Tls { text: text(), fix: "fix" },
            Problem::NoSubscribeAnswer,
            Problem::SubscribeRefused(text()),
            Problem::BadSubscribe(text()),
            Problem::Unauthorized(text()),
            Problem::NoJob,
            Problem::Garbage(text()),
            Problem::Closed("text"),
        ] {
            assert!(documents.contains(&format!("`{}`", problem.label())), "{problem:?}");
            assert!(
                !problem.to_string().is_empty() && !problem.fix().is_empty() && !problem.fix().contains("  ")
            );
        }
    }

    #[test]
    fn good_is_a_job_or_without_an_account_a_subscription() {
        let subscribed = Findings { time_to_subscribe: Some(Duration::ZERO), ..Findings::default() };
        assert!(subscribed.is_good(false) && !subscribed.is_good(true));
        let at_work = Findings { time_to_first_job: Some(Duration::ZERO), ..subscribed.clone() };
        assert!(at_work.is_good(true));
        assert!(!Findings { problem: Some(Problem::NoJob), ..at_work }.is_good(true));
    }
}
