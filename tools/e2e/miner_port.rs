//! HTTP at the port of miners, as `curl localhost:3333/health` asks it of the real binary: what is answered there, to whom,
//! and what it costs the miners.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod feeds;
mod support;

use feeds::{next_event, next_frame, until_end};
use loka_rig::{Load, Miner, PoolConfig, PoolHandle, SwarmConfig};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use support::{PATIENCE, Proxy, http, raise_open_files, until};

const TOKEN: &str = "token-of-24-characters-x";
const CLOSE: &str = "Connection: close\r\n";

fn proxy(arguments: &[&str]) -> (PoolHandle, Proxy) {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let token = format!("api.token={TOKEN}");
    let arguments = [&["--shards", "2", "--set", &token], arguments].concat();
    let proxy = Proxy::start(pool.addr(), &arguments);
    (pool, proxy)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One answer of a connection that stays open: its status, its head in lower case, its body.
fn answer(reader: &mut impl BufRead) -> (u16, String, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the connection ended: {head}");
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, String::from_utf8(body).unwrap())
}

fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// The head and the body of the answer to one GET at the miners' port.
fn get(proxy: &Proxy, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = connect(proxy.address);
    stream.write_all(request(path, &format!("{CLOSE}{headers}")).as_bytes()).unwrap();
    answer(&mut BufReader::new(stream))
}

fn ended(proxy: &Proxy, reason: &str) -> f64 {
    proxy.labelled(&format!("loka_stratum_connections_ended_total{{reason=\"{reason}\"}}"))
}

#[test]
fn health_and_metrics_are_told_as_at_their_own_port_but_in_json_first() {
    let (_pool, proxy) = proxy(&[]);
    let (status, head, body) = get(&proxy, "/health", "");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["status"]), (200, &"healthy".into()));
    assert!(head.contains("content-type: application/json"), "{head}");
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.handshake("farm.rig").unwrap();
    until("the miner is told of", || proxy.metric("loka_stratum_active_connections") == 1.0);
    let (_, head, body) = get(&proxy, "/metrics", "");
    let figures: Value = serde_json::from_str(&body).unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(figures["connections"]["active"], 1, "who asks is no miner");
    let (_, head, body) = get(&proxy, "/metrics", "Accept: text/plain\r\n");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nloka_stratum_active_connections 1\n"), "{body}");
    assert!(http(proxy.metrics, "/metrics").unwrap().contains("\r\n\r\n# HELP"), "there text comes first");
    for (path, wanted) in
        [("/livez", 200), ("/readyz", 200), ("/api/v1/pools", 200), ("/", 200), ("/nothing", 404)]
    {
        assert_eq!(get(&proxy, path, "").0, wanted, "{path}");
    }
    until("all are counted, as no fault", || ended(&proxy, "http") == 8.0);
    assert_eq!(proxy.metric("loka_stratum_connection_errors_total"), 0.0);
    assert_eq!(proxy.metric("loka_stratum_blocked_addresses"), 0.0);
}

#[test]
fn requests_come_in_pieces_and_several_on_one_connection() {
    let (_pool, proxy) = proxy(&[]);
    let whole = request("/livez", "");
    for (before, cut) in [1, 3, 4, 20, whole.len() - 1].into_iter().enumerate() {
        let mut stream = connect(proxy.address);
        stream.write_all(&whole.as_bytes()[..cut]).unwrap();
        let wanted = before as f64 + 1.0;
        // Told of half a second later at most: by then the first piece has been read by itself.
        until("it is let in", || proxy.metric("loka_stratum_connections_total") == wanted);
        stream.write_all(&whole.as_bytes()[cut..]).unwrap();
        let mut reader = BufReader::new(stream);
        assert_eq!(answer(&mut reader).2, "ok\n");
        // It stays, and answers again.
        reader.get_mut().write_all(request("/readyz", "").as_bytes()).unwrap();
        assert_eq!(answer(&mut reader).2, "ok\n");
    }
    let mut stream = connect(proxy.address);
    let all = format!("{whole}{}{}", request("/health", ""), request("/metrics", CLOSE));
    stream.write_all(all.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(answer(&mut reader).2, "ok\n");
    assert!(answer(&mut reader).2.contains("\"status\""));
    assert!(answer(&mut reader).2.contains("\"connections\""));
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    // A head that is larger than a read of a shard, and one that is larger than any may be.
    let long = format!("X-Long: {}\r\n{CLOSE}", "x".repeat(8_000));
    assert_eq!(get(&proxy, "/livez", &long).0, 200);
    let mut stream = connect(proxy.address);
    let _ = stream.write_all(request("/livez", &format!("X-Long: {}\r\n", "x".repeat(1 << 20))).as_bytes());
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&told));
}

