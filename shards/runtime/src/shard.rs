//! The loop of one core. It owns every link of the core and is the only place where the flows of bytes, of intent and
//! of numbers meet.
//!
//! A turn, in this order: miners at work whose sockets are ready, as many as fit in one poll; some of those that come or
//! go; on the tick commands, timers and the report; then new connections, as many as their budget allows.

mod accounts;
mod answers;
mod dialing;
mod entrance;
mod guests;
mod handover;
mod kicks;
mod links;
mod overload;
mod pools;
mod queues;
mod reload;
mod seeking;
mod telling;
mod turn;
mod warm;

use crate::buffers::Spares;
use crate::clock::Clock;
use crate::handover::Arrivals;
use crate::link::Link;
use crate::listener;
use crate::mailbox::{Report, ShardEnd};
use crate::plan::limits::{EVENTS_PER_TURN, READ_BYTES, TICK_US};
use crate::plan::{ShardPlan, ShardSpec};
use crate::poller::{self, Interest, Poller, Wait};
use crate::timers::Wheel;
use crate::token::Token;
use crate::violations::Violations;
use crate::visitors::Visitors;
use glommio::{ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement};
use loka_proto::middleware::Stage;
use loka_proto::{ClientId, JobBodies, Out, Parser, Tick, Workers};
pub use overload::MemoryLoad;
use overload::Strangers;
use pools::Pools;
use queues::Queues;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustls::ServerConfig;
use slab::Slab;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use warm::Warm;

/// Entries of glommio's rings: the shard polls a single descriptor through them.
const RING_DEPTH: usize = 128;
/// When glommio's preempt timer fires. The loop gives way on every tick by itself, so it has no use for the timer, and the
/// timer does harm: when it fires between glommio's poll of its rings and its run of the ready tasks, because the kernel
/// took the CPU away or the machine was suspended, glommio 0.9 runs none of them, believes that there is nothing to do, and
/// sleeps until something new happens. So it is set to where it practically never fires.
const PREEMPT: Duration = Duration::from_secs(3600);
/// The timer that wakes glommio if it went to sleep over a ready task all the same: other events of the ring that look
/// like the preempt timer can cause that too. A sleeping shard would never wake by itself, since its loop is that task.
const HEARTBEAT: Duration = Duration::from_micros(TICK_US);
/// The sleep that gives the executor a turn while sockets wait in the queues. One of no length would not wait at all.
const GIVE_WAY: Duration = Duration::from_micros(1);

/// Why a shard ended other than by a drain.
#[derive(Debug, Error)]
pub enum ShardError {
    /// The executor could not be started, or its thread panicked.
    #[error("executor: {0}")]
    Executor(String),
    /// A descriptor that the loop stands on failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was done.
        what: &'static str,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
}

impl<T> From<GlommioError<T>> for ShardError {
    fn from(error: GlommioError<T>) -> Self {
        ShardError::Executor(error.to_string())
    }
}

/// A running shard.
pub struct ShardHandle(ExecutorJoinHandle<Result<(), ShardError>>);

impl std::fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardHandle").field(&self.0.thread().name()).finish()
    }
}

impl ShardHandle {
    /// Waits until the shard ends: after a drain, or because it cannot go on.
    ///
    /// # Errors
    /// [`ShardError`], also when its thread panicked.
    pub fn join(self) -> Result<(), ShardError> {
        self.0.join()?
    }
}

/// What a shard starts with.
#[derive(Debug)]
pub struct Start<P> {
    /// Which shard it is, and its CPU.
    pub spec: ShardSpec,
    /// What it does.
    pub plan: ShardPlan,
    /// The clock that all shards read.
    pub clock: Clock,
    /// Its listening sockets.
    pub listeners: Vec<OwnedFd>,
    /// Its middleware.
    pub pipeline: P,
    /// Where its reports go and its commands come from.
    pub mailbox: ShardEnd,
    /// The box it begins with.
    pub report: Box<Report>,
    /// Called on the shard's thread once it serves miners.
    pub ready: Ready,
}

/// See [`Start::ready`].
pub struct Ready(pub Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready")
    }
}

