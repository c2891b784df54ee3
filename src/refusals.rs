//! Requests to the API that were refused, counted by why, for the metrics.
//!
//! It counts and decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

loka_proto::labels! {
    /// Why a request was refused before anybody looked at what it asks for.
    pub enum ApiRefusal {
        /// It was made by a name that is not ours: a page of the web may have brought a browser to it.
        Host => "host",
        /// A page of another site made a browser ask.
        Origin => "origin",
        /// There are no actions without `api.token`.
        NoActions => "no_actions",
        /// It brought no token.
        NoToken => "no_token",
        /// It brought a wrong one.
        WrongToken => "wrong_token",
    }
}

impl ApiRefusal {
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
pub struct ApiRefusals(Arc<[AtomicU64; ApiRefusal::COUNT]>);

impl ApiRefusals {
    /// One more.
    pub fn add(&self, refusal: ApiRefusal) {
        self.0[refusal.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn count(&self, refusal: ApiRefusal) -> u64 {
        self.0[refusal.index()].load(Ordering::Relaxed)
    }
}
