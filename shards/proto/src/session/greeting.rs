//! What a miner said in its handshake, in its own words, kept so that it can be said again to another pool.
//!
//! One piece of memory for all of it: a farm has thousands of these, and reads one when a pool is lost. It refuses to keep
//! more than [`GREETING_BYTES_MAX`]; a miner that said more cannot be moved.

use super::packed::{PackedGreeting, UnpackError};
use crate::limits::{GREETING_BYTES_MAX, MINER_LINE_BYTES_MAX};
use crate::message::{Method, MinerMessage};
use crate::wire::Parser;

/// Bytes before each line: what it is, a worker's fingerprint, and its length.
const HEAD_BYTES: usize = 1 + 8 + 4;

/// A part of a miner's handshake. A newer one takes the place of an older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `mining.configure` with version rolling.
    Configure,
    /// One without: it takes back nothing of what the other asked for.
    Extensions,
    Subscribe,
    Suggest,
    /// The worker's fingerprint.
    Authorize(u64),
}

impl Part {
    /// Which part this is; `None` for what is not kept.
    fn of(method: Method, message: &MinerMessage<'_>) -> Option<Part> {
        match message {
            MinerMessage::Configure(configure) if configure.asked.version_rolling => Some(Part::Configure),
            MinerMessage::Configure(_) => Some(Part::Extensions),
            MinerMessage::Subscribe(_) => Some(Part::Subscribe),
            MinerMessage::Authorize(authorize) => Some(Part::Authorize(authorize.worker())),
            MinerMessage::Request(_) => method.suggests_difficulty().then_some(Part::Suggest),
            MinerMessage::Submit(_) | MinerMessage::ExtranonceSubscribe | MinerMessage::Answer => None,
        }
    }

    fn head(self) -> (u8, u64) {
        match self {
            Part::Configure => (0, 0),
            Part::Extensions => (4, 0),
            Part::Subscribe => (1, 0),
            Part::Suggest => (2, 0),
            Part::Authorize(worker) => (3, worker),
        }
    }
}

/// The lines of a handshake, in the order in which they were said first.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    bytes: Box<[u8]>,
    is_too_long: bool,
}

impl Greeting {
    /// Keeps a line, which has its line feed.
    pub(super) fn keep(&mut self, part: Part, line: &[u8]) {
        let (kind, worker) = part.head();
        let mut kept = Vec::with_capacity(self.bytes.len() + HEAD_BYTES + line.len());
        let mut is_new = true;
        for (head, old) in self.records() {
            let is_same = head == (kind, worker);
            push(&mut kept, head, if is_same { line } else { old });
            is_new &= !is_same;
        }
        if is_new {
            push(&mut kept, (kind, worker), line);
        }
        if kept.len() > GREETING_BYTES_MAX {
            self.is_too_long = true;
            return;
        }
        self.bytes = kept.into_boxed_slice();
    }

    /// Whether all of it is kept.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_too_long
    }

    /// Bytes kept.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.records().map(|(_, line)| line)
    }

    pub(super) fn pack(&self) -> Option<PackedGreeting> {
        let lines = self.lines().map(|line| Some(str::from_utf8(line).ok()?.to_owned()));
        Some(PackedGreeting { is_whole: self.is_whole(), lines: lines.collect::<Option<_>>()? })
    }

    /// Each line is read again, since it will be said to a pool. `workers`: the fingerprints of those that the miner asked for.
    pub(super) fn unpack(
        packed: &PackedGreeting,
        parser: &mut Parser,
        workers: &[u64],
    ) -> Result<Greeting, UnpackError> {
        let mut bytes = Vec::new();
        for line in packed.lines.iter().map(|line| line.as_bytes()) {
            if line.len() > MINER_LINE_BYTES_MAX || bytes.len() + HEAD_BYTES + line.len() > GREETING_BYTES_MAX
            {
                return Err(UnpackError::TooMuch("greeting"));
            }
            let is_line = memchr::memchr(b'\n', line).is_some_and(|end| end + 1 == line.len());
            let read = parser.read(line, |envelope| match MinerMessage::read(envelope) {
                Ok((method, message)) => Part::of(method, &message),
                Err(_) => None,
            });
            let head = read.ok().flatten().filter(|_| is_line).map(|part| (part, part.head()));
            let head = head.filter(|(part, head)| {
                let is_known = !matches!(part, Part::Authorize(worker) if !workers.contains(worker));
                is_known && records(&bytes).all(|(kept, _)| kept != *head)
            });
            let (_, head) = head.ok_or(UnpackError::Impossible("a line of the greeting"))?;
            push(&mut bytes, head, line);
        }
        Ok(Greeting { bytes: bytes.into(), is_too_long: !packed.is_whole })
    }

    fn records(&self) -> impl Iterator<Item = ((u8, u64), &[u8])> {
        records(&self.bytes)
    }
}

fn records(bytes: &[u8]) -> impl Iterator<Item = ((u8, u64), &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (kind, behind) = rest.split_first()?;
        let (worker, behind) = behind.split_first_chunk::<8>()?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (line, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(((*kind, u64::from_le_bytes(*worker)), line))
    })
}

fn push(bytes: &mut Vec<u8>, (kind, worker): (u8, u64), line: &[u8]) {
    // A line has at most 16 KiB.
    let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
    bytes.push(kind);
    bytes.extend_from_slice(&worker.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_parts_take_the_place_of_older_ones_and_the_order_stays() {
        let mut greeting = Greeting::default();
        greeting.keep(Part::Subscribe, b"one\n");
        greeting.keep(Part::Authorize(7), b"seven\n");
        greeting.keep(Part::Authorize(8), b"eight\n");
        greeting.keep(Part::Subscribe, b"another\n");
        greeting.keep(Part::Authorize(7), b"7\n");
        let lines: Vec<&[u8]> = greeting.lines().collect();
        assert_eq!(lines, [b"another\n".as_slice(), b"7\n", b"eight\n"]);
        assert!(greeting.is_whole());
    }

    #[test]
    fn what_does_not_fit_is_not_kept_by_halves() {
        let mut greeting = Greeting::default();
        let line = vec![b'x'; 10_000];
        (0..4).for_each(|worker| greeting.keep(Part::Authorize(worker), &line));
        assert!(!greeting.is_whole());
        assert_eq!((greeting.lines().count(), greeting.len()), (3, 3 * (line.len() + HEAD_BYTES)));
    }
}
