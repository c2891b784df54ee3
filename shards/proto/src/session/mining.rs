//! The work a miner has: where its shares live, how hard they are, which jobs it knows.

use super::ClientId;
use super::jobs::Jobs;
use super::packed::{Exact, PackedWork, UnpackError};
use super::repeats::Repeats;
use crate::limits::{EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX, EXTRANONCE2_MOVE_BYTES};
use crate::message::{JobId, Notify, Submit, SubscribeResult, is_hex_text};
use crate::proof::Extranonce1;
use crate::tick::Tick;
use smallvec::SmallVec;

/// The work a miner has. A new difficulty or extranonce counts from the next notify.
#[derive(Debug, Default)]
pub struct Mining {
    extranonce1: SmallVec<[u8; 16]>,
    /// Tells the extranonces of this connection apart.
    extranonce_number: u8,
    extranonce2_size: Option<u8>,
    next_extranonce2_size: Option<u8>,
    difficulty: f64,
    next_difficulty: f64,
    version_mask: u32,
    /// Version bits as the pool named them: its answer goes to the miner as it came, whatever the miner had asked for.
    pool_mask: u32,
    pub(super) jobs: Jobs,
    pub(super) repeats: Repeats,
}

impl Mining {
    /// None yet, of this client.
    pub(super) fn of(client: ClientId) -> Mining {
        Mining { repeats: Repeats::of(client), ..Mining::default() }
    }

    pub(super) fn pack(&self) -> Option<PackedWork> {
        Some(PackedWork {
            extranonce1: str::from_utf8(&self.extranonce1).ok()?.to_owned(),
            extranonce2_size: self.extranonce2_size,
            next_extranonce2_size: self.next_extranonce2_size,
            difficulty: Exact(self.difficulty),
            next_difficulty: Exact(self.next_difficulty),
            version_mask: self.version_mask,
            pool_mask: self.pool_mask,
            jobs: self.jobs.pack(),
            repeats: self.repeats.pack(),
        })
    }

    pub(super) fn unpack(packed: &PackedWork, now: Tick) -> Result<Mining, UnpackError> {
        let extranonce1 = &packed.extranonce1;
        if extranonce1.len() > 2 * EXTRANONCE1_BYTES_MAX {
            return Err(UnpackError::TooMuch("extranonce1"));
        }
        if !extranonce1.len().is_multiple_of(2) || !is_hex_text(extranonce1) {
            return Err(UnpackError::Impossible("extranonce1"));
        }
        let sizes = [packed.extranonce2_size, packed.next_extranonce2_size];
        if !sizes.iter().flatten().all(|size| (1..=EXTRANONCE2_BYTES_MAX).contains(&usize::from(*size))) {
            return Err(UnpackError::Impossible("extranonce2_size"));
        }
        Ok(Mining {
            extranonce1: SmallVec::from_slice(extranonce1.as_bytes()),
            extranonce_number: 0,
            extranonce2_size: packed.extranonce2_size,
            next_extranonce2_size: packed.next_extranonce2_size,
            difficulty: packed.difficulty.0,
            next_difficulty: packed.next_difficulty.0,
            version_mask: packed.version_mask,
            pool_mask: packed.pool_mask,
            jobs: Jobs::unpack(&packed.jobs, now)?,
            repeats: Repeats::unpack(&packed.repeats)?,
        })
    }

    /// The difficulty of the newest job; zero before the first.
    #[must_use]
    pub fn difficulty(&self) -> f64 {
        self.difficulty
    }

    /// Bytes of extranonce2 that the newest job wants, once the pool said so.
    #[must_use]
    pub fn extranonce2_size(&self) -> Option<u8> {
        self.extranonce2_size
    }

    /// Version bits that the miner may roll; zero before they were negotiated.
    #[must_use]
    pub fn version_mask(&self) -> u32 {
        self.version_mask
    }

    /// How many jobs are remembered that no newer one has voided, at most [`JOBS_MAX`](crate::limits::JOBS_MAX).
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Whether the extranonce2 of a share has a size that the pool asked for: the present one, or around a change
    /// of extranonce the coming one.
    #[must_use]
    pub fn fits(&self, submit: &Submit<'_>) -> bool {
        let digits = |size: Option<u8>| size.map(|bytes| 2 * usize::from(bytes));
        let given = Some(submit.extranonce2.len());
        self.extranonce2_size.is_none()
            || digits(self.extranonce2_size) == given
            || digits(self.next_extranonce2_size) == given
    }

