//! What a miner's connection begins with when a proxy in front speaks for the miner.

use loka_runtime::fuzzing::{self, PROXY_HEADER_BYTES_MAX};
use std::net::SocketAddr;

/// Any bytes: a header is told when it is whole, whatever comes behind it, and not before; what is no header stays
/// none, and is known for none before more bytes than the bound have come.
pub fn proxy_header(data: &[u8]) {
    let bytes = &data[..data.len().min(2 * PROXY_HEADER_BYTES_MAX)];
    let said = fuzzing::proxy_header(bytes);
    // The most bytes that say nothing yet: whatever is said is said by the next one, and stays.
    let silent = (0..=bytes.len()).rev().find(|end| fuzzing::proxy_header(&bytes[..*end]) == Ok(None));
    let decided = silent.map_or(0, |end| end + 1);
    for end in 0..=bytes.len() {
        let then = fuzzing::proxy_header(&bytes[..end]);
        assert_eq!(
            then,
            if end < decided { Ok(None) } else { said.clone() },
            "{end} of {} bytes",
            bytes.len()
        );
    }
    match said {
        Ok(None) => assert!(bytes.len() < PROXY_HEADER_BYTES_MAX, "undecided at {} bytes", bytes.len()),
        Ok(Some((source, length))) => {
            assert_eq!(length, decided, "the header ends with the byte that makes it whole");
            assert!(length <= PROXY_HEADER_BYTES_MAX);
            check_source(bytes, source);
        }
        Err(error) => assert!(!error.is_empty()),
    }
}

/// An address that was told can be told again by a header in the plainest form, and means the same.
fn check_source(bytes: &[u8], source: Option<SocketAddr>) {
    let Some(source) = source else { return };
    assert_eq!(source.ip(), source.ip().to_canonical(), "an IPv4 address in IPv6 clothes");
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (ip, port) = (source.ip(), source.port());
    let plain = format!("PROXY {family} {ip} {ip} {port} 1\r\n");
    assert_eq!(fuzzing::proxy_header(plain.as_bytes()), Ok(Some((Some(source), plain.len()))), "{bytes:x?}");
}
