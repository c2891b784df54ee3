//! Lists of IP addresses.

use std::net::IpAddr;

use super::key::{Form, must_be};
use super::net::ip;
use super::value::Given;

/// A list of IP addresses, none twice.
pub(super) struct Addresses {
    pub(super) min: usize,
    pub(super) max: usize,
    /// A list as a message shows it.
    pub(super) example: &'static str,
}

impl Form for Addresses {
    type Out = Vec<IpAddr>;
    type Default = &'static [IpAddr];

    fn read(&self, given: &Given) -> Result<Vec<IpAddr>, String> {
        let texts = given.texts().filter(|texts| (self.min..=self.max).contains(&texts.len()));
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in texts.ok_or_else(|| must_be(self))? {
            let address = ip(&text).ok_or_else(|| must_be(self))?;
            if addresses.contains(&address) {
                return Err(format!("names {address} twice"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn allowed(&self) -> String {
        let Self { min, max, example } = self;
        let count = if *min == 0 { format!("at most {max}") } else { format!("{min} to {max}") };
        format!("an IP address or a list of {count} IP addresses, such as {example}")
    }

    fn default_value(&self, default: &Self::Default) -> Vec<IpAddr> {
        default.to_vec()
    }

    fn default_toml(&self, default: &Self::Default) -> Option<String> {
        let texts: Vec<String> = default.iter().map(|ip| format!("\"{ip}\"")).collect();
        Some(format!("[{}]", texts.join(", ")))
    }
}
