//! Stratum V1 as a pure state machine: bytes and ticks in, bytes and intents out.
//!
//! This crate refuses to know sockets, clocks, threads, files, log sinks and randomness. What it needs of the
//! world its caller passes in, so that every behaviour can be tested with virtual time and any split of the bytes.

#[macro_use]
mod labels;

pub mod bucket;
pub mod limits;
pub mod message;
pub mod middleware;
pub mod proof;
pub mod session;
pub mod stats;
pub mod tick;
pub mod verdict;
pub mod wire;
pub mod workers;

pub use bucket::Bucket;
pub use message::{JobBodies, Method};
pub use middleware::{Flow, MessagePipeline, MessagePipelineBuilder, Stage, StageCx};
pub use proof::{BlockAnswer, Candidate};
pub use session::{
    Client, ClientId, Cx, End, Fault, Filtered, Intent, Out, PackedSession, Policy, PoolId, PoolLoss,
    PoolPolicy, PoolState, Reject, Session, Spent, Tally, UnpackError, UserRule, WorkerState,
};
pub use stats::{Direction, PoolStats, Redirect, Stats};
pub use tick::Tick;
pub use verdict::{RejectClass, Verdict};
pub use wire::Parser;
pub use workers::{HASHES_OF_ONE, ShareEvent, ShareFate, WorkerCounts, WorkerId, WorkerNews, Workers};
