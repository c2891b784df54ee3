//! The swarm's loop: sockets in, lines to the miners, shares out. What to do when is decided in `phases`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::dial::dial;
use super::link::{Heard, Link, STAGES, Stage};
use super::report::Tally;
use super::{Load, SwarmConfig, SwarmError};
use crate::net::{READ_BYTES, READS_PER_TURN, Received, receive};

/// Few, because an open loop sends what is due between two turns.
const EVENTS_PER_TURN: usize = 256;
/// Longest line of a pool.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Pause before a lost connection is dialled again.
const REDIAL_AFTER: Duration = Duration::from_millis(100);

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    ConnectFailed,
    EndedByPeer,
    Refused,
    TimedOut,
    /// The swarm has what it wanted.
    Done,
}

pub(super) struct Engine<'a> {
    pub(super) config: &'a SwarmConfig,
    pub(super) links: Vec<Link>,
    pub(super) tally: Tally,
    /// How many miners are in each stage.
    counts: [usize; STAGES],
    /// Shares without an answer so far, over all miners.
    pub(super) in_flight: u64,
    /// Closed loop: miners fill up their shares in flight.
    pub(super) sending: bool,
    /// No miner will ever send another share, because those that are left have sent their part.
    pub(super) is_exhausted: bool,
    /// The run is over: ends are expected, and nobody is dialled again.
    is_leaving: bool,
    /// Storm: slots without a connection.
    pub(super) free: Vec<usize>,
    /// Miners to dial again, and when.
    redial: VecDeque<(u64, usize)>,
    stop: &'a AtomicBool,
    poll: Poll,
    events: Option<Events>,
    again: Vec<usize>,
    scratch: Box<[u8]>,
    clock: Instant,
}

impl<'a> Engine<'a> {
    pub(super) fn new(config: &'a SwarmConfig, stop: &'a AtomicBool) -> Result<Self, SwarmError> {
        let slots = match config.load {
            Load::Storm { connects, concurrency } => {
                concurrency.min(usize::try_from(connects).unwrap_or(usize::MAX))
            }
            Load::Idle | Load::OpenLoop { .. } | Load::ClosedLoop { .. } => config.connections,
        };
        let links: Vec<Link> =
            (0..slots).map(|slot| Link::new(config, slot as u64, quota(config, slot))).collect();
        let mut counts = [0; STAGES];
        counts[Stage::Idle as usize] = slots;
        Ok(Engine {
            config,
            links,
            tally: Tally::new(),
            counts,
            in_flight: 0,
            sending: false,
            is_exhausted: false,
            is_leaving: false,
            free: Vec::new(),
            redial: VecDeque::new(),
            stop,
            poll: Poll::new()?,
            events: Some(Events::with_capacity(EVENTS_PER_TURN)),
            again: Vec::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            clock: Instant::now(),
        })
    }

