//! Shares are held against what the pool gave out before they go there: a share that no pool would credit is answered here.
//!
//! The law is that a good share is never refused: where the proxy cannot know, the pool judges.

use super::jobs::{Standing, Terms};
use super::repeats::fingerprint;
use super::{Client, Cx, End, Reject, Session, VersionRolling};
use crate::limits::{BAD_SHARES_MAX, BAD_SHARES_TOLD_MAX};
use crate::message::{JobId, Submit};
use crate::middleware::Stage;
use crate::proof::{Claim, Trial};
use crate::verdict::Verdict;
use crate::workers::WorkerId;

impl Session {
    /// Whether a share may go to the pool; if so, it is remembered. What it takes to hash it, where all of that is known.
    pub(super) fn check_share<P>(
        &mut self,
        cx: &Cx<'_, P>,
        submit: &Submit<'_>,
        job: JobId,
    ) -> Result<Option<Trial>, Reject> {
        let mining = &mut self.client.mining;
        let terms = match mining.jobs.find(job, cx.now, cx.policy.jobs_us) {
            Standing::Untold => return Ok(None),
            Standing::Unknown => return Err(Reject::UnknownJob),
            Standing::Stale => return Err(Reject::StaleJob),
            Standing::Good(terms) => terms,
        };
        if !terms.ntime.contains(&u64::from(submit.ntime)) {
            return Err(Reject::BadNtime);
        }
        let foreign_bits = submit.version_bits.unwrap_or(0) & !terms.mask;
        if foreign_bits != 0 && is_held_to_its_mask(&self.client) {
            return Err(Reject::BadVersionBits);
        }
        if cx.now.since(terms.since) < cx.policy.submissions_us {
            let print = fingerprint(submit, terms.number, self.client.mining.repeats.seed());
            if !self.client.mining.repeats.take(print) {
                return Err(Reject::DuplicateShare);
            }
        }
        Ok(self.trial_of(cx, submit, &terms))
    }

    /// What it takes to hash a share. Of a job from before the last change of extranonce it is not known which one it was.
    fn trial_of<P>(&self, cx: &Cx<'_, P>, submit: &Submit<'_>, terms: &Terms) -> Option<Trial> {
        let work = terms.work.filter(|_| terms.extranonce == self.client.mining.extranonce_number())?;
        Trial::of(submit, work, cx.jobs.version_of(work)?, terms.mask, terms.extranonce)
    }

    /// A share is done with, and is to be hashed. What a pool rejects, or never answers, of a miner that has done no good work
    /// is not: who sends rubbish costs nobody a hash.
    pub(super) fn claim<P>(
        &self,
        cx: &mut Cx<'_, P>,
        worker: WorkerId,
        difficulty: f64,
        trial: Trial,
        verdict: Option<Verdict>,
    ) {
        if verdict != Some(Verdict::Accepted) && !self.client.is_credited {
            return;
        }
        if !cx.jobs.take_allowance() {
            cx.stats.counts.shares.unhashed += 1;
            return;
        }
        let mining = &self.client.mining;
        let extranonce1 = mining.extranonce1().filter(|_| trial.extranonce == mining.extranonce_number());
        let Some(extranonce1) = extranonce1 else { return };
        // Miners may go by a new difficulty at once, and pools take either.
        let asked = mining.easiest(difficulty);
        let claim = Claim { trial, extranonce1, asked, worker, pool: self.pool, verdict, at: cx.now };
        cx.jobs.claim(claim, cx.workers, cx.stats);
    }

    /// Shares in flight were never answered. One that is a block is worth telling of all the same.
    pub(super) fn claim_unanswered<P>(&self, cx: &mut Cx<'_, P>) {
        for (worker, difficulty, trial) in self.pending.trials() {
            self.claim(cx, worker, difficulty, trial, None);
        }
    }

    /// Counts a share that was refused for what it is. A miner on the move knows only the jobs of the pool that it has lost:
    /// that they are void is not its doing.
    pub(super) fn count_bad_share<P: Stage>(&mut self, cx: &mut Cx<'_, P>) {
        if self.moving.is_some() || self.needs_clean {
            return;
        }
        self.client.bad_shares += 1;
        if self.client.bad_shares > BAD_SHARES_MAX {
            self.end(cx, End::BadShares);
        }
    }

    /// A good share makes up for a bad one. What a pool rejects is not counted as bad of a miner that has done good work: when
    /// a pool rejects everything, that is no reason to send its miners away. Of one that never has it is: whoever floods a pool
    /// with what the session cannot know to be bad is found by that.
    pub(super) fn count_verdict<P: Stage>(&mut self, cx: &mut Cx<'_, P>, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => {
                self.client.tally.accepted(cx.now);
                self.client.bad_shares = self.client.bad_shares.saturating_sub(1);
                self.client.is_credited = true;
            }
            Verdict::Rejected(_) => {
                self.client.tally.rejected();
                if !self.client.is_credited {
                    self.count_bad_share(cx);
                }
            }
        }
    }

    /// Whether a share that the pool rejects says something of the pool. Of a miner that has sent many bad shares and never a
    /// good one it does not: nobody is to bring a pool into disrepute who has not done some work.
    pub(super) fn speaks_of_its_pool(&self) -> bool {
        self.client.is_credited || self.client.bad_shares < BAD_SHARES_TOLD_MAX
    }
}

/// Whether it is known which version bits the miner may roll: what it was granted, or none if it never asked. One that was
/// refused may have been refused by the proxy in the place of a pool that is slow to answer, and what there was before
/// BIP310 knows no masks.
fn is_held_to_its_mask(client: &Client) -> bool {
    match client.version_rolling {
        VersionRolling::Granted { .. } => true,
        VersionRolling::Unasked => !client.multi_version_asked,
        VersionRolling::Asked { .. } | VersionRolling::Refused => false,
    }
}
