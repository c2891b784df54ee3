//! Whether a connection begins with a request of HTTP.
//!
//! It knows how such a request begins and nothing else of it: whoever is handed the connection reads it.

/// The methods of HTTP, with the blank behind them. No object of JSON begins like one, nor does TLS.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT "];

/// HTTP or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpBytes {
    /// The bytes so far could be either; there are no more of them than the longest method has.
    NeedMore,
    /// A request.
    Http,
    /// None.
    Other,
}

/// What the bytes begin with. Blanks may come first, as they may before an object of JSON; nothing but blanks is no request
/// yet, since whoever reads Stratum takes them too.
pub(crate) fn http_bytes(bytes: &[u8]) -> HttpBytes {
    let said = bytes.trim_ascii_start();
    if said.is_empty() && !bytes.is_empty() {
        return HttpBytes::Other;
    }
    let might_be = METHODS.iter().filter(|method| {
        let seen = said.len().min(method.len());
        said[..seen] == method[..seen]
    });
    match might_be.map(|method| said.len() >= method.len()).max() {
        Some(true) => HttpBytes::Http,
        Some(false) => HttpBytes::NeedMore,
        None => HttpBytes::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_method_and_all_else_by_the_first_byte_that_differs() {
        let cases: [(&[u8], HttpBytes); 16] = [
            (b"", HttpBytes::NeedMore),
            (b"G", HttpBytes::NeedMore),
            (b"GET", HttpBytes::NeedMore),
            (b"\r\nOPTIONS", HttpBytes::NeedMore),
            (b"P", HttpBytes::NeedMore),
            (b"GET ", HttpBytes::Http),
            (b"POST / HTTP/1.1\r\n", HttpBytes::Http),
            (b"\r\n HEAD /health", HttpBytes::Http),
            (b"\r\n", HttpBytes::Other),
            (b"GETS", HttpBytes::Other),
            (b"get ", HttpBytes::Other),
            (b"GET\t/", HttpBytes::Other),
            (b"PROXY TCP4 ", HttpBytes::Other),
            (b"SSH-2.0-", HttpBytes::Other),
            (b"\x16\x03\x01", HttpBytes::Other),
            (b"{\"id\":1}", HttpBytes::Other),
        ];
        for (bytes, kind) in cases {
            assert_eq!(http_bytes(bytes), kind, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn more_bytes_change_no_verdict_and_few_are_kept_for_one() {
        for request in METHODS.iter().map(|method| [b"\r\n", *method, b"/ HTTP/1.1"].concat()) {
            let verdicts = (0..=request.len()).map(|cut| http_bytes(&request[..cut]));
            let settled: Vec<HttpBytes> =
                verdicts.skip(3).skip_while(|kind| *kind == HttpBytes::NeedMore).collect();
            assert!(settled.iter().all(|kind| *kind == HttpBytes::Http), "{settled:?}");
            assert!(settled.len() >= "/ HTTP/1.1".len());
        }
    }
}
