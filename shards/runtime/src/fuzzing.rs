//! A door for the fuzz targets and the replay of their corpus, which are other packages, to a parser that they are to
//! reach without a socket. A function with plain types, and not the parser's own made public: those may change with
//! the front, and nobody else has a use for them. It refuses to be an interface: there is no promise in it.

use crate::front::proxy_header;
use std::net::SocketAddr;

/// What the header of a proxy in front says: the miner's address, if it tells one, and the bytes of the header.
/// `Ok(None)` while it is not complete.
///
/// # Errors
/// Why the bytes are no header, as text.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, String> {
    let parsed = proxy_header::parse(bytes).map_err(|error| error.to_string())?;
    Ok(parsed.map(|header| (header.source, header.length)))
}

/// Bytes of the longest header that is taken.
pub const PROXY_HEADER_BYTES_MAX: usize = proxy_header::HEADER_BYTES_MAX;
