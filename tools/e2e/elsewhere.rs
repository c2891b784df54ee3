//! Pools that move: by `client.reconnect`, and by a name that leads elsewhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "a test that skips says so")]

mod farm;
mod support;

use farm::{Farm, wait_for_state};
use loka_rig::{Authority, Miner, PoolConfig, PoolHandle, Relay, RelayConfig};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use support::{movable, until};

fn pool_at(listen: SocketAddr, prefix: &str) -> std::io::Result<PoolHandle> {
    PoolHandle::start(PoolConfig { listen, job_id_prefix: prefix.to_owned(), ..PoolConfig::default() })
}

fn pool(prefix: &str) -> PoolHandle {
    pool_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), prefix).unwrap()
}

/// Reads until a job of the pool with this prefix comes.
fn next_job(miner: &mut Miner, prefix: &str) {
    until("a job of the other pool comes", || miner.notice("mining.notify").unwrap().contains(prefix));
}

fn reconnect(pool: &PoolHandle, host: &str, port: u16) {
    pool.broadcast(&format!(r#"{{"id":null,"method":"client.reconnect","params":["{host}",{port},0]}}"#));
}

fn hears_nothing_of_it(miners: &[Miner]) {
    for miner in miners {
        assert!(miner.notices().all(|line| !line.contains("reconnect")));
    }
}

const REFUSED: &str = r#"loka_stratum_pool_messages_filtered_total{reason="reconnect_refused"}"#;

#[test]
fn a_pool_may_send_its_miners_where_the_configuration_allows() {
    let (first, second) = (pool("first-"), pool("second-"));
    let mut farm = Farm::new();
    farm.pool("main", &first.addr().to_string(), "reconnect_domains = [\"localhost\"]");
    farm.section("[failover]\nfailures = 1\nbackoff_min = \"100ms\"\nbackoff_max = \"200ms\"");
    let proxy = farm.start();
    let mut miners: Vec<Miner> = (0..20).map(|_| movable(proxy.address).0).collect();
    let mut rigid = Miner::connect(proxy.address).unwrap();
    rigid.handshake("farm.rig").unwrap();

    reconnect(&first, "localhost", second.addr().port());
    for miner in &mut miners {
        next_job(miner, "second-");
    }
    rigid.read_to_end().unwrap();
    until("nobody is at the old place", || first.report().connections_active == 0);
    assert_eq!(second.report().connections_accepted, 20, "everybody moves once");
    until("the moves are counted", || proxy.metric("loka_stratum_miners_moved_total") == 20.0);
    let switched = r#"loka_stratum_connections_ended_total{reason="pool_switched"}"#;
    until("the one that cannot be moved is counted", || proxy.labelled(switched) == 1.0);
    assert_eq!(proxy.metric("loka_stratum_connections_ended_total"), 1.0);
    assert_eq!(proxy.labelled(REFUSED), 0.0);
    let (newcomer, work) = movable(proxy.address);
    assert!(work.job_id.contains("second-"), "{}", work.job_id);
    miners.push(newcomer);
    farm.wait_for_log(&["INFO", "the pool sends its miners elsewhere", "localhost"]);

    // The new place fails: the old one is the pool again, and may send its miners there once more.
    second.kill_listener();
    second.kill_connections();
    for miner in &mut miners {
        next_job(miner, "first-");
    }
    second.listen_again().unwrap();
    reconnect(&first, "localhost", second.addr().port());
    for miner in &mut miners {
        next_job(miner, "second-");
    }
    hears_nothing_of_it(&miners);
}

/// The certificate of the new place is for the new name, unless the configuration says whose it must be.
#[test]
fn a_pool_behind_tls_shows_at_its_new_place_who_it_is_there() {
    let own = Authority::new().unwrap();
    for (name_at_second, lines) in
        [("second.localhost", ""), ("pool.test", "tls_server_name = \"pool.test\"\n")]
    {
        let (first, second) = (pool("first-"), pool("second-"));
        let mut farm = Farm::new();
        let ca = farm.file("ca.pem", &own.pem());
        let behind = |pool: &PoolHandle, name: &str| {
            let tls = Some(own.issue(&[name]).unwrap().server_config().unwrap());
            Relay::start(RelayConfig { tls, ..RelayConfig::to(pool.addr()) }).unwrap()
        };
        let name_at_first = if lines.is_empty() { "localhost" } else { "pool.test" };
        let (at_first, at_second) = (behind(&first, name_at_first), behind(&second, name_at_second));
        farm.pool(
            "main",
            &format!("stratum+ssl://localhost:{}", at_first.addr().port()),
            &format!("tls_ca_file = {ca:?}\nreconnect_domains = [\"localhost\"]\n{lines}"),
        );
        // Names under localhost are known to the resolver, which is not the system's where servers are named.
        farm.section("[failover]\ndns_servers = [\"127.0.0.1\"]");
        let proxy = farm.start();
        let mut miners: Vec<Miner> = (0..5).map(|_| movable(proxy.address).0).collect();
        reconnect(&first, "second.localhost", at_second.addr().port());
        for miner in &mut miners {
            next_job(miner, "second-");
        }
        assert_eq!(at_second.report().tls_failed, 0);
        hears_nothing_of_it(&miners);
    }
}

#[test]
fn a_pool_may_not_send_its_miners_anywhere_else() {
    let (first, second) = (pool("first-"), pool("second-"));
    let mut farm = Farm::new();
    farm.pool("main", &first.addr().to_string(), "reconnect_domains = [\"farm.test\"]");
    let proxy = farm.start();
    let mut miners: Vec<Miner> = (0..3).map(|_| movable(proxy.address).0).collect();
    let port = second.addr().port();
    for (count, (host, port)) in
        [("localhost", port), ("127.0.0.1", port), ("evilfarm.test", port), ("farm.test", 0)]
            .iter()
            .enumerate()
    {
        reconnect(&first, host, *port);
        until("it is refused for each", || proxy.labelled(REFUSED) == 3.0 * (count + 1) as f64);
    }
    // A name that is allowed and leads nowhere changes nothing.
    reconnect(&first, "nowhere.farm.test", port);
    farm.wait_for_log(&["WARN", "client.reconnect is not followed", "nowhere.farm.test"]);
    first.notify(true);
    for miner in &mut miners {
        next_job(miner, "first-");
    }
    assert_eq!((first.report().connections_active, second.report().connections_accepted), (3, 0));
    hears_nothing_of_it(&miners);
}

const POOL: &str = "pool.farm.test";

struct Told {
    /// None: there is no such name.
    address: Mutex<Option<Ipv4Addr>>,
    ended: AtomicBool,
}

/// A name server that knows one name, which holds for no time at all. It listens on an address of this host of its own:
/// port 53 is the only one that the configuration knows.
struct NameServer {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Says why, where this is not allowed.
    fn start(ip: &str, address: Option<Ipv4Addr>) -> Option<NameServer> {
        let socket = match UdpSocket::bind((ip, 53)) {
            Ok(socket) => socket,
            Err(error) => {
                eprintln!("skipped: no name server at {ip}, port 53: {error}");
                return None;
            }
        };
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let told = Arc::new(Told { address: Mutex::new(address), ended: AtomicBool::new(false) });
        let of_thread = Arc::clone(&told);
        let serve = move || {
            let mut question = [0; 512];
            while !of_thread.ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                let address = *of_thread.address.lock().unwrap();
                let _ = socket.send_to(&answer(&question[..length], address), from);
            }
        };
        Some(NameServer { told, thread: Some(std::thread::spawn(serve)) })
    }

    fn tell(&self, address: Ipv4Addr) {
        *self.told.address.lock().unwrap() = Some(address);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.told.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// An address for the pool's name, none for its IPv6, and no such name for all others.
fn answer(question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    const NXDOMAIN: u8 = 3;
    let (mut at, mut name) = (12, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        name.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
        at = end;
    }
    let address = address.filter(|_| name.join(".") == POOL);
    let code = if address.is_some() { 0 } else { NXDOMAIN };
    let address = address.filter(|_| question[at + 1..at + 3] == [0, 1]);
    let mut told =
        vec![question[0], question[1], 0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    told.extend_from_slice(&question[12..at + 5]);
    if let Some(address) = address {
        told.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        told.extend_from_slice(&address.octets());
    }
    told
}

#[test]
fn a_name_that_leads_elsewhere_takes_new_miners_there_and_leaves_the_others() {
    let old = pool("old-");
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let new = pool_at((elsewhere, old.addr().port()).into(), "new-").unwrap();
    let Some(server) = NameServer::start("127.0.0.77", Some(Ipv4Addr::LOCALHOST)) else { return };
    let mut farm = Farm::new();
    farm.pool("main", &format!("{POOL}:{}", old.addr().port()), "");
    farm.section("[failover]\ndns_servers = [\"127.0.0.77\"]");
    let proxy = farm.start();
    let (mut stays, work) = movable(proxy.address);
    assert!(work.job_id.starts_with("old-"), "{}", work.job_id);
    server.tell(elsewhere);
    farm.wait_for_log(&["INFO", "the pool's addresses have changed", "127.0.0.2"]);
    let mut latest = String::new();
    until("new miners go to the new address", || {
        latest = movable(proxy.address).1.job_id;
        latest.starts_with("new-")
    });
    stays.submit_for(&work, "farm.rig", "9", "00000001").unwrap();
    assert!(stays.answer_to("9").unwrap().contains(r#""result":true"#));
    assert_eq!((old.report().shares_accepted, old.report().connections_active), (1, 1));
    assert!(new.report().connections_accepted >= 1);
}

#[test]
fn a_pool_whose_name_leads_nowhere_at_the_start_is_used_when_it_does() {
    let (late, second) = (pool("late-"), pool("second-"));
    let Some(server) = NameServer::start("127.0.0.78", None) else { return };
    let mut farm = Farm::new();
    farm.pool("late", &format!("{POOL}:{}", late.addr().port()), "");
    farm.pool("second", &second.addr().to_string(), "");
    farm.section(
        "[failover]\ndns_servers = [\"127.0.0.78\"]\nstable_for = \"0s\"\nbackoff_min = \"100ms\"\n\
         backoff_max = \"200ms\"",
    );
    let proxy = farm.start();
    farm.wait_for_log(&["WARN", "cannot be used until its name leads somewhere", POOL, "NXDOMAIN"]);
    let (mut miner, work) = movable(proxy.address);
    assert!(work.job_id.starts_with("second-"), "{}", work.job_id);
    let cause = wait_for_state(&proxy, "late", "failed");
    assert!(cause.contains("no address"), "{cause}");
    server.tell(Ipv4Addr::LOCALHOST);
    next_job(&mut miner, "late-");
    assert_eq!(proxy.metric("loka_stratum_connections_ended_total"), 0.0);
}
