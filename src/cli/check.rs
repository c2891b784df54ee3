//! `check`: reads the configuration as `run` would, and tells what is in force. Opens nothing.

use super::{Failure, screen};
use crate::config::{
    self, AlertsConfig, Config, Database, Loaded, MetricsConfig, Overrides, PoolConfig, ServerConfig, Sources,
};
use clap::Args;
use std::fmt::Display;

#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn execute(overrides: Overrides, arguments: &Arguments) -> Result<(), Failure> {
    let Loaded { config, file, warnings, in_force: _ } = config::load(&Sources::from_process(overrides))?;
    for warning in &warnings {
        screen::complain(&format_args!("warning: {warning}"));
    }
    if arguments.quiet {
        return Ok(());
    }
    let source = file
        .map_or_else(|| "no file, environment and defaults".to_owned(), |file| file.display().to_string());
    screen::say(&format_args!("configuration ok ({source})\n{}", in_force(&config).join("\n")))?;
    Ok(())
}

/// One line for each thing that is in force, without secrets.
fn in_force(config: &Config) -> Vec<String> {
    let mut lines = vec![line("miners", &joined(config.server.listen()))];
    lines.extend(miners_tls(&config.server).map(|tls| line("tls", &tls)));
    if !config.server.proxy_protocol_from.is_empty() {
        let from = joined(&config.server.proxy_protocol_from);
        lines.push(line("proxied", &format_args!("PROXY headers from {from}")));
    }
    lines.extend(config.pools.iter().map(|pool| line("pool", &pool_facts(pool))));
    lines.push(line("metrics", &metrics(&config.metrics)));
    lines.extend(alerts(&config.alerts).map(|alerts| line("alerts", &alerts)));
    lines.extend(config.records.database.as_ref().map(|database| line("records", &sent(database))));
    lines
}

fn line(what: &str, facts: &dyn Display) -> String {
    format!("  {what:<8} {facts}")
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Where it is served, and to whom.
fn metrics(metrics: &MetricsConfig) -> String {
    let own = metrics.listen().map(|address| address.to_string());
    let from = &metrics.miner_port_from;
    let miners = (!from.is_empty()).then(|| format!("the miners' port for {}", joined(from)));
    let places = joined(own.into_iter().chain(miners));
    if places.is_empty() { "off".to_owned() } else { places }
}

/// Where miners may speak TLS, and with what.
fn miners_tls(server: &ServerConfig) -> Option<String> {
    let tls = server.tls.as_ref()?;
    let same = tls.same_port.then(|| "the miners' port".to_owned());
    let places = joined(server.listen_tls().map(|address| address.to_string()).chain(same));
    let (version, certificate) = (tls.min_version.as_str(), tls.cert_file.display());
    Some(format!("{places} (TLS {version} or newer, certificate {certificate})"))
}

/// Where alerts go, without the path.
fn alerts(alerts: &AlertsConfig) -> Option<String> {
    let webhook = alerts.webhook.as_ref()?;
    let signed = if alerts.secret.is_empty() { "not signed" } else { "signed" };
    Some(format!("{webhook} ({}, {signed})", alerts.format.as_str()))
}

/// Where share records of many hosts go, without the password.
fn sent(database: &Database) -> String {
    format!("{database} (from their file)")
}

fn pool_facts(pool: &PoolConfig) -> String {
    let mut facts =
        vec![pool.name.clone(), format!("priority {}", pool.priority), format!("weight {}", pool.weight)];
    if let Some(tls) = &pool.tls {
        facts.push(format!("TLS {} or newer", tls.min_version.as_str()));
        facts.extend(tls.server_name.as_ref().map(|name| format!("certificate for {name}")));
        facts.extend(tls.ca_file.as_ref().map(|file| format!("authorities of {}", file.display())));
        match tls.pins.len() {
            0 => {}
            1 => facts.push("1 pin".to_owned()),
            count => facts.push(format!("{count} pins")),
        }
    }
    facts.extend(pool.proxy.as_ref().map(|proxy| format!("through {proxy}")));
    format!("{} ({})", pool.url(), facts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(toml: &str) -> Vec<String> {
        let loaded = config::parse_str("farm.toml", toml, &[], &Overrides::default());
        in_force(&loaded.unwrap_or_else(|error| panic!("{error}")).config)
    }

    #[test]
    fn a_line_for_each_pool_and_for_what_is_encrypted() {
        let toml = "[server]\nproxy_protocol_from = [\"10.0.0.0/8\", \"::1\"]\n[server.tls]\ncert_file = \"c.pem\"\n\
                    key_file = \"k.pem\"\nport = 3443\nsame_port = true\n\
                    [alerts]\nurl = \"https://hooks.example/hunter2\"\nsecret = \"hunter2hunter2hunter2\"\n\
                    [records]\nurl = \"postgres://loka:hunter2@db.example/loka?sslmode=require\"\n\
                    [[pool]]\nname = \"main\"\nhost = \"ssl://a.example:443\"\npassword = \"hunter2\"\n\
                    tls_server_name = \"x.example\"\ntls_ca_file = \"ca.pem\"\n\
                    tls_pins = \"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"\n\
                    [[pool]]\nhost = \"b.example\"\nweight = 5\nproxy = \"socks5://farm:hunter2@proxy:1080\"\n";
        let expected = [
            "  miners   0.0.0.0:3333",
            "  tls      0.0.0.0:3443, the miners' port (TLS 1.2 or newer, certificate c.pem)",
            "  proxied  PROXY headers from 10.0.0.0/8, ::1/128",
            "  pool     stratum+ssl://a.example:443 (main, priority 1, weight 1, TLS 1.2 or newer, certificate for \
             x.example, authorities of ca.pem, 1 pin)",
            "  pool     stratum+tcp://b.example:3333 (pool2, priority 2, weight 5, through socks5://proxy:1080)",
            "  metrics  127.0.0.1:9090, the miners' port for 127.0.0.1/32, ::1/128",
            "  alerts   https://hooks.example:443 (json, signed)",
            "  records  postgres://loka@db.example:5432/loka?sslmode=require (from their file)",
        ];
        assert_eq!(told(toml), expected);
        let short =
            told("[pool]\nhost = \"a\"\n[metrics]\nenable_prometheus = false\nminer_port_from = []\n");
        let expected = [
            "  miners   0.0.0.0:3333",
            "  pool     stratum+tcp://a:3333 (pool, priority 1, weight 1)",
            "  metrics  off",
        ];
        assert_eq!(short, expected);
    }
}
