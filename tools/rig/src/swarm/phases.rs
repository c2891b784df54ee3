//! The course of a run: ramp, measure, settle; or a storm.

use std::io;
use std::thread;
use std::time::Duration;

use super::engine::{Cause, Engine};
use super::link::Stage;
use super::{Load, Pacing, Phase, Progress, SwarmError, SwarmReport};

/// Connects that may be under way at a time while the ramp is "as fast as possible"; more would only overflow the
/// target's backlog and then wait for TCP's retransmission.
const CONNECTING_MAX: usize = 512;
/// Longest sleep of the loop, so that `stop`, time-outs and progress are looked at.
const WAIT_MAX: Duration = Duration::from_millis(50);
const SWEEP_EVERY_NS: u64 = 100_000_000;
const PROGRESS_EVERY_NS: u64 = 200_000_000;
/// Longest wait for answers after the caller has stopped the run.
const STOPPED_SETTLE_MAX: Duration = Duration::from_secs(1);
/// Longest wait for the other side to end its connections after the run.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// Shares an open loop that is late sends before it looks at answers again.
const SENDS_PER_TURN: usize = 1024;
/// The open loop's nap while the next share is due in less than the poll can tell (one millisecond).
const NAP_MAX: Duration = Duration::from_micros(50);
const POLL_GRAIN: Duration = Duration::from_millis(1);

/// What is looked at now and then, and the caller who wants to know.
struct Watch<'p> {
    phase: Phase,
    began_ns: u64,
    swept_ns: u64,
    told_ns: u64,
    progress: &'p mut dyn FnMut(&Progress),
}

impl Watch<'_> {
    fn enter(&mut self, phase: Phase, now_ns: u64) {
        self.phase = phase;
        self.began_ns = now_ns;
    }
}

/// The schedule of an open loop.
struct Schedule {
    start_ns: u64,
    per_second: f64,
    done: u64,
    /// The miner after the one that sent last.
    cursor: usize,
    dirty: Vec<usize>,
}

impl Schedule {
    /// When the next share is due. Computed from its rank, so that rounding does not add up.
    fn due_ns(&self) -> u64 {
        self.start_ns + (self.done as f64 * 1e9 / self.per_second) as u64
    }
}

