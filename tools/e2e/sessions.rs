//! The connections of a worker through the real binary: three of them over two shards, one with TLS, each as its miner knows it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod farm;
mod support;

use farm::{Gate, Opening};
use loka_rig::{Authority, Greeting, Miner, PoolConfig, PoolHandle};
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{PATIENCE, Proxy, free_port, http, until};

const NAME: &str = "proxy.test";

/// What the API says of the connections of a worker.
fn sessions(address: SocketAddr, worker: &str) -> (u16, Value) {
    let answer = http(address, &format!("/api/v1/workers/{worker}/sessions")).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// The connection that comes from this address, which must be the only one.
fn from(page: &Value, address: &str) -> Value {
    let items = page["items"].as_array().unwrap();
    let own: Vec<_> = items.iter().filter(|item| item["address"] == address).collect();
    assert_eq!(own.len(), 1, "{address}: {page}");
    own[0].clone()
}

/// A miner and what it counts.
struct Rig {
    miner: Miner,
    work: Greeting,
    accepted: u64,
    rejected: u64,
}

impl Rig {
    fn start(mut miner: Miner, worker: &str) -> Rig {
        miner.set_read_timeout(PATIENCE).unwrap();
        let work = miner.handshake(worker).unwrap();
        Rig { miner, work, accepted: 0, rejected: 0 }
    }

    fn from(source: &str, proxy: &Proxy) -> Rig {
        let source: SocketAddr = format!("{source}:0").parse().unwrap();
        Rig::start(Miner::connect_from(source, proxy.address).unwrap(), "rack.one")
    }

    /// New shares, and the last of them once more.
    fn share(&mut self, count: usize) {
        for number in 0..=count {
            let nonce = format!("{:08x}", number.min(count - 1));
            self.miner.submit_for(&self.work, "rack.one", "7", &nonce).unwrap();
            let is_accepted = self.miner.answer_to("7").unwrap().contains("\"result\":true");
            self.accepted += u64::from(is_accepted);
            self.rejected += u64::from(number < count && !is_accepted);
        }
    }

    fn check(&self, told: &Value, is_tls: bool) {
        let shares = json!({ "accepted": self.accepted, "rejected": self.rejected, "refused": 1 });
        assert_eq!((&told["shares"], &told["tls"]), (&shares, &json!(is_tls)), "{told}");
        assert_eq!((&told["authorized"], &told["agent"]), (&json!(true), &json!("loka-rig/0.1")));
        assert_eq!(told["difficulty"].as_f64(), Some(self.work.difficulty));
        let seconds = |key: &str| told[key].as_f64().unwrap();
        assert!(seconds("last_share_seconds") <= seconds("connected_seconds"), "{told}");
        assert!(told["pool"].is_string(), "{told}");
    }
}

/// A proxy of two shards with a port for TLS.
fn start(pool: &PoolHandle, authority: &Authority) -> (Proxy, Gate, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let identity = authority.issue(&[NAME]).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = format!("server.tls.cert_file={}", file("miners.pem", &identity.certificate_pem));
    let key = format!("server.tls.key_file={}", file("miners.key", &identity.key_pem));
    let port = free_port();
    let tls = format!("server.tls.port={port}");
    let proxy =
        Proxy::start(pool.addr(), &["--shards", "2", "--set", &certificate, "--set", &key, "--set", &tls]);
    let opening = Opening { tls: Some((authority.client_config().unwrap(), NAME)), ..Opening::default() };
    let gate = Gate::start(([127, 0, 0, 1], port).into(), opening);
    (proxy, gate, folder)
}

#[test]
fn a_worker_on_three_connections_over_two_shards_is_told_whole() {
    let pool = PoolHandle::start(PoolConfig { reject_permille: 300, ..PoolConfig::default() }).unwrap();
    let authority = Authority::new().unwrap();
    let (proxy, gate, _folder) = start(&pool, &authority);
    let shard_of = |address: &str| from(&sessions(proxy.metrics, "rack.one").1, address)["shard"].clone();
    let mut one = Rig::from("127.0.0.2", &proxy);
    // The kernel chooses the shard: it is asked until it has chosen the other one.
    let mut two = Rig::from("127.0.0.3", &proxy);
    until("a connection at the other shard", || {
        let is_there = shard_of("127.0.0.2") != shard_of("127.0.0.3");
        if !is_there {
            drop(std::mem::replace(&mut two, Rig::from("127.0.0.4", &proxy)));
            until("the first has gone", || sessions(proxy.metrics, "rack.one").1["total"] == 2);
            drop(std::mem::replace(&mut two, Rig::from("127.0.0.3", &proxy)));
            until("the other has gone", || sessions(proxy.metrics, "rack.one").1["total"] == 2);
        }
        is_there
    });
    let mut three = Rig::start(Miner::connect(gate.address).unwrap(), "rack.one");
    let _other = Rig::start(Miner::connect(proxy.address).unwrap(), "rack.two");
    for (rig, shares) in [(&mut one, 10), (&mut two, 11), (&mut three, 12)] {
        rig.share(shares);
    }

    let (status, page) = sessions(proxy.metrics, "rack.one");
    assert_eq!((status, &page["total"], page["items"].as_array().unwrap().len()), (200, &json!(3), 3));
    for (rig, address, is_tls) in
        [(&one, "127.0.0.2", false), (&two, "127.0.0.3", false), (&three, "127.0.0.1", true)]
    {
        rig.check(&from(&page, address), is_tls);
    }
    assert_ne!(from(&page, "127.0.0.2")["shard"], from(&page, "127.0.0.3")["shard"]);
    // The same at the miners' port, in parts.
    assert_eq!(sessions(proxy.address, "rack.one").1["total"], 3);
    let sum: u64 = [&one, &two, &three].iter().map(|rig| rig.accepted).sum();
    until("the worker's figures are the sum of its connections", || {
        let answer = http(proxy.metrics, "/api/v1/workers/rack.one").unwrap();
        answer.contains(&format!("\"accepted\":{sum},"))
    });

    // Known, with nobody there; and not known.
    drop((one, two, three));
    until("all have gone", || {
        sessions(proxy.metrics, "rack.one") == (200, json!({"total": 0, "offset": 0, "items": []}))
    });
    assert_eq!(sessions(proxy.metrics, "rack.three").0, 404);
}