    /// Nanoseconds since the engine was made.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, stage: Stage) -> usize {
        self.counts[stage as usize]
    }

    /// Whether any miner has a connection or will have one.
    pub(super) fn is_alive(&self) -> bool {
        self.count(Stage::Gone) < self.links.len()
    }

    fn set_stage(&mut self, slot: usize, stage: Stage) {
        let link = &mut self.links[slot];
        self.counts[link.stage as usize] -= 1;
        self.counts[stage as usize] += 1;
        link.stage = stage;
    }

    /// Waits for sockets at most so long, and serves them.
    pub(super) fn turn(&mut self, wait: Duration) -> io::Result<()> {
        let Some(mut events) = self.events.take() else { return Ok(()) };
        let wait = if self.again.is_empty() { wait } else { Duration::ZERO };
        if let Err(error) = self.poll.poll(&mut events, Some(wait))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error);
        }
        let again = std::mem::take(&mut self.again);
        for event in &events {
            self.serve(event.token().0, event.is_read_closed());
        }
        for slot in again {
            self.serve(slot, true);
        }
        self.events = Some(events);
        while let Some(&(due_ns, slot)) = self.redial.front()
            && due_ns <= self.now_ns()
        {
            self.redial.pop_front();
            self.dial(slot, slot as u64);
        }
        Ok(())
    }

    /// Starts a connect; `number` chooses the source address.
    pub(super) fn dial(&mut self, slot: usize, number: u64) {
        let now_ns = self.now_ns();
        let link = &mut self.links[slot];
        if std::mem::replace(&mut link.dialled_before, true) {
            self.tally.report.reconnects += 1;
        }
        link.dialled_ns = now_ns;
        let registry = self.poll.registry();
        let dialled = dial(self.config.target, self.config.spread_sources, number).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(slot), interest).map(|()| stream)
        });
        match dialled {
            Ok(stream) => {
                link.stream = Some(stream);
                self.set_stage(slot, Stage::Connecting);
            }
            Err(error) => {
                self.tally.note_error(error);
                self.part(slot, Cause::ConnectFailed);
            }
        }
    }

    /// Ends a miner's connection, counts why, and decides whether there will be another.
    pub(super) fn part(&mut self, slot: usize, cause: Cause) {
        let lost = self.links[slot].forget();
        self.in_flight -= lost;
        let report = &mut self.tally.report;
        report.shares.lost += lost;
        match cause {
            Cause::ConnectFailed => report.connect_failed += 1,
            Cause::EndedByPeer => report.disconnected += u64::from(!self.is_leaving),
            Cause::Refused => report.refused += 1,
            Cause::TimedOut => report.handshake_timeouts += 1,
            Cause::Done => {}
        }
        if matches!(self.config.load, Load::Storm { .. }) {
            self.links[slot].dialled_before = false;
            self.set_stage(slot, Stage::Idle);
            self.free.push(slot);
        } else if self.config.quirks.reconnect && cause != Cause::Done && !self.is_leaving {
            self.set_stage(slot, Stage::Idle);
            self.redial.push_back((self.now_ns() + REDIAL_AFTER.as_nanos() as u64, slot));
        } else {
            self.set_stage(slot, Stage::Gone);
        }
    }

    /// Gives up miners whose handshake takes too long.
    pub(super) fn sweep(&mut self) {
        let now_ns = self.now_ns();
        let limit_ns = self.config.handshake_timeout.as_nanos() as u64;
        for slot in 0..self.links.len() {
            let link = &self.links[slot];
            let is_waiting = matches!(link.stage, Stage::Connecting | Stage::Greeting);
            if is_waiting && now_ns.saturating_sub(link.dialled_ns) > limit_ns {
                self.part(slot, Cause::TimedOut);
            }
        }
        self.is_exhausted = self.links.iter().all(|link| link.stage == Stage::Gone || link.left == 0);
    }

    /// Ends the swarm's direction of every connection whose shares are all answered, and closes the others.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        self.redial.clear();
        for slot in 0..self.links.len() {
            let link = &self.links[slot];
            let Some(stream) = &link.stream else { continue };
            let is_settled = link.stage == Stage::Ready && link.in_flight.len() == 0;
            if !is_settled || stream.shutdown(Shutdown::Write).is_err() {
                self.part(slot, Cause::Done);
            }
        }
    }

    fn serve(&mut self, slot: usize, to_the_end: bool) {
        if self.links[slot].stage == Stage::Connecting && !self.finish_connect(slot) {
            return;
        }
        if self.links[slot].stream.is_some() && self.read(slot, to_the_end) {
            if self.sending {
                self.refill(slot);
            }
            self.flush(slot);
        }
    }

    /// False when the connect is not done, or has failed.
    fn finish_connect(&mut self, slot: usize) -> bool {
        let link = &mut self.links[slot];
        let Some(stream) = &link.stream else { return false };
        if let Ok(Some(error)) | Err(error) = stream.take_error() {
            self.tally.note_error(error);
            self.part(slot, Cause::ConnectFailed);
            return false;
        }
        if stream.peer_addr().is_err() {
            return false;
        }
        self.tally.report.connected += 1;
        link.greet(self.config);
        self.set_stage(slot, Stage::Greeting);
        true
    }

    /// False when the connection is gone.
    fn read(&mut self, slot: usize, to_the_end: bool) -> bool {
        for _ in 0..READS_PER_TURN {
            let Some(stream) = &mut self.links[slot].stream else { return false };
            let count = match receive(stream, &mut self.scratch) {
                Received::Bytes(count) => count,
                Received::Nothing => return true,
                Received::Ended => {
                    self.part(slot, Cause::EndedByPeer);
                    return false;
                }
            };
            self.tally.report.bytes_received += count as u64;
            if !self.take_lines(slot, count) {
                return false;
            }
            // A short read has emptied the socket; the next segment or the end brings an event of its own.
            if count < self.scratch.len() && !to_the_end {
                return true;
            }
        }
        self.again.push(slot);
        true
    }

    /// False when the connection is gone.
    fn take_lines(&mut self, slot: usize, count: usize) -> bool {
        let now_ns = self.now_ns();
        let link = &mut self.links[slot];
        let before = link.in_flight.len() as u64;
        let mut inbox = std::mem::take(&mut link.inbox);
        let mut heard = Heard::Nothing;
        let outcome = inbox.feed(&self.scratch[..count], LINE_BYTES_MAX, |line| {
            match link.handle_line(self.config, line, now_ns, &mut self.tally) {
                Heard::Nothing => ControlFlow::Continue(()),
                Heard::BecameReady => {
                    heard = Heard::BecameReady;
                    ControlFlow::Continue(())
                }
                Heard::Refused => {
                    heard = Heard::Refused;
                    ControlFlow::Break(())
                }
            }
        });
        link.inbox = inbox;
        self.in_flight -= before - link.in_flight.len() as u64;
        if outcome.is_err() {
            self.tally.note_error("a line of more than 64 KiB");
            self.part(slot, Cause::Refused);
            return false;
        }
        match heard {
            Heard::Nothing => true,
            Heard::Refused => {
                self.part(slot, Cause::Refused);
                false
            }
            Heard::BecameReady => self.welcome(slot, now_ns),
        }
    }

    /// Counts a finished handshake. False when that was all the connection was for.
    fn welcome(&mut self, slot: usize, now_ns: u64) -> bool {
        self.tally.handshake.record_ns(now_ns - self.links[slot].dialled_ns);
        self.tally.last_handshake_ns = now_ns;
        self.tally.report.handshakes += 1;
        self.set_stage(slot, Stage::Ready);
        if matches!(self.config.load, Load::Storm { .. }) {
            self.part(slot, Cause::Done);
            return false;
        }
        true
    }

    /// Closed loop: brings a miner's shares in flight up to the number asked for.
    pub(super) fn refill(&mut self, slot: usize) {
        let Load::ClosedLoop { in_flight } = self.config.load else { return };
        let link = &self.links[slot];
        if !link.may_send() || link.in_flight.len() >= in_flight {
            return;
        }
        let now_ns = self.now_ns();
        while self.links[slot].may_send() && self.links[slot].in_flight.len() < in_flight {
            self.send_share(slot, now_ns);
        }
    }

    /// Queues one share of a miner that may send.
    pub(super) fn send_share(&mut self, slot: usize, due_ns: u64) {
        if self.links[slot].push_share(due_ns) {
            self.in_flight += 1;
            self.tally.report.shares.sent += 1;
        }
    }

    /// Sends what is queued; the miner is gone if its connection is.
    pub(super) fn flush(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        let Some(stream) = &mut link.stream else { return };
        if !link.outbox.is_empty() && link.outbox.flush(stream, usize::MAX, 4).is_err() {
            self.part(slot, Cause::EndedByPeer);
        }
    }
}

/// The equal part of the target that falls to one miner.
fn quota(config: &SwarmConfig, slot: usize) -> u64 {
    let miners = config.connections as u64;
    config
        .answers_target
        .map_or(u64::MAX, |target| target / miners + u64::from((slot as u64) < target % miners))
}
