//! Means of one worker over three windows, in 48 bytes, however many shares it has.
//!
//! Each is a sum that decays with half the window as its time constant. Such a sum looks back as far, on average, as a
//! window that forgets at its end, and is as exact: of n shares in a window the mean is right within 1/sqrt(n) in two cases
//! of three, which is 29 % for a share every 5 s over a minute, 7.5 % over 15 minutes and 0.8 % over a day. After a change it
//! has gone 86 % of the way one window later. Shares are reported within half a second, which changes a mean by less than 2 %.

use loka_proto::HASHES_OF_ONE;

/// A worker that is younger counts as this old, in seconds: one lucky share is no hashrate.
const AGE_S_MIN: f64 = 30.0;

/// What a mean is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// One minute.
    Minute,
    /// Fifteen minutes.
    Quarter,
    /// 24 hours.
    Day,
}

/// All of them, the shortest first.
pub const WINDOWS: [Window; 3] = [Window::Minute, Window::Quarter, Window::Day];

impl Window {
    /// How long it is, in seconds.
    pub const fn seconds(self) -> f64 {
        match self {
            Window::Minute => 60.0,
            Window::Quarter => 900.0,
            Window::Day => 86_400.0,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }

    /// What is left of a sum after so many seconds.
    fn left(self, seconds: f64) -> f64 {
        (-2.0 * seconds / self.seconds()).exp()
    }
}

/// Sums that decay, right at `at_ms`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    at_ms: u64,
    /// Of the difficulty of accepted shares.
    work: [f64; WINDOWS.len()],
    /// Of the microseconds that answers took, and of how many there were, over fifteen minutes.
    waited_us: f64,
    answered: f64,
}

impl Means {
    pub(super) fn new(now_ms: u64) -> Means {
        Means { at_ms: now_ms, work: [0.0; WINDOWS.len()], waited_us: 0.0, answered: 0.0 }
    }

    /// Shares were accepted, with so much difficulty together; answers took so long together.
    pub(super) fn add(&mut self, now_ms: u64, difficulty: f64, waited_us: u64, answered: u64) {
        if difficulty <= 0.0 && answered == 0 {
            return;
        }
        let seconds = seconds(self.at_ms, now_ms);
        self.at_ms = self.at_ms.max(now_ms);
        for window in WINDOWS {
            let sum = &mut self.work[window.index()];
            *sum = *sum * window.left(seconds) + difficulty;
        }
        let left = Window::Quarter.left(seconds);
        self.waited_us = self.waited_us * left + waited_us as f64;
        self.answered = self.answered * left + answered as f64;
    }

    /// Hashes per second of a worker that was first heard of at `first_ms`.
    pub(super) fn hashrate(&self, window: Window, first_ms: u64, now_ms: u64) -> f64 {
        let sum = self.work[window.index()];
        if sum <= 0.0 {
            return 0.0;
        }
        let age = seconds(first_ms, now_ms).max(AGE_S_MIN);
        // The part of the window that the worker has been there for.
        let seen = window.seconds() / 2.0 * (1.0 - window.left(age));
        sum * window.left(seconds(self.at_ms, now_ms)) * HASHES_OF_ONE / seen
    }

    /// Microseconds that an answer of its pool takes, lately.
    pub(super) fn response_us(&self) -> Option<f64> {
        (self.answered > 0.0).then(|| self.waited_us / self.answered)
    }
}

fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share of difficulty 1,000 every five seconds, up to `end_s`.
    fn steady(end_s: u64) -> Means {
        let mut means = Means::new(0);
        (5..=end_s).step_by(5).for_each(|second| means.add(second * 1_000, 1_000.0, 2_000, 1));
        means
    }

    #[test]
    fn a_steady_miner_has_its_hashrate_from_the_first_minute_on() {
        let true_rate = 1_000.0 / 5.0 * HASHES_OF_ONE;
        for (end_s, error) in [(60, 0.1), (600, 0.09), (90_000, 0.09)] {
            let means = steady(end_s);
            for window in WINDOWS {
                let rate = means.hashrate(window, 0, end_s * 1_000);
                assert!((rate / true_rate - 1.0).abs() < error, "{window:?} after {end_s} s: {rate:e}");
            }
        }
        assert!((steady(600).response_us().unwrap() - 2_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_miner_that_stops_fades_and_one_share_is_no_hashrate() {
        let means = steady(3_600);
        let now = means.hashrate(Window::Minute, 0, 3_600_000);
        let later = means.hashrate(Window::Minute, 0, 3_660_000);
        assert!((later / now - (-2.0_f64).exp()).abs() < 1e-9);
        assert!(means.hashrate(Window::Day, 0, 3_660_000) > now / 2.0);
        let mut lucky = Means::new(0);
        lucky.add(1, 1_000.0, 0, 1);
        assert!(lucky.hashrate(Window::Minute, 0, 1) < 1_000.0 * HASHES_OF_ONE / 15.0);
        assert_eq!((Means::new(0).hashrate(Window::Day, 0, 9), Means::new(0).response_us()), (0.0, None));
    }

    /// The error of the mean of chance shares is what this file says. The chance is a fixed sequence.
    #[test]
    fn the_error_is_as_said() {
        let (mut seed, mut now_ms, mut means) = (7_u64, 0_u64, Means::new(0));
        let mut chance = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let (mut squares, mut looks) = (0.0, 0.0);
        for share in 0..200_000 {
            now_ms += (-5_000.0 * (1.0 - chance()).ln()) as u64;
            means.add(now_ms, 1.0, 0, 1);
            if share % 24 == 23 {
                // Not at the share itself, which would be looked at whenever the sum is high.
                let rate = means.hashrate(Window::Minute, 0, now_ms + 5_000);
                let error = rate * (2.0 * 5.0 / 60.0_f64).exp() / (HASHES_OF_ONE / 5.0) - 7.0 / 6.0;
                (squares, looks) = (squares + error * error, looks + 1.0);
            }
        }
        let error: f64 = squares / looks;
        assert!((0.25..0.33).contains(&error.sqrt()), "{}", error.sqrt());
    }
}
