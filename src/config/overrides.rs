//! What the command line overrides. Flags are kept as they were typed and read here, so that their mistakes
//! are reported together with those of the file and the environment.

use std::path::PathBuf;

use super::check::Setting;
use super::error::{Origin, Problem, Problems, Subject};
use super::file::unknown_key;
use super::key::Entry;
use super::net;
use super::table;
use super::value::{Given, shown};

/// The settings of the command line; `None` and empty leave everything as file and environment say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--shards N`: `performance.worker_threads`; 0 means one per allowed CPU.
    pub shards: Option<usize>,
    /// `--cpus 2-5,8`: `server.cpus`.
    pub cpus: Option<String>,
    /// `--listen ADDRESS:PORT`, an address or a port: `server.address` and `server.port`.
    pub listen: Option<String>,
    /// `--pool HOST:PORT` or a host, with or without a scheme: `pool.host` and `pool.port` of the first pool.
    pub pool: Option<String>,
    /// `--log-level LEVEL`: `logging.level`.
    pub log_level: Option<String>,
    /// `--set KEY=VALUE` for any key: path and value, the last one of a key counts; `pool.` means the first pool.
    pub set: Vec<(String, String)>,
}

/// The settings that flags make, `--set` first, so that the flag made for a key wins.
pub(super) fn settings(overrides: &Overrides, problems: &mut Problems) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (path, value) in &overrides.set {
        match table::find(path) {
            Some(entry) => settings.push(set(entry, value)),
            None => problems.push_with(|| unknown_key(Origin::Flag { flag: "--set".to_owned() }, path)),
        }
    }
    if let Some(text) = &overrides.listen {
        listen(text, &mut settings, problems);
    }
    let shards = overrides.shards.map(|shards| shards.to_string());
    let flags: [(&'static dyn Entry, &str, Option<&String>); 4] = [
        (&table::POOL_HOST, "--pool", overrides.pool.as_ref()),
        (&table::PERFORMANCE_WORKER_THREADS, "--shards", shards.as_ref()),
        (&table::SERVER_CPUS, "--cpus", overrides.cpus.as_ref()),
        (&table::LOGGING_LEVEL, "--log-level", overrides.log_level.as_ref()),
    ];
    for (entry, flag, text) in flags {
        settings.extend(text.map(|text| setting(entry, flag, text, text)));
    }
    settings
}

fn setting(entry: &'static dyn Entry, flag: &str, written: &str, value: &str) -> Setting {
    let given = Given::Plain(value.to_owned());
    let shown = entry.shown(&given, written);
    let origin = Origin::Flag { flag: flag.to_owned() };
    Setting { entry, pool: 0, given, subject: Subject { origin, key: entry.path(), shown } }
}

/// A value of `--set` is shown behind its key, which is no secret even when the value is one.
fn set(entry: &'static dyn Entry, value: &str) -> Setting {
    let mut setting = setting(entry, "--set", value, value);
    setting.subject.shown = format!("{}={}", entry.path(), setting.subject.shown);
    setting
}

fn listen(text: &str, settings: &mut Vec<Setting>, problems: &mut Problems) {
    let trimmed = text.trim();
    let all_digits = !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit());
    let (address, port) = if net::ip(trimmed).is_some() {
        (Some(trimmed), None)
    } else if all_digits {
        (None, Some(trimmed))
    } else {
        match trimmed.rsplit_once(':') {
            Some(("", port)) => (None, Some(port)),
            Some((address, port)) if net::ip(address).is_some() => (Some(address), Some(port)),
            Some(_) | None => (None, None),
        }
    };
    if address.is_none() && port.is_none() {
        return problems.push_with(|| {
            let origin = Origin::Flag { flag: "--listen".to_owned() };
            let subject = Subject { origin, key: "server.address", shown: shown(text) };
            let complaint = "must be an address and a port, an address, or a port, such as 0.0.0.0:3333, \
                             [::]:3333, 10.0.0.1 or 3333";
            Problem::Value { subject, complaint: complaint.to_owned() }
        });
    }
    settings.extend(address.map(|address| setting(&table::SERVER_ADDRESS, "--listen", text, address)));
    settings.extend(port.map(|port| setting(&table::SERVER_PORT, "--listen", text, port)));
}
