//! The parts of a packed session, as they are written. It refuses to know what they mean: the types that they are made of
//! and become say that, each in its own file.

use super::plain::{Exact, Hex, given};
use crate::bucket::Bucket;
use crate::message::{Configure, JobId};
use crate::session::{Tally, VersionRolling, WorkerState};
use crate::tick::Tick;
use serde::{Deserialize, Serialize};

/// What is known of the miner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedMiner {
    pub(in crate::session) subscribed: bool,
    pub(in crate::session) version_rolling: VersionRolling,
    pub(in crate::session) multi_version_asked: bool,
    pub(in crate::session) extranonce_asked: bool,
    pub(in crate::session) errors: u32,
    pub(in crate::session) rate_limited: u32,
    pub(in crate::session) bad_shares: u32,
    pub(in crate::session) is_credited: bool,
    pub(in crate::session) tally: Tally,
    pub(in crate::session) messages: Bucket,
    pub(in crate::session) submits: Bucket,
    pub(in crate::session) authorizations: Bucket,
    #[serde(deserialize_with = "given")]
    pub(in crate::session) agent: Option<String>,
    pub(in crate::session) workers: Vec<PackedWorker>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedWorker {
    pub(in crate::session) name: PackedName,
    pub(in crate::session) state: WorkerState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::session) enum PackedName {
    Named(String),
    /// The fingerprint of the name of one that was counted with others.
    Others(u64),
}

/// What the pool gave, and the shares that were made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedWork {
    pub(in crate::session) extranonce1: String,
    #[serde(deserialize_with = "given")]
    pub(in crate::session) extranonce2_size: Option<u8>,
    #[serde(deserialize_with = "given")]
    pub(in crate::session) next_extranonce2_size: Option<u8>,
    pub(in crate::session) difficulty: Exact,
    pub(in crate::session) next_difficulty: Exact,
    pub(in crate::session) version_mask: u32,
    pub(in crate::session) pool_mask: u32,
    pub(in crate::session) jobs: PackedJobs,
    pub(in crate::session) repeats: PackedRepeats,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedJobs {
    pub(in crate::session) known: Vec<PackedJob>,
    /// The number of the first; each other has the next.
    pub(in crate::session) first: u8,
    #[serde(deserialize_with = "given")]
    pub(in crate::session) whole_from: Option<Tick>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedJob {
    pub(in crate::session) id: JobId,
    pub(in crate::session) difficulty: Exact,
    pub(in crate::session) at: Tick,
    pub(in crate::session) ntime: u32,
    pub(in crate::session) mask: u32,
    pub(in crate::session) is_clean: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedRepeats {
    /// Eight bytes each, the oldest first.
    pub(in crate::session) prints: Hex,
    /// What these were made with, and further ones will be.
    pub(in crate::session) seed: u32,
}

/// A request that waits for the pool's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedRequest {
    pub(in crate::session) id: String,
    pub(in crate::session) at: Tick,
    pub(in crate::session) asked: PackedAsked,
}

/// What was asked. Workers are numbers in the list of the miner's. There is nothing here that is asked only in the middle of
/// a move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::session) enum PackedAsked {
    Subscribe,
    Authorize(u8),
    Submit {
        #[serde(deserialize_with = "given")]
        worker: Option<u8>,
        difficulty: Exact,
    },
    Configure(Configure),
    AuthorizeAgain(u8),
    Own,
    Other,
}

/// What the miner said in its handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedGreeting {
    pub(in crate::session) is_whole: bool,
    pub(in crate::session) lines: Vec<String>,
}

/// An unfinished line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::session) struct PackedCarry {
    pub(in crate::session) bytes: Hex,
    pub(in crate::session) since: Tick,
}
