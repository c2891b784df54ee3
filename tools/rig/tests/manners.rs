//! Each misbehaviour of the pool, and each check of a share, as one miner sees it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::io::ErrorKind;

use common::wait_for;
use loka_rig::{Greeting, Miner, Misbehaviour, PoolConfig, PoolHandle, Submit};

fn pool(misbehaviour: Misbehaviour) -> PoolHandle {
    PoolHandle::start(PoolConfig { misbehaviour, ..PoolConfig::default() }).unwrap()
}

/// A miner that is at work, and its job.
fn at_work(pool: &PoolHandle) -> (Miner, Greeting) {
    let mut miner = Miner::connect(pool.addr()).unwrap();
    let greeting = miner.handshake("farm.a").unwrap();
    (miner, greeting)
}

fn share<'a>(greeting: &'a Greeting, id: &'a str, nonce: &'a str) -> Submit<'a> {
    Submit {
        id,
        user: "farm.a",
        job_id: &greeting.job_id,
        extranonce2: "0000000000000001",
        ntime: &greeting.ntime,
        nonce,
        version_bits: None,
    }
}

fn submit(miner: &mut Miner, share: &Submit<'_>) -> String {
    miner.submit(share).unwrap();
    miner.answer_to(share.id).unwrap()
}

/// Reads until the connection has ended, and asserts that it did so without a word.
fn assert_closed_silently(miner: &mut Miner) {
    assert_eq!(miner.read_to_end().unwrap(), Vec::<String>::new());
}

#[test]
fn a_healthy_pool_greets_and_judges() {
    let pool = pool(Misbehaviour::None);
    let (mut miner, greeting) = at_work(&pool);
    assert_eq!((greeting.extranonce1.len(), greeting.extranonce2_size), (8, 8));
    assert_eq!(greeting.difficulty, 1024.0);
    let good = share(&greeting, "\"s-1\"", "00000001");
    assert_eq!(submit(&mut miner, &good), r#"{"id":"s-1","result":true,"error":null}"#);

    let cases = [
        (22, good.clone()),
        (21, Submit { job_id: "nonesuch", ..good.clone() }),
        (24, Submit { user: "farm.b", ..good.clone() }),
        (20, Submit { extranonce2: "0001", ..good.clone() }),
        (20, Submit { nonce: "0000000g", ..good.clone() }),
        (20, Submit { nonce: "", ..good.clone() }),
        (20, Submit { version_bits: Some("00002000"), ..good.clone() }),
    ];
    for (code, bad) in cases {
        let answer = submit(&mut miner, &bad);
        assert!(answer.contains(&format!("\"result\":null,\"error\":[{code},")), "{code}: {answer}");
    }
    let short = submit(&mut miner, &Submit { nonce: "ab", ..good });
    assert!(short.contains("true"), "{short}");
    let report = pool.stop();
    assert_eq!((report.shares_received, report.shares_accepted, report.shares_rejected), (9, 2, 7));
    assert_eq!((report.shares_duplicate, report.shares_unknown_job, report.shares_unauthorized), (1, 1, 1));
    assert_eq!((report.shares_malformed, report.shares_unpadded), (4, 1));
}

#[test]
fn extranonces_are_never_given_twice() {
    let pool = pool(Misbehaviour::None);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let (miner, greeting) = at_work(&pool);
        miner.reset();
        assert!(seen.insert(greeting.extranonce1));
    }
}

