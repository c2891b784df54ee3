//! A farm under load for tests of fail-over: two pools, a way to the first that can be broken, the real proxy, and two swarms
//! of miners, of which one can be told of another pool and one cannot. At the end the books of all are compared.

use crate::support::{PATIENCE, Proxy, raise_open_files};
use loka_rig::{
    JobClock, Load, PoolConfig, PoolHandle, PoolReport, Progress, Quirks, Relay, RelayConfig, RelayHandle,
    SwarmConfig, SwarmReport,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Miners that subscribe to extranonce changes.
pub(crate) const MOVABLE: usize = 40;
/// Miners that do not, and dial again when they are closed.
pub(crate) const PLAIN: usize = 20;
/// Longer than any test takes.
const RUN: Duration = Duration::from_secs(300);
/// How long a pool takes to answer a share: a closed loop is to load the farm, not the machine.
const ANSWER_DELAY: Duration = Duration::from_millis(20);

/// What a test wants of `[failover]`, and of the load.
pub(crate) struct Setup {
    pub(crate) hold_miners: &'static str,
    pub(crate) stable_for: &'static str,
    pub(crate) load: Load,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { hold_miners: "10m", stable_for: "1h", load: Load::ClosedLoop { in_flight: 2 } }
    }
}

/// A pool whose job ids are the other's, and whose shares are not: another extranonce, another mask.
pub(crate) fn pool(seed: u64) -> PoolHandle {
    let (extranonce2_size, version_mask) = if seed == 1 { (8, 0x1fff_e000) } else { (4, 0x00ff_e000) };
    let config = PoolConfig {
        seed,
        extranonce2_size,
        version_mask,
        job_id_prefix: "same-".to_owned(),
        // Each connection gets one job, so that a job tells when the connection came to be of use.
        notify_interval: Duration::ZERO,
        answer_delay: ANSWER_DELAY,
        ..PoolConfig::default()
    };
    PoolHandle::start(config).unwrap()
}

/// Whether every miner has a connection to this pool.
pub(crate) fn has_all(pool: &PoolHandle) -> bool {
    pool.report().connections_active >= (MOVABLE + PLAIN) as u64
}

