//! A miner that loses its pool and stays: what it had asked is asked again of the next one, and what is different there is
//! told to the miner, in an order in which it never works with a wrong extranonce.
//!
//! `set_version_mask`, `set_extranonce`, `set_difficulty`, then a job that voids all earlier ones. Jobs of a miner that has
//! moved carry a tag, because pools give the same ids to different jobs: a share for a job of another pool is told by it.

use super::pending::{Asked, Request};
use super::{Cx, End, Mining, Phase, PoolId, PoolLoss, Reject, Session, VersionRolling};
use crate::limits::{EARLY_BYTES_MAX, OWN_REQUEST_ID};
use crate::message::{Configure, JobId, Method, MinerMessage, Notify, SubscribeResult, granted_mask};
use crate::middleware::Stage;
use crate::stats::{Direction, Redirect};
use crate::tick::Tick;
use crate::wire::{Envelope, Id, Json, Parser, Span, write};

/// What a tag ends with. No pool is known to use it in a job's id.
const TAG_SIGN: u8 = b'~';
/// Tags there are; a share of so many moves ago does not arrive any more.
const TAGS: u8 = 20;

/// What stands before the job ids of a miner that has moved: a letter that is no hexadecimal digit, and a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tag(u8);

impl Tag {
    /// The tag of the next pool connection.
    fn next(self) -> Tag {
        Tag(self.0 % TAGS + 1)
    }

    /// Whether the miner has moved, so that its jobs carry this tag.
    pub(super) fn is_any(self) -> bool {
        self != Tag::default()
    }

    /// Which it is, from zero for none.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// The one of this number, if there is one.
    pub(super) fn numbered(number: u8) -> Option<Tag> {
        (number <= TAGS).then_some(Tag(number))
    }

    fn bytes(self) -> [u8; 2] {
        [b'f' + self.0, TAG_SIGN]
    }

    /// What stands behind the tag in the job's id of a share; `None` for a job of another pool connection.
    pub(super) fn strip(self, job: Json<'_>) -> Option<(JobId, Span)> {
        let id = job.as_str()?.as_bytes().strip_prefix(&self.bytes())?;
        let span = job.string_span()?;
        let own = std::str::from_utf8(id).ok()?;
        Some((JobId::of_text(own), Span { start: span.start, end: span.start + self.bytes().len() }))
    }
}

/// What a miner on the move is yet to be told. What the pool says of its own accord waits until it has answered what it was
/// asked about both.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Move {
    /// The miner has another extranonce than the session knows by now.
    pub(super) is_extranonce_new: bool,
    /// It has another mask, too.
    pub(super) is_mask_new: bool,
}

impl Session {
    /// The pool connection is of no use any more. A miner that can be told of another one stays and waits; any other leaves.
    pub(super) fn lose_pool<P: Stage>(&mut self, cx: &mut Cx<'_, P>, loss: PoolLoss) {
        match self.phase {
            Phase::Ended => return,
            // Whoever left first is the cause.
            Phase::Finishing { end, .. } => return self.end(cx, end),
            Phase::Greeting | Phase::Dialing | Phase::Up => {}
        }
        if self.phase == Phase::Up {
            cx.stats.pool(self.pool).losses[loss.index()] += 1;
        }
        self.last_loss = Some(loss);
        if cx.policy.hold_us == 0 || loss == PoolLoss::NoResources || !self.can_move() {
            return self.end(cx, loss.end());
        }
        if self.phase == Phase::Up {
            self.begin_waiting(cx.now, loss);
            if cx.now >= self.held_until(cx.policy) {
                return self.end(cx, loss.end());
            }
            self.wait_for_pool(cx);
        }
    }

    /// A pool that is there and does not take the miner is as good as none: from the first of these on, the miner's time runs,
    /// or it would be sent from one to the next for ever and never look for a pool of its own.
    fn begin_waiting(&mut self, now: Tick, loss: PoolLoss) {
        let is_unwanted = matches!(loss, PoolLoss::Refused | PoolLoss::Unauthorized);
        let was_unwanted = std::mem::replace(&mut self.is_unwanted, is_unwanted);
        // Else it waits since before: a pool that takes it and gives it no work is none.
        let had_work = self.client.mining.jobs() > 0;
        if had_work && !(is_unwanted && was_unwanted) {
            self.waiting_since = now;
        }
    }

