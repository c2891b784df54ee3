//! Links that go on in another process, or come from one: what goes along with the two sockets, and where it waits.
//!
//! It knows no process and no wire: that is the control plane's.

use crate::door::Door;
use crossbeam::queue::ArrayQueue;
use loka_proto::{PackedSession, PoolId, Tick};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A link on its way. Its ticks are those of a clock that both processes read alike; see [`Clock::following`](crate::Clock::following).
#[derive(Debug)]
pub struct Parcel {
    /// What the session knows.
    pub session: PackedSession,
    /// Its pool, by the number that it has in the process that holds the parcel.
    pub pool: PoolId,
    /// The miner's socket, and the pool's.
    pub sockets: [OwnedFd; 2],
    /// Bytes that these sockets did not take yet.
    pub queued: [Vec<u8>; 2],
    /// Where the miner is, where that is known.
    pub address: Option<IpAddr>,
    /// When the miner was accepted.
    pub since: Tick,
    /// The miner has had all that it needs at some time.
    pub has_worked: bool,
    /// This pool connection has brought it all that it needs.
    pub was_at_work: bool,
}

/// What a shard that hands its links over has to say.
#[derive(Debug)]
pub enum Parting {
    /// Here is one.
    Link(Box<Parcel>),
    /// No further ones come.
    Done {
        /// Links that it keeps: they speak TLS, or are not far enough to go on elsewhere.
        kept: usize,
    },
}

/// How a shard hands its links over.
#[derive(Debug, Clone)]
pub struct HandOver {
    /// Where they leave.
    pub door: Door<Parting>,
    /// By the number of the pool: whether its links can go on elsewhere.
    pub pools: Arc<[bool]>,
}

/// Links that a shard is to take, on its next ticks.
pub type Arrivals = Arc<ArrayQueue<Box<Parcel>>>;
