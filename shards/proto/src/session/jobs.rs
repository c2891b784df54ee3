//! The jobs that a pool connection gave, for as long as a share for one of them may be good.
//!
//! It refuses to judge what it cannot know: where a job may be alive that it had to forget, or that came before it began to
//! listen, a job that it does not know is nobody's fault.

use super::packed::{Exact, PackedJob, PackedJobs, UnpackError};
use crate::limits::{JOBS_MAX, NTIME_AHEAD_S_MAX, VOID_JOB_GRACE_US};
use crate::message::{JobId, Notify};
use crate::proof::WorkId;
use crate::tick::Tick;
use std::ops::RangeInclusive;

/// One job, as it was given once.
#[derive(Debug, Clone, Copy)]
struct Job {
    id: JobId,
    difficulty: f64,
    at: Tick,
    ntime: u32,
    /// Version bits that were granted at some time since the job came, or when it came.
    mask: u32,
    number: u8,
    /// Which of the extranonces of its connection it is for.
    extranonce: u8,
    /// How it is hashed, where the shard knows.
    work: Option<WorkId>,
    /// It voids all before it.
    is_clean: bool,
}

/// Jobs in the order in which they came, at most [`JOBS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Jobs {
    known: Vec<Job>,
    /// From when on a job that is not known was never given, or is dead; `None` while nobody can tell.
    whole_from: Option<Tick>,
}

/// What is known of the job of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may have been given, and be good.
    Untold,
    /// It was never given, or long ago.
    Unknown,
    /// It is void, or too old.
    Stale,
    /// It is good.
    Good(Terms),
}

/// What a share for a good job is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// Times that the share may have.
    pub(super) ntime: RangeInclusive<u64>,
    /// Version bits that it may have.
    pub(super) mask: u32,
    /// The job's number, which no other job has that is remembered.
    pub(super) number: u8,
    /// Which of the extranonces of its connection the job is for.
    pub(super) extranonce: u8,
    /// How the job is hashed, where that is known.
    pub(super) work: Option<WorkId>,
    /// When the job came.
    pub(super) since: Tick,
}

impl Terms {
    fn is_hashed_as(&self, other: &Terms) -> bool {
        (self.work, self.extranonce) == (other.work, other.extranonce)
    }
}

impl Jobs {
    /// Jobs that are not void.
    pub(super) fn len(&self) -> usize {
        let clean = self.known.iter().rposition(|job| job.is_clean);
        self.known.len() - clean.unwrap_or(0)
    }

    /// The difficulty of the newest job of this id.
    pub(super) fn difficulty_of(&self, id: JobId) -> Option<f64> {
        self.known.iter().rev().find(|job| job.id == id).map(|job| job.difficulty)
    }

    /// Whether the job of this number is remembered.
    pub(super) fn has(&self, number: u8) -> bool {
        self.known
            .first()
            .is_some_and(|first| usize::from(number.wrapping_sub(first.number)) < self.known.len())
    }

    /// These version bits are granted from now on.
    pub(super) fn grant(&mut self, mask: u32) {
        self.known.iter_mut().for_each(|job| job.mask |= mask);
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.whole_from = None;
    }

    pub(super) fn pack(&self) -> PackedJobs {
        let pack = |job: &Job| {
            // The works that jobs are hashed by stay with their shard: shares of these jobs are not hashed elsewhere.
            let Job { id, difficulty, at, ntime, mask, number: _, extranonce: _, work: _, is_clean } = *job;
            PackedJob { id, difficulty: Exact(difficulty), at, ntime, mask, is_clean }
        };
        let first = self.known.first().map_or(0, |first| first.number);
        PackedJobs { known: self.known.iter().map(pack).collect(), first, whole_from: self.whole_from }
    }

