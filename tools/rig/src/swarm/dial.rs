//! Connects without blocking, from many source addresses if asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// Linux's number for "the connect has begun", which the standard library gives no stable name.
const EINPROGRESS: i32 = 115;
/// Addresses used in 127.0.0.0/8: 250 in each of 250 nets, from 127.0.1.2 on.
const SOURCES: u64 = 250 * 250;

/// Starts a connect of the miner with this number. The socket becomes writable when it is done.
pub(super) fn dial(target: SocketAddr, spread_sources: bool, number: u64) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if spread_sources && is_loopback_v4(target) {
        socket.bind(&SocketAddr::from((source(number), 0)).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn is_loopback_v4(target: SocketAddr) -> bool {
    match target.ip() {
        IpAddr::V4(addr) => addr.is_loopback(),
        IpAddr::V6(_) => false,
    }
}

fn source(number: u64) -> Ipv4Addr {
    let place = number % SOURCES;
    let octet = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, octet(1 + place / 250), octet(2 + place % 250))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_differ_and_stay_loopback() {
        let all: std::collections::HashSet<Ipv4Addr> = (0..SOURCES).map(source).collect();
        assert_eq!(all.len() as u64, SOURCES);
        assert!(all.iter().all(|addr| addr.is_loopback() && addr.octets()[3] < 255));
        assert_eq!(source(SOURCES), source(0));
    }
}
