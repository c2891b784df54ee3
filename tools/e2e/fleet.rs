//! Share records of many hosts in one PostgreSQL, through the real binary: they are what each host and its pool have counted, once,
//! whatever ends whom in between, and no trouble with the database costs a miner anything.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fleet/postgres.rs"]
mod postgres;
mod support;
#[path = "fleet/trouble.rs"]
mod trouble;

use loka_rig::{Greeting, Miner, PoolConfig, PoolHandle};
use postgres::{PASSWORD, Postgres};
use rusqlite::Connection;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{PATIENCE, Proxy, farm, program, until};

/// A host with its file, which outlives its proxies.
struct Host {
    name: &'static str,
    folder: tempfile::TempDir,
}

impl Host {
    fn new(name: &'static str) -> Host {
        Host { name, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("records.sqlite")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A proxy that sends what it records, every second.
    fn start(&self, pool: &PoolHandle, url: &str, more: &[&str]) -> Proxy {
        let mut command: Command = program();
        // As a secret comes into a service.
        command.env("LOKA_RECORDS_URL", url);
        let (file, host) =
            (format!("records.file={}", self.file().display()), format!("records.host={}", self.name));
        let log = format!("logging.log_file={}", self.folder.path().join("log").display());
        let mut arguments =
            vec!["--set", &file, "--set", &host, "--set", "records.send_every=1s", "--shards", "1"];
        arguments.extend(["--set", "logging.enable_file_logging=true", "--set", &log]);
        arguments.extend(more);
        Proxy::start_as(command, pool.addr(), &arguments)
    }

    /// What its own file holds: rows, accepted, rejected, refused, reasons and events.
    fn own(&self) -> [u64; 6] {
        let file = Connection::open(self.file()).unwrap();
        let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, u32>(0).map(u64::from)).unwrap();
        [
            "count(*) FROM minutes",
            "sum(accepted) FROM minutes",
            "sum(rejected) FROM minutes",
            "sum(refused) FROM minutes",
            "coalesce(sum(count), 0) FROM minute_reasons",
            "count(*) FROM events",
        ]
        .map(|what| number(&format!("SELECT {what}")))
    }

    /// The same of the database.
    fn there(&self, postgres: &Postgres) -> [u64; 6] {
        let name = self.name;
        [
            "count(*) FROM loka_minutes",
            "coalesce(sum(accepted), 0) FROM loka_minutes",
            "coalesce(sum(rejected), 0) FROM loka_minutes",
            "coalesce(sum(refused), 0) FROM loka_minutes",
            "coalesce(sum(shares), 0) FROM loka_minute_reasons",
            "count(*) FROM loka_events",
        ]
        .map(|what| postgres.ask(&format!("SELECT {what} WHERE host = '{name}'")).parse().unwrap())
    }

    /// Minutes of long ago that nobody has sent yet: so many, of so many workers, with one share each.
    fn remember(&self, minutes: i64, workers: i64) {
        let file = Connection::open(self.file()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 60;
        let first = i64::try_from(now).unwrap() - minutes - 10;
        file.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {workers})
                INSERT INTO workers (name, seen) SELECT 'old.' || i, {first} * 60 FROM n;
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {minutes})
                INSERT INTO minutes SELECT {first} + i, w.id, 1, 0, 0, 0, 0, 512.0, NULL FROM n, workers w WHERE name LIKE 'old.%';
             INSERT INTO unsent SELECT DISTINCT minute, 1 FROM minutes WHERE true ON CONFLICT DO NOTHING;
             COMMIT"
        ))
        .unwrap();
    }

    fn unsent(&self) -> u64 {
        let file = Connection::open(self.file()).unwrap();
        file.query_row("SELECT count(*) FROM unsent", [], |row| row.get::<_, u32>(0).map(u64::from)).unwrap()
    }
}

/// Three shares of a worker, the second of them twice.
fn with_a_duplicate(proxy: &Proxy, worker: &str) {
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    let work: Greeting = miner.handshake(worker).unwrap();
    for (id, nonce) in ["1", "2", "2", "3"].iter().enumerate() {
        let id = format!("{}", 100 + id);
        miner.submit_for(&work, worker, &id, &format!("0000000{nonce}")).unwrap();
        miner.answer_to(&id).unwrap();
    }
}

