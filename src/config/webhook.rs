//! `alerts.url`: where alerts are posted to. Nothing is connected to here.

use super::key::{Form, must_be};
use super::net::host_and_port;
use super::secret::Secret;
use super::sections::Webhook;
use super::value::Given;

/// The longest address that is taken.
const URL_BYTES_MAX: usize = 2_048;

/// `https://host[:port]/path`, or nothing. Never shown whole: chat tools put the secret into the path.
pub(super) struct WebhookUrl;

impl Form for WebhookUrl {
    type Out = Option<Webhook>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Option<Webhook>, String> {
        let text = given.text().ok_or_else(|| must_be(self))?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        webhook(text).map(Some).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        format!(
            "\"https://host/path\" or \"http://host/path\", with a port or not, without user, password and fragment, at most \
             {URL_BYTES_MAX} bytes, or \"\" for none"
        )
    }

    fn default_value(&self, _default: &()) -> Option<Webhook> {
        None
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("\"\"".to_owned())
    }

    fn is_secret(&self, text: &str) -> bool {
        !text.trim().is_empty()
    }
}

fn webhook(text: &str) -> Option<Webhook> {
    if text.len() > URL_BYTES_MAX {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    let bare_ipv6 = place.matches(':').count() > 1 && !place.starts_with('[');
    let (host, port) = host_and_port(place).filter(|_| !bare_ipv6)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path = is_path(&path).then(|| Secret::new(path))?;
    Some(Webhook { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }), path })
}

/// What may stand in the first line of a request: whatever else is wanted there is written `%20`.
fn is_path(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> Option<String> {
        let webhook = webhook(text)?;
        Some(format!("{webhook} {}", webhook.path.reveal()))
    }

    #[test]
    fn addresses_of_receivers() {
        for (text, expected) in [
            ("https://hooks.example.com/a/b?c=d", "https://hooks.example.com:443 /a/b?c=d"),
            ("HTTP://Farm.example:8080", "http://farm.example:8080 /"),
            ("https://[::1]:9/x", "https://[::1]:9 /x"),
            ("http://10.0.0.5?x=1", "http://10.0.0.5:80 /?x=1"),
        ] {
            assert_eq!(told(text).as_deref(), Some(expected), "{text}");
        }
        let long = format!("https://a/{}", "x".repeat(URL_BYTES_MAX));
        for text in [
            "https://",
            "https:///x",
            "ftp://a/x",
            "a.example/x",
            "https://user:hunter2@a/x",
            "https://a/x#y",
            "https://a/x y",
            "https://a/x\r\nHost: b",
            "https://a:0/",
            "https://::1/",
            "https://a/é",
            &long,
        ] {
            assert_eq!(told(text), None, "{text}");
        }
        let shown = webhook("https://hooks.example.com/hunter2").unwrap();
        assert!(!format!("{shown} {shown:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "https?://[a-c0-9:@/?#\\[\\]%é]{0,20}", any in ".*") {
            let _ = (webhook(&text), webhook(&any));
        }
    }
}
