//! Every source, every key, every mistake.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod listeners;
mod pools;

const POOL: &str = "[pool]\nhost = \"pool.example.com\"\n";
const TLS_POOL: &str = "[pool]\nhost = \"stratum+ssl://pool.example.com\"\n";

/// A configuration with these keys of `[server.tls]`.
fn server_tls(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("server.tls.{key}\n")).chain([POOL.to_owned()]).collect()
}

fn env(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// Loads a text as `config.toml`.
fn from(toml: &str, variables: &[(&str, &str)], overrides: &Overrides) -> Result<Loaded, ConfigError> {
    parse_str("config.toml", toml, &env(variables), overrides)
}

fn loaded(toml: &str, variables: &[(&str, &str)]) -> Loaded {
    from(toml, variables, &Overrides::default()).unwrap()
}

fn complaints(toml: &str, variables: &[(&str, &str)], overrides: &Overrides) -> Vec<String> {
    let error = from(toml, variables, overrides).unwrap_err();
    assert_eq!(error.more, 0);
    error.problems.iter().map(ToString::to_string).collect()
}

fn complaint(variables: &[(&str, &str)], overrides: &Overrides) -> String {
    let mut all = complaints(POOL, variables, overrides);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn the_reference_is_up_to_date_and_is_the_default() {
    let (reference, file) = (reference(), include_str!("../../config/reference.toml"));
    if let Some((line, expected)) =
        reference.lines().zip(file.lines()).find(|(line, expected)| line != expected)
    {
        panic!("config/reference.toml says {expected:?}, `loka-stratum config reference` says {line:?}");
    }
    assert_eq!(reference.len(), file.len());
    let overrides = Overrides { pool: Some("192.0.2.1:3333".to_owned()), ..Overrides::default() };
    let from_reference = from(&reference, &[], &overrides).unwrap().config;
    assert_eq!(from_reference, Config::for_pool("192.0.2.1:3333".parse().unwrap()));
    // Keys are described once each, and the reference has no line that a terminal would break.
    for entry in table::entries() {
        assert_eq!(table::entries().iter().filter(|other| other.path() == entry.path()).count(), 1);
    }
    assert!(reference.lines().all(|line| line.len() <= 110));
}

/// A value that differs from the default, for every key.
pub(super) const OTHER: &[(&str, &str)] = &[
    ("server.port", "1"),
    ("server.address", "[\"::\", \"10.0.0.1\"]"),
    ("server.max_connections", "9000"),
    ("server.handshake_timeout", "20"),
    ("server.drain_timeout", "\"0s\""),
    ("server.cpus", "\"0-3\""),
    ("server.steering", "\"cpu\""),
    ("server.proxy_protocol_from", "[\"10.0.0.0/8\", \"2001:db8::7\"]"),
    ("server.tls.cert_file", "\"/etc/cert.pem\""),
    ("server.tls.key_file", "\"/etc/key.pem\""),
    ("server.tls.port", "3443"),
    ("server.tls.same_port", "true"),
    ("server.tls.min_version", "\"1.3\""),
    ("pool.name", "\"p\""),
    ("pool.host", "\"other.example.com\""),
    ("pool.port", "4444"),
    ("pool.username", "\"farm\""),
    ("pool.password", "\"x\""),
    ("pool.separator", "\"-\""),
    ("pool.extranonce", "true"),
    ("pool.priority", "5"),
    ("pool.weight", "3"),
    ("pool.tls_ca_file", "\"/etc/ca.pem\""),
    ("pool.tls_server_name", "\"pool.example\""),
    ("pool.tls_pins", "[\"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"]"),
    ("pool.tls_min_version", "\"1.3\""),
    ("pool.proxy", "\"socks5://farm:hunter2@proxy.example:1080\""),
    ("pool.reconnect_domains", "[\"example.com\", \"pool.example\"]"),
    ("failover.hold_miners", "\"0s\""),
    ("failover.handshake_timeout", "\"5s\""),
    ("failover.notify_silence", "\"10m\""),
    ("failover.behind_for", "\"1m\""),
    ("failover.failures", "5"),
    ("failover.backoff_min", "\"500ms\""),
    ("failover.backoff_max", "\"5m\""),
    ("failover.stable_for", "\"0s\""),
    ("failover.connects_per_second", "0"),
    ("failover.reject_percent", "25"),
    ("failover.response_p95", "\"750ms\""),
    ("failover.window", "\"5m\""),
    ("failover.dns_servers", "[\"192.0.2.53\", \"2001:db8::53\"]"),
    ("limiter.connections", "\"1h\""),
    ("limiter.jobs", "\"15m\""),
    ("limiter.submissions", "\"7d\""),
    ("security.enable_rate_limiting", "false"),
    ("security.max_requests_per_minute", "300"),
    ("security.max_submits_per_minute", "200"),
    ("security.max_authorizations_per_minute", "10"),
    ("security.max_bytes_per_minute", "100000"),
    ("security.max_requests_per_minute_per_ip", "3000"),
    ("security.max_authorizations_per_minute_per_ip", "100"),
    ("security.max_bytes_per_minute_per_ip", "1000000"),
    ("security.limit_window", "\"30s\""),
    ("security.max_memory_mib", "256"),
    ("security.allow", "[\"10.0.0.0/8\"]"),
    ("security.deny", "[\"10.9.0.0/16\", \"192.0.2.7\"]"),
    ("security.max_connections_per_ip", "500"),
    ("security.max_connects_per_minute", "600"),
    ("security.enable_ddos_protection", "false"),
    ("security.blocked_ip_ttl", "\"2h\""),
    ("metrics.enable_prometheus", "false"),
    ("metrics.address", "\"::1\""),
    ("metrics.prometheus_port", "9091"),
    ("metrics.miner_port_from", "[\"10.0.0.0/8\", \"127.0.0.1\"]"),
    ("metrics.collection_interval", "30"),
    ("api.token", "\"0123456789abcdef\""),
    ("api.hosts", "[\"farm.example\", \"10.0.0.5\"]"),
    ("alerts.url", "\"https://hooks.example.com/x\""),
    ("alerts.secret", "\"0123456789abcdef\""),
    ("alerts.ca_file", "\"/etc/ca.pem\""),
    ("alerts.format", "\"slack\""),
    ("alerts.source", "\"hall 1\""),
    ("alerts.pools", "false"),
    ("alerts.shards", "false"),
    ("alerts.resources", "false"),
    ("alerts.silent_for", "\"0s\""),
    ("alerts.silent_forget", "\"2d\""),
    ("alerts.silent_min", "10"),
    ("alerts.reject_percent", "0"),
    ("alerts.reject_window", "\"5m\""),
    ("alerts.fire_after", "\"0s\""),
    ("alerts.resolve_after", "\"1s\""),
    ("alerts.repeat", "\"0s\""),
    ("alerts.batch", "\"1s\""),
    ("records.enable", "false"),
    ("records.file", "\"/var/lib/other.sqlite\""),
    ("records.max_mib", "0"),
    ("records.url", "\"postgres://loka:x@db.example.com/loka\""),
    ("records.ca_file", "\"/etc/ca.pem\""),
    ("records.host", "\"hall-1\""),
    ("records.send_every", "\"5s\""),
    ("logging.level", "\"debug\""),
    ("logging.format", "\"json\""),
    ("logging.enable_file_logging", "true"),
    ("logging.log_file", "\"/tmp/other.log\""),
    ("logging.rotate_bytes", "0"),
    ("logging.rotate_keep", "9"),
    ("performance.worker_threads", "2"),
    ("performance.connection_timeout", "\"250ms\""),
    ("performance.buffer_pool_size", "0"),
    ("performance.enable_lingering", "false"),
    ("performance.connection_pool_size", "100"),
    ("performance.enable_string_interning", "false"),
    ("performance.blocking_threads", "4"),
    ("performance.enable_memory_profiling", "true"),
];

#[test]
fn every_key_reaches_the_configuration_from_the_file_and_from_the_environment() {
    let keys: BTreeSet<&str> = table::entries().iter().map(|entry| entry.path()).collect();
    assert_eq!(keys, OTHER.iter().map(|(path, _)| *path).collect());
    for (path, toml) in OTHER {
        let (file_before, file_after) = other_files(path, toml);
        let (default, other) = (loaded(&file_before, &[]).config, loaded(&file_after, &[]).config);
        assert_ne!(default, other, "{path} has no effect");
        let text = toml.trim_matches(['[', ']']).replace('"', "");
        for name in table::find(path).unwrap().environment() {
            assert_eq!(loaded(&file_before, &[(&name, &text)]).config, other, "{name}={text}");
        }
    }
}

/// A file, and the same file with this value for this key.
pub(super) fn other_files(path: &str, toml: &str) -> (String, String) {
    // File logging is one setting made of two keys.
    let (base, before) = match path {
        "logging.log_file" => (format!("logging.enable_file_logging = true\n{POOL}"), "\"/tmp/a\""),
        "logging.enable_file_logging" => (format!("logging.log_file = \"/tmp/a\"\n{POOL}"), "false"),
        "logging.rotate_bytes" | "logging.rotate_keep" => {
            (format!("logging.enable_file_logging = true\nlogging.log_file = \"/tmp/a\"\n{POOL}"), "")
        }
        "pool.host" => (String::new(), "\"pool.example.com\""),
        "server.tls.cert_file" => (server_tls(&["key_file = \"k\"", "port = 1"]), "\"/tmp/a\""),
        "server.tls.key_file" => (server_tls(&["cert_file = \"c\"", "port = 1"]), "\"/tmp/a\""),
        "server.tls.port" => (server_tls(&["cert_file = \"c\"", "key_file = \"k\"", "same_port = true"]), ""),
        "server.tls.same_port" | "server.tls.min_version" => {
            (server_tls(&["cert_file = \"c\"", "key_file = \"k\"", "port = 1"]), "")
        }
        path if path.starts_with("pool.tls_") => (TLS_POOL.to_owned(), ""),
        _ => (POOL.to_owned(), ""),
    };
    let (section, key) = path.rsplit_once('.').unwrap();
    let file = |value: &str| match (value, section) {
        ("", _) => base.clone(),
        (_, "pool") => format!("{base}{}{key} = {value}\n", if key == "host" { "[pool]\n" } else { "" }),
        _ => format!("{section}.{key} = {value}\n{base}"),
    };
    (file(before), file(toml))
}

#[test]
fn records_go_where_the_key_says_else_into_the_state_folder_else_nowhere() {
    let written = |toml: &str, state: &[(&str, &str)]| {
        let config = loaded(&format!("{toml}{POOL}"), state).config;
        config.records.written().map(|file| file.display().to_string())
    };
    let state = [("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")];
    assert_eq!(written("", &[]), None);
    assert_eq!(written("", &state).as_deref(), Some("/var/lib/one/records.sqlite"));
    assert_eq!(written("", &[("STATE_DIRECTORY", "")]), None);
    assert_eq!(written("records.file = \"r\"\n", &state).as_deref(), Some("r"));
    assert_eq!(written("records.enable = false\n", &state), None);
}

#[test]
fn each_source_overrides_the_one_before() {
    let toml =
        "[server]\nport = 1111\n[pool]\nhost = \"file.example\"\nport = 4444\n[logging]\nlevel = \"warn\"\n";
    let variables =
        [("LOKA_SERVER_PORT", "2222"), ("LOKA_POOL_HOST", "env.example"), ("LOKA_LOG_LEVEL", "error")];
    let overrides = Overrides {
        listen: Some("[::1]:5555".to_owned()),
        pool: Some("flag.example".to_owned()),
        shards: Some(3),
        cpus: Some("0-2".to_owned()),
        log_level: Some("trace".to_owned()),
        set: vec![("server.port".to_owned(), "6666".to_owned()), ("pool.name".to_owned(), "set".to_owned())],
        ..Overrides::default()
    };
    let view = |config: &Config| {
        format!(
            "{} {} {:?}",
            config.server.port,
            config.first_pool().endpoint(),
            config.logging.level.level()
        )
    };
    assert_eq!(view(&loaded(toml, &[]).config), "1111 file.example:4444 Warn");
    assert_eq!(view(&loaded(toml, &variables).config), "2222 env.example:4444 Error");
    let config = from(toml, &variables, &overrides).unwrap().config;
    assert_eq!(view(&config), "5555 flag.example:4444 Trace");
    assert_eq!(config.server.listen().collect::<Vec<_>>(), ["[::1]:5555".parse().unwrap()]);
    assert_eq!(config.performance.worker_threads.map(|shards| shards.get()), Some(3));
    assert_eq!(config.first_pool().name, "set");
    assert_eq!(config.server.cpus.unwrap().to_string(), "0-2");
    // Nothing but the environment.
    let loaded =
        load(&Sources { search: Vec::new(), ..Sources::new(Overrides::default(), env(&variables)) }).unwrap();
    assert_eq!((loaded.config.first_pool().endpoint().as_str(), loaded.file), ("env.example:3333", None));
}

#[test]
fn the_port_behind_a_pool_host_counts_as_given_with_it() {
    let endpoint =
        |toml: &str, variables: &[(&str, &str)]| loaded(toml, variables).config.first_pool().endpoint();
    let file = "[pool]\nhost = \"stratum+tcp://a.example:1\"\n";
    assert_eq!(endpoint(file, &[]), "a.example:1");
    assert_eq!(endpoint(&format!("{file}port = 1"), &[]), "a.example:1");
    assert_eq!(endpoint(file, &[("LOKA_POOL_PORT", "2")]), "a.example:2");
    let file = "[pool]\nhost = \"a.example\"\nport = 1\n";
    assert_eq!(endpoint(file, &[("LOKA_POOL_HOST", "[::1]:2")]), "[::1]:2");
    let contradiction =
        complaint(&[("LOKA_POOL_HOST", "a:1"), ("LOKA_POOL_PORT", "2")], &Overrides::default());
    assert_eq!(contradiction, "LOKA_POOL_PORT = \"2\": contradicts the port in LOKA_POOL_HOST = \"a:1\"");
}

#[test]
fn mistakes_in_the_environment() {
    for (name, value, message) in [
        ("LOKA_SERVER_PORT", "abc", "LOKA_SERVER_PORT = \"abc\": must be a whole number from 1 to 65535"),
        ("LOKA_SERVER_PORT", "", "LOKA_SERVER_PORT = \"\": must be a whole number from 1 to 65535"),
        ("LOKA_POOL_EXTRANONCE", "maybe", "LOKA_POOL_EXTRANONCE = \"maybe\": must be true or false"),
        (
            "LOKA_LOG_LEVEL",
            "a\nb",
            "LOKA_LOG_LEVEL = \"a\\u{a}b\": \"a\\u{a}b\" is no level; a level is one of trace, debug, info, warn, error, off",
        ),
        (
            "LOKA_POOL_PASSWORD",
            "hunter\x012",
            "LOKA_POOL_PASSWORD = (hidden): must be a text of at most 128 bytes without control characters",
        ),
    ] {
        assert_eq!(complaint(&[(name, value)], &Overrides::default()), message);
    }
    let twice =
        complaint(&[("LOKA_LOG_LEVEL", "info"), ("LOKA_LOGGING_LEVEL", "warn")], &Overrides::default());
    assert_eq!(
        twice,
        "LOKA_LOG_LEVEL = \"info\": contradicts LOKA_LOGGING_LEVEL = \"warn\"; set one of them"
    );
    let bytes = vec![(OsString::from("LOKA_POOL_USERNAME"), OsStr::from_bytes(b"a\xff").to_owned())];
    let error = parse_str("config.toml", POOL, &bytes, &Overrides::default()).unwrap_err().to_string();
    assert!(error.starts_with("LOKA_POOL_USERNAME = \"a\u{fffd}\": must be a text"), "{error}");
}

#[test]
fn mistakes_on_the_command_line() {
    let none = Overrides::default;
    let text = |text: &str| Some(text.to_owned());
    for (overrides, message) in [
        (Overrides { shards: Some(1025), ..none() }, "--shards 1025: must be a whole number from 0 to 1024"),
        (
            Overrides { listen: text("0.0.0.0:0"), ..none() },
            "--listen 0.0.0.0:0: must be a whole number from 1 to 65535",
        ),
        (
            Overrides { set: vec![("server.prot".to_owned(), "1".to_owned())], ..none() },
            "--set: unknown key server.prot (did you mean server.port?)",
        ),
        (
            Overrides { set: vec![("server.port".to_owned(), "0".to_owned())], ..none() },
            "--set server.port=0: must be a whole number from 1 to 65535",
        ),
        (
            Overrides { shards: Some(3), cpus: text("0-1"), ..none() },
            "--shards 3: 3 shards (performance.worker_threads) do not fit on 2 CPUs (server.cpus)",
        ),
    ] {
        assert_eq!(complaint(&[], &overrides), message);
    }
    for listen in ["", ":", "localhost", "1.2.3:4", "1.2.3.4:", "::1:", "[::1", "65536", "-1", "\0"] {
        let message = complaint(&[], &Overrides { listen: text(listen), ..none() });
        assert!(message.starts_with("--listen ") && message.contains(": must be "), "{listen}: {message}");
    }
    for (listen, expected) in [
        ("4000", "0.0.0.0:4000"),
        (":4000", "0.0.0.0:4000"),
        ("10.0.0.1", "10.0.0.1:3333"),
        ("::", "[::]:3333"),
    ] {
        let config = from(POOL, &[], &Overrides { listen: text(listen), ..none() }).unwrap().config;
        assert_eq!(config.server.listen().map(|at| at.to_string()).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn all_mistakes_are_reported_in_reading_order() {
    let toml = "[server]\nport = 70000\nprot = 1\n[sever]\n[metrics]\nprometheus_port = \"x\"\n[aaa]\n";
    let overrides = Overrides { shards: Some(9999), ..Overrides::default() };
    let all = complaints(toml, &[("LOKA_SERVER_CPUS", "x")], &overrides);
    let starts = [
        "config.toml:2: server.port = 70000: ",
        "config.toml:3: unknown key server.prot",
        "config.toml:4: unknown section [sever]",
        "config.toml:6: metrics.prometheus_port = \"x\": ",
        "config.toml:7: unknown section [aaa]",
        "LOKA_SERVER_CPUS = \"x\": ",
        "--shards 9999: ",
        "pool.host is not set: ",
    ];
    assert_eq!(all.len(), starts.len(), "{all:#?}");
    for (problem, start) in all.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
    // A value that a later source overrides is wrong all the same.
    assert!(
        from("[server]\nport = 0", &[("LOKA_SERVER_PORT", "1"), ("LOKA_POOL_HOST", "a")], &overrides)
            .is_err()
    );
    // A refused value contradicts nobody: its stand-in would.
    assert_eq!(
        complaints(
            &format!("server.port = 0\nmetrics.prometheus_port = 3333\n{POOL}"),
            &[],
            &Overrides::default()
        )
        .len(),
        1
    );
    let nonsense: String = (0..20_000).map(|number| format!("key{number} = 1\n")).collect();
    let error = from(&nonsense, &[], &Overrides::default()).unwrap_err();
    assert_eq!((error.problems.len(), error.more), (50, 19_951));
    assert!(error.to_string().ends_with("\nand 19951 more"));
}

#[test]
fn several_syntax_errors_are_reported_and_hide_what_they_make_uncertain() {
    let all = complaints(
        "[server]\nport = abc\n[pool]\nhost = \n",
        &[("LOKA_SERVER_CPUS", "x")],
        &Overrides::default(),
    );
    let starts =
        ["config.toml:2:8: not valid TOML: ", "config.toml:4:", "LOKA_SERVER_CPUS = \"x\": must be "];
    assert_eq!(all.len(), starts.len(), "{all:#?}");
    assert!(all.iter().zip(starts).all(|(problem, start)| problem.starts_with(start)), "{all:#?}");
}

/// Work that grows with the square of the text would take hours here.
#[test]
fn the_largest_files_of_nonsense_are_answered() {
    for (piece, problems) in
        [("a=1\n", 1), ("=\n", 1), ("[[pool]]\n", 17), ("[", 1), ("x", 1), ("a.", 1), ("\r", 1)]
    {
        let error = from(&piece.repeat(1024 * 1024 / piece.len()), &[], &Overrides::default()).unwrap_err();
        assert_eq!((error.problems.len(), error.more), (problems, 0), "{piece:?}");
    }
    let unknown: String = (0..50_000).map(|number| format!("server.port{number}=1\n")).collect();
    assert_eq!(from(&unknown, &[], &Overrides::default()).unwrap_err().more, 49_951);
}

#[test]
fn warnings_name_what_is_easily_misread() {
    let production = format!("{POOL}[limiter]\nconnections = 5000\njobs = \"15m\"\nsubmissions = \"7d\"\n");
    let variables = [("LOKA_SERVER_PROT", "1"), ("LOKA_CONFIG", "x"), ("LOKAL", "1"), ("LOKA_QQQ", "1")];
    assert_eq!(
        loaded(&production, &variables).warnings,
        [
            "unknown environment variable LOKA_SERVER_PROT (did you mean LOKA_SERVER_PORT?)",
            "unknown environment variable LOKA_QQQ",
            "config.toml:4: limiter.connections = 5000: read as a time of 5000s; the number of connections is \
             limited by server.max_connections",
        ]
    );
    assert!(loaded(POOL, &[("HOME", "/root")]).warnings.is_empty());
}

#[test]
fn secrets_are_never_shown() {
    let toml = format!("{POOL}password = \"hunter2\"\n");
    let config = loaded(&toml, &[]).config;
    assert_eq!(config.first_pool().password.reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let overrides = Overrides { pool: Some("farm:hunter2@pool".to_owned()), ..Overrides::default() };
    for toml in [
        "[pool]\npasword = \"hunter2\"",
        "[pool]\npassword = [\"hunter2\"]",
        "[pool]\nhost = \"a:hunter2@b\"",
        "[pool]\npassword = \"hunter2",
    ] {
        let error = from(toml, &[("LOKA_POOL_PASSWORD", "hunter2\n")], &overrides).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn a_program_can_make_its_configuration_without_a_file() {
    for pool in ["127.0.0.1:4000", "[::1]:4000", "[fe80::1%3]:4000", "127.0.0.1:0"] {
        let pool: SocketAddr = pool.parse().unwrap();
        let config = Config::for_pool(pool);
        assert_eq!(
            (config.first_pool().host.clone(), config.first_pool().port),
            (Host::Ip(pool.ip()), pool.port())
        );
        assert_eq!((config.server.port, config.limiter.connections), (3333, Duration::from_secs(600)));
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let missing = folder.path().join("missing.toml");
    let good = write("good.toml", POOL.as_bytes());
    let marked = write("marked.toml", format!("\u{feff}{}", POOL.replace('\n', "\r\n")).as_bytes());
    for (path, reason) in [
        (missing.clone(), "no such file"),
        (folder.path().to_owned(), "is a directory, not a file"),
        (write("latin1.toml", b"[pool]\nhost = \"p\xf6ol\"\n"), "line 2 is not UTF-8 text"),
        (write("huge.toml", &vec![b'\n'; 1024 * 1024 + 1]), "is larger than 1048576 bytes"),
        (PathBuf::from("/dev/zero"), "is larger than 1048576 bytes"),
        (good.join("below"), "cannot be read: Not a directory (os error 20)"),
        (folder.path().join("x".repeat(99)), "no such file"),
        (PathBuf::from("a\0b"), "cannot be read: file name contained an unexpected NUL byte"),
    ] {
        let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
        let error = load(&Sources::new(overrides, env(&[("LOKA_CONFIG", "elsewhere")]))).unwrap_err();
        let shown = value::shown_path(&path.to_string_lossy());
        assert_eq!(error.to_string(), format!("{shown}: {reason} (named by --config)"));
    }
    let by_variable = |path: &Path| {
        load(&Sources::new(Overrides::default(), env(&[("LOKA_CONFIG", path.to_str().unwrap())])))
    };
    assert!(by_variable(&missing).unwrap_err().to_string().ends_with("no such file (named by LOKA_CONFIG)"));
    for path in [good.clone(), marked] {
        assert_eq!(by_variable(&path).unwrap().file, Some(path));
    }
    // The usual places are optional, and tried in order.
    let search =
        |search: Vec<PathBuf>| load(&Sources { search, ..Sources::new(Overrides::default(), Vec::new()) });
    assert_eq!(search(vec![missing.clone(), good.clone()]).unwrap().file, Some(good.clone()));
    assert!(search(vec![folder.path().to_owned(), good]).is_err());
    assert!(search(vec![missing]).unwrap_err().to_string().starts_with("pool.host is not set"));
    let nul = from("[pool]\nhost = \"a\0b\"", &[], &Overrides::default()).unwrap_err().to_string();
    assert!(nul.starts_with("config.toml:2:10: not valid TOML: "), "{nul}");
}

/// What makes and breaks TOML.
const NOISE: &str = "[\\[\\]=\"'#.\\n{},\\\\u0-9a-z]{0,6}";

/// Text with the words of a configuration in it, so that it gets past the parser.
fn nearly_toml() -> impl Strategy<Value = String> {
    let keys: Vec<&str> =
        OTHER.iter().map(|(path, _)| *path).chain(["server", "pool", "", "a.b", "\"\\u0000\""]).collect();
    let values: Vec<&str> = OTHER
        .iter()
        .map(|(_, value)| *value)
        .chain(["-1", "1e9", "[]", "{}", "[[1], {a = 1}]", "1979-05-27", "\"\"", "nan"])
        .collect();
    let line =
        (prop::sample::select(keys), prop::sample::select(values), 0..4_u8).prop_map(|(key, value, kind)| {
            match kind {
                0 => format!("[{key}]\n"),
                1 => format!("[[{key}]]\n"),
                _ => format!("{key} = {value}\n"),
            }
        });
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn no_text_panics(any in ".*", near in nearly_toml(), cut in 0..400_usize, noise in NOISE) {
        let mut broken = near.clone();
        let at = (0..=cut.min(broken.len())).rev().find(|at| broken.is_char_boundary(*at)).unwrap_or(0);
        broken.insert_str(at, &noise);
        for text in [any, near, broken] {
            if let Err(error) = from(&text, &[], &Overrides::default()) {
                prop_assert!(!error.problems.is_empty());
                let lines = error.problems.len() + usize::from(error.more > 0);
                prop_assert_eq!(error.to_string().lines().count(), lines);
            }
        }
    }

    #[test]
    fn no_variable_or_flag_panics(
        index in 0..OTHER.len(),
        value in ".*",
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let path = OTHER[index].0;
        let name = OsString::from(format!("LOKA_{}", path.replace('.', "_").to_uppercase()));
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0).collect();
        let bytes = OsStr::from_bytes(&bytes).to_owned();
        let variables = [(name, bytes.clone()), (bytes, OsString::new())];
        let overrides = Overrides {
            listen: Some(value.clone()),
            pool: Some(value.clone()),
            cpus: Some(value.clone()),
            set: vec![(path.to_owned(), value.clone()), (value, String::new())],
            ..Overrides::default()
        };
        if let Err(error) = parse_str("config.toml", "", &variables, &overrides) {
            prop_assert_eq!(error.to_string().lines().count(), error.problems.len());
        }
    }

    #[test]
    fn a_mistyped_key_is_recognised(index in 0..OTHER.len(), at in 0..40_usize, letter in "[a-z]") {
        let path = OTHER[index].0;
        let (section, key) = path.rsplit_once('.').unwrap();
        let mut typed = key.to_owned();
        typed.insert_str(at.min(key.len()), &letter);
        let known = table::entries().iter().map(|entry| entry.path());
        let nearest = nearest::nearest(&format!("{section}.{typed}"), known);
        prop_assert!(nearest.is_some_and(|nearest| nearest.starts_with(section)));
        if key.len() > 4 {
            prop_assert_eq!(nearest, Some(path));
        }
    }
}
