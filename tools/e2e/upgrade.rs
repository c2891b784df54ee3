//! One process of the real binary hands its miners to another while they work: nobody is disconnected, no share is lost, and
//! whatever is wrong with the new one, the old one goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "failover/farm.rs"]
#[allow(dead_code, reason = "fail-over uses all of it")]
mod farm;
mod site;
mod support;

use farm::MOVABLE;
use loka_rig::{Load, Miner, PoolConfig, PoolHandle, SwarmConfig};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use site::Site;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use support::{PATIENCE, Proxy, finish, http, until};

const LOAD: Load = Load::ClosedLoop { in_flight: 2 };

impl Site {
    fn told(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// The processes that were started to take over, in their order.
    fn successors(&self) -> Vec<Pid> {
        let log = self.log();
        let told = log.lines().filter(|line| line.contains("a new process is to take over"));
        let pid = |line: &str| line.split("pid=").nth(1)?.split(' ').next()?.parse().ok();
        told.filter_map(pid).filter_map(Pid::from_raw).collect()
    }

    /// Lets the process that serves now be followed by another, and waits until it has ended.
    fn upgrade(&self, first: &Proxy) {
        let (before, ended) = (self.successors(), self.told(" drained "));
        match before.last() {
            Some(now) => kill_process(*now, Signal::USR2).unwrap(),
            None => first.signal(Signal::USR2),
        }
        until("a new process has taken over", || {
            self.told("another process has taken over pid") > before.len()
        });
        until("the old process has ended", || self.told(" drained ") > ended);
    }
}

/// All processes end with the test.
impl Drop for Site {
    fn drop(&mut self) {
        for pid in self.successors() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn pool_at(address: SocketAddr) -> String {
    format!("[[pool]]\nname = \"main\"\nhost = \"{address}\"\n[security]\nenable_rate_limiting = false\n")
}

#[test]
fn five_upgrades_under_load_disconnect_nobody_and_lose_no_share() {
    let pool = farm::pool(1);
    let site = Site::new(&pool_at(pool.addr()));
    let proxy = site.start(&["--shards", "2"]);
    let miners = farm::work(site.address, LOAD, |work| {
        work.until_all_work("all miners work");
        for _ in 0..5 {
            site.upgrade(&proxy);
            work.until_all_work("all miners work at the new process");
        }
    });
    farm::check_miners(&miners);
    let (movable, plain) = (&miners.movable, &miners.plain);
    assert_eq!((plain.disconnected, plain.shares.lost, movable.extranonces), (0, 0, 0), "{}", site.log());
    let pool = pool.stop();
    farm::check_pool(&pool);
    assert_eq!(pool.shares_accepted, movable.shares.accepted + plain.shares.accepted);
    assert_eq!(pool.connections_accepted, (MOVABLE + farm::PLAIN) as u64, "nobody connected anew");
    farm::tell("5 upgrades", &miners);
    assert!(proxy.wait().success());
}

/// So many miners come, shake hands and go, 50 at a time, while one process after the other takes over.
fn storm(connects: u64, upgrades: u64) {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let site = Site::new(&pool_at(pool.addr()));
    let proxy = site.start(&["--shards", "2"]);
    let config = SwarmConfig {
        target: site.address,
        load: Load::Storm { connects, concurrency: 50 },
        duration: 10 * PATIENCE,
        ..SwarmConfig::default()
    };
    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let storm = scope.spawn(|| loka_rig::run(&config, &stop, &mut |_| {}).unwrap());
        for upgrade in 1..=upgrades {
            let due = connects * upgrade / (upgrades + 2);
            until("the storm goes on", || pool.report().connections_accepted > due);
            site.upgrade(&proxy);
        }
        assert!(!storm.is_finished(), "the storm lasted longer than the upgrades");
        storm.join().unwrap()
    });
    assert_eq!(
        (report.handshakes, report.connect_failed, report.disconnected),
        (connects, 0, 0),
        "{report:#?}"
    );
}

#[test]
fn a_storm_of_connects_is_served_through_an_upgrade() {
    storm(4_000, 1);
}

#[test]
#[ignore = "takes a minute"]
fn a_storm_of_fifty_thousand_connects_is_served_through_five_upgrades() {
    storm(50_000, 5);
}

/// Works, and asks the pool something that it answers.
fn works(miner: &mut Miner, id: &str) -> bool {
    miner.request(id, "mining.suggest_difficulty", "[1]").is_ok()
}

fn miner(site: &Site) -> Miner {
    let mut miner = Miner::connect(site.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    miner.handshake("farm.rig").unwrap();
    miner
}

#[test]
fn a_new_process_that_cannot_start_changes_nothing() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let site = Site::new(&pool_at(pool.addr()));
    let proxy = site.start(&[]);
    let mut before = miner(&site);
    site.write("[[pool]]\nname = \"main\"\nhost = \"a wrong host\"\n");
    proxy.signal(Signal::USR2);
    until("the failure is told", || site.told("the upgrade has failed: this process goes on") == 1);
    assert!(site.log().contains("the new program has ended"), "{}", site.log());
    assert!(works(&mut before, "7"));
    let mut after = miner(&site);
    assert!(works(&mut after, "7"));
    // And then one that can.
    site.write(&pool_at(pool.addr()));
    proxy.signal(Signal::USR2);
    until("it has taken over", || site.told("another process has taken over pid") == 1);
    assert!(works(&mut before, "8") && works(&mut after, "8"));
    assert!(proxy.wait().success());
}

#[test]
fn a_process_that_is_given_nothing_says_who_should_have() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let site = Site::new(&pool_at(pool.addr()));
    let output = finish(site.command(&["run"]).env("HANDOVER_FROM", std::process::id().to_string()));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("HANDOVER_FROM names a process that hands nothing over: "), "{told}");
}

