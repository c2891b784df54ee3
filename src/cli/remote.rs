//! Commands that speak to a running proxy through its API: what is blocked, block, let in, kick, reload, drain, the level of the log.
//!
//! The address and the token come from the same configuration as that of the proxy. It reads no answer beyond
//! [`ANSWER_BYTES_MAX`], and follows no redirect: the token goes to the configured address only.

use super::{Failure, screen};
use crate::config::{self, Config, LogFilter, Overrides, Sources};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use ureq::http::StatusCode;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
pub(super) const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Entries asked for at a time.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// List the addresses that a running proxy keeps out
    Blocks(Plain),
    /// Keep an address out of a running proxy, and end its connections
    Block(Blocking),
    /// Let an address in again
    Unblock(OfAddress),
    /// End all connections of an address, which may come again
    Kick(OfAddress),
    /// Have a running proxy read its configuration again, and print what has changed
    Reload(Plain),
    /// Let a running proxy answer the shares in flight and end
    Drain(Plain),
    /// Change the level of a running proxy's log until its next start
    LogLevel(OfLevel),
}

#[derive(Debug, Args)]
pub(super) struct Plain {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Blocking {
    /// The address; an IPv6 address stands for its /64
    address: IpAddr,
    /// For how long, such as 90s, 1h or 7d [default: security.blocked_ip_ttl, twice as long each further time]
    #[arg(long = "for", value_name = "TIME", value_parser = term)]
    term: Option<Duration>,
    /// Leave its open connections alone
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    plain: Plain,
}

#[derive(Debug, Args)]
pub(super) struct OfAddress {
    /// The address; an IPv6 address stands for its /64
    address: IpAddr,
    #[command(flatten)]
    plain: Plain,
}

#[derive(Debug, Args)]
pub(super) struct OfLevel {
    /// off, error, warn, info, debug or trace
    #[arg(value_parser = level)]
    level: LogFilter,
    #[command(flatten)]
    plain: Plain,
}

fn term(text: &str) -> Result<Duration, String> {
    let term = config::duration(text).filter(|term| term.as_secs() >= 1 && term.as_secs() <= 365 * 86_400);
    term.ok_or_else(|| "expected a time from 1s to 365d, such as 90s, 1h or 7d".to_owned())
}

fn level(text: &str) -> Result<LogFilter, String> {
    LogFilter::parse(text)
}

pub(super) fn execute(overrides: Overrides, command: &Remote) -> Result<(), Failure> {
    let proxy = RunningProxy::of(&config::load(&Sources::from_process(overrides))?.config)?;
    let (plain, answer, told) = match command {
        Remote::Blocks(plain) => {
            let page = proxy.blocks()?;
            let told = listed(&page);
            (plain, page, told)
        }
        Remote::Block(Blocking { address, term, keep, plain }) => {
            let mut body = json!({ "address": address, "kick": !keep });
            if let Some(term) = term {
                body["seconds"] = term.as_secs().into();
            }
            let answer = proxy.act("block", &body)?;
            let (block, kicked) = (&answer["block"], &answer["kicked"]);
            let told = format!(
                "{} is kept out for {}; connections ended: {kicked}",
                text(&block["address"]),
                time(&block["seconds_left"])
            );
            (plain, answer, told)
        }
        Remote::Unblock(OfAddress { address, plain }) => {
            let answer = proxy.act("unblock", &json!({ "address": address }))?;
            let told = format!("{} is let in again", text(&answer["address"]));
            (plain, answer, told)
        }
        Remote::Kick(OfAddress { address, plain }) => {
            let answer = proxy.act("kick", &json!({ "address": address }))?;
            let told = format!(
                "{} is kicked; connections ended: {}",
                text(&answer["address"]),
                answer["connections"]
            );
            (plain, answer, told)
        }
        Remote::Reload(plain) => {
            let answer = proxy.act("reload", &json!({}))?;
            let told = reloaded(&answer);
            (plain, answer, told)
        }
        Remote::Drain(plain) => (plain, proxy.act("drain", &json!({}))?, "the proxy drains".to_owned()),
        Remote::LogLevel(OfLevel { level, plain }) => {
            let answer = proxy.act("log_level", &json!({ "level": level.to_string() }))?;
            let told = format!("the level of the log is {}", text(&answer["level"]));
            (plain, answer, told)
        }
    };
    if plain.json {
        screen::say(&answer)?
    } else {
        screen::say(&told)?
    }
    Ok(())
}

/// A text of an answer, fit for a terminal.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").chars().filter(|character| !character.is_control()).collect()
}

