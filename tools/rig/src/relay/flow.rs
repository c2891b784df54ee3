//! The bytes of one direction on their way through the relay: when they may go on, and how many at a time.
//!
//! It refuses to know sockets and to read a clock: whoever calls says what time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Shape;

/// Bytes one direction may hold. When they are there, nothing more is read, and TCP slows the sender down. Over TLS one
/// record (16 KiB) may come on top.
pub(super) const FLOW_BYTES_MAX: usize = 64 * 1024;
/// How much a throttled direction may save up for a burst, in parts of a second.
const BURSTS_PER_SECOND: f64 = 20.0;

/// How a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order (FIN).
    Fin,
    /// By a reset (RST).
    Reset,
}

/// Bytes that wait for their time.
struct Batch {
    due: Instant,
    count: usize,
}

pub(super) struct Flow {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes from `sent` on whose time has come.
    ripe: usize,
    /// The bytes after them, in order.
    waiting: VecDeque<Batch>,
    /// When the bytes that are being gathered go on together.
    window_end: Option<Instant>,
    end: Option<(Instant, Ending)>,
    is_finished: bool,
    /// Bytes a throttled direction may send now.
    allowance: f64,
    allowed_at: Instant,
}

impl Flow {
    pub(super) fn new(now: Instant) -> Self {
        Flow {
            bytes: Vec::new(),
            sent: 0,
            ripe: 0,
            waiting: VecDeque::new(),
            window_end: None,
            end: None,
            is_finished: false,
            allowance: 0.0,
            allowed_at: now,
        }
    }

    /// Bytes not yet passed on.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// How many more may be read; none after the end.
    pub(super) fn room(&self) -> usize {
        if self.end.is_some() { 0 } else { FLOW_BYTES_MAX.saturating_sub(self.len()) }
    }