#[test]
fn links_of_a_pool_that_the_new_process_does_not_have_stay_and_are_drained() {
    let (old, new) = (
        PoolHandle::start(PoolConfig::default()).unwrap(),
        PoolHandle::start(PoolConfig::default()).unwrap(),
    );
    let site = Site::new(&pool_at(old.addr()));
    let proxy = site.start(&["--set", "server.drain_timeout=1s"]);
    let mut leaves = miner(&site);
    site.write(&pool_at(new.addr()));
    proxy.signal(Signal::USR2);
    leaves.read_to_end().unwrap();
    assert!(proxy.wait().success());
    let mut comes = miner(&site);
    assert!(works(&mut comes, "7"));
    assert_eq!(new.report().connections_accepted, 1);
    assert!(
        http(site.metrics, "/readyz").unwrap().starts_with("HTTP/1.1 200"),
        "the metrics port went along"
    );
}

#[test]
fn a_new_process_that_is_killed_leaves_those_that_have_not_arrived() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let site = Site::new(&pool_at(pool.addr()));
    let proxy = site.start(&[]);
    let mut first = miner(&site);
    proxy.signal(Signal::USR2);
    until("a new process is there", || !site.successors().is_empty());
    let pid = site.successors()[0];
    let _ = kill_process(pid, Signal::KILL);
    until("the failure is told", || site.told("the upgrade has failed: this process goes on") == 1);
    assert!(test_kill_process(pid).is_err(), "it has ended, and was waited for");
    assert!(works(&mut first, "7"));
    assert!(works(&mut miner(&site), "7"));
}

/// The new process ends in the midst of it: those that it had are closed, all others go on, and nobody is left hanging.
#[test]
fn a_new_process_that_is_killed_in_the_midst_of_it_takes_only_those_that_it_had() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let site = Site::new(&pool_at(pool.addr()));
    let proxy = site.start(&["--shards", "1"]);
    let mut miners: Vec<Miner> = (0..600).map(|_| miner(&site)).collect();
    proxy.signal(Signal::USR2);
    until("a new process is there", || !site.successors().is_empty());
    // Both answer at the metrics port for as long as this takes.
    until("the new process has some", || proxy.metric("loka_stratum_links_taken_over_total") > 0.0);
    let _ = kill_process(site.successors()[0], Signal::KILL);
    until("it is over", || {
        site.told("this process goes on") + site.told("another process has taken over pid") == 1
    });
    let at_work = miners.iter_mut().filter_map(|miner| works(miner, "7").then_some(())).count();
    if site.told("this process goes on") == 1 {
        assert!(at_work > 0 && at_work < 600, "{at_work}");
        assert!(works(&mut self::miner(&site), "7"), "and others come");
        until("each is at its pool", || pool.report().connections_active == at_work as u64);
    }
}