    /// Whether the miner can be told of another pool: it has nothing of the last one yet, or takes a new extranonce.
    #[must_use]
    pub fn can_move(&self) -> bool {
        self.greeting.is_whole() && (!self.is_subscribed || self.client.extranonce_asked)
    }

    fn wait_for_pool<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        let is_subscribed = self.is_subscribed;
        // One that works and had subscribed once more would go on with its old extranonce until that is answered: the proxy
        // subscribes it.
        let is_lost = |asked: &Asked| !asked.is_owed() || is_subscribed && *asked == Asked::Subscribe;
        while let Some(request) = self.pending.take_any(|request| is_lost(&request.asked)) {
            self.give_up(cx, &request);
        }
        if memchr::memmem::find(&self.early, b"mining.set_version_mask").is_some() {
            // The session knows of a mask that the miner will not hear of.
            self.moving.get_or_insert_default().is_mask_new = true;
        }
        self.pool_lines = super::Carry::default();
        self.early = Vec::new();
        self.client.mining.lose_pool();
        // A tag that stands before no job yet is as good as new: attempts in vain use none up, or an old one came round.
        if self.is_subscribed && !std::mem::replace(&mut self.needs_clean, true) {
            self.tag = self.tag.next();
        }
        self.phase = Phase::Dialing;
        self.dial = true;
    }

    /// Answers a request whose pool is gone, where it was the miner's.
    fn give_up<P: Stage>(&mut self, cx: &mut Cx<'_, P>, request: &Request) {
        match request.asked {
            Asked::Submit { worker, difficulty, trial } => {
                self.is_owed = true;
                cx.workers.lost(worker);
                if let Some(trial) = trial {
                    self.claim(cx, worker, difficulty, trial, None);
                }
                cx.stats.counts.shares.lost += 1;
                cx.stats.pool(self.pool).lost += 1;
            }
            // An error would leave open whether it may go on rolling what it was granted before.
            Asked::Configure(configure) => return self.refuse_extensions(cx, &request.id, &configure),
            Asked::Subscribe | Asked::Authorize(_) | Asked::Other => {}
            Asked::SubscribeAgain | Asked::ConfigureAgain(_) | Asked::AuthorizeAgain(_) | Asked::Own => {
                return;
            }
        }
        let (code, text) = Reject::NoPool.answer();
        write::answer(&mut cx.out.to_miner, request.id.raw(), b"null", write::error(code, text).as_bytes());
        cx.stats.message(Direction::ToMiner, Method::Answer);
    }

    /// The pool connection is open; it took `took_us` to open it. What the miner said before is said to this pool: first
    /// what it had said to another one, then what was held.
    pub fn handle_pool_up<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        parser: &mut Parser,
        pool: PoolId,
        took_us: u64,
    ) {
        if self.phase != Phase::Dialing {
            return;
        }
        cx.stats.connected(pool, took_us);
        self.pool = pool;
        self.phase = Phase::Up;
        self.is_owed = false;
        self.filtered = 0;
        self.greeting_since = cx.now;
        // Nothing was to be said while there was no pool.
        self.last_message = cx.now;
        self.unheard_since = Tick::NEVER;
        self.greet_again(cx, parser);
        let held = std::mem::take(&mut self.held);
        for line in held.split_inclusive(|byte| *byte == b'\n') {
            // It was read once, so it can be read again.
            let _ = parser.read(line, |envelope| self.forward_held(cx, envelope));
        }
    }

    fn greet_again<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser) {
        self.moving = Some(self.moving.take().unwrap_or_default());
        // What is pending now is what the miner waits for of its handshake.
        let mut owed = std::mem::take(&mut self.pending);
        let greeting = std::mem::take(&mut self.greeting);
        let mut line = Vec::new();
        for (number, said) in greeting.lines().enumerate() {
            line.clear();
            let owed = parser.read(said, |envelope| {
                let owed = owed.take_any(|request| is_this(request, envelope));
                match &owed {
                    Some(_) => line.extend_from_slice(said),
                    None => write::with_id(&mut line, envelope, own_id(number).raw()),
                }
                owed
            });
            let _ = parser.read(&line, |envelope| self.say_again(cx, envelope, owed.ok().flatten()));
        }
        self.greeting = greeting;
        // A newer request of the same kind took the place of these: nobody will answer them any more.
        while let Some(request) = owed.take_any(|_| true) {
            self.give_up(cx, &request);
        }
        self.end_move(cx);
    }

    /// Says a line of the miner's handshake again. `owed`: the request, where the miner waits for its answer; where it had
    /// one already, the new answer is the session's.
    fn say_again<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>, owed: Option<Request>) {
        let Ok((method, message)) = MinerMessage::read(envelope) else { return };
        let again = match message {
            MinerMessage::Subscribe(_) => Asked::SubscribeAgain,
            MinerMessage::Configure(configure) => Asked::ConfigureAgain(configure),
            MinerMessage::Authorize(authorize) => {
                // What another pool said of the worker means nothing here.
                self.client.worker_asked_again(authorize.worker());
                Asked::AuthorizeAgain(authorize.worker())
            }
            MinerMessage::Submit(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => Asked::Own,
        };
        let asked = owed.map_or(again, |request| request.asked);
        self.pending.push(envelope.id_owned(), asked, cx.now);
        let user = &cx.policy.pool(self.pool).user;
        self.send_up(cx, method, |out| match message {
            MinerMessage::Authorize(authorize) => user.write_authorize(out, envelope.line, &authorize),
            MinerMessage::Subscribe(_)
            | MinerMessage::Configure(_)
            | MinerMessage::Submit(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => out.extend_from_slice(envelope.line),
        });
    }

    /// The pool answered a subscription that the miner had made elsewhere.
    pub(super) fn subscribed_again<P: Stage>(&mut self, cx: &mut Cx<'_, P>, result: Option<Json<'_>>) {
        let Some(result) = result else { return self.lose_pool(cx, PoolLoss::Refused) };
        let Some(subscribed) = SubscribeResult::read(result) else {
            return self.lose_pool(cx, PoolLoss::BadSubscribeResult);
        };
        cx.stats.pool(self.pool).subscribed += 1;
        let mining = &mut self.client.mining;
        let is_new = !mining.has_extranonce(&subscribed);
        if is_new && !mining.can_take(&subscribed) {
            return self.end(cx, End::ExtranonceChanged);
        }
        mining.subscribed(&subscribed);
        if let Some(moving) = &mut self.moving {
            moving.is_extranonce_new |= is_new;
            if moving.is_extranonce_new {
                // Told here, not at the end of the move: a pool may change it again before that.
                self.tell_first(cx, Method::SetExtranonce, |out, mining| {
                    let (extranonce1, size) = mining.extranonce();
                    write::set_extranonce(out, extranonce1, size);
                });
            }
        }
        self.ask_for_extranonce(cx);
        self.end_move(cx);
    }

    /// The pool answered a configure that the miner had made elsewhere, or did not in time.
    pub(super) fn configured_again<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        configure: &Configure,
        result: Option<Json<'_>>,
    ) {
        let named = result.and_then(granted_mask).unwrap_or(0);
        // A miner that was refused rolls nothing, and some idle when they are told of a mask that they were refused.
        let rolls = configure.asked.version_rolling
            && matches!(self.client.version_rolling, VersionRolling::Granted { .. });
        let is_new = rolls && named & configure.mask != self.client.mining.version_mask();
        if rolls {
            self.client.mining.set_version_mask(named, configure.mask);
        }
        if let Some(moving) = &mut self.moving {
            moving.is_mask_new |= is_new;
        }
        self.end_move(cx);
    }

    /// The pool answered an authorization that the miner had made elsewhere.
    pub(super) fn authorized_again<P: Stage>(&mut self, cx: &mut Cx<'_, P>, worker: u64, granted: bool) {
        self.authorized(cx, worker, granted);
        if !self.client.may_submit() {
            self.lose_pool(cx, PoolLoss::Unauthorized);
        }
    }

    /// Once all is known of what is different at this pool, the miner is told, and then what the pool said meanwhile.
    pub(super) fn end_move<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        if !self.listens_to_pool() {
            // The pool was lost just now, and what the miner was not told of is for the next.
            return;
        }
        let rolls_already = self.client.mining.version_mask() != 0;
        let is_answered = !self.pending.has_asked_again(rolls_already);
        let Some(moving) = self.moving.filter(|_| is_answered) else { return };
        self.moving = None;
        cx.stats.counts.moved += u64::from(self.tag.is_any() && !self.needs_clean);
        let rolls = matches!(self.client.version_rolling, VersionRolling::Granted { .. });
        if moving.is_mask_new && rolls {
            self.tell_first(cx, Method::SetVersionMask, |out, mining| {
                write::set_version_mask(out, mining.version_mask());
            });
        }
        if self.subscribe_awaited().is_none() {
            cx.out.to_miner.append(&mut self.early);
            self.early = Vec::new();
        }
    }

    /// Puts a line of the proxy before all that waits for the miner.
    fn tell_first<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        method: Method,
        line: impl FnOnce(&mut Vec<u8>, &Mining),
    ) {
        cx.stats.message(Direction::ToMiner, method);
        let early = std::mem::take(&mut self.early);
        line(&mut self.early, &self.client.mining);
        self.early.extend_from_slice(&early);
        if self.early.len() > EARLY_BYTES_MAX {
            self.lose_pool(cx, PoolLoss::EarlyTooMuch);
        }
    }

    /// Passes a job on to a miner that has moved: with the tag of its pool, and the first one as the job that voids all
    /// earlier ones.
    pub(super) fn notify_moved<P: Stage>(&mut self, cx: &mut Cx<'_, P>, line: &[u8], notify: &Notify) {
        let is_first = std::mem::replace(&mut self.needs_clean, false);
        if is_first {
            // One that waits for the end of the move may yet be lost with this pool.
            cx.stats.counts.moved += u64::from(self.moving.is_none());
            if !self.client.mining.has_difficulty() {
                // What Stratum means where a pool says nothing; the miner still has that of another pool.
                self.client.mining.set_difficulty(1.0);
                self.send_down(cx, Method::SetDifficulty, write::set_difficulty_one);
            }
        }
        let clean = notify.clean_at.filter(|_| is_first && !notify.clean_jobs);
        let job = Notify { clean_jobs: notify.clean_jobs || is_first, ..*notify };
        self.client.mining.notify(&job, cx.now, cx.policy.jobs_us);
        let tag = self.tag.bytes();
        self.send_down(cx, Method::Notify, |out| write_tagged(out, line, notify, &tag, clean));
    }

    /// Sends the miners of a pool where it asks, within what the configuration allows.
    pub(super) fn redirect<P: Stage>(&self, cx: &mut Cx<'_, P>, host: &str, port: Option<u16>) {
        cx.stats.redirect(Redirect { pool: self.pool, host: host.to_owned(), port });
    }
}

