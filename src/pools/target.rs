//! What has to be known of a pool to talk to it: plain values, checked before. It opens nothing.

use super::tls::{TlsSetupError, client_config};
use crate::config::{Config, Host, PoolConfig, PoolTls, Secret, TlsVersion};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;

/// A pool, as one who dials it has to know it. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name in reports, logs and metrics.
    pub name: String,
    /// The machine.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
    /// TLS, when the pool is spoken to through it.
    pub tls: Option<TlsTarget>,
    /// The SOCKS5 proxy in between, if any.
    pub proxy: Option<Socks5>,
    /// User name and password to authorize with; without one, nobody is authorized.
    pub account: Option<(String, Secret)>,
    /// Whether changes of the extranonce are subscribed to.
    pub extranonce: bool,
}

/// How TLS is spoken to a pool.
#[derive(Debug, Clone)]
pub struct TlsTarget {
    /// Roots, pins and versions; see `tls::client_config`.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the certificate must hold.
    pub server_name: ServerName<'static>,
    /// It was configured for itself and holds wherever the pool is; otherwise it is that of the host.
    pub is_name_given: bool,
}

/// A SOCKS5 proxy. It gets the pool's name as it is: who hides behind one does not want to ask for it himself.
#[derive(Debug, Clone)]
pub struct Socks5 {
    /// The machine.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// User name and password, 1 to 255 bytes each.
    pub credentials: Option<(String, Secret)>,
}

impl Target {
    /// The machine that is dialled, whose name has to be resolved here: the proxy where there is one, else the pool.
    pub fn dialled(&self) -> (&Host, u16) {
        match &self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&self.host, self.port),
        }
    }

    /// The same pool at another place, where its certificate is for that place.
    ///
    /// # Errors
    /// [`TargetError::ServerName`]
    pub fn moved(&self, host: Host, port: u16) -> Result<Target, TargetError> {
        let mut moved = Target { host, port, ..self.clone() };
        if let Some(tls) = moved.tls.as_mut().filter(|tls| !tls.is_name_given) {
            tls.server_name = server_name(&moved.name, moved.host.to_string())?;
        }
        Ok(moved)
    }

    /// `host:port` of the pool, an IPv6 address in brackets.
    pub fn endpoint(&self) -> String {
        endpoint(&self.host, self.port)
    }
}

/// `host:port`, an IPv6 address in brackets.
pub fn endpoint(host: &Host, port: u16) -> String {
    match host {
        Host::Ip(ip) => SocketAddr::new(*ip, port).to_string(),
        Host::Name(name) => format!("{name}:{port}"),
    }
}

/// Why a configured pool cannot be dialled.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The host is nothing that a certificate could name.
    #[error("the host of pool {pool} is no name for a certificate: {host}")]
    ServerName {
        /// The pool.
        pool: String,
        /// Its host.
        host: String,
    },
    /// What is to be trusted cannot be read.
    #[error("pool {pool}: {cause}")]
    Tls {
        /// The pool.
        pool: String,
        /// What is wrong.
        #[source]
        cause: Box<TlsSetupError>,
    },
}

/// The pools of a configuration, in its order.
///
/// # Errors
/// [`TargetError`]
pub fn targets(config: &Config) -> Result<Vec<Target>, TargetError> {
    config.pools.iter().map(target).collect()
}

fn target(pool: &PoolConfig) -> Result<Target, TargetError> {
    let password = if pool.password.is_empty() { Secret::new("x") } else { pool.password.clone() };
    let account = (!pool.username.is_empty()).then(|| (pool.username.clone(), password));
    let proxy = pool.proxy.as_ref().map(|proxy| Socks5 {
        host: proxy.host.clone(),
        port: proxy.port,
        credentials: proxy.credentials.clone(),
    });
    Ok(Target {
        name: pool.name.clone(),
        host: pool.host.clone(),
        port: pool.port,
        tls: pool.tls.as_ref().map(|tls| tls_target(pool, tls)).transpose()?,
        proxy,
        account,
        extranonce: pool.extranonce,
    })
}

fn tls_target(pool: &PoolConfig, tls: &PoolTls) -> Result<TlsTarget, TargetError> {
    let name = tls.server_name.clone().unwrap_or_else(|| pool.host.to_string());
    let server_name = server_name(&pool.name, name)?;
    let min_1_3 = tls.min_version == TlsVersion::V1_3;
    let config = client_config(tls.ca_file.as_deref(), &tls.pins, min_1_3)
        .map_err(|cause| TargetError::Tls { pool: pool.name.clone(), cause: Box::new(cause) })?;
    Ok(TlsTarget { config, server_name, is_name_given: tls.server_name.is_some() })
}

fn server_name(pool: &str, host: String) -> Result<ServerName<'static>, TargetError> {
    ServerName::try_from(host.clone()).map_err(|_| TargetError::ServerName { pool: pool.to_owned(), host })
}
