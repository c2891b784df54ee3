//! Tells shares that a miner sends twice, by a fingerprint of each.
//!
//! It remembers the last [`SHARES_KEPT_MAX`] of one connection, and refuses to grow beyond. A fingerprint has 56 bits of a
//! mix and the number of the job, so a good share is taken for another with a chance below 2^-48, which a farm that makes
//! a thousand shares a second meets once in some nine thousand years. Only a miner's own shares are held against each
//! other: who crafts two that collide has one of its own refused. The mix differs from connection to connection all the
//! same.

use super::ClientId;
use super::packed::{Hex, PackedRepeats, UnpackError};
use crate::limits::SHARES_KEPT_MAX;
use crate::message::Submit;

/// The bits of a fingerprint that are the job's number.
const NUMBER_BITS: u32 = 8;

/// Fingerprints of shares. Nothing is allocated before the first share.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    prints: Vec<u64>,
    /// The one that is forgotten next, once there is no room.
    oldest: u32,
    /// What the mix begins with. It goes along when the session goes on in another process, where its client has another id.
    seed: u32,
}

impl Repeats {
    /// None yet, of this client.
    pub(super) fn of(client: ClientId) -> Repeats {
        let [.., a, b, c, d] = (client.0 ^ client.0 >> 32).to_be_bytes();
        Repeats { seed: u32::from_be_bytes([a, b, c, d]), ..Repeats::default() }
    }

    /// The seed of its fingerprints.
    pub(super) fn seed(&self) -> u32 {
        self.seed
    }

    /// Remembers a share; false when it was sent before.
    pub(super) fn take(&mut self, print: u64) -> bool {
        if self.prints.contains(&print) {
            return false;
        }
        if self.prints.len() < SHARES_KEPT_MAX {
            self.prints.push(print);
        } else {
            self.prints[self.oldest as usize] = print;
            self.oldest = (self.oldest + 1) % SHARES_KEPT_MAX as u32;
        }
        true
    }

    /// Forgets the shares of all jobs but those whose number `is_kept`.
    pub(super) fn keep(&mut self, is_kept: impl Fn(u8) -> bool) {
        self.prints.rotate_left(self.oldest as usize);
        self.oldest = 0;
        self.prints.retain(|print| is_kept(print.to_le_bytes()[0]));
    }

    pub(super) fn clear(&mut self) {
        self.prints.clear();
        self.oldest = 0;
    }

    pub(super) fn pack(&self) -> PackedRepeats {
        let (newer, older) = self.prints.split_at(self.oldest as usize);
        let prints = older.iter().chain(newer).flat_map(|print| print.to_be_bytes()).collect();
        PackedRepeats { prints: Hex(prints), seed: self.seed }
    }

    pub(super) fn unpack(packed: &PackedRepeats) -> Result<Repeats, UnpackError> {
        let (prints, rest) = packed.prints.0.as_chunks::<8>();
        if prints.len() > SHARES_KEPT_MAX {
            return Err(UnpackError::TooMuch("shares"));
        }
        if !rest.is_empty() {
            return Err(UnpackError::Impossible("shares"));
        }
        let prints = prints.iter().map(|print| u64::from_be_bytes(*print)).collect();
        Ok(Repeats { prints, oldest: 0, seed: packed.seed })
    }
}

