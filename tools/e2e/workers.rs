//! Figures of workers through the real binary: each is what the miners themselves have counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Greeting, Miner, PoolConfig, PoolHandle};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use support::{PATIENCE, Proxy, http, until};

/// What miners know of one worker's shares.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Ledger {
    connections: u64,
    accepted: u64,
    rejected: u64,
    refused: u64,
}

/// One GET of the API, as JSON.
fn api(address: SocketAddr, path: &str) -> Value {
    let answer = http(address, path).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

fn shown(worker: &Value) -> Ledger {
    let count = |name: &str| worker["shares"][name].as_u64().unwrap();
    Ledger {
        connections: worker["connections"].as_u64().unwrap(),
        accepted: count("accepted"),
        rejected: count("rejected"),
        refused: count("refused"),
    }
}

/// A connection with its workers; the first one has made the handshake.
struct Rig {
    miner: Miner,
    work: Greeting,
    users: Vec<&'static str>,
}

impl Rig {
    fn new(address: SocketAddr, users: &[&'static str]) -> Rig {
        let mut miner = Miner::connect(address).unwrap();
        miner.set_read_timeout(PATIENCE).unwrap();
        let work = miner.handshake(users[0]).unwrap();
        for (number, user) in users.iter().enumerate().skip(1) {
            let params = format!("[\"{user}\",\"x\"]");
            let answer = miner.request(&format!("{}", 100 + number), "mining.authorize", &params).unwrap();
            assert!(answer.contains("\"result\":true"), "{answer}");
        }
        Rig { miner, work, users: users.to_vec() }
    }

    /// A share and its answer. Every third is sent twice, and the proxy refuses the second.
    fn share(&mut self, number: usize, ledger: &mut BTreeMap<&'static str, Ledger>) {
        let user = self.users[number % self.users.len()];
        let (id, nonce) = (format!("{}", 1_000 + number), format!("{number:08x}"));
        for is_again in [false, true] {
            if is_again && !number.is_multiple_of(3) {
                continue;
            }
            self.miner.submit_for(&self.work, user, &id, &nonce).unwrap();
            let answer = self.miner.answer_to(&id).unwrap();
            let own = ledger.entry(user).or_default();
            match (is_again, answer.contains("\"result\":true")) {
                (false, true) => own.accepted += 1,
                (false, false) => own.rejected += 1,
                (true, false) => own.refused += 1,
                (true, true) => panic!("a share was accepted twice: {answer}"),
            }
        }
    }
}

#[test]
fn every_figure_is_what_the_miners_counted() {
    let pool = PoolHandle::start(PoolConfig { reject_permille: 200, ..PoolConfig::default() }).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let mut ledger: BTreeMap<&'static str, Ledger> = BTreeMap::new();
    // On so many connections that both shards have some.
    let of_rack = ["rack.one"].repeat(24).into_iter().map(|user| vec![user]);
    let several = [vec!["rack.two", "rack.three"], vec!["rack.three"], vec!["silent/né"]];
    let mut rigs: Vec<Rig> = of_rack.chain(several).map(|users| Rig::new(proxy.address, &users)).collect();
    for rig in &mut rigs {
        rig.users.iter().for_each(|user| ledger.entry(user).or_default().connections += 1);
        let shares = if rig.users[0].starts_with("silent") { 0 } else { 12 };
        (0..shares).for_each(|number| rig.share(number, &mut ledger));
    }
    let one = ledger["rack.one"];
    assert!(one.accepted > 0 && one.rejected > 0 && one.refused == 24 * 4, "{one:?}");
    for shard in 0..2 {
        let series = format!("loka_stratum_shard_connections{{shard=\"{shard}\"}}");
        until("both shards have some", || proxy.labelled(&series) > 0.0);
    }

    let page = || api(proxy.metrics, "/api/v1/workers");
    let of = |page: &Value| -> BTreeMap<String, Ledger> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|worker| (worker["name"].as_str().unwrap().to_owned(), shown(worker))).collect()
    };
    let truth: BTreeMap<String, Ledger> =
        ledger.iter().map(|(name, own)| ((*name).to_owned(), *own)).collect();
    until("all is told", || of(&page()) == truth);
    check_details(&proxy, one);
    check_questions(&proxy);

    // Whoever has gone is still known, without a connection.
    drop(rigs);
    until("all have gone", || of(&page()).values().all(|worker| worker.connections == 0));
    let gone = of(&page());
    assert!(truth.iter().all(|(name, own)| gone[name] == Ledger { connections: 0, ..*own }));
    let sum = |count: fn(&Ledger) -> u64| truth.values().map(count).sum::<u64>() as f64;
    assert_eq!(proxy.metric("loka_stratum_shares_accepted_total"), sum(|own| own.accepted));
    assert_eq!(proxy.metric("loka_stratum_shares_rejected_total"), sum(|own| own.rejected));
    assert_eq!(proxy.metric("loka_stratum_shares_refused_total"), sum(|own| own.refused));
    assert_eq!(proxy.metric("loka_stratum_workers"), 4.0);
    assert_eq!(pool.report().shares_accepted as f64, sum(|own| own.accepted));
}

