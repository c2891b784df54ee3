//! Double SHA-256 as Bitcoin uses it, and what a hash says as a number. It knows nothing of jobs.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// A hash in the order in which it is hashed on: the least significant byte of the number is first.
pub(super) type Hash = [u8; 32];

/// What SHA-256 begins with.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// What stands behind a message of 64 bytes.
const AFTER_64: [u8; 64] = padding(0, 64);
/// A hash of difficulty one, as pools count it: 65,535 times 2^208.
const DIFFICULTY_ONE: f64 = 65_535.0 * TWO_104 * TWO_104;
#[allow(clippy::cast_precision_loss, reason = "a power of two")]
const TWO_104: f64 = (1_u128 << 104) as f64;

/// The end of a message of `bytes` bytes, of which `from` stand in its last block.
const fn padding(from: usize, bytes: u16) -> [u8; 64] {
    let mut block = [0; 64];
    block[from] = 0x80;
    let bits = (8 * bytes).to_be_bytes();
    block[62] = bits[0];
    block[63] = bits[1];
    block
}

fn bytes_of(state: [u32; 8]) -> Hash {
    let mut hash = [0; 32];
    for (four, word) in hash.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

/// SHA-256 of a hash.
fn again(first: [u32; 8]) -> Hash {
    const AFTER_32: [u8; 64] = padding(32, 32);
    let mut block = AFTER_32;
    block[..32].copy_from_slice(&bytes_of(first));
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    bytes_of(state)
}

/// The hash of a message that comes in pieces.
pub(super) fn of_pieces(pieces: &[&[u8]]) -> Hash {
    let mut first = Sha256::new();
    pieces.iter().for_each(|piece| first.update(piece));
    Sha256::digest(first.finalize()).into()
}

/// The hash of two hashes: a step up a Merkle tree.
pub(super) fn of_pair(left: &Hash, right: &Hash) -> Hash {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    let mut state = INITIAL;
    compress256(&mut state, &[block, AFTER_64]);
    again(state)
}

/// The hash of a block's header.
pub(super) fn of_header(header: &[u8; 80]) -> Hash {
    const AFTER_80: [u8; 64] = padding(16, 80);
    let (mut head, mut tail) = ([0; 64], AFTER_80);
    head.copy_from_slice(&header[..64]);
    tail[..16].copy_from_slice(&header[64..]);
    let mut state = INITIAL;
    compress256(&mut state, &[head, tail]);
    again(state)
}

/// The hash of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub(super) Hash);

impl Proof {
    /// The hash as people write it, the most significant byte first.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = self.0;
        hash.reverse();
        hash
    }

    /// How many times as hard as difficulty one: right to the last bit or two of an `f64`.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "at least 57 bits are left of the top, of which an f64 holds 53"
    )]
    pub fn difficulty(&self) -> f64 {
        let number = self.hash();
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let mut top = [0; 8];
        for (place, byte) in top.iter_mut().zip(&number[zeros..]) {
            *place = *byte;
        }
        // How many bits the top stands above the number's end; below zero for a hash that is nearly nothing.
        let above = 8 * (24 - i32::try_from(zeros).unwrap_or(24));
        let value = u64::from_be_bytes(top).max(1) as f64 * 2.0_f64.powi(above);
        DIFFICULTY_ONE / value
    }

    /// Whether it is a block, by the target in the compact form of a header. One that is negative, or beyond 256 bits, is
    /// met by nothing.
    #[must_use]
    pub fn meets(&self, nbits: u32) -> bool {
        target_of(nbits).is_some_and(|target| self.hash() <= target)
    }
}

/// The target, the most significant byte first.
fn target_of(nbits: u32) -> Option<[u8; 32]> {
    let [size, mantissa @ ..] = nbits.to_be_bytes();
    if mantissa[0] & 0x80 != 0 {
        return None;
    }
    let mut target = [0; 32];
    for (place, byte) in mantissa.into_iter().enumerate() {
        // The mantissa's first byte is number `size` of the target, counted from its end.
        match (32 + place).checked_sub(usize::from(size)) {
            Some(at) if at < 32 => target[at] = byte,
            // Below one: it is cut off.
            Some(_) => {}
            None if byte == 0 => {}
            None => return None,
        }
    }
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(top: &[u8], zeros: usize) -> Proof {
        let mut number = [0; 32];
        number[zeros..zeros + top.len()].copy_from_slice(top);
        number.reverse();
        Proof(number)
    }

    #[test]
    fn difficulties_are_what_the_hash_says_as_a_number() {
        for (top, zeros, difficulty) in [
            (&[0xff, 0xff][..], 4, 1.0),
            (&[0xff, 0xff], 5, 256.0),
            (&[0xff, 0xff], 3, 1.0 / 256.0),
            (&[0x7f, 0xff, 0x80], 4, 2.0),
            (&[0xff; 32], 0, 65_535.0 / 65_536.0 / 65_536.0 / 65_536.0),
            (&[1], 31, DIFFICULTY_ONE),
            (&[0], 31, DIFFICULTY_ONE / 2.0_f64.powi(-64)),
        ] {
            let found = number(top, zeros).difficulty();
            assert!((found / difficulty - 1.0).abs() < 1e-9, "{top:?} {zeros}: {found}");
            assert!(found.is_finite());
        }
        assert!((DIFFICULTY_ONE.log2() - 208.0 - 65_535.0_f64.log2()).abs() < 1e-12);
    }

    #[test]
    fn targets_are_read_as_nodes_read_them() {
        let at = |place: usize, bytes: &[u8]| {
            let mut target = [0; 32];
            target[place..place + bytes.len()].copy_from_slice(bytes);
            Some(target)
        };
        for (nbits, target) in [
            (0x1d00_ffff, at(3, &[0, 0xff, 0xff])),
            (0x207f_ffff, at(0, &[0x7f, 0xff, 0xff])),
            (0x0300_1234, at(29, &[0x00, 0x12, 0x34])),
            (0x0200_1234, at(30, &[0x00, 0x12])),
            (0x0112_3456, at(31, &[0x12])),
            (0x0012_3456, at(31, &[])),
            (0x2100_ffff, at(0, &[0xff, 0xff])),
            (0x2200_00ff, at(0, &[0xff])),
            (0x2112_3456, None),
            (0xff12_3456, None),
            (0x1d80_ffff, None),
        ] {
            assert_eq!(target_of(nbits), target, "{nbits:08x}");
        }
        assert!(number(&[0xff, 0xff], 4).meets(0x1d00_ffff), "the target itself is enough");
        assert!(!number(&[0xff, 0xff, 1], 4).meets(0x1d00_ffff));
    }

    #[test]
    fn the_ways_to_hash_agree() {
        let bytes: Vec<u8> = (0..80).collect();
        let header: [u8; 80] = bytes.clone().try_into().unwrap();
        assert_eq!(of_header(&header), of_pieces(&[&bytes[..7], &bytes[7..]]));
        let (left, right): (Hash, Hash) =
            (bytes[..32].try_into().unwrap(), bytes[32..64].try_into().unwrap());
        assert_eq!(of_pair(&left, &right), of_pieces(&[&bytes[..64]]));
    }
}
