//! The state machine of one miner and its pool link: bytes and events in, bytes and intents out.
//!
//! It refuses to know sockets and clocks. Its first law: any split of the same bytes means the same.

mod client;
mod downward;
mod ends;
mod greeting;
mod jobs;
mod mining;
mod moving;
mod names;
mod packed;
mod pending;
mod policy;
mod reasons;
mod repeats;
mod shares;
mod tally;
mod upward;

pub use client::{Client, ClientId, Spent, VersionRolling, WorkerState};
pub use mining::Mining;
pub use names::UserRule;
pub use packed::{PackedSession, UnpackError};
pub use policy::{Policy, PoolId, PoolPolicy, PoolState};
pub use reasons::{End, Fault, Filtered, PoolLoss, Reject};
pub use tally::Tally;

use crate::message::JobBodies;
use crate::middleware::{Stage, StageCx};
use crate::stats::Stats;
use crate::tick::Tick;
use crate::wire::Carry;
use crate::workers::Workers;
use greeting::Greeting;
use moving::{Move, Tag};
use pending::Pending;

/// Output of one call, for each side. It belongs to the caller, who sends and clears it.
#[derive(Debug, Default)]
pub struct Out {
    /// Bytes for the miner.
    pub to_miner: Vec<u8>,
    /// Bytes for the pool.
    pub to_pool: Vec<u8>,
    /// Why a message of the miner was refused; the last, where several were.
    pub refused: Option<Reject>,
}

impl Out {
    /// Empties both sides and keeps their memory.
    pub fn clear(&mut self) {
        self.to_miner.clear();
        self.to_pool.clear();
        self.refused = None;
    }
}

/// What a session needs of its surroundings during one call.
#[derive(Debug)]
pub struct Cx<'a, P> {
    /// The present.
    pub now: Tick,
    /// Where output goes.
    pub out: &'a mut Out,
    /// Where things are counted.
    pub stats: &'a mut Stats,
    /// What holds for every session.
    pub policy: &'a Policy,
    /// The middleware chain of the shard.
    pub pipeline: &'a mut P,
    /// Jobs that the shard knows already.
    pub jobs: &'a mut JobBodies,
    /// Whom shares belong to.
    pub workers: &'a mut Workers,
}

impl<P: Stage> Cx<'_, P> {
    fn stage(&mut self) -> (StageCx<'_>, &mut P) {
        (StageCx { now: self.now, stats: self.stats, policy: self.policy }, self.pipeline)
    }
}

/// What the session wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Close the pool connection, if there is one, and open another; tell with `handle_pool_up` or `handle_pool_down`.
    DialPool,
    /// Send what is queued, then close both sides. The session is over.
    Close(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing that a Stratum miner says was heard yet.
    Greeting,
    /// There is no pool link, or none yet; lines for it are held.
    Dialing,
    /// Both sides are up.
    Up,
    /// The miner is not listened to any more; answers in flight are waited for.
    Finishing { end: End, until: Tick },
    /// Over.
    Ended,
}

/// One miner and its pool link.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    client: Client,
    pending: Pending,
    miner_lines: Carry,
    pool_lines: Carry,
    /// The pool that it has, or had last.
    pool: PoolId,
    /// What the miner said in its handshake.
    greeting: Greeting,
    /// Lines of the miner for a pool that is not up yet, as they came.
    held: Vec<u8>,
    /// Lines of the pool that the miner may not see before its subscribe answer.
    early: Vec<u8>,
    /// Since when the miner is waited for to go on with its handshake.
    greeting_since: Tick,
    /// Since when it has no pool that takes it, while it has none.
    waiting_since: Tick,
    /// The last pool that it had did not take it.
    is_unwanted: bool,
    last_message: Tick,
    /// Since when a share waits and the pool has said nothing at all; never, where it has.
    unheard_since: Tick,
    /// Messages of this pool connection kept from the miner since its last good job.
    filtered: u32,
    last_loss: Option<PoolLoss>,
    moving: Option<Move>,
    tag: Tag,
    /// The next job is the first after a move.
    needs_clean: bool,
    first_byte_seen: bool,
    /// Some `mining.subscribe` was answered with an extranonce.
    is_subscribed: bool,
    /// The pool owes an answer: one was given up, or was missing at the end.
    is_owed: bool,
    dial: bool,
    close: Option<End>,
}

impl Session {
    /// A session for a connection that was accepted at `now`.
    #[must_use]
    pub fn new(id: ClientId, now: Tick) -> Session {
        Session {
            phase: Phase::Greeting,
            client: Client::new(id),
            pending: Pending::default(),
            miner_lines: Carry::default(),
            pool_lines: Carry::default(),
            pool: PoolId::default(),
            greeting: Greeting::default(),
            held: Vec::new(),
            early: Vec::new(),
            greeting_since: now,
            waiting_since: now,
            is_unwanted: false,
            last_message: now,
            unheard_since: Tick::NEVER,
            filtered: 0,
            last_loss: None,
            moving: None,
            tag: Tag::default(),
            needs_clean: false,
            first_byte_seen: false,
            is_subscribed: false,
            is_owed: false,
            dial: false,
            close: None,
        }
    }

