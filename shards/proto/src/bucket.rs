//! A token bucket in one word. It knows no limits: each call says what it costs and how much the bucket holds.

use crate::tick::Tick;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

const MINUTE_US: u64 = 60_000_000;

/// Microseconds in which so many flow into a bucket that so many a minute may be taken from.
#[must_use]
pub fn cost_us(count: u64, per_minute: NonZeroU32) -> u64 {
    count.saturating_mul(MINUTE_US) / u64::from(per_minute.get())
}

/// What is left in it follows from when it will be full again, so that is all that is kept. Amounts are given as the
/// microseconds in which so much flows in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket {
    full_at: Tick,
}

impl Bucket {
    /// Takes `cost_us` out of a bucket of `depth_us`. False, and nothing is taken, when there is less in it.
    pub fn take(&mut self, cost_us: u64, depth_us: u64, now: Tick) -> bool {
        let full_at = self.full_at.max(now) + cost_us;
        let is_there = full_at - now <= depth_us;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }

    /// Takes `cost_us` that was spent already. Gives the microseconds until there is something in it again; zero when there
    /// is.
    pub fn charge(&mut self, cost_us: u64, depth_us: u64, now: Tick) -> u64 {
        self.full_at = self.full_at.max(now) + cost_us;
        self.debt(depth_us, now)
    }

    /// Gives back `cost_us` that was taken and not needed; what would flow over is lost.
    pub fn give_back(&mut self, cost_us: u64, now: Tick) {
        self.full_at = Tick(self.full_at.0.saturating_sub(cost_us)).max(now);
    }

    /// Microseconds until there is something in it again; zero when there is.
    #[must_use]
    pub fn debt(&self, depth_us: u64, now: Tick) -> u64 {
        (self.full_at - now).saturating_sub(depth_us)
    }

    /// Whether nothing is missing from it.
    #[must_use]
    pub fn is_full(&self, now: Tick) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_holds_may_be_taken_at_once_and_flows_in_again() {
        let (mut bucket, now) = (Bucket::default(), Tick(5_000));
        assert!(bucket.is_full(now));
        assert_eq!((0..20).filter(|_| bucket.take(10, 100, now)).count(), 10);
        assert!(!bucket.take(10, 100, now + 9) && bucket.take(10, 100, now + 10));
        assert!(!bucket.is_full(now + 109) && bucket.is_full(now + 110));
    }

    #[test]
    fn what_is_given_back_may_be_taken_again_and_no_more() {
        let (mut bucket, now) = (Bucket::default(), Tick(5_000));
        assert!(bucket.take(100, 100, now) && !bucket.take(10, 100, now));
        bucket.give_back(10, now);
        assert!(bucket.take(10, 100, now) && !bucket.take(1, 100, now));
        bucket.give_back(1_000, now);
        assert!(bucket.take(100, 100, now) && !bucket.take(1, 100, now));
    }

    #[test]
    fn what_was_spent_is_owed() {
        let (mut bucket, now) = (Bucket::default(), Tick(5_000));
        assert_eq!(bucket.charge(100, 100, now), 0);
        assert_eq!(bucket.charge(50, 100, now), 50);
        assert_eq!((bucket.debt(100, now + 49), bucket.debt(100, now + 50)), (1, 0));
    }
}
