//! What must hold when a link loses its pool: who stays and who leaves, and what a miner that stays is told.

use crate::model::Model;
use loka_proto::stats::PoolStats;
use loka_proto::{End, Intent, Policy, PoolLoss, Session, Stats, limits};
use serde_json::Value;
use std::collections::BTreeMap;

/// One link's way from pool to pool.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// The pool connection, counted from one.
    pub(crate) generation: u32,
    /// The miner asked for extranonce changes, and was not refused by the proxy.
    pub(crate) extranonce_asked: bool,
    /// First jobs after a move that the miner was sent.
    pub(crate) moved: u64,
    /// Since when there is no pool that takes the miner.
    waits_since: u64,
    /// Pool connections lost because the pool refused the miner, or its workers, and whether the last was.
    refusals: [u64; 2],
    is_unwanted: bool,
    /// The workers that the present pool was asked for, and whether it has not refused them.
    workers: BTreeMap<String, bool>,
    /// The extranonce that the miner was told last, and the one that it had when its pool was lost.
    told: Option<(String, u64)>,
    had: Option<(String, u64)>,
    /// Bytes of extranonce2 that a pool gave last.
    size_given: u64,
    /// What the miner was told since its pool was lost.
    told_since: Vec<Told>,
    is_job_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Written by the proxy: pools here write it in another way.
    Mask,
    Extranonce,
    Difficulty,
    Other,
}

impl Moves {
    /// The pool connection is open.
    pub(crate) fn connected(&mut self) {
        self.generation += 1;
        self.workers.clear();
    }

    pub(crate) fn worker_asked(&mut self, worker: String) {
        self.workers.insert(worker, true);
    }

    pub(crate) fn authorized(&mut self, worker: String, message: &Value) {
        self.workers.insert(worker, message["result"] == true);
    }

    /// A pool is dialed for the first time.
    pub(crate) fn dials(&mut self, now: u64) {
        self.waits_since = now;
    }

    /// The pool is lost and the miner stays: it must be one that can be told of another.
    pub(crate) fn lost(&mut self, model: &Model, stats: &Stats, policy: &Policy, had_work: bool, now: u64) {
        assert!(policy.hold_us > 0, "a miner outlived its pool");
        let can_move = self.extranonce_asked || !model.is_subscribed;
        assert!(can_move, "a miner that cannot be told of another pool outlived its own");
        let lost = |loss: PoolLoss| stats.pools.iter().map(|pool| pool.losses[loss.index()]).sum::<u64>();
        let refusals = [lost(PoolLoss::Refused), lost(PoolLoss::Unauthorized)];
        let before = std::mem::replace(&mut self.refusals, refusals);
        let is_unwanted = before != refusals;
        if before[1] != refusals[1] {
            let workers = &self.workers;
            assert!(
                !workers.values().any(|may_work| *may_work),
                "a pool is left that has refused some: {workers:?}"
            );
        }
        let was_unwanted = std::mem::replace(&mut self.is_unwanted, is_unwanted);
        if had_work && !(is_unwanted && was_unwanted) {
            self.waits_since = now;
        }
        assert!(now < self.waits_since + policy.hold_us, "a miner that no pool takes is kept for ever");
        self.told_since.clear();
        self.is_job_first = model.is_subscribed;
        self.had.clone_from(&self.told);
    }

    /// A session ended: not for its pool, where it could have been moved.
    pub(crate) fn check_end(&self, end: End, model: &Model, policy: &Policy, now: u64) {
        let can_move = policy.hold_us > 0 && (self.extranonce_asked || !model.is_subscribed);
        // A line of the miner ends so too.
        let is_for_pool = end != End::HalfLine && PoolLoss::ALL.iter().any(|loss| loss.end() == end);
        let is_over = now >= self.waits_since + policy.hold_us;
        let is_excused = is_over || end == End::OutOfResources;
        assert!(!can_move || !is_for_pool || is_excused, "{end} although the miner could have been moved");
        if end == End::NoPool {
            assert!(is_over && policy.hold_us > 0, "given up too early");
        }
        if end == End::ExtranonceChanged && can_move {
            let size = u8::try_from(self.size_given).expect("a small number");
            assert!(
                !limits::EXTRANONCE2_MOVE_BYTES.contains(&size),
                "{size} bytes of extranonce2 can be told"
            );
        }
    }

