//! The configuration: TOML file, environment and command line in, one checked [`Config`] out.
//!
//! Settings of all sources meet as text or TOML values, are checked against one table of keys, and become the
//! section types below, which cannot hold a value out of range. Every mistake is reported, not only the
//! first, and names where it was made. This room resolves no names, opens no sockets, prints nothing, and
//! reads no environment by itself except in [`Sources::from_process`].

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod check;
mod cpus;
mod database;
mod domains;
mod duration;
mod env;
mod error;
mod file;
mod form;
mod key;
mod lists;
mod log_filter;
mod nearest;
mod net;
mod overrides;
mod pins;
mod reference;
mod reload;
mod secret;
mod sections;
mod socks5;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod value;
mod webhook;

pub use check::InForce;
pub use cpus::CpuList;
pub use error::{ConfigError, Origin, Problem, Subject};
pub use log_filter::LogFilter;
pub use net::Host;
pub use overrides::Overrides;
pub use reference::reference;
pub use reload::{Change, Proposal, Standing};
pub use secret::Secret;
pub use sections::{
    AlertFormat, AlertsConfig, ApiConfig, Database, DatabasePlace, FailoverConfig, LimiterConfig, LogFile,
    LogFormat, LogLevel, LoggingConfig, MetricsConfig, PerformanceConfig, PoolConfig, PoolTls, RateLimits,
    RecordsConfig, SecurityConfig, ServerConfig, ServerTls, Socks5Proxy, SslMode, TlsVersion, Webhook,
};

use check::Settings;
use error::Problems;
use file::Written;

/// Where the file is looked for when nobody names one.
const SEARCH: [&str; 2] = ["config.toml", "/etc/loka-stratum/config.toml"];

/// The whole checked configuration. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where miners connect.
    pub server: ServerConfig,
    /// Where their work comes from: 1 to 16 pools, in the order of the file.
    pub pools: Vec<PoolConfig>,
    /// When a pool has failed, and what then happens to its miners.
    pub failover: FailoverConfig,
    /// How long things are kept.
    pub limiter: LimiterConfig,
    /// Protection from miners.
    pub security: SecurityConfig,
    /// The HTTP endpoint.
    pub metrics: MetricsConfig,
    /// The REST API.
    pub api: ApiConfig,
    /// Messages when something is wrong.
    pub alerts: AlertsConfig,
    /// Share records.
    pub records: RecordsConfig,
    /// Logs.
    pub logging: LoggingConfig,
    /// Sizes and threads.
    pub performance: PerformanceConfig,
}

impl Config {
    /// The defaults, with this pool. For programs that need no file: the fields may be changed afterwards.
    pub fn for_pool(pool: SocketAddr) -> Self {
        let overrides = Overrides { pool: Some(pool.to_string()), ..Overrides::default() };
        let mut problems = Problems::default();
        let settings = overrides::settings(&overrides, &mut problems);
        let mut config = Settings::new(settings, Vec::new()).check(&mut problems);
        // The text of an address is not always a `--pool` (a scope id, port 0); the address itself is.
        for first in &mut config.pools {
            (first.host, first.port) = (Host::Ip(pool.ip()), pool.port());
        }
        config
    }

    /// The first pool of the file, which environment and command line speak of.
    ///
    /// # Panics
    /// Somebody took all pools away: a loaded configuration has one at least.
    pub fn first_pool(&self) -> &PoolConfig {
        &self.pools[0]
    }
}

/// Where settings come from.
#[derive(Clone)]
pub struct Sources {
    /// The command line.
    pub overrides: Overrides,
    /// All environment variables; those that do not begin with `LOKA_` are ignored, but for `RUST_LOG`.
    pub env: Vec<(OsString, OsString)>,
    /// Files to try when neither `--config` nor `LOKA_CONFIG` names one.
    pub search: Vec<PathBuf>,
}

impl Sources {
    /// The usual places for the file, and this environment.
    pub fn new(overrides: Overrides, env: Vec<(OsString, OsString)>) -> Self {
        Self { overrides, env, search: SEARCH.map(PathBuf::from).to_vec() }
    }

