//! What makes a share good, and the memory of the shares that came before.

use std::collections::HashSet;

use super::jobs::Jobs;
use super::peer::Peer;
use crate::wire::{SubmitParams, hex_number, hex_word};

/// Shares a connection remembers at least until it forgets the older half of twice as many.
const SEEN_HALF_MAX: usize = 32_768;

/// All that a miner may choose. The extranonce1 belongs to the connection and is never given out twice, so that a share is
/// unique in the pool when it is unique on its connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ShareKey {
    job: u64,
    extranonce2: u128,
    ntime: u32,
    nonce: u32,
    version_bits: u32,
}

/// The shares of one connection, in two generations: when the young one is full, the old one is forgotten.
#[derive(Default)]
pub(super) struct Seen {
    young: HashSet<ShareKey>,
    old: HashSet<ShareKey>,
}

impl Seen {
    /// Returns whether the share is new, and whether older ones were forgotten for it.
    fn insert(&mut self, key: ShareKey) -> (bool, bool) {
        if self.old.contains(&key) || !self.young.insert(key) {
            return (false, false);
        }
        if self.young.len() < SEEN_HALF_MAX {
            return (true, false);
        }
        let forgot = !self.old.is_empty();
        self.old = std::mem::take(&mut self.young);
        (true, forgot)
    }

    /// After a clean job no earlier share can be good again, so none needs remembering.
    pub(super) fn clear(&mut self) {
        *self = Seen::default();
    }
}

/// Why a share is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    UnknownJob,
    Duplicate,
    Unauthorized,
    NotSubscribed,
    LowDifficulty,
}

impl Refusal {
    /// The error as it is sent.
    pub(super) fn error(self) -> &'static str {
        match self {
            Refusal::Malformed => "[20,\"Malformed share\",null]",
            Refusal::UnknownJob => "[21,\"Job not found\",null]",
            Refusal::Duplicate => "[22,\"Duplicate share\",null]",
            Refusal::LowDifficulty => "[23,\"Low difficulty share\",null]",
            Refusal::Unauthorized => "[24,\"Unauthorized worker\",null]",
            Refusal::NotSubscribed => "[25,\"Not subscribed\",null]",
        }
    }
}

/// What the check saw beside good or bad.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) unpadded: bool,
    pub(super) version_bits: bool,
    pub(super) forgot: bool,
}

/// Checks all but the difficulty, and remembers the share.
pub(super) fn judge(
    peer: &mut Peer,
    jobs: &Jobs,
    params: Option<&SubmitParams<'_>>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let params = params.ok_or(Refusal::Malformed)?;
    if !peer.subscribed {
        return Err(Refusal::NotSubscribed);
    }
    if !peer.is_authorized(params.user()) {
        return Err(Refusal::Unauthorized);
    }
    let job =
        jobs.find(params.job_id()).filter(|&serial| serial >= peer.first_job).ok_or(Refusal::UnknownJob)?;
    let key = read_key(params, job, peer.extranonce2_size, peer.version_mask).ok_or(Refusal::Malformed)?;
    notes.unpadded = params.ntime().len() < 8 || params.nonce().len() < 8;
    notes.version_bits = params.version_bits().is_some();
    let (is_new, forgot) = peer.seen.insert(key);
    notes.forgot = forgot;
    if is_new { Ok(()) } else { Err(Refusal::Duplicate) }
}

fn read_key(
    params: &SubmitParams<'_>,
    job: u64,
    extranonce2_size: usize,
    mask: Option<u32>,
) -> Option<ShareKey> {
    if params.extranonce2().len() != extranonce2_size * 2 {
        return None;
    }
    let version_bits = match params.version_bits() {
        Some(bits) => hex_word(bits).filter(|bits| bits & !mask.unwrap_or(0) == 0)?,
        None => 0,
    };
    Some(ShareKey {
        job,
        extranonce2: hex_number(params.extranonce2(), extranonce2_size * 2)?,
        ntime: hex_word(params.ntime())?,
        nonce: hex_word(params.nonce())?,
        version_bits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(nonce: u32) -> ShareKey {
        ShareKey { job: 1, extranonce2: 2, ntime: 3, nonce, version_bits: 0 }
    }

    #[test]
    fn a_share_is_new_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.insert(key(1)), (true, false));
        assert_eq!(seen.insert(key(1)), (false, false));
        seen.clear();
        assert_eq!(seen.insert(key(1)), (true, false));
    }

    #[test]
    fn memory_is_bounded_and_says_when_it_forgets() {
        let mut seen = Seen::default();
        let mut forgotten = 0;
        for nonce in 0..SEEN_HALF_MAX as u32 * 5 {
            let (is_new, forgot) = seen.insert(key(nonce));
            assert!(is_new);
            forgotten += u32::from(forgot);
            assert!(seen.young.len() + seen.old.len() <= 2 * SEEN_HALF_MAX);
        }
        assert_eq!(forgotten, 4);
    }
}