fn time(seconds: &Value) -> String {
    // What is left has begun to pass when it is told.
    humantime::format_duration(Duration::from_secs(seconds.as_u64().unwrap_or(0))).to_string()
}

fn reloaded(answer: &Value) -> String {
    let entries = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<String> =
        entries("warnings").iter().map(|warning| format!("warning: {}", text(warning))).collect();
    let changes = entries("changes");
    for change in &changes {
        let pool = change["pool"].as_str().map(|_| format!(" of {}", text(&change["pool"])));
        let value = |key: &str| text(&Value::from(change[key].to_string()));
        let later = if change["needs_restart"] == true { " (takes a restart)" } else { "" };
        let key = text(&change["key"]);
        lines.push(format!("{key}{}: {} -> {}{later}", pool.unwrap_or_default(), value("old"), value("new")));
    }
    let waiting = changes.iter().filter(|change| change["needs_restart"] == true).count();
    lines.push(match (changes.len(), waiting) {
        (0, _) => "reloaded: nothing has changed".to_owned(),
        (all, 0) => format!("reloaded: {all} changes are in force"),
        (all, waiting) => {
            format!("reloaded: {} changes are in force, {waiting} take a restart", all - waiting)
        }
    });
    lines.join("\n")
}

fn listed(page: &Value) -> String {
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return "no address is kept out".to_owned();
    }
    let line = |block: &Value| {
        let (address, left) = (text(&block["address"]), time(&block["seconds_left"]));
        format!("{address:<43} {left:>16} left, offence {}", block["offences"])
    };
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The API of the proxy that has this configuration.
struct RunningProxy {
    agent: ureq::Agent,
    address: SocketAddr,
    token: String,
}

/// Where the proxy that has this configuration is spoken to.
///
/// # Errors
/// Nowhere.
pub(super) fn address_of(config: &Config) -> anyhow::Result<SocketAddr> {
    let off = "the proxy cannot be spoken to: in its configuration metrics.enable_prometheus is off and \
               metrics.miner_port_from empty";
    // Where miners connect it speaks HTTP too, to whom it says.
    let miners = || config.server.listen().next().filter(|_| !config.metrics.miner_port_from.is_empty());
    let mut address = config.metrics.listen().or_else(miners).ok_or_else(|| anyhow!(off))?;
    // Where it listens everywhere it listens here.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(address)
}

/// What speaks HTTP with a running proxy.
pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_MAX))
        .max_redirects(0)
        .http_status_as_error(false)
        // A proxy of the environment is for other machines.
        .proxy(None)
        .build()
        .into()
}

/// What comes of a request.
pub(super) type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// The status of an answer and all of its text. `base` and `path` are where it was asked for.
///
/// # Errors
/// Nobody answers, the answer breaks off, or it is longer than [`ANSWER_BYTES_MAX`].
pub(super) fn whole(answered: Answered, base: &str, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let mut answer = answered.with_context(|| format!("no proxy answers at {base}"))?;
    let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let body = read.with_context(|| format!("no whole answer from {base}{path}"))?;
    Ok((answer.status(), body))
}

