//! Bytes that a socket did not take yet. A link has a queue of its own only while there are such bytes.

use loka_proto::Tick;

/// A buffer that grew past this is given back to the allocator, not kept.
const SPARE_BYTES_MAX: usize = 16 * 1024;
/// Bytes sent at the front of a queue that are kept before the rest is moved up.
const SENT_BYTES_MAX: usize = 64 * 1024;

/// Spare buffers of a shard, so that a slow moment of many links does not go to the allocator for each.
#[derive(Debug)]
pub(crate) struct Spares {
    /// Boxed as queues have them: they change hands, and nothing is made anew.
    #[allow(clippy::vec_box, reason = "a box goes from here to a queue and comes back")]
    free: Vec<Box<Waiting>>,
    max: usize,
}

impl Spares {
    pub(crate) fn new(max: usize) -> Spares {
        Spares { free: Vec::new(), max }
    }

    fn take(&mut self, now: Tick) -> Box<Waiting> {
        let mut waiting = self.free.pop().unwrap_or_default();
        waiting.moved = now;
        waiting
    }

    fn give(&mut self, mut waiting: Box<Waiting>) {
        let worth_keeping = (1..=SPARE_BYTES_MAX).contains(&waiting.bytes.capacity());
        if worth_keeping && self.free.len() < self.max {
            waiting.bytes.clear();
            waiting.sent = 0;
            self.free.push(waiting);
        }
    }
}

/// Bytes of which some wait.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
    /// When the socket last took something, or the queue began.
    moved: Tick,
}

impl Waiting {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

/// Bytes that wait for one socket: of most sockets none do, and those cost a pointer.
#[derive(Debug, Default)]
pub(crate) struct Queue(Option<Box<Waiting>>);

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Since when the socket has taken nothing, if something waits.
    pub(crate) fn stalled_since(&self) -> Option<Tick> {
        self.0.as_ref().map(|waiting| waiting.moved)
    }

    pub(crate) fn push(&mut self, spares: &mut Spares, bytes: &[u8], now: Tick) {
        if !bytes.is_empty() {
            self.0.get_or_insert_with(|| spares.take(now)).bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn waiting(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes[waiting.sent..])
    }

    /// The socket took `count` bytes.
    pub(crate) fn advance(&mut self, spares: &mut Spares, count: usize, now: Tick) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.sent += count;
        waiting.moved = now;
        if waiting.len() == 0 {
            self.clear(spares);
        } else if waiting.sent >= SENT_BYTES_MAX {
            waiting.bytes.drain(..waiting.sent);
            waiting.sent = 0;
        }
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self, spares: &mut Spares) {
        if let Some(waiting) = self.0.take() {
            spares.give(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came_and_memory_with_them() {
        let mut spares = Spares::new(1);
        let mut queue = Queue::default();
        queue.push(&mut spares, b"abc", Tick(1));
        queue.push(&mut spares, b"def", Tick(2));
        assert_eq!((queue.waiting(), queue.stalled_since()), (b"abcdef".as_slice(), Some(Tick(1))));
        queue.advance(&mut spares, 4, Tick(3));
        assert_eq!((queue.waiting(), queue.stalled_since()), (b"ef".as_slice(), Some(Tick(3))));
        queue.advance(&mut spares, 2, Tick(4));
        assert_eq!((queue.len(), queue.waiting(), spares.free.len()), (0, b"".as_slice(), 1));
        queue.push(&mut spares, b"", Tick(4));
        assert!(queue.is_empty() && queue.stalled_since().is_none());
        Queue::default().clear(&mut spares);
        assert_eq!(spares.free.len(), 1, "a queue that never held a byte leaves nothing");
        queue.push(&mut spares, b"g", Tick(5));
        assert_eq!((queue.waiting(), spares.free.len()), (b"g".as_slice(), 0));
        assert_eq!(queue.stalled_since(), Some(Tick(5)), "what it had before is not its time");
        queue.clear(&mut spares);
        assert_eq!((queue.len(), spares.free.len()), (0, 1));
    }
}
