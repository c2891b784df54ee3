//! Names of the DNS that are compared and never looked up: whom a certificate is for, where a pool may send its miners.

use super::key::{Form, must_be};
use super::net::{host_name, ip};
use super::value::Given;

/// The name or IP address in a certificate; empty for the host itself.
pub(super) struct ServerName;

impl Form for ServerName {
    type Out = Option<String>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Option<String>, String> {
        let text = given.text().ok_or_else(|| must_be(self))?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let name = ip(text).map(|ip| ip.to_string()).or_else(|| host_name(text));
        name.map(Some).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        "a host name or IP address, such as \"pool.example.com\", or \"\" for the host".to_owned()
    }

    fn default_value(&self, _default: &()) -> Option<String> {
        None
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("\"\"".to_owned())
    }
}

/// A list of domain names, none twice; lower case, without the final dot.
pub(super) struct Domains {
    pub(super) count_max: usize,
}

impl Form for Domains {
    type Out = Vec<String>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Vec<String>, String> {
        let texts = given.texts().filter(|texts| texts.len() <= self.count_max);
        let mut domains: Vec<String> = Vec::new();
        for text in texts.ok_or_else(|| must_be(self))? {
            let domain = host_name(text.trim()).ok_or_else(|| must_be(self))?;
            if domains.contains(&domain) {
                return Err(format!("names {domain} twice"));
            }
            domains.push(domain);
        }
        Ok(domains)
    }

    fn allowed(&self) -> String {
        format!("a list of at most {} domain names, such as [\"example.com\"], without *", self.count_max)
    }

    fn default_value(&self, _default: &()) -> Vec<String> {
        Vec::new()
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("[]".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = |text: &str| ServerName.read(&Given::Plain(text.to_owned()));
        assert_eq!(name(" Pool.Example.com. "), Ok(Some("pool.example.com".to_owned())));
        assert_eq!(name("[2001:DB8::7]"), Ok(Some("2001:db8::7".to_owned())));
        assert_eq!(name(" "), Ok(None));
        for text in ["pool:443", "*.example.com", "1.2.3", "a b", "."] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn domains() {
        let read = |text: &str| Domains { count_max: 2 }.read(&Given::Plain(text.to_owned()));
        assert_eq!(
            read("Example.com., b.example"),
            Ok(vec!["example.com".to_owned(), "b.example".to_owned()])
        );
        assert_eq!(read(""), Ok(Vec::new()));
        assert_eq!(read("a.example,A.example."), Err("names a.example twice".to_owned()));
        for text in ["a,b,c", "*.example.com", "192.0.2.7", ",", "a,"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