/// The fingerprint of a share for the job of this number. Values count, not spellings. No bits at all are not the same as
/// bits that are zero: a job may have some of its own. `seed`: that of [`Repeats::seed`].
pub(super) fn fingerprint(submit: &Submit<'_>, job: u8, seed: u32) -> u64 {
    let extranonce2 = u128::from_str_radix(submit.extranonce2, 16).unwrap_or(0).to_le_bytes();
    let [low, high] = [&extranonce2[..8], &extranonce2[8..]]
        .map(|half| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    let bits = submit.version_bits.map_or(u64::MAX, u64::from);
    let times = u64::from(submit.ntime) << 32 | u64::from(submit.nonce);
    let size = submit.extranonce2.len() as u64;
    let words = [low, high, times, bits, size, u64::from(job)];
    let mixed = words.iter().fold(u64::from(seed), |mix, word| spread(mix ^ word));
    mixed << NUMBER_BITS | u64::from(job)
}

/// Spreads each bit over all others; no two numbers become one (the last steps of `MurmurHash3`).
fn spread(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MinerMessage;
    use crate::wire::Parser;
    use std::collections::HashSet;

    /// The fingerprint of a share with these parameters behind its job.
    fn print_of(params: &str, job: u8, seed: u32) -> u64 {
        let line =
            format!("{{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"a.b\",\"1a\",{params}]}}\n");
        let read = Parser::default().read(line.as_bytes(), |envelope| match MinerMessage::read(envelope) {
            Ok((_, MinerMessage::Submit(submit))) => fingerprint(&submit, job, seed),
            other => panic!("{other:?}"),
        });
        read.unwrap()
    }

    #[test]
    fn values_count_and_not_how_they_are_written() {
        let print = print_of(r#""0000000A","66a1b2c3","0000000a","00004000""#, 1, 1);
        assert_eq!(print, print_of(r#""0000000a","66A1B2C3","A","4000""#, 1, 1));
        let others = [
            print_of(r#""0000000b","66a1b2c3","0000000a","00004000""#, 1, 1),
            print_of(r#""00000a","66a1b2c3","0000000a","00004000""#, 1, 1),
            print_of(r#""0000000a","66a1b2c4","0000000a","00004000""#, 1, 1),
            print_of(r#""0000000a","66a1b2c3","0000000b","00004000""#, 1, 1),
            print_of(r#""0000000a","66a1b2c3","0000000a","00008000""#, 1, 1),
            print_of(r#""0000000a","66a1b2c3","0000000a","0""#, 1, 1),
            print_of(r#""0000000a","66a1b2c3","0000000a",null"#, 1, 1),
            print_of(r#""0000000a","66a1b2c3","0000000a","00004000""#, 2, 1),
            print_of(r#""0000000a","66a1b2c3","0000000a","00004000""#, 1, 2),
            // The same numbers in each other's places.
            print_of(r#""0000000a","0000000a","66a1b2c3","00004000""#, 1, 1),
        ];
        let different: HashSet<u64> = others.into_iter().chain([print]).collect();
        assert_eq!(different.len(), others.len() + 1);
        // Both halves of a long extranonce2 count.
        let long = |low: u64, high: u64| print_of(&format!("\"{high:016x}{low:016x}\",\"1\",\"1\""), 1, 1);
        assert_eq!(HashSet::from([long(1, 2), long(2, 1), long(1, 1), long(2, 2)]).len(), 4);
    }

    /// What a miner counts up, one by one, spreads over all bits.
    #[test]
    fn shares_that_are_next_to_each_other_are_told_apart() {
        let mut seen = HashSet::new();
        let mut ones = 0_u64;
        for extranonce2 in 0..40 {
            for nonce in 0..500 {
                let print = print_of(&format!("\"{extranonce2:08x}\",\"66a1b2c3\",\"{nonce:x}\""), 7, 1);
                assert!(seen.insert(print), "{extranonce2} {nonce}");
                ones += u64::from((print >> NUMBER_BITS).count_ones());
            }
        }
        // Half of 56 bits, for each of 20,000.
        assert!((555_000..565_000).contains(&ones), "{ones}");
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_those_of_dead_jobs_at_once() {
        let print = |number: u64| (number << NUMBER_BITS) | (number % 2);
        let mut repeats = Repeats::default();
        assert_eq!(repeats.prints.capacity(), 0);
        let all = SHARES_KEPT_MAX as u64 + 10;
        (0..all).for_each(|number| assert!(repeats.take(print(number))));
        assert_eq!(repeats.prints.len(), SHARES_KEPT_MAX);
        assert!(!repeats.take(print(10)) && !repeats.take(print(all - 1)) && repeats.take(print(9)));
        repeats.keep(|job| job == 1);
        // The odd ones of 10 to 265, and 9, which came last.
        assert_eq!(repeats.prints.len(), SHARES_KEPT_MAX / 2 + 1);
        assert!(!repeats.take(print(11)) && !repeats.take(print(9)));
        // Order has been kept: once there is no room again, 11 is the first to go and 9 the last.
        let room = SHARES_KEPT_MAX as u64 / 2 - 1;
        (0..=room).for_each(|number| assert!(repeats.take(print(10_000 + number))));
        assert!(!repeats.take(print(9)) && !repeats.take(print(13)) && repeats.take(print(11)));
    }
}