#[test]
fn configure_grants_what_both_want() {
    let pool =
        PoolHandle::start(PoolConfig { announce_version_mask: true, ..PoolConfig::default() }).unwrap();
    let mut miner = Miner::connect(pool.addr()).unwrap();
    let params = r#"[["version-rolling","minimum-difficulty","x"],{"version-rolling.mask":"00c00000"}]"#;
    let answer = miner.request("0", "mining.configure", params).unwrap();
    for part in [
        r#""id":0,"#,
        r#""version-rolling":true"#,
        r#""version-rolling.mask":"00c00000""#,
        r#""minimum-difficulty":true"#,
        r#""x":false"#,
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    assert!(miner.notice("mining.set_version_mask").unwrap().contains("00c00000"));
    let greeting = miner.handshake("farm.a").unwrap();
    let rolled = Submit { version_bits: Some("00400000"), ..share(&greeting, "9", "1") };
    assert!(submit(&mut miner, &rolled).contains("true"));
    let outside = Submit { version_bits: Some("00002000"), ..rolled };
    assert!(submit(&mut miner, &outside).contains("[20,"));
}

#[test]
fn other_requests_are_answered_with_their_own_id() {
    let pool = pool(Misbehaviour::None);
    let mut miner = Miner::connect(pool.addr()).unwrap();
    let id = "18446744073709551617";
    assert!(miner.request(id, "mining.ping", "[]").unwrap().contains("pong"));
    assert!(miner.request("-1", "mining.get_transactions", "[]").unwrap().contains("[-3,"));
    assert!(miner.request("null", "mining.suggest_difficulty", "[8]").unwrap().contains("true"));
    assert!(miner.request("1", "mining.extranonce.subscribe", "[]").unwrap().contains("true"));
    let nobody = greeting_of_nobody();
    let early = Submit { user: "u", ..share(&nobody, "5", "1") };
    assert!(submit(&mut miner, &early).contains("[25,"));
    miner.send_line("not json").unwrap();
    miner.send_line("{\"id\":1,\"id\":2,\"method\":\"mining.ping\"}").unwrap();
    miner.request("2", "mining.ping", "[]").unwrap();
    let report = pool.stop();
    assert_eq!((report.malformed_lines, report.unknown_methods, report.pings), (2, 1, 2));
    assert_eq!(report.difficulty_suggestions, 1);
}

fn greeting_of_nobody() -> Greeting {
    Greeting {
        extranonce1: String::new(),
        extranonce2_size: 8,
        difficulty: 1.0,
        job_id: "j".to_owned(),
        ntime: "00000000".to_owned(),
    }
}

#[test]
fn a_line_over_the_cap_closes() {
    let pool = pool(Misbehaviour::None);
    let mut miner = Miner::connect(pool.addr()).unwrap();
    miner.send_bytes(&vec![b'x'; 16 * 1024 + 1]).unwrap();
    assert_closed_silently(&mut miner);
    assert_eq!(pool.stop().lines_too_long, 1);
}

#[test]
fn silence_and_closed_doors() {
    let closing = pool(Misbehaviour::CloseOnAccept);
    assert_closed_silently(&mut Miner::connect(closing.addr()).unwrap());

    for manners in [Misbehaviour::AcceptAndSilent, Misbehaviour::NoSubscribeAnswer, Misbehaviour::NeverReads]
    {
        let pool = pool(manners);
        let mut miner = Miner::connect(pool.addr()).unwrap();
        miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":[]}"#).unwrap();
        if manners != Misbehaviour::NeverReads {
            wait_for(|| pool.report(), |report| report.bytes_received > 0);
        }
        // The pool is well again: what it has not read it reads now, what it swallowed stays swallowed.
        pool.misbehave(Misbehaviour::None);
        assert!(miner.request("2", "mining.ping", "[]").is_ok());
        assert_eq!(miner.notices().count(), usize::from(manners == Misbehaviour::NeverReads));
    }
}

#[test]
fn the_greeting_goes_wrong() {
    let full = pool(Misbehaviour::ServerFull);
    let mut miner = Miner::connect(full.addr()).unwrap();
    for id in ["1", "2"] {
        assert!(miner.request(id, "mining.subscribe", "[]").unwrap().contains("Server full"));
    }

    let unconfigured = pool(Misbehaviour::NoConfigureAnswer);
    let mut miner = Miner::connect(unconfigured.addr()).unwrap();
    miner.send_line(r#"{"id":7,"method":"mining.configure","params":[["version-rolling"],{}]}"#).unwrap();
    miner.handshake("farm.a").unwrap();
    assert!(miner.notices().all(|line| !line.contains("\"id\":7")));

    let strict = pool(Misbehaviour::RejectAuthorize);
    let error = Miner::connect(strict.addr()).unwrap().handshake("farm.a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);

    let garbage = pool(Misbehaviour::GarbageLine);
    let error = Miner::connect(garbage.addr()).unwrap().handshake("farm.a").unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidData && error.to_string().contains("502"), "{error}");
}

#[test]
fn an_endless_line_comes_without_a_job() {
    let pool = pool(Misbehaviour::EndlessLine);
    let mut miner = Miner::connect(pool.addr()).unwrap();
    miner.request("1", "mining.subscribe", "[]").unwrap();
    miner.request("2", "mining.authorize", "[\"farm.a\",\"x\"]").unwrap();
    // The newline of a broadcast is the first one: what came before it is the endless part.
    assert_eq!(pool.broadcast("{}"), 1);
    assert_eq!(miner.read_line().unwrap().len(), 160 * 1024 + 2);
}

#[test]
fn extranonce_subscription_goes_wrong() {
    let rejecting = pool(Misbehaviour::RejectExtranonceSubscribe);
    let (mut miner, _) = at_work(&rejecting);
    assert!(miner.request("8", "mining.extranonce.subscribe", "[]").unwrap().contains("Not supported"));

    let closing = pool(Misbehaviour::CloseOnExtranonceSubscribe);
    let (mut miner, _) = at_work(&closing);
    miner.send_line(r#"{"id":8,"method":"mining.extranonce.subscribe","params":[]}"#).unwrap();
    assert_closed_silently(&mut miner);

    let silent = pool(Misbehaviour::SilentExtranonceSubscribe);
    let (mut miner, _) = at_work(&silent);
    miner.send_line(r#"{"id":8,"method":"mining.extranonce.subscribe","params":[]}"#).unwrap();
    assert!(miner.request("9", "mining.ping", "[]").is_ok());
    assert!(miner.notices().all(|line| !line.contains("\"id\":8")));
}

#[test]
fn messages_come_in_the_order_of_other_pools() {
    let early = pool(Misbehaviour::DifficultyBeforeSubscribeAnswer);
    let mut miner = Miner::connect(early.addr()).unwrap();
    miner.request("1", "mining.subscribe", "[]").unwrap();
    assert!(miner.notices().next().unwrap().contains("set_difficulty"));

    let ckpool = pool(Misbehaviour::JobBeforeAuthorizeAnswer);
    let mut miner = Miner::connect(ckpool.addr()).unwrap();
    miner.request("1", "mining.subscribe", "[]").unwrap();
    miner.request("2", "mining.authorize", "[\"farm.a\",\"x\"]").unwrap();
    let before: Vec<&str> = miner.notices().collect();
    assert!(before[0].contains("set_difficulty") && before[1].contains("mining.notify"));
}

#[test]
fn the_end_comes_after_so_many_shares() {
    for manners in [
        Misbehaviour::CloseAfterShares(2),
        Misbehaviour::ResetAfterShares(2),
        Misbehaviour::HalfCloseAfterShares(2),
        Misbehaviour::SilentAfterShares(2),
    ] {
        let pool = pool(manners);
        let (mut miner, greeting) = at_work(&pool);
        miner.submit(&share(&greeting, "11", "1")).unwrap();
        miner.answer_to("11").unwrap();
        miner.submit(&share(&greeting, "12", "2")).unwrap();
        if manners == Misbehaviour::ResetAfterShares(2) {
            // The reset may overtake the answer: how much of it arrives is up to the kernel.
            assert!(miner.read_to_end().unwrap().len() <= 1);
            assert_eq!(pool.stop().connections_killed, 1);
            continue;
        }
        miner.answer_to("12").unwrap();
        if manners == Misbehaviour::SilentAfterShares(2) {
            miner.submit(&share(&greeting, "13", "3")).unwrap();
            wait_for(|| pool.report(), |report| report.shares_unanswered == 1);
            pool.notify(true);
            drop(pool);
            assert_closed_silently(&mut miner);
            continue;
        }
        assert_closed_silently(&mut miner);
    }
}

#[test]
fn a_job_can_be_forced_and_ends_the_old_ones() {
    let pool = pool(Misbehaviour::None);
    let (mut miner, greeting) = at_work(&pool);
    assert_eq!(pool.notify(false), 1);
    miner.notice("mining.notify").unwrap();
    assert!(submit(&mut miner, &share(&greeting, "21", "1")).contains("true"));
    assert_eq!(pool.notify(true), 1);
    assert!(miner.notice("mining.notify").unwrap().ends_with("true]}"));
    assert!(submit(&mut miner, &share(&greeting, "22", "2")).contains("[21,"));
    assert_eq!(pool.set_difficulty(0.5), 1);
    assert!(miner.notice("mining.set_difficulty").unwrap().contains("[0.5]"));
    assert_eq!(pool.broadcast(r#"{"id":null,"method":"client.reconnect","params":[]}"#), 1);
    miner.notice("client.reconnect").unwrap();
}

#[test]
fn a_miner_that_does_not_read_is_closed() {
    let pool = pool(Misbehaviour::None);
    let (mut miner, _) = at_work(&pool);
    // Kernel buffers hold a few MiB at most; the loop ends when they and the pool's queue are full.
    let line = format!("{{\"method\":\"{}\"}}", "x".repeat(60_000));
    let rounds = (0..10_000).take_while(|_| pool.broadcast(&line) == 1).count();
    assert!(rounds < 10_000);
    assert_eq!(pool.report().connections_slow, 1);
    assert!(miner.read_to_end().is_ok());
}

#[test]
fn killed_connections_are_reset_and_the_pool_lives_on() {
    let pool = pool(Misbehaviour::None);
    let (mut miner, _) = at_work(&pool);
    assert_eq!(pool.kill_connections(), 1);
    assert_eq!(miner.read_line().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (mut half, _) = at_work(&pool);
    half.shutdown_write().unwrap();
    assert_closed_silently(&mut half);
    let report = pool.stop();
    assert_eq!((report.connections_killed, report.connections_ended_by_peer), (1, 1));
}

#[test]
fn a_pool_that_stops_listening_comes_back_at_the_same_port() {
    let pool = pool(Misbehaviour::None);
    let (mut miner, greeting) = at_work(&pool);
    pool.kill_listener();
    for _ in 0..3 {
        let refused = Miner::connect(pool.addr()).err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    }
    let answer = submit(&mut miner, &share(&greeting, "7", "00000001"));
    assert!(answer.contains("true"), "open connections go on: {answer}");
    pool.listen_again().unwrap();
    pool.listen_again().unwrap();
    at_work(&pool);
    assert_eq!(pool.stop().connections_accepted, 2);
}
