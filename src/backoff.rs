//! Pauses between attempts at something far away: they double, and chance shortens them, since many proxies that lost the same
//! thing at the same moment are not to come back to it together. It waits for nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Pauses that grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The longest pause after the first failure; each further failure doubles it.
    pub(crate) first: Duration,
    /// The longest of all.
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The pause after a failure, which so many others precede; `chance` is a number from 0 to 1, which decides half of it.
    pub(crate) fn pause(self, before: u32, chance: f64) -> Duration {
        let longest = self.first.saturating_mul(2_u32.saturating_pow(before)).min(self.longest);
        longest.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// A number from 0 to 1. Every hasher of the standard library begins with keys of its own.
pub(crate) fn chance() -> f64 {
    let drawn = RandomState::new().build_hasher().finish() >> 11;
    drawn as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_is_between_nothing_and_one_and_differs() {
        let drawn: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(drawn.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(drawn.iter().any(|chance| chance != &drawn[0]));
    }
}
