//! One relayed connection: the side that connected, the side of the target, and the bytes between them.
//!
//! It refuses to open or close sockets: it says what should become of the connection, and the server does it.

use std::ops::ControlFlow;
use std::time::Instant;

use super::flow::{Ending, Flow};
use super::side::{Side, Took, is_unreachable};
use super::{Fault, RelayReport, Shape};

/// Rounds of reading and writing in one turn, so that a firehose does not starve its neighbours.
const ROUNDS_PER_TURN: usize = 8;

/// What every connection needs to know in a turn.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) fault: Fault,
    pub(super) up: Shape,
    pub(super) down: Shape,
    pub(super) scratch: &'a mut [u8],
    pub(super) report: &'a mut RelayReport,
}

/// What should become of a connection after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for a socket or for a time.
    Wait,
    /// There is more to do at once.
    Again,
    /// Both directions have ended.
    Close,
    /// One side is gone: reset what is left.
    Reset,
}

/// Which of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// What a round of sending did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Bytes,
    /// A segment of its own; what follows has to wait for the next turn.
    Segment,
}

pub(super) struct Pair {
    /// The side that connected to the relay.
    pub(super) front: Side,
    /// The side of the target, once it has been dialled.
    pub(super) back: Option<Side>,
    up: Flow,
    down: Flow,
    /// Nothing is passed on any more; whoever connected is read until it ends.
    is_mute: bool,
    /// The TLS handshake has been counted.
    is_greeted: bool,
}

impl Pair {
    pub(super) fn new(front: Side, now: Instant) -> Self {
        Pair {
            front,
            back: None,
            up: Flow::new(now),
            down: Flow::new(now),
            is_mute: false,
            is_greeted: false,
        }
    }

    /// Whether the target should be dialled now.
    pub(super) fn wants_target(&self, fault: Fault) -> bool {
        let is_possible = match fault {
            Fault::BlackHole | Fault::NoTarget | Fault::Reset => false,
            Fault::StallHandshake => self.front.has_tls(),
            Fault::None
            | Fault::Delay(_)
            | Fault::Throttle { .. }
            | Fault::Split { .. }
            | Fault::Coalesce { .. }
            | Fault::Shaped { .. }
            | Fault::ResetEvery(_)
            | Fault::HalfClose
            | Fault::RefuseConnections => true,
        };
        is_possible && self.back.is_none() && !self.is_mute && !self.front.is_handshaking()
    }

    /// Ends both sides in good order; what comes after is thrown away.
    pub(super) fn retire(&mut self, report: &mut RelayReport) {
        self.front.end_at_once();
        self.back = None;
        self.mute(report);
    }

    fn mute(&mut self, report: &mut RelayReport) {
        self.is_mute = true;
        report.bytes_lost += (self.up.discard() + self.down.discard()) as u64;
    }

    /// A new fault came.
    pub(super) fn take_fault(&mut self, turn: &mut Turn<'_>) {
        self.up.reshape(turn.now, &turn.up);
        self.down.reshape(turn.now, &turn.down);
        let has_bytes = self.up.len() + self.down.len() > 0 || !self.front.is_flushed();
        if turn.fault == Fault::BlackHole && has_bytes {
            self.mute(turn.report);
        }
    }

    /// Makes the coming close a reset of both sides.
    pub(super) fn make_abortive(&self) {
        self.front.make_abortive();
        if let Some(back) = &self.back {
            back.make_abortive();
        }
    }

    /// When to look at this connection again though no socket has said anything.
    pub(super) fn next_due(&self, now: Instant, up: &Shape, down: &Shape) -> Option<Instant> {
        if self.is_mute {
            return None;
        }
        let up = self.back.as_ref().and_then(|_| self.up.next_due(now, up));
        [up, self.down.next_due(now, down)].into_iter().flatten().min()
    }

    /// Reads, passes on and ends what can be now.
    pub(super) fn step(&mut self, turn: &mut Turn<'_>) -> Next {
        match self.rounds(turn) {
            ControlFlow::Continue(()) => Next::Again,
            ControlFlow::Break(next) => next,
        }
    }

