//! Against the simulated pool with good and bad manners, plain, behind TLS and behind a SOCKS5 proxy.

use super::*;
use crate::config::{Host, Secret};
use crate::pools::findings::ExtranonceSubscription;
use crate::pools::target::{Socks5, TlsTarget};
use crate::pools::tls;
use loka_rig::{Misbehaviour, PoolConfig, PoolHandle};
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};

/// Steps that are meant to be waited for in vain are this long.
const SHORT: Duration = Duration::from_millis(300);

fn pool(misbehaviour: Misbehaviour) -> PoolHandle {
    PoolHandle::start(PoolConfig { misbehaviour, ..PoolConfig::default() }).unwrap()
}

fn target(address: SocketAddr) -> Target {
    Target {
        name: "rig".to_owned(),
        host: Host::Ip(address.ip()),
        port: address.port(),
        tls: None,
        proxy: None,
        account: Some(("farm".to_owned(), Secret::new("x"))),
        extranonce: true,
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn shake_one(target: &Target, address: SocketAddr, limits: Timeouts) -> Findings {
    run(shake(target, &[address], limits))
}

fn problem_of(misbehaviour: Misbehaviour) -> Problem {
    let pool = pool(misbehaviour);
    let limits = Timeouts { subscribe: SHORT, job: SHORT, ..Timeouts::default() };
    shake_one(&target(pool.addr()), pool.addr(), limits).problem.unwrap()
}

/// A pool that sends these bytes whatever it hears, and closes.
fn scripted(text: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(text).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // A reset, for unread bytes, would take back what was sent.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address
}

fn problem_of_script(text: &'static [u8]) -> Problem {
    let address = scripted(text);
    shake_one(&target(address), address, Timeouts::default()).problem.unwrap()
}

#[test]
fn a_good_pool_tells_all_there_is_to_know() {
    let pool = pool(Misbehaviour::None);
    let found = shake_one(&target(pool.addr()), pool.addr(), Timeouts::default());
    assert_eq!(found.problem, None);
    assert_eq!((found.address, found.authorized), (Some(pool.addr()), Some(true)));
    assert_eq!((found.extranonce1_bytes, found.extranonce2_size), (Some(4), Some(8)));
    assert_eq!((found.version_mask, found.difficulty), (Some(0x1fff_e000), Some(1024.0)));
    assert_eq!(found.extranonce_subscription, Some(ExtranonceSubscription::Answered(true)));
    assert!(found.time_to_subscribe.unwrap() <= found.time_to_first_job.unwrap());
    assert!(found.prev_hash.is_some_and(|hash| hash.len() == 64));
    let report = pool.stop();
    assert_eq!((report.users, report.shares_received), (vec!["farm".to_owned()], 0));
}

#[test]
fn manners_that_miners_can_live_with_are_no_problem() {
    for manners in [
        Misbehaviour::NoConfigureAnswer,
        Misbehaviour::DifficultyBeforeSubscribeAnswer,
        Misbehaviour::JobBeforeAuthorizeAnswer,
        Misbehaviour::DribbleBytes,
    ] {
        let pool = pool(manners);
        let found = shake_one(&target(pool.addr()), pool.addr(), Timeouts::default());
        assert!(found.is_good(true), "{manners:?}: {found:?}");
        assert_eq!(found.version_mask.is_none(), manners == Misbehaviour::NoConfigureAnswer);
    }
}

#[test]
fn what_a_pool_does_with_the_extranonce_is_no_problem_but_told() {
    for (manners, expected) in [
        (Misbehaviour::RejectExtranonceSubscribe, ExtranonceSubscription::Answered(false)),
        (Misbehaviour::SilentExtranonceSubscribe, ExtranonceSubscription::Silent),
        (Misbehaviour::CloseOnExtranonceSubscribe, ExtranonceSubscription::Closed),
    ] {
        let pool = pool(manners);
        let limits = Timeouts { extranonce: SHORT, ..Timeouts::default() };
        let found = shake_one(&target(pool.addr()), pool.addr(), limits);
        assert_eq!(found.extranonce_subscription, Some(expected));
        assert!(found.is_good(true), "{found:?}");
    }
    let pool = pool(Misbehaviour::CloseOnExtranonceSubscribe);
    let target = Target { extranonce: false, ..target(pool.addr()) };
    let found = shake_one(&target, pool.addr(), Timeouts::default());
    assert_eq!((found.extranonce_subscription, pool.stop().extranonce_subscribes), (None, 0));
}

#[test]
fn without_an_account_nobody_is_authorized_and_a_subscription_is_enough() {
    let pool = pool(Misbehaviour::None);
    let target = Target { account: None, ..target(pool.addr()) };
    let found = shake_one(&target, pool.addr(), Timeouts { unasked: SHORT, ..Timeouts::default() });
    assert!(found.is_good(false) && found.authorized.is_none(), "{found:?}");
    assert_eq!(pool.stop().authorizes, 0);
}

#[test]
fn every_bad_pool_has_its_problem() {
    assert_eq!(problem_of(Misbehaviour::AcceptAndSilent), Problem::NoSubscribeAnswer);
    assert_eq!(problem_of(Misbehaviour::NeverReads), Problem::NoSubscribeAnswer);
    assert_eq!(problem_of(Misbehaviour::NoSubscribeAnswer), Problem::NoSubscribeAnswer);
    assert_eq!(problem_of(Misbehaviour::ServerFull), Problem::SubscribeRefused("Server full".to_owned()));
    let unauthorized = Problem::Unauthorized("Unauthorized worker".to_owned());
    assert_eq!(problem_of(Misbehaviour::RejectAuthorize), unauthorized);
    assert!(matches!(problem_of(Misbehaviour::CloseOnAccept), Problem::Closed(_)));
    assert!(
        matches!(problem_of(Misbehaviour::GarbageLine), Problem::Garbage(text) if text.contains("<html>"))
    );
    assert!(
        matches!(problem_of(Misbehaviour::EndlessLine), Problem::Garbage(text) if text.contains("65536"))
    );
}

#[test]
fn answers_that_are_no_use_are_told() {
    let bad = |text| {
        let problem = problem_of_script(text);
        assert_eq!(problem.label(), "bad_subscribe", "{problem:?}");
        problem.to_string()
    };
    assert!(bad(b"{\"id\":2,\"result\":true,\"error\":null}\n").contains("no extranonce1"));
    assert!(bad(b"{\"id\":2,\"result\":[[],\"abc\",4],\"error\":null}\n").contains("no hex text"));
    assert!(bad(b"{\"id\":\"2\",\"result\":[[],\"abcd\"],\"error\":null}\n").contains("size"));
    assert!(bad(b"{\"id\":2,\"result\":[[],\"abcd\",17],\"error\":null}\n").contains("1 to 16"));
    assert!(bad(b"{\"id\":2,\"result\":[[],\"abcd\",-1],\"error\":null}\n").contains("1 to 16"));
    let refused = |text, expected: &str| {
        assert_eq!(problem_of_script(text), Problem::SubscribeRefused(expected.to_owned()));
    };
    refused(b"{\"id\":2,\"result\":null,\"error\":{\"code\":1,\"message\":\"no \\u001b[0m\"}}\n", "no ?[0m");
    refused(b"{\"id\":2,\"result\":false,\"error\":null,\"reject-reason\":\"why\"}\n", "why");
    refused(b"{\"id\":2,\"result\":null,\"error\":\"go\"}\n", "go");
    let garbage = |text, expected: &str| {
        let problem = problem_of_script(text);
        assert!(problem.label() == "garbage" && problem.to_string().contains(expected), "{problem:?}");
    };
    garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP");
    garbage(b"\x15\x03\x03\x00\x02\x02\x46", "TLS");
    garbage(b"[1,2,3]\n", "[1,2,3]");
}

#[test]
fn the_first_address_that_answers_wins() {
    let pool = pool(Misbehaviour::None);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = run(shake(&target(pool.addr()), &[dead, pool.addr()], Timeouts::default()));
    assert_eq!(found.address, Some(pool.addr()));
    // Nothing answers a connection for which there is no room in the queue of who listens.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let black_hole = full.local_addr().unwrap();
    let within = Duration::from_millis(100);
    let mut in_queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&black_hole, within) {
        in_queue.push(stream);
    }
    let found = run(shake(&target(pool.addr()), &[black_hole, pool.addr()], Timeouts::default()));
    assert_eq!(found.address, Some(pool.addr()));
    let limits = Timeouts { connect: SHORT, ..Timeouts::default() };
    assert_eq!(shake_one(&target(black_hole), black_hole, limits).problem, Some(Problem::ConnectTimeout));
    assert_eq!(shake_one(&target(dead), dead, Timeouts::default()).problem, Some(Problem::ConnectionRefused));
    let nowhere = run(shake(&target(dead), &[], Timeouts::default()));
    assert!(matches!(nowhere.problem, Some(Problem::Unreachable(_))));
}

#[test]
fn the_whole_has_an_end_however_long_the_steps_may_be() {
    let pool = pool(Misbehaviour::AcceptAndSilent);
    let long = Duration::from_secs(3600);
    let limits = Timeouts { subscribe: long, job: long, total: SHORT, ..Timeouts::default() };
    assert_eq!(
        shake_one(&target(pool.addr()), pool.addr(), limits).problem,
        Some(Problem::NoSubscribeAnswer)
    );
}

/// Puts TLS in front of a pool, for one connection.
async fn tls_before(pool: SocketAddr, directory: &std::path::Path) -> SocketAddr {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["pool.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (chain, secret) = (directory.join("pool.pem"), directory.join("pool.key"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(tls::server_config(&chain, &secret, false).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // Who speaks no TLS gets an alert, and an end.
        let Ok(mut miner) = acceptor.accept(stream).await else { return };
        let mut pool = tokio::net::TcpStream::connect(pool).await.unwrap();
        let _ = copy_bidirectional(&mut miner, &mut pool).await;
    });
    address
}

