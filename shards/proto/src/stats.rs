//! What one shard counted since its last report: plain integers and histograms, no atomics, no globals.

use crate::limits::CANDIDATES_PER_REPORT;
use crate::message::Method;
use crate::proof::{BlockAnswer, Candidate};
use crate::session::{End, Filtered, PoolId, PoolLoss, Reject};
use crate::verdict::{RejectClass, Verdict};
use hdrhistogram::Histogram;

/// Requests of pools to go elsewhere that are kept until the next report.
pub const REDIRECTS_MAX: usize = 4;

labels! {
    /// Where a message was seen.
    pub enum Direction {
        /// Received from a miner
        FromMiner => "from_miner",
        /// Sent to a pool
        ToPool => "to_pool",
        /// Received from a pool
        FromPool => "from_pool",
        /// Sent to a miner
        ToMiner => "to_miner",
    }
}

/// The longest time a histogram tells apart, in microseconds: a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant digits of the histograms: two take 20 KiB each, three would take 136 KiB.
const LATENCY_DIGITS: u8 = 2;

/// What became of shares. `forwarded` = `accepted` + the sum of `rejected` + `unanswered` + `lost` + `handed_over` + those in
/// flight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// Sent on to the pool, by this process or by the one that the session came from.
    pub forwarded: u64,
    /// Accepted by the pool.
    pub accepted: u64,
    /// Rejected by the pool, by class.
    pub rejected: [u64; RejectClass::COUNT],
    /// Never answered: the link ended or the answer took too long.
    pub unanswered: u64,
    /// In flight when their pool connection was lost, of miners that stayed and were told so.
    pub lost: u64,
    /// In flight when their session went on in another process. That one counts them as forwarded once more, and what becomes
    /// of them; so of both together, `forwarded` less `handed_over` is what was sent to pools.
    pub handed_over: u64,
    /// Refused by the proxy, with a reason that `Counts::rejects` counts; never sent to the pool.
    pub refused: u64,
    /// Sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
    /// Answered by the pool, though easier than it asked for by their hash.
    pub below_difficulty: u64,
    /// Not hashed, because there were too many at once.
    pub unhashed: u64,
    /// Difficulty of the hardest one that the pool accepted, by its hash; zero where none is known.
    pub best_difficulty: f64,
}

/// Results of `mining.authorize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Authorizations {
    /// The pool said `true`.
    pub accepted: u64,
    /// The pool said anything else.
    pub refused: u64,
}

/// Plain counters.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Messages by direction and method.
    pub messages: [[u64; Method::COUNT]; Direction::COUNT],
    /// Bytes by direction.
    pub bytes: [u64; Direction::COUNT],
    /// Messages of miners that the proxy answered itself with an error.
    pub rejects: [u64; Reject::COUNT],
    /// Messages of pools that were not passed on.
    pub filtered: [u64; Filtered::COUNT],
    /// Connections that ended, by reason.
    pub ends: [u64; End::COUNT],
    /// What became of shares.
    pub shares: Shares,
    /// Results of `mining.authorize`.
    pub authorizations: Authorizations,
    /// Answers to `mining.configure` that the proxy gave because the pool did not.
    pub configure_answered: u64,
    /// Miners that were moved to another pool connection and stayed.
    pub moved: u64,
    /// Shares that are blocks by their job's own target, by what the pool said of them.
    pub block_candidates: [u64; BlockAnswer::COUNT],
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            messages: [[0; Method::COUNT]; Direction::COUNT],
            bytes: [0; Direction::COUNT],
            rejects: [0; Reject::COUNT],
            filtered: [0; Filtered::COUNT],
            ends: [0; End::COUNT],
            shares: Shares::default(),
            authorizations: Authorizations::default(),
            configure_answered: 0,
            moved: 0,
            block_candidates: [0; BlockAnswer::COUNT],
        }
    }
}

