//! A session that goes on in another process: all of its state as plain data, on the way out and on the way in.
//!
//! What comes in is trusted no more than a file: whatever no session can have is refused, before anything is counted or
//! anybody told. It refuses to pack a session in the middle of something: one that has no pool, or is being moved, or ends,
//! is served on where it is.

mod parts;
mod plain;
#[cfg(test)]
mod tests;

pub(super) use parts::{
    PackedAsked, PackedGreeting, PackedJob, PackedJobs, PackedMiner, PackedName, PackedRepeats,
    PackedRequest, PackedWork, PackedWorker,
};
pub(super) use plain::{Exact, Hex};

use super::greeting::Greeting;
use super::moving::Tag;
use super::pending::{Pending, check_packed};
use super::{Client, ClientId, Cx, Mining, Phase, PoolId, PoolLoss, Session};
use crate::limits::{
    EARLY_BYTES_MAX, FILTERED_MAX, GREETING_BYTES_MAX, ID_BYTES_MAX, JOBS_MAX, MINER_LINE_BYTES_MAX,
    PENDING_MAX, POOL_LINE_BYTES_MAX, SHARES_KEPT_MAX, USER_BYTES_MAX, WORKERS_MAX,
};
use crate::middleware::Stage;
use crate::tick::Tick;
use crate::wire::{Carry, Parser};
use crate::workers::Workers;
use parts::PackedCarry;
use plain::given;
use serde::{Deserialize, Serialize};

/// A session as plain data, made by [`Session::pack`] and made a session again by [`Session::unpack`]. It can be written with
/// serde in any form that describes itself, such as JSON, whose reader must take integers of 64 bits. Times are of the clock
/// of the process that packed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedSession {
    format: u32,
    miner: PackedMiner,
    work: PackedWork,
    pending: Vec<PackedRequest>,
    greeting: PackedGreeting,
    miner_line: PackedCarry,
    pool_line: PackedCarry,
    /// Lines that wait for the subscribe answer.
    early: String,
    greeting_since: Tick,
    waiting_since: Tick,
    last_message: Tick,
    unheard_since: Tick,
    is_unwanted: bool,
    filtered: u32,
    #[serde(deserialize_with = "given")]
    last_loss: Option<String>,
    tag: u8,
    needs_clean: bool,
    is_subscribed: bool,
    is_owed: bool,
}

impl PackedSession {
    /// The format of what this program packs. It changes with every change of what is packed or of what it means, fingerprints
    /// of names, jobs and shares included: two processes that do not have the same cannot hand sessions over.
    pub const FORMAT: u32 = 1;
    /// No session takes more bytes as JSON without blanks; one at work takes about two thousand.
    pub const JSON_BYTES_MAX: usize = 1024 * 1024;
}

/// Bytes of names, brackets and numbers of one request, job or worker in JSON.
const FRAME_BYTES: usize = 256;

const _: () = {
    // A byte is two digits, or has a backslash before it.
    let lines = MINER_LINE_BYTES_MAX + POOL_LINE_BYTES_MAX + EARLY_BYTES_MAX + GREETING_BYTES_MAX;
    let lists = PENDING_MAX * (2 * ID_BYTES_MAX + FRAME_BYTES)
        + WORKERS_MAX * (2 * USER_BYTES_MAX + FRAME_BYTES)
        + JOBS_MAX * FRAME_BYTES
        + SHARES_KEPT_MAX * 2 * size_of::<u64>();
    // What is left over is for all else.
    assert!(2 * lines + lists + 32 * FRAME_BYTES <= PackedSession::JSON_BYTES_MAX);
};

/// Why a packed session is none. Nothing has been counted then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnpackError {
    /// It has this format, which is not [`PackedSession::FORMAT`].
    Format(u32),
    /// There is more of this than a session may have.
    TooMuch(&'static str),
    /// No session has such a value.
    Impossible(&'static str),
}

impl std::fmt::Display for UnpackError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UnpackError::Format(format) => {
                write!(f, "a session of format {format}, where {} is known", PackedSession::FORMAT)
            }
            UnpackError::TooMuch(what) => write!(f, "more than a session may have: {what}"),
            UnpackError::Impossible(what) => write!(f, "a value that no session has: {what}"),
        }
    }
}

impl std::error::Error for UnpackError {}

impl Session {
    /// Whether it can go on in another process: its pool connection is open, it is not being moved, and nothing is left to
    /// do for its caller.
    #[must_use]
    pub fn can_be_packed(&self) -> bool {
        let is_idle = self.moving.is_none() && !self.dial && self.close.is_none() && self.held.is_empty();
        self.phase == Phase::Up && is_idle
    }

