//! The shard: one loop per core inside a glommio executor, which owns its miners and their pool sockets.
//!
//! This crate refuses to read files, environment and signals, and to resolve names: what it needs comes in a
//! [`ShardPlan`], and what it counts goes out through a [`Mailbox`](mailbox). Shards share nothing and take no lock.

mod allocator;
mod buffers;
mod clock;
pub mod cores;
mod dial;
mod door;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod link;
mod listener;
mod mailbox;
mod plan;
mod poller;
pub mod preflight;
mod question;
mod quota;
mod shard;
mod socks;
mod steering;
mod timers;
mod tls;
mod token;
mod violations;
mod visitors;

pub use allocator::AllocatorFigures;
pub use clock::Clock;
pub use door::{Door, Guest, HttpDoor, HttpGuests, Waiting, door, http_door};
pub use handover::{Arrivals, HandOver, Parcel, Parting};
pub use listener::{ListenError, address_of, bind_all, bind_beside};
pub use mailbox::{Command, ControlEnd, Reload, Report, ShardEnd, Shell, mailbox};
pub use plan::{HttpPlan, PoolNow, PoolPlan, PoolTls, ShardPlan, ShardSpec, SocksRoute, Speaks, limits};
pub use question::{SessionView, SessionsFound, SessionsQuestion};
pub use quota::{Excess, Quotas, Rates};
pub use shard::{MemoryLoad, Ready, ShardError, ShardHandle, Start, spawn};
pub use socks::{SocksError, SocksLogin, SocksTarget};
pub use steering::Steering;
pub use visitors::{Guard, VisitorNews, VisitorRule, host_of};
