//! The pools: each by itself, then against each other.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::{Settings, View, port};
use crate::config::error::{Problem, Problems, Subject};
use crate::config::key::{Entry, Form, Key};
use crate::config::net::{Endpoint, Host};
use crate::config::sections::{PoolConfig, PoolTls};
use crate::config::table;

impl Settings {
    /// At least one pool, in the order of the file.
    pub(super) fn pools(&self, problems: &mut Problems) -> Vec<PoolConfig> {
        let count = self.pools.len().max(1);
        let pools: Vec<PoolConfig> =
            (0..count).map(|index| self.pool(self.view_of(index), problems)).collect();
        for (index, pool) in pools.iter().enumerate() {
            if let Some(first) = pools[..index].iter().position(|first| first.name == pool.name) {
                self.check_names(first, index, problems);
            }
            if let Some(first) = pools[..index].iter().position(|first| is_same(first, pool)) {
                self.check_hosts(first, index, problems);
            }
        }
        pools
    }

    fn pool(&self, view: View<'_>, problems: &mut Problems) -> PoolConfig {
        let endpoint = view.get(&table::POOL_HOST);
        if endpoint.is_none() && view.given(&table::POOL_HOST).is_none() {
            self.missing_host(view.pool, problems);
        }
        // Stands in for a host that is missing or wrong, which is a problem already reported.
        let nowhere = || Endpoint { host: Host::Name(String::new()), port: None, tls: false };
        let is_known = endpoint.is_some();
        let Endpoint { host, port: host_port, tls } = endpoint.unwrap_or_else(nowhere);
        if is_known && !tls {
            view.refuse_tls_keys(problems);
        }
        PoolConfig {
            name: view.pool_name(),
            host,
            port: view.pool_port(host_port, problems),
            tls: tls.then(|| view.pool_tls()),
            proxy: view.get(&table::POOL_PROXY),
            priority: view.pool_priority(),
            weight: NonZeroU32::new(view.get(&table::POOL_WEIGHT)).unwrap_or(NonZeroU32::MIN),
            username: view.get(&table::POOL_USERNAME),
            password: view.get(&table::POOL_PASSWORD),
            separator: view.get(&table::POOL_SEPARATOR),
            extranonce: view.get(&table::POOL_EXTRANONCE),
            reconnect_domains: view.get(&table::POOL_RECONNECT_DOMAINS),
        }
    }

    /// Only the first pool can come from elsewhere than the file; of several pools the place says which one is meant.
    fn missing_host(&self, index: usize, problems: &mut Problems) {
        match self.pools.get(index) {
            Some(origin) if self.pools.len() > 1 => problems.push_with(|| Problem::Section {
                origin: origin.clone(),
                section: "[[pool]]".to_owned(),
                complaint: "host is not set: every pool needs one".to_owned(),
            }),
            Some(_) | None => {
                let how = "give the pool's address as `host` in the section [pool] of the file, as \
                           LOKA_POOL_HOST in the environment, or with --pool";
                problems.push_with(|| Problem::Missing { key: table::POOL_HOST.path(), how });
            }
        }
    }

    fn check_names(&self, first: usize, second: usize, problems: &mut Problems) {
        let names = [first, second].map(|index| self.view_of(index));
        if names.iter().all(|view| view.all_read(&[&table::POOL_NAME])) {
            let [first, second] = names.map(View::name_subject);
            let (blamed, other) = blamed(first, second);
            problems.value(&blamed, format!("another pool has this name: {other}"));
        }
    }

    fn check_hosts(&self, first: usize, second: usize, problems: &mut Problems) {
        let (first, second) = (self.view_of(first), self.view_of(second));
        let is_read = |view: View<'_>| {
            view.all_read(&[
                &table::POOL_HOST,
                &table::POOL_PORT,
                &table::POOL_USERNAME,
                &table::POOL_TLS_CA_FILE,
                &table::POOL_TLS_SERVER_NAME,
                &table::POOL_TLS_PINS,
                &table::POOL_TLS_MIN_VERSION,
            ])
        };
        // Without a host there is a problem already.
        let given = |view: View<'_>| view.given(&table::POOL_HOST).is_some() && is_read(view);
        if given(first) && given(second) {
            let (blamed, other) = blamed(first.subject(&table::POOL_HOST), second.subject(&table::POOL_HOST));
            problems.value(&blamed, format!("this pool is named twice, also by {other}"));
        }
    }
}

