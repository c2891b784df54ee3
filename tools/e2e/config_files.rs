//! The files under `config/`: the examples load, every file under `invalid/` fails with the message it
//! promises.

use std::fs;
use std::path::{Path, PathBuf};

use loka_stratum::config::{self, Overrides, Sources};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn load(path: PathBuf) -> Result<config::Loaded, config::ConfigError> {
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    config::load(&Sources::new(overrides, Vec::new()))
}

#[test]
fn every_invalid_file_fails_with_the_message_in_its_first_line() {
    let mut count = 0;
    for entry in fs::read_dir(folder().join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let expected = expected.unwrap_or_else(|| panic!("{} has no line `# expect:`", path.display()));
        let error = match load(path.clone()) {
            Ok(_) => panic!("{} loads", path.display()),
            Err(error) => error.to_string(),
        };
        // A message about a key that is missing names no line and therefore no file.
        let message = error.strip_prefix(&format!("{}:", path.display())).unwrap_or(&error).trim_start();
        let message = message.replace(&format!("{}:", path.display()), &format!("{}:", file_name(&path)));
        assert_eq!(message, expected, "{}", path.display());
        assert!(!error.contains("hunter2"), "{error}");
        count += 1;
    }
    assert!(count >= 60, "only {count} files");
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn the_examples_load() {
    let endpoint = |name: &str| {
        load(folder().join(name)).unwrap_or_else(|error| panic!("{error}")).config.first_pool().endpoint()
    };
    assert_eq!(endpoint("basic.toml"), "pool.example.com:3333");
    assert_eq!(endpoint("full.toml"), "pool.example.com:4444");
    assert_eq!(endpoint("production.toml"), "pool.example.com:3333");
    assert_eq!(endpoint("two-pools.toml"), "pool.example.com:443");

    let basic = load(folder().join("basic.toml")).unwrap();
    assert_eq!((basic.warnings, basic.file), (Vec::new(), Some(folder().join("basic.toml"))));
    let production = load(folder().join("production.toml")).unwrap().config;
    assert_eq!(production.server.listen().count(), 2);
    assert!(production.logging.file.is_some());
    let two = load(folder().join("two-pools.toml")).unwrap();
    let pools: Vec<(&str, u32, bool)> =
        two.config.pools.iter().map(|pool| (pool.name.as_str(), pool.priority, pool.tls.is_some())).collect();
    assert_eq!(pools, [("main", 1, true), ("backup", 2, true)]);
    assert_eq!((two.warnings, two.config.server.listen_tls().count()), (Vec::new(), 1));
}

/// The shapes of the first configuration files: a number for `limiter.connections`, a list of separators,
/// threads.
#[test]
fn configurations_of_the_first_version_load() {
    let text = "[server]\nport = 3333\n[pool]\nname = \"production_pool\"\nhost = \"pool.example.com\"\nport = 4444\n\
                username = \"production_user\"\npassword = \"secure_password\"\nseparator = [\".\", \"_\"]\n\
                extranonce = false\n[limiter]\nconnections = 5000\njobs = \"15m\"\nsubmissions = \"7d\"\n[security]\n\
                enable_rate_limiting = true\nmax_requests_per_minute = 300\nenable_ddos_protection = true\n\
                blocked_ip_ttl = \"1h\"\n[metrics]\nenable_prometheus = true\nprometheus_port = 9090\n\
                collection_interval = \"30s\"\n[logging]\nlevel = \"info\"\nformat = \"json\"\n\
                enable_file_logging = true\nlog_file = \"/var/log/loka-stratum/app.log\"\n[performance]\n\
                connection_pool_size = 100\nconnection_timeout = \"30s\"\nenable_string_interning = true\n\
                buffer_pool_size = 1000\nworker_threads = 4\nblocking_threads = 4\n";
    let loaded = config::parse_str("config.toml", text, &[], &Overrides::default());
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.iter().any(|warning| warning.contains("server.max_connections")));
    assert_eq!(loaded.config.security.requests_per_minute().map(|requests| requests.get()), Some(300));
}

#[test]
fn the_reference_loads_with_a_pool_and_changes_nothing() {
    let path = folder().join("reference.toml");
    assert_eq!(fs::read_to_string(&path).unwrap(), config::reference());
    let overrides =
        Overrides { config: Some(path), pool: Some("192.0.2.7:3333".to_owned()), ..Overrides::default() };
    let from_reference =
        config::load(&Sources::new(overrides, Vec::new())).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(from_reference.config, config::Config::for_pool("192.0.2.7:3333".parse().unwrap()));
}
