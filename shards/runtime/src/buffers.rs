//! Bytes that a socket did not take yet. A link has a queue of its own only while there are such bytes.

use loka_proto::Tick;

/// A buffer that grew past this is given back to the allocator, not kept.
const SPARE_BYTES_MAX: usize = 16 * 1024;
/// Bytes sent at the front of a queue that are kept before the rest is moved up.
const SENT_BYTES_MAX: usize = 64 * 1024;

/// Spare buffers of a shard, so that a slow moment of many links does not go to the allocator for each.
#[derive(Debug)]
pub(crate) struct Spares {
    free: Vec<Vec<u8>>,
    max: usize,
}

impl Spares {
    pub(crate) fn new(max: usize) -> Spares {
        Spares { free: Vec::new(), max }
    }

    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let worth_keeping = (1..=SPARE_BYTES_MAX).contains(&buffer.capacity());
        if worth_keeping && self.free.len() < self.max {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

/// Bytes that wait for one socket.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    sent: usize,
    /// When the socket last took something, or the queue began.
    moved: Tick,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Since when the socket has taken nothing, if something waits.
    pub(crate) fn stalled_since(&self) -> Option<Tick> {
        (!self.is_empty()).then_some(self.moved)
    }

    pub(crate) fn push(&mut self, spares: &mut Spares, bytes: &[u8], now: Tick) {
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take();
        }
        if self.is_empty() {
            self.moved = now;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The socket took `count` bytes.
    pub(crate) fn advance(&mut self, spares: &mut Spares, count: usize, now: Tick) {
        self.sent += count;
        self.moved = now;
        if self.is_empty() {
            spares.give(std::mem::take(&mut self.bytes));
            self.sent = 0;
        } else if self.sent >= SENT_BYTES_MAX {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self, spares: &mut Spares) {
        spares.give(std::mem::take(&mut self.bytes));
        self.sent = 0;
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
        assert_eq!((queue.len(), queue.bytes.capacity(), spares.free.len()), (0, 0, 1));
        Queue::default().clear(&mut spares);
        assert_eq!(spares.free.len(), 1, "a queue that never held a byte leaves nothing");
        queue.push(&mut spares, b"g", Tick(5));
        assert_eq!((queue.waiting(), spares.free.len()), (b"g".as_slice(), 0));
    }
}