impl Counts {
    fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.messages.iter_mut().zip(&other.messages) {
            add(mine, theirs);
        }
        add(&mut self.bytes, &other.bytes);
        add(&mut self.rejects, &other.rejects);
        add(&mut self.filtered, &other.filtered);
        add(&mut self.ends, &other.ends);
        self.shares.forwarded += other.shares.forwarded;
        self.shares.accepted += other.shares.accepted;
        add(&mut self.shares.rejected, &other.shares.rejected);
        self.shares.unanswered += other.shares.unanswered;
        self.shares.lost += other.shares.lost;
        self.shares.handed_over += other.shares.handed_over;
        self.shares.refused += other.shares.refused;
        self.shares.accepted_difficulty += other.shares.accepted_difficulty;
        self.shares.below_difficulty += other.shares.below_difficulty;
        self.shares.unhashed += other.shares.unhashed;
        self.shares.best_difficulty = self.shares.best_difficulty.max(other.shares.best_difficulty);
        self.authorizations.accepted += other.authorizations.accepted;
        self.authorizations.refused += other.authorizations.refused;
        self.configure_answered += other.configure_answered;
        self.moved += other.moved;
        add(&mut self.block_candidates, &other.block_candidates);
    }
}

/// Powers of two that response times are told apart by, in microseconds: 2^24 are 17 s, and longer counts as that.
pub const SLOWNESS_MAX: usize = 25;

/// What one pool did: what its health is judged by.
#[derive(Debug, Clone, Default)]
pub struct PoolStats {
    /// Connections opened, up to where the pool can be spoken to.
    pub connected: u64,
    /// Connections lost or never had, by reason.
    pub losses: [u64; PoolLoss::COUNT],
    /// Subscriptions answered with an extranonce.
    pub subscribed: u64,
    /// Jobs received, on all connections.
    pub jobs: u64,
    /// Shares accepted.
    pub accepted: u64,
    /// Sum of their difficulties.
    pub accepted_difficulty: f64,
    /// Shares rejected.
    pub rejected: u64,
    /// Of those, such as speak of the pool: not those of a miner that has sent many bad shares and never a good one.
    pub blamed: u64,
    /// Shares in flight when their connection was lost, of miners that stayed.
    pub lost: u64,
    /// Answers to shares, by the power of two that their microseconds reach.
    pub slowness: [u64; SLOWNESS_MAX],
    /// Tells the block of the newest job from others; zero before the first.
    pub prev_hash: u64,
}

impl PoolStats {
    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &PoolStats) {
        self.connected += other.connected;
        add(&mut self.losses, &other.losses);
        self.subscribed += other.subscribed;
        self.jobs += other.jobs;
        self.accepted += other.accepted;
        self.accepted_difficulty += other.accepted_difficulty;
        self.rejected += other.rejected;
        self.blamed += other.blamed;
        self.lost += other.lost;
        add(&mut self.slowness, &other.slowness);
        if other.prev_hash != 0 {
            self.prev_hash = other.prev_hash;
        }
    }

    /// Counts an answer to a share of this difficulty that waited this long. `is_telling`: a rejection speaks of the pool.
    pub(crate) fn verdict(&mut self, verdict: Verdict, difficulty: f64, waited_us: u64, is_telling: bool) {
        let power = waited_us.max(1).ilog2() as usize;
        self.slowness[power.min(SLOWNESS_MAX - 1)] += 1;
        match verdict {
            Verdict::Accepted => {
                self.accepted += 1;
                self.accepted_difficulty += difficulty;
            }
            Verdict::Rejected(_) => {
                self.rejected += 1;
                self.blamed += u64::from(is_telling);
            }
        }
    }
}

/// Where a pool asked its miners to go, within what its configuration allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The pool that asked.
    pub pool: PoolId,
    /// A host name or address, as it was given.
    pub host: String,
    /// The port; `None` for the one it has.
    pub port: Option<u16>,
}