/// The proxy with two pools.
pub(crate) fn proxy(folder: &TempDir, first: SocketAddr, second: SocketAddr, setup: &Setup) -> Proxy {
    let Setup { hold_miners, stable_for, load: _ } = setup;
    let text = format!(
        r#"
        [[pool]]
        name = "first"
        host = "{first}"
        [[pool]]
        name = "second"
        host = "{second}"
        [failover]
        hold_miners = "{hold_miners}"
        handshake_timeout = "2s"
        notify_silence = "1d"
        behind_for = "1d"
        failures = 3
        backoff_min = "100ms"
        backoff_max = "400ms"
        stable_for = "{stable_for}"
        window = "10s"
        [security]
        enable_rate_limiting = false
        "#
    );
    let file = folder.path().join("two-pools.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    Proxy::start(first, &["--config", file, "--shards", "2"])
}

/// Two pools, and the proxy in front of them.
pub(crate) struct Farm {
    pub(crate) first: PoolHandle,
    pub(crate) second: PoolHandle,
    /// The ways to them.
    pub(crate) way: RelayHandle,
    pub(crate) way_to_second: RelayHandle,
    pub(crate) proxy: Proxy,
    setup: Setup,
    _folder: TempDir,
}

impl Farm {
    pub(crate) fn start(setup: Setup) -> Farm {
        raise_open_files();
        let (first, second) = (pool(1), pool(2));
        let [way, way_to_second] =
            [&first, &second].map(|pool| Relay::start(RelayConfig::to(pool.addr())).unwrap());
        let folder = TempDir::new().unwrap();
        let proxy = proxy(&folder, way.addr(), way_to_second.addr(), &setup);
        Farm { first, second, way, way_to_second, proxy, setup, _folder: folder }
    }

    /// Lets the miners work at the first pool, lets `happen` happen, and ends when it has.
    pub(crate) fn work(&self, happen: impl FnOnce(&Work)) -> Miners {
        work(self.proxy.address, self.setup.load, |work| {
            work.until_all_work("all miners work at the first pool");
            happen(work);
        })
    }

    /// How often the proxy took the first pool for failed.
    pub(crate) fn failures_of_first(&self) -> f64 {
        self.proxy.labelled(r#"loka_stratum_pool_transitions_total{pool="first",state="failed"}"#)
    }

    /// Compares the books, and tells how long the fault was felt.
    #[track_caller]
    pub(crate) fn settle(self, what: &str, miners: &Miners) {
        let Farm { first, second, proxy, .. } = self;
        let told_lost = check_proxy(&proxy, miners);
        let (first, second) = (first.stop(), second.stop());
        check_pool(&first);
        check_pool(&second);
        let accepted = first.shares_accepted + second.shares_accepted;
        let (movable, plain) = (miners.movable.shares, miners.plain.shares);
        // What a pool accepted just before it was lost, its miner was told to be lost, or lost with its own connection.
        let untold = told_lost + plain.lost;
        assert!(
            (movable.accepted + plain.accepted..=movable.accepted + plain.accepted + untold)
                .contains(&accepted),
            "pools accepted {accepted}, miners {} and {}, {untold} untold",
            movable.accepted,
            plain.accepted
        );
        tell(what, miners);
    }
}

/// What miners say of a run.
pub(crate) struct Miners {
    pub(crate) movable: SwarmReport,
    pub(crate) plain: SwarmReport,
}

/// A run of the miners, as the test that drives it sees it.
pub(crate) struct Work {
    clock: JobClock,
    news: Receiver<News>,
    /// The newest of each swarm.
    seen: RefCell<[Option<Progress>; 2]>,
    /// The swarms that have ended before the test did, because all their miners were gone.
    ended: RefCell<Vec<Swarm>>,
}

enum News {
    Progress(Swarm, Progress),
    Ended(Swarm),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swarm {
    Movable,
    Plain,
}

impl Work {
    /// From now on the time to the next job counts.
    pub(crate) fn mark(&self) {
        self.clock.mark();
    }

    /// Waits until `done`, and asks again whenever the miners have something to tell, a few times a second.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) -> Duration {
        let began = Instant::now();
        while !done() {
            let left = PATIENCE.checked_sub(began.elapsed()).unwrap_or_else(|| self.give_up(what));
            match self.news.recv_timeout(left).unwrap_or_else(|_| self.give_up(what)) {
                News::Progress(swarm, progress) => self.seen.borrow_mut()[swarm as usize] = Some(progress),
                News::Ended(swarm) => self.ended.borrow_mut().push(swarm),
            }
        }
        began.elapsed()
    }

    /// Lets the miners work for a while: until each swarm has told of itself so many times.
    pub(crate) fn go_on(&self, times: usize) {
        let heard = RefCell::new([0; 2]);
        let before = RefCell::new([None; 2]);
        self.until("the miners go on", || {
            let seen = self.seen.borrow();
            let (mut heard, mut before) = (heard.borrow_mut(), before.borrow_mut());
            for swarm in 0..2 {
                let elapsed = seen[swarm].map(|progress| (progress.phase, progress.elapsed));
                heard[swarm] += usize::from(elapsed != before[swarm]);
                before[swarm] = elapsed;
            }
            heard.iter().all(|heard| *heard > times)
        });
    }

    fn give_up(&self, what: &str) -> ! {
        panic!("waited in vain: {what}; the miners: {:#?}", self.seen.borrow())
    }

    /// Whether all miners that can be moved are gone.
    pub(crate) fn have_movable_gone(&self) -> bool {
        self.ended.borrow().contains(&Swarm::Movable)
    }

    /// Waits until both swarms have their jobs, and shares of both are accepted from now on.
    pub(crate) fn until_all_work(&self, what: &str) -> Duration {
        let ready = [MOVABLE, PLAIN];
        let before = RefCell::new([None; 2]);
        self.until(what, || {
            let seen = self.seen.borrow();
            (0..2).all(|swarm| {
                let Some(progress) = seen[swarm].filter(|progress| progress.ready == ready[swarm]) else {
                    return false;
                };
                let accepted = progress.shares.accepted;
                accepted > *before.borrow_mut()[swarm].get_or_insert(accepted)
            })
        })
    }
}

/// Stops the miners, whatever becomes of the test.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs both swarms while `happen` happens.
pub(crate) fn work(target: SocketAddr, load: Load, happen: impl FnOnce(&Work)) -> Miners {
    let (clock, stop) = (JobClock::default(), AtomicBool::new(false));
    let (tell, news) = channel();
    let run = |swarm: Swarm, tell: Sender<News>| {
        let config = config(swarm, target, load, &clock);
        // Nobody listens any more once the test has seen enough.
        let mut progress = |progress: &Progress| drop(tell.send(News::Progress(swarm, *progress)));
        let report = loka_rig::run(&config, &stop, &mut progress).unwrap();
        let _ = tell.send(News::Ended(swarm));
        report
    };
    std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let (to_movable, run) = (tell.clone(), &run);
        let movable = scope.spawn(move || run(Swarm::Movable, to_movable));
        let plain = scope.spawn(move || run(Swarm::Plain, tell));
        happen(&Work { clock: clock.clone(), news, seen: RefCell::default(), ended: RefCell::default() });
        drop(stopping);
        Miners { movable: movable.join().unwrap(), plain: plain.join().unwrap() }
    })
}

