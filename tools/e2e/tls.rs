//! TLS to pools: which certificates are taken, what is said of the others, and that no byte is lost on the way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod farm;
mod support;

use farm::{Farm, Gate, Opening, health, wait_for_state};
use loka_rig::{
    Authority, Fault, Greeting, Load, Miner, PoolConfig, PoolHandle, Quirks, Relay, RelayConfig, RelayHandle,
    ServerIdentity, Shape, SwarmConfig, TlsVersions,
};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{PATIENCE, Proxy, movable, until};

const NAME: &str = "localhost";

/// A pool whose jobs show whose they are.
fn pool(prefix: &str) -> PoolHandle {
    PoolHandle::start(PoolConfig { job_id_prefix: prefix.to_owned(), ..PoolConfig::default() }).unwrap()
}

fn tls_relay(target: SocketAddr, tls: Arc<rustls::ServerConfig>) -> RelayHandle {
    Relay::start(RelayConfig { tls: Some(tls), ..RelayConfig::to(target) }).unwrap()
}

fn relay(target: SocketAddr, identity: &ServerIdentity) -> RelayHandle {
    tls_relay(target, identity.server_config().unwrap())
}

fn host(address: SocketAddr) -> String {
    format!("stratum+ssl://{NAME}:{}", address.port())
}

/// `sha256/` and the base64 of it.
fn pin(sha256: &[u8; 32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: String = sha256
        .chunks(3)
        .flat_map(|three| {
            let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
            let digit = move |at: usize| DIGITS[bits >> (18 - 6 * at) & 63];
            (0..4).map(move |at| if at <= three.len() { char::from(digit(at)) } else { '=' })
        })
        .collect();
    format!("sha256/{text}")
}

/// Somebody who speaks first, and no TLS.
fn talker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream
                .write_all(b"{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"hello\"]}\n");
            open.push(stream);
        }
    });
    address
}

