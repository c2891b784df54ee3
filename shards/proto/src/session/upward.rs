//! From the miner: lines are checked, pass the middleware, and go to the pool.

use super::greeting::Part;
use super::pending::Asked;
use super::{Cx, End, Fault, Phase, Reject, Session, VersionRolling};
use crate::limits::{
    HELD_BYTES_MAX, MINER_LINE_BYTES_MAX, OUT_BYTES_MAX, PROTOCOL_ERRORS_MAX, RATE_LIMITED_MAX,
    USER_REPLACED_BYTES_MAX,
};
use crate::message::{Authorize, JobId, Method, MinerMessage, Submit};
use crate::middleware::{Flow, Request, Stage};
use crate::stats::Direction;
use crate::wire::{Envelope, Parser, write};
use crate::workers::WorkerId;

/// Refusals for the rate that one message within it makes up for.
const FORGIVEN_PER_PASS: u32 = 8;

impl Session {
    /// Takes bytes that the miner sent.
    pub fn handle_miner_bytes<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser, bytes: &[u8]) {
        cx.stats.counts.bytes[Direction::FromMiner.index()] += bytes.len() as u64;
        if !self.first_byte_seen && !self.check_first_byte(cx, bytes) {
            return;
        }
        let mut rest = bytes;
        while self.listens_to_miner() {
            match self.miner_lines.next_line(&mut rest, MINER_LINE_BYTES_MAX, cx.now) {
                Ok(Some(line)) => self.handle_miner_line(cx, parser, &line),
                Ok(None) => break,
                Err(_) => self.end(cx, End::LineTooLong),
            }
        }
    }

    /// A Stratum miner begins with an object. HTTP, TLS, RDP and others show themselves by their first byte, which
    /// is looked at alone, since they may never send a line feed. False when the link has ended.
    fn check_first_byte<P: Stage>(&mut self, cx: &mut Cx<'_, P>, bytes: &[u8]) -> bool {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => self.first_byte_seen = true,
            Some(_) => self.end(cx, End::NotStratum),
            None => {}
        }
        !self.is_over()
    }

    fn handle_miner_line<P: Stage>(&mut self, cx: &mut Cx<'_, P>, parser: &mut Parser, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.last_message = cx.now;
        self.client.spent.requests += 1;
        if let Err(error) = parser.read(line, |envelope| self.handle_miner_message(cx, envelope)) {
            cx.stats.message(Direction::FromMiner, Method::Unknown);
            self.refuse(cx, None, b"null", error.into());
        }
        let produced = cx.out.to_miner.len().max(cx.out.to_pool.len());
        if produced > OUT_BYTES_MAX {
            self.end(cx, End::OutputFlood);
        }
    }

    fn handle_miner_message<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>) {
        let (method, message) = match MinerMessage::read(envelope) {
            Ok(read) => read,
            Err(reject) => {
                let method = envelope.method.map_or(Method::Unknown, Method::of);
                cx.stats.message(Direction::FromMiner, method);
                let worker = (method == Method::Submit).then(|| self.client.worker_of(None, cx.workers));
                return self.refuse(cx, worker, envelope.id_raw(), reject);
            }
        };
        let request = Request { method, message, envelope };
        let (mut stage, pipeline) = cx.stage();
        let flow = pipeline.on_request(&mut stage, &mut self.client, &request);
        pipeline.on_outcome(&mut stage, &self.client, &request, flow);
        match flow {
            Flow::Pass => {
                // One in a while passes even in a flood; only a miner that keeps near its rate works the count off.
                self.client.rate_limited = self.client.rate_limited.saturating_sub(FORGIVEN_PER_PASS);
                self.take_request(cx, &request);
            }
            Flow::Reject(reject) => self.refuse_request(cx, &request, reject),
            Flow::Close(end) => self.end(cx, end),
        }
    }

    /// Notes what the request says of the miner; then it goes to the pool, or waits for one.
    fn take_request<P: Stage>(&mut self, cx: &mut Cx<'_, P>, request: &Request<'_>) {
        let is_long = request.message.user().is_some_and(|user| user.len() > USER_REPLACED_BYTES_MAX);
        if is_long && cx.policy.replaces_accounts() {
            return self.refuse_request(cx, request, Reject::BadUser);
        }
        match request.message {
            MinerMessage::Subscribe(agent) => {
                self.client.subscribed = true;
                self.client.agent = cx.workers.agent(self.client.agent, agent);
            }
            MinerMessage::Authorize(authorize) => {
                let name = authorize.user.as_str().unwrap_or_default();
                // The bound holds for every chain, with or without the stage that asks the same.
                if !self.client.has_room_for(name) {
                    return self.refuse_request(cx, request, Reject::TooManyWorkers);
                }
                self.client.worker_asked(name, cx.workers);
            }
            MinerMessage::Answer if self.phase != Phase::Up => {
                return self.refuse_request(cx, request, Reject::NoMethod);
            }
            // There is no job that it could be for.
            MinerMessage::Submit(_) if self.phase != Phase::Up => {
                return self.refuse_request(cx, request, Reject::NoPool);
            }
            MinerMessage::ExtranonceSubscribe if !cx.policy.pools.iter().any(|pool| pool.extranonce) => {
                return self.answer_extranonce(cx, request);
            }
            MinerMessage::Request(Method::MultiVersion) => self.client.multi_version_asked = true,
            MinerMessage::Configure(_)
            | MinerMessage::Submit(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => {}
        }
        if self.phase == Phase::Up {
            self.forward(cx, request);
        } else {
            self.hold(cx, request);
        }
    }

    /// The pool is not asked. Where miners are moved to other pools, the proxy itself has use for it.
    fn answer_extranonce<P: Stage>(&mut self, cx: &mut Cx<'_, P>, request: &Request<'_>) {
        if cx.policy.hold_us == 0 {
            return self.refuse_request(cx, request, Reject::ExtranonceOff);
        }
        self.client.extranonce_asked = true;
        write::answer(&mut cx.out.to_miner, request.envelope.id_raw(), b"true", b"null");
        cx.stats.message(Direction::ToMiner, Method::Answer);
    }

    fn refuse_request<P: Stage>(&mut self, cx: &mut Cx<'_, P>, request: &Request<'_>, reject: Reject) {
        let worker = match request.message {
            MinerMessage::Submit(submit) => Some(self.client.worker_of(submit.user.as_str(), cx.workers)),
            MinerMessage::Subscribe(_)
            | MinerMessage::Authorize(_)
            | MinerMessage::Configure(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => None,
        };
        self.refuse(cx, worker, request.envelope.id_raw(), reject);
    }

    /// Keeps a line, as the miner said it, until there is a pool.
    fn hold<P: Stage>(&mut self, cx: &mut Cx<'_, P>, request: &Request<'_>) {
        self.held.extend_from_slice(request.envelope.line);
        if self.held.len() > HELD_BYTES_MAX {
            return self.end(cx, End::HeldTooMuch);
        }
        if self.phase == Phase::Greeting && request.method.opens_a_session() {
            self.phase = Phase::Dialing;
            self.waiting_since = cx.now;
            self.dial = true;
        }
    }

    /// Sends a line that was held to the pool that has come.
    pub(super) fn forward_held<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>) {
        if let Ok((method, message)) = MinerMessage::read(envelope) {
            self.forward(cx, &Request { method, message, envelope });
        }
    }

    /// Sends a request to the pool.
    fn forward<P: Stage>(&mut self, cx: &mut Cx<'_, P>, request: &Request<'_>) {
        let (method, envelope) = (request.method, request.envelope);
        if method.is_answered() && self.pending.is_full() {
            return self.refuse_request(cx, request, Reject::TooManyPending);
        }
        let asked = match request.message {
            MinerMessage::Submit(submit) => return self.relay_submit(cx, envelope, &submit),
            MinerMessage::Authorize(authorize) => return self.relay_authorize(cx, envelope, &authorize),
            MinerMessage::Subscribe(_) => {
                self.greeting.keep(Part::Subscribe, envelope.line);
                Asked::Subscribe
            }
            MinerMessage::Configure(configure) => {
                let part = if configure.asked.version_rolling { Part::Configure } else { Part::Extensions };
                self.greeting.keep(part, envelope.line);
                // Not before it is sent: what is refused was not asked for.
                if configure.asked.version_rolling {
                    self.client.version_rolling = VersionRolling::Asked { mask: configure.mask };
                }
                self.client.extranonce_asked |= configure.asked.subscribe_extranonce;
                Asked::Configure(configure)
            }
            MinerMessage::ExtranonceSubscribe if !cx.policy.pool(self.pool).extranonce => {
                return self.answer_extranonce(cx, request);
            }
            MinerMessage::ExtranonceSubscribe => {
                self.client.extranonce_asked = true;
                Asked::Other
            }
            MinerMessage::Request(_) | MinerMessage::Answer => {
                if method.suggests_difficulty() {
                    self.greeting.keep(Part::Suggest, envelope.line);
                }
                Asked::Other
            }
        };
        self.expect_answer(cx, request, asked);
        self.send_up(cx, method, |out| out.extend_from_slice(envelope.line));
    }

    /// A request whose id is null may be a notification: only those that every pool answers are waited for.
    fn expect_answer<P: Stage>(&mut self, cx: &Cx<'_, P>, request: &Request<'_>, asked: Asked) {
        let id = request.envelope.id_owned();
        if request.method.is_answered() && (asked != Asked::Other || !id.is_null()) {
            self.pending.push(id, asked, cx.now);
        }
    }

    fn relay_submit<P: Stage>(&mut self, cx: &mut Cx<'_, P>, envelope: &Envelope<'_>, submit: &Submit<'_>) {
        let worker = self.client.worker_of(submit.user.as_str(), cx.workers);
        let (job, cut) = if self.tag.is_any() {
            let Some((job, cut)) = self.tag.strip(submit.job) else {
                return self.refuse(cx, Some(worker), envelope.id_raw(), Reject::StaleJob);
            };
            (job, Some(cut))
        } else {
            (JobId::of(submit.job), None)
        };
        let trial = match self.check_share(cx, submit, job) {
            Ok(trial) => trial,
            Err(reject) => return self.refuse(cx, Some(worker), envelope.id_raw(), reject),
        };
        let difficulty = self.client.mining.difficulty_of(job);
        self.pending.push(envelope.id_owned(), Asked::Submit { worker, difficulty, trial }, cx.now);
        self.unheard_since = self.unheard_since.min(cx.now);
        cx.stats.counts.shares.forwarded += 1;
        let user = &cx.policy.pool(self.pool).user;
        self.send_up(cx, Method::Submit, |out| user.write_submit(out, envelope.line, submit.user, cut));
    }

    fn relay_authorize<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        envelope: &Envelope<'_>,
        authorize: &Authorize<'_>,
    ) {
        let worker = authorize.worker();
        self.greeting.keep(Part::Authorize(worker), envelope.line);
        self.pending.push(envelope.id_owned(), Asked::Authorize(worker), cx.now);
        let user = &cx.policy.pool(self.pool).user;
        self.send_up(cx, Method::Authorize, |out| user.write_authorize(out, envelope.line, authorize));
    }

    /// Writes one line for the pool, whose link is up.
    pub(super) fn send_up<P: Stage>(
        &mut self,
        cx: &mut Cx<'_, P>,
        method: Method,
        line: impl FnOnce(&mut Vec<u8>),
    ) {
        line(&mut cx.out.to_pool);
        cx.stats.message(Direction::ToPool, method);
    }

    /// Answers the miner with an error of our own. `worker`: whose share it was, where it was one.
    fn refuse<P: Stage>(&mut self, cx: &mut Cx<'_, P>, worker: Option<WorkerId>, id: &[u8], reject: Reject) {
        cx.stats.counts.rejects[reject.index()] += 1;
        cx.out.refused = Some(reject);
        if let Some(worker) = worker {
            cx.stats.counts.shares.refused += 1;
            self.client.tally.refused();
            let pool = (reject.fault() == Some(Fault::Share)).then_some(self.pool);
            cx.workers.refused(worker, reject, pool, cx.now);
        }
        // An id that is refused for its size is not sent back either.
        let id = if reject == Reject::BadId { b"null" } else { id };
        let result: &[u8] = if reject == Reject::ExtranonceOff { b"false" } else { b"null" };
        let (code, text) = reject.answer();
        write::answer(&mut cx.out.to_miner, id, result, write::error(code, text).as_bytes());
        cx.stats.message(Direction::ToMiner, Method::Answer);
        match reject.fault() {
            Some(Fault::Protocol) => {
                self.client.errors += 1;
                if self.client.errors > PROTOCOL_ERRORS_MAX {
                    self.end(cx, End::TooManyErrors);
                }
            }
            Some(Fault::Share) => self.count_bad_share(cx),
            Some(Fault::Rate) => {
                self.client.rate_limited += 1;
                if self.client.rate_limited > RATE_LIMITED_MAX {
                    self.end(cx, End::Flood);
                }
            }
            None => {}
        }
    }
}