    /// A pool's answer to the subscription that the proxy made again.
    pub(crate) fn subscribed_again(&mut self, message: &Value) {
        self.size_given = message["result"][2].as_u64().unwrap_or(self.size_given);
    }

    /// A line for the miner. The first job after a move must void all others and come behind what it is to be worked with.
    pub(crate) fn check_told(&mut self, message: &Value, line: &[u8]) {
        let params = &message["params"];
        let told = match message["method"].as_str() {
            Some("mining.notify") if self.is_job_first => return self.check_first_job(params),
            Some("mining.set_version_mask") if line.starts_with(b"{\"id\":null") => Told::Mask,
            Some("mining.set_extranonce") => {
                self.tell_extranonce(params, 0);
                Told::Extranonce
            }
            Some("mining.set_difficulty") => Told::Difficulty,
            Some(_) => Told::Other,
            None => {
                if message["result"][2].is_u64() {
                    // A miner that subscribes once more hears of it so.
                    self.tell_extranonce(&message["result"], 1);
                    self.had.clone_from(&self.told);
                }
                return;
            }
        };
        self.told_since.push(told);
    }

    fn tell_extranonce(&mut self, values: &Value, at: usize) {
        if let (Some(extranonce1), Some(size)) = (values[at].as_str(), values[at + 1].as_u64()) {
            self.told = Some((extranonce1.to_lowercase(), size));
        }
    }

    fn check_first_job(&mut self, params: &Value) {
        let told = std::mem::take(&mut self.told_since);
        let first = |what: Told| told.iter().position(|told| *told == what);
        assert_eq!(
            params.as_array().and_then(|params| params.last()),
            Some(&Value::Bool(true)),
            "a clean job"
        );
        assert!(first(Told::Difficulty).is_some(), "no difficulty before the first job: {told:?}");
        assert!(first(Told::Mask).is_none_or(|at| at == 0), "the mask comes first: {told:?}");
        let extranonce_at = usize::from(first(Told::Mask).is_some());
        if self.told != self.had {
            assert_eq!(first(Told::Extranonce), Some(extranonce_at), "the extranonce is next: {told:?}");
        }
        self.is_job_first = false;
        self.moved += 1;
    }
}

/// Why the session ends, when it does.
pub(crate) fn end_of(intents: &[Intent]) -> Option<End> {
    intents.iter().find_map(|intent| match intent {
        Intent::Close(end) => Some(*end),
        Intent::DialPool => None,
    })
}

/// The parts of the counters that are kept for each pool add up to those of all.
pub(crate) fn check_pools(stats: &Stats, session: &Session, connected: u32) {
    let sum = |of: &dyn Fn(&PoolStats) -> u64| stats.pools.iter().map(of).sum::<u64>();
    let shares = &stats.counts.shares;
    assert_eq!(sum(&|pool| pool.accepted), shares.accepted, "shares accepted by all pools");
    assert_eq!(sum(&|pool| pool.rejected), shares.rejected.iter().sum::<u64>(), "rejected by all pools");
    assert_eq!(sum(&|pool| pool.lost), shares.lost, "lost with all pools");
    assert_eq!(
        sum(&|pool| pool.slowness.iter().sum()),
        shares.accepted + shares.rejected.iter().sum::<u64>()
    );
    assert_eq!(sum(&|pool| pool.connected), u64::from(connected), "connections of all pools");
    let losses = sum(&|pool| pool.losses.iter().sum());
    let left = u64::from(connected) - losses;
    assert!(left <= 1, "each connection but the last was lost: {losses} of {connected}");
    assert!(!session.has_pool() || left == 1, "a connection that is up is not lost");
    let notifies = stats.counts.messages[loka_proto::Direction::FromPool.index()];
    assert!(sum(&|pool| pool.jobs) <= notifies[loka_proto::Method::Notify.index()], "jobs of all pools");
}