fn config(swarm: Swarm, target: SocketAddr, load: Load, clock: &JobClock) -> SwarmConfig {
    let is_movable = swarm == Swarm::Movable;
    let load = match load {
        Load::OpenLoop { per_second } => Load::OpenLoop { per_second: per_second / 2.0 },
        Load::Idle | Load::ClosedLoop { .. } | Load::Storm { .. } => load,
    };
    SwarmConfig {
        target,
        connections: if is_movable { MOVABLE } else { PLAIN },
        load,
        duration: RUN,
        user_prefix: if is_movable { "movable" } else { "plain" }.to_owned(),
        quirks: Quirks { mixed: true, reconnect: !is_movable, ..Quirks::default() },
        extranonce: is_movable,
        seed: swarm as u64 + 1,
        job_clock: Some(clock.clone()),
        ..SwarmConfig::default()
    }
}

/// Prints the times from the last mark to the next job of each miner, and what became of the shares. See it with
/// `--nocapture`.
pub(crate) fn tell(what: &str, miners: &Miners) {
    let (us, movable, plain) = (miners.movable.job_us, miners.movable.shares, miners.plain.shares);
    if us.count > 0 {
        let [first, half, last] = [us.min, us.p50, us.max].map(|us| us / 1000);
        note(&format!("{what}: next job after {first} ms (first miner), {half} ms (half), {last} ms (last)"));
    }
    note(&format!(
        "{what}: movable: {} sent, {} accepted, {} rejected; others: {} sent, {} accepted, {} lost in {} connections",
        movable.sent,
        movable.accepted,
        movable.rejected,
        plain.sent,
        plain.accepted,
        plain.lost,
        miners.plain.disconnected,
    ));
}

/// Prints a measurement, for whoever asks for it.
#[allow(clippy::print_stdout, reason = "a test's own output, which `cargo test` keeps to itself")]
pub(crate) fn note(text: &str) {
    println!("{text}");
}

/// Miners that can be moved lose nothing and are never disconnected; the others lose what was on its way when they were.
pub(crate) fn check_miners(miners: &Miners) {
    let Miners { movable, plain, .. } = miners;
    assert_eq!((movable.ready, movable.disconnected, movable.reconnects), (MOVABLE as u64, 0, 0));
    let shares = movable.shares;
    assert_eq!((shares.sent, shares.lost), (shares.accepted + shares.rejected, 0), "each share is answered");
    assert_eq!((shares.duplicate_answers, shares.mismatched, movable.malformed_lines), (0, 0, 0));
    let known = |code: &i64| matches!(code, 20 | 21);
    assert!(movable.reject_codes.keys().all(known), "{:?}", movable.reject_codes);
    let shares = plain.shares;
    assert_eq!(plain.ready, PLAIN as u64);
    assert_eq!(shares.sent, shares.accepted + shares.rejected + shares.lost);
    assert_eq!((shares.duplicate_answers, shares.mismatched, plain.malformed_lines), (0, 0, 0));
    assert_eq!(plain.extranonces_unasked, 0, "nobody is told what he cannot follow");
}

/// Returns how many shares were told to be lost with their pool.
pub(crate) fn check_proxy(proxy: &Proxy, miners: &Miners) -> u64 {
    check_miners(miners);
    crate::support::until("all ends are counted", || {
        proxy.metric("loka_stratum_connections_ended_total") == proxy.metric("loka_stratum_connections_total")
    });
    let count = |name: &str| proxy.metric(&format!("loka_stratum_shares_{name}_total")) as u64;
    let (movable, plain) = (miners.movable.shares, miners.plain.shares);
    assert_eq!(count("accepted"), movable.accepted + plain.accepted);
    let told = count("rejected") + count("refused") + count("lost");
    assert_eq!(told, movable.rejected + plain.rejected, "who was told no by the proxy, or by a pool");
    assert_eq!(
        count("forwarded"),
        count("accepted") + count("rejected") + count("unanswered") + count("lost")
    );
    count("lost")
}

/// No share went to a pool that could not know it.
pub(crate) fn check_pool(ledger: &PoolReport) {
    assert_eq!((ledger.shares_unknown_job, ledger.shares_duplicate, ledger.shares_malformed), (0, 0, 0));
    assert_eq!((ledger.shares_unauthorized, ledger.shares_not_subscribed, ledger.malformed_lines), (0, 0, 0));
    assert_eq!(ledger.uniqueness_forgotten, 0, "the pool remembers all shares of the test");
    assert_eq!(ledger.failure, None);
}
