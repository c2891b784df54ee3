//! What client and stub say to each other before the bytes flow.
//!
//! It refuses to guess: anything out of order is an error, and the connection ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use super::{HANDSHAKE_TIMEOUT, REQUESTS_KEPT_MAX, Shared, Socks5Destination, Socks5Manners, Socks5Request};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const METHOD_OPEN: u8 = 0;
const METHOD_LOGIN: u8 = 2;
const METHOD_NONE: u8 = 0xff;
const CONNECT: u8 = 1;
const ADDRESS_V4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_V6: u8 = 4;

/// Codes of the answer to a request.
const OK: u8 = 0;
const GENERAL_FAILURE: u8 = 1;
const NETWORK_UNREACHABLE: u8 = 3;
const HOST_UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const NO_SUCH_COMMAND: u8 = 7;
const NO_SUCH_ADDRESS_TYPE: u8 = 8;

/// How the set-up ended.
pub(super) enum Outcome {
    Connected(TcpStream),
    Refused,
    /// The client waits for an answer that never comes.
    Stalled,
}

/// What a client asks for, as far as it can be understood.
enum Asked {
    Destination(Socks5Destination),
    /// Not to be had, with the code that says so.
    Unknown(u8),
}

pub(super) fn negotiate(shared: &Shared, client: &mut TcpStream) -> io::Result<Outcome> {
    let [version, count] = take(client)?;
    expect(version, VERSION)?;
    let mut methods = vec![0; usize::from(count)];
    client.read_exact(&mut methods)?;
    let manners = shared.state().manners;
    if manners == Socks5Manners::StallAfterGreeting {
        return Ok(Outcome::Stalled);
    }
    let wanted = if shared.login.is_some() { METHOD_LOGIN } else { METHOD_OPEN };
    if manners == Socks5Manners::NoMethod || !methods.contains(&wanted) {
        let is_unwilling = manners != Socks5Manners::NoMethod && shared.login.is_some();
        shared.state().report.logins_refused += u64::from(is_unwilling);
        client.write_all(&[VERSION, METHOD_NONE])?;
        return Ok(Outcome::Refused);
    }
    client.write_all(&[VERSION, wanted])?;
    let mut logged_in = None;
    if let Some((user, password)) = &shared.login {
        let given = login(client)?;
        if given != (user.clone().into_bytes(), password.clone().into_bytes()) {
            shared.state().report.logins_refused += 1;
            client.write_all(&[LOGIN_VERSION, GENERAL_FAILURE])?;
            return Ok(Outcome::Refused);
        }
        client.write_all(&[LOGIN_VERSION, OK])?;
        logged_in = Some(user.clone());
    }
    let destination = match request(client)? {
        Asked::Destination(destination) => destination,
        Asked::Unknown(code) => return refuse(client, code),
    };
    answer(shared, client, destination, logged_in)
}

fn answer(
    shared: &Shared,
    client: &mut TcpStream,
    destination: Socks5Destination,
    user: Option<String>,
) -> io::Result<Outcome> {
    let manners = {
        let mut state = shared.state();
        if state.report.requests.len() < REQUESTS_KEPT_MAX {
            let destination = destination.clone();
            state.report.requests.push(Socks5Request { destination, user });
        }
        state.manners
    };
    match manners {
        Socks5Manners::Refuse(code) => return refuse(client, code.max(GENERAL_FAILURE)),
        Socks5Manners::StallAfterRequest => return Ok(Outcome::Stalled),
        Socks5Manners::Serve | Socks5Manners::NoMethod | Socks5Manners::StallAfterGreeting => {}
    }
    let target = match destination {
        Socks5Destination::Address(addr) => addr,
        Socks5Destination::Name(name, port) => match shared.names.get(&name.to_ascii_lowercase()) {
            Some(&addr) => SocketAddr::new(addr, port),
            None => return refuse(client, HOST_UNREACHABLE),
        },
    };
    match TcpStream::connect_timeout(&target, HANDSHAKE_TIMEOUT) {
        Ok(stream) => {
            let bound = stream.local_addr()?;
            reply(client, OK, bound)?;
            Ok(Outcome::Connected(stream))
        }
        Err(error) => refuse(client, code_of(error.kind())),
    }
}

/// What a failed connect is called in SOCKS.
fn code_of(kind: ErrorKind) -> u8 {
    if kind == ErrorKind::ConnectionRefused {
        REFUSED
    } else if kind == ErrorKind::NetworkUnreachable {
        NETWORK_UNREACHABLE
    } else if matches!(kind, ErrorKind::HostUnreachable | ErrorKind::TimedOut) {
        HOST_UNREACHABLE
    } else {
        GENERAL_FAILURE
    }
}

fn login(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let [version] = take(client)?;
    expect(version, LOGIN_VERSION)?;
    Ok((counted(client)?, counted(client)?))
}

fn request(client: &mut TcpStream) -> io::Result<Asked> {
    let [version, command, _reserved, kind] = take(client)?;
    expect(version, VERSION)?;
    let destination = match kind {
        ADDRESS_V4 => {
            let octets: [u8; 4] = take(client)?;
            Socks5Destination::Address(SocketAddr::new(Ipv4Addr::from(octets).into(), port(client)?))
        }
        ADDRESS_V6 => {
            let octets: [u8; 16] = take(client)?;
            Socks5Destination::Address(SocketAddr::new(Ipv6Addr::from(octets).into(), port(client)?))
        }
        ADDRESS_NAME => {
            let name = String::from_utf8(counted(client)?)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            Socks5Destination::Name(name, port(client)?)
        }
        _ => return Ok(Asked::Unknown(NO_SUCH_ADDRESS_TYPE)),
    };
    Ok(if command == CONNECT { Asked::Destination(destination) } else { Asked::Unknown(NO_SUCH_COMMAND) })
}

fn refuse(client: &mut TcpStream, code: u8) -> io::Result<Outcome> {
    reply(client, code, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    Ok(Outcome::Refused)
}

fn reply(client: &mut TcpStream, code: u8, bound: SocketAddr) -> io::Result<()> {
    let mut bytes = vec![VERSION, code, 0];
    match bound.ip() {
        IpAddr::V4(addr) => {
            bytes.push(ADDRESS_V4);
            bytes.extend_from_slice(&addr.octets());
        }
        IpAddr::V6(addr) => {
            bytes.push(ADDRESS_V6);
            bytes.extend_from_slice(&addr.octets());
        }
    }
    bytes.extend_from_slice(&bound.port().to_be_bytes());
    client.write_all(&bytes)
}

fn take<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes with their number in front.
fn counted(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let [count] = take(client)?;
    let mut bytes = vec![0; usize::from(count)];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn port(client: &mut TcpStream) -> io::Result<u16> {
    Ok(u16::from_be_bytes(take(client)?))
}

fn expect(found: u8, wanted: u8) -> io::Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::InvalidData, format!("version {found} instead of {wanted}")))
}
