//! The monotonic clock of the process, in ticks since its start.

use loka_proto::Tick;
use std::time::Instant;

/// Tells the time to sessions. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts at one second, so that no deadline lies before time began.
    #[must_use]
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Tick {
        let us = self.origin.elapsed().as_micros();
        Tick(1_000_000 + u64::try_from(us).unwrap_or(u64::MAX))
    }
}