fn with_tls(target: Target, ca_file: &std::path::Path) -> Target {
    let config = tls::client_config(Some(ca_file), &[], false).unwrap();
    let server_name = ServerName::try_from("pool.example").unwrap();
    Target { tls: Some(TlsTarget { config, server_name, is_name_given: true }), ..target }
}

#[test]
fn a_pool_behind_tls_tells_what_was_agreed_on() {
    let (pool, directory) = (pool(Misbehaviour::None), tempfile::tempdir().unwrap());
    run(async {
        let address = tls_before(pool.addr(), directory.path()).await;
        let good = with_tls(target(address), &directory.path().join("pool.pem"));
        let found = shake(&good, &[address], Timeouts::default()).await;
        assert!(found.is_good(true), "{found:?}");
        let facts = found.tls.unwrap();
        assert_eq!(facts.version, "TLS 1.3");
        assert!(facts.cipher.contains("TLS13") && facts.expires > 0 && facts.pin != [0; 32], "{facts:?}");
        // The certificate has been made anew: the one in the file of before is another one.
        let before = tls_before(pool.addr(), directory.path()).await;
        let found = shake(&good, &[before], Timeouts::default()).await;
        assert!(matches!(found.problem, Some(Problem::Tls { text, .. }) if text.contains("self-signed")));
        let address = tls_before(pool.addr(), directory.path()).await;
        let problem = shake(&target(address), &[address], Timeouts::default()).await.problem;
        assert!(matches!(&problem, Some(Problem::Garbage(text)) if text.contains("TLS")), "{problem:?}");
        let to_plain = shake(&good, &[pool.addr()], Timeouts { tls: SHORT, ..Timeouts::default() }).await;
        assert!(matches!(to_plain.problem, Some(Problem::Tls { .. })), "{to_plain:?}");
    });
}

