//! The numbers agree: a farm that counts for itself, with shares and connections of every kind, and then everything that tells
//! figures of it, each held against what miners and pool have counted. While all are connected, and when all have left.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod feeds;
#[path = "agreement/odd.rs"]
mod odd;
#[path = "agreement/page.rs"]
mod page;
#[path = "agreement/recorded.rs"]
mod recorded;
#[path = "agreement/sources.rs"]
mod sources;
mod support;
#[path = "agreement/times.rs"]
mod times;
#[path = "agreement/truth.rs"]
mod truth;

use loka_rig::{Load, Phase, PoolConfig, PoolHandle, Quirks, ShareCounts, SwarmConfig, SwarmReport};
use odd::NAME;
use serde_json::Value;
use sources::get;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;
use support::{PATIENCE, Proxy};
use truth::{Figures, Ledger, OTHERS, SWARM, agree};

const MINERS: usize = 48;
const SHARES: u64 = 4_000;
/// So long the pool holds each answer back.
const ANSWERED_AFTER: Duration = Duration::from_millis(20);
/// What `/metrics` tells in JSON, and the feeds with it.
const JSON: &[&str] = &[
    "connections",
    "shares",
    "answered",
    "forwarded",
    "faults",
    "authorizations",
    "ended",
    "rejected",
    "requests",
];

/// A swarm that has had all its answers and stays until it is told to leave.
struct Swarm {
    leave: Arc<AtomicBool>,
    thread: JoinHandle<SwarmReport>,
}

impl Swarm {
    /// Starts it, and gives its counts when all is answered.
    fn start(proxy: &Proxy) -> (Swarm, ShareCounts) {
        let config = SwarmConfig {
            target: proxy.address,
            connections: MINERS,
            load: Load::ClosedLoop { in_flight: 2 },
            duration: PATIENCE,
            settle: PATIENCE,
            stay: 4 * PATIENCE,
            answers_target: Some(SHARES),
            quirks: Quirks { mixed: true, ..Quirks::default() },
            ..SwarmConfig::default()
        };
        let (settled, counts) = channel();
        let leave = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&leave);
        let run = move || {
            loka_rig::run(&config, &stop, &mut |progress| {
                if progress.phase == Phase::Stay {
                    // Told several times, and heard once.
                    let _ = settled.send(progress.shares);
                }
            })
            .unwrap()
        };
        let thread = std::thread::spawn(run);
        let shares = counts.recv_timeout(4 * PATIENCE).unwrap();
        assert_eq!((shares.sent, shares.astray()), (SHARES, 0), "{shares:?}");
        (Swarm { leave, thread }, shares)
    }

    fn leave(self, ledger: &mut Ledger) -> SwarmReport {
        self.leave.store(true, Ordering::Relaxed);
        let report = self.thread.join().unwrap();
        ledger.account(SWARM).connections = 0;
        *ledger.ended.entry("miner_left").or_default() += MINERS as u64;
        report
    }
}

fn count_swarm(ledger: &mut Ledger, shares: ShareCounts) {
    ledger.connections += MINERS as u64;
    ledger.authorized += MINERS as u64;
    ledger.workers += MINERS as u64;
    let account = ledger.account(SWARM);
    (account.connections, account.accepted) = (MINERS as u64, shares.accepted);
    account.rejected.insert("low_difficulty", shares.rejected);
}

#[test]
fn every_figure_is_what_miners_and_pool_have_counted() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records.sqlite");
    let pool = PoolHandle::start(PoolConfig {
        reject_permille: 100,
        answer_delay: ANSWERED_AFTER,
        notify_interval: Duration::ZERO,
        ..PoolConfig::default()
    });
    let pool = pool.unwrap();
    let file = format!("records.file={}", records.display());
    let proxy = Proxy::start(pool.addr(), &["--shards", "2", "--set", &file]);
    let mut ledger = Ledger { difficulty: PoolConfig::default().difficulty, ..Ledger::default() };
    let odd = odd::run(&proxy, &pool, &mut ledger);
    let (swarm, shares) = Swarm::start(&proxy);
    count_swarm(&mut ledger, shares);

    check_pool(&proxy, &pool, &ledger);
    check_figures(&proxy, &ledger);
    check_workers(&proxy, &ledger);
    check_sessions(&proxy, &ledger);
    check_miners_port(&proxy, &mut ledger);
    if let Some(page) = page::shown(&proxy) {
        agree(
            "the dashboard",
            &["connections.active", "workers", "ended", "rejected", "requests"],
            &ledger.figures(),
            || page::figures(&page),
        );
        page::check_made(&page, &ledger.figures());
    }
    check_records(&records, &ledger);

    let report = swarm.leave(&mut ledger);
    odd.into_iter().for_each(|odd| odd.leave(&mut ledger));
    assert_eq!((ledger.active(), ledger.sum(|one| one.connections)), (0, 0));
    check_figures(&proxy, &ledger);
    check_workers(&proxy, &ledger);
    times::check(&proxy, &report, &ledger.figures());
    proxy.terminate();
    assert!(proxy.wait().success());
    check_records(&records, &ledger);
}