#[test]
fn every_certificate_gets_what_it_deserves_and_a_name_for_what_is_wrong_with_it() {
    let (own, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let mut farm = Farm::new();
    let ca = farm.file("ca.pem", &own.pem());
    let trusting = format!("tls_ca_file = {ca:?}\npriority = 1");
    let never = pool("never-");
    let expired = relay(never.addr(), &own.issue_expired(&[NAME]).unwrap());
    let other_name = relay(never.addr(), &own.issue(&["other.test"]).unwrap());
    let unknown = relay(never.addr(), &stranger.issue(&[NAME]).unwrap());
    let self_signed = relay(never.addr(), &ServerIdentity::self_signed(&[NAME]).unwrap());
    let good = own.issue(&[NAME]).unwrap();
    let pinned = relay(never.addr(), &good);
    let old = tls_relay(never.addr(), good.server_config_for(TlsVersions::Only12).unwrap());
    let wrong_pin = format!("{trusting}\ntls_pins = [\"{}\"]", pin(&[7; 32]));
    let only_1_3 = format!("{trusting}\ntls_min_version = \"1.3\"");
    let bad = [
        ("expired", expired.addr(), &trusting, "expired, on 2001-01-01"),
        ("other-name", other_name.addr(), &trusting, "not for localhost: it is for"),
        ("unknown", unknown.addr(), &trusting, "not trusted here"),
        ("self-signed", self_signed.addr(), &trusting, "self-signed"),
        ("wrong-pin", pinned.addr(), &wrong_pin, "not one of the pins"),
        ("old", old.addr(), &only_1_3, "no version of TLS"),
        ("plain", talker(), &trusting, "does not speak TLS"),
    ];
    for (name, address, lines, _) in &bad {
        farm.pool(name, &host(*address), lines);
    }
    let own_pem = ServerIdentity::self_signed(&[NAME]).unwrap();
    let own_file = farm.file("own.pem", &own_pem.certificate_pem);
    let trusting = format!("tls_ca_file = {ca:?}\npriority = 2");
    let pools: Vec<PoolHandle> = ["ca-", "own-", "name-", "pin-", "old-"].map(pool).into();
    let far = own.issue(&["pool.test"]).unwrap();
    let relays = [
        (relay(pools[0].addr(), &good), trusting.clone()),
        (relay(pools[1].addr(), &own_pem), format!("tls_ca_file = {own_file:?}\npriority = 2")),
        (relay(pools[2].addr(), &far), format!("{trusting}\ntls_server_name = \"pool.test\"")),
        (relay(pools[3].addr(), &good), format!("{trusting}\ntls_pins = [\"{}\"]", pin(&good.spki_sha256))),
        (tls_relay(pools[4].addr(), good.server_config_for(TlsVersions::Only12).unwrap()), trusting.clone()),
    ];
    for (index, (relay, lines)) in relays.iter().enumerate() {
        farm.pool(&format!("good{index}"), &host(relay.addr()), lines);
    }
    let told = farm.doctor();
    for (told, (name, .., word)) in told.iter().zip(&bad) {
        assert_eq!((&told["name"], &told["problem"]["kind"]), (&(*name).into(), &"tls".into()), "{told}");
        assert!(told["problem"]["text"].as_str().unwrap().contains(word), "{told}");
    }
    assert!(told[bad.len()..].iter().all(|told| told["good"] == true), "{told:?}");

    let proxy = farm.start();
    for (name, .., word) in &bad {
        let cause = wait_for_state(&proxy, name, "failed");
        assert!(cause.contains(word), "{name}: {cause}");
        farm.wait_for_log(&["WARN", &format!("pool=\"{name}\""), word]);
    }
    let miners: Vec<(Miner, Greeting)> = (0..10).map(|_| movable(proxy.address)).collect();
    for (index, pool) in pools.iter().enumerate() {
        let served = miners
            .iter()
            .filter(|(_, work)| work.job_id.starts_with(["ca-", "own-", "name-", "pin-", "old-"][index]));
        assert_eq!(served.count(), 2, "{}", farm.log());
        assert_eq!(health(&proxy, &format!("good{index}"))["state"], "healthy");
        assert!(pool.report().subscribes >= 2);
    }
    assert_eq!(never.report().connections_accepted, 0, "nobody who does not show who he is hears a word");
}

/// What a probe finds is one thing; here shards themselves meet the bad certificate, with miners at work.
#[test]
fn miners_leave_a_pool_whose_certificate_has_expired_and_come_back_when_it_is_renewed() {
    let own = Authority::new().unwrap();
    let mut farm = Farm::new();
    let ca = farm.file("ca.pem", &own.pem());
    let (first, second) = (pool("first-"), pool("second-"));
    let good = relay(first.addr(), &own.issue(&[NAME]).unwrap());
    let expired = relay(first.addr(), &own.issue_expired(&[NAME]).unwrap());
    let front = Relay::start(RelayConfig::to(good.addr())).unwrap();
    farm.pool("first", &host(front.addr()), &format!("tls_ca_file = {ca:?}"));
    farm.pool("second", &second.addr().to_string(), "");
    farm.section("[failover]\nstable_for = \"0s\"\nbackoff_min = \"100ms\"\nbackoff_max = \"200ms\"");
    let proxy = farm.start();
    let mut miners: Vec<Miner> = (0..5)
        .map(|_| {
            let (miner, work) = movable(proxy.address);
            assert!(work.job_id.starts_with("first-"), "{}", work.job_id);
            miner
        })
        .collect();
    front.retarget(expired.addr());
    front.reset_all();
    for miner in &mut miners {
        let job = next_job(miner, "second-");
        assert!(job.contains("true]"), "the first job of another pool voids those before: {job}");
    }
    until("the cause is named", || {
        health(&proxy, "first")["cause"].as_str().unwrap().contains("expired, on 2001-01-01")
    });
    front.retarget(good.addr());
    for miner in &mut miners {
        next_job(miner, "first-");
    }
    assert_eq!(proxy.metric("loka_stratum_connections_ended_total"), 0.0, "no miner was disconnected");
}

/// Reads until a job of this pool comes.
fn next_job(miner: &mut Miner, prefix: &str) -> String {
    let mut job = String::new();
    until("a job of the other pool comes", || {
        job = miner.notice("mining.notify").unwrap();
        job.contains(prefix)
    });
    job
}

/// With one pool nobody asks it by himself: it is the miners' connections that fail.
#[test]
fn a_pool_that_speaks_first_and_no_tls_is_found_out_at_once() {
    let own = Authority::new().unwrap();
    let mut farm = Farm::new();
    let ca = farm.file("ca.pem", &own.pem());
    farm.pool("plain", &host(talker()), &format!("tls_ca_file = {ca:?}"));
    let proxy = farm.start();
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":["rig"]}"#).unwrap();
    farm.wait_for_log(&["WARN", "a pool does not show who it is", "TLS handshake failed"]);
    until("its cause is named", || {
        health(&proxy, "plain")["cause"].as_str().unwrap().contains("does not speak TLS")
    });
}

#[test]
fn a_handshake_that_stalls_costs_the_miner_a_moment_and_no_more() {
    let own = Authority::new().unwrap();
    let mut farm = Farm::new();
    let ca = farm.file("ca.pem", &own.pem());
    let (first, second) = (pool("first-"), pool("second-"));
    let stalling = relay(first.addr(), &own.issue(&[NAME]).unwrap());
    stalling.set(Fault::StallHandshake);
    farm.pool("first", &host(stalling.addr()), &format!("tls_ca_file = {ca:?}"));
    farm.pool("second", &second.addr().to_string(), "");
    let proxy = farm.start();
    let (_miner, work) = movable(proxy.address);
    assert!(work.job_id.starts_with("second-"), "{}", work.job_id);
    let lost = r#"loka_stratum_pool_connections_lost_total{pool="first",reason="tls_failed"}"#;
    until("it is counted", || proxy.labelled(lost) == 1.0);
    farm.wait_for_log(&["WARN", "a pool does not show who it is", "localhost: tls_failed"]);
    assert!(wait_for_state(&proxy, "first", "failed").contains("TLS greeting"));
    assert_eq!(first.report().connections_accepted, 0);
}

/// A pool behind TLS, a proxy with TLS on both sides, and a way to it that tears the records.
struct Torn {
    farm: Farm,
    proxy: Proxy,
    to_pool: RelayHandle,
    torn: RelayHandle,
    gate: Gate,
}

impl Torn {
    fn start(pool: &PoolHandle) -> Torn {
        let own = Authority::new().unwrap();
        let mut farm = Farm::new();
        let ca = farm.file("ca.pem", &own.pem());
        let identity = own.issue(&[NAME]).unwrap();
        let (certificate, key) =
            (farm.file("miners.pem", &identity.certificate_pem), farm.file("miners.key", &identity.key_pem));
        let to_pool = relay(pool.addr(), &identity);
        to_pool.set(Fault::Split { bytes: 37 });
        farm.pool("main", &host(to_pool.addr()), &format!("tls_ca_file = {ca:?}"));
        farm.miner_tls(&certificate, &key, "");
        let proxy = farm.start();
        let torn = Relay::start(RelayConfig::to(farm.tls_address)).unwrap();
        torn.set(Fault::Split { bytes: 41 });
        let tls = Some((own.client_config().unwrap(), NAME));
        let gate = Gate::start(torn.addr(), Opening { tls, ..Opening::default() });
        Torn { farm, proxy, to_pool, torn, gate }
    }

    fn swarm(&self, connections: usize, load: Load) -> SwarmConfig {
        SwarmConfig {
            target: self.gate.address,
            connections,
            load,
            duration: PATIENCE,
            settle: PATIENCE,
            handshake_timeout: PATIENCE,
            quirks: Quirks { mixed: true, ..Quirks::default() },
            ..SwarmConfig::default()
        }
    }
}

#[test]
fn thousands_of_shares_over_torn_tls_on_both_sides_lose_nothing() {
    let notify_interval = Duration::from_millis(200);
    let config = PoolConfig { reject_permille: 50, notify_interval, ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let way = Torn::start(&pool);
    let config =
        SwarmConfig { answers_target: Some(8_000), ..way.swarm(40, Load::ClosedLoop { in_flight: 4 }) };
    let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let shares = report.shares;
    assert_eq!((report.ready, report.disconnected), (40, 0));
    assert_eq!((shares.sent, shares.accepted + shares.rejected), (8_000, 8_000), "{shares:?}");
    assert_eq!((shares.lost, shares.duplicate_answers, shares.mismatched), (0, 0, 0));
    let proxy = &way.proxy;
    until("the proxy has counted all", || proxy.metric("loka_stratum_connections_ended_total") == 40.0);
    assert_eq!(proxy.labelled(r#"loka_stratum_connections_ended_total{reason="miner_left"}"#), 40.0);
    assert_eq!(proxy.metric("loka_stratum_shares_accepted_total"), shares.accepted as f64);
    let ledger = pool.stop();
    assert_eq!((ledger.shares_received, ledger.shares_duplicate, ledger.malformed_lines), (8_000, 0, 0));
    assert_eq!((ledger.shares_accepted, ledger.shares_rejected), (shares.accepted, shares.rejected));
    assert_eq!((way.torn.report().resets, way.to_pool.report().tls_failed), (0, 0));
}

#[test]
fn a_storm_of_handshakes_over_tls_on_both_sides_is_served() {
    let pool = pool("");
    let way = Torn::start(&pool);
    let config = way.swarm(40, Load::Storm { connects: 400, concurrency: 40 });
    let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!((report.handshakes, report.connect_failed, report.disconnected), (400, 0, 0), "{report:?}");
    until("all are gone", || way.proxy.metric("loka_stratum_active_connections") == 0.0);
    assert_eq!(way.to_pool.report().tls_failed, 0);
    assert!(!way.farm.log().contains("TLS"), "{}", way.farm.log());
}

#[test]
fn a_drain_over_tls_loses_no_answered_share() {
    let answer_delay = Duration::from_millis(5);
    let pool = PoolHandle::start(PoolConfig { answer_delay, ..PoolConfig::default() }).unwrap();
    let way = Torn::start(&pool);
    let config = way.swarm(40, Load::ClosedLoop { in_flight: 4 });
    let terminated = AtomicBool::new(false);
    let report = loka_rig::run(&config, &AtomicBool::new(false), &mut |progress| {
        if progress.shares.accepted > 500 && !terminated.swap(true, Ordering::Relaxed) {
            way.proxy.terminate();
        }
    })
    .unwrap();
    assert!(way.proxy.wait().success());
    let (ledger, shares) = (pool.stop(), report.shares);
    assert_eq!(report.disconnected, 40);
    assert_eq!(shares.accepted, ledger.shares_accepted, "every answer that the pool gave arrived");
    assert_eq!((shares.duplicate_answers, shares.mismatched, ledger.malformed_lines), (0, 0, 0));
}

/// In TLS as without: who has nothing more to say may still listen.
#[test]
fn a_miner_that_ends_its_direction_gets_the_answers_to_its_last_shares() {
    let answer_delay = Duration::from_millis(300);
    let pool = PoolHandle::start(PoolConfig { answer_delay, ..PoolConfig::default() }).unwrap();
    let way = Torn::start(&pool);
    for address in [way.proxy.address, way.gate.address] {
        let mut miner = Miner::connect(address).unwrap();
        let work = miner.handshake("farm.rig").unwrap();
        miner.submit_for(&work, "farm.rig", "9", "00000001").unwrap();
        miner.shutdown_write().unwrap();
        assert!(miner.answer_to("9").unwrap().contains(r#""result":true"#));
        miner.read_to_end().unwrap();
    }
}

/// What waits for a miner that does not read is bounded, and comes whole and in order when it reads again.
#[test]
fn a_miner_that_pauses_stops_its_pool_and_loses_nothing() {
    const LINES_MAX: usize = 2_000;
    const AT_ONCE: usize = 60;
    let pool = pool("");
    let way = Torn::start(&pool);
    way.to_pool.set(Fault::None);
    way.torn.set(Fault::None);
    let mut miner = Miner::connect(way.gate.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    miner.handshake("farm.rig").unwrap();
    let held = Shape { bytes_per_second: Some(0), ..Shape::default() };
    way.torn.set(Fault::Shaped { up: Shape::default(), down: held });
    let text = "x".repeat(30_000);
    let proxy = &way.proxy;
    let is_paused = || proxy.metric("loka_stratum_backpressure_pauses_total") >= 1.0;
    let heard = || proxy.labelled(r#"loka_stratum_bytes_received_total{from="pool"}"#);
    let (mut lines, mut bytes) = (0, 0);
    // No faster than the proxy reads, or the pool would give up what it cannot get rid of.
    while lines < LINES_MAX && !is_paused() {
        for number in lines..lines + AT_ONCE {
            let line = format!(
                r#"{{"id":null,"method":"client.show_message","params":["{number}"],"more":"{text}"}}"#
            );
            assert_eq!(pool.broadcast(&line), 1, "the pool has not given up");
            bytes += line.len();
        }
        lines += AT_ONCE;
        until("it is read, or not any more", || heard() >= bytes as f64 || is_paused());
    }
    until("the pool is not read any more", is_paused);
    assert!(proxy.metric("loka_stratum_queued_bytes") < 512.0 * 1024.0);
    way.torn.set(Fault::None);
    for number in 0..lines {
        let line = miner.notice("client.show_message").unwrap();
        assert!(line.contains(&format!(r#"["{number}"]"#)), "{number}: {}", &line[..100]);
    }
    assert_eq!(proxy.metric("loka_stratum_connections_ended_total"), 0.0);
}