    /// The usual places for the file, and the environment of this process.
    pub fn from_process(overrides: Overrides) -> Self {
        Self::new(overrides, std::env::vars_os().collect())
    }
}

/// A configuration that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// The file it came from, if any.
    pub file: Option<PathBuf>,
    /// What an operator should know although it is no mistake: one sentence each, no secret, no line break.
    pub warnings: Vec<String>,
    /// Every key as it is in force, with who set it; secrets are hidden.
    pub in_force: Vec<InForce>,
}

/// A time as operators write it, such as `90s`, `1h 30m`, or a bare number of seconds; for commands that take one.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    duration::parse(text)
}

/// Loads the configuration: defaults < file < environment < command line.
///
/// # Errors
/// A named file that cannot be read, text that is no TOML, unknown keys, values out of range, contradictions,
/// a pool that nobody named: all of them together. The process then exits with [`ConfigError::EXIT_CODE`].
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    loaded(sources).map(|(loaded, _)| loaded)
}

fn loaded(sources: &Sources) -> Result<(Loaded, Settings), ConfigError> {
    let by_flag = sources.overrides.config.as_deref().map(|path| (path, "--config"));
    let by_variable = || env::file(&sources.env).map(|path| (Path::new(path), env::FILE_VARIABLE));
    match file::read(by_flag.or_else(by_variable), &sources.search)? {
        None => assembled(None, &sources.env, &sources.overrides),
        Some((path, text)) => {
            let name = path.to_string_lossy();
            let (loaded, settings) = assembled(Some((&name, &text)), &sources.env, &sources.overrides)?;
            Ok((Loaded { file: Some(path.clone()), ..loaded }, settings))
        }
    }
}

/// Loads a configuration from a text instead of a file; `name` stands for the file in messages.
///
/// # Errors
/// As [`load`], except for reading the file.
pub fn parse_str(
    name: &str,
    toml: &str,
    env: &[(OsString, OsString)],
    overrides: &Overrides,
) -> Result<Loaded, ConfigError> {
    assemble(Some((name, toml)), env, overrides)
}

/// The text of a file that `named_by` (a flag) named, for a command that will change it.
///
/// # Errors
/// It cannot be read, is too large for a configuration, or is not UTF-8.
pub fn text_of(path: &Path, named_by: &'static str) -> Result<String, ConfigError> {
    let read = file::read(Some((path, named_by)), &[])?;
    Ok(read.map_or_else(String::new, |(_, text)| text))
}

fn assemble(
    file: Option<(&str, &str)>,
    env: &[(OsString, OsString)],
    overrides: &Overrides,
) -> Result<Loaded, ConfigError> {
    assembled(file, env, overrides).map(|(loaded, _)| loaded)
}

/// The configuration, and the settings that it was made of.
fn assembled(
    file: Option<(&str, &str)>,
    env: &[(OsString, OsString)],
    overrides: &Overrides,
) -> Result<(Loaded, Settings), ConfigError> {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    let Written { settings: mut list, pools } =
        file.map_or_else(Written::default, |(name, text)| file::settings(name, text, &mut problems));
    // A file that is no TOML gives no settings: whatever would be missing below may well stand in it.
    let not_toml = problems.has_syntax_errors();
    list.extend(env::settings(env, &mut problems, &mut warnings));
    list.extend(overrides::settings(overrides, &mut problems));
    let settings = Settings::new(list, pools);
    settings.verify(&mut problems);
    if not_toml {
        problems.into_result()?;
        problems = Problems::default();
    }
    let config = checked(&settings, env, &mut problems);
    problems.into_result()?;
    warnings.extend(settings.warnings());
    let in_force = settings.in_force(&config);
    Ok((Loaded { config, file: None, warnings, in_force }, settings))
}

fn checked(settings: &Settings, env: &[(OsString, OsString)], problems: &mut Problems) -> Config {
    let mut config = settings.check(problems);
    config.logging.level = log_filter::Variable::read(env, problems).over(config.logging.level);
    config.records.file = config.records.file.or_else(|| env::records_file(env));
    config
}
