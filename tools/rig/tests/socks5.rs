//! The SOCKS5 stub, byte by byte, as a client sees it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{PATIENCE, wait_for};
use loka_rig::{
    PoolConfig, PoolHandle, Socks5Config, Socks5Destination, Socks5Manners, Socks5Request, Socks5Stub,
};

/// How long a test watches that something does not come.
const WATCH: Duration = Duration::from_millis(100);
const LOGIN: &[u8] = b"\x01\x04farm\x03key";

fn stub(change: impl FnOnce(&mut Socks5Config)) -> Socks5Stub {
    let mut config = Socks5Config::default();
    change(&mut config);
    Socks5Stub::start(config).unwrap()
}

fn connect(stub: &Socks5Stub) -> TcpStream {
    let stream = TcpStream::connect_timeout(&stub.addr(), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends, and expects exactly this back.
fn say(stream: &mut TcpStream, bytes: &[u8], expected: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected);
}

fn request_v4(addr: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = addr.ip() else { panic!("{addr}") };
    [&[5, 1, 0, 1][..], &ip.octets(), &addr.port().to_be_bytes()].concat()
}

fn request_name(name: &str, port: u16) -> Vec<u8> {
    [&[5, 1, 0, 3, name.len() as u8][..], name.as_bytes(), &port.to_be_bytes()].concat()
}

/// Sends a request and returns the code of its answer.
fn ask(stream: &mut TcpStream, request: &[u8]) -> u8 {
    stream.write_all(request).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    assert_eq!((head[0], head[2]), (5, 0));
    let rest = if head[3] == 4 { 18 } else { 6 };
    stream.read_exact(&mut vec![0; rest]).unwrap();
    head[1]
}

fn assert_pool_answers(stream: &mut TcpStream) {
    stream.write_all(b"{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}\n").unwrap();
    let expected = b"{\"id\":1,\"result\":\"pong\",\"error\":null}\n";
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected);
}

fn assert_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn an_address_and_a_name_are_connected_to() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let port = pool.addr().port();
    let stub = stub(|config| {
        config.names = BTreeMap::from([("Pool.test".to_owned(), IpAddr::from(Ipv4Addr::LOCALHOST))]);
    });
    for request in [request_v4(pool.addr()), request_name("pool.TEST", port)] {
        let mut client = connect(&stub);
        say(&mut client, &[5, 2, 0, 2], &[5, 0]);
        assert_eq!(ask(&mut client, &request), 0);
        assert_pool_answers(&mut client);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_end(&mut client);
    }
    wait_for(|| stub.report(), |report| report.active == 0);
    let report = stub.stop();
    assert_eq!((report.connections, report.connected, report.malformed), (2, 2, 0));
    let destinations: Vec<Socks5Destination> =
        report.requests.into_iter().map(|request| request.destination).collect();
    assert_eq!(
        destinations,
        [Socks5Destination::Address(pool.addr()), Socks5Destination::Name("pool.TEST".to_owned(), port)]
    );
}

#[test]
fn an_ipv6_address_is_understood_whether_or_not_the_host_has_one() {
    let stub = stub(|_| {});
    let addr = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));
    let mut client = connect(&stub);
    say(&mut client, &[5, 1, 0], &[5, 0]);
    let request = [&[5, 1, 0, 4][..], &Ipv6Addr::LOCALHOST.octets(), &1_u16.to_be_bytes()].concat();
    assert_ne!(ask(&mut client, &request), 0, "nobody listens on port 1");
    assert_eq!(stub.stop().requests[0].destination, Socks5Destination::Address(addr));
}

#[test]
fn a_login_is_asked_for_and_checked() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let stub = stub(|config| config.login = Some(("farm".to_owned(), "key".to_owned())));
    let mut client = connect(&stub);
    say(&mut client, &[5, 2, 0, 2], &[5, 2]);
    say(&mut client, LOGIN, &[1, 0]);
    assert_eq!(ask(&mut client, &request_v4(pool.addr())), 0);
    assert_pool_answers(&mut client);

    let mut wrong = connect(&stub);
    say(&mut wrong, &[5, 1, 2], &[5, 2]);
    say(&mut wrong, b"\x01\x04farm\x03kee", &[1, 1]);
    assert_end(&mut wrong);
    let mut open = connect(&stub);
    say(&mut open, &[5, 1, 0], &[5, 0xff]);
    assert_end(&mut open);
    let report = stub.stop();
    assert_eq!((report.logins_refused, report.connected), (2, 1));
    let asked =
        Socks5Request { destination: Socks5Destination::Address(pool.addr()), user: Some("farm".to_owned()) };
    assert_eq!(report.requests, [asked]);
    assert_end(&mut client);
}

#[test]
fn refusals_carry_their_code() {
    let stub = stub(|_| {});
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let refused = |manners, request: &[u8]| {
        stub.set(manners);
        let mut client = connect(&stub);
        say(&mut client, &[5, 1, 0], &[5, 0]);
        let code = ask(&mut client, request);
        assert_end(&mut client);
        code
    };
    for code in [1, 2, 6, 0x5b] {
        assert_eq!(refused(Socks5Manners::Refuse(code), &request_v4(nobody)), code);
    }
    assert_eq!(refused(Socks5Manners::Refuse(0), &request_v4(nobody)), 1, "a refusal is never a success");
    assert_eq!(refused(Socks5Manners::Serve, &request_v4(nobody)), 5);
    assert_eq!(refused(Socks5Manners::Serve, &request_name("unknown.test", 3333)), 4);
    let bind = [&[5, 2][..], &request_v4(nobody)[2..]].concat();
    assert_eq!(refused(Socks5Manners::Serve, &bind), 7);
    assert_eq!(refused(Socks5Manners::Serve, &[5, 1, 0, 9]), 8);
    stub.set(Socks5Manners::NoMethod);
    let mut client = connect(&stub);
    say(&mut client, &[5, 1, 0], &[5, 0xff]);
    assert_end(&mut client);
    assert_eq!(stub.stop().connected, 0);
}

#[test]
fn stalls_last_until_the_client_leaves() {
    let stub = stub(|config| config.manners = Socks5Manners::StallAfterGreeting);
    let assert_quiet = |client: &mut TcpStream| {
        client.set_read_timeout(Some(WATCH)).unwrap();
        let error = client.read(&mut [0; 16]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    };
    let mut greeted = connect(&stub);
    greeted.write_all(&[5, 1, 0]).unwrap();
    assert_quiet(&mut greeted);
    stub.set(Socks5Manners::StallAfterRequest);
    let mut asked = connect(&stub);
    say(&mut asked, &[5, 1, 0], &[5, 0]);
    asked.write_all(&request_name("pool.test", 3333)).unwrap();
    assert_quiet(&mut asked);
    assert_eq!((stub.report().active, stub.report().requests.len()), (2, 1));
    drop(greeted);
    wait_for(|| stub.report(), |report| report.active == 1);
    // The other one is ended by the stub's own end, which waits for nobody.
    assert_eq!(stub.stop().malformed, 0);
    asked.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_end(&mut asked);
}

#[test]
fn what_is_no_socks5_is_counted_and_closed() {
    let stub = stub(|_| {});
    for bytes in [&b"\x04\x01\x0d\x05\x7f\x00\x00\x01\x00"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x05"] {
        let mut client = connect(&stub);
        client.write_all(bytes).unwrap();
        // It may have been closed already, for its first byte.
        let _ = client.shutdown(std::net::Shutdown::Write);
        // Bytes that were not read make the end a reset.
        match client.read(&mut [0; 16]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    wait_for(|| stub.report(), |report| report.malformed == 3 && report.active == 0);
}
