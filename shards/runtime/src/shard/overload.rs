//! What happens when there is more than the proxy can hold: those that come are turned away, those that have not said who
//! they are give up their place, and miners at work come last.

use super::{Shard, Trouble};
use crate::plan::limits::{
    CONNECTIONS_PER_SHARD_MAX, NEWCOMER_GRACE_US, SHED_PER_TICK, SHED_WORKER_BYTES_MIN,
};
use loka_proto::middleware::Stage;
use loka_proto::{ClientId, End, Tick};
use std::collections::VecDeque;

/// How much of the memory that there is for the process is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLoad {
    /// Enough is left.
    #[default]
    Fine,
    /// Nobody new is let in.
    High,
    /// Connections are closed to make room.
    Critical,
}

/// Connections that have not said who they are, as they came. Some of them may have done so since, or be gone.
#[derive(Debug, Default)]
pub(super) struct Strangers(VecDeque<(usize, ClientId, Tick)>);

impl Strangers {
    pub(super) fn push(&mut self, key: usize, id: ClientId, now: Tick) {
        self.0.push_back((key, id, now));
    }
}

impl<P: Stage> Shard<P> {
    /// Makes room for one more connection, where there is none, if somebody has been a stranger for too long.
    pub(super) fn make_room(&mut self) {
        let Some((key, since)) = self.oldest_stranger() else { return };
        if self.now - since >= NEWCOMER_GRACE_US {
            self.shed(key);
            // No event of this turn is left that could meet another link in its place.
            self.reap();
        }
    }

    /// Closes connections while memory is short.
    pub(super) fn relieve(&mut self) {
        if self.load != MemoryLoad::Critical {
            return self.forget_known();
        }
        self.warn(Trouble::NoMemory);
        let mut left = SHED_PER_TICK;
        while left > 0
            && let Some((key, _)) = self.oldest_stranger()
        {
            self.shed(key);
            left -= 1;
        }
        for key in self.dearest(left) {
            self.shed(key);
        }
    }

    /// Who came first of those that have not said who they are.
    fn oldest_stranger(&mut self) -> Option<(usize, Tick)> {
        loop {
            let (key, id, since) = *self.strangers.0.front()?;
            if self.is_stranger(key, id) {
                return Some((key, since));
            }
            self.strangers.0.pop_front();
        }
    }

    fn is_stranger(&self, key: usize, id: ClientId) -> bool {
        let link = self.links.get(key).filter(|link| !link.gone && link.closing.is_none());
        link.is_some_and(|link| link.session.client().id == id && !link.session.client().has_greeted())
    }

    /// Links that keep much, at most so many: those that have never worked before those that have, and then those that keep
    /// most. All links are looked at once for it.
    fn dearest(&self, count: usize) -> Vec<usize> {
        let kept = |link: &super::Link| {
            link.miner.queue.len()
                + link.pool.queue.len()
                + link.session.bytes_held()
                + link.session.bytes_kept()
        };
        let links = self.links.iter().filter(|(_, link)| !link.gone);
        let dear = links.map(|(key, link)| (!link.has_worked, kept(link), key));
        let mut dear: Vec<_> = dear.filter(|(_, kept, _)| *kept >= SHED_WORKER_BYTES_MIN).collect();
        dear.sort_unstable_by_key(|dear| std::cmp::Reverse(*dear));
        dear.into_iter().take(count).map(|(.., key)| key).collect()
    }

    fn shed(&mut self, key: usize) {
        self.guarded(key, |shard| {
            shard.fail(key, End::Shed);
            shard.settle(key);
            shard.links[key].drop_miner(&mut shard.spares);
            shard.gone.push(key);
        });
    }

    /// Keeps the list from outgrowing the connections that there can be.
    fn forget_known(&mut self) {
        if self.strangers.0.len() > 2 * CONNECTIONS_PER_SHARD_MAX {
            let mut strangers = std::mem::take(&mut self.strangers);
            strangers.0.retain(|(key, id, _)| self.is_stranger(*key, *id));
            self.strangers = strangers;
        }
    }
}
