//! The server over real sockets; the API in `api`, the page in `dashboard`, the feeds in `feeds`.

mod api;
mod dashboard;
mod feeds;

use super::server::{CONNECTIONS_MAX, HEAD_BYTES_MAX};
use super::*;
use crate::aggregate::tests::{Post, fixed, report, running, wait_for};
use crate::aggregate::{AggregatorHandle, Snapshot};
use api::controls;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Without a token, so that nothing can be changed.
fn open(addr: SocketAddr, snapshots: SnapshotReader) -> Result<AdminHandle, AdminError> {
    start(Some(addr), None, None, snapshots, controls("").0)
}

struct Site {
    post: Post,
    aggregator: AggregatorHandle,
    admin: AdminHandle,
}

fn site() -> Site {
    let (post, aggregator) = running(1);
    let admin = open(([127, 0, 0, 1], 0).into(), aggregator.snapshots()).unwrap();
    Site { post, aggregator, admin }
}

impl Site {
    fn ready(&self) {
        self.post.send(report(0));
        wait_for(self.aggregator.snapshots(), Snapshot::is_ready);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin.addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Status, head in lower case, body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{headers}\r\n"))
    }
}

#[test]
fn metrics_come_in_the_form_that_is_asked_for() {
    let site = site();
    site.ready();
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n", "Accept: text/html,*/*;q=0.8\r\n"] {
        let (status, head, body) = site.get("/metrics", accept);
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{accept}: {head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert!(body.contains("\nloka_stratum_active_connections 7\n"), "{body}");
        assert!(!body.contains("worker=\""), "names only for who asks");
    }
    for accept in ["Accept: application/json\r\n", "Accept: text/html\r\nAccept: application/json\r\n"] {
        let (status, head, body) = site.get("/metrics", accept);
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/json"), "{head}");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["connections"]["active"], 7);
    }
}

#[test]
fn probes_follow_the_state() {
    let site = site();
    assert_eq!(site.get("/livez", "").0, 200);
    let (status, _, body) = site.get("/readyz", "");
    assert_eq!((status, body.starts_with("starting")), (503, true));
    site.ready();
    assert_eq!(site.get("/readyz", "").0, 200);
    let (status, _, body) = site.get("/health", "");
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, health["status"].as_str()), (200, Some("healthy")));
    assert_eq!(health["services"]["shards"], "up");
    site.aggregator.set_draining();
    wait_for(site.aggregator.snapshots(), |now| now.draining);
    assert_eq!((site.get("/readyz", "").0, site.get("/livez", "").0), (503, 200));
    assert!(site.get("/health", "").2.contains("\"draining\""));
}

#[test]
fn a_hanging_aggregator_is_not_live() {
    let (post, aggregator) = running(1);
    let mut old = Snapshot::clone(&aggregator.snapshots().latest());
    old.taken = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    let admin = open(([127, 0, 0, 1], 0).into(), fixed(old)).unwrap();
    let site = Site { post, aggregator, admin };
    let (status, _, body) = site.get("/livez", "");
    assert_eq!((status, body.contains("aggregator hangs")), (503, true));
    assert!(site.get("/health", "").2.contains("\"metrics\":\"stalled\""));
}

#[test]
fn the_index_names_the_routes() {
    let site = site();
    let (status, _, body) = site.get("/", "");
    assert_eq!(status, 200);
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert!(body.contains(path));
        assert_eq!(site.ask(&format!("HEAD {path} HTTP/1.0\r\n\r\n")).2, "", "HEAD has no body");
    }
}

#[test]
fn wrong_requests_get_json_errors() {
    let site = site();
    let (status, _, body) = site.get("/nothing", "");
    assert_eq!((status, body.as_str()), (404, r#"{"error":"Not Found","status":404}"#));
    let (status, head, body) = site.ask("POST /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    assert_eq!((status, body.as_str()), (405, r#"{"error":"Method Not Allowed","status":405}"#));
    assert!(head.contains("allow: get,head"), "{head}");
    let with_body =
        "POST /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(site.ask(with_body).0, 413);
    let chunked = "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(site.ask(chunked).0, 413);
    assert_eq!(site.ask("nonsense\r\n\r\n").0, 400);
    // A miner at the wrong port.
    assert_eq!(site.ask("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\r\n\r\n").0, 400);
}

#[test]
fn heads_are_bounded() {
    let site = site();
    let many = "X-Many: 1\r\n".repeat(200);
    assert_eq!(site.get("/metrics", &many).0, 431);
    let mut stream = site.connect();
    let long = format!("GET / HTTP/1.1\r\nHost: here\r\nX-Long: {}", "a".repeat(HEAD_BYTES_MAX));
    stream.write_all(long.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // The server may reset the connection while it still has bytes of ours; what counts is that it ends.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_connection_serves_many_requests() {
    let site = site();
    site.ready();
    let mut stream = site.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\nok\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn connections_beyond_the_bound_wait_for_a_place() {
    let site = site();
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| site.connect()).collect();
    let mut late = site.connect();
    late.write_all(b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(late.read(&mut [0]).is_err(), "no answer while all places are taken");
    held.pop();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn a_port_in_use_is_named() {
    let site = site();
    let again = open(site.admin.addr().unwrap(), site.aggregator.snapshots());
    let Err(error @ AdminError::Bind { .. }) = again else { panic!("the port is in use") };
    let text = error.to_string();
    assert!(text.contains(&site.admin.addr().unwrap().to_string()) && text.contains("in use"), "{text}");
}

#[test]
fn stopping_waits_for_nobody_and_frees_the_port() {
    let site = site();
    let mut idle = site.connect();
    let mut half = site.connect();
    half.write_all(b"GET / HT").unwrap();
    let addr = site.admin.addr().unwrap();
    let begin = Instant::now();
    site.admin.stop();
    assert!(begin.elapsed() < PATIENCE);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens");
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
    open(addr, site.aggregator.snapshots()).unwrap().stop();
}

#[test]
fn ipv6_works() {
    let (_post, aggregator) = running(1);
    let admin = open("[::1]:0".parse().unwrap(), aggregator.snapshots()).unwrap();
    let mut stream = TcpStream::connect(admin.addr().unwrap()).unwrap();
    stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"));
}
