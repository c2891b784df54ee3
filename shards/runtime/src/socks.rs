//! Asks a SOCKS5 proxy for a connection (RFC 1928), with user and password if it wants them (RFC 1929).
//!
//! Bytes in and bytes out, no socket. It asks for CONNECT and nothing else, resolves no names (the proxy does, where it is
//! given one) and knows no other way to log in.

use std::fmt;
use std::net::SocketAddr;
use thiserror::Error;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// Bytes of a name, a user or a password: their length is one byte.
const TEXT_BYTES_MAX: usize = 255;
/// Bytes of the longest reply: version, code, reserve, kind, the longest name with its length, port.
const REPLY_BYTES_MAX: usize = 4 + 1 + TEXT_BYTES_MAX + 2;

/// Where the proxy is to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocksTarget {
    /// An address that is known.
    Address(SocketAddr),
    /// A name of 1 to 255 bytes, which the proxy resolves, and a port.
    Name(String, u16),
}

/// User and password for the proxy. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SocksLogin {
    user: String,
    password: String,
}

impl SocksLogin {
    /// # Errors
    /// [`SocksError::LoginLength`] unless both have 1 to 255 bytes.
    pub fn new(user: String, password: String) -> Result<SocksLogin, SocksError> {
        if fits(&user) && fits(&password) {
            Ok(SocksLogin { user, password })
        } else {
            Err(SocksError::LoginLength)
        }
    }
}

impl fmt::Debug for SocksLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SocksLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why there is no connection through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SocksError {
    /// User or password cannot be told to a proxy.
    #[error("user and password must have 1 to 255 bytes each")]
    LoginLength,
    /// The name cannot be told to a proxy.
    #[error("the name to connect to must have 1 to 255 bytes")]
    NameLength,
    /// Whoever answered is no SOCKS5 proxy.
    #[error("no SOCKS5 proxy: its answer begins with {0:#04x}")]
    Version(u8),
    /// It wants a login, or one of another kind.
    #[error("the SOCKS proxy takes none of the ways to log in that were offered")]
    NoMethod,
    /// It chose what was not offered.
    #[error("the SOCKS proxy chose way {0} to log in, which was not offered")]
    Method(u8),
    /// It does not know the user, or not with this password.
    #[error("the SOCKS proxy refused user and password")]
    Login,
    /// It could not connect or did not want to.
    #[error("the SOCKS proxy refused: {}", refusal(*.0))]
    Refused(u8),
    /// Its reply has an address of a kind that there is not.
    #[error("the SOCKS proxy told an address of the unknown kind {0}")]
    AddressKind(u8),
}

/// A reply code in words.
fn refusal(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "kind of address not supported",
        _ => "unknown reply code",
    }
}

/// What the bytes of the proxy have led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    More,
    /// Connected. The last `unread` of the bytes that were given come from the other end of the tunnel already.
    Done {
        /// Bytes behind the reply.
        unread: usize,
    },
}

/// What the proxy is to say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Method,
    LoginAnswer,
    Reply,
    /// It has said all.
    Nothing,
}

/// One connection through a proxy on its way.
pub(crate) struct Socks {
    awaits: Awaits,
    /// The bytes of the message that is coming, at most [`REPLY_BYTES_MAX`].
    held: Vec<u8>,
    /// The login in the proxy's form, if there is one.
    login: Option<Vec<u8>>,
    request: Vec<u8>,
    failed: Option<SocksError>,
}

