//! The monotonic clock of the process, in ticks since its start, or since that of the process before it.

use loka_proto::Tick;
use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// What a clock shows at its start, so that no deadline lies before time began.
const FIRST_US: u64 = 1_000_000;

/// Tells the time to sessions. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// Ticks at the start.
    first: u64,
    /// Microseconds of the host's monotonic clock at tick 0; such a clock that began less than a second ago shows it as 0.
    origin_us: u64,
}

impl Clock {
    /// A clock that starts at one second.
    #[must_use]
    pub fn start() -> Clock {
        Clock::following(host_us().saturating_sub(FIRST_US))
    }

    /// A clock that tells the time of another process of this host, whose [`origin_us`](Self::origin_us) is this. One in the
    /// future makes no sense; the clock starts at one second then.
    #[must_use]
    pub fn following(origin_us: u64) -> Clock {
        let now = host_us();
        let first = now.checked_sub(origin_us).filter(|us| *us >= FIRST_US).unwrap_or(FIRST_US);
        Clock { start: Instant::now(), first, origin_us: now.saturating_sub(first) }
    }

    /// Names this clock to another process of this host.
    #[must_use]
    pub fn origin_us(&self) -> u64 {
        self.origin_us
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Tick {
        let us = self.start.elapsed().as_micros();
        Tick(self.first.saturating_add(u64::try_from(us).unwrap_or(u64::MAX)))
    }
}

/// Microseconds that the host has been up, those in suspense not counted.
fn host_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks_of_one_origin_tell_the_same_time() {
        let first = Clock::start();
        assert!(first.now() >= Tick(FIRST_US));
        let second = Clock::following(first.origin_us());
        let (before, there, after) = (first.now(), second.now(), first.now());
        // Each reads the host's clock twice, a moment apart.
        assert!(there + 100_000 >= before && there <= after + 100_000, "{before:?} {there:?} {after:?}");
        assert!(Clock::following(u64::MAX).now() >= Tick(FIRST_US), "an origin that cannot be");
    }
}
