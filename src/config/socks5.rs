//! `pool.proxy`: a SOCKS5 proxy with or without a user and a password. Nothing is connected to here.

use super::form::is_clean;
use super::key::{Form, must_be};
use super::net::host_and_port;
use super::secret::Secret;
use super::sections::Socks5Proxy;
use super::value::Given;

const SCHEME: &str = "socks5://";
/// RFC 1929 has one byte for the length of each.
const CREDENTIAL_BYTES_MAX: usize = 255;

/// `socks5://[user:password@]host:port`, or nothing.
pub(super) struct Socks5;

impl Form for Socks5 {
    type Out = Option<Socks5Proxy>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Option<Socks5Proxy>, String> {
        let text = given.text().ok_or_else(|| must_be(self))?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        proxy(text).map(Some).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        format!(
            "\"{SCHEME}host:port\" or \"{SCHEME}user:password@host:port\" (user and password of 1 to \
             {CREDENTIAL_BYTES_MAX} bytes), or \"\" for none"
        )
    }

    fn default_value(&self, _default: &()) -> Option<Socks5Proxy> {
        None
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("\"\"".to_owned())
    }

    fn is_secret(&self, text: &str) -> bool {
        // A password stands before the sign.
        text.contains('@')
    }
}

fn proxy(text: &str) -> Option<Socks5Proxy> {
    let scheme = text.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME))?;
    let rest = &text[scheme.len()..];
    // A password may hold the sign, a host may not.
    let (before, place) = rest.rsplit_once('@').map_or((None, rest), |(before, place)| (Some(before), place));
    let (host, port) = host_and_port(place.strip_suffix('/').unwrap_or(place))?;
    let credentials = match before {
        None => None,
        Some(before) => {
            Some(before.split_once(':').filter(|(user, password)| is_credential(user, password))?)
        }
    };
    let credentials = credentials.map(|(user, password)| (user.to_owned(), Secret::new(password)));
    Some(Socks5Proxy { host, port: port?, credentials })
}

fn is_credential(user: &str, password: &str) -> bool {
    [user, password].iter().all(|text| (1..=CREDENTIAL_BYTES_MAX).contains(&text.len()) && is_clean(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> Option<String> {
        let Socks5Proxy { host, port, credentials } = proxy(text)?;
        let credentials =
            credentials.map(|(user, password)| format!(" {user} {}", password.reveal())).unwrap_or_default();
        Some(format!("{host} {port}{credentials}"))
    }

    #[test]
    fn proxies() {
        for (text, expected) in [
            ("socks5://10.0.0.5:1080", "10.0.0.5 1080"),
            ("SOCKS5://Proxy.example:1080/", "proxy.example 1080"),
            ("socks5://[::1]:1", "::1 1"),
            ("socks5://farm:hunter2@proxy:1080", "proxy 1080 farm hunter2"),
            ("socks5://farm:a:b@c%40@proxy:1080", "proxy 1080 farm a:b@c%40"),
        ] {
            assert_eq!(told(text).as_deref(), Some(expected), "{text}");
        }
        let long = format!("socks5://{}:x@proxy:1080", "u".repeat(256));
        for text in [
            "socks5://",
            "socks5://proxy",
            "socks5://proxy:0",
            "socks5://:1080",
            "proxy:1080",
            "http://proxy:1080",
            "socks5://farm@proxy:1080",
            "socks5://:x@proxy:1080",
            "socks5://farm:@proxy:1080",
            "socks5://a\n:x@proxy:1080",
            &long,
        ] {
            assert_eq!(told(text), None, "{text}");
        }
        let shown = proxy("socks5://farm:hunter2@proxy:1080").unwrap();
        assert_eq!(shown.to_string(), "socks5://proxy:1080");
        assert!(!format!("{shown:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[sS]ocks5://[a:@/\\[\\]0-9é]{0,20}", any in ".*") {
            let _ = (proxy(&text), proxy(&any));
        }
    }
}
