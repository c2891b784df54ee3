//! A configuration that is read again under miners at work: what changes, what does not, who is told what, and that nobody is
//! disconnected who need not be.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "failover/farm.rs"]
#[allow(dead_code, reason = "fail-over uses all of it")]
mod farm;
mod site;
mod support;

use farm::{MOVABLE, PLAIN, Work};
use loka_rig::{
    Authority, HookReceiver, Load, Miner, PoolConfig, PoolHandle, Quirks, ServerIdentity, SwarmConfig,
};
use rustix::process::Signal;
use site::Site;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use support::{PATIENCE, Proxy, finish, free_port, http, movable, until};

/// Each test is about all shards.
const SHARDS: [&str; 2] = ["--shards", "2"];
const TOKEN: &str = "token-of-24-characters-x";

impl Site {
    /// `loka-stratum reload`, as an operator types it.
    fn reload(&self) -> Output {
        finish(&mut self.command(&["reload"]))
    }

    /// The same where it must go well; what it prints.
    #[track_caller]
    fn reloaded(&self) -> String {
        let output = self.reload();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The token, and these sections.
fn with_token(sections: &str) -> String {
    format!("[api]\ntoken = \"{TOKEN}\"\n{sections}")
}

fn pool_at(name: &str, address: SocketAddr) -> String {
    format!("[[pool]]\nname = \"{name}\"\nhost = \"{address}\"\n")
}

fn pool() -> PoolHandle {
    PoolHandle::start(PoolConfig::default()).unwrap()
}

/// A pool, the site in front of it, the section that says so, and the proxy.
fn at_one_pool() -> (PoolHandle, Site, String, Proxy) {
    let pool = pool();
    let base = pool_at("main", pool.addr());
    let site = Site::new(&with_token(&base));
    let proxy = site.start(&SHARDS);
    (pool, site, base, proxy)
}

fn applied(proxy: &Proxy) -> f64 {
    proxy.labelled(r#"loka_stratum_config_reloads_total{result="applied"}"#)
}

fn from(proxy: &Proxy, host: u8) -> std::io::Result<Miner> {
    let mut miner = Miner::connect_from(SocketAddr::from(([127, 0, 8, host], 0)), proxy.address)?;
    miner.set_read_timeout(PATIENCE)?;
    miner.handshake("farm.rig")?;
    Ok(miner)
}

/// Asks the pool something that it answers.
fn works(miner: &mut Miner, id: &str) -> bool {
    miner.request(id, "mining.suggest_difficulty", "[1]").is_ok()
}

const LOAD: Load = Load::ClosedLoop { in_flight: 2 };
/// For pools that move miners as soon as they may, and take nobody's slowness on this machine for a failure.
const QUICK: &str = "[failover]\nhold_miners = \"10m\"\nnotify_silence = \"1d\"\nbehind_for = \"1d\"\n\
                     handshake_timeout = \"10s\"\n";

#[test]
fn twenty_reloads_under_load_disconnect_nobody_and_lose_no_share() {
    let (first, second) = (farm::pool(1), farm::pool(2));
    let site = Site::new("");
    // Everything that a running proxy takes, but what would move miners.
    let write = |round: u32| {
        let odd = round % 2;
        site.write(&with_token(&format!(
            "{first}{second}weight = {}\n{QUICK}stable_for = \"{}h\"\n\
             [security]\nmax_requests_per_minute = {}\nmax_connections_per_ip = {}\nblocked_ip_ttl = \"{}m\"\n\
             [limiter]\njobs = \"{}m\"\n[logging]\nlevel = \"{}\"\n[performance]\nconnection_pool_size = {}\n",
            odd + 1,
            odd + 1,
            1_000_000 + round,
            10_000 + round,
            odd + 5,
            odd + 5,
            ["info", "warn"][odd as usize],
            odd * 4,
            first = pool_at("first", first.addr()),
            second = pool_at("second", second.addr()),
        )));
    };
    write(0);
    let proxy = site.start(&SHARDS);
    let miners = farm::work(proxy.address, LOAD, |work| {
        work.until_all_work("all miners work");
        for round in 1..=20_u32 {
            write(round);
            if round % 4 == 0 {
                assert!(site.reloaded().contains("changes are in force"));
            } else {
                proxy.signal(Signal::HUP);
            }
            work.until("it is reloaded", || applied(&proxy) == f64::from(round));
        }
        work.until_all_work("all miners work on");
    });
    let lost = farm::check_proxy(&proxy, &miners);
    let (moved, plain) = (&miners.movable, &miners.plain);
    assert_eq!((lost, plain.shares.lost, plain.disconnected, moved.extranonces), (0, 0, 0, 0));
    let (first, second) = (first.stop(), second.stop());
    farm::check_pool(&first);
    assert_eq!(first.shares_accepted, moved.shares.accepted + plain.shares.accepted);
    assert_eq!(second.shares_accepted, 0, "nobody had a reason to go there");
    farm::tell("20 reloads", &miners);
}

/// Reloads another list of pools while all work, and waits until they work at `second`.
fn move_to(work: &Work, site: &Site, second: &PoolHandle, sections: &str) -> String {
    site.write(&with_token(sections));
    let told = site.reloaded();
    work.until("all miners are at the second pool", || farm::has_all(second));
    work.until_all_work("all miners work at the second pool");
    told
}

#[test]
fn a_pool_that_is_replaced_gives_its_miners_to_the_new_one() {
    let (first, second) = (farm::pool(1), farm::pool(2));
    let site = Site::new(&with_token(&format!("{}{QUICK}", pool_at("main", first.addr()))));
    let proxy = site.start(&SHARDS);
    let miners = farm::work(proxy.address, LOAD, |work| {
        work.until_all_work("all miners work");
        let told = move_to(work, &site, &second, &format!("{}{QUICK}", pool_at("main", second.addr())));
        assert!(told.contains("of main: ") && told.contains("are in force"), "{told}");
        work.until("nobody is left at the first", || first.report().connections_active == 0);
    });
    let lost = farm::check_proxy(&proxy, &miners);
    let (movable, plain) = (miners.movable.shares, miners.plain.shares);
    assert_eq!(miners.plain.disconnected, PLAIN as u64, "who cannot be moved connects again, once");
    assert!(miners.movable.extranonces >= MOVABLE as u64);
    let (first, second) = (first.stop(), second.stop());
    farm::check_pool(&first);
    farm::check_pool(&second);
    let accepted = first.shares_accepted + second.shares_accepted;
    let known = movable.accepted + plain.accepted;
    assert!((known..=known + lost + plain.lost).contains(&accepted), "{accepted}, {known}");
    let of_main = r#"loka_stratum_pool_shares_accepted_total{pool="main"}"#;
    assert_eq!(proxy.labelled(of_main) as u64, known, "one name, one count");
}

#[test]
fn a_pool_that_is_added_and_one_that_is_taken_away() {
    let (first, second) = (pool(), pool());
    let site = Site::new(&with_token(&format!("{}{QUICK}", pool_at("first", first.addr()))));
    let proxy = site.start(&SHARDS);
    let (mut miner, _) = movable(proxy.address);
    let both = pool_at("second", second.addr()) + &pool_at("first", first.addr());
    site.write(&with_token(&format!("{both}{QUICK}stable_for = \"1s\"\n")));
    let told = site.reloaded();
    assert!(told.contains("pool of second: null -> "), "{told}");
    assert!(told.contains("pool.priority of first: 1 -> 2"), "{told}");
    until("the miner moves to the preferred one", || second.report().connections_active == 1);
    miner.notice("mining.set_extranonce").unwrap();
    site.write(&with_token(&format!("{}{QUICK}", pool_at("first", first.addr()))));
    let told = site.reloaded();
    assert!(told.contains("pool of second: ") && told.contains(" -> null"), "{told}");
    until("it moves back", || second.report().connections_active == 0);
    assert!(works(&mut miner, "9"), "and was never disconnected");
    until("the second is shown no more", || {
        !http(proxy.metrics, "/health").unwrap().contains(r#""name":"second""#)
    });
}

#[test]
fn a_list_of_addresses_ends_those_it_keeps_out_and_no_other() {
    let (_pool, site, base, proxy) = at_one_pool();
    let mut honest: Vec<Miner> = (0..8).map(|_| from(&proxy, 1).unwrap()).collect();
    let mut denied: Vec<Miner> = (0..8).map(|_| from(&proxy, 2).unwrap()).collect();
    site.write(&with_token(&format!("{base}[security]\ndeny = [\"127.0.8.2/32\"]\n")));
    assert!(site.reloaded().contains("security.deny: [] -> [\"127.0.8.2/32\"]"));
    for miner in &mut denied {
        miner.read_to_end().unwrap();
    }
    assert!((0..8).all(|_| from(&proxy, 2).is_err()), "no shard lets it in");
    for miner in &mut honest {
        assert!(works(miner, "7"));
    }
    site.write(&with_token(&base));
    site.reloaded();
    until("it is let in again", || from(&proxy, 2).is_ok());
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_by_key_and_line() {
    let (_pool, site, base, proxy) = at_one_pool();
    let mut miner = from(&proxy, 1).unwrap();
    let config = || http(proxy.metrics, "/api/v1/config").unwrap();
    let body = |answer: String| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let before = body(config());
    site.write(&with_token(&format!(
        "{base}[limiter]\njobs = \"1m\"\n[security]\nmax_requests_per_minute = \"many\"\n"
    )));
    let of_file = site.reload();
    assert_eq!(of_file.status.code(), Some(78), "the command reads the same file first: {of_file:?}");
    proxy.signal(Signal::HUP);
    let refused = r#"loka_stratum_config_reloads_total{result="refused"}"#;
    until("it is refused", || proxy.labelled(refused) == 1.0);
    assert_eq!(proxy.metric("loka_stratum_config_last_reload_successful"), 0.0);
    until("the log says why", || {
        let log = site.log();
        let told = ["max_requests_per_minute", "config.toml:", "nothing has changed"];
        log.lines().count() > 0 && told.iter().all(|words| log.contains(words))
    });
    assert_eq!(body(config()), before, "limiter.jobs is as it was");
    assert!(works(&mut miner, "7"));
    let events = http(proxy.metrics, "/api/v1/events").unwrap();
    assert!(events.contains("a reload was refused"), "{events}");
    // What the file cannot know to be wrong: a certificate that is not there.
    site.write(
        &with_token(&format!("{base}tls_ca_file = \"/nowhere/ca.pem\"\n"))
            .replace("host = \"", "host = \"stratum+ssl://"),
    );
    let output = site.reload();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("/nowhere/ca.pem") && told.contains("(422)"), "{told}");
    assert_eq!(body(config()), before);
    // And then one that is right.
    site.write(&with_token(&format!("{base}[limiter]\njobs = \"1m\"\n")));
    assert_eq!(site.reloaded(), "limiter.jobs: \"10m\" -> \"1m\"\nreloaded: 1 changes are in force\n");
    until("the figures tell", || proxy.metric("loka_stratum_config_last_reload_successful") == 1.0);
}

#[test]
fn what_takes_a_restart_is_named_and_left() {
    let (_pool, site, base, proxy) = at_one_pool();
    let mut miner = from(&proxy, 1).unwrap();
    let more =
        "[limiter]\njobs = \"1m\"\n[server]\nsteering = \"cpu\"\n[performance]\nblocking_threads = 3\n";
    site.write(&with_token(&format!("{base}{more}")));
    let told = site.reloaded();
    assert!(
        told.contains("performance.blocking_threads: ") && told.contains("3 (takes a restart)"),
        "{told}"
    );
    assert!(told.contains("1 changes are in force"), "{told}");
    assert!(works(&mut miner, "7"));
    assert!(site.reloaded().contains("(takes a restart)"), "it is told until the restart");
}

#[test]
fn blocks_survive_and_a_new_token_holds_at_once() {
    let (_pool, site, base, proxy) = at_one_pool();
    let command = |arguments: &[&str], token: &str| {
        finish(site.command(arguments).args(["--set", &format!("api.token={token}")]))
    };
    assert!(command(&["block", "127.0.8.2", "--for", "1h"], TOKEN).status.success());
    until("every shard keeps it out", || (0..8).all(|_| from(&proxy, 2).is_err()));
    let new = "another-token-of-24-chars";
    site.write(&format!("[api]\ntoken = \"{new}\"\n{base}[security]\nblocked_ip_ttl = \"7m\"\n"));
    proxy.signal(Signal::HUP);
    until("it is reloaded", || applied(&proxy) == 1.0);
    assert!(command(&["blocks"], new).stdout.starts_with(b"127.0.8.2 "), "its block stands");
    assert!((0..8).all(|_| from(&proxy, 2).is_err()));
    assert!(from(&proxy, 1).is_ok());
    let old = command(&["unblock", "127.0.8.2"], TOKEN);
    assert!(String::from_utf8_lossy(&old.stderr).contains("(401)"), "{old:?}");
    assert!(command(&["unblock", "127.0.8.2"], new).status.success());
    until("it is let in again", || from(&proxy, 2).is_ok());
}

/// What the proxy shows to who connects with TLS: whether `authority` stands behind it.
fn is_shown(authority: &Authority, address: SocketAddr) -> bool {
    let config = authority.client_config().unwrap();
    let name = rustls::pki_types::ServerName::try_from("proxy.test").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while tls.is_handshaking() {
        if tls.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}

#[test]
fn a_certificate_in_another_file_is_shown_from_then_on() {
    let (pool, old, new) = (pool(), Authority::new().unwrap(), Authority::new().unwrap());
    let site = Site::new("");
    let port = free_port();
    let write = |name: &str, authority: &Authority| {
        let ServerIdentity { certificate_pem, key_pem, .. } = authority.issue(&["proxy.test"]).unwrap();
        let [certificate, key] = ["pem", "key"].map(|end| site.path(&format!("{name}.{end}")));
        std::fs::write(&certificate, certificate_pem).unwrap();
        std::fs::write(&key, key_pem).unwrap();
        let pool = pool_at("main", pool.addr());
        site.write(&with_token(&format!(
            "{pool}[server.tls]\nport = {port}\ncert_file = {certificate:?}\nkey_file = {key:?}\n\
             [security]\nenable_ddos_protection = false\n"
        )));
    };
    write("old", &old);
    let _proxy = site.start(&SHARDS);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(is_shown(&old, address) && !is_shown(&new, address));
    write("new", &new);
    let told = site.reloaded();
    assert!(told.contains("server.tls.cert_file: ") && told.contains("2 changes are in force"), "{told}");
    until("every shard shows the new one", || (0..8).all(|_| is_shown(&new, address)));
}

#[test]
fn alerts_go_to_another_receiver_from_then_on() {
    let (pool, hook) = (pool(), HookReceiver::start(None).unwrap());
    let site = Site::new("");
    let base = pool_at("main", pool.addr()) + "[failover]\nfailures = 1\nbackoff_min = \"100ms\"\n";
    site.write(&with_token(&base));
    let proxy = site.start(&SHARDS);
    // It stays, and asks for a pool again and again.
    let _miner = movable(proxy.address);
    site.write(&with_token(&format!(
        "{base}[alerts]\nurl = \"http://{}/hook\"\nfire_after = \"0s\"\nbatch = \"1s\"\n",
        hook.addr()
    )));
    assert!(site.reloaded().contains("alerts.url"));
    pool.kill_listener();
    pool.kill_connections();
    until("the new receiver is told of it", || !hook.requests().is_empty());
}

/// Miners that come while the configuration is read again and again.
#[test]
fn a_storm_of_connects_is_served_through_reloads() {
    let pool = pool();
    let site = Site::new("");
    let write = |round: u32| {
        site.write(&with_token(&format!(
            "{}[security]\nmax_requests_per_minute = {}\nmax_connects_per_minute = 1000000\n",
            pool_at("main", pool.addr()),
            1_000_000 + round
        )));
    };
    write(0);
    let proxy = site.start(&SHARDS);
    let config = SwarmConfig {
        target: proxy.address,
        load: Load::Storm { connects: 2_000, concurrency: 50 },
        duration: PATIENCE,
        quirks: Quirks::default(),
        ..SwarmConfig::default()
    };
    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let storm = scope.spawn(|| loka_rig::run(&config, &stop, &mut |_| {}).unwrap());
        let mut round = 0;
        while !storm.is_finished() {
            round += 1;
            write(round);
            proxy.signal(Signal::HUP);
            until("it is reloaded", || applied(&proxy) == f64::from(round));
        }
        assert!(round > 1, "there was a reload in the storm");
        storm.join().unwrap()
    });
    assert_eq!((report.handshakes, report.connect_failed), (2_000, 0), "{report:#?}");
    assert_eq!(report.disconnected, 0);
}
