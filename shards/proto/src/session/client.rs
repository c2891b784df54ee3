//! What is known of one miner. Middleware stages read it; only the session writes it.

use super::PoolId;
use super::packed::{PackedMiner, PackedName, PackedWorker, UnpackError};
use crate::bucket::Bucket;
use crate::limits::{
    AGENT_BYTES_MAX, BAD_SHARES_MAX, PROTOCOL_ERRORS_MAX, RATE_LIMITED_MAX, REFUSED_AUTHORIZATION,
    USER_BYTES_MAX, WORKERS_MAX,
};
use crate::session::mining::Mining;
use crate::session::tally::Tally;
use crate::wire::fingerprint;
use crate::workers::{AgentId, WorkerId, Workers};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Names a connection for its whole life; the caller never gives one twice in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Where a worker stands with the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Asked for, not answered yet. Real pools send work before the answer.
    Asked,
    /// The pool said `true`.
    Authorized,
    /// The pool said anything else.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Worker {
    /// The fingerprint of its name.
    name: u64,
    id: WorkerId,
    state: WorkerState,
}

/// Where the negotiation of BIP310 stands. Some miners idle when a mask comes that was never granted to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VersionRolling {
    /// It never asked.
    Unasked,
    /// It asked for these bits and waits.
    Asked {
        /// The bits.
        mask: u32,
    },
    /// It may roll, of the bits it asked for, those that the pool named.
    Granted {
        /// The bits it asked for.
        mask: u32,
    },
    /// It was told no.
    Refused,
}

/// What a connection has spent, of what its address may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Messages.
    pub requests: u32,
    /// Authorizations; one that the pool refused counts as [`REFUSED_AUTHORIZATION`] more.
    pub authorizations: u32,
}

/// What is known of one miner.
#[derive(Debug)]
pub struct Client {
    /// Its name in this shard.
    pub id: ClientId,
    /// Whether it has sent `mining.subscribe`.
    pub subscribed: bool,
    /// Whether it rolls version bits.
    pub version_rolling: VersionRolling,
    /// Whether it asked for version bits in the way from before BIP310, `mining.multi_version`.
    pub multi_version_asked: bool,
    /// Whether it understands `mining.set_extranonce`, having asked for it.
    pub extranonce_asked: bool,
    /// Malformed messages so far.
    pub errors: u32,
    /// Messages refused for their rate, less those that it has made up for by keeping to it.
    pub rate_limited: u32,
    /// Shares refused for what they are, less those that a pool accepted.
    pub bad_shares: u32,
    /// Some pool has accepted a share of it: it does work.
    pub is_credited: bool,
    /// For the rate-limit stage: all messages.
    pub messages: Bucket,
    /// Shares.
    pub submits: Bucket,
    /// Authorizations.
    pub authorizations: Bucket,
    /// Since it was last asked for.
    pub(crate) spent: Spent,
    /// Its work: extranonce, difficulty, jobs.
    pub mining: Mining,
    /// What became of its shares.
    pub tally: Tally,
    /// What it calls itself.
    pub(crate) agent: AgentId,
    workers: SmallVec<[Worker; 1]>,
}

impl Client {
    pub(crate) fn new(id: ClientId) -> Client {
        Client {
            id,
            subscribed: false,
            version_rolling: VersionRolling::Unasked,
            multi_version_asked: false,
            extranonce_asked: false,
            errors: 0,
            rate_limited: 0,
            bad_shares: 0,
            is_credited: false,
            messages: Bucket::default(),
            submits: Bucket::default(),
            authorizations: Bucket::default(),
            spent: Spent::default(),
            mining: Mining::of(id),
            tally: Tally::default(),
            agent: AgentId::default(),
            workers: SmallVec::new(),
        }
    }

    /// Whether a share may go to the pool: some worker is authorized, or may yet be.
    #[must_use]
    pub fn may_submit(&self) -> bool {
        self.workers.iter().any(|worker| worker.state != WorkerState::Refused)
    }