/// Starts a shard on its CPU.
///
/// # Errors
/// [`ShardError::Executor`] when the thread cannot be made; all that goes wrong in it is told by [`ShardHandle::join`].
pub fn spawn<P: Stage + Send + 'static>(start: Start<P>) -> Result<ShardHandle, ShardError> {
    let name = format!("shard{}", start.spec.index);
    let handle = LocalExecutorBuilder::new(Placement::Fixed(start.spec.cpu))
        .io_memory(0)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT)
        .name(&name)
        .spawn(move || async move {
            let (shard, ready) = Shard::new(start)?;
            (ready.0)();
            shard.run().await
        })?;
    Ok(ShardHandle(handle))
}

/// What somebody should be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoDescriptor,
    Full,
    NoMemory,
    PoolUnreachable,
    PoolProxy,
    PoolTls,
}

impl Trouble {
    const COUNT: usize = 6;

    fn told(self) -> &'static str {
        match self {
            Trouble::NoDescriptor => "no descriptor, port or memory left for another connection",
            Trouble::Full => "this shard holds as many miners as it may: others are turned away",
            Trouble::NoMemory => "memory is short: connections are closed to make room",
            Trouble::PoolUnreachable => "an address of a pool does not take connections",
            Trouble::PoolProxy => "the proxy on the way to a pool does not open the connection",
            Trouble::PoolTls => "a pool does not show who it is",
        }
    }
}

/// Everything that one core owns.
struct Shard<P> {
    plan: ShardPlan,
    pipeline: P,
    mailbox: ShardEnd,
    report: Box<Report>,
    poller: Poller,
    tick: OwnedFd,
    listeners: Vec<OwnedFd>,
    /// Given up to accept and close a connection when no other descriptor is left.
    reserve: Option<File>,
    /// Until then nothing is accepted, because descriptors or memory were used up.
    accept_again: Option<Tick>,
    /// Boxed, so that growing the slab moves pointers: thousands of links are never copied at once, nor held twice.
    links: Slab<Box<Link>>,
    gone: Vec<usize>,
    queues: Queues,
    wheel: Wheel,
    spares: Spares,
    scratch: Box<[u8]>,
    out: Out,
    parser: Parser,
    jobs: JobBodies,
    workers: Workers,
    clock: Clock,
    now: Tick,
    last_report: Tick,
    next_client: u64,
    pools: Pools,
    /// Connections to pools that nobody needs yet.
    warm: Slab<Warm>,
    visitors: Visitors,
    violations: Violations,
    /// Bytes of the scratch that the miner who is served now has just said.
    heard: usize,
    strangers: Strangers,
    load: MemoryLoad,
    /// Addresses whose connections are to end.
    kicks: Vec<kicks::Kick>,
    /// Questions that are being answered.
    asked: VecDeque<answers::Asked>,
    /// The lists of a new configuration may keep out some who are still here.
    denies: bool,
    /// Links that wait for a pool connection, in the order in which they asked.
    waiting: VecDeque<(usize, ClientId)>,
    /// Since when miners are moved to pools that are to be preferred to theirs, while there are some.
    switching_since: Option<Tick>,
    /// Turns since the start.
    turns: u64,
    /// When each trouble was last warned of.
    warned: [Option<Tick>; Trouble::COUNT],
    /// Set while links go to another process.
    leaving: Option<handover::Leaving>,
    /// Where links from another process arrive.
    arrivals: Option<Arrivals>,
    /// Set by a drain: when what is left is closed.
    drain_until: Option<Tick>,
}

