//! `[server]` and `[server.tls]`, and which listeners can stand beside each other.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::{View, port};
use crate::config::Config;
use crate::config::error::Problems;
use crate::config::key::{Entry, Form, Key};
use crate::config::net::overlap;
use crate::config::sections::{ServerConfig, ServerTls};
use crate::config::table;

impl View<'_> {
    pub(super) fn server(&self, problems: &mut Problems) -> ServerConfig {
        ServerConfig {
            port: port(self.get(&table::SERVER_PORT)),
            addresses: self.get(&table::SERVER_ADDRESS),
            max_connections: NonZeroU32::new(self.get(&table::SERVER_MAX_CONNECTIONS)),
            handshake_timeout: self.get(&table::SERVER_HANDSHAKE_TIMEOUT),
            drain_timeout: self.get(&table::SERVER_DRAIN_TIMEOUT),
            cpus: self.get(&table::SERVER_CPUS),
            steering: self.get(&table::SERVER_STEERING),
            proxy_protocol_from: self.get(&table::SERVER_PROXY_PROTOCOL_FROM),
            tls: self.server_tls(problems),
        }
    }

    fn server_tls(&self, problems: &mut Problems) -> Option<ServerTls> {
        let tls = ServerTls {
            cert_file: PathBuf::from(self.get(&table::SERVER_TLS_CERT_FILE)),
            key_file: PathBuf::from(self.get(&table::SERVER_TLS_KEY_FILE)),
            port: Some(port(self.get(&table::SERVER_TLS_PORT))).filter(|port| *port != 0),
            same_port: self.get(&table::SERVER_TLS_SAME_PORT),
            min_version: self.get(&table::SERVER_TLS_MIN_VERSION),
        };
        if !self.all_read(&[&table::SERVER_TLS_CERT_FILE, &table::SERVER_TLS_KEY_FILE]) {
            return None;
        }
        let (has_cert, has_key) =
            (!tls.cert_file.as_os_str().is_empty(), !tls.key_file.as_os_str().is_empty());
        if has_cert && !has_key {
            let complaint = "needs server.tls.key_file, the file of its private key";
            problems.value(&self.subject(&table::SERVER_TLS_CERT_FILE), complaint);
        } else if has_key && !has_cert {
            let complaint = "needs server.tls.cert_file, the file of its certificate";
            problems.value(&self.subject(&table::SERVER_TLS_KEY_FILE), complaint);
        } else if !has_cert {
            self.needs_certificate(&table::SERVER_TLS_PORT, problems);
            self.needs_certificate(&table::SERVER_TLS_SAME_PORT, problems);
            self.needs_certificate(&table::SERVER_TLS_MIN_VERSION, problems);
        } else if tls.port.is_none()
            && !tls.same_port
            && self.all_read(&[&table::SERVER_TLS_PORT, &table::SERVER_TLS_SAME_PORT])
        {
            let complaint = "no port speaks TLS: give server.tls.port, or set server.tls.same_port";
            problems.value(&self.subject(&table::SERVER_TLS_CERT_FILE), complaint);
        }
        (has_cert && has_key).then_some(tls)
    }

    /// A port that speaks no TLS although it was meant to would be found out by miners.
    fn needs_certificate<F: Form<Out: PartialEq>>(&self, key: &Key<F>, problems: &mut Problems) {
        if self.is_changed(key) {
            problems.value(&self.subject(key), "needs server.tls.cert_file and server.tls.key_file");
        }
    }

    /// Listeners with SO_REUSEPORT would share the port in silence: miners' connections would reach the HTTP
    /// endpoint, or a port that speaks TLS only.
    pub(super) fn check_ports(&self, config: &Config, problems: &mut Problems) {
        let (server, metrics) = (&config.server, config.metrics.listen());
        let keys: [&dyn Entry; 5] = [
            &table::SERVER_PORT,
            &table::SERVER_TLS_PORT,
            &table::SERVER_ADDRESS,
            &table::METRICS_PROMETHEUS_PORT,
            &table::METRICS_ADDRESS,
        ];
        if !self.all_read(&keys) {
            return;
        }
        if server.tls.as_ref().and_then(|tls| tls.port) == Some(server.port) {
            let complaint = format!(
                "miners with and without TLS cannot share port {} by server.tls.port; set server.tls.same_port instead",
                server.port
            );
            problems.value(&self.later(&table::SERVER_TLS_PORT, &table::SERVER_PORT), complaint);
        }
        let Some(metrics) = metrics else { return };
        let meets =
            |miners: &SocketAddr| miners.port() == metrics.port() && overlap(miners.ip(), metrics.ip());
        let clashes = [
            (server.listen().find(meets), self.later(&table::SERVER_PORT, &table::METRICS_PROMETHEUS_PORT)),
            (
                server.listen_tls().find(meets),
                self.later(&table::SERVER_TLS_PORT, &table::METRICS_PROMETHEUS_PORT),
            ),
        ];
        for (miners, subject) in clashes {
            if let Some(miners) = miners {
                let complaint = format!("miners ({miners}) and metrics ({metrics}) cannot share a port");
                problems.value(&subject, complaint);
            }
        }
    }
}