/// Counters and histograms of one shard. `merge` and `clear` are all that is done with them, besides counting.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Plain counters.
    pub counts: Counts,
    /// Microseconds from a share's sending to its answer.
    pub submit_us: Histogram<u64>,
    /// Microseconds that opening a pool connection took.
    pub connect_us: Histogram<u64>,
    /// Each pool, by its number.
    pub pools: Vec<PoolStats>,
    /// At most [`REDIRECTS_MAX`] that were asked for since the last report.
    pub redirects: Vec<Redirect>,
    /// At most [`CANDIDATES_PER_REPORT`] shares that are blocks, of those found since the last report.
    pub candidates: Vec<Candidate>,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            counts: Counts::default(),
            submit_us: latency_histogram(),
            connect_us: latency_histogram(),
            pools: Vec::new(),
            redirects: Vec::new(),
            candidates: Vec::new(),
        }
    }
}

#[allow(clippy::expect_used, reason = "the bounds are constants")]
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS).expect("bounds that the histogram allows")
}

impl Stats {
    /// Counts a message.
    pub fn message(&mut self, direction: Direction, method: Method) {
        self.counts.messages[direction.index()][method.index()] += 1;
    }

    /// Counts a pool's verdict on a share of this difficulty that waited this long.
    pub fn verdict(&mut self, verdict: Verdict, difficulty: f64, waited_us: u64) {
        self.submit_us.saturating_record(waited_us.clamp(1, LATENCY_US_MAX));
        match verdict {
            Verdict::Accepted => {
                self.counts.shares.accepted += 1;
                self.counts.shares.accepted_difficulty += difficulty;
            }
            Verdict::Rejected(class) => self.counts.shares.rejected[class.index()] += 1,
        }
    }

    /// Counts a pool's answer to `mining.authorize`.
    pub fn authorized(&mut self, granted: bool) {
        let counts = &mut self.counts.authorizations;
        *if granted { &mut counts.accepted } else { &mut counts.refused } += 1;
    }

    /// Counts a pool connection that took this long to open.
    pub fn connected(&mut self, pool: PoolId, took_us: u64) {
        self.connect_us.saturating_record(took_us.clamp(1, LATENCY_US_MAX));
        self.pool(pool).connected += 1;
    }

    /// What one pool did.
    pub fn pool(&mut self, pool: PoolId) -> &mut PoolStats {
        let index = pool.index();
        if self.pools.len() <= index {
            self.pools.resize_with(index + 1, PoolStats::default);
        }
        &mut self.pools[index]
    }

    /// Remembers that a pool asked its miners to go elsewhere; once is enough.
    pub(crate) fn redirect(&mut self, redirect: Redirect) {
        if self.redirects.len() < REDIRECTS_MAX && !self.redirects.contains(&redirect) {
            self.redirects.push(redirect);
        }
    }

    /// Counts a share that is a block, and tells of it unless there are too many.
    pub(crate) fn candidate(&mut self, candidate: Candidate) {
        self.counts.block_candidates[candidate.answer().index()] += 1;
        if self.candidates.len() < CANDIDATES_PER_REPORT {
            self.candidates.push(candidate);
        }
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Stats) {
        self.counts.merge(&other.counts);
        // Both were made with the same bounds: adding cannot fail, and a failure would lose a figure, not a share.
        let added = (self.submit_us.add(&other.submit_us), self.connect_us.add(&other.connect_us));
        debug_assert!(added.0.is_ok() && added.1.is_ok());
        for (index, pool) in other.pools.iter().enumerate() {
            self.pool(PoolId::of(index)).merge(pool);
        }
        other.redirects.iter().for_each(|redirect| self.redirect(redirect.clone()));
        let room = CANDIDATES_PER_REPORT.saturating_sub(self.candidates.len());
        self.candidates.extend(other.candidates.iter().take(room).cloned());
    }

    /// Sets everything to zero and keeps the memory.
    pub fn clear(&mut self) {
        self.counts = Counts::default();
        self.submit_us.clear();
        self.connect_us.clear();
        self.pools.fill_with(PoolStats::default);
        self.redirects.clear();
        self.candidates.clear();
    }
}

fn add<const N: usize>(mine: &mut [u64; N], theirs: &[u64; N]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}
