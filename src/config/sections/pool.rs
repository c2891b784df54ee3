//! `[[pool]]`, checked: where a pool is, how it is reached, and how much it is preferred.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::TlsVersion;
use crate::config::net::Host;
use crate::config::secret::Secret;

/// `[[pool]]`: one place where the miners' work comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Name in logs and metrics, 1 to 64 bytes; no two pools share one.
    pub name: String,
    /// The machine; a name is not yet resolved.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
    /// How the connection is encrypted; `None`: it is not.
    pub tls: Option<PoolTls>,
    /// The SOCKS5 proxy on the way to the pool; `None`: connect directly.
    pub proxy: Option<Socks5Proxy>,
    /// 1 to 1000; the pools of the lowest number that are well get the miners.
    pub priority: u32,
    /// 1 to 1000; pools of one priority share the miners in this proportion.
    pub weight: NonZeroU32,
    /// Account that takes the place of the miners' own; empty: their names are passed on.
    pub username: String,
    /// Password sent in place of the miners' own; empty: theirs are passed on.
    pub password: Secret,
    /// What may stand between account and worker; may be empty, its texts are not.
    pub separator: Vec<String>,
    /// Subscribe to extranonce changes.
    pub extranonce: bool,
    /// Where `client.reconnect` of this pool may lead: these domains and all names under them; lower case, at most 16.
    pub reconnect_domains: Vec<String>,
}

impl PoolConfig {
    /// `host:port`, an IPv6 address in brackets.
    pub fn endpoint(&self) -> String {
        self.host.with_port(self.port)
    }

    /// The endpoint with its scheme: `stratum+tcp://host:port`, or `stratum+ssl://host:port` with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "stratum+ssl" } else { "stratum+tcp" };
        format!("{scheme}://{}", self.endpoint())
    }
}

/// How a pool's TLS is checked. A pool that fails any of it is not spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTls {
    /// PEM file of the authorities that are trusted; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Name or IP address that the certificate must be for, and that is asked for; `None`: the pool's host.
    pub server_name: Option<String>,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) that the pool may show; at most 8, none twice; empty: any key.
    pub pins: Vec<[u8; 32]>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A SOCKS5 proxy (RFC 1928), with user name and password (RFC 1929) where it asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socks5Proxy {
    /// The machine; a name is not yet resolved.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
    /// User name and password, each of 1 to 255 bytes.
    pub credentials: Option<(String, Secret)>,
}

impl fmt::Display for Socks5Proxy {
    /// `socks5://host:port`, without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socks5://{}", self.host.with_port(self.port))
    }
}
