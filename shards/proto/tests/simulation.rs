//! Seeded simulation: miners, a network and pools around real sessions, on a virtual clock. Pools are lost and left, and
//! miners that can be told of another are moved. In three seeds of four, sessions go on in other processes meanwhile.
//!
//! Nothing here knows the time, threads or sockets, so a seed replays exactly. What is checked after every call is in
//! `simulation/link.rs`, what is checked about every message in `simulation/ledger.rs`, what about moves in
//! `simulation/moves.rs`.
//!
//! `LOKA_SIM_SEEDS=10000` runs more seeds than the 256 of a plain `cargo test`; `LOKA_SIM_SEED=123` replays one and
//! shows its events.

#[path = "simulation/credit.rs"]
mod credit;
#[path = "simulation/handing.rs"]
mod handing;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/link.rs"]
mod link;
#[path = "simulation/miner.rs"]
mod miner;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/moves.rs"]
mod moves;
#[path = "simulation/net.rs"]
mod net;
#[path = "simulation/pool.rs"]
mod pool;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/says.rs"]
mod says;
#[path = "simulation/setting.rs"]
mod setting;
#[path = "simulation/talk.rs"]
mod talk;
#[path = "simulation/world.rs"]
mod world;

use loka_proto::stats::Counts;
use loka_proto::{Direction, End, Filtered, PoolLoss, Reject, RejectClass, Stats};
use setting::{Losses, Report};
use world::World;

const SEEDS: u64 = 256;

