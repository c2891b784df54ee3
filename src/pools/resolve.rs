//! Names to addresses, with the time for which they hold.
//!
//! Name servers are asked by ourselves, because the system's own call tells no time to live and blocks. Without name
//! servers of one's own, those of `/etc/resolv.conf` are asked, after `/etc/hosts`; both are read again when they
//! change. Where there is no usable `/etc/resolv.conf`, the system's call is made on a thread for blocking calls, and
//! its answers hold for [`UNKNOWN_TTL`]. Nothing is remembered here: see [`super::watch`].

#[cfg(test)]
mod tests;

use crate::config::Host;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{NetError, runtime::TokioRuntimeProvider};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;

/// Addresses of one name that are of interest.
pub const ADDRESSES_MAX: usize = 16;
/// An answer is believed at least this long, whatever it says: nobody is asked more often.
pub const TTL_MIN: Duration = Duration::from_secs(5);
/// An answer is believed at most this long: pools move.
pub const TTL_MAX: Duration = Duration::from_secs(3600);
/// How long an answer holds that came without a time.
pub const UNKNOWN_TTL: Duration = Duration::from_secs(60);
/// One question to one name server.
const QUESTION_MAX: Duration = Duration::from_secs(2);
/// A whole lookup, with every retry.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Questions per lookup and server.
const ATTEMPTS: usize = 2;
/// The port of DNS.
const DNS_PORT: u16 = 53;
/// What the system's configuration is read from.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The name servers say that there is no such name.
    #[error("cannot resolve {host}: there is no such name (NXDOMAIN)")]
    NoSuchName {
        /// The name.
        host: String,
    },
    /// The name exists and has neither an A nor an AAAA record.
    #[error("cannot resolve {host}: the name exists but has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// All addresses are such as nobody can connect to.
    #[error("cannot resolve {host}: the name server answers {answer}, as those do that block a name")]
    Blocked {
        /// The name.
        host: String,
        /// What was answered.
        answer: IpAddr,
    },
    /// No name server answered in time.
    #[error("cannot resolve {host}: no name server answered within {} s", LOOKUP_MAX.as_secs())]
    Silent {
        /// The name.
        host: String,
    },
    /// Something else.
    #[error("cannot resolve {host}: {cause}")]
    Failed {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// The name servers that were configured cannot be used.
    #[error("cannot set up the resolver: {0}")]
    Setup(String),
}

impl ResolveError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NoSuchName { .. } | Self::NoAddress { .. } => "check the spelling of the host",
            Self::Blocked { .. } => {
                "let the name through in the filter of your network, or configure other name servers"
            }
            Self::Silent { .. } | Self::Failed { .. } => {
                "check /etc/resolv.conf, and that the name servers in it can be reached (port 53)"
            }
            Self::Setup(_) => "check the addresses of the name servers",
        }
    }
}

/// The answer to a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// 1 to [`ADDRESSES_MAX`] addresses, none twice, families in turn, IPv6 first.
    pub addresses: Vec<SocketAddr>,
    /// How long the answer holds: [`TTL_MIN`] to [`TTL_MAX`].
    pub valid_for: Duration,
}

/// Asks name servers. Must be used within a tokio runtime with network and time.
pub struct Resolver(Source);

enum Source {
    Given(TokioResolver),
    System(Mutex<System>),
}

/// The system's configuration as it was when it was last read.
struct System {
    read_at: Stamps,
    /// `None`: there is no usable configuration, and the system's own call is made.
    servers: Option<TokioResolver>,
}

type Stamps = [Option<SystemTime>; SYSTEM_FILES.len()];

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Source::Given(_) => "Resolver(given servers)",
            Source::System(_) => "Resolver(system)",
        })
    }
}

impl Resolver {
    /// Asks these servers, or with none those of the system.
    ///
    /// # Errors
    /// [`ResolveError::Setup`]
    pub fn new(servers: &[IpAddr]) -> Result<Resolver, ResolveError> {
        if servers.is_empty() {
            return Ok(Resolver(Source::System(Mutex::new(System::read()))));
        }
        let servers: Vec<SocketAddr> = servers.iter().map(|ip| SocketAddr::new(*ip, DNS_PORT)).collect();
        Self::with_servers(&servers)
    }

