//! Snapshots as text for machines: Prometheus, JSON, health.
//!
//! The names of metrics stand in one table, [`FAMILIES`]; nothing else knows them. This room opens no sockets.

mod families;
mod health;
mod histogram;
mod json;
mod readings;
mod series;
#[cfg(test)]
mod tests;
mod text;
mod worker_text;
mod workers;

pub use families::FAMILIES;
pub use health::{Health, Uptime};
pub use json::{Figures, Shard};
pub use series::{Family, Kind};
pub use text::{CONTENT_TYPE, Exposition};
pub use worker_text::{WORKER_FAMILIES, WorkerFamily, workers_text};
pub use workers::{Hashrate, SharesFigures, WorkerFigures, WorkersFigures};
