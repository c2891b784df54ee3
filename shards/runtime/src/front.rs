//! What a miner's connection begins with, where the listener asks for it: the header of a proxy in front, then TLS, HTTP or
//! plain Stratum.
//!
//! It reads bytes that somebody else keeps and keeps none itself. Whether the peer may speak for others at all, how long
//! its first bytes may take, and what a listener does with a kind it does not want, is decided elsewhere.

pub(crate) mod http;
pub(crate) mod proxy_header;

use http::{HttpBytes, http_bytes};
use proxy_header::{HEADER_BYTES_MAX, ProxyError};
use std::net::SocketAddr;
use thiserror::Error;

/// Bytes that must be kept at most until [`first`] knows what they are.
pub(crate) const FRONT_BYTES_MAX: usize = HEADER_BYTES_MAX;

/// The type of the record that a TLS handshake begins with, and the first byte of its version, which all versions share.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// What a listener asks of the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asks {
    /// A header that tells the miner's address must come first.
    pub(crate) proxy_header: bool,
    /// TLS and what is plain are to be told apart; otherwise all is plain.
    pub(crate) tls: bool,
    /// HTTP and plain Stratum are to be told apart.
    pub(crate) http: bool,
}

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// Nothing can be said before more bytes come.
    NeedMore,
    /// A proxy's header of `consumed` bytes. What follows is asked about anew, without asking for a header.
    Proxy {
        /// Where the miner is; `None` when the proxy speaks for itself or does not know.
        source: Option<SocketAddr>,
        /// The header's length in bytes.
        consumed: usize,
    },
    /// A TLS handshake begins.
    Tls,
    /// A request of HTTP begins.
    Http,
    /// Anything else.
    Plain,
    /// What was asked for did not come: the connection is of no use.
    Bad(FrontError),
}

/// Why a connection is refused by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrontError {
    /// A listener behind a proxy takes no connection without its header.
    #[error("PROXY header: {0}")]
    Proxy(#[source] ProxyError),
}

/// TLS or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstBytes {
    /// The bytes so far could be either.
    NeedMore,
    /// A record of a TLS handshake.
    Tls,
    /// No TLS.
    Plain,
}

/// What the bytes that have come so far begin with.
pub(crate) fn first(bytes: &[u8], asks: Asks) -> First {
    if asks.proxy_header {
        return match proxy_header::parse(bytes) {
            Ok(None) => First::NeedMore,
            Ok(Some(header)) => First::Proxy { source: header.source, consumed: header.length },
            Err(error) => First::Bad(FrontError::Proxy(error)),
        };
    }
    let tls = if asks.tls { first_bytes(bytes) } else { FirstBytes::Plain };
    let http = if asks.http { http_bytes(bytes) } else { HttpBytes::Other };
    match (tls, http) {
        (FirstBytes::Tls, _) => First::Tls,
        (_, HttpBytes::Http) => First::Http,
        (FirstBytes::NeedMore, _) | (_, HttpBytes::NeedMore) => First::NeedMore,
        (FirstBytes::Plain, HttpBytes::Other) => First::Plain,
    }
}

/// Whether the bytes begin a TLS handshake. No line of JSON and no request of HTTP begins like one.
pub(crate) fn first_bytes(bytes: &[u8]) -> FirstBytes {
    let seen = bytes.len().min(TLS_HANDSHAKE.len());
    if bytes[..seen] != TLS_HANDSHAKE[..seen] {
        FirstBytes::Plain
    } else if seen < TLS_HANDSHAKE.len() {
        FirstBytes::NeedMore
    } else {
        FirstBytes::Tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Asks = Asks { proxy_header: true, tls: true, http: false };
    const TLS: Asks = Asks { proxy_header: false, tls: true, http: false };

    #[test]
    fn tls_is_known_by_two_bytes_and_all_else_by_the_first_that_differs() {
        let cases: [(&[u8], FirstBytes); 8] = [
            (b"", FirstBytes::NeedMore),
            (b"\x16", FirstBytes::NeedMore),
            (b"\x16\x03", FirstBytes::Tls),
            (b"\x16\x03\x01\x02\x00", FirstBytes::Tls),
            (b"\x16\x02", FirstBytes::Plain),
            (b"{", FirstBytes::Plain),
            (b"GET / HTTP/1.1\r\n", FirstBytes::Plain),
            (b"\x80\x2e\x01\x03", FirstBytes::Plain),
        ];
        for (bytes, kind) in cases {
            assert_eq!(first_bytes(bytes), kind, "{bytes:x?}");
        }
    }

    #[test]
    fn a_listener_gets_what_it_asks_for_and_nothing_else() {
        let none = Asks { proxy_header: false, tls: false, http: false };
        let hello = b"\x16\x03\x01";
        assert_eq!(first(hello, none), First::Plain);
        assert_eq!(first(b"", none), First::Plain);
        assert_eq!(first(hello, TLS), First::Tls);
        assert_eq!(first(b"", TLS), First::NeedMore);
        assert_eq!(
            first(b"PROXY TCP4 ", TLS),
            First::Plain,
            "a header that nobody asked for is not believed"
        );
        assert_eq!(first(hello, BOTH), First::Bad(FrontError::Proxy(ProxyError::Absent)));
        assert_eq!(first(b"{", BOTH), First::Bad(FrontError::Proxy(ProxyError::Absent)));
        let error = FrontError::Proxy(ProxyError::Absent).to_string();
        assert_eq!(error, "PROXY header: absent");
    }

    #[test]
    fn http_is_told_from_tls_and_stratum_where_it_is_asked_for() {
        let get = b"GET /health HTTP/1.1\r\n";
        for tls in [false, true] {
            let asks = Asks { proxy_header: false, tls, http: true };
            assert_eq!(first(get, asks), First::Http);
            assert_eq!(first(b"GE", asks), First::NeedMore);
            assert_eq!(first(b"", asks), First::NeedMore);
            assert_eq!(first(b"{", asks), First::Plain);
            assert_eq!(first(b"\x16\x03", asks), if tls { First::Tls } else { First::Plain });
            assert_eq!(first(get, Asks { http: false, ..asks }), First::Plain);
        }
        let asks = Asks { proxy_header: true, tls: true, http: true };
        assert_eq!(first(get, asks), First::Bad(FrontError::Proxy(ProxyError::Absent)));
    }

    #[test]
    fn behind_a_header_comes_what_came_without_one() {
        let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 3333\r\n\x16\x03\x01";
        for cut in 0..=bytes.len() {
            match first(&bytes[..cut], BOTH) {
                First::NeedMore => assert!(cut < bytes.len() - 3),
                First::Proxy { source, consumed } => {
                    assert_eq!(
                        (source, consumed),
                        (Some("192.0.2.7:4000".parse().unwrap()), bytes.len() - 3)
                    );
                    let rest = first(&bytes[consumed..cut], TLS);
                    assert_eq!(rest, if cut - consumed < 2 { First::NeedMore } else { First::Tls });
                }
                other @ (First::Tls | First::Http | First::Plain | First::Bad(_)) => panic!("{other:?}"),
            }
        }
    }
}
