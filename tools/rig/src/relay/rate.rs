//! How many connects came within a second, wherever that second began.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Connects that are remembered; more than so many within a second are counted as so many.
const CONNECTS_KEPT_MAX: usize = 65_536;
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct ConnectRate {
    times: VecDeque<Instant>,
    largest: usize,
}

impl ConnectRate {
    /// One connect came at `now`, which never goes back.
    pub(super) fn note(&mut self, now: Instant) {
        while self.times.front().is_some_and(|&first| now.saturating_duration_since(first) >= WINDOW) {
            self.times.pop_front();
        }
        if self.times.len() == CONNECTS_KEPT_MAX {
            self.times.pop_front();
        }
        self.times.push_back(now);
        self.largest = self.largest.max(self.times.len());
    }

    /// The largest number within less than one second so far.
    pub(super) fn largest(&self) -> u64 {
        self.largest as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_anywhere() {
        let start = Instant::now();
        let mut rate = ConnectRate::default();
        for ms in [0, 900, 950, 1000, 1100, 1899, 1900, 5000] {
            rate.note(start + Duration::from_millis(ms));
        }
        // 900, 950, 1000, 1100, 1899: the one at 1900 is a second after the first of them.
        assert_eq!(rate.largest(), 5);
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut rate = ConnectRate::default();
        for _ in 0..CONNECTS_KEPT_MAX + 10 {
            rate.note(start);
        }
        assert_eq!((rate.largest(), rate.times.len()), (CONNECTS_KEPT_MAX as u64, CONNECTS_KEPT_MAX));
    }
}
