//! One job as it is hashed, and what a share adds to it. It refuses to read what [`Notify`](crate::message::Notify) has not
//! checked before.

use super::hash::{self, Hash, Proof};
use super::works::WorkId;
use crate::limits::{BRANCHES_MAX, EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX, JOB_TEXT_CHARS_MAX};
use crate::message::Submit;
use crate::tick::Tick;
use crate::wire::{Json, JsonKind};

/// The words of a job, decoded. Buffers are used again for another job.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The first part of the coinbase, the second, then the branches.
    bytes: Vec<u8>,
    coinbase1: usize,
    coinbase2: usize,
    pub(super) version: u32,
    pub(super) nbits: u32,
    /// As it stands in a header.
    prev_hash: Hash,
    /// The job's id as the pool writes it, cut; empty where it gives the same job under several.
    pub(super) job: String,
    /// When it came.
    pub(super) at: Tick,
}

/// A share on trial: what of it is hashed, besides its job and the extranonce1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(super) work: WorkId,
    version: u32,
    ntime: u32,
    nonce: u32,
    extranonce2: [u8; EXTRANONCE2_BYTES_MAX],
    extranonce2_bytes: u8,
    /// Which of the extranonces of its connection it was made with.
    pub(crate) extranonce: u8,
}

/// An extranonce1, decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extranonce1 {
    bytes: [u8; EXTRANONCE1_BYTES_MAX],
    len: u8,
}

impl Extranonce1 {
    /// Reads what the pool gave; `None` for what is none.
    pub(crate) fn read(digits: &[u8]) -> Option<Extranonce1> {
        let mut bytes = [0; EXTRANONCE1_BYTES_MAX];
        let len = decode_into(digits, &mut bytes)?;
        Some(Extranonce1 { bytes, len })
    }
}

impl Trial {
    /// `version`: of the job. `mask`: the bits that the miner may choose. `extranonce`: the number of the extranonce1. `None`
    /// for a share with bits outside of these, or with half a byte of extranonce: what a pool makes of it is not known.
    pub(crate) fn of(
        submit: &Submit<'_>,
        work: WorkId,
        version: u32,
        mask: u32,
        extranonce: u8,
    ) -> Option<Trial> {
        let version = match submit.version_bits {
            None => version,
            Some(bits) if bits & !mask != 0 => return None,
            Some(bits) => version & !mask | bits,
        };
        let mut extranonce2 = [0; EXTRANONCE2_BYTES_MAX];
        let extranonce2_bytes = decode_into(submit.extranonce2.as_bytes(), &mut extranonce2)?;
        let (ntime, nonce) = (submit.ntime, submit.nonce);
        Some(Trial { work, version, ntime, nonce, extranonce2, extranonce2_bytes, extranonce })
    }
}

impl Work {
    /// Takes a job whose parameters have been checked; false where something is not as it has to be.
    pub(super) fn read(&mut self, params: Json<'_>, now: Tick) -> bool {
        self.bytes.clear();
        self.job.clear();
        self.at = now;
        self.decode(params).is_some()
    }

    fn decode(&mut self, params: Json<'_>) -> Option<()> {
        let mut items = params.items();
        self.keep_id(items.next()?);
        let prev_hash = items.next()?.as_str()?;
        decode_into(prev_hash.as_bytes(), &mut self.prev_hash)?;
        // Pools write it as eight numbers of 32 bits, which stand the other way round in a header.
        self.prev_hash.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        self.coinbase1 = self.push(items.next()?)?;
        self.coinbase2 = self.push(items.next()?)?;
        let branches = items.next().filter(|list| list.kind() == JsonKind::Array)?;
        for branch in branches.items().take(BRANCHES_MAX) {
            self.push(branch).filter(|bytes| *bytes == size_of::<Hash>())?;
        }
        let mut number = || u32::from_str_radix(items.next()?.as_str()?, 16).ok();
        (self.version, self.nbits) = (number()?, number()?);
        Some(())
    }

    fn keep_id(&mut self, job: Json<'_>) {
        match (job.as_str(), job.as_i64()) {
            (Some(text), _) => self.job.extend(text.chars().take(JOB_TEXT_CHARS_MAX)),
            (None, Some(number)) => self.job.push_str(&number.to_string()),
            (None, None) => {}
        }
    }

    /// Decodes hexadecimal behind what there is; how many bytes it was.
    fn push(&mut self, text: Json<'_>) -> Option<usize> {
        let (pairs, _) = text.as_str()?.as_bytes().as_chunks::<2>();
        let before = self.bytes.len();
        self.bytes.resize(before + pairs.len(), 0);
        decode(pairs, &mut self.bytes[before..]).then_some(pairs.len())
    }

    /// Whether shares for one are shares for the other, whatever their ids and times.
    pub(super) fn is_same(&self, other: &Work) -> bool {
        (self.version, self.nbits, self.coinbase1, self.coinbase2)
            == (other.version, other.nbits, other.coinbase1, other.coinbase2)
            && self.prev_hash == other.prev_hash
            && self.bytes == other.bytes
    }

    /// Memory that it keeps, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Work>() + self.bytes.capacity() + self.job.capacity()
    }

    /// Hashes a share for this job.
    pub(super) fn prove(&self, trial: &Trial, extranonce1: &Extranonce1) -> Proof {
        let (coinbase1, rest) = self.bytes.split_at(self.coinbase1);
        let (coinbase2, branches) = rest.split_at(self.coinbase2);
        let extranonce1 = &extranonce1.bytes[..usize::from(extranonce1.len)];
        let extranonce2 = &trial.extranonce2[..usize::from(trial.extranonce2_bytes)];
        let coinbase = hash::of_pieces(&[coinbase1, extranonce1, extranonce2, coinbase2]);
        let (branches, _) = branches.as_chunks::<32>();
        let root = branches.iter().fold(coinbase, |left, right| hash::of_pair(&left, right));
        Proof(hash::of_header(&self.header(trial, &root)))
    }

    fn header(&self, trial: &Trial, root: &Hash) -> [u8; 80] {
        let mut header = [0; 80];
        header[..4].copy_from_slice(&trial.version.to_le_bytes());
        header[4..36].copy_from_slice(&self.prev_hash);
        header[36..68].copy_from_slice(root);
        header[68..72].copy_from_slice(&trial.ntime.to_le_bytes());
        header[72..76].copy_from_slice(&self.nbits.to_le_bytes());
        header[76..].copy_from_slice(&trial.nonce.to_le_bytes());
        header
    }
}

/// Decodes hexadecimal into the beginning of `bytes`; how many it was. `None` for half a byte, for more than there is room
/// for, and for what is no digit.
fn decode_into(digits: &[u8], bytes: &mut [u8]) -> Option<u8> {
    let (pairs, half) = digits.as_chunks::<2>();
    if !half.is_empty() || pairs.len() > bytes.len() {
        return None;
    }
    decode(pairs, bytes).then_some(u8::try_from(pairs.len()).ok()?)
}

/// Decodes as many bytes as there are; false where something is no digit. It looks at all of them, whatever it finds, which
/// is faster than to stop at the first that is none.
fn decode(pairs: &[[u8; 2]], bytes: &mut [u8]) -> bool {
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    seen & NO_DIGIT == 0
}

/// A bit that no digit has.
const NO_DIGIT: u8 = 0x80;
/// What each character is worth as a hexadecimal digit.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    while value < 10 {
        values[(b'0' + value) as usize] = value;
        value += 1;
    }
    while value < 16 {
        values[(b'a' + value - 10) as usize] = value;
        values[(b'A' + value - 10) as usize] = value;
        value += 1;
    }
    values
}