#[test]
fn actions_need_what_they_need_elsewhere() {
    let (_pool, proxy) = proxy(&[]);
    let post = |headers: &str| {
        let body = r#"{"address":"127.0.8.2"}"#;
        let mut stream = connect(proxy.address);
        write!(
            stream,
            "POST /api/v1/kick HTTP/1.1\r\n{CLOSE}Content-Type: application/json\r\nContent-Length: {}\r\n\
             {headers}\r\n{body}",
            body.len()
        )
        .unwrap();
        answer(&mut BufReader::new(stream)).0
    };
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(post("Host: localhost\r\n"), 401);
    assert_eq!(post("Host: localhost\r\nAuthorization: Bearer no\r\n"), 401);
    assert_eq!(post(&format!("Host: evil.example\r\n{bearer}")), 403);
    assert_eq!(post(&format!("Host: localhost\r\nOrigin: http://evil.example\r\n{bearer}")), 403);
    let source = "127.0.8.2:0".parse().unwrap();
    let mut miner = Miner::connect_from(source, proxy.address).unwrap();
    miner.handshake("farm.rig").unwrap();
    assert_eq!(post(&format!("Host: {}\r\n{bearer}", proxy.address)), 200);
    miner.read_to_end().unwrap();
    until("it is counted", || ended(&proxy, "kicked") == 1.0);
}

#[test]
fn feeds_go_on_after_the_shard_has_let_go() {
    let (_pool, proxy) = proxy(&[]);
    let (mut events, mut frames) = (feeds::events(proxy.address), feeds::frames(proxy.address));
    let _miner = Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    until("both tell of what came later", || {
        let told = [next_event(&mut events), next_frame(&mut frames)];
        told.iter().all(|told| told["connections"]["ended"]["http"] == 2)
    });
    proxy.terminate();
    until_end(&mut events);
    until_end(&mut frames);
}

#[test]
fn others_are_scanners_there_and_may_be_let_in_by_the_configuration() {
    let scan = |proxy: &Proxy, source: &str| {
        let mut scanner = Miner::connect_from(source.parse().unwrap(), proxy.address).unwrap();
        scanner.send_bytes(request("/health", CLOSE).as_bytes()).unwrap();
        scanner.read_to_end().unwrap().join("\n")
    };
    let (_pool, proxy) = proxy(&["--set", "metrics.miner_port_from=127.0.0.1"]);
    assert_eq!(scan(&proxy, "127.0.0.2:0"), "", "nothing is said to him");
    assert!(scan(&proxy, "127.0.0.1:0").starts_with("HTTP/1.1 200"));
    until("each is what he is", || (ended(&proxy, "not_stratum"), ended(&proxy, "http")) == (1.0, 1.0));
    assert_eq!(proxy.metric("loka_stratum_connection_errors_total"), 1.0);
    drop(proxy);
    let (_pool, proxy) = self::proxy(&["--set", "metrics.miner_port_from=127.0.0.2"]);
    assert!(scan(&proxy, "127.0.0.2:0").starts_with("HTTP/1.1 200"));
    assert_eq!(scan(&proxy, "127.0.0.1:0"), "");
    drop(proxy);
    let (_pool, proxy) = self::proxy(&["--set", "metrics.miner_port_from="]);
    assert_eq!(scan(&proxy, "127.0.0.1:0"), "");
}

