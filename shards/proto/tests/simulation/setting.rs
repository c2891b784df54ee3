//! What a run is made of: its events, its chain, policy and pools, and what it leaves behind.

use crate::rng::Rng;
use crate::says::Account;
use loka_proto::middleware::{self, Authentication, MessagePipeline, NoLog, RateLimit, Security};
use loka_proto::{
    Client, ClientId, Flow, MessagePipelineBuilder, Parser, Policy, PoolLoss, PoolPolicy, Stage, StageCx,
};
use loka_proto::{Stats, Tick, Verdict, WorkerCounts};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) const SECOND: u64 = 1_000_000;
/// How long a drain waits for answers.
pub(crate) const DRAIN_US: u64 = 3 * SECOND;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    MinerToProxy,
    ProxyToPool,
    PoolToProxy,
    ProxyToMiner,
}

/// What a pool does names the pool connection too: it means nothing once there is another.
#[derive(Debug)]
pub(crate) enum Event {
    MinerActs(usize),
    PoolActs(usize, u32),
    PoolSays(usize, u32, Vec<u8>),
    Arrives(usize, Side),
    /// A session waits for a pool, and one is looked for.
    Dials(usize),
    Dialed(usize, Found),
    Timer(usize),
    Drain(usize),
    Fails(usize),
    /// The caller gives a pool connection up.
    Leaves(usize, PoolLoss),
}

/// What came of a dial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// The pool of this number.
    Pool(usize),
    Lost(PoolLoss),
    /// No pool may be used at the moment: nothing is tried, and nothing is told.
    Nobody,
}

/// How long the dial takes, and what comes of it.
pub(crate) fn dialing(rng: &mut Rng, pools: usize) -> (u64, Found) {
    use PoolLoss::{ConnectTimeout, NoResources, ProxyFailed, TlsFailed, Unreachable};
    let takes_us = if rng.percent(10) { rng.between(4, 9) * SECOND } else { rng.between(500, 400_000) };
    let found = match rng.below(100) {
        0..8 => {
            let losses = [ConnectTimeout, NoResources, Unreachable, Unreachable, ProxyFailed, TlsFailed];
            Found::Lost(rng.pick(&losses))
        }
        8..12 => Found::Nobody,
        _ => Found::Pool(usize::try_from(rng.below(pools as u64)).expect("a small number")),
    };
    (takes_us, found)
}

/// What a run leaves behind.
pub(crate) struct Report {
    pub(crate) stats: Stats,
    pub(crate) sessions: u64,
    pub(crate) events: u64,
    pub(crate) digest: u64,
    /// Sessions that went on in another process, each time.
    pub(crate) handed: u64,
    /// Pool connections that were lost, or could not be had.
    pub(crate) losses: Losses,
}

/// Losses of pools, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Losses(pub(crate) [u64; PoolLoss::COUNT]);

impl Losses {
    pub(crate) fn add(&mut self, other: &[u64; PoolLoss::COUNT]) {
        self.0.iter_mut().zip(other).for_each(|(mine, theirs)| *mine += theirs);
    }
}
/// What a stage of a user's own sees of one client.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) verdicts: u64,
    pub(crate) closes: u64,
}

/// A stage that only looks.
#[derive(Debug, Default, Clone)]
pub(crate) struct Probe(pub(crate) Rc<RefCell<BTreeMap<ClientId, Seen>>>);

impl Stage for Probe {
    fn on_request(&mut self, _: &mut StageCx<'_>, client: &mut Client, _: &middleware::Request<'_>) -> Flow {
        assert_eq!(self.0.borrow_mut().entry(client.id).or_default().closes, 0, "a request after the end");
        Flow::Pass
    }

    fn on_verdict(&mut self, _: &mut StageCx<'_>, client: &Client, _: Verdict) {
        self.0.borrow_mut().entry(client.id).or_default().verdicts += 1;
    }

    fn on_close(&mut self, client: &Client) {
        self.0.borrow_mut().entry(client.id).or_default().closes += 1;
    }
}

pub(crate) type Pipeline = MessagePipeline<NoLog, ((), Probe)>;

/// What the sessions of one shard share in one process.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) parser: Parser,
    pub(crate) jobs: loka_proto::JobBodies,
    /// Whom shares belong to.
    pub(crate) workers: loka_proto::Workers,
}

/// What the sessions of one shard share.
pub(crate) struct Shard {
    pub(crate) pipeline: Pipeline,
    pub(crate) probe: Probe,
    pub(crate) policy: Policy,
    /// The first, and those to which sessions were handed over.
    pub(crate) processes: Vec<Process>,
    /// Clients that were named so far, in all of them.
    pub(crate) clients: u64,
    /// Whose account the miners work for at each pool.
    pub(crate) accounts: Vec<Account>,
}

