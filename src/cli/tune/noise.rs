//! How far the host is from giving the same figure twice, told by loads that the proxy has no part in.

use serde::Serialize;

/// Above this spread of its shares a second the direct connection says that the host is noisy.
pub(super) const NOISY_SPREAD: f64 = 0.15;
/// The same for the longest p99 over the shortest.
pub(super) const NOISY_P99_FACTOR: f64 = 2.0;

/// What swarm and pool did with nothing between them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Baseline {
    pub(super) shares_per_second: f64,
    pub(super) p99_us: u64,
}

/// How much the same load differed from one time to the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Noise {
    /// Between the slowest and the fastest, as a part of the fastest.
    pub(super) spread: f64,
    /// The longest p99 over the shortest.
    pub(super) p99_factor: f64,
}

impl Noise {
    /// Of at least two baselines; fewer show none.
    pub(super) fn of(baselines: &[Baseline]) -> Noise {
        let rates = || baselines.iter().map(|baseline| baseline.shares_per_second);
        let (slowest, fastest) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        // A time that was too short to be seen is one microsecond.
        let times = || baselines.iter().map(|baseline| baseline.p99_us.max(1));
        let (shortest, longest) = (times().min().unwrap_or(1), times().max().unwrap_or(1));
        let spread = if fastest > 0.0 { (fastest - slowest) / fastest } else { 0.0 };
        Noise { spread, p99_factor: longest as f64 / shortest as f64 }
    }

    pub(super) fn is_noisy(self) -> bool {
        self.spread > NOISY_SPREAD || self.p99_factor > NOISY_P99_FACTOR
    }
}

/// Shares a second of the direct connection: the middle one of its runs, which one bad moment does not move.
pub(super) fn ceiling(baselines: &[Baseline]) -> f64 {
    let mut rates: Vec<f64> = baselines.iter().map(|baseline| baseline.shares_per_second).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baselines(of: &[(f64, u64)]) -> Vec<Baseline> {
        of.iter().map(|&(shares_per_second, p99_us)| Baseline { shares_per_second, p99_us }).collect()
    }

    #[test]
    fn a_spread_says_noisy_and_so_does_a_p99() {
        let calm = Noise::of(&baselines(&[(100.0, 200), (90.0, 300), (95.0, 250)]));
        assert_eq!(calm, Noise { spread: 0.1, p99_factor: 1.5 });
        assert!(!calm.is_noisy());
        assert!(Noise::of(&baselines(&[(100.0, 200), (80.0, 200)])).is_noisy());
        assert!(Noise::of(&baselines(&[(100.0, 200), (100.0, 401)])).is_noisy());
    }

    #[test]
    fn nothing_measured_is_no_noise() {
        for of in [&[][..], &[(100.0, 200)], &[(0.0, 0), (0.0, 0)]] {
            assert_eq!(Noise::of(&baselines(of)), Noise { spread: 0.0, p99_factor: 1.0 });
        }
    }

    #[test]
    fn the_ceiling_is_the_middle_one() {
        assert!((ceiling(&baselines(&[(90.0, 1), (10.0, 1), (100.0, 1)])) - 90.0).abs() < 0.01);
        assert!(ceiling(&[]).abs() < 0.01);
    }
}