impl RunningProxy {
    fn of(config: &Config) -> anyhow::Result<RunningProxy> {
        let token = config.api.token.reveal().to_owned();
        Ok(RunningProxy { agent: agent(), address: address_of(config)?, token })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1/{path}", self.address)
    }

    /// All blocks, page by page.
    fn blocks(&self) -> anyhow::Result<Value> {
        let mut items: Vec<Value> = Vec::new();
        loop {
            let url = self.url(&format!("blocks?limit={PAGE}&offset={}", items.len()));
            let page = self.answer(self.agent.get(url).call())?;
            let more = page["items"].as_array().cloned().unwrap_or_default();
            let is_last = more.len() < PAGE;
            items.extend(more);
            if is_last {
                return Ok(json!({ "total": items.len(), "offset": 0, "items": items }));
            }
        }
    }

    fn act(&self, action: &str, body: &Value) -> anyhow::Result<Value> {
        if self.token.is_empty() {
            return Err(anyhow!(
                "no token: set api.token (LOKA_API_TOKEN in the environment) to that of the running proxy"
            ));
        }
        let request = self.agent.post(self.url(action)).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {}", self.token));
        self.answer(request.send(body.to_string()))
    }

    fn answer(&self, result: Answered) -> anyhow::Result<Value> {
        let (status, body) = whole(result, &format!("http://{}", self.address), "")?;
        let answer: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if status.is_success() && answer.is_object() {
            return Ok(answer);
        }
        let cause = if answer["error"].is_string() {
            text(&answer["error"])
        } else {
            "this is no API of this program".to_owned()
        };
        Err(anyhow!("http://{} refuses: {cause} ({})", self.address, status.as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_levels() {
        assert_eq!(term("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(term("90"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0", "500ms", "366d", "soon", "-1s"] {
            assert!(term(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (level("warn").map(|level| level.to_string()), level("loud").is_err()),
            (Ok("warn".to_owned()), true)
        );
    }

    #[test]
    fn a_reload_is_told_line_by_line() {
        assert_eq!(reloaded(&json!({ "changes": [], "warnings": [] })), "reloaded: nothing has changed");
        let port = json!({ "key": "server.port", "old": 1, "new": 2, "needs_restart": true });
        let weight =
            json!({ "key": "pool.weight", "pool": "a\u{1b}b", "old": 1, "new": 3, "needs_restart": false });
        let told = reloaded(&json!({ "changes": [port, weight], "warnings": ["mind"] }));
        let expected = "warning: mind\nserver.port: 1 -> 2 (takes a restart)\npool.weight of ab: 1 -> 3\n\
                        reloaded: 1 changes are in force, 1 take a restart";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_proxy_is_spoken_to_at_its_own_port_or_where_miners_connect() {
        let address = |toml: &str| {
            let toml = format!("[pool]\nhost = \"a\"\n{toml}");
            let loaded = config::parse_str("farm.toml", &toml, &[], &Overrides::default()).unwrap();
            address_of(&loaded.config).map(|address| address.to_string()).ok()
        };
        assert_eq!(address("").as_deref(), Some("127.0.0.1:9090"));
        assert_eq!(address("[metrics]\naddress = \"::\"").as_deref(), Some("[::1]:9090"));
        let off = "[metrics]\nenable_prometheus = false\n";
        assert_eq!(address(off).as_deref(), Some("127.0.0.1:3333"));
        assert_eq!(address(&format!("{off}miner_port_from = []")), None);
    }

    #[test]
    fn a_list_is_a_line_an_address_and_holds_no_control_characters() {
        assert_eq!(listed(&json!({ "items": [] })), "no address is kept out");
        let block = json!({ "address": "192.0.2.1\u{1b}[31m", "seconds_left": 3601, "offences": 2 });
        let told = listed(&json!({ "items": [block.clone(), block] }));
        assert_eq!(told.lines().count(), 2);
        assert!(told.starts_with("192.0.2.1[31m ") && told.ends_with("1h 1s left, offence 2"), "{told}");
    }
}
