//! Tells shares that a miner sends twice, by a fingerprint of each.
//!
//! It remembers the last [`SHARES_KEPT_MAX`] of one connection, and refuses to grow beyond. A fingerprint has 56 bits of a
//! mix and the number of the job, so a good share is taken for another with a chance below 2^-48, which a farm that makes
//! a thousand shares a second meets once in some nine thousand years. Only a miner's own shares are held against each
//! other: who crafts two that collide has one of its own refused. The mix differs from connection to connection all the
//! same.

use super::ClientId;
use crate::limits::SHARES_KEPT_MAX;
use crate::message::Submit;

/// The bits of a fingerprint that are the job's number.
const NUMBER_BITS: u32 = 8;

/// Fingerprints of shares. Nothing is allocated before the first share.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    prints: Vec<u64>,
    /// The one that is forgotten next, once there is no room.
    oldest: usize,
}

impl Repeats {
    /// Remembers a share; false when it was sent before.
    pub(super) fn take(&mut self, print: u64) -> bool {
        if self.prints.contains(&print) {
            return false;
        }
        if self.prints.len() < SHARES_KEPT_MAX {
            self.prints.push(print);
        } else {
            self.prints[self.oldest] = print;
            self.oldest = (self.oldest + 1) % SHARES_KEPT_MAX;
        }
        true
    }

    /// Forgets the shares of all jobs but those whose number `is_kept`.
    pub(super) fn keep(&mut self, is_kept: impl Fn(u8) -> bool) {
        self.prints.rotate_left(self.oldest);
        self.oldest = 0;
        self.prints.retain(|print| is_kept(print.to_le_bytes()[0]));
    }

    pub(super) fn clear(&mut self) {
        self.prints.clear();
        self.oldest = 0;
    }
}

/// The fingerprint of a share for the job of this number. Values count, not spellings. No bits at all are not the same as
/// bits that are zero: a job may have some of its own.
pub(super) fn fingerprint(submit: &Submit<'_>, job: u8, client: ClientId) -> u64 {
    let extranonce2 = u128::from_str_radix(submit.extranonce2, 16).unwrap_or(0).to_le_bytes();
    let [low, high] = [&extranonce2[..8], &extranonce2[8..]]
        .map(|half| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    let bits = submit.version_bits.map_or(u64::MAX, u64::from);
    let times = u64::from(submit.ntime) << 32 | u64::from(submit.nonce);
    let size = submit.extranonce2.len() as u64;
    let mixed =
        [low, high, times, bits, size, u64::from(job)].iter().fold(client.0, |mix, word| spread(mix ^ word));
    mixed << NUMBER_BITS | u64::from(job)
}

/// Spreads each bit over all others; no two numbers become one (the last steps of `MurmurHash3`).
fn spread(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}
