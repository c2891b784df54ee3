//! What the pure core costs: one message at a time, no socket, no clock.
//!
//! Groups: `parse` (with serde_json's `Value` beside it, in the same run, on the same lines), `session` (a share up and
//! its answer down through the standard chain), `middleware` (the chain alone) and `stats`.
//!
//! Run it: `cargo bench --bench core`, or `cargo bench --bench core -- session` for one group.

mod corpus;

use corpus::{ACCEPTED, Bench, Lends, NOTIFY, REJECTED, SUBMIT, SUBSCRIBE, account, standard};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loka_proto::message::MinerMessage;
use loka_proto::middleware::Request;
use loka_proto::{Client, ClientId, Cx, Direction, Flow, JobBodies, MessagePipelineBuilder, Method, Parser};
use loka_proto::{Session, Stage, StageCx, Stats, Tick, UserRule, Verdict};
use std::hint::black_box;

fn bytes(line: &[u8]) -> Throughput {
    Throughput::Bytes(line.len() as u64)
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let mut parser = Parser::default();
    for (name, line) in
        [("submit", SUBMIT), ("answer", ACCEPTED), ("rejection", REJECTED), ("notify", NOTIFY)]
    {
        group.throughput(bytes(line));
        group.bench_function(format!("{name}/loka"), |b| {
            b.iter(|| {
                let read = parser.read(black_box(line), |envelope| envelope.method.map_or(0, str::len));
                black_box(read.is_ok())
            });
        });
        group.bench_function(format!("{name}/serde_json_value"), |b| {
            b.iter(|| black_box(serde_json::from_slice::<serde_json::Value>(black_box(line)).is_ok()));
        });
    }
    group.throughput(bytes(SUBMIT));
    group.bench_function("submit_checked/loka", |b| {
        b.iter(|| {
            let read = parser.read(black_box(SUBMIT), |envelope| MinerMessage::read(envelope).is_ok());
            black_box(read)
        });
    });
    group.finish();
}

fn session(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(1));
    let mut plain = Bench::new(standard(), UserRule::default());
    group.bench_function("share_and_answer/user_as_it_came", |b| b.iter(|| black_box(plain.share())));
    let mut rewritten = Bench::new(standard(), account());
    group.bench_function("share_and_answer/user_rewritten", |b| b.iter(|| black_box(rewritten.share())));
    let mut bare = Bench::new(MessagePipelineBuilder::new().build(), UserRule::default());
    group.bench_function("share_and_answer/no_stages", |b| b.iter(|| black_box(bare.share())));
    group.bench_function("share_and_answer/in_two_segments", |b| {
        b.iter(|| {
            let line = plain.submit();
            let (head, tail) = line.split_at(line.len() / 2);
            plain.miner(black_box(head));
            plain.miner(black_box(tail));
            plain.pool(black_box(ACCEPTED));
            black_box(plain.out.to_miner.len())
        });
    });
    let mut hashing = Bench::hashing(standard(), UserRule::default());
    group.bench_function("share_and_answer/hashed", |b| {
        b.iter(|| {
            let said = hashing.share();
            hashing.prove();
            black_box(said)
        });
    });
    assert!(hashing.stats.counts.shares.best_difficulty > 0.0, "they were hashed");
    group.throughput(bytes(NOTIFY));
    // A job that came before is known from its words; without a memory for it every job is new.
    for (name, jobs) in [
        ("notify", JobBodies::new(false).hashing(false)),
        ("notify_hashing", JobBodies::new(false)),
        ("notify_known", JobBodies::new(true)),
    ] {
        plain.jobs = jobs;
        group.bench_function(name, |b| {
            b.iter(|| {
                plain.pool(black_box(NOTIFY));
                black_box(plain.out.to_miner.len())
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("poll_timeout", |b| b.iter(|| black_box(plain.session.poll_timeout(&plain.policy))));
    group.bench_function("open_and_end", |b| {
        b.iter_batched_ref(
            || Session::new(ClientId(2), Tick(0)),
            |session| plain_end(session, &mut rewritten),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    // What was measured is what was meant: every share went up and came back accepted.
    for stats in [&plain.stats, &rewritten.stats, &bare.stats] {
        assert_eq!(stats.counts.shares.forwarded, stats.counts.shares.accepted);
        assert_eq!(stats.counts.shares.refused, 0);
    }
}

/// A session that subscribes and whose miner leaves.
fn plain_end<P: Stage>(session: &mut Session, bench: &mut Bench<P>) {
    bench.out.clear();
    let Bench { pipeline, parser, jobs, workers, policy, stats, out, now, .. } = bench;
    let cx = &mut Cx { now: *now, out, stats, policy, pipeline, jobs, workers };
    session.handle_miner_bytes(cx, parser, black_box(SUBSCRIBE));
    session.handle_miner_eof(cx);
    black_box(session.is_over());
}

fn middleware(c: &mut Criterion) {
    let mut group = c.benchmark_group("middleware");
    group.throughput(Throughput::Elements(1));
    let mut chain = standard();
    let lends = Lends(|cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>| {
        if request.method != Method::Submit || client.mining.jobs() == 0 {
            return;
        }
        group.bench_function("submit/standard_chain", |b| {
            b.iter(|| {
                // Time goes on, or the rate limit would refuse, which is another path.
                cx.now = cx.now + 100_000;
                let flow = chain.on_request(cx, client, black_box(request));
                chain.on_outcome(cx, client, request, flow);
                black_box(flow)
            });
        });
        assert_eq!(chain.on_request(cx, client, request), Flow::Pass);
    });
    // The share that a new bench sends to prove itself is the request that is measured.
    Bench::new(lends, UserRule::default());
}

fn stats(c: &mut Criterion) {
    let mut group = c.benchmark_group("stats");
    group.throughput(Throughput::Elements(1));
    let (mut ours, mut waited_us) = (Stats::default(), 1);
    group.bench_function("record_share", |b| {
        b.iter(|| {
            waited_us = (waited_us * 7 + 13) % 1_000_000;
            ours.message(Direction::FromMiner, Method::Submit);
            ours.message(Direction::ToPool, Method::Submit);
            ours.verdict(black_box(Verdict::Accepted), 512.0, waited_us);
        });
    });
    let mut total = Stats::default();
    group.bench_function("merge", |b| b.iter(|| total.merge(black_box(&ours))));
    group.bench_function("clear", |b| b.iter(|| ours.clear()));
    group.finish();
}

criterion_group!(core, parse, session, middleware, stats);
criterion_main!(core);
