//! Answers to whoever asks which connections a worker has: a part of the links is looked at on each tick, so that miners at
//! work do not wait for it.
//!
//! It keeps no list of a worker's connections: such a list would cost every link, asked about or not.

use super::Shard;
use crate::plan::limits::{ASKED_LINKS_PER_TICK, ASKED_MAX};
use crate::question::{SessionView, SessionsFound, SessionsQuestion};
use loka_proto::WorkerId;
use loka_proto::middleware::Stage;
use std::sync::Arc;

/// A question that is being answered.
#[derive(Debug)]
pub(super) struct Asked {
    question: Arc<SessionsQuestion>,
    /// The place in the slab where the search goes on.
    next: usize,
    found: SessionsFound,
}

impl<P: Stage> Shard<P> {
    /// Takes a question. One that is too many is dropped, and whoever asked waits in vain and is told so.
    pub(super) fn be_asked(&mut self, question: Arc<SessionsQuestion>) {
        if self.asked.len() < ASKED_MAX {
            let found = SessionsFound { shard: self.report.shard, ..SessionsFound::default() };
            self.asked.push_back(Asked { question, next: 0, found });
        }
    }

    /// Goes on with the answers, one after another.
    pub(super) fn go_on_answering(&mut self) {
        let mut budget = ASKED_LINKS_PER_TICK;
        while let Some(mut asked) = self.asked.pop_front() {
            if asked.question.is_over() {
                continue;
            }
            if !self.look_for(&mut asked, &mut budget) {
                return self.asked.push_front(asked);
            }
            asked.question.answer(asked.found);
        }
    }

    /// Looks at as many places of the slab as the budget allows. Whether all has been found.
    fn look_for(&self, asked: &mut Asked, budget: &mut usize) -> bool {
        let Asked { question, next, found } = asked;
        // Looked up on each tick: a worker that has gone leaves its number to another.
        let Some(worker) = self.workers.find(question.worker()) else {
            *found = SessionsFound { shard: found.shard, ..SessionsFound::default() };
            return true;
        };
        found.connections = self.workers.connections_of(worker) as usize;
        while !found.is_complete() && *next < self.links.capacity() {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            found.sessions.extend(self.view(*next, worker));
            *next += 1;
        }
        true
    }

    /// The connection in this place, if it is one of the worker's.
    fn view(&self, key: usize, worker: WorkerId) -> Option<SessionView> {
        let link = self.links.get(key).filter(|link| !link.gone)?;
        let (session, client) = (&link.session, link.session.client());
        let state = client.state_of(worker)?;
        Some(SessionView {
            client: client.id,
            address: link.address,
            is_tls: link.miner.tls.is_some(),
            age_us: self.now - link.since,
            agent: self.workers.agent_of(client),
            state,
            pool: session.has_pool().then(|| session.pool()),
            difficulty: client.mining.difficulty(),
            tally: client.tally,
            accepted_ago_us: client.tally.last_accepted().map(|at| self.now - at),
        })
    }
}
