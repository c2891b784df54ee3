//! Blocks that miners found, or seem to have found: the newest of them, for notes and for the log.
//!
//! On a network for tests each second share is a block, and a pool can say so of every one: it refuses to tell of more than
//! [`FINDS_PER_MINUTE`]. All of them are counted elsewhere.

use crate::pools::PoolView;
use loka_proto::{BlockAnswer, Candidate, Verdict};
use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks that are told of in a minute.
pub const FINDS_PER_MINUTE: u32 = 8;
/// Blocks that are kept.
pub const FINDS_KEPT: usize = 16;
/// Characters of a worker's name that a note has room for.
const NAME_CHARS_MAX: usize = 48;
const MINUTE: Duration = Duration::from_secs(60);

/// The newest blocks, each with its number.
#[derive(Debug, Default)]
pub struct Finds {
    kept: VecDeque<(u64, Arc<Candidate>)>,
    counted: u64,
    /// When the present minute began, and how many were told in it.
    minute: Option<(Instant, u32)>,
    untold: u64,
}

impl Finds {
    /// Takes a block that was found about `now`; false where it is one too many to tell of.
    pub fn add(&mut self, found: &Candidate, now: Instant) -> bool {
        let (began, told) = match self.minute {
            Some((began, told)) if now.duration_since(began) < MINUTE => (began, told),
            Some(_) | None => (now, 0),
        };
        if told >= FINDS_PER_MINUTE {
            self.untold += 1;
            return false;
        }
        self.minute = Some((began, told + 1));
        self.kept.push_back((self.counted, Arc::new(found.clone())));
        self.counted += 1;
        if self.kept.len() > FINDS_KEPT {
            self.kept.pop_front();
        }
        true
    }

    /// The newest, the oldest of them first, each with its number.
    pub fn newest(&self) -> Vec<(u64, Arc<Candidate>)> {
        self.kept.iter().cloned().collect()
    }

    /// How many were not told of since this was last asked.
    pub fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }
}

/// One block in words.
#[derive(Debug)]
pub struct Found<'a> {
    found: &'a Candidate,
    pool: &'a str,
}

impl<'a> Found<'a> {
    /// In words, with the name of its pool among these.
    pub fn of(found: &'a Candidate, pools: &'a [PoolView]) -> Found<'a> {
        let pool = pools.get(found.pool.index()).map_or("?", |pool| pool.name.as_str());
        Found { found, pool }
    }

    /// Tells it to the log: somebody should be woken when a pool does not take a block.
    pub fn log(&self, not_told: u64) {
        let Candidate { worker, job, difficulty, .. } = self.found;
        let (hash, pool, answer) = (self.found.hash_text(), self.pool, self.found.answer());
        let reason = self.reason();
        match answer {
            BlockAnswer::Accepted => {
                tracing::info!(?worker, pool, ?job, %hash, difficulty, %answer, not_told, "a block was found");
            }
            BlockAnswer::Rejected | BlockAnswer::Unanswered => {
                tracing::warn!(?worker, pool, ?job, %hash, difficulty, %answer, reason, not_told,
                    "a block was found, and the pool did not take it");
            }
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self.found.verdict {
            Some(Verdict::Rejected(class)) => Some(class.label()),
            Some(Verdict::Accepted) | None => None,
        }
    }
}

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block candidate {} by ", self.found.hash_text())?;
        match &self.found.worker {
            Some(name) => {
                let short: String = name.chars().take(NAME_CHARS_MAX).collect();
                write!(f, "{short:?}")?;
            }
            None => f.write_str("a worker that is not known")?,
        }
        match (self.found.answer(), self.reason()) {
            (BlockAnswer::Accepted, _) => write!(f, ": pool {} accepted it", self.pool)?,
            (BlockAnswer::Rejected, reason) => {
                write!(f, ": pool {} rejected it ({})", self.pool, reason.unwrap_or("no reason"))?;
            }
            (BlockAnswer::Unanswered, _) => write!(f, ": pool {} never answered", self.pool)?,
        }
        match &self.found.job {
            Some(job) => write!(f, ", job {job:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use loka_proto::{PoolId, RejectClass, Tick};

    pub(crate) fn candidate(number: u8) -> Candidate {
        Candidate {
            worker: Some("farm.rig".into()),
            pool: PoolId::of(0),
            job: Some("6a".into()),
            hash: [number; 32],
            difficulty: 5e12,
            asked: 65_536.0,
            verdict: Some(Verdict::Accepted),
            at: Tick(0),
        }
    }

    #[test]
    fn those_that_are_too_many_are_counted_and_the_newest_are_kept() {
        let (begin, mut finds) = (Instant::now(), Finds::default());
        let told = (0..100).filter(|number| finds.add(&candidate(*number), begin)).count();
        assert_eq!((told, finds.take_untold(), finds.take_untold()), (FINDS_PER_MINUTE as usize, 92, 0));
        for minute in 1..=5 {
            (0..FINDS_PER_MINUTE)
                .for_each(|_| assert!(finds.add(&candidate(minute), begin + MINUTE * minute.into())));
        }
        let newest = finds.newest();
        assert_eq!((newest.len(), newest[0].0, newest[FINDS_KEPT - 1].0), (FINDS_KEPT, 32, 47));
        assert_eq!(newest[FINDS_KEPT - 1].1.hash, [5; 32]);
    }

    #[test]
    fn a_block_in_words_says_what_the_pool_said_and_nothing_as_a_name_wants_it() {
        let accepted = candidate(0xab);
        let words = |found: &Candidate| Found::of(found, &[]).to_string();
        let hash = "ab".repeat(32);
        assert_eq!(
            words(&accepted),
            format!("block candidate {hash} by \"farm.rig\": pool ? accepted it, job \"6a\"")
        );
        let rejected = Candidate {
            worker: Some(format!("\u{202e}\"{}", "x".repeat(200)).into()),
            verdict: Some(Verdict::Rejected(RejectClass::Stale)),
            job: None,
            ..candidate(0xab)
        };
        let text = words(&rejected);
        assert!(
            text.contains(r#" by "\u{202e}\"xxx"#) && text.ends_with(": pool ? rejected it (stale)"),
            "{text}"
        );
        let unanswered = Candidate { worker: None, verdict: None, ..candidate(0xab) };
        assert!(words(&unanswered).contains("not known: pool ? never answered"), "{}", words(&unanswered));
    }
}
