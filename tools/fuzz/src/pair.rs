//! Two sessions to which the same happens. One gets the bytes in reads as large as a shard makes them, the other in pieces:
//! they must say and count the same, whatever the bytes are. What must hold after every call of a session, whatever
//! came, is checked by the harness of the core's own tests; what this adds holds between calls.

#[path = "../../../shards/proto/tests/common/mod.rs"]
mod common;

pub(crate) use common::Event;
use common::Harness;
use loka_proto::limits::{JOBS_MAX, OUT_BYTES_MAX, PENDING_MAX, WORKERS_MAX};
use loka_proto::stats::Counts;
use loka_proto::{End, Intent, Policy};

/// Bytes of the longest read that a shard makes: `READ_BYTES` of `loka_runtime::limits`, which the core does not know.
const READ_BYTES: usize = 64 * 1024;
/// Sizes of pieces where the input names none.
const SIZES: [usize; 4] = [1, 7, 2, 40];
/// Reads above so many bytes are cut in larger pieces, or one input would take seconds; a prime, so that the cuts wander.
const LARGE_BYTES: usize = 8 * 1024;
const LARGER: usize = 61;
/// Longer than any session lives to which nothing happens.
const SILENCE_US: u64 = 3_600_000_000;

pub(crate) struct Pair {
    whole: Link,
    split: Link,
    sizes: Vec<usize>,
    /// How many pieces there were.
    pieces: usize,
}

impl Pair {
    /// Two new connections. The bytes of `sizes` are the sizes of the pieces, again and again; a space is 1.
    pub(crate) fn new(policy: &Policy, sizes: &[u8]) -> Pair {
        let sizes: Vec<usize> = sizes.iter().map(|byte| usize::from(byte.saturating_sub(b' ')) + 1).collect();
        let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
        Pair { whole: Link::new(policy), split: Link::new(policy), sizes, pieces: 0 }
    }

    pub(crate) fn miner_says(&mut self, bytes: &[u8]) {
        self.says(bytes, Event::Miner);
    }

    pub(crate) fn pool_says(&mut self, bytes: &[u8]) {
        self.says(bytes, Event::Pool);
    }

    fn says(&mut self, bytes: &[u8], who: fn(Vec<u8>) -> Event) {
        for read in bytes.chunks(READ_BYTES) {
            self.whole.takes(|harness| harness.event(&who(read.to_vec())));
            let larger = if read.len() > LARGE_BYTES { LARGER } else { 1 };
            let mut rest = read;
            while !rest.is_empty() {
                let size = self.sizes[self.pieces % self.sizes.len()] * larger;
                let (piece, after) = rest.split_at(size.min(rest.len()));
                self.split.takes(|harness| harness.event(&who(piece.to_vec())));
                self.pieces += 1;
                rest = after;
            }
            self.compare();
        }
    }

    /// Something that comes in no pieces.
    pub(crate) fn event(&mut self, event: &Event) {
        self.whole.takes(|harness| harness.event(event));
        self.split.takes(|harness| harness.event(event));
        self.compare();
    }

    pub(crate) fn miner_resets(&mut self) {
        let resets = |harness: &mut Harness| harness.call(|session, cx, _| session.handle_miner_reset(cx));
        self.whole.takes(resets);
        self.split.takes(resets);
        self.compare();
    }

    /// The caller stops reading one side, or goes on.
    pub(crate) fn pauses(&mut self) {
        let pauses = |harness: &mut Harness| harness.call(|session, cx, _| session.handle_pause(cx.now));
        self.whole.takes(pauses);
        self.split.takes(pauses);
        self.compare();
    }

    /// The caller gives the link up.
    pub(crate) fn fails(&mut self, end: End) {
        let fails = |harness: &mut Harness| harness.call(|session, cx, _| session.handle_failure(cx, end));
        self.whole.takes(fails);
        self.split.takes(fails);
        self.compare();
        assert!(self.whole.harness.session.is_over(), "given up, and not over");
    }

    /// Nothing happens any more: every session then comes to its end by itself. Tells what was counted.
    pub(crate) fn fall_silent(mut self) -> Counts {
        self.event(&Event::Wait { us: SILENCE_US });
        assert!(self.whole.harness.session.is_over(), "an hour of silence, and the session lives");
        self.whole.harness.stats.counts
    }

