//! The header by which a proxy in front tells who the miner is: version 1 (a line of text) and 2 (binary) of HAProxy's
//! PROXY protocol.
//!
//! Strict, because an address that is believed decides over bans and limits: what is not exactly in the form of the
//! specification is an error, nothing is guessed. It refuses to look behind the header, and skips the extensions of
//! version 2 unread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;

/// Bytes of the longest line of version 1, with its end: the specification's bound.
const V1_BYTES_MAX: usize = 107;
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before its addresses: signature, version and command, family and transport, length.
const V2_FIXED_BYTES: usize = 16;
/// Bytes of addresses and extensions that version 2 may have; its own bound of 64 KiB is more than anybody sends.
const V2_REST_BYTES_MAX: usize = 536;
/// Bytes of the longest header of all.
pub(crate) const HEADER_BYTES_MAX: usize = V2_FIXED_BYTES + V2_REST_BYTES_MAX;

const _: () = assert!(V1_BYTES_MAX <= HEADER_BYTES_MAX && V2_REST_BYTES_MAX >= 216);

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where the miner is; `None` when the proxy speaks for itself or does not know. An IPv4 address in IPv6 clothes is
    /// told as IPv4.
    pub(crate) source: Option<SocketAddr>,
    /// Bytes of the header; what follows belongs to the miner.
    pub(crate) length: usize,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ProxyError {
    /// They begin like neither version.
    #[error("absent")]
    Absent,
    /// It has more bytes than are taken.
    #[error("longer than the {0} bytes that are taken")]
    TooLong(usize),
    /// The line ends otherwise than with one CR and LF.
    #[error("line not ended by CR LF")]
    LineEnd,
    /// The line is not of the words it must have, with single blanks between them.
    #[error("line not of the form 'TCP4|TCP6 source destination port port'")]
    Form,
    /// What carries the bytes is not one of TCP4, TCP6 and UNKNOWN, or a family or transport that there is not.
    #[error("unknown protocol or address family")]
    Family,
    /// An address is not one of the family that was told.
    #[error("wrong address")]
    Address,
    /// A port is not a plain number from 0 to 65535.
    #[error("wrong port")]
    Port,
    /// Version 2's signature, but another version.
    #[error("unknown version {0}")]
    Version(u8),
    /// Neither LOCAL nor PROXY.
    #[error("unknown command {0}")]
    Command(u8),
    /// Its length has no room for the addresses of its family.
    #[error("too short for its addresses")]
    TooShort,
}

/// Reads the header that `bytes` begin with; `Ok(None)` when it is not complete. Of bytes that can no longer become a
/// header it says so as soon as it is certain, at the latest at [`HEADER_BYTES_MAX`] of them.
///
/// # Errors
/// Why they are no header.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    if begins(bytes, V1_SIGNATURE) {
        text(bytes)
    } else if begins(bytes, V2_SIGNATURE) {
        binary(bytes)
    } else {
        Err(ProxyError::Absent)
    }
}

/// Whether `bytes` begin with the signature, as far as they have come.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let seen = bytes.len().min(signature.len());
    bytes[..seen] == signature[..seen]
}

fn text(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let seen = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if seen.len() < V1_BYTES_MAX { Ok(None) } else { Err(ProxyError::TooLong(V1_BYTES_MAX)) };
    };
    match &seen[end..] {
        [b'\r', b'\n', ..] => {}
        // Where the line may still end; not where its last byte would be one too many.
        [b'\r'] if end + 2 <= V1_BYTES_MAX => return Ok(None),
        [b'\r'] => return Err(ProxyError::TooLong(V1_BYTES_MAX)),
        _ => return Err(ProxyError::LineEnd),
    }
    // Shorter than the signature only with a line end in it, which is not the signature's: `begins` has seen that.
    let line = seen.get(V1_SIGNATURE.len()..end).ok_or(ProxyError::Form)?;
    let source = text_source(line)?;
    Ok(Some(Header { source, length: end + 2 }))
}