    /// The same for name servers on other ports. `/etc/hosts` is asked first all the same.
    ///
    /// # Errors
    /// [`ResolveError::Setup`]
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Resolver, ResolveError> {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.to_vec())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        limit(builder.options_mut());
        let resolver = builder.build().map_err(|error| ResolveError::Setup(error.to_string()))?;
        Ok(Resolver(Source::Given(resolver)))
    }

    /// Looks a host up, both families at the same time. An address is its own answer.
    ///
    /// # Errors
    /// [`ResolveError`], after 10 s at the latest.
    pub async fn resolve(&self, host: &Host, port: u16) -> Result<Resolved, ResolveError> {
        let name = match host {
            Host::Ip(ip) => {
                return Ok(Resolved { addresses: vec![SocketAddr::new(*ip, port)], valid_for: TTL_MAX });
            }
            Host::Name(name) => name,
        };
        let lookup = async {
            match self.servers() {
                Some(servers) => ask(&servers, name).await,
                None => ask_system(name).await,
            }
        };
        let silent = |_| ResolveError::Silent { host: name.clone() };
        let (found, valid_for) = tokio::time::timeout(LOOKUP_MAX, lookup).await.map_err(silent)??;
        let addresses = in_turn(&found, port);
        if let (true, Some(answer)) = (addresses.is_empty(), found.first()) {
            return Err(ResolveError::Blocked { host: name.clone(), answer: *answer });
        }
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress { host: name.clone() });
        }
        Ok(Resolved { addresses, valid_for: valid_for.clamp(TTL_MIN, TTL_MAX) })
    }

    fn servers(&self) -> Option<TokioResolver> {
        match &self.0 {
            Source::Given(resolver) => Some(resolver.clone()),
            Source::System(system) => {
                let mut system = system.lock().unwrap_or_else(PoisonError::into_inner);
                if system.read_at != stamps() {
                    *system = System::read();
                }
                system.servers.clone()
            }
        }
    }
}

impl System {
    fn read() -> System {
        let read_at = stamps();
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            limit(builder.options_mut());
            builder.build()
        });
        let servers = built.inspect_err(|error| {
            tracing::warn!(%error, "/etc/resolv.conf is not usable: names are looked up by the system's own call");
        });
        System { read_at, servers: servers.ok() }
    }
}

fn stamps() -> Stamps {
    SYSTEM_FILES.map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

/// Bounds every question. Answers are not cached: who asks again wants to know.
fn limit(options: &mut ResolverOpts) {
    options.cache_size = 0;
    options.timeout = options.timeout.min(QUESTION_MAX);
    options.attempts = options.attempts.clamp(1, ATTEMPTS);
}

async fn ask(servers: &TokioResolver, name: &str) -> Result<(Vec<IpAddr>, Duration), ResolveError> {
    let answer = servers.lookup_ip(name).await.map_err(|error| explain(name, &error))?;
    let valid_for = answer.valid_until().saturating_duration_since(Instant::now());
    Ok((answer.iter().collect(), valid_for))
}

fn explain(name: &str, error: &NetError) -> ResolveError {
    let host = name.to_owned();
    if error.is_nx_domain() {
        ResolveError::NoSuchName { host }
    } else if error.is_no_records_found() {
        ResolveError::NoAddress { host }
    } else if matches!(error, NetError::Timeout) {
        ResolveError::Silent { host }
    } else {
        ResolveError::Failed { host, cause: error.to_string() }
    }
}

async fn ask_system(name: &str) -> Result<(Vec<IpAddr>, Duration), ResolveError> {
    let found = tokio::net::lookup_host((name, DNS_PORT)).await;
    let found =
        found.map_err(|error| ResolveError::Failed { host: name.to_owned(), cause: error.to_string() })?;
    Ok((found.map(|address| address.ip()).collect(), UNKNOWN_TTL))
}

/// Families in turn, IPv6 first, as RFC 8305 would dial them; without those that nobody can connect to.
fn in_turn(found: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let usable = found.iter().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let (v6, v4): (Vec<&IpAddr>, Vec<&IpAddr>) = usable.partition(|ip| ip.is_ipv6());
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for nth in 0..v6.len().max(v4.len()) {
        for ip in [v6.get(nth), v4.get(nth)].into_iter().flatten() {
            let address = SocketAddr::new(**ip, port);
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
    }
    addresses
}
