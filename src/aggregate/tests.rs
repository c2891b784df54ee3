//! Reports of made-up shards, added up.

use super::*;
use loka_proto::{Direction, Method, RejectClass, Verdict};
use loka_runtime::{Shell, mailbox};
use std::collections::VecDeque;
use std::sync::Mutex;

/// Stands for the mailboxes of all shards.
#[derive(Clone, Default)]
pub(crate) struct Post(Arc<Mutex<VecDeque<Report>>>);

impl Post {
    pub(crate) fn send(&self, report: Report) {
        self.0.lock().unwrap().push_back(report);
    }

    fn collector(&self) -> Collect {
        let post = Arc::clone(&self.0);
        Box::new(move |merge| post.lock().unwrap().drain(..).for_each(|report| merge(&report)))
    }
}

const LIMITS: crate::guard::GuardLimits =
    crate::guard::GuardLimits { connections_max: None, term: Duration::from_secs(3600) };

fn one_pool() -> crate::pools::PoolView {
    crate::pools::PoolView {
        name: "pool".to_owned(),
        is_configured: true,
        endpoint: "pool.example.com:3333".to_owned(),
        priority: 1,
        weight: 1,
        state: loka_proto::PoolState::Healthy,
        cause: String::new(),
        since: Instant::now(),
        addresses: 1,
        transitions: [0; loka_proto::PoolState::COUNT],
    }
}

pub(crate) fn facts() -> Facts {
    Facts {
        blocks: tokio::sync::watch::channel(Default::default()).1,
        memory: tokio::sync::watch::channel(Default::default()).1,
        pools: tokio::sync::watch::channel(Arc::from([one_pool()])).1,
        version: "1.2.3",
        started: SystemTime::now(),
        cpus: vec![4, 6],
        dropped_lines: DroppedLines::default(),
        refusals: Default::default(),
        reloads: Default::default(),
        alerts: Default::default(),
        records: Default::default(),
        memory_profiling: true,
    }
}

/// A running aggregator over `shards` shards that looks into the post every few milliseconds.
pub(crate) fn running(shards: usize) -> (Post, AggregatorHandle) {
    let post = Post::default();
    let handle = start(post.collector(), shards, facts(), Duration::from_millis(20)).unwrap();
    (post, handle)
}

/// The first snapshot from now on that is as wanted.
pub(crate) fn wait_for(mut reader: SnapshotReader, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let found = async {
        while !wanted(&reader.latest()) {
            reader.next().await.expect("the aggregator runs");
        }
        reader.latest()
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), found).await.expect("in time") })
}

/// A worker with one connection and an accepted share.
pub(crate) fn worker(name: &str) -> loka_proto::WorkerNews {
    let counts =
        loka_proto::WorkerCounts { accepted: 1, pool: Some(loka_proto::PoolId::of(0)), ..Default::default() };
    loka_proto::WorkerNews {
        name: Some(name.into()),
        agent: None,
        sessions: 1,
        accepted_ago_us: Some(0),
        counts,
    }
}

/// A reader of workers that nobody answers.
pub(crate) fn nobody() -> WorkersReader {
    WorkersReader::new(&Arc::new(sync_channel(1).0))
}

/// A reader that reads this and nothing else.
pub(crate) fn fixed(snapshot: Snapshot) -> SnapshotReader {
    SnapshotReader { latest: watch::channel(Arc::new(snapshot)).1 }
}

/// A report with something in every part.
pub(crate) fn report(shard: usize) -> Report {
    let mut report = Report { shard, ..Report::default() };
    let stats = &mut report.stats;
    stats.message(Direction::FromMiner, Method::Submit);
    stats.message(Direction::FromPool, Method::Answer);
    stats.message(Direction::ToPool, Method::Submit);
    stats.counts.shares.forwarded = 3;
    stats.verdict(Verdict::Accepted, 1024.0, 20_000);
    stats.verdict(Verdict::Rejected(RejectClass::Stale), 1024.0, 40_000);
    stats.connected(loka_proto::PoolId::default(), 5_000);
    report.shell = Shell {
        accepted: 10,
        dials: 10,
        turns: 100,
        busy_us: 250_000,
        span_us: 1_000_000,
        connections: 7,
        pool_links: 6,
        queued_bytes: 50,
        ..Shell::default()
    };
    report
}

fn still(shards: usize, post: &Post) -> (State, SnapshotReader) {
    State::new(post.collector(), shards, facts(), Duration::from_secs(1), Instant::now())
}

