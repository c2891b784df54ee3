//! From settings to the checked configuration: each value against its key, then the values against each
//! other.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use super::duration;
use super::error::{Origin, Problems, Subject};
use super::key::{Entry, Form, Key};
use super::sections::{
    ApiConfig, LimiterConfig, LogFile, LoggingConfig, MetricsConfig, PerformanceConfig, RateLimits,
    SecurityConfig,
};
use super::table;
use super::value::{Given, Value};
use super::{Config, secret};

mod alerts;
mod failover;
mod in_force;
mod pools;
mod records;
mod server;

pub use in_force::InForce;

/// A value somebody gave for a key that exists.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) entry: &'static dyn Entry,
    /// Which pool of the file it is for, counted from 0; 0 in every other section.
    pub(super) pool: usize,
    pub(super) given: Given,
    pub(super) subject: Subject,
}

/// Settings by rising precedence, read key by key.
pub(super) struct Settings {
    list: Vec<Setting>,
    /// Where the file begins each of its pools.
    pools: Vec<Origin>,
}

/// What was set for one pool, and for the sections that there are once.
#[derive(Clone, Copy)]
struct View<'a> {
    list: &'a [Setting],
    pool: usize,
}

impl Settings {
    /// `list` is ordered by rising precedence: of several settings of one key the last counts. `pools` may be empty:
    /// the first pool can come from elsewhere than the file.
    pub(super) fn new(list: Vec<Setting>, pools: Vec<Origin>) -> Self {
        Self { list, pools }
    }

    /// Those that hold until the next start.
    pub(super) fn at_start(&self) -> impl Iterator<Item = &Setting> {
        self.list.iter().filter(|setting| setting.entry.is_at_start())
    }

    /// The same with others in the place of those that hold until the next start.
    pub(super) fn with_at_start(self, standing: &[Setting]) -> Settings {
        let Settings { mut list, pools } = self;
        list.retain(|setting| !setting.entry.is_at_start());
        list.extend(standing.iter().cloned());
        Settings { list, pools }
    }

    fn view(&self) -> View<'_> {
        self.view_of(0)
    }

    fn view_of(&self, pool: usize) -> View<'_> {
        View { list: &self.list, pool }
    }

    /// Reports every value that its key does not take, also those that a later source overrides.
    pub(super) fn verify(&self, problems: &mut Problems) {
        for setting in &self.list {
            if let Err(complaint) = setting.entry.verify(&setting.given) {
                problems.value(&setting.subject, complaint);
            }
        }
    }

    /// Values that are easily misread.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let view = self.view();
        if let Some(setting) = view.given(&table::LIMITER_CONNECTIONS)
            && matches!(setting.given, Given::Toml(Value::Whole(_)))
        {
            let time = duration::format(view.get(&table::LIMITER_CONNECTIONS));
            let subject = &setting.subject;
            warnings.push(format!(
                "{subject}: read as a time of {time}; the number of connections is limited by \
                 server.max_connections"
            ));
        }
        let trusted = view.get(&table::SERVER_PROXY_PROTOCOL_FROM);
        if let Some(network) = trusted.into_iter().find(|network| network.prefix_len() == 0) {
            let subject = view.subject(&table::SERVER_PROXY_PROTOCOL_FROM);
            warnings.push(format!("{subject}: with {network} anybody can claim any address"));
        }
        warnings.extend(view.warn_of_plain_alerts());
        warnings.extend(view.warn_of_open_database());
        warnings
    }

    /// The checked configuration. Contradictions become problems; with any problem the result must not be
    /// used.
    pub(super) fn check(&self, problems: &mut Problems) -> Config {
        let view = self.view();
        let config = Config {
            server: view.server(problems),
            pools: self.pools(problems),
            failover: view.failover(problems),
            limiter: view.limiter(problems),
            security: view.security(),
            metrics: view.metrics(),
            api: ApiConfig { token: view.get(&table::API_TOKEN), hosts: view.get(&table::API_HOSTS) },
            alerts: view.alerts(problems),
            records: view.records(problems),
            logging: view.logging(problems),
            performance: view.performance(),
        };
        view.check_ports(&config, problems);
        view.check_shards(&config, problems);
        config
    }
}

