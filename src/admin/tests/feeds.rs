//! The live feeds over real sockets.

use super::*;
use crate::admin::live::LISTENERS_MAX;
use std::io::{BufRead, BufReader};

const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Site {
    /// A request that gets its answer bit by bit.
    fn listen(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        BufReader::new(stream)
    }
}

fn head(reader: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "it ended: {head}");
    }
    head
}

fn next_event(reader: &mut BufReader<TcpStream>) -> serde_json::Value {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// A text frame of a server: not masked.
fn next_frame(reader: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut start = [0; 2];
    reader.read_exact(&mut start).unwrap();
    let mut length = u64::from(start[1]);
    if length == 126 {
        let mut long = [0; 2];
        reader.read_exact(&mut long).unwrap();
        length = u64::from(u16::from_be_bytes(long));
    } else if length == 127 {
        let mut long = [0; 8];
        reader.read_exact(&mut long).unwrap();
        length = u64::from_be_bytes(long);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn both_feeds_tell_what_metrics_tell() {
    let site = site();
    site.ready();
    let (_, _, body) = site.get("/metrics", "Accept: application/json\r\n");
    let figures: serde_json::Value = serde_json::from_str(&body).unwrap();
    let mut events = site.listen("/metrics/events", "");
    let told = head(&mut events).to_lowercase();
    assert!(told.starts_with("http/1.1 200") && told.contains("text/event-stream"), "{told}");
    let mut stream = site.listen("/metrics/stream", HANDSHAKE);
    let told = head(&mut stream);
    assert!(told.starts_with("HTTP/1.1 101"), "{told}");
    // The first comes at once, the second a second later.
    for _ in 0..2 {
        let event = next_event(&mut events);
        let frame: serde_json::Value = serde_json::from_slice(&next_frame(&mut stream)).unwrap();
        for key in ["connections", "messages", "shares"] {
            assert_eq!((&event[key], &frame[key]), (&figures[key], &figures[key]), "{key}");
        }
        assert_eq!((&event["pools"][0]["name"], &frame["events"]), (&"pool".into(), &serde_json::json!([])));
    }
}

#[test]
fn feeds_are_refused_to_other_sites_and_end_with_the_server() {
    let site = site();
    for path in ["/metrics/events", "/metrics/stream"] {
        let foreign = format!("{HANDSHAKE}Origin: http://evil.example\r\n");
        assert!(head(&mut site.listen(path, &foreign)).starts_with("HTTP/1.1 403"), "{path}");
    }
    assert!(head(&mut site.listen("/metrics/stream", "")).starts_with("HTTP/1.1 400"));
    let mut events = site.listen("/metrics/events", "");
    head(&mut events);
    next_event(&mut events);
    let mut stream = site.listen("/metrics/stream", HANDSHAKE);
    head(&mut stream);
    site.admin.stop();
    let mut rest = Vec::new();
    let _ = events.read_to_end(&mut rest);
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn a_thousand_listeners_that_never_read_do_not_harm_the_others() {
    let site = site();
    site.ready();
    let mut held = Vec::new();
    for _ in 0..1_000 {
        // More than the kernel's queue holds would wait for ever where nobody accepts.
        held.push(site.listen("/metrics/events", ""));
    }
    let mut accepted = 0;
    for listener in &mut held {
        let told = head(listener);
        accepted += usize::from(told.starts_with("HTTP/1.1 200"));
        assert!(told.starts_with("HTTP/1.1 200") || told.starts_with("HTTP/1.1 503"), "{told}");
    }
    assert_eq!(accepted, LISTENERS_MAX);
    assert_eq!(site.get("/metrics", "").0, 200);
    // Places come back when listeners leave.
    held.clear();
    let deadline = Instant::now() + PATIENCE;
    while !head(&mut site.listen("/metrics/events", "")).starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline);
    }
}