impl fmt::Debug for Socks {
    /// The login is never shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Socks");
        shown.field("awaits", &self.awaits).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Socks {
    /// Begins; appends what the proxy is to be told first to `out`.
    ///
    /// # Errors
    /// [`SocksError::NameLength`] for a name that has no or too many bytes.
    pub(crate) fn start(
        target: &SocksTarget,
        login: Option<&SocksLogin>,
        out: &mut Vec<u8>,
    ) -> Result<Socks, SocksError> {
        let request = request(target)?;
        let login = login.map(|login| {
            let mut message = vec![LOGIN_VERSION];
            push_text(&mut message, &login.user);
            push_text(&mut message, &login.password);
            message
        });
        match login {
            Some(_) => out.extend_from_slice(&[VERSION, 2, NO_LOGIN, LOGIN]),
            None => out.extend_from_slice(&[VERSION, 1, NO_LOGIN]),
        }
        Ok(Socks { awaits: Awaits::Method, held: Vec::new(), login, request, failed: None })
    }

    /// Takes bytes of the proxy, of any length; appends to `out` what it is to be told next. Bytes behind its last reply
    /// are not looked at.
    ///
    /// # Errors
    /// Why there will be no connection; every later call gives the same error.
    pub(crate) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, SocksError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        for (at, byte) in bytes.iter().enumerate() {
            if self.awaits == Awaits::Nothing {
                return Ok(Progress::Done { unread: bytes.len() - at });
            }
            self.held.push(*byte);
            debug_assert!(self.held.len() <= REPLY_BYTES_MAX);
            if let Err(error) = self.take(out) {
                self.failed = Some(error);
                return Err(error);
            }
        }
        match self.awaits {
            Awaits::Nothing => Ok(Progress::Done { unread: 0 }),
            Awaits::Method | Awaits::LoginAnswer | Awaits::Reply => Ok(Progress::More),
        }
    }

    /// Looks at the message that is coming, each time one byte has.
    fn take(&mut self, out: &mut Vec<u8>) -> Result<(), SocksError> {
        let first = *self.held.first().unwrap_or(&VERSION);
        let version = if self.awaits == Awaits::LoginAnswer { LOGIN_VERSION } else { VERSION };
        if first != version {
            return Err(SocksError::Version(first));
        }
        let Some(&second) = self.held.get(1) else { return Ok(()) };
        let next = match self.awaits {
            Awaits::Method => self.method(second, out)?,
            Awaits::LoginAnswer if second != 0 => return Err(SocksError::Login),
            Awaits::LoginAnswer => {
                out.extend_from_slice(&self.request);
                Awaits::Reply
            }
            Awaits::Reply if second != 0 => return Err(SocksError::Refused(second)),
            Awaits::Reply if self.reply_is_whole()? => Awaits::Nothing,
            Awaits::Reply | Awaits::Nothing => return Ok(()),
        };
        self.awaits = next;
        self.held.clear();
        Ok(())
    }

    fn method(&self, chosen: u8, out: &mut Vec<u8>) -> Result<Awaits, SocksError> {
        match (chosen, &self.login) {
            (NO_LOGIN, _) => {
                out.extend_from_slice(&self.request);
                Ok(Awaits::Reply)
            }
            (LOGIN, Some(login)) => {
                out.extend_from_slice(login);
                Ok(Awaits::LoginAnswer)
            }
            (NO_METHOD, _) => Err(SocksError::NoMethod),
            (other, _) => Err(SocksError::Method(other)),
        }
    }

    /// Whether the address in the reply has come to its end. Which one it is does not matter.
    fn reply_is_whole(&self) -> Result<bool, SocksError> {
        let Some(&kind) = self.held.get(3) else { return Ok(false) };
        let address = match kind {
            IPV4 => 4,
            IPV6 => 16,
            NAME => match self.held.get(4) {
                Some(length) => 1 + usize::from(*length),
                None => return Ok(false),
            },
            other => return Err(SocksError::AddressKind(other)),
        };
        Ok(self.held.len() == 4 + address + 2)
    }
}

fn fits(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
}

/// Appends a text behind its length, which is at most [`TEXT_BYTES_MAX`].
fn push_text(message: &mut Vec<u8>, text: &str) {
    debug_assert!(fits(text));
    message.push(text.len() as u8);
    message.extend_from_slice(text.as_bytes());
}

fn request(target: &SocksTarget) -> Result<Vec<u8>, SocksError> {
    let mut message = vec![VERSION, CONNECT, 0];
    let port = match target {
        SocksTarget::Address(SocketAddr::V4(address)) => {
            message.push(IPV4);
            message.extend_from_slice(&address.ip().octets());
            address.port()
        }
        SocksTarget::Address(SocketAddr::V6(address)) => {
            message.push(IPV6);
            message.extend_from_slice(&address.ip().octets());
            address.port()
        }
        SocksTarget::Name(name, _) if !fits(name) => return Err(SocksError::NameLength),
        SocksTarget::Name(name, port) => {
            message.push(NAME);
            push_text(&mut message, name);
            *port
        }
    };
    message.extend_from_slice(&port.to_be_bytes());
    Ok(message)
}

#[cfg(test)]
mod tests;
