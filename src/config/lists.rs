//! Lists of IP addresses and of networks.

use std::net::IpAddr;

use ipnet::IpNet;

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

/// A list of networks, none twice; an address is a network of one.
pub(super) struct Networks {
    pub(super) count_max: usize,
}

impl Form for Networks {
    type Out = Vec<IpNet>;
    type Default = &'static [IpNet];

    fn read(&self, given: &Given) -> Result<Vec<IpNet>, String> {
        let texts = given.texts().filter(|texts| texts.len() <= self.count_max);
        let mut networks: Vec<IpNet> = Vec::new();
        for text in texts.ok_or_else(|| must_be(self))? {
            let network = network(&text).ok_or_else(|| must_be(self))?;
            if network.trunc() != network {
                return Err(format!("{network} has bits behind its length; write {}", network.trunc()));
            }
            if networks.contains(&network) {
                return Err(format!("names {network} twice"));
            }
            networks.push(network);
        }
        Ok(networks)
    }

    fn allowed(&self) -> String {
        format!(
            "a list of at most {} IP addresses or networks, such as [\"10.0.0.5\", \"192.0.2.0/24\", \"2001:db8::/32\"]",
            self.count_max
        )
    }

    fn default_value(&self, default: &Self::Default) -> Vec<IpNet> {
        default.to_vec()
    }

    fn default_toml(&self, default: &Self::Default) -> Option<String> {
        let texts: Vec<String> = default.iter().map(|net| format!("\"{}\"", shown(net))).collect();
        Some(format!("[{}]", texts.join(", ")))
    }
}

/// A network of one address is written as that.
fn shown(net: &IpNet) -> String {
    let is_one = net.prefix_len() == net.max_prefix_len();
    if is_one { net.addr().to_string() } else { net.to_string() }
}

fn network(text: &str) -> Option<IpNet> {
    ip(text).map(IpNet::from).or_else(|| text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let networks = Networks { count_max: 3 }.read(&Given::Plain(text.to_owned()))?;
        Ok(networks.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn networks() {
        let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(
            read("10.0.0.5, 192.0.2.0/24,2001:db8::/32"),
            texts(&["10.0.0.5/32", "192.0.2.0/24", "2001:db8::/32"])
        );
        assert_eq!(read("[::1],0.0.0.0/0"), texts(&["::1/128", "0.0.0.0/0"]));
        assert_eq!(read(""), Ok(Vec::new()));
        assert_eq!(read("10.0.0.5,10.0.0.5/32"), Err("names 10.0.0.5/32 twice".to_owned()));
        assert_eq!(
            read("10.0.0.5/8"),
            Err("10.0.0.5/8 has bits behind its length; write 10.0.0.0/8".to_owned())
        );
        for text in ["10.0.0.0/33", "10/8", "farm", "::/129", "10.0.0.0/", "1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:./,]{0,30}", any in ".*") {
            let _ = (read(&text), read(&any));
        }
    }
}