/// The source that the words behind the signature tell.
fn text_source(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    // Whatever follows the word UNKNOWN is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Form)?;
    let mut words = line.split(' ');
    let mut word = || words.next().filter(|word| !word.is_empty()).ok_or(ProxyError::Form);
    let family = word()?;
    let (source, to, port, to_port) = match family {
        "TCP4" | "TCP6" => (word()?, word()?, word()?, word()?),
        _ => return Err(ProxyError::Family),
    };
    if words.next().is_some() {
        return Err(ProxyError::Form);
    }
    let address = |word| match family {
        "TCP4" => address::<Ipv4Addr>(word),
        _ => address::<Ipv6Addr>(word),
    };
    let (source, _) = (address(source)?, address(to)?);
    let (port, _) = (text_port(port)?, text_port(to_port)?);
    Ok(Some(SocketAddr::new(source, port)))
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, ProxyError> {
    let address: A = word.parse().map_err(|_| ProxyError::Address)?;
    Ok(address.into().to_canonical())
}

fn text_port(word: &str) -> Result<u16, ProxyError> {
    // The standard library would take a plus and any number of zeros.
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if !is_plain {
        return Err(ProxyError::Port);
    }
    word.parse().map_err(|_| ProxyError::Port)
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    // Each byte is judged as soon as it is there.
    let Some(&version_command) = bytes.get(12) else { return Ok(None) };
    if version_command >> 4 != 2 {
        return Err(ProxyError::Version(version_command >> 4));
    }
    let is_local = match version_command & 0xf {
        0 => true,
        1 => false,
        other => return Err(ProxyError::Command(other)),
    };
    let Some(&kind) = bytes.get(13) else { return Ok(None) };
    // A proxy that speaks for itself may write any family; it is not looked at.
    let carries = if is_local { Carries::Nothing } else { Carries::of(kind)? };
    let Some(&[high, low]) = bytes.get(14..16) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_REST_BYTES_MAX {
        return Err(ProxyError::TooLong(HEADER_BYTES_MAX));
    }
    if length < carries.bytes() {
        return Err(ProxyError::TooShort);
    }
    let Some(rest) = bytes.get(V2_FIXED_BYTES..V2_FIXED_BYTES + length) else { return Ok(None) };
    let source = carries.source(rest);
    Ok(Some(Header { source, length: V2_FIXED_BYTES + length }))
}

/// Addresses of version 2 that mean something here.
#[derive(Debug, Clone, Copy)]
enum Carries {
    Nothing,
    V4,
    V6,
}

impl Carries {
    /// By the byte of family (0 unspecified, 1 IPv4, 2 IPv6, 3 Unix) and transport (0 unspecified, 1 stream, 2 datagram).
    /// The specification wants any other value refused.
    fn of(kind: u8) -> Result<Carries, ProxyError> {
        match (kind >> 4, kind & 0xf) {
            (1, 1) => Ok(Carries::V4),
            (2, 1) => Ok(Carries::V6),
            (0..=3, 0..=2) => Ok(Carries::Nothing),
            _ => Err(ProxyError::Family),
        }
    }

    /// Bytes of its two addresses and two ports.
    fn bytes(self) -> usize {
        match self {
            Carries::Nothing => 0,
            Carries::V4 => 12,
            Carries::V6 => 36,
        }
    }

    fn source(self, rest: &[u8]) -> Option<SocketAddr> {
        let (address, port): (IpAddr, &[u8]) = match self {
            Carries::Nothing => return None,
            Carries::V4 => (rest.first_chunk::<4>().copied()?.into(), rest.get(8..10)?),
            Carries::V6 => (rest.first_chunk::<16>().copied()?.into(), rest.get(32..34)?),
        };
        let port = u16::from_be_bytes([*port.first()?, *port.get(1)?]);
        Some(SocketAddr::new(address.to_canonical(), port))
    }
}

#[cfg(test)]
mod tests;
