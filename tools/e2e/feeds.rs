//! The live feeds as a test listens to them: server-sent events, and a WebSocket of a server that says long texts only.

use crate::support::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One feed, behind the head of its answer.
pub(crate) type Feed = BufReader<TcpStream>;

pub(crate) fn events(address: SocketAddr) -> Feed {
    listen(address, "/metrics/events", "")
}

pub(crate) fn frames(address: SocketAddr) -> Feed {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    listen(address, "/metrics/stream", upgrade)
}

fn listen(address: SocketAddr, path: &str, headers: &str) -> Feed {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    reader
}

/// The next snapshot of server-sent events.
pub(crate) fn next_event(feed: &mut Feed) -> Value {
    loop {
        let mut line = String::new();
        assert!(feed.read_line(&mut line).unwrap() > 0, "the feed ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// The next snapshot of a WebSocket.
pub(crate) fn next_frame(feed: &mut Feed) -> Value {
    let mut head = [0; 4];
    feed.read_exact(&mut head).unwrap();
    assert_eq!((head[0], head[1]), (0x81, 126), "a text of a server, of more than 125 bytes");
    let mut bytes = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    feed.read_exact(&mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The feed ends; what it says until then means nothing.
#[allow(dead_code, reason = "not every test waits for the end")]
pub(crate) fn until_end(feed: &mut Feed) {
    feed.read_to_end(&mut Vec::new()).unwrap();
}
