//! Sockets that are ready and have to wait for their turn: those with more to read than one read takes, and those of
//! miners that come or go, so that a storm of them does not hold up miners at work.
//!
//! Only names stand here; what a socket is ready for is kept with it, so that one that is told of again while it waits
//! stands here once. The queues hold at most two names a link, and those of links that have gone until their turn comes.

use crate::poller::Readiness;
use crate::token::Token;
use std::collections::VecDeque;

/// The queues of one shard.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// For the next turn, all of them.
    again: Vec<Token>,
    /// The memory of the turn before.
    spare: Vec<Token>,
    /// For when their turn comes, a few each turn.
    newcomers: VecDeque<Token>,
}

impl Queues {
    pub(super) fn are_empty(&self) -> bool {
        self.again.is_empty() && self.newcomers.is_empty()
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
                self.again.push(token);
            }
        }
        *told = told.and(more);
    }

    pub(super) fn take_again(&mut self) -> Vec<Token> {
        std::mem::replace(&mut self.again, std::mem::take(&mut self.spare))
    }

    /// Gives the memory of [`Queues::take_again`] back.
    pub(super) fn give_back(&mut self, mut taken: Vec<Token>) {
        taken.clear();
        self.spare = taken;
    }

    pub(super) fn next_newcomer(&mut self) -> Option<Token> {
        self.newcomers.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
