//! A session with a clock that only moves when told, and what must hold after every call whatever the bytes were.

use loka_proto::limits::{
    EARLY_BYTES_MAX, GREETING_BYTES_MAX, HELD_BYTES_MAX, MINER_LINE_BYTES_MAX, POOL_LINE_BYTES_MAX,
};
use loka_proto::{
    ClientId, Cx, Intent, JobBodies, MessagePipeline, MessagePipelineBuilder, Out, Parser, Policy, PoolId,
    PoolLoss, Session, Stats, Tick, WorkerCounts, Workers,
};

/// One thing that happens to a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Miner(Vec<u8>),
    Pool(Vec<u8>),
    /// The connection to the pool of this number is open.
    PoolUp(usize),
    PoolDown(PoolLoss),
    MinerEof,
    Drain {
        us: u64,
    },
    Wait {
        us: u64,
    },
}

/// A session, all it needs, and all it ever said.
pub(crate) struct Harness {
    pub(crate) session: Session,
    pub(crate) stats: Stats,
    pub(crate) policy: Policy,
    pub(crate) now: Tick,
    pub(crate) to_miner: Vec<u8>,
    pub(crate) to_pool: Vec<u8>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) pipeline: MessagePipeline,
    parser: Parser,
    jobs: JobBodies,
    workers: Workers,
    /// What was told of workers.
    told: WorkerCounts,
}

impl Harness {
    pub(crate) fn new(policy: Policy) -> Harness {
        // Not zero: a deadline counted back from an early `now` would hide behind the start of time.
        let now = Tick(1_000_000_000);
        Harness {
            session: Session::new(ClientId(1), now),
            stats: Stats::default(),
            policy,
            now,
            to_miner: Vec::new(),
            to_pool: Vec::new(),
            intents: Vec::new(),
            pipeline: MessagePipelineBuilder::standard().build(),
            parser: Parser::default(),
            jobs: JobBodies::default(),
            workers: Workers::default(),
            told: WorkerCounts::default(),
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Miner(bytes) => self.call(|s, cx, parser| s.handle_miner_bytes(cx, parser, bytes)),
            Event::Pool(bytes) => self.call(|s, cx, parser| s.handle_pool_bytes(cx, parser, bytes)),
            Event::PoolUp(pool) => {
                let pool = PoolId::of(*pool);
                self.call(|s, cx, parser| s.handle_pool_up(cx, parser, pool, 1_000));
            }
            Event::PoolDown(loss) => self.call(|s, cx, _| s.handle_pool_down(cx, *loss)),
            Event::MinerEof => self.call(|s, cx, _| s.handle_miner_eof(cx)),
            Event::Drain { us } => {
                let until = self.now + *us;
                self.call(|s, cx, _| s.handle_drain(cx, until));
            }
            Event::Wait { us } => self.wait(*us),
        }
    }

    /// Lets time pass, calling `handle_timeout` exactly when the session asked for it.
    fn wait(&mut self, us: u64) {
        let until = self.now + us;
        while let Some(due) = self.session.poll_timeout(&self.policy).filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.call(|s, cx, _| s.handle_timeout(cx));
            let next = self.session.poll_timeout(&self.policy);
            assert!(next.is_none_or(|next| next > self.now), "the timer at {due:?} is due again at once");
        }
        self.now = until;
    }

    pub(crate) fn call(
        &mut self,
        then: impl FnOnce(&mut Session, &mut Cx<'_, MessagePipeline>, &mut Parser),
    ) {
        let mut out = Out::default();
        let mut cx = Cx {
            now: self.now,
            out: &mut out,
            stats: &mut self.stats,
            policy: &self.policy,
            pipeline: &mut self.pipeline,
            jobs: &mut self.jobs,
            workers: &mut self.workers,
        };
        then(&mut self.session, &mut cx, &mut self.parser);
        self.to_miner.append(&mut out.to_miner);
        self.to_pool.append(&mut out.to_pool);
        while let Some(intent) = self.session.poll_intent() {
            self.intents.push(intent);
        }
        self.jobs.prove(usize::MAX, &mut self.workers, &mut self.stats);
        self.check();
        self.check_workers();
    }

    /// What was told of workers is what was counted in all, and none of them outlives its connection.
    fn check_workers(&mut self) {
        let mut news = Vec::new();
        self.workers.tell(usize::MAX, self.now, &mut news);
        news.iter().for_each(|news| self.told.merge(&news.counts));
        let (told, shares) = (&self.told, &self.stats.counts.shares);
        assert_eq!(u64::from(told.accepted), shares.accepted);
        assert_eq!(told.rejected.map(u64::from), shares.rejected);
        assert_eq!((u64::from(told.unanswered), u64::from(told.lost)), (shares.unanswered, shares.lost));
        assert_eq!(told.refusals(), shares.refused);
        assert_eq!(self.workers.is_empty(), self.session.is_over() || self.session.client().workers() == 0);
    }

    /// What holds after every call.
    fn check(&self) {
        let held_max = MINER_LINE_BYTES_MAX + POOL_LINE_BYTES_MAX + HELD_BYTES_MAX + EARLY_BYTES_MAX;
        let (session, shares) = (&self.session, &self.stats.counts.shares);
        assert!(session.bytes_held() <= held_max, "holds {} bytes", session.bytes_held());
        assert!(session.bytes_kept() <= GREETING_BYTES_MAX, "keeps {} bytes", session.bytes_kept());
        let told = shares.accepted + shares.rejected.iter().sum::<u64>() + shares.unanswered + shares.lost;
        assert_eq!(shares.forwarded, told + session.shares_in_flight() as u64, "shares balance: {shares:?}");
        let closes = self.intents.iter().filter(|i| matches!(i, Intent::Close(_))).count();
        assert_eq!(closes, usize::from(session.is_over()), "one Close for each end: {:?}", self.intents);
        if session.is_over() {
            assert_eq!((session.bytes_held(), session.requests_pending()), (0, 0), "an end frees everything");
            assert_eq!(session.poll_timeout(&self.policy), None, "an end leaves no timer");
        }
    }
}