#[test]
fn without_a_port_of_its_own_it_is_still_told_there() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], support::free_port()));
    let mut command = support::program();
    command.args(["--listen", &address.to_string(), "--pool", &pool.addr().to_string(), "--shards", "1"]);
    command.args(["--set", "metrics.enable_prometheus=false", "--log-level", "warn"]);
    let proxy = Proxy::ready(&mut command, address, address);
    assert_eq!(get(&proxy, "/health", "").0, 200);
    let answer = http(address, "/metrics").unwrap();
    assert!(answer.contains("application/json"), "{answer}");
}

#[test]
fn a_thousand_at_once_cost_miners_nothing() {
    const ASKERS: usize = 1_000;
    raise_open_files();
    let (pool, proxy) = proxy(&[]);
    let swarm = SwarmConfig {
        target: proxy.address,
        connections: 300,
        load: Load::ClosedLoop { in_flight: 2 },
        duration: PATIENCE,
        answers_target: Some(30_000),
        ..SwarmConfig::default()
    };
    let (address, stop) = (proxy.address, AtomicBool::new(false));
    let (report, answered) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut askers: Vec<TcpStream> = (0..ASKERS).map(|_| connect(address)).collect();
            for asker in &mut askers {
                let _ = asker.write_all(request("/metrics", CLOSE).as_bytes());
            }
            let answered = askers.iter_mut().filter_map(|asker| {
                let mut answer = Vec::new();
                let _ = asker.read_to_end(&mut answer);
                // An answer that begins comes to its end.
                (!answer.is_empty()).then(|| assert!(answer.ends_with(b"}")))
            });
            answered.count()
        });
        let report = loka_rig::run(&swarm, &stop, &mut |_| {}).unwrap();
        (report, asking.join().unwrap())
    });
    let counts = report.shares;
    assert_eq!((counts.sent, counts.lost, counts.duplicate_answers, counts.mismatched), (30_000, 0, 0, 0));
    until("all are counted", || ended(&proxy, "http") + ended(&proxy, "http_busy") == ASKERS as f64);
    assert_eq!(ended(&proxy, "http"), answered as f64, "who is taken is answered");
    assert!(answered >= loka_runtime::limits::GUESTS_MAX, "{answered}");
    assert_eq!(proxy.metric("loka_stratum_shares_unanswered_total"), 0.0);
    assert_eq!(pool.report().shares_received, 30_000);
    until("none is left", || proxy.metric("loka_stratum_active_connections") == 0.0);
}

#[test]
fn who_was_taken_before_a_drain_is_answered_in_it() {
    let config = PoolConfig { answer_delay: Duration::from_secs(2), ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "1"]);
    let mut reader = BufReader::new(connect(proxy.address));
    let mut ask = |path: &str| {
        reader.get_mut().write_all(request(path, "").as_bytes()).unwrap();
        let (status, _, body) = answer(&mut reader);
        (status, body)
    };
    assert_eq!(ask("/readyz"), (200, "ok\n".to_owned()));
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    // Until its answer comes the drain is not done.
    miner.submit_for(&work, "farm.rig", "5", "00000001").unwrap();
    until("the share is at the pool", || pool.report().shares_received == 1);
    proxy.terminate();
    until("the drain is told", || ask("/readyz") == (503, "draining\n".to_owned()));
    assert!(ask("/health").1.contains("\"draining\""));
    until("nobody else comes in", || TcpStream::connect(proxy.address).is_err());
    assert!(miner.answer_to("5").unwrap().contains("true"));
    assert!(proxy.wait().success());
}
