//! Trouble with the database: it dies, it is full, it hangs, it refuses, its tables are missing. Miners never notice, and when it
//! is over all of it is there, once.

use super::*;
use loka_rig::Authority;
use std::net::TcpListener;

/// Miners work as if nothing was.
fn works_on(proxy: &Proxy, pool: &PoolHandle) {
    let before = pool.report().shares_received;
    let swarm = farm(proxy, 50, 1_000);
    assert_eq!((swarm.disconnected, swarm.shares.lost), (0, 0));
    assert_eq!(pool.report().shares_received, before + swarm.shares.sent);
}

fn recovers(proxy: &Proxy, host: &Host) {
    until("it is sent again", || host.log().contains("records are sent again"));
    until("nothing waits", || proxy.metric("loka_stratum_records_unsent_minutes") == 0.0);
    assert_eq!(proxy.metric("loka_stratum_records_unsent_lost_rows_total"), 0.0);
}

/// A host whose file has much that was never sent.
fn with_a_past(name: &'static str, pool: &PoolHandle, minutes: i64, workers: i64) -> Host {
    let host = Host::new(name);
    let file = format!("records.file={}", host.file().display());
    let proxy = Proxy::start(pool.addr(), &["--set", &file, "--shards", "1"]);
    until("the file is there", || proxy.metric("loka_stratum_records_file_bytes") > 0.0);
    ends(proxy);
    host.remember(minutes, workers);
    host
}

fn sent(proxy: &Proxy) -> f64 {
    proxy.labelled("loka_stratum_records_sent_rows_total{table=\"minutes\"}")
}

#[test]
fn a_database_that_is_killed_under_load_misses_nothing_when_it_is_back() {
    let Some(mut postgres) = Postgres::start() else { return };
    let pool = PoolHandle::start(PoolConfig { reject_permille: 50, ..PoolConfig::default() }).unwrap();
    let host = with_a_past("hall-1", &pool, 200, 1_500);
    let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, "prefer"), &[]);
    until("some of it is sent", || sent(&proxy) > 10_000.0);
    postgres.kill();
    works_on(&proxy, &pool);
    until("that is counted", || failures(&proxy, "unreachable") + failures(&proxy, "lost") > 0.0);
    assert!(sent(&proxy) < 300_000.0, "it was to be killed in between");
    let events = support::http(proxy.metrics, "/api/v1/events").unwrap();
    assert!(events.contains("share records cannot be sent"), "{events}");
    postgres.run();
    works_on(&proxy, &pool);
    recovers(&proxy, &host);
    ends(proxy);
    let (there, ledger) = (host.there(&postgres), pool.report());
    assert_eq!(there, host.own());
    assert_eq!((there[1], there[2]), (300_000 + ledger.shares_accepted, ledger.shares_rejected));
    assert_eq!(host.unsent(), 0);
}

/// The process that serves the proxy stands still in the middle of a statement, and goes on.
#[test]
fn a_database_that_stands_still_for_a_while_holds_up_nothing_else() {
    let Some(postgres) = Postgres::start() else { return };
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let host = with_a_past("hall-1", &pool, 100, 1_500);
    let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, "prefer"), &[]);
    until("some of it is sent", || sent(&proxy) > 5_000.0);
    let served = postgres.admin("SELECT pid FROM pg_stat_activity WHERE usename = 'loka'").parse().unwrap();
    let served = rustix::process::Pid::from_raw(served).unwrap();
    rustix::process::kill_process(served, Signal::STOP).unwrap();
    let (before, rows) =
        (sent(&proxy), proxy.labelled("loka_stratum_records_rows_written_total{table=\"minutes\"}"));
    works_on(&proxy, &pool);
    until("the file goes on", || {
        proxy.labelled("loka_stratum_records_rows_written_total{table=\"minutes\"}") > rows
    });
    let (after, waiting) = (sent(&proxy), proxy.metric("loka_stratum_records_unsent_minutes"));
    assert!(
        after < 150_000.0 && waiting > 0.0,
        "it was to stand still in between: {before} {after} {waiting}"
    );
    rustix::process::kill_process(served, Signal::CONT).unwrap();
    until("nothing waits", || proxy.metric("loka_stratum_records_unsent_minutes") == 0.0);
    ends(proxy);
    assert_eq!(host.there(&postgres), host.own());
}