/// A chain, a policy and one to three pools for all sessions of a run.
pub(crate) fn shard(rng: &mut Rng) -> Shard {
    let probe = Probe::default();
    let chain = match rng.below(4) {
        0 => MessagePipelineBuilder::new(),
        1 => MessagePipelineBuilder::new().with_authentication(Authentication).with_security(Security),
        _ => MessagePipelineBuilder::standard(),
    };
    let rate = rng.pick(&[None, None, None, None, Some(60), Some(600)]).map(|messages| {
        RateLimit::per_minute(messages)
            .with_submits(rng.pick(&[None, Some(40)]))
            .with_authorizations(rng.pick(&[None, Some(3)]))
            .with_window(rng.pick(&[SECOND, 60 * SECOND]))
    });
    let pipeline: Pipeline = chain.with_rate_limit(rate).add_middleware(probe.clone()).build();
    let accounts: Vec<Account> = (0..rng.between(1, 3)).map(|_| rng.pick(&Account::ALL)).collect();
    let pool = |account: &Account| PoolPolicy {
        user: account.rule(),
        extranonce: rng.percent(50),
        host: "pool.example".to_owned(),
        port: 3333,
        reconnect_domains: Vec::new(),
    };
    let policy = Policy {
        pools: accounts.iter().map(pool).collect(),
        hold_us: rng.pick(&[0, 5 * SECOND, 60 * SECOND]),
        answer_us: rng.pick(&[10 * SECOND, 30 * SECOND]),
        handshake_us: 15 * SECOND,
        idle_us: rng.pick(&[20 * SECOND, 600 * SECOND]),
        jobs_us: rng.pick(&[8 * SECOND, 600 * SECOND]),
        submissions_us: rng.pick(&[10 * SECOND, 86_400 * SECOND]),
    };
    Shard { pipeline, probe, policy, processes: vec![Process::default()], clients: 0, accounts }
}

impl Shard {
    pub(crate) fn next_client(&mut self) -> ClientId {
        self.clients += 1;
        ClientId(self.clients - 1)
    }
}

/// What was counted of workers is what was counted in all, and none of them is kept when its connections have gone.
pub(crate) fn check_workers(shard: &mut Shard, stats: &Stats) {
    let (shares, answers) = (&stats.counts.shares, &stats.counts.authorizations);
    let (mut counts, mut events, mut missed) = (WorkerCounts::default(), Vec::new(), 0);
    let mut hashed = Stats::default();
    for Process { workers, jobs, .. } in &mut shard.processes {
        jobs.prove(usize::MAX, workers, &mut hashed);
        let mut news = Vec::new();
        workers.tell(usize::MAX, Tick(0), &mut news);
        let mut sessions = BTreeMap::<_, i64>::new();
        for news in &news {
            counts.merge(&news.counts);
            *sessions.entry(news.name.clone()).or_default() += i64::from(news.sessions);
        }
        missed += workers.tell_events(&mut events);
        assert!(sessions.values().all(|sessions| *sessions == 0), "{sessions:?}");
        assert!(workers.is_empty(), "{} workers kept", workers.len());
    }
    assert_eq!(events.len() as u64 + missed, shares.refused + shares.rejected.iter().sum::<u64>());
    assert_eq!(u64::from(counts.accepted), shares.accepted);
    assert_eq!(counts.rejected.map(u64::from), shares.rejected);
    assert_eq!(counts.refusals(), shares.refused);
    assert_eq!((u64::from(counts.unanswered), u64::from(counts.lost)), (shares.unanswered, shares.lost));
    assert_eq!((u64::from(counts.granted), u64::from(counts.denied)), (answers.accepted, answers.refused));
    assert!((counts.accepted_difficulty - shares.accepted_difficulty).abs() < 1e-6);
}

/// Shows an event, for whoever looks for a fault.
#[allow(clippy::print_stderr, reason = "only a replay of one seed calls this")]
pub(crate) fn show(now: u64, event: &Event) {
    let shown: String = format!("{event:?}").chars().take(100).collect();
    eprintln!("{now:>12} {shown}");
}

/// Shows what is sent.
#[allow(clippy::print_stderr, reason = "only a replay of one seed calls this")]
pub(crate) fn show_bytes(link: usize, side: Side, bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        eprintln!("             link {link} {side:?} {line}");
    }
}
