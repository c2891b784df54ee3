//! Shards in this process, on sockets that a test can reach, and the means to hold one of them up.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses its part; one that cannot go on has failed"
)]

use loka_proto::middleware::{Flow, Request, Stage, StageCx};
use loka_proto::{Client, End, MessagePipelineBuilder, Method, Policy, PoolPolicy, Stats};
use loka_rig::Submit;
use loka_runtime::{
    Clock, Command, ControlEnd, PoolPlan, Ready, ShardHandle, ShardPlan, Shell, Start, Steering, bind_all,
    cores, mailbox, preflight, spawn,
};
use socket2::SockRef;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Long enough for a machine that does other things too; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A user's stage with a bug: it panics on one method.
#[derive(Debug, Clone)]
struct PanicsOn(Method);

impl Stage for PanicsOn {
    fn on_request(&mut self, _: &mut StageCx<'_>, _: &mut Client, request: &Request<'_>) -> Flow {
        assert_ne!(request.method, self.0, "the bug that this test is about");
        Flow::Pass
    }
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) ends: Vec<ControlEnd>,
    handles: Vec<ShardHandle>,
    pub(crate) stats: Stats,
    pub(crate) shells: Vec<Shell>,
}

/// Holds the shard up when a miner says `mining.get_transactions`, until the test lets it go on: what happens on other
/// sockets meanwhile is all there when the shard looks.
#[derive(Debug)]
pub(crate) struct Gate {
    entered: Sender<()>,
    go: Receiver<()>,
}

/// The test's side of a [`Gate`].
#[derive(Debug)]
pub(crate) struct GateKeeper {
    entered: Receiver<()>,
    go: Sender<()>,
}

pub(crate) fn gate() -> (Gate, GateKeeper) {
    let ((entered, has_entered), (go, may_go)) = (channel(), channel());
    (Gate { entered, go: may_go }, GateKeeper { entered: has_entered, go })
}

impl GateKeeper {
    /// Waits until the shard stands at the gate.
    pub(crate) fn wait(&self) {
        self.entered.recv_timeout(PATIENCE).unwrap();
    }

    pub(crate) fn open(&self) {
        self.go.send(()).unwrap();
    }
}

impl Stage for Gate {
    fn on_request(&mut self, _: &mut StageCx<'_>, _: &mut Client, request: &Request<'_>) -> Flow {
        if request.method == Method::GetTransactions {
            self.entered.send(()).unwrap();
            self.go.recv_timeout(PATIENCE).unwrap();
        }
        Flow::Pass
    }
}

/// What a proxy under test is, besides its plan.
pub(crate) struct Setup {
    pub(crate) listen: SocketAddr,
    pub(crate) shards: usize,
    pub(crate) gate: Option<Gate>,
    /// The kernel's buffers of the miners' sockets, in bytes.
    pub(crate) receive_bytes: Option<usize>,
    pub(crate) send_bytes: Option<usize>,
}

impl Default for Setup {
    fn default() -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        Setup { listen, shards: 1, gate: None, receive_bytes: None, send_bytes: None }
    }
}

/// What the tests change from: one pool, and connects that are not paced.
pub(crate) fn plan_for(pool: SocketAddr) -> ShardPlan {
    ShardPlan {
        pools: vec![PoolPlan::at(pool)],
        connects_per_second: None,
        warm_links: 0,
        guard: loka_runtime::Guard::default(),
        stable_us: 0,
        speaks: Vec::new(),
        miner_tls: None,
        proxies: Vec::new(),
        http: None,
        policy: Policy::for_pool(PoolPolicy {
            host: pool.ip().to_string(),
            port: pool.port(),
            ..PoolPolicy::default()
        }),
        connect_us: 5_000_000,
        connections_max: 5_000,
        spare_buffers: 16,
        linger: true,
        interns_jobs: true,
        hashes_shares: true,
    }
}

impl Proxy {
    pub(crate) fn start(pool: SocketAddr, shards: usize, change: impl Fn(&mut ShardPlan)) -> Proxy {
        Self::start_with(Setup { shards, ..Setup::default() }, pool, change)
    }

    pub(crate) fn start_with(mut setup: Setup, pool: SocketAddr, change: impl Fn(&mut ShardPlan)) -> Proxy {
        let shards = setup.shards;
        preflight::check(shards).unwrap();
        let mut plan = plan_for(pool);
        change(&mut plan);
        let specs = cores::place(shards, &[], &cores::allowed().unwrap()).unwrap();
        let sockets = bind_all(&[setup.listen], &specs, Steering::Hash).unwrap();
        let listener = TcpListener::from(sockets[0][0].try_clone().unwrap());
        // Miners' sockets have what their listener has.
        if let Some(bytes) = setup.receive_bytes {
            SockRef::from(&listener).set_recv_buffer_size(bytes).unwrap();
        }
        if let Some(bytes) = setup.send_bytes {
            SockRef::from(&listener).set_send_buffer_size(bytes).unwrap();
        }
        let address = listener.local_addr().unwrap();
        let (mut ends, mut handles) = (Vec::new(), Vec::new());
        for (spec, listeners) in specs.into_iter().zip(sockets) {
            let (mailbox, end, report) = mailbox(spec.index);
            let stages = MessagePipelineBuilder::standard().add_middleware(PanicsOn(Method::Term));
            let pipeline = stages.add_middleware(setup.gate.take()).build();
            let ready = Ready(Box::new(|| {}));
            let clock = Clock::start();
            let start =
                Start { spec, plan: plan.clone(), clock, listeners, pipeline, mailbox, report, ready };
            handles.push(spawn(start).unwrap());
            ends.push(end);
        }
        Proxy { address, ends, handles, stats: Stats::default(), shells: vec![Shell::default(); shards] }
    }

    pub(crate) fn collect(&mut self) {
        for end in &self.ends {
            end.collect(|report| {
                self.stats.merge(&report.stats);
                let shell = &mut self.shells[report.shard];
                let (pauses, dials) = (shell.pauses + report.shell.pauses, shell.dials + report.shell.dials);
                let excesses =
                    std::array::from_fn(|index| shell.excesses[index] + report.shell.excesses[index]);
                let turns = shell.turns + report.shell.turns;
                *shell = Shell { pauses, dials, excesses, turns, ..report.shell };
            });
        }
    }

    /// Collects reports until they say what is waited for.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Stats, &[Shell]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.collect();
            if done(&self.stats, &self.shells) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {:?} {:?}", self.stats.counts, self.shells);
            std::thread::yield_now();
        }
    }

    pub(crate) fn ended(&self, end: End) -> u64 {
        self.stats.counts.ends[end.index()]
    }

    pub(crate) fn drain(mut self, within: Duration) -> Stats {
        for end in &self.ends {
            let within_us = u64::try_from(within.as_micros()).unwrap();
            end.command(Command::Drain { within_us }).unwrap();
        }
        for handle in std::mem::take(&mut self.handles) {
            handle.join().unwrap();
        }
        self.collect();
        self.stats
    }
}

pub(crate) fn submit(id: &str) -> Submit<'_> {
    Submit { id, user: "farm.rig", job_id: "", extranonce2: "", ntime: "", nonce: "", version_bits: None }
}