impl Engine<'_> {
    /// Runs everything and reports.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(&Progress)) -> Result<SwarmReport, SwarmError> {
        let mut watch =
            Watch { phase: Phase::Ramp, began_ns: self.now_ns(), swept_ns: 0, told_ns: 0, progress };
        if let Load::Storm { connects, .. } = self.config.load {
            self.storm(connects, &mut watch)?;
            let (start_ns, end_ns) = (watch.began_ns, self.tally.last_handshake_ns);
            return Ok(self.finish(start_ns, end_ns.max(start_ns)));
        }
        self.ramp(&mut watch)?;
        if self.count(Stage::Ready) == 0 && !self.is_stopped() {
            return Err(self.nobody_ready());
        }
        self.tally.report.ready = self.count(Stage::Ready) as u64;
        let start_ns = self.now_ns();
        watch.enter(Phase::Measure, start_ns);
        self.measure(&mut watch)?;
        let end_ns = self.now_ns();
        watch.enter(Phase::Settle, end_ns);
        self.settle(&mut watch)?;
        watch.enter(Phase::Stay, self.now_ns());
        self.stay(&mut watch)?;
        self.farewell()?;
        Ok(self.finish(start_ns, end_ns))
    }

    /// Dials all miners and waits until each is ready or gone.
    fn ramp(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let miners = self.links.len();
        let mut dialled = 0;
        let mut last_dial_ns = 0;
        loop {
            let now_ns = self.now_ns();
            let due = self.dials_due(now_ns - watch.began_ns);
            while dialled < due && self.count(Stage::Connecting) < CONNECTING_MAX {
                self.dial(dialled, dialled as u64);
                dialled += 1;
                last_dial_ns = now_ns;
            }
            let settled = self.count(Stage::Ready) + self.count(Stage::Gone) == miners;
            // Miners that dial again and again never settle: all have had two chances by then.
            let patience_ns = 2 * self.config.handshake_timeout.as_nanos() as u64;
            let is_late = dialled == miners && now_ns.saturating_sub(last_dial_ns) > patience_ns;
            if settled || is_late || self.is_stopped() {
                return Ok(());
            }
            let wait = if dialled < miners { POLL_GRAIN } else { WAIT_MAX };
            self.turn(wait)?;
            self.look_around(watch);
        }
    }

    /// How many miners should have been dialled this long after the start.
    fn dials_due(&self, elapsed_ns: u64) -> usize {
        let (miners, ramp_ns) = (self.links.len(), self.config.ramp.as_nanos() as f64);
        if ramp_ns == 0.0 {
            return miners;
        }
        miners.min(1 + (miners as f64 * elapsed_ns as f64 / ramp_ns) as usize)
    }

    fn measure(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let mut schedule = match self.config.load {
            Load::OpenLoop { per_second } => {
                let start_ns = watch.began_ns;
                Some(Schedule { start_ns, per_second, done: 0, cursor: 0, dirty: Vec::new() })
            }
            Load::Idle | Load::ClosedLoop { .. } | Load::Storm { .. } => None,
        };
        self.sending = matches!(self.config.load, Load::ClosedLoop { .. });
        for slot in 0..self.links.len() {
            self.refill(slot);
            self.flush(slot);
        }
        let end_ns = watch.began_ns + self.config.duration.as_nanos() as u64;
        let is_over = |engine: &Self| engine.is_stopped() || engine.has_sent_all() || engine.is_exhausted;
        while self.now_ns() < end_ns && self.is_alive() && !is_over(self) {
            let wait = schedule.as_mut().map_or(WAIT_MAX, |schedule| self.pump(schedule));
            self.turn(wait)?;
            self.look_around(watch);
        }
        self.sending = false;
        Ok(())
    }

    fn has_sent_all(&self) -> bool {
        self.config.answers_target.is_some_and(|target| self.tally.report.shares.sent >= target)
    }

    /// Sends the shares that are due and returns how long to wait for the next.
    fn pump(&mut self, schedule: &mut Schedule) -> Duration {
        for _ in 0..SENDS_PER_TURN {
            let due_ns = schedule.due_ns();
            let now_ns = self.now_ns();
            if due_ns > now_ns || self.has_sent_all() {
                break;
            }
            schedule.done += 1;
            let Some(slot) = self.next_sender(&mut schedule.cursor) else {
                self.tally.report.not_sent += 1;
                continue;
            };
            self.send_share(slot, due_ns);
            self.tally.send_lag.record_ns(now_ns - due_ns);
            if !std::mem::replace(&mut self.links[slot].dirty, true) {
                schedule.dirty.push(slot);
            }
        }
        for slot in schedule.dirty.drain(..) {
            self.links[slot].dirty = false;
            self.flush(slot);
        }
        self.pace(Duration::from_nanos(schedule.due_ns().saturating_sub(self.now_ns())))
    }

    /// The poll can wait whole milliseconds only; what is shorter is slept or polled away.
    fn pace(&self, gap: Duration) -> Duration {
        if gap >= POLL_GRAIN {
            let whole_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            return WAIT_MAX.min(Duration::from_millis(whole_ms));
        }
        if self.config.pacing == Pacing::Sleep && !gap.is_zero() {
            thread::sleep(gap.min(NAP_MAX));
        }
        Duration::ZERO
    }

    /// The next miner, in turn, that may send.
    fn next_sender(&self, cursor: &mut usize) -> Option<usize> {
        let miners = self.links.len();
        let slot =
            (0..miners).map(|step| (*cursor + step) % miners).find(|&slot| self.links[slot].may_send())?;
        *cursor = (slot + 1) % miners;
        Some(slot)
    }

    /// Waits for the last answers.
    fn settle(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let stopped = self.is_stopped();
        let patience = if stopped { self.config.settle.min(STOPPED_SETTLE_MAX) } else { self.config.settle };
        let end_ns = watch.began_ns + patience.as_nanos() as u64;
        self.tally.report.stopped = stopped;
        while self.in_flight > 0 && self.now_ns() < end_ns {
            self.turn(WAIT_MAX)?;
            self.look_around(watch);
        }
        Ok(())
    }

    fn stay(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let end_ns = watch.began_ns + self.config.stay.as_nanos() as u64;
        while self.now_ns() < end_ns && !self.is_stopped() {
            self.turn(WAIT_MAX)?;
            self.look_around(watch);
        }
        Ok(())
    }

    /// Reads each connection to its end, because an answer given twice may follow the last one that was missed.
    fn farewell(&mut self) -> io::Result<()> {
        self.leave();
        let end_ns = self.now_ns() + FAREWELL_MAX.as_nanos() as u64;
        while self.count(Stage::Ready) > 0 && self.now_ns() < end_ns {
            self.turn(WAIT_MAX)?;
        }
        for slot in 0..self.links.len() {
            if self.links[slot].stream.is_some() {
                self.part(slot, Cause::Done);
            }
        }
        Ok(())
    }

    fn storm(&mut self, connects: u64, watch: &mut Watch<'_>) -> io::Result<()> {
        watch.enter(Phase::Measure, self.now_ns());
        self.free = (0..self.links.len()).rev().collect();
        let end_ns = watch.began_ns + self.config.duration.as_nanos() as u64;
        let mut started = 0;
        while self.now_ns() < end_ns && !self.is_stopped() {
            // A connect that fails at once frees its slot again: one round over the slots a turn bounds the loop.
            for _ in 0..self.free.len() {
                let Some(slot) = self.free.pop().filter(|_| started < connects) else { break };
                self.dial(slot, started);
                started += 1;
            }
            if started == connects && self.count(Stage::Idle) == self.links.len() {
                break;
            }
            self.turn(WAIT_MAX)?;
            self.look_around(watch);
        }
        self.tally.report.stopped = self.is_stopped();
        Ok(())
    }

    fn look_around(&mut self, watch: &mut Watch<'_>) {
        let now_ns = self.now_ns();
        if now_ns - watch.swept_ns >= SWEEP_EVERY_NS {
            watch.swept_ns = now_ns;
            self.sweep();
        }
        if now_ns - watch.told_ns >= PROGRESS_EVERY_NS {
            watch.told_ns = now_ns;
            (watch.progress)(&self.glance(watch.phase, now_ns - watch.began_ns));
        }
    }

    fn glance(&self, phase: Phase, elapsed_ns: u64) -> Progress {
        let ready = self.count(Stage::Ready);
        Progress {
            phase,
            elapsed: Duration::from_nanos(elapsed_ns),
            connected: ready + self.count(Stage::Greeting),
            ready,
            shares: self.tally.report.shares,
            in_flight: self.in_flight,
            handshakes: self.tally.report.handshakes,
            disconnected: self.tally.report.disconnected,
            submit_p50_us: self.tally.submit.at(0.5),
            submit_p99_us: self.tally.submit.at(0.99),
        }
    }

    fn nobody_ready(self) -> SwarmError {
        let report = self.tally.report;
        SwarmError::NobodyReady {
            target: self.config.target,
            connect_failed: report.connect_failed,
            refused: report.refused,
            timed_out: report.handshake_timeouts,
            disconnected: report.disconnected,
            first_error: report.first_error,
        }
    }

    fn finish(self, start_ns: u64, end_ns: u64) -> SwarmReport {
        let tally = self.tally;
        let mut report = tally.report;
        let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
        report.elapsed_s = seconds(end_ns.max(tally.last_answer_ns) - start_ns);
        let rate = |count: u64, time_s: f64| if time_s > 0.0 { count as f64 / time_s } else { 0.0 };
        report.shares_per_second = rate(report.shares.answered(), report.elapsed_s);
        report.handshakes_per_second = rate(report.handshakes, seconds(tally.last_handshake_ns));
        report.handshake_us = tally.handshake.percentiles();
        report.submit_us = tally.submit.percentiles();
        report.send_lag_us = tally.send_lag.percentiles();
        report.job_us = tally.job.percentiles();
        report
    }
}
