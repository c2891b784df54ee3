//! Requests of a miner that wait for the pool's answer, matched by id, first in first out.
//!
//! cpuminer sends every share with id 4, so one id may wait many times over.

use super::Client;
use super::packed::{Exact, PackedAsked, PackedRequest, UnpackError};
use crate::limits::PENDING_MAX;
use crate::message::Configure;
use crate::proof::Trial;
use crate::tick::Tick;
use crate::wire::Id;
use crate::workers::WorkerId;
use std::collections::VecDeque;

/// What was asked, with what is needed when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Asked {
    Subscribe,
    /// The worker's fingerprint.
    Authorize(u64),
    Submit {
        worker: WorkerId,
        difficulty: f64,
        /// What it takes to hash it, where all of that is known.
        trial: Option<Trial>,
    },
    Configure(Configure),
    /// What the miner had asked another pool before. The answer is not the miner's.
    SubscribeAgain,
    ConfigureAgain(Configure),
    /// The worker's fingerprint.
    AuthorizeAgain(u64),
    /// A request of the proxy itself: its answer is not the miner's.
    Own,
    Other,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Id,
    pub(crate) at: Tick,
    pub(crate) asked: Asked,
}

/// At most [`PENDING_MAX`] requests, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    requests: VecDeque<Request>,
    submits: u32,
    /// Requests of the handshake: mostly none, which spares a search per message.
    greetings: u32,
}

impl Asked {
    /// Whether it is part of the handshake.
    fn is_greeting(&self) -> bool {
        match self {
            Asked::Subscribe
            | Asked::Configure(_)
            | Asked::Authorize(_)
            | Asked::SubscribeAgain
            | Asked::ConfigureAgain(_)
            | Asked::AuthorizeAgain(_) => true,
            Asked::Submit { .. } | Asked::Own | Asked::Other => false,
        }
    }

    /// Whether it is a configure, the miner's or ours.
    pub(crate) fn is_configure(&self) -> bool {
        matches!(self, Asked::Configure(_) | Asked::ConfigureAgain(_))
    }

    /// Whether the miner itself waits for this part of its handshake.
    pub(crate) fn is_owed(&self) -> bool {
        matches!(self, Asked::Subscribe | Asked::Configure(_) | Asked::Authorize(_))
    }
}

