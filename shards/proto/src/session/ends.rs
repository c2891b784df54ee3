//! Events that are not bytes: the pool coming and going, the miner going, a drain, and time.

use super::pending::Asked;
use super::{Cx, End, Phase, PoolLoss, Session};
use crate::limits::{ANSWER_US, CONFIGURE_ANSWER_US, HALF_LINE_US, LINGER_US};
use crate::message::{Asked as Extensions, Configure, Method};
use crate::middleware::Stage;
use crate::stats::Direction;
use crate::tick::Tick;
use crate::wire::{Carry, Id, write};

impl Session {
    /// The pool connection is lost, or could not be had.
    pub fn handle_pool_down<P: Stage>(&mut self, cx: &mut Cx<'_, P>, loss: PoolLoss) {
        self.lose_pool(cx, loss);
    }

    /// The miner closed its side. Answers to its last shares are still waited for, so that they are counted as what
    /// the pool said of them, and reach a miner that closed only its sending side.
    pub fn handle_miner_eof<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        self.finish(cx, End::MinerLeft, cx.now + LINGER_US);
    }

    /// The miner's connection broke. Nothing can reach it; answers to its last shares are still waited for and counted.
    pub fn handle_miner_reset<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        self.finish(cx, End::MinerReset, cx.now + LINGER_US);
    }

    /// The caller ends this link for a reason of its own, such as a broken socket.
    pub fn handle_failure<P: Stage>(&mut self, cx: &mut Cx<'_, P>, end: End) {
        self.end(cx, end);
    }

    /// The proxy is shutting down: nothing more is taken from the miner, shares in flight are answered until `until`.
    pub fn handle_drain<P: Stage>(&mut self, cx: &mut Cx<'_, P>, until: Tick) {
        self.finish(cx, End::Drained, until);
    }

    fn finish<P: Stage>(&mut self, cx: &mut Cx<'_, P>, end: End, until: Tick) {
        match self.phase {
            Phase::Greeting | Phase::Dialing => self.end(cx, end),
            Phase::Up => {
                // Nothing more comes from the miner, so its unfinished line never will be one.
                self.miner_lines = Carry::default();
                self.phase = Phase::Finishing { end, until };
                self.finish_if_answered(cx);
            }
            Phase::Finishing { end, until: before } => {
                self.phase = Phase::Finishing { end, until: before.min(until) };
            }
            Phase::Ended => {}
        }
    }

    /// When `handle_timeout` wants to be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self, policy: &super::Policy) -> Option<Tick> {
        if self.is_over() {
            return None;
        }
        let half_line = |since: Option<Tick>| since.map_or(Tick::NEVER, |since| since + HALF_LINE_US);
        let asked = |oldest: Option<Tick>, us: u64| oldest.map_or(Tick::NEVER, |at| at + us);
        let idle = if self.is_held(policy) { Tick::NEVER } else { self.last_message + policy.idle_us };
        let mut due = idle.min(half_line(self.miner_lines.since())).min(half_line(self.pool_lines.since()));
        if self.phase == Phase::Dialing {
            due = due.min(self.held_until(policy));
        } else {
            due = due
                .min(asked(self.pending.oldest(), ANSWER_US))
                .min(asked(self.pending.oldest_configure(), CONFIGURE_ANSWER_US))
                .min(asked(self.subscribe_awaited(), policy.answer_us))
                .min(asked(self.unanswered_since(policy), policy.answer_us));
        }
        if self.waits_for_greeting() {
            due = due.min(self.greeting_since + policy.handshake_us);
        }
        if let Phase::Finishing { until, .. } = self.phase {
            due = due.min(until);
        }
        Some(due)
    }

    /// Does what has become due. Calling it early does no harm.
    pub fn handle_timeout<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        if self.phase != Phase::Dialing {
            self.answer_configure(cx);
            self.forget_unanswered(cx);
        }
        if let Some(loss) = self.pool_overdue(cx) {
            self.lose_pool(cx, loss);
        }
        if let Some(end) = self.overdue(cx) {
            self.end(cx, end);
        }
    }

    /// Whether the miner is kept without a pool: then it has nothing to say, and its time is bounded by that.
    fn is_held(&self, policy: &super::Policy) -> bool {
        policy.hold_us > 0 && self.phase == Phase::Dialing
    }

    /// Until when a miner without a pool is kept. Where miners are not kept at all, the caller says when its attempts end.
    pub(super) fn held_until(&self, policy: &super::Policy) -> Tick {
        if policy.hold_us == 0 { Tick::NEVER } else { self.waiting_since + policy.hold_us }
    }

    /// Since when the pool says nothing at all although a share waits for its answer, such as a pool that is frozen with its
    /// sockets open. Where miners leave with their pool this is left to `ANSWER_US`.
    fn unanswered_since(&self, policy: &super::Policy) -> Option<Tick> {
        let is_watched = policy.hold_us > 0 && self.pending.submits() > 0;
        is_watched.then_some(self.unheard_since).filter(|since| *since != Tick::NEVER)
    }

    fn pool_overdue<P: Stage>(&self, cx: &Cx<'_, P>) -> Option<PoolLoss> {
        let passed = |since: Option<Tick>, us: u64| since.is_some_and(|since| cx.now >= since + us);
        match self.phase {
            Phase::Up | Phase::Finishing { .. } => {}
            Phase::Greeting | Phase::Dialing | Phase::Ended => return None,
        }
        if passed(self.pool_lines.since(), HALF_LINE_US) {
            return Some(PoolLoss::HalfLine);
        }
        let answer_us = cx.policy.answer_us;
        let is_silent = passed(self.subscribe_awaited(), answer_us)
            || passed(self.unanswered_since(cx.policy), answer_us);
        is_silent.then_some(PoolLoss::Silent)
    }

    /// Since when the first subscription waits for its answer. A miner that subscribes again goes on working meanwhile.
    pub(super) fn subscribe_awaited(&self) -> Option<Tick> {
        if self.is_subscribed && self.moving.is_none() {
            return None;
        }
        self.pending.oldest_subscribe()
    }

    /// Whether the next step of the handshake is the miner's. While its pool link is being opened, or the pool has
    /// something of its handshake to answer, others are late; a miner that is subscribed has no more to wait for.
    fn waits_for_greeting(&self) -> bool {
        let waits_itself = self.phase == Phase::Dialing || !self.is_subscribed && self.pending.has_greeting();
        !self.client.has_greeted() && !waits_itself
    }

    fn overdue<P: Stage>(&self, cx: &Cx<'_, P>) -> Option<End> {
        let passed = |since: Tick, us: u64| cx.now >= since + us;
        let half_line = self.miner_lines.since().is_some_and(|since| passed(since, HALF_LINE_US));
        match self.phase {
            Phase::Finishing { end, until } if cx.now >= until => return Some(end),
            Phase::Dialing if cx.now >= self.held_until(cx.policy) => {
                return Some(self.last_loss.map_or(End::NoPool, PoolLoss::end));
            }
            Phase::Ended => return None,
            Phase::Greeting | Phase::Dialing | Phase::Up | Phase::Finishing { .. } => {}
        }
        if self.waits_for_greeting() && passed(self.greeting_since, cx.policy.handshake_us) {
            return Some(End::HandshakeTimeout);
        }
        if half_line {
            return Some(End::HalfLine);
        }
        let is_idle = !self.is_held(cx.policy) && passed(self.last_message, cx.policy.idle_us);
        is_idle.then_some(End::Idle)
    }

    /// cgminer gives up when its configure is never answered, and some pools never answer it.
    fn answer_configure<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        let Some(deadline) = cx.now.0.checked_sub(CONFIGURE_ANSWER_US).map(Tick) else { return };
        while let Some(request) = self.pending.take_older(deadline, Asked::is_configure) {
            if let Asked::ConfigureAgain(configure) = request.asked {
                self.configured_again(cx, &configure, None);
            }
            if let Asked::Configure(configure) = request.asked {
                self.refuse_extensions(cx, &request.id, &configure);
                self.end_move(cx);
            }
        }
    }

    /// Answers a configure in the place of a pool.
    pub(super) fn refuse_extensions<P: Stage>(&mut self, cx: &mut Cx<'_, P>, id: &Id, configure: &Configure) {
        self.configure_answered(configure, None);
        write::answer(&mut cx.out.to_miner, id.raw(), refusal_of(configure.asked).as_bytes(), b"null");
        cx.stats.message(Direction::ToMiner, Method::Answer);
        cx.stats.counts.configure_answered += 1;
    }

    fn forget_unanswered<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        let Some(deadline) = cx.now.0.checked_sub(ANSWER_US).map(Tick) else { return };
        while let Some(request) = self.pending.take_older(deadline, |_| true) {
            self.is_owed = true;
            if let Asked::Submit { worker, difficulty, trial } = request.asked {
                cx.stats.counts.shares.unanswered += 1;
                cx.workers.unanswered(worker);
                if let Some(trial) = trial {
                    self.claim(cx, worker, difficulty, trial, None);
                }
            }
        }
        self.finish_if_answered(cx);
    }
}

/// `false` for each extension that was asked for.
fn refusal_of(asked: Extensions) -> String {
    let names = [
        ("version-rolling", asked.version_rolling),
        ("minimum-difficulty", asked.minimum_difficulty),
        ("subscribe-extranonce", asked.subscribe_extranonce),
        ("info", asked.info),
    ];
    let refused: Vec<String> =
        names.iter().filter(|(_, asked)| *asked).map(|(name, _)| format!("\"{name}\":false")).collect();
    format!("{{{}}}", refused.join(","))
}
