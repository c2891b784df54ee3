//! What shares are worth: the hash of the header that a share stands for, how hard it was to find, and whether it is a block.
//!
//! A share does not say so itself. Its hash is made of the words of its job, which the shard keeps once for all miners
//! ([`Works`]), of the miner's extranonce, and of what the share names. It is made after the pool's answer has gone on to
//! the miner ([`Claims`]), so that nobody waits for it. It refuses to guess: a job that is forgotten, or an extranonce that has
//! changed since, gives no figure, and is nobody's error. It judges no share: what is accepted is the pool's to say.

mod claims;
mod hash;
#[cfg(test)]
mod tests;
mod work;
mod works;

pub use claims::{BlockAnswer, Candidate};
pub(crate) use claims::{Claim, Claims};
pub use hash::Proof;
pub(crate) use work::{Extranonce1, Trial};
pub(crate) use works::{WorkId, Works};
