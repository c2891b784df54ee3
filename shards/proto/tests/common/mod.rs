//! A session with a clock that only moves when told, and what must hold after every call whatever the bytes were.

use loka_proto::limits::{
    EARLY_BYTES_MAX, GREETING_BYTES_MAX, HELD_BYTES_MAX, MINER_LINE_BYTES_MAX, POOL_LINE_BYTES_MAX,
};
use loka_proto::{
    ClientId, Cx, Intent, JobBodies, MessagePipeline, MessagePipelineBuilder, Out, PackedSession, Parser,
    Policy, PoolId, PoolLoss, Session, Stats, Tick, UnpackError, WorkerCounts, Workers,
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
    /// Processes that the session was in before.
    pub(crate) handed_over: u64,
    /// The session goes on elsewhere: it is over and has not ended.
    is_leaving: bool,
    /// Some of its workers have no name, and are not known.
    pub(crate) has_others: bool,
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
            handed_over: 0,
            is_leaving: false,
            has_others: false,
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

    /// What the session is when it is packed; `None` where it cannot be now.
    #[allow(dead_code, reason = "not every test hands sessions over")]
    pub(crate) fn packed(&self) -> Option<String> {
        let packed = self.session.pack(&self.workers);
        assert_eq!(packed.is_some(), self.session.can_be_packed());
        let text = packed.map(|packed| serde_json::to_string(&packed).expect("plain data"));
        assert!(text.as_ref().is_none_or(|text| text.len() <= PackedSession::JSON_BYTES_MAX));
        text
    }

    /// If the session can be packed, it goes on in another process, in which nothing is known, with another client id.
    #[allow(dead_code, reason = "not every test hands sessions over")]
    pub(crate) fn hand_over(&mut self) {
        let Some(packed) = self.packed() else { return };
        self.go_on_as(&packed).unwrap_or_else(|error| panic!("{error}: {packed}"));
        // The same again, but for what the two processes call it.
        assert_eq!(self.packed(), Some(packed));
    }

    /// What this text says goes on in the place of the session, if it says what a session can be.
    #[allow(dead_code, reason = "not every test hands sessions over")]
    pub(crate) fn go_on_as(&mut self, packed: &str) -> Result<(), String> {
        let packed: PackedSession = serde_json::from_str(packed).map_err(|error| error.to_string())?;
        let (mut workers, mut jobs, mut out) = (Workers::default(), JobBodies::default(), Out::default());
        let mut stats = Stats::default();
        let mut cx = Cx {
            now: self.now,
            out: &mut out,
            stats: &mut stats,
            policy: &self.policy,
            pipeline: &mut self.pipeline,
            jobs: &mut jobs,
            workers: &mut workers,
        };
        let (id, pool) = (ClientId(self.session.client().id.0 + 1), self.session.pool());
        let unpacked = Session::unpack(&mut cx, &mut self.parser, &packed, id, pool);
        assert!(out.to_miner.is_empty() && out.to_pool.is_empty(), "nobody is told");
        let session = match unpacked {
            Ok(session) => session,
            Err(error) => {
                assert!(workers.is_empty() && stats.counts == Stats::default().counts, "counted for nothing");
                return Err(UnpackError::to_string(&error));
            }
        };
        // Only now is it over here.
        self.is_leaving = true;
        self.call(|session, cx, _| session.handed_over(cx));
        self.is_leaving = false;
        assert!(self.workers.is_empty(), "workers that nobody has any more");
        self.handed_over += 1;
        (self.session, self.workers, self.jobs) = (session, workers, jobs);
        self.stats.merge(&stats);
        self.check();
        self.check_workers();
        Ok(())
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
        let has_none = self.session.is_over() || self.session.client().workers() == 0;
        assert!(self.workers.is_empty() == has_none || self.has_others, "{} workers", self.workers.len());
    }

    /// What holds after every call.
    fn check(&self) {
        let held_max = MINER_LINE_BYTES_MAX + POOL_LINE_BYTES_MAX + HELD_BYTES_MAX + EARLY_BYTES_MAX;
        let (session, shares) = (&self.session, &self.stats.counts.shares);
        assert!(session.bytes_held() <= held_max, "holds {} bytes", session.bytes_held());
        assert!(session.bytes_kept() <= GREETING_BYTES_MAX, "keeps {} bytes", session.bytes_kept());
        let told = shares.accepted + shares.rejected.iter().sum::<u64>() + shares.unanswered + shares.lost;
        let told = told + shares.handed_over;
        assert_eq!(shares.forwarded, told + session.shares_in_flight() as u64, "shares balance: {shares:?}");
        let closes = self.intents.iter().filter(|i| matches!(i, Intent::Close(_))).count();
        let has_ended = session.is_over() && !self.is_leaving;
        assert_eq!(closes, usize::from(has_ended), "one Close for each end: {:?}", self.intents);
        assert_eq!(
            self.stats.counts.ends.iter().sum::<u64>(),
            u64::from(has_ended),
            "an end is counted once"
        );
        if session.is_over() {
            assert_eq!((session.bytes_held(), session.requests_pending()), (0, 0), "an end frees everything");
            assert_eq!(session.poll_timeout(&self.policy), None, "an end leaves no timer");
        }
    }
}