/// Whether this request is what the line says.
fn is_this(request: &Request, envelope: &Envelope<'_>) -> bool {
    let is_kind = match MinerMessage::read(envelope) {
        Ok((_, MinerMessage::Subscribe(_))) => request.asked == Asked::Subscribe,
        Ok((_, MinerMessage::Configure(_))) => matches!(request.asked, Asked::Configure(_)),
        Ok((_, MinerMessage::Authorize(authorize))) => request.asked == Asked::Authorize(authorize.worker()),
        Ok((
            _,
            MinerMessage::Submit(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer,
        ))
        | Err(_) => false,
    };
    is_kind && request.id.means_same(envelope.id_raw())
}

/// The id of the proxy's own request for part `number` of a handshake; the first is for requests beside it.
fn own_id(number: usize) -> Id {
    let number = u32::try_from(number).unwrap_or(0);
    Id::from_raw((OWN_REQUEST_ID + 1 + number).to_string().as_bytes())
}

fn write_tagged(out: &mut Vec<u8>, line: &[u8], notify: &Notify, tag: &[u8], clean: Option<Span>) {
    let at = notify.job_at;
    let is_string = at.start > 0 && line[at.start - 1] == b'"';
    let (before, after): (Vec<u8>, &[u8]) =
        if is_string { (tag.to_vec(), b"") } else { ([b"\"", tag].concat(), b"\"") };
    let mut changes: Vec<(Span, &[u8])> = vec![(Span { start: at.start, end: at.start }, &before)];
    if !after.is_empty() {
        changes.push((Span { start: at.end, end: at.end }, after));
    }
    changes.extend(clean.map(|span| (span, b"true".as_slice())));
    write::splice(out, line, &changes);
}