#[test]
fn a_proxy_that_is_killed_while_it_sends_leaves_no_row_twice() {
    let Some(postgres) = Postgres::start() else { return };
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let host = with_a_past("hall-1", &pool, 200, 1_500);
    for _ in 0..2 {
        let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, "prefer"), &[]);
        farm(&proxy, 20, 200);
        until("some of it is sent", || sent(&proxy) > 5_000.0);
        proxy.signal(Signal::KILL);
        assert!(!proxy.wait().success());
    }
    let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, "prefer"), &[]);
    until("nothing waits", || {
        proxy.metric("loka_stratum_records_sent_timestamp_seconds") > 0.0
            && proxy.metric("loka_stratum_records_unsent_minutes") == 0.0
    });
    ends(proxy);
    assert_eq!(host.there(&postgres), host.own());
    assert!(host.own()[1] >= 300_000);
}

#[test]
fn a_wrong_password_is_said_and_counted_and_right_again_by_itself() {
    let Some(postgres) = Postgres::start() else { return };
    let (host, pool) = (Host::new("hall-1"), PoolHandle::start(PoolConfig::default()).unwrap());
    let proxy = host.start(&pool, &postgres.url("loka", "wrong-hunter3", "prefer"), &[]);
    works_on(&proxy, &pool);
    until("that is counted", || failures(&proxy, "login") > 0.0);
    let log = host.log();
    assert!(log.contains("records cannot be sent") && log.contains("SQLSTATE 28P01"), "{log}");
    assert!(!log.contains("hunter3"), "{log}");
    postgres.admin("ALTER ROLE loka PASSWORD 'wrong-hunter3'");
    recovers(&proxy, &host);
    ends(proxy);
    postgres.admin(&format!("ALTER ROLE loka PASSWORD '{PASSWORD}'"));
    assert_eq!(host.there(&postgres), host.own());
    let doctor = |url: &str| {
        let told = support::finish(
            program()
                .args(["doctor", "--json", "--pool", &pool.addr().to_string()])
                .env("LOKA_RECORDS_URL", url),
        );
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        let checks = told["host"]["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == "records database").unwrap();
        format!("{} {}", found["grade"].as_str().unwrap(), found["value"].as_str().unwrap())
    };
    let (good, bad) = (
        doctor(&postgres.url("loka", PASSWORD, "prefer")),
        doctor(&postgres.url("loka", "hunter4", "prefer")),
    );
    assert!(good.starts_with("ok postgres://loka@127.0.0.1") && !good.contains("hunter2"), "{good}");
    assert!(bad.starts_with("warn ") && bad.contains("28P01") && !bad.contains("hunter4"), "{bad}");
    let check = support::finish(
        program()
            .args(["check", "--pool", "127.0.0.1:1"])
            .env("LOKA_RECORDS_URL", postgres.url("loka", PASSWORD, "prefer")),
    );
    let told = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(told.contains("postgres://loka@127.0.0.1") && !told.contains("hunter2"), "{told}");
}

#[test]
fn tables_that_are_missing_and_cannot_be_made_are_said_with_what_to_do() {
    let Some(postgres) = Postgres::start() else { return };
    let (host, pool) = (Host::new("hall-1"), PoolHandle::start(PoolConfig::default()).unwrap());
    postgres.admin(&format!("CREATE ROLE loka_writer LOGIN PASSWORD '{PASSWORD}'"));
    postgres.admin(&format!("CREATE ROLE loka_reader LOGIN PASSWORD '{PASSWORD}'"));
    let proxy = host.start(&pool, &postgres.url("loka_writer", PASSWORD, "prefer"), &[]);
    until("that is counted", || failures(&proxy, "schema") > 0.0);
    works_on(&proxy, &pool);
    assert!(host.log().contains("let the owner of the database run config/fleet.sql"), "{}", host.log());
    let guide = Guide::read();
    postgres.ask(&guide.schema);
    postgres.ask(&guide.grants);
    recovers(&proxy, &host);
    ends(proxy);
    assert_eq!(host.there(&postgres), host.own());
}

/// A disk that is full, as a trigger says it.
#[test]
fn a_full_database_is_said_and_tried_again() {
    let Some(postgres) = Postgres::start() else { return };
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let host = with_a_past("hall-1", &pool, 5, 100);
    postgres.ask(&Guide::read().schema);
    postgres.ask(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON loka_minutes FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, "prefer"), &[]);
    until("that is counted", || failures(&proxy, "full") > 0.0);
    works_on(&proxy, &pool);
    assert!(proxy.metric("loka_stratum_records_send_lag_seconds") > 500.0);
    assert_eq!(proxy.metric("loka_stratum_records_unsent_minutes"), 5.0);
    postgres.ask("DROP TRIGGER full_disk ON loka_minutes");
    recovers(&proxy, &host);
    ends(proxy);
    assert_eq!(host.there(&postgres), host.own());
}

