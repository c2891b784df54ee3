//! What the control plane knows of pools: where their names lead, whether their certificates are good, and what they
//! say when somebody asks.
//!
//! Nothing here relays a byte of a miner: the shards do that. It prints nothing and reads no configuration except in
//! [`targets`], so that a command and a running proxy can both use it.

mod breaker;
pub mod certificate;
mod chain;
pub(crate) mod connect;
pub mod findings;
pub mod handshake;
mod judge;
pub mod lookout;
pub mod resolve;
pub mod roster;
mod socks;
pub mod target;
pub mod tls;
pub mod watch;

pub use findings::{ExtranonceSubscription, Findings, Problem, TlsFacts};
pub use handshake::{Timeouts, shake};
pub use lookout::{Lookout, LookoutError, LookoutHandle, LookoutReload, PoolView, PoolViews};
pub use resolve::{ResolveError, Resolved, Resolver};
pub use roster::{Place, Roster, RosterFull};
pub use target::{Socks5, Target, TargetError, TlsTarget, targets};
pub use watch::{Change, Watch};