impl Pending {
    pub(crate) fn is_full(&self) -> bool {
        self.requests.len() >= PENDING_MAX
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whose the shares in flight are.
    pub(crate) fn workers_of_submits(&self) -> impl Iterator<Item = WorkerId> {
        self.in_flight().map(|(worker, ..)| worker)
    }

    /// The shares in flight that can be hashed: whose they are, and the difficulty that was asked for.
    pub(crate) fn trials(&self) -> impl Iterator<Item = (WorkerId, f64, Trial)> {
        self.in_flight().filter_map(|(worker, difficulty, trial)| Some((worker, difficulty, trial?)))
    }

    fn in_flight(&self) -> impl Iterator<Item = (WorkerId, f64, Option<Trial>)> {
        self.requests.iter().filter_map(|request| match request.asked {
            Asked::Submit { worker, difficulty, trial } => Some((worker, difficulty, trial)),
            Asked::Subscribe
            | Asked::Authorize(_)
            | Asked::Configure(_)
            | Asked::SubscribeAgain
            | Asked::ConfigureAgain(_)
            | Asked::AuthorizeAgain(_)
            | Asked::Own
            | Asked::Other => None,
        })
    }

    /// Shares in flight.
    pub(crate) fn submits(&self) -> usize {
        self.submits as usize
    }

    pub(crate) fn push(&mut self, id: Id, asked: Asked, at: Tick) {
        debug_assert!(!self.is_full());
        self.submits += u32::from(matches!(asked, Asked::Submit { .. }));
        self.greetings += u32::from(asked.is_greeting());
        if self.requests.capacity() == 0 {
            // Most miners have one share in flight and no more, and a queue grows by four at least.
            self.requests.reserve_exact(1);
        }
        self.requests.push_back(Request { id, at, asked });
    }

    /// Whether the miner waits for an answer of its handshake.
    pub(crate) fn has_greeting(&self) -> bool {
        self.greetings > 0
    }

    /// Takes the oldest request that the answer with this id is for.
    pub(crate) fn take(&mut self, id: &[u8]) -> Option<Request> {
        let index = self.requests.iter().position(|request| request.id.means_same(id))?;
        self.remove(index)
    }

    /// Takes the oldest request that was made at or before `deadline` and `is` such.
    pub(crate) fn take_older(&mut self, deadline: Tick, is: impl Fn(&Asked) -> bool) -> Option<Request> {
        let index = self.requests.iter().position(|request| request.at <= deadline && is(&request.asked))?;
        self.remove(index)
    }

    /// When the oldest request of all was made.
    pub(crate) fn oldest(&self) -> Option<Tick> {
        self.requests.front().map(|request| request.at)
    }

    /// When the oldest `mining.subscribe` was sent that is not answered.
    pub(crate) fn oldest_subscribe(&self) -> Option<Tick> {
        self.oldest_greeting(|asked| matches!(asked, Asked::Subscribe | Asked::SubscribeAgain))
    }

    /// When the oldest `mining.configure` was sent that is not answered.
    pub(crate) fn oldest_configure(&self) -> Option<Tick> {
        self.oldest_greeting(Asked::is_configure)
    }

    /// Whether something is unanswered that decides which extranonce and mask a miner on the move has. Where it `rolls`
    /// already, a configure of its own counts too: until the answer, it rolls what another pool granted.
    pub(crate) fn has_asked_again(&self, rolls: bool) -> bool {
        let decides = |asked: &Asked| match asked {
            Asked::SubscribeAgain | Asked::ConfigureAgain(_) => true,
            Asked::Configure(_) => rolls,
            Asked::Subscribe
            | Asked::Authorize(_)
            | Asked::Submit { .. }
            | Asked::AuthorizeAgain(_)
            | Asked::Own
            | Asked::Other => false,
        };
        self.oldest_greeting(decides).is_some()
    }

    /// Takes the oldest request that `is` such.
    pub(crate) fn take_any(&mut self, is: impl Fn(&Request) -> bool) -> Option<Request> {
        let index = self.requests.iter().position(is)?;
        self.remove(index)
    }

    /// `None` where something is asked that is asked only in the middle of a move.
    pub(super) fn pack(&self, client: &Client) -> Option<Vec<PackedRequest>> {
        let pack = |request: &Request| {
            let asked = match request.asked {
                Asked::Subscribe => PackedAsked::Subscribe,
                Asked::Authorize(worker) => PackedAsked::Authorize(client.number_of(worker)?),
                Asked::AuthorizeAgain(worker) => PackedAsked::AuthorizeAgain(client.number_of(worker)?),
                Asked::Submit { worker, difficulty, trial: _ } => {
                    PackedAsked::Submit { worker: client.number_of_id(worker), difficulty: Exact(difficulty) }
                }
                Asked::Configure(configure) => PackedAsked::Configure(configure),
                Asked::Own => PackedAsked::Own,
                Asked::Other => PackedAsked::Other,
                Asked::SubscribeAgain | Asked::ConfigureAgain(_) => return None,
            };
            let id = str::from_utf8(request.id.raw()).ok()?.to_owned();
            Some(PackedRequest { id, at: request.at, asked })
        };
        self.requests.iter().map(pack).collect()
    }

    /// Requests of a client that has joined its workers already. `ids`: what [`check_packed`] found.
    pub(super) fn unpack(packed: &[PackedRequest], ids: Vec<Id>, client: &Client, now: Tick) -> Pending {
        let mut pending = Pending::default();
        for (request, id) in packed.iter().zip(ids) {
            let asked = match request.asked {
                PackedAsked::Subscribe => Asked::Subscribe,
                PackedAsked::Authorize(worker) => Asked::Authorize(client.numbered(worker).0),
                PackedAsked::AuthorizeAgain(worker) => Asked::AuthorizeAgain(client.numbered(worker).0),
                PackedAsked::Submit { worker, difficulty } => {
                    let worker = worker.map_or(WorkerId::OTHERS, |worker| client.numbered(worker).1);
                    Asked::Submit { worker, difficulty: difficulty.0, trial: None }
                }
                PackedAsked::Configure(configure) => Asked::Configure(configure),
                PackedAsked::Own => Asked::Own,
                PackedAsked::Other => Asked::Other,
            };
            pending.push(id, asked, request.at.by(now));
        }
        pending
    }

    fn oldest_greeting(&self, is: impl Fn(&Asked) -> bool) -> Option<Tick> {
        if self.greetings == 0 {
            return None;
        }
        self.requests.iter().find(|request| is(&request.asked)).map(|request| request.at)
    }

    fn remove(&mut self, index: usize) -> Option<Request> {
        let request = self.requests.remove(index)?;
        self.submits -= u32::from(matches!(request.asked, Asked::Submit { .. }));
        let is_greeting = request.asked.is_greeting();
        self.greetings -= u32::from(is_greeting);
        if is_greeting && self.requests.is_empty() {
            // What a handshake took is not kept for a life.
            self.requests = VecDeque::new();
        }
        Some(request)
    }

    pub(crate) fn clear(&mut self) {
        *self = Pending::default();
    }
}

/// The ids of packed requests of a client with so many workers, if all of them can be.
pub(super) fn check_packed(packed: &[PackedRequest], workers: usize) -> Result<Vec<Id>, UnpackError> {
    if packed.len() > PENDING_MAX {
        return Err(UnpackError::TooMuch("requests"));
    }
    let check = |request: &PackedRequest| {
        let worker = match request.asked {
            PackedAsked::Authorize(worker) | PackedAsked::AuthorizeAgain(worker) => Some(worker),
            PackedAsked::Submit { worker, .. } => worker,
            PackedAsked::Subscribe | PackedAsked::Configure(_) | PackedAsked::Own | PackedAsked::Other => {
                None
            }
        };
        if worker.is_some_and(|worker| usize::from(worker) >= workers) {
            return Err(UnpackError::Impossible("the worker of a request"));
        }
        Id::read(&request.id).ok_or(UnpackError::Impossible("the id of a request"))
    };
    packed.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_stays_small_and_a_handshake_leaves_nothing_behind() {
        assert!(size_of::<Request>() <= 96, "{}", size_of::<Request>());
        let mut pending = Pending::default();
        let id = |number: u8| Id::from_raw(&[b'0' + number]);
        for number in 1..=3 {
            pending.push(id(number), Asked::Authorize(u64::from(number)), Tick(1));
        }
        (1..=3).for_each(|number| assert!(pending.take(id(number).raw()).is_some()));
        assert_eq!((pending.len(), pending.requests.capacity()), (0, 0));
        let share = Asked::Submit { worker: WorkerId::OTHERS, difficulty: 1.0, trial: None };
        pending.push(id(4), share, Tick(1));
        assert!(pending.take(id(4).raw()).is_some());
        assert_eq!(pending.requests.capacity(), 1, "the next share finds room");
    }
}
