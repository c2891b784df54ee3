//! What the running aggregator costs with 100,000 workers on 8 shards: taking reports, watching addresses and memory, and
//! publishing snapshots, by the CPU time of its own thread as the kernel counts it.
//!
//! The thread is the product's, with its mailboxes; the shards are made up here. It tells no wall time, so that a machine that
//! is busy with others disturbs it little.
//!
//! Run it: `cargo bench --bench tick`, or `cargo bench --bench tick -- 5` for phases of 5 s.

use loka_proto::{PoolId, PoolState, Verdict, WorkerCounts, WorkerNews};
use loka_runtime::{ControlEnd, Report, ShardEnd, mailbox};
use loka_stratum::aggregate::{
    Aggregator, AggregatorHandle, Facts, Limits, SilentQuery, Window, WorkerQuery, WorkerSort,
};
use loka_stratum::guard::{self, GuardLimits};
use loka_stratum::pools::PoolView;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

const WORKERS: usize = 100_000;
const SHARDS: usize = 8;
const POOLS: usize = 2;
/// A share of each worker every five seconds, a report every half: so many workers have news.
const NEWS: usize = WORKERS / SHARDS / 10;
const REPORT_EVERY: Duration = Duration::from_millis(500);
const SECONDS: u64 = 30;

struct Shard {
    end: ShardEnd,
    report: Box<Report>,
}

fn facts() -> Facts {
    let pool = |number: usize| PoolView {
        name: format!("pool{number}"),
        is_configured: true,
        endpoint: "pool.example.com:3333".to_owned(),
        priority: 1,
        weight: 1,
        state: PoolState::Healthy,
        cause: String::new(),
        since: Instant::now(),
        addresses: 1,
        transitions: [0; PoolState::COUNT],
    };
    Facts {
        version: "bench",
        started: SystemTime::now(),
        cpus: (0..SHARDS).collect(),
        pools: watch::channel((0..POOLS).map(pool).collect()).1,
        blocks: watch::channel(Default::default()).1,
        memory: watch::channel(Default::default()).1,
        refusals: Default::default(),
        alerts: Default::default(),
        reloads: Default::default(),
        records: Default::default(),
        dropped_lines: Default::default(),
        memory_profiling: false,
    }
}

fn start() -> (Vec<Shard>, AggregatorHandle) {
    let (shards, ends): (Vec<Shard>, Vec<ControlEnd>) = (0..SHARDS)
        .map(|shard| {
            let (end, control, report) = mailbox(shard);
            (Shard { end, report }, control)
        })
        .unzip();
    let ends = ends.into_iter().map(Arc::new).collect();
    let guard = GuardLimits { connections_max: None, term: Duration::from_secs(3_600) };
    let limits = watch::channel(Limits { guard, max_memory_mib: None }).1;
    let (_, wishes) = guard::desk();
    let handle = Aggregator::start(ends, facts(), limits, wishes, None, Duration::from_secs(1));
    (shards, handle.expect("a thread can be started"))
}

/// Every shard tells of a share of each of its next workers.
fn report(shards: &mut [Shard], names: &[Arc<str>], round: usize, sessions: i32) {
    for (number, shard) in shards.iter_mut().enumerate() {
        let own = WORKERS / SHARDS;
        for news in 0..NEWS {
            let worker = number * own + (round * NEWS + news) % own;
            let waited_us = 10_000 + (worker % 1_000) as u64;
            shard.report.stats.verdict(Verdict::Accepted, 1_000.0, waited_us);
            let counts = WorkerCounts {
                accepted: 1,
                accepted_difficulty: 1_000.0,
                difficulty: 1_000.0,
                waited_us,
                pool: Some(PoolId::default()),
                ..WorkerCounts::default()
            };
            shard.report.workers.push(WorkerNews {
                name: Some(Arc::clone(&names[worker])),
                agent: None,
                sessions,
                accepted_ago_us: Some(1_000),
                counts,
            });
        }
        shard.report.stats.counts.shares.forwarded += NEWS as u64;
        // Where the aggregator is late it counts on in the same box, as a shard does.
        if shard.end.can_exchange() {
            shard.end.exchange(&mut shard.report);
        }
    }
}

/// Nanoseconds that the aggregator's thread has used.
fn used() -> u64 {
    let is_it = |folder: &PathBuf| {
        std::fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "aggregator")
    };
    let found = loop {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        // A thread gives itself its name when it has begun.
        if let Some(found) = tasks.map(|task| task.path()).find(is_it) {
            break found;
        }
    };
    let text = std::fs::read_to_string(found.join("schedstat")).expect("the kernel counts");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

/// What the thread uses while `each` is done twice a second.
#[allow(clippy::print_stdout, reason = "the figure that this bench is for")]
fn phase(name: &str, seconds: u64, mut each: impl FnMut(usize)) {
    let (before, begun) = (used(), Instant::now());
    for round in 0..2 * seconds as usize {
        each(round);
        let next = begun + REPORT_EVERY * (round as u32 + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let ms = (used() - before) as f64 / 1e6;
    let a_second = ms / begun.elapsed().as_secs_f64();
    println!("{name:<52} {a_second:6.2} ms of CPU a second, {:.2} ms a look of four", a_second / 4.0);
}

fn main() {
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(SECONDS);
    let name = |number: usize| format!("farm.hall{}-rack{:03}-{number:06}", number % 7, number % 500);
    let names: Vec<Arc<str>> = (0..WORKERS).map(|number| name(number).into()).collect();
    let (mut shards, handle) = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    phase("nothing known, nothing reported", seconds, |_| {});
    let mut round = 0;
    while runtime.block_on(handle.workers().page(WorkerQuery::default())).map_or(0, |page| page.known)
        < WORKERS
    {
        report(&mut shards, &names, round, i32::from(round < 10));
        round += 1;
        std::thread::sleep(REPORT_EVERY);
    }
    phase("100,000 workers known, nothing reported", seconds, |_| {});
    phase("10,000 workers report each half second", seconds, |number| {
        report(&mut shards, &names, round + number, 0);
    });
    round += 2 * seconds as usize;
    let page = WorkerQuery {
        sort: WorkerSort::Hashrate(Window::Minute),
        descending: true,
        take: 100,
        ..WorkerQuery::default()
    };
    phase("the same, with a page by hashrate twice a second", seconds, |number| {
        report(&mut shards, &names, round + number, 0);
        let _ = runtime.block_on(handle.workers().page(page.clone()));
    });
    round += 2 * seconds as usize;
    let silent = SilentQuery { silent_for: Duration::from_secs(600), forget: Duration::from_secs(86_400) };
    phase("the same, with silent workers in place of the page", seconds, |number| {
        report(&mut shards, &names, round + number, 0);
        let _ = runtime.block_on(handle.workers().silent(silent));
    });
    handle.stop();
}
