//! `[api]`, checked: who may ask, and who may change something.

use crate::config::secret::Secret;

/// `[api]`: the REST API beside the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiConfig {
    /// What actions need; empty: there are none.
    pub token: Secret,
    /// Names that the Host header may hold beside loopback and the bound address; at most 16.
    pub hosts: Vec<String>,
}
