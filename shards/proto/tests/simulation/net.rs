//! The network between miner, proxy and pool: bytes arrive in order, late, in pieces of any size, or not at all.

use crate::rng::Rng;
use std::collections::VecDeque;

/// How one direction of a connection stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fin {
    /// In order: what was sent before still arrives.
    Closed,
    /// Broken: what has not arrived yet is lost.
    Reset,
}

#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    Fin(Fin),
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    fin: Option<Fin>,
    /// The end has arrived.
    over: bool,
    scheduled: bool,
    choppy: bool,
}

impl Pipe {
    pub(crate) fn new(choppy: bool) -> Pipe {
        Pipe { choppy, ..Pipe::default() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if self.fin.is_none() {
            self.bytes.extend(bytes);
        }
    }

    pub(crate) fn close(&mut self, fin: Fin) {
        if self.fin.is_none() || (fin == Fin::Reset && !self.over) {
            self.fin = Some(fin);
        }
        if fin == Fin::Reset {
            self.bytes.clear();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.fin.is_some()
    }

    /// Nothing is on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.bytes.is_empty() && (self.fin.is_none() || self.over)
    }

    /// The delay after which something arrives, if something is on its way and nobody waits for it yet.
    pub(crate) fn schedule(&mut self, rng: &mut Rng) -> Option<u64> {
        if self.is_quiet() || self.scheduled {
            return None;
        }
        self.scheduled = true;
        Some(match rng.below(100) {
            0..80 => rng.between(20, 2_000),
            80..98 => rng.between(2_000, 60_000),
            _ => rng.between(60_000, 900_000),
        })
    }

    pub(crate) fn arrive(&mut self, rng: &mut Rng) -> Option<Arrival> {
        self.scheduled = false;
        if self.bytes.is_empty() {
            let fin = self.fin.filter(|_| !self.over)?;
            self.over = true;
            return Some(Arrival::Fin(fin));
        }
        let waiting = self.bytes.len() as u64;
        let count = match rng.below(10) {
            0 if self.choppy => rng.between(1, waiting.min(4)),
            1..5 if self.choppy => rng.between(1, waiting.min(2_000)),
            _ => waiting.min(64 * 1024),
        };
        let count = usize::try_from(count).expect("a length");
        Some(Arrival::Bytes(self.bytes.drain(..count).collect()))
    }
}

/// Cuts what arrived into lines, written apart from the crate's own framing so that each checks the other.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// The whole lines that are now there, blank ones left out, line endings included.
    pub(crate) fn cut(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut from = 0;
        while let Some(length) = self.0[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.0[from..=from + length];
            if !line.trim_ascii().is_empty() {
                lines.push(line.to_vec());
            }
            from += length + 1;
        }
        self.0.drain(..from);
        lines
    }
}
