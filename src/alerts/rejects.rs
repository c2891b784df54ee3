//! How many of the shares of a window of time were bad. Pure: counters since the start and times come in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Moments of a window of which the counters are kept.
const SAMPLES_MAX: u32 = 60;

/// Shares since the start, or within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) accepted: u64,
    /// By pools.
    pub(super) rejected: u64,
    /// By the proxy.
    pub(super) refused: u64,
}

impl Shares {
    pub(super) fn all(self) -> u64 {
        self.accepted + self.rejected + self.refused
    }

    /// Of all; 0 where there are none.
    pub(super) fn bad_percent(self) -> f64 {
        let bad = self.rejected + self.refused;
        if bad == 0 { 0.0 } else { 100.0 * bad as f64 / self.all() as f64 }
    }
}

/// The counters at moments of a window.
#[derive(Debug, Default)]
pub(super) struct RejectWindow(VecDeque<(Instant, Shares)>);

impl RejectWindow {
    /// What was counted within the last `window`, or since the first look if that is less.
    pub(super) fn look(&mut self, counted: Shares, window: Duration, now: Instant) -> Shares {
        let is_new = self.0.back().is_none_or(|(at, _)| now >= *at + window / SAMPLES_MAX);
        if is_new {
            self.0.push_back((now, counted));
        }
        while self.0.len() > 1 && now.saturating_duration_since(self.0[0].0) > window {
            self.0.pop_front();
        }
        let first = self.0.front().map_or(counted, |(_, first)| *first);
        Shares {
            accepted: counted.accepted.saturating_sub(first.accepted),
            rejected: counted.rejected.saturating_sub(first.rejected),
            refused: counted.refused.saturating_sub(first.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_the_window_is_forgotten_and_few_samples_are_kept() {
        let (window, begin) = (Duration::from_secs(60), Instant::now());
        let mut shares = RejectWindow::default();
        let mut counted = Shares { accepted: 1_000, rejected: 500, refused: 500 };
        assert_eq!(shares.look(counted, window, begin), Shares::default(), "before the first look");
        for tenth in 1..=3_000_u32 {
            counted.accepted += 9;
            // All that is bad comes in the first minute.
            counted.rejected += u64::from(tenth <= 600);
            let now = begin + Duration::from_millis(100) * tenth;
            let seen = shares.look(counted, window, now);
            if tenth == 600 {
                assert_eq!((seen.rejected, seen.bad_percent()), (600, 10.0));
            }
            if tenth > 1_220 {
                assert_eq!((seen.rejected, seen.bad_percent()), (0, 0.0), "{tenth}");
            }
        }
        assert!(shares.0.len() <= SAMPLES_MAX as usize + 2, "{}", shares.0.len());
    }
}
