//! From the pool: answers find who asked, notifications are tracked, and what could harm a miner is kept away.

use super::pending::{Asked, Request};
use super::{Cx, End, Filtered, Phase, Session, VersionRolling};
use crate::limits::{EARLY_BYTES_MAX, OUT_BYTES_MAX, OWN_REQUEST_ID, POOL_LINE_BYTES_MAX};
use crate::message::{Configure, Method, Notify, PoolMessage, Reconnect, SubscribeResult, granted_mask};
use crate::middleware::Stage;
use crate::stats::Direction;
use crate::verdict::Verdict;
use crate::wire::{Envelope, Id, Json, JsonKind, Parser, Span, write};

impl Session {
    /// Takes bytes that the pool sent.
    pub fn handle_pool_bytes<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser, bytes: &[u8]) {
        cx.stats.counts.bytes[Direction::FromPool.index()] += bytes.len() as u64;
        let mut rest = bytes;
        while !self.is_over() {
            match self.pool_lines.next_line(&mut rest, POOL_LINE_BYTES_MAX, cx.now) {
                Ok(Some(line)) => self.handle_pool_line(cx, parser, &line),
                Ok(None) => break,
                Err(_) => self.end(cx, End::PoolLineTooLong),
            }
        }
    }

    fn handle_pool_line<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.last_message = cx.now;
        if let Some(notify) = cx.jobs.find(line) {
            cx.stats.message(Direction::FromPool, Method::Notify);
            self.handle_notify(cx, line, notify);
        } else if parser.read(line, |envelope| self.handle_pool_message(cx, envelope)).is_err() {
            cx.stats.message(Direction::FromPool, Method::Unknown);
            return self.end(cx, End::PoolGarbage);
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
                return filter(cx, filtered);
            }
        };
        cx.stats.message(Direction::FromPool, method);
        let line = envelope.line;
        match message {
            PoolMessage::Answer => self.handle_answer(cx, envelope),
            PoolMessage::Notify(notify) => {
                cx.jobs.learn(line, notify);
                self.handle_notify(cx, line, notify);
            }
            PoolMessage::SetDifficulty(difficulty) => {
                self.client.mining.set_difficulty(difficulty);
                self.send_down(cx, method, |out| write_with_id(out, envelope));
            }
            PoolMessage::SetExtranonce(set) => self.handle_set_extranonce(cx, envelope, &set),
            PoolMessage::SetVersionMask(mask) => match self.client.version_rolling {
                // Some pools send the mask ahead of their answer.
                VersionRolling::Asked { mask: wanted } | VersionRolling::Granted { mask: wanted } => {
                    self.client.mining.set_version_mask(mask & wanted);
                    self.send_down(cx, method, |out| out.extend_from_slice(line));
                }
                VersionRolling::Unasked | VersionRolling::Refused => filter(cx, Filtered::VersionMaskUnasked),
            },
            PoolMessage::Reconnect(reconnect) => self.handle_reconnect(cx, &reconnect),
            PoolMessage::Request(method) => self.send_down(cx, method, |out| out.extend_from_slice(line)),
        }
    }

    fn handle_notify<P: Stage>(&mut self, cx: &mut Cx<'_, P>, line: &[u8], notify: Notify) {
        self.client.mining.notify(notify);
        self.send_down(cx, Method::Notify, |out| out.extend_from_slice(line));
    }

    fn handle_set_extranonce<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        envelope: &Envelope<'_>,
        set: &SubscribeResult<'_>,
    ) {
        if self.client.extranonce_asked {
            self.client.mining.set_extranonce(set);
            self.send_down(cx, Method::SetExtranonce, |out| write_with_id(out, envelope));
        } else if self.client.mining.has_extranonce(set) {
            filter(cx, Filtered::SameExtranonce);
        } else {
            // The miner would go on with the old extranonce and lose every share: it gets the new one by connecting again.
            self.end(cx, End::ExtranonceChanged);
        }
    }

    /// Closing the socket is the one way to make every miner connect again; another place is refused.
    fn handle_reconnect<P: Stage>(&mut self, cx: &mut Cx<'_, P>, reconnect: &Reconnect<'_>) {
        let same_host = reconnect.host.is_none_or(|host| host.eq_ignore_ascii_case(&cx.policy.pool_host));
        let same_port = reconnect.port.is_none_or(|port| port == cx.policy.pool_port);
        if same_host && same_port {
            self.end(cx, End::PoolReconnect);
        } else {
            filter(cx, Filtered::ReconnectRefused);
        }
    }

    fn handle_answer<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>) {
        let Some(request) = self.pending.take(envelope.id_raw()) else {
            return filter(cx, Filtered::Orphan);
        };
        if !self.is_subscribed {
            // The pool has done its part of the handshake; the next is the miner's.
            self.greeting_since = cx.now;
        }
        let granted = envelope.result.is_some_and(|result| result.kind() == JsonKind::Bool(true));
        match request.asked {
            Asked::Own => return,
            Asked::Subscribe => return self.handle_subscribe_answer(cx, envelope, &request),
            Asked::Submit { difficulty } => {
                let verdict = Verdict::read(envelope.result, envelope.error, envelope.reject_reason);
                cx.stats.verdict(verdict, difficulty, cx.now - request.at);
                let (mut stage, pipeline) = cx.stage();
                pipeline.on_verdict(&mut stage, &self.client, verdict);
            }
            Asked::Authorize(worker) => {
                self.client.worker_answered(worker, granted);
                let counts = &mut cx.stats.counts.authorizations;
                *if granted { &mut counts.accepted } else { &mut counts.refused } += 1;
            }
            Asked::Configure(configure) => {
                self.configure_answered(&configure, envelope.result.and_then(granted_mask));
            }
            Asked::Other => {}
        }
        write_answer(cx, envelope, &request);
        self.finish_if_answered(cx);
    }

    /// `granted` is the pool's mask, or none where it refused version rolling or said nothing of it.
    pub(super) fn configure_answered(&mut self, configure: &Configure, granted: Option<u32>) {
        if configure.asked.version_rolling {
            self.client.mining.set_version_mask(granted.unwrap_or(0) & configure.mask);
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
        if let Some(result) = result {
            let Some(subscribed) = SubscribeResult::read(result) else {
                return self.end(cx, End::BadSubscribeResult);
            };
            self.client.mining.subscribed(&subscribed);
        }
        self.is_subscribed |= result.is_some();
        write_answer(cx, envelope, request);
        cx.out.to_miner.append(&mut self.early);
        self.early = Vec::new();
        let may_ask = self.phase == Phase::Up && cx.policy.extranonce && !self.pending.is_full();
        if result.is_some() && may_ask && !self.client.extranonce_asked {
            self.pending.push(Id::from_raw(OWN_REQUEST_ID), Asked::Own, cx.now);
            self.send_up(cx, Method::ExtranonceSubscribe, |out| {
                out.extend_from_slice(b"{\"id\":");
                out.extend_from_slice(OWN_REQUEST_ID);
                out.extend_from_slice(b",\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n");
            });
        }
    }

    /// Writes one line for the miner. Some firmware reads exactly one line after its subscribe and takes it for the
    /// answer, so whatever comes before that answer waits for it.
    fn send_down<P: Stage>(&mut self, cx: &mut Cx<'_, P>, method: Method, line: impl FnOnce(&mut Vec<u8>)) {
        cx.stats.message(Direction::ToMiner, method);
        if self.subscribe_awaited().is_none() {
            return line(&mut cx.out.to_miner);
        }
        line(&mut self.early);
        if self.early.len() > EARLY_BYTES_MAX {
            self.end(cx, End::EarlyTooMuch);
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

fn filter<P>(cx: &mut Cx<'_, P>, filtered: Filtered) {
    cx.stats.counts.filtered[filtered.index()] += 1;
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

/// Passes a notification on; LuxOS wants an `id` in it, be it null, so one that is missing is put in.
fn write_with_id(out: &mut Vec<u8>, envelope: &Envelope<'_>) {
    match (envelope.id, envelope.line.iter().position(|byte| *byte == b'{')) {
        (None, Some(brace)) => {
            let inside = Span { start: brace + 1, end: brace + 1 };
            write::splice(out, envelope.line, &[(inside, b"\"id\":null,")]);
        }
        (Some(_), _) | (None, None) => out.extend_from_slice(envelope.line),
    }
}