    pub(super) fn unpack(packed: &PackedJobs, now: Tick) -> Result<Jobs, UnpackError> {
        if packed.known.len() > JOBS_MAX {
            return Err(UnpackError::TooMuch("jobs"));
        }
        let numbers = std::iter::successors(Some(packed.first), |number| Some(number.wrapping_add(1)));
        let unpack = |(job, number): (&PackedJob, u8)| {
            let PackedJob { id, difficulty: Exact(difficulty), at, ntime, mask, is_clean } = *job;
            Job { id, difficulty, at: at.by(now), ntime, mask, number, extranonce: 0, work: None, is_clean }
        };
        let known = packed.known.iter().zip(numbers).map(unpack).collect();
        Ok(Jobs { known, whole_from: packed.whole_from })
    }

    /// Takes a new job; true when older ones had to be forgotten for it. `jobs_us`: how long a job is good once there is a
    /// newer one.
    pub(super) fn take(
        &mut self,
        notify: &Notify,
        difficulty: f64,
        (mask, extranonce): (u32, u8),
        now: Tick,
        jobs_us: u64,
    ) -> bool {
        let number = self.known.last().map_or(0, |newest| newest.number.wrapping_add(1));
        let dead = self.dead(now, jobs_us);
        let mut forgotten = 0;
        if notify.clean_jobs {
            forgotten = dead;
            self.whole_from = self.whole_from.or(Some(now + VOID_JOB_GRACE_US));
        }
        if self.known.len() - forgotten == JOBS_MAX {
            forgotten += 1;
            if forgotten > dead {
                // It may be alive; the next clean job voids it.
                self.whole_from = notify.clean_jobs.then_some(now + VOID_JOB_GRACE_US);
            }
        }
        self.known.drain(..forgotten);
        if self.known.capacity() == 0 {
            // A miner that has just come has one job, and a list grows by four at least.
            self.known.reserve_exact(1);
        }
        let Notify { job: id, ntime, clean_jobs: is_clean, work, .. } = *notify;
        self.known.push(Job { id, difficulty, at: now, ntime, mask, number, extranonce, work, is_clean });
        forgotten > 0
    }

    /// How many jobs are dead: the oldest ones, since each dies no later than those that came after it.
    fn dead(&self, now: Tick, jobs_us: u64) -> usize {
        self.known.len() - self.alive(now, jobs_us).count()
    }

    /// Jobs that shares may be for, newest first. The newest is good however old it is: the miner has no other.
    fn alive(&self, now: Tick, jobs_us: u64) -> impl Iterator<Item = &Job> {
        let (mut followed, mut voided) = (None::<Tick>, None::<Tick>);
        self.known.iter().rev().take_while(move |job| {
            let is_old = followed.is_some_and(|at| now.since(at) >= jobs_us);
            let is_void = voided.is_some_and(|at| now.since(at) >= VOID_JOB_GRACE_US);
            followed = Some(job.at);
            voided = if job.is_clean { Some(job.at) } else { voided };
            !is_old && !is_void
        })
    }

    /// Where the job of a share stands. Pools give an id again: then the share may be for either, and is held to what
    /// any of them allows.
    pub(super) fn find(&self, id: JobId, now: Tick, jobs_us: u64) -> Standing {
        let terms = self.alive(now, jobs_us).filter(|job| job.id == id).map(|job| Terms {
            ntime: u64::from(job.ntime)
                ..=u64::from(job.ntime) + NTIME_AHEAD_S_MAX + now.since(job.at).div_ceil(1_000_000),
            mask: job.mask,
            number: job.number,
            extranonce: job.extranonce,
            work: job.work,
            since: job.at,
        });
        let either = terms.reduce(|newer, older| Terms {
            ntime: (*newer.ntime.start()).min(*older.ntime.start())
                ..=(*newer.ntime.end()).max(*older.ntime.end()),
            mask: newer.mask | older.mask,
            // Which of them it is for cannot be told, unless they are the same.
            work: newer.work.filter(|_| newer.is_hashed_as(&older)),
            ..newer
        });
        match either {
            Some(terms) => Standing::Good(terms),
            None if self.known.iter().any(|job| job.id == id) => Standing::Stale,
            None if self.whole_from.is_some_and(|from| now >= from) => Standing::Unknown,
            None => Standing::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session keeps one for each job that it remembers.
    #[test]
    fn a_job_stays_small() {
        assert_eq!(size_of::<Job>(), 40);
    }
}