#[test]
fn reports_of_several_shards_are_added_up() {
    let post = Post::default();
    let (mut state, reader) = still(2, &post);
    let begin = state.mark.at;
    for shard in [0, 1, 1] {
        post.send(report(shard));
    }
    state.tick(begin + Duration::from_millis(250), false);
    let mut last = report(0);
    last.shell.connections = 2;
    post.send(last);
    state.tick(begin + Duration::from_millis(500), false);

    let now = reader.latest();
    assert_eq!(now.stats.counts.shares.accepted, 4);
    assert_eq!(now.stats.counts.shares.rejected[RejectClass::Stale.index()], 4);
    assert_eq!(now.stats.submit_us.len(), 8);
    assert_eq!((now.messages_received(), now.messages_sent()), (8, 4));
    assert_eq!(now.shell(|shell| shell.accepted), 40);
    // Gauges are the last ones, not sums.
    assert_eq!((now.shards[0].shell.connections, now.shards[1].shell.connections), (2, 7));
    assert_eq!((now.shards[0].shares_accepted, now.shards[1].shares_forwarded), (2, 6));
    assert_eq!((now.shards[0].cpu, now.shards[1].cpu), (Some(4), Some(6)));
    assert_eq!(now.shards[0].report_age, Some(Duration::ZERO));
    assert_eq!(now.shards[1].report_age, Some(Duration::from_millis(250)));
}

#[test]
fn rates_are_means_over_the_interval() {
    let post = Post::default();
    let (mut state, reader) = still(1, &post);
    let begin = state.mark.at;
    post.send(report(0));
    post.send(report(0));
    state.tick(begin + Duration::from_millis(500), false);
    assert_eq!(reader.latest().rates.window_seconds, 0.0, "the interval has not passed");
    state.tick(begin + Duration::from_secs(2), false);
    let rates = &reader.latest().rates;
    assert_eq!((rates.window_seconds, rates.accepted_shares, rates.messages), (2.0, 1.0, 2.0));
    assert_eq!(rates.connects, 10.0);
    let (opened, failed) =
        (reader.latest().stats.connect_us.len(), reader.latest().shell(|shell| shell.dial_failures));
    assert_eq!((opened, failed), (2, 0));
    assert_eq!(reader.latest().shards[0].busy_ratio, 0.25);
    // Nothing happens for an interval.
    state.tick(begin + Duration::from_secs(3), false);
    let now = reader.latest();
    assert_eq!((now.rates.accepted_shares, now.rates.messages, now.shards[0].busy_ratio), (0.0, 0.0, 0.0));
}

#[test]
fn a_silent_shard_is_stalled_and_its_pool_state_is_told() {
    let post = Post::default();
    let (mut state, reader) = still(2, &post);
    let begin = state.mark.at;
    assert_eq!(reader.latest().pool_service(), PoolService::Idle);
    post.send(report(0));
    post.send(report(1));
    state.tick(begin, false);
    assert_eq!(reader.latest().pool_service(), PoolService::Up);
    let mut failing = Report { shard: 1, ..Report::default() };
    (failing.shell.dials, failing.shell.dial_failures) = (3, 3);
    state.tick(begin + Duration::from_secs(1), false);
    post.send(failing);
    let mut quiet = Report { shard: 0, ..Report::default() };
    quiet.shell.connections = 1;
    post.send(quiet);
    state.tick(begin + Duration::from_secs(2), false);
    assert_eq!(reader.latest().pool_service(), PoolService::Unreachable);
    post.send(Report { shard: 1, ..Report::default() });
    state.tick(begin + Duration::from_secs(8), false);
    let stalled: Vec<bool> = reader.latest().shards.iter().map(ShardFigures::is_stalled).collect();
    assert_eq!(stalled, [true, false]);
}

#[test]
fn ready_when_every_shard_has_reported_and_until_it_drains() {
    let (post, handle) = running(2);
    let reader = handle.snapshots();
    assert!(!reader.latest().is_ready() && reader.latest().is_starting());
    post.send(report(1));
    let one = wait_for(handle.snapshots(), |now| now.shards[1].report_age.is_some());
    assert!(!one.is_ready() && one.is_starting());
    post.send(report(0));
    wait_for(handle.snapshots(), Snapshot::is_ready);
    handle.set_draining();
    let draining = wait_for(handle.snapshots(), |now| now.draining);
    assert!(!draining.is_ready() && !draining.is_starting());
}

#[test]
fn stopping_collects_what_is_left() {
    let post = Post::default();
    let handle = start(post.collector(), 1, facts(), Duration::from_secs(3600)).unwrap();
    let mut reader = handle.snapshots();
    for _ in 0..50 {
        post.send(report(0));
    }
    let last = handle.stop();
    assert_eq!(last.stats.counts.shares.accepted, 50);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A snapshot may still be unseen; after it there is no other.
    while runtime.block_on(reader.next()).is_some() {}
    assert_eq!(reader.latest().stats.counts.shares.accepted, 50);
}

#[test]
fn real_mailboxes_are_polled_and_the_thread_ends_at_once() {
    let (shards, ends): (Vec<_>, Vec<_>) =
        (0..3).map(mailbox).map(|(shard, control, _)| (shard, control)).unzip();
    let ends = ends.into_iter().map(Arc::new).collect();
    let (_limits, held_to) = watch::channel(Limits { guard: LIMITS, max_memory_mib: None });
    let wishes = crate::guard::desk().1;
    let handle = Aggregator::start(ends, facts(), held_to, wishes, None, Duration::from_secs(3600)).unwrap();
    assert_eq!(handle.snapshots().latest().shards.len(), 3);
    let begin = Instant::now();
    assert!(handle.stop().is_starting());
    assert!(begin.elapsed() < Duration::from_secs(10));
    drop(shards);
}
