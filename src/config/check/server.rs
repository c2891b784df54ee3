//! `[server]`, and which listeners can stand beside each other.

use std::num::NonZeroU32;

use super::{View, port};
use crate::config::Config;
use crate::config::error::Problems;
use crate::config::key::Entry;
use crate::config::net::overlap;
use crate::config::sections::ServerConfig;
use crate::config::table;

impl View<'_> {
    pub(super) fn server(&self) -> ServerConfig {
        ServerConfig {
            port: port(self.get(&table::SERVER_PORT)),
            addresses: self.get(&table::SERVER_ADDRESS),
            max_connections: NonZeroU32::new(self.get(&table::SERVER_MAX_CONNECTIONS)),
            handshake_timeout: self.get(&table::SERVER_HANDSHAKE_TIMEOUT),
            drain_timeout: self.get(&table::SERVER_DRAIN_TIMEOUT),
            cpus: self.get(&table::SERVER_CPUS),
            steering: self.get(&table::SERVER_STEERING),
        }
    }

    /// Listeners with SO_REUSEPORT would share the port in silence: miners' connections would reach the HTTP
    /// endpoint.
    pub(super) fn check_ports(&self, config: &Config, problems: &mut Problems) {
        let Some(metrics) = config.metrics.listen() else { return };
        let keys: [&dyn Entry; 4] = [
            &table::SERVER_PORT,
            &table::SERVER_ADDRESS,
            &table::METRICS_PROMETHEUS_PORT,
            &table::METRICS_ADDRESS,
        ];
        if !self.all_read(&keys) {
            return;
        }
        if let Some(miners) = config
            .server
            .listen()
            .find(|miners| miners.port() == metrics.port() && overlap(miners.ip(), metrics.ip()))
        {
            let complaint = format!("miners ({miners}) and metrics ({metrics}) cannot share a port");
            problems.value(&self.later(&table::SERVER_PORT, &table::METRICS_PROMETHEUS_PORT), complaint);
        }
    }
}