fn failures(proxy: &Proxy, kind: &str) -> f64 {
    proxy.labelled(&format!("loka_stratum_records_send_failures_total{{kind=\"{kind}\"}}"))
}

fn ends(proxy: Proxy) {
    proxy.terminate();
    assert!(proxy.wait().success());
}

#[test]
fn the_database_holds_what_two_hosts_and_their_pools_have_counted() {
    let Some(postgres) = Postgres::start() else { return };
    let hosts = [Host::new("hall-1"), Host::new("hall-2")];
    let pool = || PoolHandle::start(PoolConfig { reject_permille: 50, ..PoolConfig::default() }).unwrap();
    let pools = [pool(), pool()];
    for round in 1..=2 {
        let urls = [postgres.url("loka", PASSWORD, "prefer"), postgres.url_of_socket()];
        let proxies: Vec<Proxy> = hosts
            .iter()
            .zip(&pools)
            .zip(&urls)
            .map(|((host, pool), url)| host.start(pool, url, &[]))
            .collect();
        for proxy in &proxies {
            farm(proxy, 100, 3_000);
            with_a_duplicate(proxy, "odd,'\"\\ näme");
        }
        proxies.into_iter().for_each(ends);
        for (host, pool) in hosts.iter().zip(&pools) {
            let (there, ledger) = (host.there(&postgres), pool.report());
            assert_eq!(there, host.own(), "{} in round {round}", host.name);
            assert_eq!((there[1], there[2]), (ledger.shares_accepted, ledger.shares_rejected));
            assert_eq!((there[3], there[5]), (round, ledger.shares_rejected + round));
            assert_eq!(host.unsent(), 0, "the file knows that all of it is there");
            assert!(!host.log().contains(PASSWORD) && !host.log().contains("hunter2"));
        }
    }
    let odd = postgres.ask("SELECT host, sum(accepted + rejected), sum(refused) FROM loka_minutes WHERE worker LIKE 'odd%' GROUP BY host ORDER BY host");
    assert_eq!(odd, "hall-1|6|2\nhall-2|6|2");
    let work = PoolConfig::default().difficulty
        * pools.iter().map(|pool| pool.report().shares_accepted).sum::<u64>() as f64;
    assert_eq!(postgres.ask("SELECT sum(difficulty) FROM loka_minutes").parse(), Ok(work));
    let reasons = postgres.ask("SELECT DISTINCT side || ' ' || reason FROM loka_events WHERE side = 'proxy'");
    assert_eq!(reasons, "proxy duplicate_share");
}

/// What the guide tells to ask can be asked, and says what is there.
#[test]
fn the_queries_of_the_guide_work_for_who_may_only_read() {
    let Some(postgres) = Postgres::start() else { return };
    let (host, pool) = (Host::new("hall-1"), PoolHandle::start(PoolConfig::default()).unwrap());
    let guide = Guide::read();
    postgres.ask(&guide.schema);
    for role in ["loka_writer", "loka_reader"] {
        postgres.admin(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"));
    }
    postgres.ask(&guide.grants);
    let proxy = host.start(&pool, &postgres.url("loka_writer", PASSWORD, "disable"), &[]);
    farm(&proxy, 20, 500);
    ends(proxy);
    assert_eq!(host.there(&postgres), host.own(), "{}", host.log());
    assert!(guide.queries.len() >= 3, "{:?}", guide.queries);
    for query in &guide.queries {
        let told =
            postgres.try_ask("loka_reader", "loka", query).unwrap_or_else(|| panic!("refused: {query}"));
        assert!(query.contains("DELETE") || !told.is_empty(), "nothing: {query}");
    }
    for forbidden in ["DELETE FROM loka_minutes", "TRUNCATE loka_events", "DROP TABLE loka_minutes"] {
        assert_eq!(postgres.try_ask("loka_writer", "loka", forbidden), None, "{forbidden}");
    }
}

/// The blocks of SQL in the guide.
struct Guide {
    schema: String,
    grants: String,
    queries: Vec<String>,
}

impl Guide {
    fn read() -> Guide {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let text = std::fs::read_to_string(root.join("FLEETS.md")).unwrap();
        let blocks = text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        let (grants, queries): (Vec<String>, Vec<String>) = blocks.partition(|block| block.contains("GRANT"));
        let schema = std::fs::read_to_string(root.join("fleet.sql")).unwrap();
        Guide { schema, grants: grants.concat(), queries }
    }
}
