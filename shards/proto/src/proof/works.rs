//! The jobs of one shard, as they are hashed: each once, however many miners have it.
//!
//! It refuses to grow beyond [`WORKS_MAX`] jobs and [`WORKS_BYTES_MAX`] bytes: a pool that gives each miner a job of its own
//! has the oldest forgotten, and shares for them have no figure.

use super::work::Work;
use crate::limits::{WORKS_BYTES_MAX, WORKS_MAX, WORKS_MIN};
use crate::tick::Tick;
use crate::wire::Json;
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// Jobs that a new one is held against, the newest first: pools give the same job to others under another id.
const COMPARED: usize = 4;

/// Names a job of the shard, for as long as it is kept. Numbers come round after four thousand million jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkId(NonZeroU32);

/// The newest jobs of one shard.
#[derive(Debug, Default)]
pub(crate) struct Works {
    /// In the order in which they came.
    kept: VecDeque<Work>,
    /// The number of the first.
    first: u32,
    /// What all of them take.
    bytes: usize,
    /// Where the next is decoded.
    next: Work,
}

impl Works {
    /// Takes a job, whose parameters have been checked; none is older than `keep_us` afterwards but the newest few.
    pub(crate) fn learn(&mut self, params: Json<'_>, now: Tick, keep_us: u64) -> Option<WorkId> {
        let mut next = std::mem::take(&mut self.next);
        if !next.read(params, now) {
            self.next = next;
            return None;
        }
        let known =
            self.kept.iter_mut().enumerate().rev().take(COMPARED).find(|(_, work)| work.is_same(&next));
        if let Some((place, work)) = known {
            if work.job != next.job {
                work.job.clear();
            }
            self.next = next;
            return self.id_of(place);
        }
        self.make_room(now, keep_us, next.size());
        self.keep(next)
    }

    /// Forgets the oldest, until there is room for another of so many bytes.
    pub(super) fn make_room(&mut self, now: Tick, keep_us: u64, bytes: usize) {
        while self.is_full(now, keep_us, bytes) {
            self.forget_oldest();
        }
    }

    pub(super) fn keep(&mut self, work: Work) -> Option<WorkId> {
        self.bytes += work.size();
        self.kept.push_back(work);
        self.id_of(self.kept.len() - 1)
    }

    fn is_full(&self, now: Tick, keep_us: u64, more: usize) -> bool {
        let Some(oldest) = self.kept.front() else { return false };
        let is_old = self.kept.len() >= WORKS_MIN && now.since(oldest.at) > keep_us;
        is_old || self.kept.len() >= WORKS_MAX || self.bytes + more > WORKS_BYTES_MAX
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= oldest.size();
            self.first = self.first.wrapping_add(1);
            self.next = oldest;
        }
    }

    /// Forgets all of them, and gives no name again.
    pub(crate) fn forget_all(&mut self) {
        while !self.kept.is_empty() {
            self.forget_oldest();
        }
    }

    fn id_of(&self, place: usize) -> Option<WorkId> {
        let number = self.first.wrapping_add(u32::try_from(place).ok()?);
        // One job in four thousand million has none, and no figures.
        NonZeroU32::new(number.wrapping_add(1)).map(WorkId)
    }

    /// The job of this name, if it is still kept.
    pub(super) fn get(&self, id: WorkId) -> Option<&Work> {
        let place = id.0.get().wrapping_sub(1).wrapping_sub(self.first);
        self.kept.get(usize::try_from(place).ok()?)
    }

    /// The version in the header of this job, if it is still kept.
    pub(crate) fn version_of(&self, id: WorkId) -> Option<u32> {
        Some(self.get(id)?.version)
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }
}