/// Two pools that would be one to every miner.
fn is_same(a: &PoolConfig, b: &PoolConfig) -> bool {
    (&a.host, a.port, &a.username, &a.tls) == (&b.host, b.port, &b.username, &b.tls)
}

/// Of two settings that cannot stand beside each other first the one to be blamed: that of the higher rank, or the one
/// that comes second.
fn blamed(first: Subject, second: Subject) -> (Subject, Subject) {
    if first.origin.rank() > second.origin.rank() { (first, second) } else { (second, first) }
}

impl View<'_> {
    /// Names are labels of metrics, therefore every pool has one.
    fn pool_name(&self) -> String {
        match (self.given(&table::POOL_NAME), self.pool) {
            (None, 1..) => self.later_name(),
            (Some(_), _) | (None, 0) => self.get(&table::POOL_NAME),
        }
    }

    /// The default name of the second pool and of those after it.
    fn later_name(&self) -> String {
        format!("{}{}", table::POOL_NAME.default_value(), self.pool + 1)
    }

    fn name_subject(self) -> Subject {
        let mut subject = self.subject(&table::POOL_NAME);
        if self.given(&table::POOL_NAME).is_none() && self.pool > 0 {
            subject.shown = format!("\"{}\"", self.later_name());
        }
        subject
    }

    fn pool_priority(&self) -> u32 {
        match self.given(&table::POOL_PRIORITY) {
            Some(_) => self.get(&table::POOL_PRIORITY),
            None => u32::try_from(self.pool + 1).unwrap_or(u32::MAX),
        }
    }

    /// The port of `pool.port`, unless the host brings one along from a source of the same or a higher rank.
    fn pool_port(&self, host_port: Option<u16>, problems: &mut Problems) -> u16 {
        let port = port(self.get(&table::POOL_PORT));
        let Some(host_port) = host_port else { return port };
        let Some(port_setting) = self.given(&table::POOL_PORT) else { return host_port };
        let host_subject = self.subject(&table::POOL_HOST);
        let (host_rank, port_rank) = (host_subject.origin.rank(), port_setting.subject.origin.rank());
        if host_rank == port_rank
            && host_port != port
            && port_setting.entry.verify(&port_setting.given).is_ok()
        {
            problems.value(&port_setting.subject, format!("contradicts the port in {host_subject}"));
        }
        if port_rank > host_rank { port } else { host_port }
    }

    fn pool_tls(&self) -> PoolTls {
        let ca_file = self.get(&table::POOL_TLS_CA_FILE);
        PoolTls {
            ca_file: (!ca_file.is_empty()).then(|| PathBuf::from(ca_file)),
            server_name: self.get(&table::POOL_TLS_SERVER_NAME),
            pins: self.get(&table::POOL_TLS_PINS),
            min_version: self.get(&table::POOL_TLS_MIN_VERSION),
        }
    }

    /// A key that asks for more than the default would be without effect in silence: no certificate would be checked.
    fn refuse_tls_keys(&self, problems: &mut Problems) {
        self.refuse_tls_key(&table::POOL_TLS_CA_FILE, problems);
        self.refuse_tls_key(&table::POOL_TLS_SERVER_NAME, problems);
        self.refuse_tls_key(&table::POOL_TLS_PINS, problems);
        self.refuse_tls_key(&table::POOL_TLS_MIN_VERSION, problems);
    }

    fn refuse_tls_key<F: Form<Out: PartialEq>>(&self, key: &Key<F>, problems: &mut Problems) {
        if self.is_changed(key) {
            let complaint = format!(
                "needs TLS: write stratum+ssl:// before the pool's host ({})",
                self.subject(&table::POOL_HOST)
            );
            problems.value(&self.subject(key), complaint);
        }
    }
}