/// The pool's books, and what crossed between it and the proxy.
fn check_pool(proxy: &Proxy, pool: &PoolHandle, ledger: &Ledger) {
    let (truth, seen) = (ledger.figures(), pool.report());
    let [accepted, low] = ledger.untold;
    for (name, count) in [
        ("shares.accepted", seen.shares_accepted - accepted),
        ("shares.rejected", seen.shares_rejected - low),
        ("rejected.low_difficulty", seen.shares_low_difficulty - low),
        ("rejected.unauthorized", seen.shares_unauthorized),
        ("rejected.stale", seen.shares_unknown_job),
        ("forwarded", seen.shares_received),
    ] {
        assert_eq!(truth[name], count as f64, "{name}: the pool and the miners");
    }
    assert_eq!(truth["shares.unanswered"] + truth["shares.lost"], (accepted + low) as f64);
    let sent =
        |method: &str| ("loka_stratum_messages_sent_total", format!("to=\"pool\",method=\"{method}\""));
    let pools = |metric: &'static str| (metric, "pool=\"pool\"".to_owned());
    let truth: Figures = [
        (sent("submit"), seen.shares_received),
        (sent("subscribe"), seen.subscribes),
        (sent("authorize"), seen.authorizes),
        (sent("configure"), seen.configures),
        (sent("extranonce_subscribe"), seen.extranonce_subscribes),
        (("loka_stratum_bytes_sent_total", "to=\"pool\"".to_owned()), seen.bytes_received),
        (("loka_stratum_bytes_received_total", "from=\"pool\"".to_owned()), seen.answers_written_bytes),
        (pools("loka_stratum_pool_connections"), seen.connections_active),
        (pools("loka_stratum_pool_connections_opened_total"), seen.connections_accepted),
        (pools("loka_stratum_pool_jobs_total"), seen.jobs_sent),
        (("loka_stratum_pool_links", String::new()), seen.connections_active),
        (("loka_stratum_pool_dials_total", String::new()), seen.connections_accepted),
    ]
    .into_iter()
    .map(|((metric, labels), count)| (format!("{metric}|{labels}"), count as f64))
    .collect();
    agree("what crossed to the pool", &["loka_stratum"], &truth, || {
        let scrape = sources::Scrape::of(proxy, "/metrics");
        let told = |name: &String| {
            let (metric, labels) = name.split_once('|').unwrap();
            (name.clone(), scrape.labelled(metric, labels))
        };
        truth.keys().map(told).collect()
    });
}

fn check_figures(proxy: &Proxy, ledger: &Ledger) {
    let truth = ledger.figures();
    agree("Prometheus", &[JSON, &["submits", "workers"]].concat(), &truth, || sources::prometheus(proxy));
    agree("JSON", JSON, &truth, || sources::json(&json_of(&ask_for_json(proxy.metrics, "/metrics"))));
    agree("server-sent events", &[JSON, &["workers"]].concat(), &truth, || sources::event(proxy));
    agree("WebSocket", &[JSON, &["workers"]].concat(), &truth, || sources::frame(proxy));
    agree_on_messages(proxy);
    agree("REST", &["connections.active"], &truth, || sources::rest(proxy));
    agree("health", &["connections.active"], &truth, || {
        let told = get(proxy.metrics, "/health")["connections"].as_f64().unwrap();
        [("connections.active".to_owned(), told)].into()
    });
}

