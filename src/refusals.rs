//! Requests to the API that were refused, counted by why, for the metrics.
//!
//! It counts and decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request was refused before anybody looked at what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiRefusal {
    /// It was made by a name that is not ours: a page of the web may have brought a browser to it.
    Host,
    /// A page of another site made a browser ask.
    Origin,
    /// There are no actions without `api.token`.
    NoActions,
    /// It brought no token.
    NoToken,
    /// It brought a wrong one.
    WrongToken,
}

impl ApiRefusal {
    /// All of them, in the order of their counters.
    pub const ALL: [ApiRefusal; 5] = [
        ApiRefusal::Host,
        ApiRefusal::Origin,
        ApiRefusal::NoActions,
        ApiRefusal::NoToken,
        ApiRefusal::WrongToken,
    ];

    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            ApiRefusal::Host => "host",
            ApiRefusal::Origin => "origin",
            ApiRefusal::NoActions => "no_actions",
            ApiRefusal::NoToken => "no_token",
            ApiRefusal::WrongToken => "wrong_token",
        }
    }

    /// What the client is told.
    pub fn told(self) -> &'static str {
        match self {
            ApiRefusal::Host => "the Host header names neither this host nor one of api.hosts",
            ApiRefusal::Origin => "the Origin header is of another site",
            ApiRefusal::NoActions => "actions are switched off: set api.token in the configuration",
            ApiRefusal::NoToken => "this needs the header Authorization: Bearer TOKEN, with api.token",
            ApiRefusal::WrongToken => "the token is not api.token",
        }
    }
}

/// Counts refusals; clones count together.
#[derive(Debug, Clone, Default)]
pub struct ApiRefusals(Arc<[AtomicU64; ApiRefusal::ALL.len()]>);

impl ApiRefusals {
    /// One more.
    pub fn add(&self, refusal: ApiRefusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn count(&self, refusal: ApiRefusal) -> u64 {
        self.0[refusal as usize].load(Ordering::Relaxed)
    }
}
