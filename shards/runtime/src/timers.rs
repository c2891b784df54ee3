//! One coarse wheel per shard. Nothing is ever cancelled: an entry that has become wrong is ignored when it fires.

use crate::plan::limits::{TICK_US, WHEEL_TICKS};
use loka_proto::Tick;

/// Room for this many timers stays in a slot that has fired.
const SLOT_TIMERS_KEPT: usize = 256;

/// Names a link and the connection that it was armed for, since slots of the slab are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) key: usize,
    pub(crate) client: u64,
    /// The wheel's tick it fires at.
    pub(crate) at: u64,
}

/// Timers by the tick they fire at. A deadline beyond the horizon fires at the horizon, to be armed again.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Timer>>,
    /// The next tick that has not fired.
    next: u64,
}

impl Wheel {
    pub(crate) fn new(now: Tick) -> Wheel {
        let slots = (0..WHEEL_TICKS).map(|_| Vec::new()).collect();
        Wheel { slots, next: now.0 / TICK_US + 1 }
    }

    /// The wheel's tick at which a deadline fires: never early, at most one tick late.
    pub(crate) fn tick_of(&self, due: Tick) -> u64 {
        due.0.div_ceil(TICK_US).clamp(self.next, self.next + WHEEL_TICKS - 1)
    }

    pub(crate) fn arm(&mut self, timer: Timer) {
        debug_assert!((self.next..self.next + WHEEL_TICKS).contains(&timer.at));
        self.slots[Self::slot(timer.at)].push(timer);
    }

    /// Moves every timer that is due at `now` to `fired`.
    pub(crate) fn advance(&mut self, now: Tick, fired: &mut Vec<Timer>) {
        let last = now.0 / TICK_US;
        // After a suspended process wakes, one round is enough: every slot has been looked at by then.
        let from = self.next.max((last + 1).saturating_sub(WHEEL_TICKS));
        if self.next < from {
            for slot in &mut self.slots {
                empty(slot, fired);
            }
        } else {
            for tick in from..=last {
                empty(&mut self.slots[Self::slot(tick)], fired);
            }
        }
        self.next = self.next.max(last + 1);
    }

    fn slot(tick: u64) -> usize {
        usize::try_from(tick % WHEEL_TICKS).unwrap_or(0)
    }
}

/// A storm arms thousands of links for one tick; the slot does not keep their memory.
fn empty(slot: &mut Vec<Timer>, fired: &mut Vec<Timer>) {
    fired.append(slot);
    slot.shrink_to(SLOT_TIMERS_KEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<usize> {
        let mut timers = Vec::new();
        wheel.advance(Tick(now), &mut timers);
        timers.iter().map(|timer| timer.key).collect()
    }

    fn arm(wheel: &mut Wheel, key: usize, due: u64) -> u64 {
        let at = wheel.tick_of(Tick(due));
        wheel.arm(Timer { key, client: 0, at });
        at
    }

    #[test]
    fn a_timer_fires_once_not_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(Tick(0));
        arm(&mut wheel, 1, 250_000);
        arm(&mut wheel, 2, 300_000);
        arm(&mut wheel, 3, 0);
        assert_eq!(fired(&mut wheel, 99_999), Vec::<usize>::new());
        assert_eq!(fired(&mut wheel, 100_000), vec![3]);
        assert_eq!(fired(&mut wheel, 299_999), Vec::<usize>::new());
        assert_eq!(fired(&mut wheel, 350_000), vec![1, 2]);
        assert_eq!(fired(&mut wheel, 9_000_000), Vec::<usize>::new());
    }

    #[test]
    fn far_deadlines_come_back_at_the_horizon_and_a_suspended_process_misses_none() {
        let mut wheel = Wheel::new(Tick(0));
        let at = arm(&mut wheel, 1, u64::MAX);
        assert_eq!(at, WHEEL_TICKS);
        arm(&mut wheel, 2, 500_000);
        let mut keys = fired(&mut wheel, 10 * WHEEL_TICKS * TICK_US);
        keys.sort_unstable();
        assert_eq!(keys, vec![1, 2]);
        assert_eq!(wheel.tick_of(Tick(0)), 10 * WHEEL_TICKS + 1);
    }
}
