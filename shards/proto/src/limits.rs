//! Every bound of the core has its name here, with the relations between neighbours checked at compile time.

/// Longest line taken from a miner, in bytes, line ending included. Miners stay under 1 KiB.
pub const MINER_LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest line taken from a pool, in bytes: a notify with 32 branches and a large coinbase reaches 16 KiB.
pub const POOL_LINE_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of a JSON document that is parsed.
pub const JSON_DEPTH_MAX: usize = 16;
/// Longest request id of a miner, in bytes as written (quotes included).
pub const ID_BYTES_MAX: usize = 128;
/// Longest user name, in bytes.
pub const USER_BYTES_MAX: usize = 256;
/// Longest user name, in bytes, where a pool's account takes the place of the miner's: what is left of it goes to the pool
/// behind that account, and pools and firmware take no more than 127 or so.
pub const USER_REPLACED_BYTES_MAX: usize = 128;
/// Longest name of a method, in bytes. Those of Stratum have less than thirty; some miners put a number behind.
pub const METHOD_BYTES_MAX: usize = 64;
/// Longest text that a pool may have a miner show, in bytes.
pub const SHOWN_BYTES_MAX: usize = 256;
/// Messages of one pool connection that may be kept from the miner before that connection is given up, if there is no good
/// job between them.
pub const FILTERED_MAX: u32 = 1_000;
/// Longest extranonce2 of a share, in bytes.
pub const EXTRANONCE2_BYTES_MAX: usize = 16;
/// Longest extranonce1, in bytes.
pub const EXTRANONCE1_BYTES_MAX: usize = 28;
/// Most merkle branches of a job: some firmware has room for these and no more.
pub const BRANCHES_MAX: usize = 32;
/// Requests of one miner that may wait for the pool's answer at the same time.
pub const PENDING_MAX: usize = 512;
/// Bytes from a miner that are held while its pool link is being opened.
pub const HELD_BYTES_MAX: usize = 2 * MINER_LINE_BYTES_MAX;
/// Bytes from a pool that are held until the subscribe answer has gone out.
pub const EARLY_BYTES_MAX: usize = 2 * POOL_LINE_BYTES_MAX;
/// Bytes of a miner's own handshake that are kept, to say it again to another pool. A miner that said more cannot be moved.
pub const GREETING_BYTES_MAX: usize = 2 * MINER_LINE_BYTES_MAX;
/// Pools that a shard can know.
pub const POOLS_MAX: usize = 16;
/// Bytes of extranonce2 that a miner can be moved to, if it is another size than it has: much firmware takes no others.
pub const EXTRANONCE2_MOVE_BYTES: std::ops::RangeInclusive<u8> = 2..=8;
/// Jobs that a session remembers. Pools give a new one every half minute or so and credit shares for some minutes: a session
/// that had to forget one leaves it to the pool which jobs there are.
pub const JOBS_MAX: usize = 64;
/// Microseconds for which jobs are still good that a newer one has voided: pools credit shares that were on their way.
pub const VOID_JOB_GRACE_US: u64 = 5_000_000;
/// Seconds that the time of a share may be ahead of its job's, besides the job's age: nodes take no block whose time is more
/// than two hours ahead of theirs, and pools draw the line there or before. No miner rolls so far.
pub const NTIME_AHEAD_S_MAX: u64 = 7_200;
/// Shares of one connection that are remembered, to tell those that come twice: at a share every five seconds, those of
/// twenty minutes.
pub const SHARES_KEPT_MAX: usize = 256;
/// Shares that the proxy refused for what they are, less those that the pool accepted, before the link is closed. A miner that
/// gets here has sent a thousand more bad shares than good ones: it works on what no pool credits any more, and gets new
/// work by connecting again; or it floods. A miner with a few bad shares among its good ones never does.
pub const BAD_SHARES_MAX: u32 = 1_000;
/// Bad shares that may speak against the pool of a connection that never had one accepted.
pub const BAD_SHARES_TOLD_MAX: u32 = 32;
/// Job bodies that a shard remembers: those of the pools, the one before while a new one spreads, and some to spare.
pub const JOB_BODIES_MAX: usize = 4;
/// Longest job body that is remembered, in bytes.
pub const JOB_BODY_BYTES_MAX: usize = 16 * 1024;
/// Workers that one connection may authorize.
pub const WORKERS_MAX: usize = 32;
/// Workers that a shard tells apart: twice as many as it has connections. Names are invented by whoever connects.
pub const WORKERS_PER_SHARD_MAX: usize = 65_536;
/// Shares that came to nothing that a shard tells of one by one between two reports, half a second: many more than a farm has
/// that is well. Beyond it they are counted only.
pub const SHARE_EVENTS_MAX: usize = 512;
/// Bytes that are kept of what a miner calls itself.
pub const AGENT_BYTES_MAX: usize = 64;
/// Spellings of these that a shard tells apart.
pub const AGENTS_MAX: usize = 255;
/// Messages of one miner that may be refused as malformed before its link is closed.
pub const PROTOCOL_ERRORS_MAX: u32 = 32;
/// Messages of one miner that may be refused for their rate, less what it makes up for, before its link is closed.
pub const RATE_LIMITED_MAX: u32 = 1024;
/// Authorizations that one counts as which the pool refused: who guesses costs its address more than who works.
pub const REFUSED_AUTHORIZATION: u32 = 10;
/// Bytes that handling one read may produce for one side.
pub const OUT_BYTES_MAX: usize = 256 * 1024;
/// Microseconds a line may stay unfinished.
pub const HALF_LINE_US: u64 = 30_000_000;
/// Microseconds a miner waits for the answer to `mining.configure` before the proxy gives one.
pub const CONFIGURE_ANSWER_US: u64 = 5_000_000;
/// Microseconds a pool may take to answer `mining.subscribe`.
pub const SUBSCRIBE_ANSWER_US: u64 = 30_000_000;
/// Microseconds after which a request without an answer is counted as never answered.
pub const ANSWER_US: u64 = 120_000_000;
/// Microseconds that answers in flight are waited for when the miner has already left.
pub const LINGER_US: u64 = 5_000_000;
/// The first id of the proxy's own requests, of which it has at most a hundred in flight: integers, because some pools take
/// nothing else, and far above any counter of a miner's firmware.
pub const OWN_REQUEST_ID: u32 = 2_100_000_000;

