//! The hashrate of the whole, as the mean of the last minute or of as much of it as was watched.
//!
//! The API tells sums since the start; what was added between two looks is what was mined between them.

use loka_proto::HASHES_OF_ONE;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back it looks.
const SPAN: Duration = Duration::from_secs(60);
/// Less than this says nothing yet.
const SPAN_MIN: Duration = Duration::from_secs(3);
/// Looks that are kept: more than one a second takes the place of the one before it.
const LOOKS_MAX: usize = 80;

/// Sums of difficulty as they were told, oldest first.
#[derive(Debug, Default)]
pub(super) struct Trend(VecDeque<(Instant, f64)>);

impl Trend {
    /// Adds what was told at `at`. A sum that has fallen is that of a proxy which has started anew.
    pub(super) fn add(&mut self, at: Instant, difficulty: f64) {
        if self.0.back().is_some_and(|(_, before)| difficulty < *before) {
            self.0.clear();
        }
        // The oldest that is no younger than the span stays, so that the span is covered.
        while self.0.get(1).is_some_and(|(second, _)| at.saturating_duration_since(*second) >= SPAN) {
            self.0.pop_front();
        }
        if self.0.len() >= LOOKS_MAX {
            self.0.pop_back();
        }
        self.0.push_back((at, difficulty));
    }

    /// Hashes per second.
    pub(super) fn hashrate(&self) -> Option<f64> {
        let ((from, before), (to, now)) = (self.0.front()?, self.0.back()?);
        let span = to.saturating_duration_since(*from);
        (span >= SPAN_MIN).then(|| (now - before) * HASHES_OF_ONE / span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_the_last_minute_and_begins_anew_with_the_proxy() {
        let (mut trend, start) = (Trend::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(trend.hashrate(), None);
        trend.add(at(0), 1_000.0);
        trend.add(at(2), 1_020.0);
        assert_eq!(trend.hashrate(), None, "two seconds are too few");
        for second in 3..200 {
            trend.add(at(second), 1_000.0 + 10.0 * second as f64);
        }
        assert!((trend.hashrate().unwrap() - 10.0 * HASHES_OF_ONE).abs() < 1.0);
        for second in 200..300 {
            trend.add(at(second), 3_000.0);
        }
        assert_eq!(trend.hashrate(), Some(0.0), "what came before the last minute is forgotten");
        trend.add(at(300), 5.0);
        assert_eq!(trend.hashrate(), None);
        for tenth in 0..1_000 {
            trend.add(at(300) + Duration::from_millis(100 * tenth), 5.0);
        }
        assert!(trend.0.len() <= LOOKS_MAX);
    }
}
