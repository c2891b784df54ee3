//! A miner that has greeted and has a job, and the stage that lends its request to a measurement.

use super::{ACCEPTED, AUTHORIZE, AUTHORIZED, NOTIFY, SUBMIT, SUBSCRIBE, SUBSCRIBED};
use loka_proto::middleware::{NoLog, RateLimit, Request};
use loka_proto::{
    Client, ClientId, Cx, Flow, JobBodies, MessagePipeline, MessagePipelineBuilder, Out, Parser, Policy,
    PoolId, PoolPolicy,
};
use loka_proto::{Session, Stage, StageCx, Stats, Tick, UserRule, Workers};
use std::hint::black_box;

/// A miner that has greeted and has a job, with all that its calls need.
pub(crate) struct Bench<P> {
    pub(crate) session: Session,
    pub(crate) pipeline: P,
    pub(crate) parser: Parser,
    pub(crate) jobs: JobBodies,
    pub(crate) workers: Workers,
    pub(crate) policy: Policy,
    pub(crate) stats: Stats,
    pub(crate) out: Out,
    pub(crate) now: Tick,
    /// Shares made so far: each has a nonce of its own, or it would be refused as a duplicate.
    nonce: u32,
}

impl<P: Stage> Bench<P> {
    pub(crate) fn new(pipeline: P, user: UserRule) -> Bench<P> {
        Bench::with(pipeline, user, JobBodies::default().hashing(false))
    }

    /// The same where shares are hashed once they are answered, as by default.
    pub(crate) fn hashing(pipeline: P, user: UserRule) -> Bench<P> {
        Bench::with(pipeline, user, JobBodies::default())
    }

    fn with(pipeline: P, user: UserRule, jobs: JobBodies) -> Bench<P> {
        let session = Session::new(ClientId(1), Tick(0));
        let policy = Policy::for_pool(PoolPolicy { user, ..PoolPolicy::default() });
        let (parser, stats) = (Parser::default(), Stats::default());
        let mut bench = Bench {
            session,
            pipeline,
            parser,
            jobs,
            workers: Workers::default(),
            policy,
            stats,
            out: Out::default(),
            now: Tick(0),
            nonce: 0,
        };
        bench.greet();
        let share = bench.submit();
        bench.miner(&share);
        assert_eq!(bench.stats.counts.shares.forwarded, 1, "the share of the corpus is relayed");
        bench.pool(ACCEPTED);
        assert_eq!(bench.stats.counts.shares.accepted, 1, "and its answer is taken");
        bench
    }

    /// All that is said before the first share.
    pub(crate) fn greet(&mut self) {
        self.miner(SUBSCRIBE);
        self.miner(AUTHORIZE);
        self.call(|session, cx, parser| session.handle_pool_up(cx, parser, PoolId::default(), 1_000));
        for line in [SUBSCRIBED, AUTHORIZED, NOTIFY] {
            self.pool(line);
        }
    }

    pub(crate) fn call(&mut self, call: impl FnOnce(&mut Session, &mut Cx<'_, P>, &mut Parser)) {
        self.out.clear();
        // A share every 100 ms of the session's time, so that a rate limit is paid for and never reached.
        self.now = self.now + 100_000;
        let Bench { session, pipeline, parser, jobs, workers, policy, stats, out, now, nonce: _ } = self;
        call(session, &mut Cx { now: *now, out, stats, policy, pipeline, jobs, workers }, parser);
    }

    pub(crate) fn miner(&mut self, line: &[u8]) {
        self.call(|session, cx, parser| session.handle_miner_bytes(cx, parser, line));
    }

    pub(crate) fn pool(&mut self, line: &[u8]) {
        self.call(|session, cx, parser| session.handle_pool_bytes(cx, parser, line));
    }

    /// The share of the corpus with the next nonce.
    pub(crate) fn submit(&mut self) -> [u8; SUBMIT.len()] {
        let mut line = [0; SUBMIT.len()];
        line.copy_from_slice(SUBMIT);
        self.renumber(&mut line);
        line
    }

    /// Gives each of these shares of the corpus the next nonce.
    pub(crate) fn renumber(&mut self, lines: &mut [u8]) {
        for line in lines.chunks_exact_mut(SUBMIT.len()) {
            self.nonce += 1;
            renumber(line, self.nonce);
        }
    }

    /// Hashes what waits for it.
    pub(crate) fn prove(&mut self) {
        self.jobs.prove(usize::MAX, &mut self.workers, &mut self.stats);
    }

    pub(crate) fn share(&mut self) -> usize {
        let line = self.submit();
        self.miner(black_box(&line));
        let sent = self.out.to_pool.len();
        self.pool(black_box(ACCEPTED));
        sent + self.out.to_miner.len()
    }
}

/// Writes the nonce of a share of the corpus, the last thing in its line.
fn renumber(line: &mut [u8], nonce: u32) {
    let end = line.len() - b"\"]}\n".len();
    for (place, byte) in line[end - 8..end].iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(nonce >> (4 * place) & 15) as usize];
    }
}

/// The chain that the product ships, with a rate limit.
pub(crate) fn standard() -> MessagePipeline<NoLog> {
    MessagePipelineBuilder::standard().with_rate_limit(Some(RateLimit::per_minute(6_000))).build()
}

/// The rule that puts an account in front of the worker's name.
pub(crate) fn account() -> UserRule {
    UserRule::new("account", "", &[".".to_owned(), "_".to_owned()])
}

/// The one stage that stands where the chain ends: it lends the client and the request to the measurement.
pub(crate) struct Lends<F>(pub(crate) F);

impl<F: FnMut(&mut StageCx<'_>, &mut Client, &Request<'_>)> Stage for Lends<F> {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        (self.0)(cx, client, request);
        Flow::Pass
    }
}