    /// The next thing to do, if there is one.
    pub fn poll_intent(&mut self) -> Option<Intent> {
        if let Some(end) = self.close.take() {
            return Some(Intent::Close(end));
        }
        std::mem::take(&mut self.dial).then_some(Intent::DialPool)
    }

    /// What is known of the miner.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether a pool connection that is left now has given every answer that was waited for: the pool has read all that
    /// matters, and no share is lost when its connection is reset instead of closed.
    #[must_use]
    pub fn leaves_settled(&self) -> bool {
        !self.is_owed
    }

    /// The pool that the session has, or had last.
    #[must_use]
    pub fn pool(&self) -> PoolId {
        self.pool
    }

    /// Whether it has its pool and everything that it needs of it.
    #[must_use]
    pub fn has_pool(&self) -> bool {
        self.phase == Phase::Up && self.is_subscribed && self.moving.is_none()
    }

    /// Whether its pool connection is open, and the miner listened to.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether the pool owes it the answer to a subscription.
    #[must_use]
    pub fn awaits_subscription(&self) -> bool {
        self.pending.oldest_subscribe().is_some()
    }

    /// How the last pool connection was lost, or the last attempt at one failed.
    #[must_use]
    pub fn last_loss(&self) -> Option<PoolLoss> {
        self.last_loss
    }

    /// Whether it waits for a pool connection.
    #[must_use]
    pub fn waits_for_pool(&self) -> bool {
        self.phase == Phase::Dialing
    }

    /// Whether bytes of the miner still mean something.
    #[must_use]
    pub fn listens_to_miner(&self) -> bool {
        match self.phase {
            Phase::Greeting | Phase::Dialing | Phase::Up => true,
            Phase::Finishing { .. } | Phase::Ended => false,
        }
    }

    /// Whether it has said something that is not blank. Before, it may be anybody.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.first_byte_seen
    }

    /// Whether the miner is through with its handshake and has its pool: it is in nobody's way to be served first.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.phase == Phase::Up && self.is_subscribed && self.client.workers() > 0
    }

    /// Requests that wait for the pool's answer.
    #[must_use]
    pub fn requests_pending(&self) -> usize {
        self.pending.len()
    }

    /// Shares that wait for the pool's answer.
    #[must_use]
    pub fn shares_in_flight(&self) -> usize {
        self.pending.submits()
    }

    /// Bytes that the session itself holds: unfinished lines and lines that wait for their time.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.miner_lines.len() + self.pool_lines.len() + self.held.len() + self.early.len()
    }

    /// What the miner has spent since this was last asked, of what its address may.
    pub fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.client.spent)
    }

    /// Whether it has asked for, or been refused, an authorization since [`Session::take_spent`].
    #[must_use]
    pub fn has_spent_authorizations(&self) -> bool {
        self.client.spent.authorizations > 0
    }

    /// Bytes kept of what the miner said in its handshake.
    #[must_use]
    pub fn bytes_kept(&self) -> usize {
        self.greeting.len()
    }

    /// The caller does not read one side for a while, or does again. The time until now does not count as silence.
    pub fn handle_pause(&mut self, now: Tick) {
        self.miner_lines.touch(now);
        self.pool_lines.touch(now);
        self.last_message = now;
        if self.unheard_since != Tick::NEVER {
            self.unheard_since = now;
        }
    }

    /// Shares in flight are never answered, and its workers have a connection less. To be called when it is dropped without
    /// having ended; more than once does no harm.
    pub fn leave_workers(&mut self, workers: &mut Workers) {
        self.pending.workers_of_submits().for_each(|worker| workers.unanswered(worker));
        self.pending.clear();
        self.client.leave_workers(workers);
    }

    fn end<P: Stage>(&mut self, cx: &mut Cx<'_, P>, end: End) {
        if self.is_over() {
            return;
        }
        self.is_owed |= self.pending.len() > 0;
        self.close = Some(end);
        cx.stats.counts.ends[end.index()] += 1;
        cx.stats.counts.shares.unanswered += self.pending.submits() as u64;
        self.claim_unanswered(cx);
        self.leave_workers(cx.workers);
        self.become_over();
        cx.pipeline.on_close(&self.client);
    }

    /// Nothing is to be done any more, and nothing kept.
    fn become_over(&mut self) {
        self.phase = Phase::Ended;
        self.dial = false;
        self.miner_lines = Carry::default();
        self.pool_lines = Carry::default();
        self.held = Vec::new();
        self.early = Vec::new();
        self.greeting = Greeting::default();
    }
}
