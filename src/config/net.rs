//! Addresses: where to listen, and which pool to dial. Names are not resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::key::{Form, must_be};
use super::value::Given;

/// The longest name that DNS can hold.
const NAME_BYTES_MAX: usize = 253;

/// The machine a pool or a proxy runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, dialled as it is.
    Ip(IpAddr),
    /// A name, resolved by the control plane; lower case, without the final dot.
    Name(String),
}

impl Host {
    /// `host:port`, an IPv6 address in brackets.
    pub fn with_port(&self, port: u16) -> String {
        match self {
            Self::Ip(ip) => SocketAddr::new(*ip, port).to_string(),
            Self::Name(name) => format!("{name}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A host with the port, when one was written behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    /// Whether the scheme before it asks for TLS.
    pub(super) tls: bool,
}

/// `pool.host`: a name or address, optionally `stratum+tcp://` or `stratum+ssl://` before and `:port` behind it.
pub(super) struct PoolHost;

impl Form for PoolHost {
    type Out = Option<Endpoint>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Option<Endpoint>, String> {
        let text = given.text().ok_or_else(|| must_be(self))?.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("stratum+tcp", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "stratum+tcp" | "tcp" => false,
            "stratum+ssl" | "stratum+tls" | "ssl" | "tls" => true,
            _ => return Err(must_be(self)),
        };
        if rest.contains('@') {
            return Err("must not contain a user name; that goes into pool.username".to_owned());
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_and_port(rest).ok_or_else(|| must_be(self))?;
        Ok(Some(Endpoint { host, port, tls }))
    }

    fn allowed(&self) -> String {
        "a host name or IP address, optionally with a port, such as \"pool.example.com:3333\" or \
         \"[2001:db8::7]:3333\", or with TLS \"stratum+ssl://pool.example.com:443\""
            .to_owned()
    }

    fn default_value(&self, _default: &()) -> Option<Endpoint> {
        None
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        None
    }

    fn is_secret(&self, text: &str) -> bool {
        // A password may stand before the sign.
        text.contains('@')
    }
}

/// Reads `host`, `host:port`, `::1`, `[::1]:port`.
pub(super) fn host_and_port(text: &str) -> Option<(Host, Option<u16>)> {
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Some((Host::Ip(ip.into()), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']')?;
        let host = Host::Ip(ip.parse::<Ipv6Addr>().ok()?.into());
        let port = if rest.is_empty() { None } else { Some(port(rest.strip_prefix(':')?)?) };
        return Some((host, port));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, digits)) => (name, Some(port(digits)?)),
        None => (text, None),
    };
    let host = match name.parse::<IpAddr>() {
        Ok(ip) => Host::Ip(ip),
        Err(_) => Host::Name(host_name(name)?),
    };
    Some((host, port))
}

/// A port other than 0, digits only.
pub(super) fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Letters, digits, `-` and `_` in labels of 1 to 63; a name of digits and dots only is a mistyped address.
pub(super) fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_label = name.rsplit('.').next().unwrap_or(name);
    let is_number = last_label.bytes().all(|byte| byte.is_ascii_digit());
    let good = name.len() <= NAME_BYTES_MAX && name.split('.').all(label_is_good) && !is_number;
    good.then(|| name.to_ascii_lowercase())
}

/// One address to listen on.
pub(super) struct Address;

impl Form for Address {
    type Out = IpAddr;
    type Default = IpAddr;

    fn read(&self, given: &Given) -> Result<IpAddr, String> {
        given.text().and_then(ip).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        "an IP address, such as \"127.0.0.1\" or \"::1\"".to_owned()
    }

    fn default_value(&self, default: &IpAddr) -> IpAddr {
        *default
    }

    fn default_toml(&self, default: &IpAddr) -> Option<String> {
        Some(format!("\"{default}\""))
    }
}

/// An address, IPv6 with or without brackets.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// True when listeners on both addresses would meet on one port. `::` may also serve IPv4.
pub(super) fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let covers = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    a == b || covers(a, b) || covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> Option<String> {
        let read = PoolHost.read(&Given::Plain(text.to_owned())).ok().flatten();
        read.map(|endpoint| {
            format!("{} {:?}{}", endpoint.host, endpoint.port, if endpoint.tls { " TLS" } else { "" })
        })
    }

    #[test]
    fn pool_hosts() {
        for (text, expected) in [
            ("Pool.Example.com", "pool.example.com None"),
            ("pool.example.com.", "pool.example.com None"),
            ("stratum+tcp://pool.example.com:3334/", "pool.example.com Some(3334)"),
            ("tcp://192.0.2.7:3333", "192.0.2.7 Some(3333)"),
            ("::1", "::1 None"),
            ("[::1]", "::1 None"),
            ("[2001:db8::7]:25", "2001:db8::7 Some(25)"),
            ("localhost", "localhost None"),
            ("stratum+ssl://Pool.example:443", "pool.example Some(443) TLS"),
            ("STRATUM+TLS://[::1]:1", "::1 Some(1) TLS"),
            ("ssl://pool", "pool None TLS"),
            ("tls://pool/", "pool None TLS"),
        ] {
            assert_eq!(host(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            " ",
            ":",
            ":3333",
            "pool:",
            "pool:0",
            "pool:65536",
            "pool:+1",
            "a b",
            "-a",
            "a..b",
            "300.1.1.1",
            "1.2.3",
            "[::1",
            "[1.2.3.4]:1",
            "http://pool",
            "pool/x",
            "pool\0",
            "pöol",
            "[::1]3333",
            "::1:99999",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
        assert_eq!(host(&"a.".repeat(127)), Some(format!("{} None", "a.".repeat(127).trim_end_matches('.'))));
        assert_eq!(host(&"a.".repeat(128)), None);
    }

    #[test]
    fn meeting_addresses() {
        let meet = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(meet("0.0.0.0", "127.0.0.1") && meet("127.0.0.1", "0.0.0.0") && meet("::", "127.0.0.1"));
        assert!(meet("::1", "::1") && meet("::", "0.0.0.0"));
        assert!(!meet("0.0.0.0", "::1") && !meet("127.0.0.1", "127.0.0.2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-9:./@\\[\\]+-]{0,30}", any in ".*") {
            let _ = (host(&text), host(&any), ip(&any), ip(&text));
        }
    }
}