    /// Whether another worker of this name may be authorized.
    #[must_use]
    pub fn has_room_for(&self, name: &str) -> bool {
        self.workers.len() < WORKERS_MAX || self.find(fingerprint(name.as_bytes())).is_some()
    }

    /// Whether it has said all that a miner says before it works.
    #[must_use]
    pub fn has_greeted(&self) -> bool {
        self.subscribed && !self.workers.is_empty()
    }

    /// Whether it has said something that only miners say: asked to subscribe, or to be authorized.
    #[must_use]
    pub fn is_miner(&self) -> bool {
        self.subscribed || !self.workers.is_empty()
    }

    /// Workers on this connection.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Where this worker stands, if the connection has it.
    #[must_use]
    pub fn state_of(&self, worker: WorkerId) -> Option<WorkerState> {
        self.workers.iter().find(|own| own.id == worker).map(|own| own.state)
    }

    pub(crate) fn worker_asked(&mut self, user: &str, workers: &mut Workers) {
        self.spent.authorizations += 1;
        let name = fingerprint(user.as_bytes());
        match self.find(name) {
            Some(index) => self.workers[index].state = WorkerState::Asked,
            None => {
                self.workers.push(Worker { name, id: workers.join(user), state: WorkerState::Asked });
            }
        }
    }

    /// Whose a share of this user is: of the worker of this name that the connection asked for, or of the only one that it
    /// has where the share tells no user that can be read.
    pub(crate) fn worker_of(&self, user: Option<&str>, workers: &Workers) -> WorkerId {
        match (user, self.workers.as_slice()) {
            (None, [only]) => only.id,
            (None, _) => WorkerId::OTHERS,
            (Some(user), all) => {
                let own = all.iter().find(|worker| workers.is_named(worker.id, user));
                own.map_or(WorkerId::OTHERS, |worker| worker.id)
            }
        }
    }

    /// The connection has ended; how many workers it had is still known.
    pub(crate) fn leave_workers(&mut self, workers: &mut Workers) {
        for worker in &mut self.workers {
            workers.leave(std::mem::replace(&mut worker.id, WorkerId::OTHERS));
        }
        self.agent = workers.agent(self.agent, None);
    }

    /// The worker is asked for at another pool.
    pub(crate) fn worker_asked_again(&mut self, name: u64) {
        if let Some(index) = self.find(name) {
            self.workers[index].state = WorkerState::Asked;
        }
    }

    /// Takes the pool's answer for a worker.
    pub(crate) fn worker_answered(&mut self, name: u64, authorized: bool) -> WorkerId {
        let Some(index) = self.find(name) else { return WorkerId::OTHERS };
        let worker = &mut self.workers[index];
        worker.state = if authorized { WorkerState::Authorized } else { WorkerState::Refused };
        worker.id
    }

    /// A pool refused what the miner had asked for. (That another pool refuses it, to which the proxy took it, is not its doing.)
    pub(crate) fn authorization_refused(&mut self) {
        self.spent.authorizations += REFUSED_AUTHORIZATION;
    }

    /// The place of the worker with this fingerprint in its list.
    pub(super) fn number_of(&self, name: u64) -> Option<u8> {
        u8::try_from(self.find(name)?).ok()
    }

    /// The place of a worker; `None` for others.
    pub(super) fn number_of_id(&self, id: WorkerId) -> Option<u8> {
        let is_it = |worker: &Worker| worker.id == id && id != WorkerId::OTHERS;
        u8::try_from(self.workers.iter().position(is_it)?).ok()
    }

    /// Fingerprint and name of the worker at this place.
    pub(super) fn numbered(&self, number: u8) -> (u64, WorkerId) {
        self.workers.get(usize::from(number)).map_or((0, WorkerId::OTHERS), |worker| (worker.name, worker.id))
    }

