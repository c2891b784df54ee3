//! The workers of one shard: whom shares belong to, and what became of them since that was last told.
//!
//! A worker is who a miner says it is: the whole name of its `mining.authorize`, as the miner wrote it, whatever account the
//! pool then sees. One worker may be on several connections and is one entry here. It refuses to keep a worker whose
//! connections have gone and of which all has been told, and more than [`WORKERS_PER_SHARD_MAX`]: further ones are counted
//! together, as [`WorkerId::OTHERS`].

mod agents;
mod counts;
mod events;
#[cfg(test)]
mod tests;

pub use agents::AgentId;
pub use counts::WorkerCounts;
pub use events::{ShareEvent, ShareFate};

use crate::limits::WORKERS_PER_SHARD_MAX;
use crate::session::{Client, PoolId, Reject};
use crate::tick::Tick;
use crate::verdict::Verdict;
use agents::Agents;
use events::ShareEvents;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Hashes that a share of difficulty one stands for.
pub const HASHES_OF_ONE: f64 = 4_294_967_296.0;

/// Names a worker in its shard, for as long as a connection has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerId(u32);

impl WorkerId {
    /// All that cannot be told apart: shares of no worker that the connection asked for, and workers beyond the bound.
    pub const OTHERS: WorkerId = WorkerId(0);

    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// None for others, and where there is no worker at present.
    name: Option<Arc<str>>,
    /// Connections that asked for it.
    sessions: u32,
    /// The same, as last told.
    told: u32,
    /// The number of its change, if that is still to be told.
    change: u32,
}

/// What is to be told of one worker.
#[derive(Debug)]
struct Change {
    worker: WorkerId,
    agent: Option<Arc<str>>,
    /// When a share was accepted last.
    accepted_at: Option<Tick>,
    counts: WorkerCounts,
}

/// What a shard tells of one worker: what has happened since it told of it before.
#[derive(Debug, Clone)]
pub struct WorkerNews {
    /// Its name; `None` for those that cannot be told apart.
    pub name: Option<Arc<str>>,
    /// What its miner calls itself, where that is news.
    pub agent: Option<Arc<str>>,
    /// Connections that asked for it, more or fewer than before.
    pub sessions: i32,
    /// Microseconds since a share was accepted last, if one was.
    pub accepted_ago_us: Option<u64>,
    /// What was counted.
    pub counts: WorkerCounts,
}

/// All workers of one shard. Names are sorted, not hashed: miners choose them, and this crate knows no randomness.
#[derive(Debug)]
pub struct Workers {
    ids: BTreeMap<Arc<str>, WorkerId>,
    /// By id; the first is [`WorkerId::OTHERS`].
    entries: Vec<Entry>,
    free: Vec<WorkerId>,
    /// One for each worker with news, the oldest first: no more than there are entries.
    changes: VecDeque<Change>,
    /// The number of the first change. Numbers come round, so a change is known by its worker too.
    first: u32,
    agents: Agents,
    events: ShareEvents,
    untold: u64,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            ids: BTreeMap::new(),
            entries: vec![Entry::default()],
            free: Vec::new(),
            changes: VecDeque::new(),
            first: 0,
            agents: Agents::default(),
            events: ShareEvents::default(),
            untold: 0,
        }
    }
}

