//! The datagram socket behind `NOTIFY_SOCKET`. It sends; nothing is ever read from it.

use super::SEND_MAX;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A socket that knows whom it sends to.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl NotifySocket {
    /// `name` is the path of a socket, or `@` and the name of an abstract one.
    ///
    /// # Errors
    /// The name is neither, or no socket can be had.
    pub(super) fn open(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', rest @ ..] if !rest.is_empty() => SocketAddr::from_abstract_name(rest)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor @NAME")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        Ok(Self { socket, to })
    }

    /// Sends one message: lines of `NAME=VALUE`.
    ///
    /// # Errors
    /// Nobody takes it, or not in time.
    pub(super) fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.to).map(drop)
    }
}
