//! One coarse wheel per shard, with at most one timer a link.
//!
//! A link that goes takes its timer with it: thousands that come and leave within a second leave nothing behind. A deadline
//! that moves away is not moved in the wheel; the timer fires at the old one, and the link is looked at once more.

use crate::plan::limits::{TICK_US, WHEEL_TICKS};
use loka_proto::Tick;
use std::collections::VecDeque;

/// No link.
const NONE: u32 = u32::MAX;

/// The timer of one link, in the list of those that fire at the same tick.
#[derive(Debug, Clone, Copy)]
struct Node {
    before: u32,
    behind: u32,
    /// The wheel's tick it fires at; zero while it is not armed.
    at: u64,
}

/// Timers by the tick they fire at. A deadline beyond the horizon fires at the horizon, to be armed again.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The first link of each tick's list.
    first: Vec<u32>,
    /// By the link's key.
    nodes: Vec<Node>,
    /// The next tick that has not fired.
    next: u64,
}

impl Wheel {
    pub(crate) fn new(now: Tick) -> Wheel {
        let first = (0..WHEEL_TICKS).map(|_| NONE).collect();
        Wheel { first, nodes: Vec::new(), next: now.0 / TICK_US + 1 }
    }

    /// Arms the timer of a link for its deadline, unless it fires before that anyway.
    pub(crate) fn arm(&mut self, key: usize, due: Tick) {
        let at = self.tick_of(due);
        if key >= self.nodes.len() {
            self.nodes.resize(key + 1, Node { before: NONE, behind: NONE, at: 0 });
        }
        let armed = self.nodes[key].at;
        if armed == 0 || at < armed {
            self.disarm(key);
            self.push(key, at);
        }
    }

    /// Takes the timer of a link out, if it is armed.
    pub(crate) fn disarm(&mut self, key: usize) {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.at != 0) else { return };
        let Node { before, behind, at } = *node;
        node.at = 0;
        match self.nodes.get_mut(before as usize) {
            Some(before) => before.behind = behind,
            None => self.first[slot(at)] = behind,
        }
        if let Some(behind) = self.nodes.get_mut(behind as usize) {
            behind.before = before;
        }
    }

    /// Moves the keys of all links whose timer is due at `now` to `fired`.
    pub(crate) fn advance(&mut self, now: Tick, fired: &mut VecDeque<usize>) {
        let last = now.0 / TICK_US;
        // After a suspended process wakes, one round is enough: every list has been looked at by then.
        let from = self.next.max((last + 1).saturating_sub(WHEEL_TICKS));
        if self.next < from {
            for slot in 0..self.first.len() {
                self.empty(slot, fired);
            }
        } else {
            for tick in from..=last {
                self.empty(slot(tick), fired);
            }
        }
        self.next = self.next.max(last + 1);
    }

    /// The wheel's tick at which a deadline fires: never early, at most one tick late.
    fn tick_of(&self, due: Tick) -> u64 {
        due.0.div_ceil(TICK_US).clamp(self.next, self.next + WHEEL_TICKS - 1)
    }

    fn push(&mut self, key: usize, at: u64) {
        // A shard holds far fewer links than this can name (`CONNECTIONS_PER_SHARD_MAX`).
        let name = u32::try_from(key).unwrap_or(NONE);
        let behind = std::mem::replace(&mut self.first[slot(at)], name);
        self.nodes[key] = Node { before: NONE, behind, at };
        if let Some(behind) = self.nodes.get_mut(behind as usize) {
            behind.before = name;
        }
    }

    fn empty(&mut self, slot: usize, fired: &mut VecDeque<usize>) {
        let mut key = std::mem::replace(&mut self.first[slot], NONE) as usize;
        while let Some(node) = self.nodes.get_mut(key) {
            fired.push_back(key);
            node.at = 0;
            key = node.behind as usize;
        }
    }
}

fn slot(tick: u64) -> usize {
    usize::try_from(tick % WHEEL_TICKS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<usize> {
        let mut keys = VecDeque::new();
        wheel.advance(Tick(now), &mut keys);
        let mut keys = Vec::from(keys);
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_timer_fires_once_not_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(Tick(0));
        wheel.arm(1, Tick(250_000));
        wheel.arm(2, Tick(300_000));
        wheel.arm(3, Tick(0));
        assert_eq!(fired(&mut wheel, 99_999), Vec::<usize>::new());
        assert_eq!(fired(&mut wheel, 100_000), vec![3]);
        assert_eq!(fired(&mut wheel, 299_999), Vec::<usize>::new());
        assert_eq!(fired(&mut wheel, 350_000), vec![1, 2]);
        assert_eq!(fired(&mut wheel, 9_000_000), Vec::<usize>::new());
    }

    #[test]
    fn far_deadlines_come_back_at_the_horizon_and_a_suspended_process_misses_none() {
        let mut wheel = Wheel::new(Tick(0));
        wheel.arm(1, Tick(u64::MAX));
        assert_eq!(wheel.nodes[1].at, WHEEL_TICKS);
        wheel.arm(2, Tick(500_000));
        assert_eq!(fired(&mut wheel, 10 * WHEEL_TICKS * TICK_US), vec![1, 2]);
        assert_eq!(wheel.tick_of(Tick(0)), 10 * WHEEL_TICKS + 1);
    }

    #[test]
    fn a_link_that_goes_takes_its_timer_from_wherever_it_stands() {
        for gone in 0..3 {
            let mut wheel = Wheel::new(Tick(0));
            (0..3).for_each(|key| wheel.arm(key, Tick(100_000)));
            wheel.disarm(gone);
            wheel.disarm(gone);
            let left: Vec<usize> = (0..3).filter(|key| *key != gone).collect();
            assert_eq!(fired(&mut wheel, 100_000), left);
            // The slot of the slab has a new link, whose deadline is later.
            wheel.arm(gone, Tick(500_000));
            assert_eq!(fired(&mut wheel, 500_000), vec![gone]);
        }
    }

    #[test]
    fn an_earlier_deadline_moves_a_timer_and_a_later_one_does_not() {
        let mut wheel = Wheel::new(Tick(0));
        wheel.arm(1, Tick(300_000));
        wheel.arm(1, Tick(200_000));
        wheel.arm(1, Tick(900_000));
        assert_eq!(fired(&mut wheel, 200_000), vec![1]);
        assert_eq!(fired(&mut wheel, 900_000), Vec::<usize>::new());
    }
}