/// The figures of one worker beside its counts.
fn check_details(proxy: &Proxy, one: Ledger) {
    let worker = api(proxy.metrics, "/api/v1/workers/rack.one");
    assert_eq!(shown(&worker), one);
    let shares = &worker["shares"];
    assert_eq!(shares["refused_by"], serde_json::json!({ "duplicate_share": one.refused }));
    assert_eq!(shares["rejected_by"], serde_json::json!({ "low_difficulty": one.rejected }));
    let difficulty = worker["difficulty"].as_f64().unwrap();
    assert_eq!(shares["accepted_difficulty"].as_f64().unwrap(), difficulty * one.accepted as f64);
    assert_eq!((difficulty, worker["authorized"].as_bool()), (PoolConfig::default().difficulty, Some(true)));
    assert!(worker["response_ms"].as_f64().unwrap() > 0.0 && worker["last_share_seconds"].is_number());
    // No longer than the least age for which hashes are shared out, on the busiest machine: an order of magnitude.
    let hashes = difficulty * one.accepted as f64 * 4_294_967_296.0;
    let rate = worker["hashrate"]["1m"].as_f64().unwrap();
    assert!(rate > hashes / 600.0 && rate < hashes / 15.0, "{rate:e} of {hashes:e}");
    assert!(worker["pool"].is_string() && worker["agent"].is_string(), "{worker}");
}

fn check_questions(proxy: &Proxy) {
    let names = |question: &str| -> Vec<String> {
        let page = api(proxy.metrics, &format!("/api/v1/workers?{question}"));
        let items = page["items"].as_array().unwrap();
        items.iter().map(|worker| worker["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("search=RACK&limit=2"), ["rack.one", "rack.three"]);
    assert_eq!(names("search=RACK&limit=2&offset=2"), ["rack.two"]);
    assert_eq!(names("sort=hashrate_24h&limit=1"), ["rack.one"]);
    assert_eq!(names("sort=last_share&order=asc&limit=1"), ["silent/né"]);
    assert_eq!(names("silent_for=3600"), [""; 0]);
    let silent = api(proxy.metrics, "/api/v1/workers/silent%2Fn%C3%A9");
    assert_eq!(
        (silent["name"].as_str(), silent["shares"]["accepted"].as_u64()),
        (Some("silent/né"), Some(0))
    );
    for (path, status) in [
        ("workers/nobody", 404),
        ("workers?sort=colour", 400),
        ("workers?pool=nowhere", 400),
        ("workers?page=2", 400),
        ("workers/%ff", 400),
    ] {
        let answer = http(proxy.metrics, &format!("/api/v1/{path}")).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[test]
fn shares_that_a_pool_never_answered_are_those_of_their_workers() {
    let pool = PoolHandle::start(PoolConfig { answer_delay: PATIENCE, ..PoolConfig::default() }).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "2"]);
    let mut rigs: Vec<Rig> = (0..6).map(|_| Rig::new(proxy.address, &["rack.one", "rack.two"])).collect();
    for (number, rig) in rigs.iter_mut().enumerate() {
        let user = rig.users[usize::from(number < 2)];
        rig.miner.submit_for(&rig.work, user, "7", "00000007").unwrap();
    }
    until("the shares are at the pool", || pool.report().shares_received == 6);
    pool.kill_connections();
    // Not by their names: a worker is there once it has been told of.
    let unanswered = |name: &str| {
        let page = api(proxy.metrics, "/api/v1/workers");
        let items = page["items"].as_array().unwrap();
        let worker = items.iter().find(|worker| worker["name"] == name);
        worker.map_or(0, |worker| worker["shares"]["unanswered"].as_u64().unwrap())
    };
    until("all are told", || (unanswered("rack.one"), unanswered("rack.two")) == (4, 2));
    assert_eq!(proxy.metric("loka_stratum_shares_unanswered_total"), 6.0);
}
