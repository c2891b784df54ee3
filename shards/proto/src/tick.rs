//! Time as the core sees it: microseconds since some start that the caller chose.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// A point in time in microseconds. A test writes `Tick(5)`; the runtime passes a monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// A time that never comes.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// The same, or `now` where that is earlier: what is said to have happened cannot be yet to come.
    pub(crate) fn by(self, now: Tick) -> Tick {
        self.min(now)
    }

    /// Microseconds from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Tick {
    type Output = Tick;
    fn add(self, us: u64) -> Tick {
        Tick(self.0.saturating_add(us))
    }
}

impl Sub for Tick {
    type Output = u64;
    fn sub(self, earlier: Tick) -> u64 {
        self.since(earlier)
    }
}
