//! What 100,000 workers on 8 shards cost the aggregator: taking their reports from the mailboxes, and answering questions.
//!
//! Figures are made here and put into the mailboxes; there is no shard and no socket. What a snapshot costs does not depend
//! on workers and is not measured. Memory is what the process grows by while the book fills.
//!
//! Run it: `cargo bench --bench workers`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loka_proto::{PoolId, WorkerCounts, WorkerNews};
use loka_runtime::{ControlEnd, Report, ShardEnd, mailbox};
use loka_stratum::aggregate::{SilentQuery, Totals, Window, WorkerBook, WorkerQuery, WorkerSort};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WORKERS: usize = 100_000;
const SHARDS: usize = 8;
/// A share of each worker every five seconds, a report every half: so many workers have news.
const NEWS_USUAL: usize = WORKERS / SHARDS / 10;
/// The most that one report tells.
const NEWS_MAX: usize = loka_runtime::limits::WORKERS_PER_REPORT;

struct Farm {
    names: Vec<Arc<str>>,
    shards: Vec<(ShardEnd, ControlEnd, Box<Report>)>,
    book: WorkerBook,
    totals: Totals,
    begin: Instant,
    /// Reports of each shard so far.
    round: usize,
}

impl Farm {
    fn new() -> Farm {
        let name = |number: usize| format!("farm.hall{}-rack{:03}-{number:06}", number % 7, number % 500);
        Farm {
            names: (0..WORKERS).map(|number| name(number).into()).collect(),
            shards: (0..SHARDS).map(mailbox).collect(),
            book: WorkerBook::new(Instant::now()),
            totals: Totals::new(SHARDS),
            begin: Instant::now(),
            round: 0,
        }
    }

    /// Every shard reports on its next `count` workers.
    fn report(&mut self, count: usize, sessions: i32) {
        for (shard, (end, _, report)) in self.shards.iter_mut().enumerate() {
            let own = WORKERS / SHARDS;
            for news in 0..count {
                let number = shard * own + (self.round * count + news) % own;
                report.workers.push(share(&self.names[number], number, sessions));
            }
            assert!(end.can_exchange(), "the last report was taken");
            end.exchange(report);
        }
        self.round += 1;
    }

    /// What the aggregator does with them.
    fn collect(&mut self) {
        let now = self.begin + Duration::from_millis(500) * u32::try_from(self.round).unwrap_or(u32::MAX);
        let Farm { shards, book, totals, .. } = self;
        for (_, end, _) in shards {
            end.collect(|report| {
                totals.add(report, now);
                book.add(&report.workers, now);
            });
        }
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(500) * u32::try_from(self.round).unwrap_or(u32::MAX)
    }
}

/// An accepted share.
fn share(name: &Arc<str>, number: usize, sessions: i32) -> WorkerNews {
    let difficulty = 1_000.0 + (number % 1_000) as f64;
    let counts = WorkerCounts {
        accepted: 1,
        accepted_difficulty: difficulty,
        difficulty,
        waited_us: 20_000,
        pool: Some(PoolId::default()),
        ..WorkerCounts::default()
    };
    WorkerNews { name: Some(Arc::clone(name)), agent: None, sessions, accepted_ago_us: Some(1_000), counts }
}

/// Bytes of memory that the process has now.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

#[allow(clippy::print_stdout, reason = "a figure that criterion has no place for")]
fn filled() -> Farm {
    let mut farm = Farm::new();
    // The boxes grow to what they will have, so that their memory is not taken for that of workers.
    farm.report(NEWS_USUAL, 1);
    farm.collect();
    let before = (resident(), farm.book.len());
    for _ in 1..10 {
        farm.report(NEWS_USUAL, 1);
        farm.collect();
    }
    assert_eq!(farm.book.len(), WORKERS);
    let bytes = resident().saturating_sub(before.0) / (WORKERS - before.1);
    println!("memory: {bytes} bytes a worker, beside its name of {} bytes", farm.names[0].len());
    farm
}

fn workers(c: &mut Criterion) {
    let mut farm = filled();
    let mut group = c.benchmark_group("workers");
    for (name, count) in [("tick/10000_of_100000", NEWS_USUAL), ("tick/32768_of_100000", NEWS_MAX)] {
        group.throughput(Throughput::Elements((count * SHARDS) as u64));
        let farm = std::cell::RefCell::new(&mut farm);
        group.bench_function(name, |b| {
            b.iter_batched(
                || farm.borrow_mut().report(count, 0),
                |()| farm.borrow_mut().collect(),
                BatchSize::PerIteration,
            );
        });
    }
    group.throughput(Throughput::Elements(WORKERS as u64));
    let (now, page) = (farm.now(), WorkerQuery { take: 100, descending: true, ..WorkerQuery::default() });
    let sorted = |sort| WorkerQuery { sort, ..page.clone() };
    for (name, query) in [
        ("page/by_hashrate", sorted(WorkerSort::Hashrate(Window::Minute))),
        ("page/by_name", sorted(WorkerSort::Name)),
        ("page/in_the_middle", WorkerQuery { skip: WORKERS / 2, ..sorted(WorkerSort::LastShare) }),
        ("page/search", WorkerQuery { search: Some("RACK123".to_owned()), ..page.clone() }),
        ("page/silent", WorkerQuery { silent_for: Some(Duration::from_secs(600)), ..page.clone() }),
    ] {
        group.bench_function(name, |b| b.iter(|| black_box(farm.book.page(&query, now).matching)));
    }
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    // Nobody is silent, and everybody: the least and the most that there is to name.
    for (name, later) in [("silent/nobody", minutes(0)), ("silent/everybody", minutes(20))] {
        let query = SilentQuery { silent_for: minutes(10), forget: minutes(60) };
        group.bench_function(name, |b| b.iter(|| black_box(farm.book.silent(&query, now + later).count)));
    }
    let name = Arc::clone(&farm.names[WORKERS / 3]);
    group.throughput(Throughput::Elements(1));
    group.bench_function("one", |b| b.iter(|| black_box(farm.book.worker(&name, now).is_some())));
    group.finish();
}

criterion_group!(benches, workers);
criterion_main!(benches);
