//! Jobs: what a session keeps of one, and what a shard keeps of the few that it is sent most.
//!
//! A pool sends a new job to every miner in the same words. The words are checked once for each shard and remembered; who
//! is sent them again is spared the check, which for two kilobytes of hexadecimal costs more than all else that is done
//! with them. It refuses to guess: only a line that is the same to the last byte is known.

use crate::limits::{JOB_BODIES_MAX, JOB_BODY_BYTES_MAX};
use crate::message::Notify;
use crate::proof::{Claim, Claims, WorkId, Works};
use crate::stats::Stats;
use crate::tick::Tick;
use crate::wire::{Envelope, Json, fingerprint};
use crate::workers::Workers;
use serde::{Deserialize, Serialize};

/// Tells jobs apart. Pools give ids of any kind; a session keeps eight bytes of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(u64);

impl JobId {
    /// The job of a share, whose id was cut out of the line.
    pub(crate) fn of_text(text: &str) -> JobId {
        JobId(fingerprint(text.as_bytes()))
    }

    /// A job's id is a string or, from some miners, the same digits as a number.
    pub(crate) fn of(job: Json<'_>) -> JobId {
        JobId(match (job.as_str(), job.as_i64()) {
            (Some(text), _) => fingerprint(text.as_bytes()),
            (None, Some(number)) => {
                let mut digits = [0_u8; 20];
                fingerprint(write_digits(&mut digits, number))
            }
            (None, None) => 0,
        })
    }
}

fn write_digits(buffer: &mut [u8; 20], number: i64) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// The newest job bodies of one shard, each with what its check found; and what it takes to hash shares for them.
#[derive(Debug)]
pub struct JobBodies {
    known: Vec<(Vec<u8>, Notify)>,
    /// The one that is forgotten next.
    oldest: usize,
    is_on: bool,
    works: Works,
    claims: Claims,
    hashes: bool,
}

impl Default for JobBodies {
    fn default() -> Self {
        JobBodies::new(true)
    }
}

impl JobBodies {
    /// An empty store; one that is not `is_on` remembers nothing.
    #[must_use]
    pub fn new(is_on: bool) -> JobBodies {
        JobBodies {
            known: Vec::new(),
            oldest: 0,
            is_on,
            works: Works::default(),
            claims: Claims::default(),
            hashes: true,
        }
    }

    /// Whether shares are hashed, which they are unless this is called.
    #[must_use]
    pub fn hashing(mut self, hashes: bool) -> JobBodies {
        self.hashes = hashes;
        self
    }

    /// Whether shares are hashed from now on: those for jobs that come from now on, or none at all.
    pub fn set_hashing(&mut self, hashes: bool) {
        if hashes == self.hashes {
            return;
        }
        self.hashes = hashes;
        self.works.forget_all();
        // Their words would be known, and how they are hashed would not.
        self.known.clear();
        self.oldest = 0;
    }

    /// Whether answered shares wait to be hashed.
    #[must_use]
    pub fn has_claims(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Hashes at most `max` of the shares that wait for it. To be called when what was to be said has been sent, and with no
    /// bound before [`Workers::tell`]: until then it is known whose they are.
    pub fn prove(&mut self, max: usize, workers: &mut Workers, stats: &mut Stats) {
        self.claims.prove(max, &self.works, workers, stats);
    }

    /// Of the shares that are answered from now on, so many are hashed, until this is called again; all, where it never is.
    pub fn allow_hashes(&mut self, count: u32) {
        self.claims.allow(count);
    }

    /// Whether another share may be hashed.
    pub(crate) fn take_allowance(&mut self) -> bool {
        self.claims.take_allowance()
    }

    /// A share is to be hashed.
    pub(crate) fn claim(&mut self, claim: Claim, workers: &mut Workers, stats: &mut Stats) {
        self.claims.push(claim, &self.works, workers, stats);
    }

    /// The version in the header of this job, if it is still kept.
    pub(crate) fn version_of(&self, work: WorkId) -> Option<u32> {
        self.works.version_of(work)
    }

    /// What a line means that came before, to this miner or to another.
    pub(crate) fn find(&self, line: &[u8]) -> Option<Notify> {
        self.known.iter().find(|(body, _)| body.as_slice() == line).map(|(_, notify)| *notify)
    }

    /// Remembers a message that was found to be this job, and gives the job as it is known from now on. `keep_us`: how long
    /// shares for a job may come once there is a newer one.
    pub(crate) fn learn(
        &mut self,
        envelope: &Envelope<'_>,
        notify: Notify,
        now: Tick,
        keep_us: u64,
    ) -> Notify {
        let params = envelope.params.filter(|_| self.hashes);
        let work = params.and_then(|params| self.works.learn(params, now, keep_us));
        let notify = Notify { work, ..notify };
        self.keep(envelope.line, notify);
        notify
    }

    /// Keeps a line in the place of the oldest.
    fn keep(&mut self, line: &[u8], notify: Notify) {
        if !self.is_on || line.len() > JOB_BODY_BYTES_MAX {
            return;
        }
        if self.known.len() < JOB_BODIES_MAX {
            self.known.push((line.to_vec(), notify));
            return;
        }
        let (body, known) = &mut self.known[self.oldest];
        body.clear();
        body.extend_from_slice(line);
        *known = notify;
        self.oldest = (self.oldest + 1) % JOB_BODIES_MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Span;

    fn notify(clean_jobs: bool) -> Notify {
        let nowhere = Span { start: 0, end: 0 };
        Notify {
            job: JobId(7),
            clean_jobs,
            prev_hash: 0,
            ntime: 0,
            job_at: nowhere,
            clean_at: None,
            work: None,
        }
    }

    #[test]
    fn only_the_same_words_are_known_and_the_oldest_are_forgotten() {
        let mut bodies = JobBodies::default();
        bodies.keep(b"one\n", notify(true));
        assert_eq!(bodies.find(b"one\n"), Some(notify(true)));
        assert_eq!(bodies.find(b"one"), None);
        for number in 0..JOB_BODIES_MAX {
            bodies.keep(format!("other {number}\n").as_bytes(), notify(false));
        }
        assert_eq!(bodies.find(b"one\n"), None);
        assert_eq!(bodies.find(b"other 0\n"), Some(notify(false)));
    }

    #[test]
    fn nothing_is_remembered_beyond_its_bound_or_when_it_is_off() {
        let mut bodies = JobBodies::default();
        bodies.keep(&vec![b'a'; JOB_BODY_BYTES_MAX + 1], notify(true));
        assert!(bodies.known.is_empty());
        let mut off = JobBodies::new(false);
        off.keep(b"one\n", notify(true));
        assert_eq!(off.find(b"one\n"), None);
    }
}