    /// All of it as plain data, or `None` where [`can_be_packed`](Self::can_be_packed) does not hold. It is not changed, and may go
    /// on here if the other process does not take it; else [`handed_over`](Self::handed_over) is to be called, with no call
    /// between the two. What it has spent ([`take_spent`](Self::take_spent)) stays with this process.
    #[must_use]
    pub fn pack(&self, workers: &Workers) -> Option<PackedSession> {
        if !self.can_be_packed() {
            return None;
        }
        let carry = |carry: &Carry| {
            let (bytes, since) = carry.parts();
            PackedCarry { bytes: Hex(bytes.to_vec()), since }
        };
        Some(PackedSession {
            format: PackedSession::FORMAT,
            miner: self.client.pack(workers),
            work: self.client.mining.pack()?,
            pending: self.pending.pack(&self.client)?,
            greeting: self.greeting.pack()?,
            miner_line: carry(&self.miner_lines),
            pool_line: carry(&self.pool_lines),
            early: str::from_utf8(&self.early).ok()?.to_owned(),
            greeting_since: self.greeting_since,
            waiting_since: self.waiting_since,
            last_message: self.last_message,
            unheard_since: self.unheard_since,
            is_unwanted: self.is_unwanted,
            filtered: self.filtered,
            last_loss: self.last_loss.map(|loss| loss.label().to_owned()),
            tag: self.tag.number(),
            needs_clean: self.needs_clean,
            is_subscribed: self.is_subscribed,
            is_owed: self.is_owed,
        })
    }

    /// The session goes on in another process, which has taken what [`pack`](Self::pack) gave. Here it is over, without an end
    /// that is counted and without an intent: its sockets are not to be shut down or reset. Its shares in flight are counted as handed
    /// over, its workers have a connection less, and stages hear of a close, since its client does not come back to them.
    pub fn handed_over<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        if self.is_over() {
            return;
        }
        cx.stats.counts.shares.handed_over += self.pending.submits() as u64;
        // Whoever asks whether the pool connection may be reset is told that it may not.
        self.is_owed = true;
        // Not `leave_workers`: it would count these shares as unanswered.
        self.pending.clear();
        self.client.leave_workers(cx.workers);
        self.become_over();
        cx.pipeline.on_close(&self.client);
    }

    /// The session that was packed, under the name `id` of this process, with `pool` as the number that its pool has here.
    /// Its shares in flight count as forwarded by this process too.
    ///
    /// # Errors
    /// [`UnpackError`] for what is no session of this format; nothing is counted then, and no worker known.
    pub fn unpack<P>(
        cx: &mut Cx<'_, P>,
        parser: &mut Parser,
        packed: &PackedSession,
        id: ClientId,
        pool: PoolId,
    ) -> Result<Session, UnpackError> {
        if packed.format != PackedSession::FORMAT {
            return Err(UnpackError::Format(packed.format));
        }
        let mining = Mining::unpack(&packed.work, cx.now)?;
        let client = Client::unpack(&packed.miner, id, mining)?;
        let ids = check_packed(&packed.pending, client.workers())?;
        let greeting = Greeting::unpack(&packed.greeting, parser, &client.names())?;
        let mut session = packed.without_requests(client, greeting, cx.now)?;
        // Nothing can fail any more.
        session.pool = pool;
        session.client.arrive(&packed.miner, pool, cx.workers);
        session.pending = Pending::unpack(&packed.pending, ids, &session.client, cx.now);
        cx.stats.counts.shares.forwarded += session.pending.submits() as u64;
        Ok(session)
    }
}

impl PackedSession {
    fn without_requests(
        &self,
        client: Client,
        greeting: Greeting,
        now: Tick,
    ) -> Result<Session, UnpackError> {
        let impossible = UnpackError::Impossible;
        let carry = |carry: &PackedCarry, cap: usize| {
            Carry::of_parts(carry.bytes.0.clone(), carry.since.by(now), cap)
                .ok_or(impossible("an unfinished line"))
        };
        if self.early.len() > EARLY_BYTES_MAX {
            return Err(UnpackError::TooMuch("early"));
        }
        if !self.early.is_empty() && !self.early.ends_with('\n') {
            return Err(impossible("early"));
        }
        let last_loss = match &self.last_loss {
            None => None,
            Some(label) => {
                let loss = PoolLoss::ALL.iter().find(|loss| loss.label() == label);
                Some(*loss.ok_or(impossible("last_loss"))?)
            }
        };
        let tag = Tag::numbered(self.tag).ok_or(impossible("tag"))?;
        if self.filtered > FILTERED_MAX || self.needs_clean && !tag.is_any() {
            return Err(impossible(if self.needs_clean { "needs_clean" } else { "filtered" }));
        }
        let is_heard = self.unheard_since == Tick::NEVER;
        let id = client.id;
        Ok(Session {
            phase: Phase::Up,
            client,
            miner_lines: carry(&self.miner_line, MINER_LINE_BYTES_MAX)?,
            pool_lines: carry(&self.pool_line, POOL_LINE_BYTES_MAX)?,
            greeting,
            early: self.early.clone().into_bytes(),
            greeting_since: self.greeting_since.by(now),
            waiting_since: self.waiting_since.by(now),
            is_unwanted: self.is_unwanted,
            last_message: self.last_message.by(now),
            unheard_since: if is_heard { Tick::NEVER } else { self.unheard_since.by(now) },
            filtered: self.filtered,
            last_loss,
            tag,
            needs_clean: self.needs_clean,
            first_byte_seen: true,
            is_subscribed: self.is_subscribed,
            is_owed: self.is_owed,
            ..Session::new(id, now)
        })
    }
}