    /// The difficulty that a share on this job was asked for; the present one for a job that was forgotten.
    #[must_use]
    pub fn difficulty_of(&self, id: JobId) -> f64 {
        self.jobs.difficulty_of(id).unwrap_or(self.difficulty)
    }

    pub(crate) fn set_difficulty(&mut self, difficulty: f64) {
        self.next_difficulty = difficulty;
    }

    /// The pool named these version bits, of which the miner `wanted` some.
    pub(crate) fn set_version_mask(&mut self, named: u32, wanted: u32) {
        self.version_mask = named & wanted;
        self.pool_mask = named;
        self.jobs.grant(named);
    }

    pub(crate) fn subscribed(&mut self, result: &SubscribeResult<'_>) {
        self.set_extranonce1(result.extranonce1);
        self.extranonce2_size = result.extranonce2_size;
        self.next_extranonce2_size = result.extranonce2_size;
    }

    /// Whether this is the extranonce that the miner has already.
    #[must_use]
    pub fn has_extranonce(&self, set: &SubscribeResult<'_>) -> bool {
        let size = set.extranonce2_size.or(self.next_extranonce2_size);
        self.extranonce1.eq_ignore_ascii_case(set.extranonce1.as_bytes())
            && size == self.next_extranonce2_size
    }

    pub(crate) fn set_extranonce(&mut self, set: &SubscribeResult<'_>) {
        self.set_extranonce1(set.extranonce1);
        if set.extranonce2_size.is_some() {
            self.next_extranonce2_size = set.extranonce2_size;
        }
    }

    fn set_extranonce1(&mut self, digits: &str) {
        let is_other = !self.extranonce1.eq_ignore_ascii_case(digits.as_bytes());
        // Jobs that came before the first one are for it.
        if is_other && !self.extranonce1.is_empty() {
            self.extranonce_number = self.extranonce_number.wrapping_add(1);
        }
        self.extranonce1 = SmallVec::from_slice(digits.as_bytes());
    }

    /// Tells the present extranonce1 from those before.
    pub(super) fn extranonce_number(&self) -> u8 {
        self.extranonce_number
    }

    /// The present extranonce1, decoded.
    pub(super) fn extranonce1(&self) -> Option<Extranonce1> {
        Extranonce1::read(&self.extranonce1)
    }

    /// The easier one of a job's difficulty and that which counts from the next job on.
    pub(super) fn easiest(&self, difficulty: f64) -> f64 {
        difficulty.min(self.next_difficulty)
    }

    /// The extranonce1 in hexadecimal, and the bytes of extranonce2 that go with it.
    pub(crate) fn extranonce(&self) -> (&[u8], u8) {
        (&self.extranonce1, self.next_extranonce2_size.unwrap_or(0))
    }

    /// Whether the miner, which has an extranonce, can take this one by being told.
    pub(crate) fn can_take(&self, set: &SubscribeResult<'_>) -> bool {
        let is_usual = set.extranonce2_size.is_some_and(|size| EXTRANONCE2_MOVE_BYTES.contains(&size));
        is_usual || set.extranonce2_size == self.next_extranonce2_size
    }

    /// Whether a difficulty counts from the next notify.
    pub(crate) fn has_difficulty(&self) -> bool {
        self.next_difficulty > 0.0
    }

    /// Its pool is gone, and the jobs and the difficulty with it. Extranonce and mask are what the miner still has.
    pub(crate) fn lose_pool(&mut self) {
        self.jobs.clear();
        self.repeats.clear();
        self.next_difficulty = 0.0;
    }

    /// A new job. `jobs_us`: how long it is good once there is a newer one.
    pub(crate) fn notify(&mut self, notify: &Notify, now: Tick, jobs_us: u64) {
        self.difficulty = self.next_difficulty;
        self.extranonce2_size = self.next_extranonce2_size;
        let terms = (self.pool_mask, self.extranonce_number);
        if self.jobs.take(notify, self.difficulty, terms, now, jobs_us) {
            self.repeats.keep(|number| self.jobs.has(number));
        }
    }
}