/// A number from the environment.
#[allow(clippy::disallowed_methods, reason = "the seed of a replay is given by whoever runs the test")]
fn number_given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs one seed; a failure names it.
#[allow(clippy::print_stderr, reason = "whoever sees the failure needs the seed")]
fn run(seed: u64, shows: bool) -> Report {
    let outcome = std::panic::catch_unwind(|| World::new(seed, shows).run());
    outcome.unwrap_or_else(|panic| {
        eprintln!("seed {seed} failed. To replay it:");
        eprintln!("LOKA_SIM_SEED={seed} cargo test -p loka-proto --test simulation -- --nocapture");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number_given("LOKA_SIM_SEED") {
        let report = run(seed, true);
        println!("seed {seed}: {} sessions, {} events", report.sessions, report.events);
        return tell(&report.stats, &report.losses);
    }
    let seeds = number_given("LOKA_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut total, mut losses) = (Stats::default(), Losses::default());
    let (mut sessions, mut events, mut handed) = (0, 0, 0);
    for seed in 0..seeds {
        let report = run(seed, false);
        total.merge(&report.stats);
        losses.add(&report.losses.0);
        sessions += report.sessions;
        events += report.events;
        handed += report.handed;
    }
    println!("{seeds} seeds: {sessions} sessions, {events} events, {handed} times handed over");
    tell(&total, &losses);
    if seeds >= SEEDS {
        check_coverage(&total.counts);
        check_coverage_of_pools(&total, &losses);
        let handed_over = total.counts.shares.handed_over;
        assert!(handed > 1_000 && handed_over > 1_000, "{handed} handed over with {handed_over} shares");
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 0..4 {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!((first.digest, first.events), (second.digest, second.events), "seed {seed}");
    }
    assert_ne!(run(1, false).digest, run(2, false).digest);
}

/// Miners and pools cannot tell: the same bytes come out at the same times, and the same is counted.
#[test]
fn nobody_can_tell_that_sessions_go_on_in_other_processes() {
    for seed in 0..24 {
        let [stays, goes] = [0, 300].map(|often| World::new(seed, false).with_handings(often).run());
        assert_eq!((stays.digest, stays.events), (goes.digest, goes.events), "seed {seed}");
        assert_eq!((stays.handed, stays.stats.counts.shares.handed_over), (0, 0));
        assert!(goes.handed > 0, "seed {seed}");
        let mut counts = unhashed(&goes.stats.counts);
        counts.shares.forwarded -= counts.shares.handed_over;
        counts.shares.handed_over = 0;
        assert_eq!(unhashed(&stays.stats.counts), counts, "seed {seed}");
        assert!(stays.stats.submit_us == goes.stats.submit_us, "seed {seed}");
    }
}

/// The same without what hashes tell: shares of jobs that came before the hand-over are not hashed.
fn unhashed(counts: &Counts) -> Counts {
    let mut counts = counts.clone();
    counts.block_candidates = Default::default();
    let shares = &mut counts.shares;
    (shares.below_difficulty, shares.unhashed, shares.best_difficulty) = (0, 0, 0.0);
    counts
}

/// The tallies, for `--nocapture`.
#[allow(clippy::print_stdout, reason = "seen with --nocapture only")]
fn tell(stats: &Stats, losses: &Losses) {
    let counts = &stats.counts;
    println!("{:?}", counts.shares);
    println!("configures answered by the proxy: {}", counts.configure_answered);
    println!("miners moved: {}", counts.moved);
    for loss in PoolLoss::ALL {
        println!("loss {loss}: {}", losses.0[loss.index()]);
    }
    for direction in Direction::ALL {
        let count: u64 = counts.messages[direction.index()].iter().sum();
        println!("messages {direction}: {count}");
    }
    for end in End::ALL {
        println!("end {end}: {}", counts.ends[end.index()]);
    }
    for reject in Reject::ALL {
        println!("reject {reject}: {}", counts.rejects[reject.index()]);
    }
    for filtered in Filtered::ALL {
        println!("filtered {filtered}: {}", counts.filtered[filtered.index()]);
    }
}

/// A simulation in which nothing happens proves nothing: over all the seeds everything must have happened.
fn check_coverage(counts: &Counts) {
    // The runtime alone finds the first; a flood of output needs more than a network's read at once.
    let by_runtime = [End::Panicked, End::OverCapacity, End::Shed, End::BadProxyHeader, End::TlsFailed];
    let guests = [End::Http, End::HttpBusy];
    let at_the_door =
        [End::Denied, End::Blocked, End::Kicked, End::AddressLimit, End::ConnectRate, End::Overloaded];
    let not_here = [by_runtime.as_slice(), &guests, &at_the_door, &[End::OutputFlood]].concat();
    for end in End::ALL.iter().filter(|end| !not_here.contains(end)) {
        assert!(counts.ends[end.index()] > 0, "no session ended with {end}");
    }
    for reject in Reject::ALL {
        assert!(counts.rejects[reject.index()] > 0, "nothing was refused as {reject}");
    }
    for filtered in Filtered::ALL {
        assert!(counts.filtered[filtered.index()] > 0, "nothing was filtered as {filtered}");
    }
    for class in RejectClass::ALL {
        assert!(counts.shares.rejected[class.index()] > 0, "no share was rejected as {class}");
    }
    assert!(counts.shares.accepted > 10_000, "{:?}", counts.shares);
    assert!(counts.shares.refused > 1_000 && counts.shares.unanswered > 100, "{:?}", counts.shares);
    assert!(counts.shares.accepted_difficulty > 0.0);
    assert!(counts.authorizations.accepted > 0 && counts.authorizations.refused > 0);
    assert!(counts.configure_answered > 0, "no configure was answered in the place of a pool");
}

/// Every way to lose a pool, and enough miners that found their way to another.
fn check_coverage_of_pools(stats: &Stats, losses: &Losses) {
    for loss in PoolLoss::ALL {
        assert!(losses.0[loss.index()] > 0, "no pool was lost as {loss}");
    }
    assert!(stats.counts.moved > 100, "{} miners moved", stats.counts.moved);
    assert!(stats.counts.shares.lost > 100, "{:?}", stats.counts.shares);
    assert!(
        stats.pools.len() == 3 && stats.pools.iter().all(|pool| pool.accepted > 1_000),
        "three pools at work"
    );
}
