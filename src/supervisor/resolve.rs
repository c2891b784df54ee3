//! The pool's name to addresses, off the shards: looking a name up blocks.

use crate::config::{Host, PoolConfig};
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;
use thiserror::Error;

/// How often the name is looked up again. The system's resolver does not tell how long an answer holds.
const AGAIN: Duration = Duration::from_secs(60);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The pool's name has no address.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The lookup failed.
    #[error(
        "cannot resolve the pool's host {host}: {cause}\n  fix: check pool.host and the resolver of this host"
    )]
    Lookup {
        /// The name.
        host: String,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// The lookup found nothing.
    #[error("the pool's host {host} has no address")]
    Nothing {
        /// The name.
        host: String,
    },
}

/// Looks the pool up, in the order in which the system would connect.
///
/// # Errors
/// [`ResolveError`]
pub(super) fn once(pool: &PoolConfig) -> Result<Vec<SocketAddr>, ResolveError> {
    let name = match &pool.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, pool.port)]),
        Host::Name(name) => name,
    };
    let found = (name.as_str(), pool.port).to_socket_addrs();
    let found = found.map_err(|cause| ResolveError::Lookup { host: name.clone(), cause })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(ResolveError::Nothing { host: name.clone() }) } else { Ok(addresses) }
}

/// Looks the name up again and again, and tells changes. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Resolver {
    _stop: Option<Sender<()>>,
}

impl Resolver {
    /// `changed` is called with new addresses and says whether they were taken. A failed lookup changes nothing: the
    /// last good answer is kept.
    pub(super) fn start(
        pool: &PoolConfig,
        first: Vec<SocketAddr>,
        changed: impl Fn(Vec<SocketAddr>) -> bool + Send + 'static,
    ) -> io::Result<Resolver> {
        if matches!(pool.host, Host::Ip(_)) {
            return Ok(Resolver { _stop: None });
        }
        let (stop, stopped) = bounded::<()>(1);
        let pool = pool.clone();
        let mut known = first;
        let look = move || {
            while stopped.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {
                match once(&pool) {
                    Ok(addresses) if is_other(&addresses, &known) && changed(addresses.clone()) => {
                        known = addresses
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "keeping the pool's last known addresses"),
                }
            }
        };
        std::thread::Builder::new().name("resolver".to_owned()).spawn(look)?;
        Ok(Resolver { _stop: Some(stop) })
    }
}

/// Resolvers rotate their answers; only another set of addresses is a change.
fn is_other(new: &[SocketAddr], known: &[SocketAddr]) -> bool {
    new.len() != known.len() || new.iter().any(|address| !known.contains(address))
}
