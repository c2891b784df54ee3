//! What a run is made of: its events, its chain and policy, and what it leaves behind.

use crate::rng::Rng;
use crate::says::Account;
use loka_proto::middleware::{self, Authentication, MessagePipeline, NoLog, RateLimit, Security};
use loka_proto::{
    Client, ClientId, Flow, MessagePipelineBuilder, Parser, Policy, PoolLoss, PoolPolicy, Stage, StageCx,
};
use loka_proto::{Stats, Verdict};
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

#[derive(Debug)]
pub(crate) enum Event {
    MinerActs(usize),
    PoolActs(usize),
    PoolSays(usize, Vec<u8>),
    Arrives(usize, Side),
    Dialed(usize, Result<(), PoolLoss>),
    Timer(usize),
    Drain(usize),
    Fails(usize),
}

/// How long the pool takes to take a connection, and whether it does.
pub(crate) fn dialing(rng: &mut Rng) -> (u64, Result<(), PoolLoss>) {
    use PoolLoss::{ConnectTimeout, NoResources, Unreachable};
    let takes_us = if rng.percent(10) { rng.between(4, 9) * SECOND } else { rng.between(500, 400_000) };
    let result =
        if rng.percent(6) { Err(rng.pick(&[ConnectTimeout, NoResources, Unreachable])) } else { Ok(()) };
    (takes_us, result)
}

/// What a run leaves behind.
pub(crate) struct Report {
    pub(crate) stats: Stats,
    pub(crate) sessions: u64,
    pub(crate) events: u64,
    pub(crate) digest: u64,
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

/// What the sessions of one shard share.
pub(crate) struct Shard {
    pub(crate) pipeline: Pipeline,
    pub(crate) probe: Probe,
    pub(crate) policy: Policy,
    pub(crate) parser: Parser,
    pub(crate) jobs: loka_proto::JobBodies,
}

/// A chain and a policy for all sessions of a run.
pub(crate) fn shard(rng: &mut Rng, account: Account) -> Shard {
    let probe = Probe::default();
    let chain = match rng.below(4) {
        0 => MessagePipelineBuilder::new(),
        1 => MessagePipelineBuilder::new().with_authentication(Authentication).with_security(Security),
        _ => MessagePipelineBuilder::standard(),
    };
    let rate = rng.pick(&[None, None, None, None, Some(60), Some(600)]).map(RateLimit::per_minute);
    let pipeline: Pipeline = chain.with_rate_limit(rate).add_middleware(probe.clone()).build();
    let policy = Policy {
        pools: vec![PoolPolicy {
            user: account.rule(),
            extranonce: rng.percent(50),
            host: "pool.example".to_owned(),
            port: 3333,
            reconnect_domains: Vec::new(),
        }],
        hold_us: 0,
        answer_us: 30 * SECOND,
        handshake_us: 15 * SECOND,
        idle_us: rng.pick(&[20 * SECOND, 600 * SECOND]),
    };
    Shard {
        pipeline,
        probe,
        policy,
        parser: loka_proto::Parser::default(),
        jobs: loka_proto::JobBodies::default(),
    }
}

/// Shows an event, for whoever looks for a fault.
#[allow(clippy::print_stderr, reason = "only a replay of one seed calls this")]
pub(crate) fn show(now: u64, event: &Event) {
    let shown: String = format!("{event:?}").chars().take(100).collect();
    eprintln!("{now:>12} {shown}");
}