    fn rounds(&mut self, turn: &mut Turn<'_>) -> ControlFlow<Next> {
        let is_handshaking = self.front.is_handshaking();
        let is_stalled = turn.fault == Fault::StallHandshake
            && self.back.is_none()
            && (is_handshaking || !self.front.has_tls());
        if self.is_mute || turn.fault == Fault::BlackHole || (is_stalled && !is_handshaking) {
            return self.swallow(turn);
        }
        for _ in 0..ROUNDS_PER_TURN {
            let mut is_read = self.read(End::Front, turn)?;
            if is_stalled {
                return ControlFlow::Break(Next::Wait);
            }
            is_read |= self.read(End::Back, turn)?;
            let up = self.send(End::Back, turn)?;
            let down = self.send(End::Front, turn)?;
            self.note_handshake(turn);
            if self.up.is_finished() && self.down.is_finished() && self.front.is_flushed() {
                return ControlFlow::Break(Next::Close);
            }
            if up == Sent::Segment || down == Sent::Segment {
                return ControlFlow::Break(Next::Again);
            }
            if !is_read && up == Sent::Nothing && down == Sent::Nothing {
                return ControlFlow::Break(Next::Wait);
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads one side once. True when it brought something.
    fn read(&mut self, end: End, turn: &mut Turn<'_>) -> ControlFlow<Next, bool> {
        let (side, flow, shape, is_deaf) = match end {
            End::Front => {
                let is_deaf = self.back.as_ref().is_some_and(|back| back.is_broken);
                (&mut self.front, &mut self.up, &turn.up, is_deaf)
            }
            End::Back => {
                let Some(back) = &mut self.back else { return ControlFlow::Continue(false) };
                if turn.fault == Fault::HalfClose {
                    self.down.finish(Ending::Fin, turn.now, &turn.down);
                }
                (back, &mut self.down, &turn.down, self.front.is_broken || turn.fault == Fault::HalfClose)
            }
        };
        // What nobody can get any more is read to learn when its sender ends, and thrown away.
        let is_lost = is_deaf || flow.is_finished();
        let room = if is_lost { turn.scratch.len() } else { flow.room().min(turn.scratch.len()) };
        if room == 0 || side.is_over {
            return ControlFlow::Continue(false);
        }
        let took = side.take(&mut turn.scratch[..room]);
        // Asked after the read: bytes that came while this thread had to wait are not older than they are.
        turn.now = Instant::now();
        match took {
            Took::Bytes(count) if is_lost => turn.report.bytes_lost += count as u64,
            Took::Bytes(count) => flow.push(&turn.scratch[..count], turn.now, shape),
            Took::Nothing => return ControlFlow::Continue(false),
            Took::Ended if side.is_handshaking() => return ControlFlow::Break(Next::Close),
            Took::Ended if !side.is_broken => {
                side.is_over = true;
                flow.finish(Ending::Fin, turn.now, shape);
            }
            Took::Ended | Took::Reset => {
                (side.is_over, side.is_broken) = (true, true);
                flow.finish(Ending::Reset, turn.now, shape);
            }
            Took::Unreachable => return self.give_up_target(turn),
            Took::Broken => {
                turn.report.tls_failed += 1;
                // The alert first: an end during the handshake closes the direction without a word.
                let _ = self.front.flush(None);
                self.front.end_at_once();
                return ControlFlow::Break(Next::Close);
            }
        }
        ControlFlow::Continue(true)
    }

    fn give_up_target<T>(&mut self, turn: &mut Turn<'_>) -> ControlFlow<Next, T> {
        turn.report.target_failed += 1;
        self.retire(turn.report);
        ControlFlow::Break(Next::Again)
    }

    /// Passes on to one side what has come for it and is due.
    fn send(&mut self, end: End, turn: &mut Turn<'_>) -> ControlFlow<Next, Sent> {
        let (side, flow, shape, passed) = match end {
            End::Front => (&mut self.front, &mut self.down, &turn.down, &mut turn.report.bytes_down),
            End::Back => {
                let Some(back) = &mut self.back else { return ControlFlow::Continue(Sent::Nothing) };
                (back, &mut self.up, &turn.up, &mut turn.report.bytes_up)
            }
        };
        let mut sent = Sent::Nothing;
        if !side.is_broken {
            let ready = flow.ready(turn.now, shape);
            let outcome = side
                .give(ready, shape.split_bytes)
                .and_then(|count| Ok((count, side.flush(shape.split_bytes)?)));
            match outcome {
                Ok((count, has_flushed)) => {
                    flow.consume(count);
                    *passed += count as u64;
                    sent = match (count > 0 || has_flushed, shape.split_bytes) {
                        (false, _) => Sent::Nothing,
                        (true, None) => Sent::Bytes,
                        (true, Some(_)) => Sent::Segment,
                    };
                }
                Err(error) if is_unreachable(error.kind()) => return self.give_up_target(turn),
                Err(_) => side.is_broken = true,
            }
        }
        if side.is_broken {
            turn.report.bytes_lost += flow.discard() as u64;
        }
        match flow.take_ending(turn.now) {
            None => {}
            Some(Ending::Fin) => {
                side.end();
                // TLS has a last word, and the next round sends it.
                sent = Sent::Bytes;
            }
            Some(Ending::Reset) => return ControlFlow::Break(Next::Reset),
        }
        ControlFlow::Continue(sent)
    }

    /// Reads both sides and passes nothing on.
    fn swallow(&mut self, turn: &mut Turn<'_>) -> ControlFlow<Next> {
        for _ in 0..ROUNDS_PER_TURN {
            let front = self.front.take_raw(turn.scratch);
            match front {
                Took::Bytes(count) => {
                    turn.report.bytes_lost += count as u64;
                    self.is_mute = true;
                }
                Took::Ended => return ControlFlow::Break(Next::Close),
                Took::Reset | Took::Unreachable | Took::Broken => return ControlFlow::Break(Next::Reset),
                Took::Nothing => {}
            }
            let back = self.back.as_mut().map_or(Took::Nothing, |back| back.take_raw(turn.scratch));
            match back {
                Took::Bytes(count) => {
                    turn.report.bytes_lost += count as u64;
                    self.is_mute = true;
                }
                Took::Ended | Took::Reset | Took::Unreachable | Took::Broken => {
                    self.back = None;
                    self.is_mute = true;
                }
                Took::Nothing if matches!(front, Took::Nothing) => return ControlFlow::Break(Next::Wait),
                Took::Nothing => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Counts the TLS handshake when it is done.
    fn note_handshake(&mut self, turn: &mut Turn<'_>) {
        if self.front.has_tls() && !self.front.is_handshaking() && !self.is_greeted {
            self.is_greeted = true;
            turn.report.tls_handshakes += 1;
        }
    }
}
