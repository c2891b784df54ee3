//! A simulated pool and a swarm of simulated miners: the load generator of `bench`, the embedded pool of `demo`, and both
//! ends of the end-to-end tests.
//!
//! The crate refuses to use the proxy's own parser: a fault in it must not be able to hide itself.

mod certificates;
mod control;
mod hook;
mod job_clock;
mod miner;
mod net;
mod pool;
mod relay;
mod seed;
mod socks5;
mod swarm;
mod wire;

pub use certificates::{Authority, CertificateError, SPKI_SHA256_BYTES, ServerIdentity, TlsVersions};
pub use hook::{HookManners, HookReceiver, HookRequest};
pub use job_clock::JobClock;
pub use miner::{Greeting, Miner, Submit};
pub use pool::{Misbehaviour, PoolConfig, PoolHandle, PoolReport};
pub use relay::{Fault, Relay, RelayConfig, RelayHandle, RelayReport, Shape};
pub use socks5::{Socks5Config, Socks5Destination, Socks5Manners, Socks5Report, Socks5Request, Socks5Stub};
pub use swarm::{
    IdStyle, Load, Pacing, Percentiles, Phase, Progress, Quirks, ShareCounts, SwarmConfig, SwarmError,
    SwarmReport, run,
};