    /// Takes bytes that have just been read.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant, shape: &Shape) {
        self.bytes.extend_from_slice(bytes);
        let due = self.due(now, shape);
        match self.waiting.back_mut() {
            Some(last) if last.due == due => last.count += bytes.len(),
            Some(_) | None => self.waiting.push_back(Batch { due, count: bytes.len() }),
        }
        self.ripen(now);
    }

    /// When bytes read now go on. Never before the bytes in front of them.
    fn due(&mut self, now: Instant, shape: &Shape) -> Instant {
        let gathered = if shape.coalesce.is_zero() {
            now
        } else {
            let open = self.window_end.filter(|&end| end > now);
            *self.window_end.insert(open.unwrap_or(now + shape.coalesce))
        };
        let due = gathered + shape.delay;
        self.waiting.back().map_or(due, |last| last.due.max(due))
    }

    /// The sending side has ended; takes its way behind the bytes. A reset may follow an end in good order, nothing else.
    pub(super) fn finish(&mut self, ending: Ending, now: Instant, shape: &Shape) {
        let is_news = match self.end {
            None => true,
            Some((_, Ending::Fin)) => ending == Ending::Reset,
            Some((_, Ending::Reset)) => false,
        };
        if is_news {
            let at = self.due(now, shape);
            self.end = Some((at, ending));
            self.is_finished = false;
        }
    }

    /// Forgets everything that has not been passed on and returns how many bytes that were.
    pub(super) fn discard(&mut self) -> usize {
        let count = self.len();
        self.bytes = Vec::new();
        self.waiting.clear();
        (self.sent, self.ripe) = (0, 0);
        count
    }

    /// A new shape holds for bytes that are on their way too: none waits longer than it would if it came now.
    pub(super) fn reshape(&mut self, now: Instant, shape: &Shape) {
        let latest = now + shape.coalesce + shape.delay;
        for batch in &mut self.waiting {
            batch.due = batch.due.min(latest);
        }
        if let Some((at, _)) = &mut self.end {
            *at = (*at).min(latest);
        }
        self.window_end = self.window_end.map(|end| end.min(now + shape.coalesce));
        (self.allowance, self.allowed_at) = (0.0, now);
    }

    fn ripen(&mut self, now: Instant) {
        while let Some(batch) = self.waiting.front()
            && batch.due <= now
        {
            self.ripe += batch.count;
            self.waiting.pop_front();
        }
    }

    /// What may be sent now.
    pub(super) fn ready(&mut self, now: Instant, shape: &Shape) -> &[u8] {
        self.ripen(now);
        let mut count = self.ripe;
        if let Some(rate) = shape.bytes_per_second {
            let rate = rate as f64;
            let earned = now.saturating_duration_since(self.allowed_at).as_secs_f64() * rate;
            self.allowance = (self.allowance + earned).min((rate / BURSTS_PER_SECOND).max(1.0));
            self.allowed_at = now;
            count = count.min(self.allowance as usize);
        }
        &self.bytes[self.sent..self.sent + count]
    }

    /// So many of the bytes that were ready have been sent.
    pub(super) fn consume(&mut self, count: usize) {
        self.sent += count;
        self.ripe -= count;
        self.allowance = (self.allowance - count as f64).max(0.0);
        if self.len() == 0 {
            // A quiet connection costs no buffer.
            self.bytes = Vec::new();
            self.sent = 0;
        } else if self.sent > FLOW_BYTES_MAX {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// The end, once all bytes before it have been sent and its own time has come; told once.
    pub(super) fn take_ending(&mut self, now: Instant) -> Option<Ending> {
        let (at, ending) = self.end?;
        if self.is_finished || self.len() > 0 || at > now {
            return None;
        }
        self.is_finished = true;
        Some(ending)
    }

    /// The end has been passed on.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// When to look at this direction again though no socket has said anything.
    pub(super) fn next_due(&self, now: Instant, shape: &Shape) -> Option<Instant> {
        if self.ripe > 0 {
            // Without a throttle the socket is full and will say when it is not.
            let rate = shape.bytes_per_second.filter(|&rate| rate > 0 && self.allowance < 1.0)?;
            let lacking_s = (1.0 - self.allowance) / rate as f64;
            return Some(
                self.allowed_at + Duration::try_from_secs_f64(lacking_s).unwrap_or(Duration::from_secs(1)),
            );
        }
        match self.waiting.front() {
            Some(batch) => Some(batch.due),
            None => self.end.filter(|_| !self.is_finished).map(|(at, _)| at.max(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delayed_bytes_come_late_in_order_and_the_end_behind_them() {
        let start = Instant::now();
        let shape = Shape { delay: 10 * MS, ..Shape::default() };
        let mut flow = Flow::new(start);
        flow.push(b"one", start, &shape);
        flow.push(b"two", start + 5 * MS, &shape);
        flow.finish(Ending::Reset, start + 6 * MS, &shape);
        assert_eq!(flow.room(), 0, "nothing is read after the end");
        assert_eq!(flow.ready(start + 9 * MS, &shape), b"");
        assert_eq!(flow.next_due(start + 9 * MS, &shape), Some(start + 10 * MS));
        assert_eq!(flow.ready(start + 10 * MS, &shape), b"one");
        assert_eq!(flow.ready(start + 15 * MS, &shape), b"onetwo");
        flow.consume(6);
        assert_eq!(flow.take_ending(start + 15 * MS), None);
        assert_eq!(flow.next_due(start + 15 * MS, &shape), Some(start + 16 * MS));
        assert_eq!(flow.take_ending(start + 16 * MS), Some(Ending::Reset));
        assert_eq!(flow.take_ending(start + 17 * MS), None, "an end is told once");
        assert_eq!(flow.next_due(start + 17 * MS, &shape), None);
    }

    #[test]
    fn a_window_gathers_and_the_next_one_begins_with_the_next_byte() {
        let start = Instant::now();
        let shape = Shape { coalesce: 10 * MS, ..Shape::default() };
        let mut flow = Flow::new(start);
        flow.push(b"a", start, &shape);
        flow.push(b"b", start + 9 * MS, &shape);
        assert_eq!(flow.ready(start + 9 * MS, &shape), b"");
        assert_eq!(flow.ready(start + 10 * MS, &shape), b"ab");
        flow.push(b"c", start + 12 * MS, &shape);
        assert_eq!(flow.ready(start + 21 * MS, &shape), b"ab");
        assert_eq!(flow.ready(start + 22 * MS, &shape), b"abc");
    }

    #[test]
    fn a_throttle_lets_through_its_rate_and_zero_holds_all() {
        let start = Instant::now();
        let shape = Shape { bytes_per_second: Some(1000), ..Shape::default() };
        let mut flow = Flow::new(start);
        flow.push(&[7; 4000], start, &shape);
        assert_eq!(flow.ready(start, &shape).len(), 0);
        assert_eq!(flow.next_due(start, &shape), Some(start + MS));
        let mut passed = 0;
        for ms in 1..=1000 {
            let count = flow.ready(start + ms * MS, &shape).len();
            flow.consume(count);
            passed += count;
        }
        assert!((990..=1000).contains(&passed), "{passed}");
        // What is saved up while nobody looks is bounded.
        assert_eq!(flow.ready(start + 5000 * MS, &shape).len(), 50);
        let held = Shape { bytes_per_second: Some(0), ..Shape::default() };
        flow.reshape(start + 5000 * MS, &held);
        assert_eq!(flow.ready(start + 9000 * MS, &held).len(), 0);
        assert_eq!(flow.next_due(start + 9000 * MS, &held), None);
        assert_eq!(flow.ready(start + 9000 * MS, &Shape::default()).len(), 4000 - passed);
    }

    #[test]
    fn a_new_shape_frees_what_an_old_one_held() {
        let start = Instant::now();
        let slow = Shape { delay: Duration::from_secs(3600), ..Shape::default() };
        let mut flow = Flow::new(start);
        flow.push(b"held", start, &slow);
        flow.finish(Ending::Fin, start, &slow);
        flow.reshape(start + MS, &Shape::default());
        assert_eq!(flow.ready(start + MS, &Shape::default()), b"held");
        flow.consume(4);
        assert_eq!(flow.take_ending(start + MS), Some(Ending::Fin));
    }

    #[test]
    fn the_room_is_bounded_and_what_is_discarded_is_counted() {
        let start = Instant::now();
        let mut flow = Flow::new(start);
        flow.push(&[0; FLOW_BYTES_MAX - 1], start, &Shape::default());
        assert_eq!(flow.room(), 1);
        assert_eq!(flow.discard(), FLOW_BYTES_MAX - 1);
        assert_eq!(flow.room(), FLOW_BYTES_MAX);
    }
}
