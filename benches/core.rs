//! What the pure core costs: one message at a time, no socket, no clock.
//!
//! Groups: `parse` (with serde_json's `Value` beside it, in the same run, on the same lines), `session` (a share up and
//! its answer down through the standard chain), `middleware` (the chain alone) and `stats`.
//!
//! Run it: `cargo bench --bench core`, or `cargo bench --bench core -- session` for one group.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loka_proto::message::MinerMessage;
use loka_proto::middleware::{NoLog, RateLimit, Request};
use loka_proto::{Client, ClientId, Cx, Direction, Flow, MessagePipeline, MessagePipelineBuilder, Method};
use loka_proto::{JobBodies, Out, Parser, Policy, Session, Stage, StageCx, Stats, Tick, UserRule, Verdict};
use std::hint::black_box;

const SUBSCRIBE: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"bench/1.0\"]}\n";
const AUTHORIZE: &[u8] = b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"farm.w0042\",\"x\"]}\n";
const AUTHORIZED: &[u8] = b"{\"id\":2,\"result\":true,\"error\":null}\n";
const SUBSCRIBED: &[u8] = include_bytes!("corpus/subscribed.txt");
const SUBMIT: &[u8] = include_bytes!("corpus/submit.txt");
const ACCEPTED: &[u8] = include_bytes!("corpus/accepted.txt");
const REJECTED: &[u8] = include_bytes!("corpus/rejected.txt");
const NOTIFY: &[u8] = include_bytes!("corpus/notify.txt");

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

/// A miner that has greeted and has a job, with all that its calls need.
struct Bench<P> {
    session: Session,
    pipeline: P,
    parser: Parser,
    jobs: JobBodies,
    policy: Policy,
    stats: Stats,
    out: Out,
    now: Tick,
}

impl<P: Stage> Bench<P> {
    fn new(pipeline: P, user: UserRule) -> Bench<P> {
        let session = Session::new(ClientId(1), Tick(0));
        let policy = Policy { user, ..Policy::default() };
        let (parser, stats) = (Parser::default(), Stats::default());
        let jobs = JobBodies::default();
        let mut bench =
            Bench { session, pipeline, parser, jobs, policy, stats, out: Out::default(), now: Tick(0) };
        bench.miner(SUBSCRIBE);
        bench.miner(AUTHORIZE);
        bench.call(|session, cx, _| session.handle_pool_up(cx, 1_000));
        for line in [SUBSCRIBED, AUTHORIZED, NOTIFY] {
            bench.pool(line);
        }
        bench.miner(SUBMIT);
        assert_eq!(bench.stats.counts.shares.forwarded, 1, "the share of the corpus is relayed");
        bench.pool(ACCEPTED);
        assert_eq!(bench.stats.counts.shares.accepted, 1, "and its answer is taken");
        bench
    }

    fn call(&mut self, call: impl FnOnce(&mut Session, &mut Cx<'_, P>, &mut Parser)) {
        self.out.clear();
        // A share every 100 ms of the session's time, so that a rate limit is paid for and never reached.
        self.now = self.now + 100_000;
        let Bench { session, pipeline, parser, jobs, policy, stats, out, now } = self;
        call(session, &mut Cx { now: *now, out, stats, policy, pipeline, jobs }, parser);
    }

    fn miner(&mut self, line: &[u8]) {
        self.call(|session, cx, parser| session.handle_miner_bytes(cx, parser, line));
    }

    fn pool(&mut self, line: &[u8]) {
        self.call(|session, cx, parser| session.handle_pool_bytes(cx, parser, line));
    }

    fn share(&mut self) -> usize {
        self.miner(black_box(SUBMIT));
        let sent = self.out.to_pool.len();
        self.pool(black_box(ACCEPTED));
        sent + self.out.to_miner.len()
    }
}

fn standard() -> MessagePipeline<NoLog> {
    MessagePipelineBuilder::standard().with_rate_limit(Some(RateLimit::per_minute(6_000))).build()
}

fn session(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(1));
    let mut plain = Bench::new(standard(), UserRule::default());
    group.bench_function("share_and_answer/user_as_it_came", |b| b.iter(|| black_box(plain.share())));
    let rule = UserRule::new("account", "", &[".".to_owned(), "_".to_owned()]);
    let mut rewritten = Bench::new(standard(), rule);
    group.bench_function("share_and_answer/user_rewritten", |b| b.iter(|| black_box(rewritten.share())));
    let mut bare = Bench::new(MessagePipelineBuilder::new().build(), UserRule::default());
    group.bench_function("share_and_answer/no_stages", |b| b.iter(|| black_box(bare.share())));
    let (head, tail) = SUBMIT.split_at(SUBMIT.len() / 2);
    group.bench_function("share_and_answer/in_two_segments", |b| {
        b.iter(|| {
            plain.miner(black_box(head));
            plain.miner(black_box(tail));
            plain.pool(black_box(ACCEPTED));
            black_box(plain.out.to_miner.len())
        });
    });
    group.throughput(bytes(NOTIFY));
    group.bench_function("notify", |b| {
        b.iter(|| {
            plain.pool(black_box(NOTIFY));
            black_box(plain.out.to_miner.len())
        });
    });
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
    let Bench { pipeline, parser, jobs, policy, stats, out, now, .. } = bench;
    let cx = &mut Cx { now: *now, out, stats, policy, pipeline, jobs };
    session.handle_miner_bytes(cx, parser, black_box(SUBSCRIBE));
    session.handle_miner_eof(cx);
    black_box(session.is_over());
}

/// The one stage that stands where the chain ends: it lends the client and the request to the measurement.
struct Lends<F>(F);

impl<F: FnMut(&mut StageCx<'_>, &mut Client, &Request<'_>)> Stage for Lends<F> {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        (self.0)(cx, client, request);
        Flow::Pass
    }
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
