//! From the pool: answers find who asked, notifications are tracked, and what could harm a miner is kept away.

use super::PoolLoss;
use super::pending::{Asked, Request};
use super::{Cx, End, Filtered, Phase, Session, VersionRolling};
use crate::limits::{EARLY_BYTES_MAX, FILTERED_MAX, OUT_BYTES_MAX, OWN_REQUEST_ID, POOL_LINE_BYTES_MAX};
use crate::message::{Configure, Method, Notify, PoolMessage, Reconnect, SubscribeResult, granted_mask};
use crate::middleware::Stage;
use crate::stats::Direction;
use crate::tick::Tick;
use crate::verdict::Verdict;
use crate::wire::{Envelope, Id, Json, JsonKind, Parser, write};

impl Session {
    /// Takes bytes that the pool sent.
    pub fn handle_pool_bytes<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser, bytes: &[u8]) {
        cx.stats.counts.bytes[Direction::FromPool.index()] += bytes.len() as u64;
        let mut rest = bytes;
        while self.listens_to_pool() {
            match self.pool_lines.next_line(&mut rest, POOL_LINE_BYTES_MAX, cx.now) {
                Ok(Some(line)) => self.handle_pool_line(cx, parser, &line),
                Ok(None) => break,
                Err(_) => self.lose_pool(cx, PoolLoss::LineTooLong),
            }
        }
    }

    /// Whether bytes of the pool still mean something.
    #[must_use]
    pub fn listens_to_pool(&self) -> bool {
        match self.phase {
            Phase::Up | Phase::Finishing { .. } => true,
            Phase::Greeting | Phase::Dialing | Phase::Ended => false,
        }
    }

    fn handle_pool_line<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.last_message = cx.now;
        self.unheard_since = Tick::NEVER;
        if let Some(notify) = cx.jobs.find(line) {
            cx.stats.message(Direction::FromPool, Method::Notify);
            self.handle_notify(cx, line, &notify);
        } else if parser.read(line, |envelope| self.handle_pool_message(cx, envelope)).is_err() {
            cx.stats.message(Direction::FromPool, Method::Unknown);
            return self.lose_pool(cx, PoolLoss::Garbage);
        }
        if cx.out.to_miner.len() > OUT_BYTES_MAX {
            self.end(cx, End::OutputFlood);
        }
    }

    fn handle_pool_message<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>) {
        let (method, message) = match PoolMessage::read(envelope) {
            Ok(read) => read,
            Err(filtered) => {
                cx.stats.message(Direction::FromPool, envelope.method.map_or(Method::Unknown, Method::of));
                return self.filter(cx, filtered);
            }
        };
        cx.stats.message(Direction::FromPool, method);
        let line = envelope.line;
        match message {
            PoolMessage::Answer => self.handle_answer(cx, envelope),
            PoolMessage::Notify(notify) => {
                cx.jobs.learn(line, notify);
                self.handle_notify(cx, line, &notify);
            }
            PoolMessage::SetDifficulty(difficulty) => {
                self.client.mining.set_difficulty(difficulty);
                self.send_down(cx, method, |out| write::with_some_id(out, envelope));
            }
            PoolMessage::SetExtranonce(set) => self.handle_set_extranonce(cx, envelope, &set),
            PoolMessage::SetVersionMask(mask) => self.handle_set_version_mask(cx, line, mask),
            PoolMessage::Reconnect(reconnect) => self.handle_reconnect(cx, &reconnect),
            PoolMessage::Request(method) => self.send_down(cx, method, |out| out.extend_from_slice(line)),
        }
    }

    fn handle_notify<P: Stage>(&mut self, cx: &mut Cx<'_, P>, line: &[u8], notify: &Notify) {
        let counts = cx.stats.pool(self.pool);
        counts.jobs += 1;
        counts.prev_hash = notify.prev_hash;
        self.filtered = 0;
        if self.tag.is_any() {
            return self.notify_moved(cx, line, notify);
        }
        self.client.mining.notify(notify, cx.now, cx.policy.jobs_us);
        self.send_down(cx, Method::Notify, |out| out.extend_from_slice(line));
    }

    fn handle_set_version_mask<P: Stage>(&mut self, cx: &mut Cx<'_, P>, line: &[u8], mask: u32) {
        match self.client.version_rolling {
            // Some pools send the mask ahead of their answer.
            VersionRolling::Asked { mask: wanted } | VersionRolling::Granted { mask: wanted } => {
                self.client.mining.set_version_mask(mask, wanted);
                match &mut self.moving {
                    // Told at the end of the move, and not at all if the pool then refuses to have bits rolled.
                    Some(moving) => moving.is_mask_new = true,
                    None => {
                        self.send_down(cx, Method::SetVersionMask, |out| out.extend_from_slice(line));
                    }
                }
            }
            VersionRolling::Unasked | VersionRolling::Refused => {
                self.filter(cx, Filtered::VersionMaskUnasked)
            }
        }
    }

    fn handle_set_extranonce<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        envelope: &Envelope<'_>,
        set: &SubscribeResult<'_>,
    ) {
        if self.client.extranonce_asked {
            if let Some(moving) = &mut self.moving {
                // It waits, and is lost with this pool if that comes first.
                moving.is_extranonce_new = true;
            }
            self.client.mining.set_extranonce(set);
            self.send_down(cx, Method::SetExtranonce, |out| write::with_some_id(out, envelope));
        } else if self.client.mining.has_extranonce(set) {
            self.filter(cx, Filtered::SameExtranonce);
        } else {
            // The miner would go on with the old extranonce and lose every share: it gets the new one by connecting again.
            self.end(cx, End::ExtranonceChanged);
        }
    }

    /// The same place again: the connection is made anew, by the proxy where the miner can stay, by the miner where not. A
    /// place that the configuration allows is followed by the proxy for all miners of the pool. Any other is refused.
    fn handle_reconnect<P: Stage>(&mut self, cx: &mut Cx<'_, P>, reconnect: &Reconnect<'_>) {
        let pool = cx.policy.pool(self.pool);
        let same_host = reconnect.host.is_none_or(|host| host.eq_ignore_ascii_case(&pool.host));
        let same_port = reconnect.port.is_none_or(|port| port == pool.port);
        if same_host && same_port {
            return self.lose_pool(cx, PoolLoss::Reconnect);
        }
        let host = reconnect.host.unwrap_or(&pool.host);
        if pool.may_lead_to(host) && reconnect.port != Some(0) {
            self.redirect(cx, host, reconnect.port);
        } else {
            self.filter(cx, Filtered::ReconnectRefused);
        }
    }

    fn handle_answer<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>) {
        let Some(request) = self.pending.take(envelope.id_raw()) else {
            return self.filter(cx, Filtered::Orphan);
        };
        if !self.is_subscribed {
            // The pool has done its part of the handshake; the next is the miner's.
            self.greeting_since = cx.now;
        }
        let granted = envelope.result.is_some_and(|result| result.kind() == JsonKind::Bool(true));
        match request.asked {
            Asked::Own => return,
            Asked::Subscribe => return self.handle_subscribe_answer(cx, envelope, &request),
            Asked::SubscribeAgain => {
                let result = envelope.result.filter(|result| !is_refusal(result));
                return self.subscribed_again(cx, result);
            }
            Asked::ConfigureAgain(configure) => {
                return self.configured_again(cx, &configure, envelope.result);
            }
            Asked::AuthorizeAgain(worker) => return self.authorized_again(cx, worker, granted),
            Asked::Submit { worker, difficulty } => {
                let verdict = Verdict::read(envelope.result, envelope.error, envelope.reject_reason);
                let waited_us = cx.now - request.at;
                cx.stats.verdict(verdict, difficulty, waited_us);
                let is_telling = self.speaks_of_its_pool();
                cx.stats.pool(self.pool).verdict(verdict, difficulty, waited_us, is_telling);
                cx.workers.verdict(worker, verdict, difficulty, waited_us, (self.pool, cx.now));
                self.count_verdict(cx, verdict);
                let (mut stage, pipeline) = cx.stage();
                pipeline.on_verdict(&mut stage, &self.client, verdict);
            }
            Asked::Authorize(worker) => {
                if !granted {
                    self.client.authorization_refused();
                }
                self.authorized(cx, worker, granted);
            }
            Asked::Configure(configure) => {
                self.configure_answered(&configure, envelope.result.and_then(granted_mask));
            }
            Asked::Other => {}
        }
        write_answer(cx, envelope, &request);
        self.end_move(cx);
        self.finish_if_answered(cx);
    }

    /// The pool answered an authorization. `worker`: the fingerprint of its name.
    pub(super) fn authorized<P: Stage>(&mut self, cx: &mut Cx<'_, P>, worker: u64, granted: bool) {
        let worker = self.client.worker_answered(worker, granted);
        cx.stats.authorized(granted);
        cx.workers.answered(worker, granted, self.client.agent, self.pool);
    }

    /// `granted` is the pool's mask, or none where it refused version rolling or said nothing of it.
    pub(super) fn configure_answered(&mut self, configure: &Configure, granted: Option<u32>) {
        if configure.asked.version_rolling {
            self.client.mining.set_version_mask(granted.unwrap_or(0), configure.mask);
            self.client.version_rolling = match granted {
                Some(_) => VersionRolling::Granted { mask: configure.mask },
                None => VersionRolling::Refused,
            };
        }
    }

    fn handle_subscribe_answer<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        envelope: &Envelope<'_>,
        request: &Request,
    ) {
        let result = envelope.result.filter(|result| !is_refusal(result));
        match result {
            Some(result) => {
                let Some(subscribed) = SubscribeResult::read(result) else {
                    if cx.policy.hold_us > 0 {
                        // Where the miner stays, it is not answered yet.
                        self.pending.push(request.id.clone(), Asked::Subscribe, cx.now);
                    }
                    return self.lose_pool(cx, PoolLoss::BadSubscribeResult);
                };
                cx.stats.pool(self.pool).subscribed += 1;
                self.client.mining.subscribed(&subscribed);
            }
            None if cx.policy.hold_us > 0 && !self.is_subscribed => {
                // Nobody works at a pool that takes no miners: another one is tried, and the miner goes on waiting.
                self.pending.push(request.id.clone(), Asked::Subscribe, cx.now);
                return self.lose_pool(cx, PoolLoss::Refused);
            }
            None => {}
        }
        self.is_subscribed |= result.is_some();
        write_answer(cx, envelope, request);
        if self.moving.is_none() {
            cx.out.to_miner.append(&mut self.early);
            self.early = Vec::new();
        }
        if result.is_some() && !self.client.extranonce_asked {
            self.ask_for_extranonce(cx);
        }
    }

    pub(super) fn ask_for_extranonce<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        let may_ask = self.phase == Phase::Up && cx.policy.pool(self.pool).extranonce;
        if !may_ask || self.pending.is_full() {
            return;
        }
        let id = OWN_REQUEST_ID.to_string();
        self.pending.push(Id::from_raw(id.as_bytes()), Asked::Own, cx.now);
        self.send_up(cx, Method::ExtranonceSubscribe, |out| {
            out.extend_from_slice(b"{\"id\":");
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(b",\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n");
        });
    }

    /// Writes one line for the miner. Some firmware reads exactly one line after its subscribe and takes it for the
    /// answer, so whatever comes before that answer waits for it.
    pub(super) fn send_down<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        method: Method,
        line: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.listens_to_pool() {
            // The line before was one too many, and the pool is lost: what it says means nothing to the miner any more.
            return;
        }
        cx.stats.message(Direction::ToMiner, method);
        if self.moving.is_none() && self.subscribe_awaited().is_none() {
            return line(&mut cx.out.to_miner);
        }
        line(&mut self.early);
        if self.early.len() > EARLY_BYTES_MAX {
            self.lose_pool(cx, PoolLoss::EarlyTooMuch);
        }
    }

    /// Keeps a message from the miner. A pool connection that has hardly anything else to say is given up. Answers that
    /// nobody waits for do not count: what a miner asks, and how late a pool answers, says nothing about its words.
    fn filter<P: Stage>(&mut self, cx: &mut Cx<'_, P>, filtered: Filtered) {
        cx.stats.counts.filtered[filtered.index()] += 1;
        self.filtered += u32::from(filtered != Filtered::Orphan);
        if self.filtered > FILTERED_MAX {
            self.lose_pool(cx, PoolLoss::Garbage);
        }
    }

    pub(super) fn finish_if_answered<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        if let Phase::Finishing { end, .. } = self.phase
            && self.pending.submits() == 0
        {
            self.end(cx, end);
        }
    }
}

fn is_refusal(result: &Json<'_>) -> bool {
    matches!(result.kind(), JsonKind::Null | JsonKind::Bool(_))
}

/// Passes an answer on with the id as the miner wrote it.
fn write_answer<P>(cx: &mut Cx<'_, P>, envelope: &Envelope<'_>, request: &Request) {
    cx.stats.message(Direction::ToMiner, Method::Answer);
    match envelope.id {
        Some(span) if envelope.id_raw() != request.id.raw() => {
            write::splice(&mut cx.out.to_miner, envelope.line, &[(span, request.id.raw())]);
        }
        Some(_) | None => cx.out.to_miner.extend_from_slice(envelope.line),
    }
}
