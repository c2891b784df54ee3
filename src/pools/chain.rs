//! Which blocks the pools build on, and whether one of them stays behind the others.
//!
//! Pure. It knows no heights, only in which order blocks were first seen: a block that another pool came to later is newer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Blocks that are remembered: enough for pools that are an hour apart.
const BLOCKS_MAX: usize = 16;

/// What the pools have shown so far.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Each block with when it was first seen, oldest first.
    blocks: VecDeque<(u64, Instant)>,
    /// Each pool's newest block, and when the pool was last seen to build on it.
    of_pool: Vec<Option<(u64, Instant)>>,
}

impl Chain {
    /// A pool builds on this block now.
    pub(super) fn show(&mut self, pool: usize, block: u64, now: Instant) {
        if self.of_pool.len() <= pool {
            self.of_pool.resize(pool + 1, None);
        }
        self.of_pool[pool] = Some((block, now));
        if self.first_seen(block).is_none() {
            if self.blocks.len() == BLOCKS_MAX {
                self.blocks.pop_front();
            }
            self.blocks.push_back((block, now));
        }
    }

    /// Nothing of what a pool showed counts any more.
    pub(super) fn forget(&mut self, pool: usize) {
        if let Some(shown) = self.of_pool.get_mut(pool) {
            *shown = None;
        }
    }

    fn first_seen(&self, block: u64) -> Option<Instant> {
        self.blocks.iter().find(|(known, _)| *known == block).map(|(_, at)| *at)
    }

    /// Whether a pool went on building on a block for this long after another pool had come to a newer one.
    pub(super) fn is_behind(&self, pool: usize, limit: Duration) -> bool {
        let Some(Some((block, shown))) = self.of_pool.get(pool) else { return false };
        // A block that is not remembered any more is older than all that are.
        let own = self.first_seen(*block);
        self.of_pool.iter().flatten().any(|(other, _)| {
            let newer = self.first_seen(*other).filter(|at| own.is_none_or(|own| *at > own));
            newer.is_some_and(|at| shown.duration_since(at) >= limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_behind_when_it_goes_on_after_others_have_left_its_block() {
        let (start, limit) = (Instant::now(), Duration::from_secs(120));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut chain = Chain::default();
        chain.show(0, 100, at(0));
        chain.show(1, 100, at(5));
        chain.show(1, 101, at(10));
        chain.show(0, 100, at(129));
        assert!(!chain.is_behind(0, limit) && !chain.is_behind(1, limit));
        chain.show(0, 100, at(130));
        assert!(chain.is_behind(0, limit) && !chain.is_behind(1, limit));
        chain.show(0, 101, at(131));
        assert!(!chain.is_behind(0, limit));
        // Silence is not being behind: there is another limit for that.
        chain.show(1, 102, at(140));
        assert!(!chain.is_behind(0, limit));
        chain.show(0, 101, at(400));
        assert!(chain.is_behind(0, limit));
        chain.forget(1);
        assert!(!chain.is_behind(0, limit), "nobody is left who knows better");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut chain = Chain::default();
        let now = Instant::now();
        (0..1000).for_each(|block| chain.show(1, block, now));
        assert_eq!(chain.blocks.len(), BLOCKS_MAX);
        chain.show(0, 1, now);
        assert!(!chain.is_behind(1, Duration::ZERO));
    }
}
