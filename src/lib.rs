//! Loka Stratum: the control plane of the proxy, and its data plane for programs that bring middleware of their own.
//!
//! `docs`: ARCHITECTURE.md has the code map, the flows and the invariants.

pub mod admin;
pub mod aggregate;
pub mod alerts;
mod backoff;
pub mod cli;
pub mod config;
pub mod events;
pub mod export;
pub mod guard;
pub mod handover;
pub mod history;
pub mod logging;
pub mod pools;
pub mod records;
pub mod refusals;
pub mod reload;
pub mod sessions;
pub mod supervisor;
pub mod systemd;

pub use config::{
    AlertsConfig, ApiConfig, Config, FailoverConfig, LimiterConfig, LoggingConfig, MetricsConfig,
    PerformanceConfig, PoolConfig, RecordsConfig, SecurityConfig, ServerConfig,
};
pub use loka_proto::{MessagePipeline, MessagePipelineBuilder, middleware};