    fn compare(&mut self) {
        let (whole, split) = (&mut self.whole.harness, &mut self.split.harness);
        assert_eq!(wishes(whole), wishes(split), "wishes");
        assert_eq!(String::from_utf8_lossy(&whole.to_miner), String::from_utf8_lossy(&split.to_miner));
        assert_eq!(String::from_utf8_lossy(&whole.to_pool), String::from_utf8_lossy(&split.to_pool));
        assert_eq!(whole.stats.counts, split.stats.counts);
        let known = |harness: &Harness| {
            let session = &harness.session;
            (
                session.requests_pending(),
                session.shares_in_flight(),
                session.bytes_held(),
                session.bytes_kept(),
            )
        };
        assert_eq!(known(whole), known(split), "pending, in flight, held, kept");
        assert_eq!(
            whole.session.poll_timeout(&whole.policy),
            split.session.poll_timeout(&split.policy),
            "the next timer"
        );
        for side in [&mut whole.to_miner, &mut whole.to_pool, &mut split.to_miner, &mut split.to_pool] {
            side.clear();
        }
    }
}

/// What was wished for. A dial that comes with the end means nothing: a session that dials and ends in one read does not
/// wish for it any more.
fn wishes(harness: &Harness) -> Vec<Intent> {
    let mut wishes = harness.intents.clone();
    if let [.., Intent::DialPool, Intent::Close(_)] = wishes.as_slice() {
        wishes.remove(wishes.len() - 2);
    }
    wishes
}

/// A session and what must hold from one thing that happens to it to the next.
struct Link {
    harness: Harness,
}

impl Link {
    fn new(policy: &Policy) -> Link {
        Link { harness: Harness::new(policy.clone()) }
    }

    fn takes(&mut self, what: impl FnOnce(&mut Harness)) {
        let harness = &mut self.harness;
        let (was_over, was_up) = (harness.session.is_over(), harness.session.is_up());
        let (opened, wishes) = (harness.stats.connect_us.len(), harness.intents.len());
        let (at_miner, at_pool) = (harness.to_miner.len(), harness.to_pool.len());
        what(harness);
        let harness = &self.harness;
        let session = &harness.session;
        let (to_miner, to_pool) = (&harness.to_miner[at_miner..], &harness.to_pool[at_pool..]);
        if was_over {
            assert!(session.is_over(), "a session that was over lives again");
            assert!(to_miner.is_empty() && to_pool.is_empty(), "said after the end");
            assert_eq!(harness.intents.len(), wishes, "wished after the end");
        }
        let opens = harness.stats.connect_us.len() > opened;
        assert!(to_pool.is_empty() || was_up || opens, "said to a pool that is not there");
        self.check_dials();
        self.check_bounds();
        check_lines(to_miner);
        check_lines(to_pool);
    }

    /// A dial for each pool that it is to have.
    fn check_dials(&self) {
        let session = &self.harness.session;
        let dials = self.harness.intents.iter().filter(|intent| **intent == Intent::DialPool).count() as u64;
        let opened = self.harness.stats.connect_us.len();
        if session.is_over() {
            // One that ends while it waits has dialed, or has no need to any more.
            assert!(dials == opened || dials == opened + 1, "{dials} dials, {opened} connections");
        } else {
            assert_eq!(dials, opened + u64::from(session.waits_for_pool()), "dials");
        }
    }

    fn check_bounds(&self) {
        let session = &self.harness.session;
        assert!(session.requests_pending() <= PENDING_MAX);
        assert!(session.client().mining.jobs() <= JOBS_MAX);
        assert!(session.client().workers() <= WORKERS_MAX);
    }
}

/// What goes out are whole lines, and each is one JSON object: whatever came, nobody is sent anything else.
fn check_lines(bytes: &[u8]) {
    assert!(bytes.len() <= OUT_BYTES_MAX, "{} bytes go out at once", bytes.len());
    assert!(bytes.last().is_none_or(|last| *last == b'\n'), "half a line goes out");
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let shown = || String::from_utf8_lossy(line).into_owned();
        let text = std::str::from_utf8(line).unwrap_or_else(|_| panic!("not UTF-8: {}", shown()));
        let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
        assert!(read.is_ok() && text.trim_start().starts_with('{'), "not a JSON object: {}", shown());
    }
}