#[test]
fn a_database_that_never_answers_holds_up_nobody_and_no_end() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, pool) = (Host::new("hall-1"), PoolHandle::start(PoolConfig::default()).unwrap());
    let url = format!("postgres://loka:x@{}/loka", hole.local_addr().unwrap());
    let proxy = host.start(&pool, &url, &[]);
    works_on(&proxy, &pool);
    until("it is given up", || failures(&proxy, "slow") > 0.0);
    works_on(&proxy, &pool);
    ends(proxy);
    assert_eq!(host.own()[1], pool.report().shares_accepted, "the file has all of it");
    assert!(host.log().contains("that is done at the next start"), "{}", host.log());
    assert!(host.unsent() > 0);
}

#[test]
fn tls_is_spoken_and_checked_as_sslmode_says() {
    let Some(mut postgres) = Postgres::start() else { return };
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let host = Host::new("hall-1");
    let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, "require"), &[]);
    until("no TLS there is counted", || failures(&proxy, "tls") > 0.0);
    ends(proxy);

    let identity = authority.issue(&["127.0.0.1"]).unwrap();
    postgres.kill();
    postgres.with_tls(&identity.certificate_pem, &identity.key_pem);
    postgres.run();
    postgres.admin("ALTER ROLE loka SET client_min_messages = 'notice'");
    let (trusted, wrong) = (host.folder.path().join("ca.pem"), host.folder.path().join("wrong.pem"));
    std::fs::write(&trusted, authority.pem()).unwrap();
    std::fs::write(&wrong, stranger.pem()).unwrap();
    let url = postgres.url("loka", PASSWORD, "verify-full");
    let with = |file: &Path| format!("records.ca_file={}", file.display());
    let proxy = host.start(&pool, &url, &["--set", &with(&wrong)]);
    until("a stranger's certificate is counted", || failures(&proxy, "tls") > 0.0);
    ends(proxy);

    for (mode, more) in [("require", None), ("verify-full", Some(with(&trusted)))] {
        let more: Vec<&str> = more.iter().flat_map(|file| ["--set", file.as_str()]).collect();
        let proxy = host.start(&pool, &postgres.url("loka", PASSWORD, mode), &more);
        until("it is sent", || proxy.metric("loka_stratum_records_sent_timestamp_seconds") > 0.0);
        let encrypted = postgres.admin(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'loka'",
        );
        assert_eq!(encrypted, "t", "{mode}");
        works_on(&proxy, &pool);
        ends(proxy);
        assert_eq!(host.there(&postgres), host.own(), "{mode}");
    }
}