    /// The fingerprints of its workers.
    pub(super) fn names(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.name).collect()
    }

    /// All but its work, and what it has spent, which is charged where it was spent.
    pub(super) fn pack(&self, workers: &Workers) -> PackedMiner {
        let pack = |worker: &Worker| {
            let name = workers.name(worker.id).map(|name| PackedName::Named(name.as_ref().to_owned()));
            PackedWorker { name: name.unwrap_or(PackedName::Others(worker.name)), state: worker.state }
        };
        PackedMiner {
            subscribed: self.subscribed,
            version_rolling: self.version_rolling,
            multi_version_asked: self.multi_version_asked,
            extranonce_asked: self.extranonce_asked,
            errors: self.errors,
            rate_limited: self.rate_limited,
            bad_shares: self.bad_shares,
            is_credited: self.is_credited,
            tally: self.tally,
            messages: self.messages,
            submits: self.submits,
            authorizations: self.authorizations,
            agent: workers.agent_name(self.agent).map(|agent| agent.to_string()),
            workers: self.workers.iter().map(pack).collect(),
        }
    }

    /// A client whose workers nobody knows yet: [`arrive`](Self::arrive) tells of them.
    pub(super) fn unpack(packed: &PackedMiner, id: ClientId, mining: Mining) -> Result<Client, UnpackError> {
        let is_long = packed.agent.as_ref().is_some_and(|agent| agent.len() > AGENT_BYTES_MAX);
        if is_long || packed.workers.len() > WORKERS_MAX {
            return Err(UnpackError::TooMuch(if is_long { "agent" } else { "workers" }));
        }
        let is_beyond = packed.errors > PROTOCOL_ERRORS_MAX
            || packed.rate_limited > RATE_LIMITED_MAX
            || packed.bad_shares > BAD_SHARES_MAX;
        if is_beyond {
            return Err(UnpackError::Impossible("faults"));
        }
        let mut client = Client {
            subscribed: packed.subscribed,
            version_rolling: packed.version_rolling,
            multi_version_asked: packed.multi_version_asked,
            extranonce_asked: packed.extranonce_asked,
            errors: packed.errors,
            rate_limited: packed.rate_limited,
            bad_shares: packed.bad_shares,
            is_credited: packed.is_credited,
            tally: packed.tally,
            messages: packed.messages,
            submits: packed.submits,
            authorizations: packed.authorizations,
            mining,
            ..Client::new(id)
        };
        for worker in &packed.workers {
            let name = match &worker.name {
                PackedName::Named(name) if !is_name(name) => return Err(UnpackError::Impossible("a worker")),
                PackedName::Named(name) => fingerprint(name.as_bytes()),
                PackedName::Others(name) => *name,
            };
            if client.find(name).is_some() {
                return Err(UnpackError::Impossible("a worker twice"));
            }
            client.workers.push(Worker { name, id: WorkerId::OTHERS, state: worker.state });
        }
        Ok(client)
    }

    /// Its workers have a connection here now. Those that the pool has answered are told of without waiting for a share.
    pub(super) fn arrive(&mut self, packed: &PackedMiner, pool: PoolId, workers: &mut Workers) {
        self.agent = workers.agent(self.agent, packed.agent.as_deref());
        for (worker, packed) in self.workers.iter_mut().zip(&packed.workers) {
            let PackedName::Named(name) = &packed.name else { continue };
            worker.id = workers.join(name);
            match worker.state {
                WorkerState::Asked => {}
                WorkerState::Authorized => workers.arrived(worker.id, true, self.agent, pool),
                WorkerState::Refused => workers.arrived(worker.id, false, self.agent, pool),
            }
        }
    }

    fn find(&self, name: u64) -> Option<usize> {
        self.workers.iter().position(|worker| worker.name == name)
    }
}

/// Whether a miner may be of this name.
fn is_name(name: &str) -> bool {
    name.len() <= USER_BYTES_MAX && !name.chars().any(char::is_control)
}