impl Workers {
    /// Workers known by name.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The worker of this name, if some connection has it or something is still to be told of it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<WorkerId> {
        self.ids.get(name).copied()
    }

    /// Connections that have this worker.
    #[must_use]
    pub fn connections_of(&self, id: WorkerId) -> u32 {
        self.entries.get(id.index()).map_or(0, |entry| entry.sessions)
    }

    /// What the miner of a connection calls itself, where that is known.
    #[must_use]
    pub fn agent_of(&self, client: &Client) -> Option<Arc<str>> {
        self.agents.name(client.agent)
    }

    /// How many times since it was last asked a worker got no entry of its own, because there were too many.
    pub fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// A connection asks for a worker. Each is left once, with [`leave`](Self::leave).
    pub(crate) fn join(&mut self, name: &str) -> WorkerId {
        let known = self.ids.get(name).copied();
        let id = match known {
            Some(id) => id,
            None if self.ids.len() >= WORKERS_PER_SHARD_MAX => {
                self.untold += 1;
                return WorkerId::OTHERS;
            }
            None => self.enter(name.into()),
        };
        self.entries[id.index()].sessions += 1;
        id
    }

    fn enter(&mut self, name: Arc<str>) -> WorkerId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            WorkerId(u32::try_from(self.entries.len() - 1).unwrap_or(0))
        });
        self.entries[id.index()].name = Some(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }

    /// A connection that had asked for it has ended.
    pub(crate) fn leave(&mut self, id: WorkerId) {
        if id == WorkerId::OTHERS {
            return;
        }
        let entry = &mut self.entries[id.index()];
        entry.sessions = entry.sessions.saturating_sub(1);
        let (sessions, told) = (entry.sessions, entry.told);
        if told > 0 && sessions != told {
            self.change(id);
        } else if sessions == 0 && self.pending(id).is_none() {
            // Nobody has heard of it: a name that was asked for and never answered.
            self.forget(id);
        }
    }

    fn forget(&mut self, id: WorkerId) {
        let entry = std::mem::take(&mut self.entries[id.index()]);
        if let Some(name) = entry.name {
            self.ids.remove(&name);
            self.free.push(id);
        }
    }

    /// Whether a share of this user is one of this worker.
    pub(crate) fn is_named(&self, id: WorkerId, user: &str) -> bool {
        self.entries[id.index()].name.as_deref() == Some(user)
    }

    /// What a miner calls itself, if that is known.
    pub(crate) fn agent_name(&self, id: AgentId) -> Option<Arc<str>> {
        self.agents.name(id)
    }

    /// A connection with this worker has come from another process, where the pool `granted` its authorization, or refused it.
    /// That is counted there.
    pub(crate) fn arrived(&mut self, id: WorkerId, granted: bool, agent: AgentId, pool: PoolId) {
        if id == WorkerId::OTHERS {
            return;
        }
        let agent = self.agents.name(agent);
        let change = self.change(id);
        change.agent = agent.or(change.agent.take());
        change.counts.pool = Some(pool);
        change.counts.is_granted = Some(granted);
    }

    /// A connection's miner calls itself so; `before` is what it did until now.
    pub(crate) fn agent(&mut self, before: AgentId, text: Option<&str>) -> AgentId {
        self.agents.change(before, text)
    }

    /// The pool `granted` an authorization, or refused it.
    pub(crate) fn answered(&mut self, id: WorkerId, granted: bool, agent: AgentId, pool: PoolId) {
        let agent = self.agents.name(agent);
        let change = self.change(id);
        change.agent = agent.or(change.agent.take());
        change.counts.pool = Some(pool);
        let counts = &mut change.counts;
        let counter = if granted { &mut counts.granted } else { &mut counts.denied };
        *counter = counter.saturating_add(1);
        counts.is_granted = Some(granted);
    }

    /// What a pool said of a share of this difficulty that waited this long.
    pub(crate) fn verdict(
        &mut self,
        id: WorkerId,
        verdict: Verdict,
        difficulty: f64,
        waited_us: u64,
        (pool, now): (PoolId, Tick),
    ) {
        let change = self.change(id);
        let counts = &mut change.counts;
        counts.pool = Some(pool);
        counts.difficulty = difficulty;
        counts.waited_us = counts.waited_us.saturating_add(waited_us);
        match verdict {
            Verdict::Accepted => {
                counts.accepted = counts.accepted.saturating_add(1);
                counts.accepted_difficulty += difficulty;
                change.accepted_at = Some(now);
            }
            Verdict::Rejected(class) => {
                bump(&mut counts.rejected[class.index()]);
                let (worker, fate) = (&self.entries[id.index()].name, ShareFate::Rejected(class));
                let pool = Some(pool);
                self.events.add(|| ShareEvent {
                    worker: worker.clone(),
                    pool,
                    fate,
                    difficulty,
                    waited_us,
                    at: now,
                });
            }
        }
    }

    /// An accepted share has this difficulty by its hash.
    pub(crate) fn found(&mut self, id: WorkerId, difficulty: f64) {
        let counts = &mut self.change(id).counts;
        counts.best_difficulty = counts.best_difficulty.max(difficulty);
    }

    /// The name of a worker; `None` for others.
    pub(crate) fn name(&self, id: WorkerId) -> Option<Arc<str>> {
        self.entries[id.index()].name.clone()
    }

    /// A share that the proxy refused; `pool`: whose work it was made of, where that is known.
    pub(crate) fn refused(&mut self, id: WorkerId, reject: Reject, pool: Option<PoolId>, now: Tick) {
        bump(&mut self.change(id).counts.refused[reject.index()]);
        let (worker, fate) = (&self.entries[id.index()].name, ShareFate::Refused(reject));
        let event =
            || ShareEvent { worker: worker.clone(), pool, fate, difficulty: 0.0, waited_us: 0, at: now };
        self.events.add(event);
    }

    /// A share that was never answered.
    pub(crate) fn unanswered(&mut self, id: WorkerId) {
        bump(&mut self.change(id).counts.unanswered);
    }

    /// A share that was in flight when its pool connection was lost, of a miner that stayed.
    pub(crate) fn lost(&mut self, id: WorkerId) {
        bump(&mut self.change(id).counts.lost);
    }

    /// Tells of at most `max` workers, those first that have waited longest; the others next time. What was told is not kept.
    pub fn tell(&mut self, max: usize, now: Tick, to: &mut Vec<WorkerNews>) {
        for _ in 0..max {
            let Some(change) = self.changes.pop_front() else { break };
            self.first = self.first.wrapping_add(1);
            let entry = &mut self.entries[change.worker.index()];
            // Both are bounded by the connections of a shard.
            let sessions = i64::from(entry.sessions) - i64::from(entry.told);
            entry.told = entry.sessions;
            let is_gone = entry.sessions == 0;
            to.push(WorkerNews {
                name: entry.name.clone(),
                agent: change.agent,
                sessions: i32::try_from(sessions).unwrap_or(0),
                accepted_ago_us: change.accepted_at.map(|at| now - at),
                counts: change.counts,
            });
            if is_gone {
                self.forget(change.worker);
            }
        }
    }

    /// Tells of the shares that came to nothing since it was last asked, and gives the number of those that were too many.
    pub fn tell_events(&mut self, to: &mut Vec<ShareEvent>) -> u64 {
        self.events.tell(to)
    }

    /// Where the change of a worker stands that is still to be told.
    fn pending(&self, id: WorkerId) -> Option<usize> {
        let at = self.entries[id.index()].change.wrapping_sub(self.first) as usize;
        self.changes.get(at).is_some_and(|change| change.worker == id).then_some(at)
    }

    fn change(&mut self, id: WorkerId) -> &mut Change {
        let at = self.pending(id).unwrap_or_else(|| self.begin_change(id));
        &mut self.changes[at]
    }

    fn begin_change(&mut self, id: WorkerId) -> usize {
        let at = self.changes.len();
        self.entries[id.index()].change = self.first.wrapping_add(u32::try_from(at).unwrap_or(0));
        let counts = WorkerCounts::default();
        self.changes.push_back(Change { worker: id, agent: None, accepted_at: None, counts });
        at
    }
}

fn bump(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
