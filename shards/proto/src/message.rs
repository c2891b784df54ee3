//! What a message says: its method, and the parts of it that the proxy must understand.
//!
//! Views are checked once, here; whoever holds one need not doubt it. Whatever the proxy need not understand is
//! relayed as it came.

mod method;
mod miner;
mod pool;

pub use method::Method;
pub use miner::{Asked, Authorize, Configure, MinerMessage, Submit};
pub use pool::{Notify, PoolMessage, Reconnect, SubscribeResult, granted_mask};
