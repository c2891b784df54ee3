//! The hash of a share, made from the very lines that were said, and with another SHA-256 than the proxy's: what the proxy
//! says of a share can be held against it. It is slow, and refuses to care.

use crate::wire::{Message, hex_number, hex_word, text_of};
use ring::digest::{SHA256, digest};

/// What a miner chooses, each as it is written in a `mining.submit`.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    pub extranonce2: &'a str,
    pub ntime: &'a str,
    pub nonce: &'a str,
    pub version_bits: Option<&'a str>,
}

/// A share, hashed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashedShare {
    /// The most significant byte first.
    pub hash: [u8; 32],
    pub difficulty: f64,
    /// Whether the hash meets the target of the job's own nbits.
    pub is_block: bool,
}

impl HashedShare {
    /// Hashes a share for the job of a `mining.notify` line. `mask`: the version bits that the miner may choose.
    ///
    /// `None` where something is not as it has to be.
    pub fn of(notify: &[u8], extranonce1: &str, choice: &Choice<'_>, mask: u32) -> Option<HashedShare> {
        let message = Message::parse(notify).ok()?;
        let params = message.param_list();
        let text = |at: usize| params.get(at).and_then(|value| text_of(value));
        let branches: Vec<String> = serde_json::from_str(params.get(4)?.get()).ok()?;
        let coinbase = [&text(2)?, extranonce1, choice.extranonce2, &text(3)?].concat();
        let mut root = twice(&bytes(&coinbase)?);
        for branch in &branches {
            root = twice(&[root, bytes(branch)?].concat());
        }
        let version = match choice.version_bits {
            Some(bits) => hex_word(&text(5)?)? & !mask | hex_word(bits)? & mask,
            None => hex_word(&text(5)?)?,
        };
        let nbits = hex_word(&text(6)?)?;
        let mut header = Vec::with_capacity(80);
        header.extend(version.to_le_bytes());
        for at in (0..64).step_by(8) {
            header.extend(hex_word(text(1)?.get(at..at + 8)?)?.to_le_bytes());
        }
        header.extend(root);
        for word in [hex_word(choice.ntime)?, nbits, hex_word(choice.nonce)?] {
            header.extend(word.to_le_bytes());
        }
        let mut hash: [u8; 32] = twice(&header).try_into().ok()?;
        hash.reverse();
        Some(HashedShare { hash, difficulty: difficulty_of(&hash), is_block: is_block(&hash, nbits)? })
    }

    /// The hash as people write it.
    pub fn hex(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    (0..digits.len()).step_by(2).map(|at| Some(hex_number(digits.get(at..at + 2)?, 2)? as u8)).collect()
}

fn twice(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, digest(&SHA256, bytes).as_ref()).as_ref().to_vec()
}

/// A number of 256 bits as a float, from its halves.
fn number(bytes: &[u8; 32]) -> f64 {
    let half =
        |from: usize| bytes[from..from + 16].iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    half(0) as f64 * 2.0_f64.powi(128) + half(16) as f64
}

fn difficulty_of(hash: &[u8; 32]) -> f64 {
    let mut one = [0; 32];
    (one[4], one[5]) = (0xff, 0xff);
    number(&one) / number(hash)
}

fn is_block(hash: &[u8; 32], nbits: u32) -> Option<bool> {
    let (size, mantissa) = (usize::try_from(nbits >> 24).ok()?, nbits & 0x00ff_ffff);
    let mut target = [0; 32];
    // What is asked of jobs here: a target that is neither negative nor too small or large to be written so.
    let at = 32_usize.checked_sub(size).filter(|at| *at <= 29 && mantissa < 0x0080_0000)?;
    target[at..at + 3].copy_from_slice(&mantissa.to_be_bytes()[1..]);
    Some(hash <= &target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first block: its coinbase, cut where an extranonce could be.
    const NOTIFY: &str = "{\"method\":\"mining.notify\",\"params\":[\"j\",\
        \"0000000000000000000000000000000000000000000000000000000000000000\",\
        \"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104\",\
        \"65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f72\
        2062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6\
        bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000\",\
        [],\"00000001\",\"1d00ffff\",\"495fab29\",true]}";

    #[test]
    fn the_first_block_has_its_hash() {
        let choice =
            Choice { extranonce2: "2054696d", ntime: "495fab29", nonce: "7c2bac1d", version_bits: None };
        let share = HashedShare::of(NOTIFY.as_bytes(), "45546865", &choice, 0).unwrap();
        assert_eq!(share.hex(), "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f");
        assert!(share.is_block && (share.difficulty - 2_536.426_298_445_310_3).abs() < 1e-9);
        let rolled = Choice { version_bits: Some("1"), ..choice };
        assert_eq!(HashedShare::of(NOTIFY.as_bytes(), "45546865", &rolled, 1), Some(share));
        let wrong = Choice { nonce: "7c2bac1e", ..choice };
        assert!(!HashedShare::of(NOTIFY.as_bytes(), "45546865", &wrong, 0).unwrap().is_block);
        assert_eq!(HashedShare::of(b"{}", "45546865", &choice, 0), None);
    }
}
