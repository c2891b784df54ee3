//! Listening sockets: one for each shard and address, shared out by the kernel through `SO_REUSEPORT`.

use crate::dial;
use crate::plan::ShardSpec;
use crate::plan::limits::BACKLOG;
use crate::steering::{self, Steering};
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use thiserror::Error;

/// Why the miners' port cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub cause: io::Error,
}

/// Binds every address once per shard: element `n` is for shard `n` of `shards`, which is shard number `n`. With port 0 all shards get the same port, which
/// the sockets tell.
///
/// `SO_REUSEPORT` would also let a second proxy of the same user in on the same port without a word, to take half of
/// the miners. So the address is first bound without it, which fails while anybody listens there.
///
/// # Errors
/// [`ListenError`] naming the address.
pub fn bind_all(
    addresses: &[SocketAddr],
    shards: &[ShardSpec],
    steering: Steering,
) -> Result<Vec<Vec<OwnedFd>>, ListenError> {
    for address in addresses {
        drop(bind(*address, false).map_err(|cause| ListenError { address: *address, cause })?);
    }
    bind_beside(addresses, shards, steering)
}

/// The same where another process of this program may listen already, whose work this one takes over.
///
/// # Errors
/// [`ListenError`] naming the address.
pub fn bind_beside(
    addresses: &[SocketAddr],
    shards: &[ShardSpec],
    steering: Steering,
) -> Result<Vec<Vec<OwnedFd>>, ListenError> {
    let mut of_shard: Vec<Vec<OwnedFd>> = shards.iter().map(|_| Vec::new()).collect();
    for wanted in addresses {
        let fail = |cause| ListenError { address: *wanted, cause };
        let mut address = *wanted;
        for sockets in &mut of_shard {
            let socket = bind(address, true).map_err(fail)?;
            socket.listen(BACKLOG).map_err(fail)?;
            address = socket.local_addr().map_err(fail)?.as_socket().unwrap_or(address);
            sockets.push(socket.into());
        }
        // The program holds for the whole group, whichever of its sockets it is given to.
        let last = of_shard.last().and_then(|sockets| sockets.last());
        if let Some(socket) = last.filter(|_| steering == Steering::Cpu) {
            steering::by_cpu(socket, shards).map_err(fail)?;
        }
    }
    Ok(of_shard)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets have what their listener has: set once here, these cost no system call per miner.
    dial::send_at_once(&socket);
    dial::keep_alive(&socket);
    if address.is_ipv6() {
        // `0.0.0.0` and `::` are configured side by side; each takes its own family only.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The address a listening socket is bound to.
#[must_use]
pub fn address_of(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).local_addr().ok()?.as_socket()
}

/// Takes one waiting connection, if there is one, with where it comes from.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<Option<(OwnedFd, Option<SocketAddr>)>> {
    match rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok((socket, peer)) => Ok(Some((socket, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
