//! Workers as JSON: a page of them, or one. Names and agents are what miners say: JSON escapes them, and whoever shows them
//! elsewhere has to do the same. This file asks nobody; it gives figures their form.

use crate::aggregate::{Snapshot, WorkerPage, WorkerShares, WorkerView};
use loka_proto::{Reject, RejectClass};
use serde::Serialize;
use std::collections::BTreeMap;

/// A page of workers.
#[derive(Debug, Serialize)]
pub struct WorkersFigures<'a> {
    /// How many were asked for, on all pages.
    pub total: usize,
    /// How many of them were skipped.
    pub offset: usize,
    /// The page.
    pub items: Vec<WorkerFigures<'a>>,
    /// Workers known by name, whoever was asked for.
    pub known: usize,
    /// All that have no record of their own, together.
    pub others: WorkerFigures<'a>,
    /// Names forgotten since the start, to make room; their counts are among the others.
    pub forgotten: u64,
}

/// One worker.
#[derive(Debug, Serialize)]
pub struct WorkerFigures<'a> {
    /// Its whole name, as its miner said it; null for the others.
    pub name: Option<&'a str>,
    /// What its miner calls itself.
    pub agent: Option<&'a str>,
    /// Connections that have it now.
    pub connections: u64,
    /// The pool of its newest answer.
    pub pool: Option<&'a str>,
    /// Whether a pool granted its newest authorization; null before the first answer.
    pub authorized: Option<bool>,
    /// Hashes per second, by window.
    pub hashrate: Hashrate,
    /// What became of its shares.
    pub shares: SharesFigures,
    /// Difficulty of its newest share that a pool answered.
    pub difficulty: Option<f64>,
    /// Difficulty of its hardest accepted share by the hash, since it is known; null where none was hashed.
    pub best_difficulty: Option<f64>,
    /// The same of the last 18 to 24 hours.
    pub best_difficulty_24h: Option<f64>,
    /// Milliseconds from a share to its answer, on average over 15 minutes.
    pub response_ms: Option<f64>,
    /// Seconds since it was first heard of.
    pub known_seconds: f64,
    /// Seconds since a share was accepted last; null before the first.
    pub last_share_seconds: Option<f64>,
}

/// Hashes per second.
#[derive(Debug, Serialize)]
pub struct Hashrate {
    /// Over a minute.
    #[serde(rename = "1m")]
    pub minute: f64,
    /// Over 15 minutes.
    #[serde(rename = "15m")]
    pub quarter: f64,
    /// Over 24 hours.
    #[serde(rename = "24h")]
    pub day: f64,
}

/// What became of shares: counts for what the proxy and the pool said of them, and the details.
#[derive(Debug, Serialize)]
pub struct SharesFigures {
    /// The proxy found no fault, and the pool accepted.
    pub accepted: u64,
    /// The proxy found no fault, and the pool rejected.
    pub rejected: u64,
    /// The proxy refused.
    pub refused: u64,
    /// The proxy found no fault, and no answer came.
    pub unanswered: u64,
    /// The same, in flight when their pool connection was lost, of miners that stayed and were told so.
    pub lost: u64,
    /// Those rejected, by class, without those that are zero.
    pub rejected_by: BTreeMap<&'static str, u64>,
    /// Those refused, by reason, without those that are zero.
    pub refused_by: BTreeMap<&'static str, u64>,
    /// Sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
}

impl<'a> WorkersFigures<'a> {
    /// The form of a page, of which so many were skipped.
    pub fn of(page: &'a WorkerPage, offset: usize, now: &'a Snapshot) -> WorkersFigures<'a> {
        WorkersFigures {
            total: page.matching,
            offset,
            known: page.known,
            items: page.workers.iter().map(|worker| WorkerFigures::of(worker, now)).collect(),
            others: WorkerFigures::of(&page.others, now),
            forgotten: page.forgotten,
        }
    }
}

impl<'a> WorkerFigures<'a> {
    /// The form of one worker.
    pub fn of(worker: &'a WorkerView, now: &'a Snapshot) -> WorkerFigures<'a> {
        let pool = worker.pool.and_then(|pool| now.pools.get(pool.index()));
        // In the order of the windows.
        let [minute, quarter, day] = worker.hashrate;
        WorkerFigures {
            name: worker.name.as_deref(),
            agent: worker.agent.as_deref(),
            connections: worker.sessions,
            pool: pool.map(|pool| pool.name.as_str()),
            authorized: worker.is_granted,
            hashrate: Hashrate { minute, quarter, day },
            shares: SharesFigures::of(&worker.shares),
            difficulty: (worker.difficulty > 0.0).then_some(worker.difficulty),
            best_difficulty: worker.best,
            best_difficulty_24h: worker.best_of_day,
            response_ms: worker.response_us.map(|us| us / 1_000.0),
            known_seconds: worker.known_for.as_secs_f64(),
            last_share_seconds: worker.last_share_ago.map(|ago| ago.as_secs_f64()),
        }
    }
}

impl SharesFigures {
    fn of(shares: &WorkerShares) -> SharesFigures {
        let rejected = RejectClass::ALL.iter().map(|class| (class.label(), shares.rejected[class.index()]));
        let refused = Reject::ALL.iter().map(|reject| (reject.label(), shares.refused(*reject)));
        SharesFigures {
            accepted: shares.accepted,
            rejected: shares.rejections(),
            refused: shares.refusals(),
            unanswered: shares.unanswered,
            lost: shares.lost,
            rejected_by: rejected.filter(|(_, count)| *count > 0).collect(),
            refused_by: refused.filter(|(_, count)| *count > 0).collect(),
            accepted_difficulty: shares.accepted_difficulty,
        }
    }
}
