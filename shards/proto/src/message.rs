//! What a message says: its method, and the parts of it that the proxy must understand.
//!
//! Views are checked once, here; whoever holds one need not doubt it. Whatever the proxy need not understand is
//! relayed as it came.

mod job;
mod method;
mod miner;
mod notice;
mod pool;

pub use job::{JobBodies, JobId};
pub use method::Method;
pub use miner::{Asked, Authorize, Configure, MinerMessage, Submit};
pub use pool::{Notify, PoolMessage, Reconnect, SubscribeResult, granted_mask};

/// Tells the block that jobs build on from others, by the `prevhash` of a job.
#[must_use]
pub fn block_mark(prev_hash: &str) -> u64 {
    // Eight digits at a time: this is done for every new job, and hashes need no spreading.
    let digits = prev_hash.as_bytes().chunks(8).map(|chunk| {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(eight)
    });
    digits.fold(1, |mark: u64, eight| (mark.rotate_left(5) ^ eight).wrapping_mul(0x517c_c1b7_2722_0a95))
}

/// Whether all of a text is hexadecimal digits of either case. It looks at all of them, whatever it finds, which for the
/// two kilobytes of a job is several times faster than to stop at the first that is none.
pub(crate) fn is_hex_text(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| all & byte.is_ascii_hexdigit())
}