impl View<'_> {
    /// The setting that counts for a key.
    fn given<F: Form>(&self, key: &Key<F>) -> Option<&Setting> {
        self.named(key.path())
    }

    fn named(&self, path: &str) -> Option<&Setting> {
        self.list.iter().rev().find(|setting| setting.pool == self.pool && setting.entry.path() == path)
    }

    /// The value of a key. A value that `verify` reported stands in with the default.
    fn get<F: Form>(&self, key: &Key<F>) -> F::Out {
        let given = self.given(key).and_then(|setting| key.read(&setting.given).ok());
        given.unwrap_or_else(|| key.default_value())
    }

    /// False when a value that counts was refused: what stands in for it contradicts nobody.
    fn all_read(&self, entries: &[&dyn Entry]) -> bool {
        entries
            .iter()
            .all(|entry| self.named(entry.path()).is_none_or(|setting| entry.verify(&setting.given).is_ok()))
    }

    /// True when somebody gave a value other than the default, and it was read.
    fn is_changed<F: Form<Out: PartialEq>>(&self, key: &Key<F>) -> bool {
        self.given(key).is_some() && self.get(key) != key.default_value()
    }

    /// How a message names the setting that counts for a key.
    fn subject<F: Form>(&self, key: &Key<F>) -> Subject {
        let shown = || key.default_toml().unwrap_or_else(|| secret::HIDDEN.to_owned());
        let default = || Subject { origin: Origin::Default, key: key.path(), shown: shown() };
        self.given(key).map_or_else(default, |setting| setting.subject.clone())
    }

    /// Of two settings that contradict each other the one of the higher rank: the one to be blamed, for
    /// somebody gave it.
    fn later<A: Form, B: Form>(&self, a: &Key<A>, b: &Key<B>) -> Subject {
        let (a, b) = (self.subject(a), self.subject(b));
        if a.origin.rank() > b.origin.rank() { a } else { b }
    }

    fn limiter(&self, problems: &mut Problems) -> LimiterConfig {
        let limiter = LimiterConfig {
            connections: self.get(&table::LIMITER_CONNECTIONS),
            jobs: self.get(&table::LIMITER_JOBS),
            submissions: self.get(&table::LIMITER_SUBMISSIONS),
        };
        if limiter.submissions < limiter.jobs
            && self.all_read(&[&table::LIMITER_JOBS, &table::LIMITER_SUBMISSIONS])
        {
            let (jobs, submissions) = (duration::format(limiter.jobs), duration::format(limiter.submissions));
            let complaint = format!(
                "limiter.submissions ({submissions}) must be at least as long as limiter.jobs ({jobs}), \
                 or duplicates could not be recognised"
            );
            problems.value(&self.later(&table::LIMITER_JOBS, &table::LIMITER_SUBMISSIONS), complaint);
        }
        limiter
    }

    fn security(&self) -> SecurityConfig {
        let requests = self.get(&table::SECURITY_MAX_REQUESTS_PER_MINUTE);
        SecurityConfig {
            enable_rate_limiting: self.get(&table::SECURITY_ENABLE_RATE_LIMITING),
            max_requests_per_minute: NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN),
            rate_limits: self.rate_limits(),
            allow: self.get(&table::SECURITY_ALLOW),
            deny: self.get(&table::SECURITY_DENY),
            max_connections_per_ip: NonZeroU32::new(self.get(&table::SECURITY_MAX_CONNECTIONS_PER_IP)),
            max_connects_per_minute: NonZeroU32::new(self.get(&table::SECURITY_MAX_CONNECTS_PER_MINUTE)),
            enable_ddos_protection: self.get(&table::SECURITY_ENABLE_DDOS_PROTECTION),
            blocked_ip_ttl: self.get(&table::SECURITY_BLOCKED_IP_TTL),
            max_memory_mib: NonZeroU32::new(self.get(&table::SECURITY_MAX_MEMORY_MIB)),
        }
    }

    fn rate_limits(&self) -> RateLimits {
        let limit = |key| NonZeroU32::new(self.get(key));
        RateLimits {
            submits: limit(&table::SECURITY_MAX_SUBMITS_PER_MINUTE),
            authorizations: limit(&table::SECURITY_MAX_AUTHORIZATIONS_PER_MINUTE),
            bytes: limit(&table::SECURITY_MAX_BYTES_PER_MINUTE),
            address_requests: limit(&table::SECURITY_MAX_REQUESTS_PER_MINUTE_PER_IP),
            address_authorizations: limit(&table::SECURITY_MAX_AUTHORIZATIONS_PER_MINUTE_PER_IP),
            address_bytes: limit(&table::SECURITY_MAX_BYTES_PER_MINUTE_PER_IP),
            window: self.get(&table::SECURITY_LIMIT_WINDOW),
        }
    }

    fn metrics(&self) -> MetricsConfig {
        MetricsConfig {
            enable_prometheus: self.get(&table::METRICS_ENABLE_PROMETHEUS),
            address: self.get(&table::METRICS_ADDRESS),
            prometheus_port: port(self.get(&table::METRICS_PROMETHEUS_PORT)),
            miner_port_from: self.get(&table::METRICS_MINER_PORT_FROM),
            collection_interval: self.get(&table::METRICS_COLLECTION_INTERVAL),
        }
    }

    fn logging(&self, problems: &mut Problems) -> LoggingConfig {
        let log_file = self.get(&table::LOGGING_LOG_FILE);
        let enabled = self.get(&table::LOGGING_ENABLE_FILE_LOGGING);
        if enabled && log_file.is_empty() && self.all_read(&[&table::LOGGING_LOG_FILE]) {
            let subject = self.subject(&table::LOGGING_ENABLE_FILE_LOGGING);
            problems.value(&subject, "needs logging.log_file, the path of the file");
        }
        LoggingConfig {
            level: self.get(&table::LOGGING_LEVEL),
            format: self.get(&table::LOGGING_FORMAT),
            file: (enabled && !log_file.is_empty()).then(|| LogFile {
                path: PathBuf::from(log_file),
                rotate_bytes: NonZeroU64::new(self.get(&table::LOGGING_ROTATE_BYTES).into()),
                rotate_keep: self.get(&table::LOGGING_ROTATE_KEEP),
            }),
        }
    }

    fn performance(&self) -> PerformanceConfig {
        let blocking_threads = size(self.get(&table::PERFORMANCE_BLOCKING_THREADS));
        PerformanceConfig {
            worker_threads: NonZeroUsize::new(size(self.get(&table::PERFORMANCE_WORKER_THREADS))),
            connection_timeout: self.get(&table::PERFORMANCE_CONNECTION_TIMEOUT),
            buffer_pool_size: size(self.get(&table::PERFORMANCE_BUFFER_POOL_SIZE)),
            enable_lingering: self.get(&table::PERFORMANCE_ENABLE_LINGERING),
            connection_pool_size: size(self.get(&table::PERFORMANCE_CONNECTION_POOL_SIZE)),
            enable_string_interning: self.get(&table::PERFORMANCE_ENABLE_STRING_INTERNING),
            blocking_threads: NonZeroUsize::new(blocking_threads).unwrap_or(NonZeroUsize::MIN),
            enable_memory_profiling: self.get(&table::PERFORMANCE_ENABLE_MEMORY_PROFILING),
        }
    }

    fn check_shards(&self, config: &Config, problems: &mut Problems) {
        let (Some(shards), Some(cpus)) = (config.performance.worker_threads, &config.server.cpus) else {
            return;
        };
        let count = cpus.ids().len();
        let keys: [&dyn Entry; 2] = [&table::PERFORMANCE_WORKER_THREADS, &table::SERVER_CPUS];
        if shards.get() > count && self.all_read(&keys) {
            let complaint = format!(
                "{shards} shards (performance.worker_threads) do not fit on {count} CPUs (server.cpus)"
            );
            problems.value(&self.later(&table::SERVER_CPUS, &table::PERFORMANCE_WORKER_THREADS), complaint);
        }
    }
}

/// The table allows no port above 65535.
fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Every target this program runs on has at least 32 bits.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
