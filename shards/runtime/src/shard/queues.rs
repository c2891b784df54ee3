//! What has to wait for its turn: sockets with more to read than one read takes, those of miners that come or go, and links
//! whose time has come, so that a storm of either does not hold up miners at work.
//!
//! Only names stand here; what a socket is ready for is kept with it, so that one that is told of again while it waits
//! stands here once. The queues hold at most three names a link, and those of links that have gone until their turn comes.

use crate::poller::Readiness;
use crate::timers::Wheel;
use crate::token::Token;
use loka_proto::Tick;
use std::collections::VecDeque;

/// The queues of one shard.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// With more to read, a few each turn.
    unread: VecDeque<Token>,
    /// Of miners that come or go, a few each turn.
    newcomers: VecDeque<Token>,
    /// Keys of links whose timers have fired, a few each turn. Who has its slot by then has nothing due.
    timers: VecDeque<usize>,
}

impl Queues {
    pub(super) fn are_empty(&self) -> bool {
        self.unread.is_empty() && self.newcomers.is_empty() && self.timers.is_empty()
    }

    /// How many wait that come or go.
    pub(super) fn newcomers(&self) -> usize {
        self.newcomers.len()
    }

    /// Notes that a socket, of which `told` was known and not looked at yet, is ready for `more`.
    pub(super) fn put_off(&mut self, token: Token, told: &mut Readiness, more: Readiness, is_newcomer: bool) {
        if !told.is_any() {
            if is_newcomer {
                self.newcomers.push_back(token);
            } else {
                self.unread.push_back(token);
            }
        }
        *told = told.and(more);
    }

    /// How many have more to read.
    pub(super) fn unread(&self) -> usize {
        self.unread.len()
    }

    pub(super) fn next_unread(&mut self) -> Option<Token> {
        self.unread.pop_front()
    }

    /// Lets the wheel say whose time has come, once all whom it named before have been served.
    pub(super) fn take_timers(&mut self, wheel: &mut Wheel, now: Tick) {
        if self.timers.is_empty() {
            wheel.advance(now, &mut self.timers);
        }
    }

    pub(super) fn next_timer(&mut self) -> Option<usize> {
        self.timers.pop_front()
    }

    pub(super) fn next_newcomer(&mut self) -> Option<Token> {
        self.newcomers.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::limits::TICK_US;

    #[test]
    fn one_socket_waits_once_and_for_all_that_it_is_ready_for() {
        let mut queues = Queues::default();
        let mut told = Readiness::default();
        let read = Readiness { read: true, ..Readiness::default() };
        let ended = Readiness { ended: true, ..Readiness::default() };
        queues.put_off(Token::Miner(7), &mut told, read, true);
        queues.put_off(Token::Miner(7), &mut told, ended, false);
        assert_eq!((queues.newcomers(), told), (1, read.and(ended)));
        assert_eq!(queues.next_newcomer(), Some(Token::Miner(7)));
        assert!(queues.are_empty());
    }

    #[test]
    fn the_wheel_is_asked_again_when_all_have_been_served() {
        let (mut queues, mut wheel) = (Queues::default(), Wheel::new(Tick(0)));
        wheel.arm(1, Tick(TICK_US));
        wheel.arm(2, Tick(2 * TICK_US));
        queues.take_timers(&mut wheel, Tick(TICK_US));
        queues.take_timers(&mut wheel, Tick(3 * TICK_US));
        assert_eq!((queues.next_timer(), queues.next_timer()), (Some(1), None), "one name a link at most");
        queues.take_timers(&mut wheel, Tick(3 * TICK_US));
        assert!(!queues.are_empty(), "the loop must not sleep on this one");
        assert_eq!((queues.next_timer(), queues.next_timer()), (Some(2), None));
        assert!(queues.are_empty());
    }
}