impl<P: Stage> Shard<P> {
    fn new(start: Start<P>) -> Result<(Shard<P>, Ready), ShardError> {
        let Start { spec: _, mut plan, clock, listeners, pipeline, mailbox, report, ready } = start;
        reload::keep_own_sessions(&mut plan.pools);
        plan.miner_tls = plan.miner_tls.take().map(|config| tickets_of_its_own(&config));
        let jobs = JobBodies::new(plan.interns_jobs).hashing(plan.hashes_shares);
        let now = clock.now();
        let visitors = Visitors::new(plan.guard.clone());
        let pools = Pools::new(&plan.pools, plan.connects_per_second, now);
        let poller = Poller::new(EVENTS_PER_TURN).map_err(io_error("epoll"))?;
        let tick = start_ticking().map_err(io_error("timer"))?;
        poller.add(&tick, Token::Tick.pack(), Interest::READ).map_err(io_error("watch the timer"))?;
        for (index, socket) in listeners.iter().enumerate() {
            let token = Token::Listener(index).pack();
            poller.add_listener(socket, token).map_err(io_error("watch the listener"))?;
            if let Some(address) = listener::address_of(socket) {
                tracing::debug!(shard = report.shard, %address, "listening");
            }
        }
        let shard = Shard {
            spares: Spares::new(plan.spare_buffers),
            plan,
            pipeline,
            mailbox,
            report,
            poller,
            tick,
            listeners,
            reserve: open_reserve(),
            accept_again: None,
            links: Slab::new(),
            gone: Vec::new(),
            queues: Queues::default(),
            wheel: Wheel::new(now),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            out: Out::default(),
            parser: Parser::default(),
            jobs,
            workers: Workers::default(),
            clock,
            now,
            last_report: now,
            next_client: 0,
            pools,
            visitors,
            violations: Violations::default(),
            heard: 0,
            strangers: Strangers::default(),
            load: MemoryLoad::Fine,
            kicks: Vec::new(),
            asked: VecDeque::new(),
            denies: false,
            warm: Slab::new(),
            waiting: VecDeque::new(),
            switching_since: None,
            turns: 0,
            warned: [None; Trouble::COUNT],
            leaving: None,
            arrivals: None,
            drain_until: None,
        };
        Ok((shard, ready))
    }

    async fn run(mut self) -> Result<(), ShardError> {
        let mut ready: Vec<poller::Ready> = Vec::with_capacity(EVENTS_PER_TURN);
        let heart = Rc::new(Cell::new(true));
        let stopped = glommio::spawn_local(beat(Rc::clone(&heart))).detach();
        while !(self.drain_until.is_some() && self.links.is_empty()) {
            let wait = if self.is_idle() { self.plan.wait() } else { Wait::No };
            self.poller.take(&mut ready, wait).map_err(io_error("epoll_wait"))?;
            let ticked = self.turn(&ready);
            // The executor serves its other tasks, and sleeps until a socket is ready. Not while some wait here for their turn.
            if !self.is_idle() {
                if ticked {
                    glommio::timer::sleep(GIVE_WAY).await;
                }
            } else if ticked || ready.is_empty() {
                self.poller.ready().await;
            }
        }
        heart.set(false);
        stopped.await;
        // It hashes what still waits for that.
        self.finish_report();
        // Nothing follows: what is still untold goes with it.
        self.workers.tell(usize::MAX, self.now, &mut self.report.workers);
        self.mailbox.send_last(self.report);
        Ok(())
    }
}

impl<P> Shard<P> {
    /// Whether nothing waits here for its turn.
    fn is_idle(&self) -> bool {
        self.queues.are_empty() && !self.jobs.has_claims()
    }
}

/// A configuration whose tickets are made by this shard alone, since their keys are kept behind a lock: a miner that comes
/// back to another shard shakes hands anew.
fn tickets_of_its_own(config: &Arc<ServerConfig>) -> Arc<ServerConfig> {
    let mut own = ServerConfig::clone(config);
    if let Ok(ticketer) = rustls::crypto::ring::Ticketer::new() {
        own.ticketer = ticketer;
    }
    Arc::new(own)
}

/// See [`HEARTBEAT`]. Ends by itself, because a cancelled task would leak.
async fn beat(on: Rc<Cell<bool>>) {
    while on.get() {
        glommio::timer::sleep(HEARTBEAT).await;
    }
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> ShardError {
    move |cause| ShardError::Io { what, cause }
}

/// A timer descriptor that is ready on every tick: the one clock of the loop, so that nothing is ever re-armed.
fn start_ticking() -> io::Result<OwnedFd> {
    let timer = rustix::time::timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    let every = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TICK_US * 1000).unwrap_or(i64::MAX) };
    let setting = Itimerspec { it_interval: every, it_value: every };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
    Ok(timer)
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