/// A SOCKS5 proxy without a login, for one connection; gives the bytes of the request after the greeting.
async fn socks_before(pool: SocketAddr, code: u8) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut miner, _) = listener.accept().await.unwrap();
        let mut greeting = [0_u8; 3];
        miner.read_exact(&mut greeting).await.unwrap();
        miner.write_all(&[5, 0]).await.unwrap();
        let mut request = vec![0_u8; 4 + 1 + "pool.example".len() + 2];
        miner.read_exact(&mut request).await.unwrap();
        miner.write_all(&[5, code, 0, 1, 127, 0, 0, 1, 0, 9]).await.unwrap();
        if code == 0 {
            let mut pool = tokio::net::TcpStream::connect(pool).await.unwrap();
            let _ = copy_bidirectional(&mut miner, &mut pool).await;
        }
        request
    });
    (address, asked)
}

#[test]
fn a_pool_behind_a_proxy_is_asked_for_by_its_name() {
    let pool = pool(Misbehaviour::None);
    let behind = |proxy: SocketAddr| Target {
        host: Host::Name("pool.example".to_owned()),
        port: 3333,
        proxy: Some(Socks5 { host: Host::Ip(proxy.ip()), port: proxy.port(), credentials: None }),
        ..target(pool.addr())
    };
    run(async {
        let (proxy, asked) = socks_before(pool.addr(), 0).await;
        let target = behind(proxy);
        assert_eq!(target.dialled(), (&Host::Ip(proxy.ip()), proxy.port()));
        let found = shake(&target, &[proxy], Timeouts::default()).await;
        assert!(found.is_good(true) && found.address == Some(proxy), "{found:?}");
        assert_eq!(asked.await.unwrap(), b"\x05\x01\x00\x03\x0cpool.example\x0d\x05");
        let (proxy, _) = socks_before(pool.addr(), 4).await;
        let found = shake(&behind(proxy), &[proxy], Timeouts::default()).await;
        assert!(matches!(found.problem, Some(Problem::Proxy(text)) if text.contains("know its name")));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = shake(&behind(nobody), &[nobody], Timeouts::default()).await;
        assert!(matches!(found.problem, Some(Problem::Proxy(text)) if text.contains("refused")));
    });
}
