//! The configuration in force, key by key, with who set it: for whoever asks a running proxy. Secrets are hidden.

use super::Settings;
use crate::config::Config;
use crate::config::error::Origin;
use crate::config::key::Entry;
use crate::config::secret::HIDDEN;
use crate::config::table;
use crate::config::value::Given;
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// One key as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InForce {
    /// Such as `server.port`.
    pub key: &'static str,
    /// Which pool it is for, counted from 0; of keys of other sections nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<usize>,
    /// Its value; secrets are `(hidden)`.
    pub value: Value,
    /// Who set it: `default`, `FILE:LINE`, the variable, or the flag.
    pub from: String,
    /// Tells a secret from another, in this process only.
    #[serde(skip)]
    pub(in crate::config) mark: u64,
    /// Whether only the next start takes a change.
    #[serde(skip)]
    pub(in crate::config) is_at_start: bool,
}

/// Says nothing of what it was made of: every process has keys of its own.
fn mark(secret: &str) -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    KEYS.get_or_init(RandomState::new).hash_one(secret)
}

impl Settings {
    /// Every key, in the order of the reference; those of `[[pool]]` once for each pool.
    pub(in crate::config) fn in_force(&self, config: &Config) -> Vec<InForce> {
        let entries = table::entries().iter();
        let mut all = Vec::new();
        for entry in entries {
            if entry.path().starts_with("pool.") {
                all.extend((0..config.pools.len()).map(|pool| self.one(*entry, Some(pool), config)));
            } else {
                all.push(self.one(*entry, None, config));
            }
        }
        all
    }

    fn one(&self, entry: &dyn Entry, pool: Option<usize>, config: &Config) -> InForce {
        let view = self.view_of(pool.unwrap_or(0));
        let setting = view.named(entry.path());
        let default = entry.default_toml().map(|text| of_toml(&text));
        let derived = pool.and_then(|pool| derived(entry.path(), pool, config));
        let (value, from, mark) = match setting {
            Some(setting) if entry.is_secret(&setting.given) => {
                let mark = mark(setting.given.text().unwrap_or_default());
                (Value::from(HIDDEN), of(&setting.subject.origin), mark)
            }
            Some(setting) => {
                let written = of_given(&setting.given, default.as_ref());
                (derived.unwrap_or(written), of(&setting.subject.origin), 0)
            }
            None => (derived.or(default).unwrap_or(Value::Null), of(&Origin::Default), 0),
        };
        InForce { key: entry.path(), pool, value, from, mark, is_at_start: entry.is_at_start() }
    }
}

/// Keys of a pool of which what is in force is not what was written, or whose default is another for each pool.
fn derived(path: &str, pool: usize, config: &Config) -> Option<Value> {
    let pool = config.pools.get(pool)?;
    match path {
        "pool.name" => Some(pool.name.as_str().into()),
        "pool.port" => Some(pool.port.into()),
        "pool.priority" => Some(pool.priority.into()),
        _ => None,
    }
}

fn of(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { file, line } => format!("{file}:{line}"),
        Origin::Environment { name } => name.clone(),
        Origin::Flag { flag } => flag.clone(),
    }
}

fn of_toml(text: &str) -> Value {
    let table = toml::from_str::<toml::Table>(&format!("v = {text}")).unwrap_or_default();
    table.get("v").and_then(|value| serde_json::to_value(value).ok()).unwrap_or(Value::Null)
}

/// Text of the environment and the command line becomes what the default is.
fn of_given(given: &Given, default: Option<&Value>) -> Value {
    let typed = match default {
        Some(Value::Number(_)) => given.whole().map(Value::from),
        Some(Value::Bool(_)) => given.switch().map(Value::from),
        Some(Value::Array(_)) => given.texts().map(Value::from),
        Some(Value::Null | Value::String(_) | Value::Object(_)) | None => None,
    };
    let number = || given.whole().filter(|_| given.text().is_none()).map(Value::from);
    let text = || given.text().map(Value::from);
    let list = || given.texts().map(Value::from);
    typed.or_else(text).or_else(number).or_else(list).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse_str};

    #[test]
    fn every_key_is_told_with_who_set_it_and_secrets_are_not() {
        let toml = "[server]\nport = 4000\n[[pool]]\nhost = \"a.example:1\"\npassword = \"hunter2hunter2\"\n\
                    [[pool]]\nhost = \"b.example\"\nproxy = \"socks5://farm:hunter2@proxy:1080\"\n\
                    [api]\ntoken = \"hunter2hunter2hunter2\"\n[limiter]\nconnections = 900\n";
        let env = [("LOKA_SECURITY_DENY".into(), "10.0.0.1,10.0.0.2".into())];
        let overrides = Overrides {
            set: vec![("metrics.prometheus_port".into(), "1234".into())],
            ..Overrides::default()
        };
        let all = parse_str("farm.toml", toml, &env, &overrides).unwrap().in_force;
        let told = |key: &str, pool: Option<usize>| {
            let found = all.iter().find(|one| one.key == key && one.pool == pool);
            found.map(|one| format!("{} {}", one.value, one.from)).unwrap()
        };
        assert_eq!(told("server.port", None), "4000 farm.toml:2");
        assert_eq!(told("pool.port", Some(0)), "1 default");
        assert_eq!(told("pool.priority", Some(1)), "2 default");
        assert_eq!(told("pool.host", Some(1)), "\"b.example\" farm.toml:7");
        assert_eq!(told("security.deny", None), r#"["10.0.0.1","10.0.0.2"] LOKA_SECURITY_DENY"#);
        assert_eq!(told("limiter.connections", None), "900 farm.toml:12");
        assert!(told("metrics.prometheus_port", None).starts_with("1234 --set"));
        assert_eq!(told("api.token", None), "\"(hidden)\" farm.toml:10");
        assert!(!serde_json::to_string(&all).unwrap().contains("hunter2"));
        for entry in table::entries() {
            assert!(all.iter().any(|one| one.key == entry.path()), "{}", entry.path());
        }
    }
}