const _: () = {
    assert!(MINER_LINE_BYTES_MAX < POOL_LINE_BYTES_MAX);
    assert!(JOB_BODY_BYTES_MAX <= POOL_LINE_BYTES_MAX);
    assert!(HELD_BYTES_MAX >= MINER_LINE_BYTES_MAX, "one line of the largest size can be held");
    assert!(EARLY_BYTES_MAX >= POOL_LINE_BYTES_MAX, "one line of the largest size can be held");
    assert!(OUT_BYTES_MAX >= GREETING_BYTES_MAX + HELD_BYTES_MAX, "a miner's past fits into one output");
    assert!(POOLS_MAX <= u8::MAX as usize);
    assert!(AGENTS_MAX <= u8::MAX as usize, "zero is for none");
    assert!(WORKERS_PER_SHARD_MAX < u32::MAX as usize);
    assert!(WORKERS_MAX + 5 < 100, "own ids are enough for every part of a handshake");
    assert!(OUT_BYTES_MAX >= 2 * POOL_LINE_BYTES_MAX, "a read of whole lines and a finished carry fit");
    assert!(
        OUT_BYTES_MAX >= EARLY_BYTES_MAX + POOL_LINE_BYTES_MAX,
        "what was held early fits with its trigger"
    );
    assert!(SHARES_KEPT_MAX >= JOBS_MAX);
    assert!(JOBS_MAX <= 1 << 7, "the numbers of jobs that are remembered differ in eight bits");
    assert!(USER_REPLACED_BYTES_MAX <= USER_BYTES_MAX);
    assert!(VOID_JOB_GRACE_US < ANSWER_US);
    assert!(ID_BYTES_MAX + USER_BYTES_MAX < MINER_LINE_BYTES_MAX);
    assert!(CONFIGURE_ANSWER_US < SUBSCRIBE_ANSWER_US && SUBSCRIBE_ANSWER_US < ANSWER_US);
};