/// All messages, which nobody counts but the proxy, in two forms.
fn agree_on_messages(proxy: &Proxy) {
    support::until("both forms tell of as many messages", || {
        let told = json_of(&ask_for_json(proxy.metrics, "/metrics"));
        let scrape = sources::Scrape::of(proxy, "/metrics");
        ["received", "sent"].into_iter().all(|way| {
            let sum = scrape.sum(&format!("loka_stratum_messages_{way}_total"));
            told["messages"][way].as_f64() == Some(sum)
        })
    });
}

fn check_workers(proxy: &Proxy, ledger: &Ledger) {
    let truth = ledger.figures();
    let families = ["shares", "workers", "worker", "rejected", "refused"];
    agree("workers", &families, &truth, || sources::workers(proxy));
    agree("top --once", &["connections.active", "connections.errors", "workers"], &truth, || {
        sources::top(proxy)
    });
    let [unanswered, rejects] = sources::top_figures(proxy, ["unansw.", "rejects"]);
    assert_eq!(unanswered.parse().ok(), Some(truth["shares.unanswered"] + truth["shares.lost"]));
    let bad = truth["shares.rejected"] + truth["shares.refused"];
    assert_eq!(rejects, format!("{:.2} %", 100.0 * bad / (bad + truth["shares.accepted"])));
    agree("workers as metrics", &[], &truth, || {
        let told = sources::worker_metrics(proxy);
        let names = ledger.accounts.keys().filter(|name| *name != OTHERS).count();
        assert_eq!(told.len(), 4 * names, "four of each: {told:?}");
        told
    });
}

/// The connections of one worker of the swarm, and of the one whose name is odd.
fn check_sessions(proxy: &Proxy, ledger: &Ledger) {
    for name in ["rig.00007", "odd.%22n%C3%A9%22%2C1"] {
        let (worker, page) = (
            get(proxy.metrics, &format!("/api/v1/workers/{name}")),
            get(proxy.metrics, &format!("/api/v1/workers/{name}/sessions")),
        );
        assert_eq!((&page["total"], &worker["connections"]), (&1.into(), &1.into()), "{name}");
        let of = |told: &Value, what: &str| told["shares"][what].as_u64().unwrap();
        for what in ["accepted", "refused", "rejected"] {
            // On this connection there was one share more, which belongs to nobody.
            let more = u64::from(what == "rejected" && worker["name"] == NAME);
            assert_eq!(of(&page["items"][0], what), of(&worker, what) + more, "{what} of {name}: {page}");
        }
    }
    assert!(ledger.accounts.contains_key(NAME));
}

/// Who asks where miners connect is a connection himself, and ends as one that speaks HTTP.
fn check_miners_port(proxy: &Proxy, ledger: &mut Ledger) {
    let families: Vec<&str> =
        JSON.iter().copied().filter(|one| !["connections", "ended"].contains(one)).collect();
    let (truth, mut guests) = (ledger.figures(), 0);
    agree("JSON at the miners' port", &families, &truth, || {
        guests += 1;
        let mut told = sources::json(&json_of(&support::http(proxy.address, "/metrics").unwrap()));
        told.retain(|name, _| name != "connections.total" && name != "ended.http");
        told
    });
    ledger.connections += guests;
    *ledger.ended.entry("http").or_default() += guests;
    agree("Prometheus", JSON, &ledger.figures(), || sources::prometheus(proxy));
}

fn check_records(file: &Path, ledger: &Ledger) {
    let truth = ledger.figures();
    let families = ["shares", "rejected", "refused"];
    agree("records summary", &families, &truth, || recorded::summary(file));
    agree("records export", &families, &truth, || recorded::export(file));
    agree("tables of the records", &families, &truth, || recorded::tables(file));
    let singles = ["shares.rejected", "shares.refused", "rejected", "refused"];
    agree("records export --events", &singles, &truth, || recorded::events(file));
    let (hashes, rate) = (truth["shares.difficulty"] * times::HASHES, recorded::hashrate(file));
    let minutes = hashes / rate / 60.0;
    assert!(
        (minutes - recorded::minutes(file)).abs() < 1e-6,
        "{rate:e} hashes a second over {minutes} minutes"
    );
    for name in [NAME, "odd.lost", "odd.unanswered", "odd.denied"] {
        agree("records worker", &[], &truth, || recorded::worker(file, name));
    }
}

fn ask_for_json(address: std::net::SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "Accept: application/json\r\nConnection: close\r\n";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{head}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn json_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}
