//! The pool's counters. The pool's thread counts straight into one of these.

use serde::Serialize;

/// What a pool has seen since it started. `shares_received` is always the sum of `shares_accepted`, `shares_rejected` and
/// `shares_unanswered`; the other share counters but `shares_unpadded` and `shares_with_version_bits` say why rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PoolReport {
    pub connections_accepted: u64,
    pub connections_active: u64,
    pub connections_max_seen: u64,
    /// Closed at once because `connections_max` were open.
    pub connections_refused: u64,
    /// Ended by the other side, in good order or not.
    pub connections_ended_by_peer: u64,
    /// Reset by `kill_connections` or a misbehaviour.
    pub connections_killed: u64,
    /// Closed because the other side did not read what the pool sent.
    pub connections_slow: u64,
    /// `accept` failures, for example for want of descriptors.
    pub accept_errors: u64,

    pub lines_received: u64,
    /// No JSON object, or a request without a method.
    pub malformed_lines: u64,
    /// Lines over 16 KiB; each closed its connection.
    pub lines_too_long: u64,
    /// Answers to the pool's own requests.
    pub answers_received: u64,
    pub unknown_methods: u64,

    pub configures: u64,
    pub subscribes: u64,
    pub authorizes: u64,
    pub extranonce_subscribes: u64,
    /// `mining.set_extranonce` sent by [`PoolHandle::set_extranonce`](crate::PoolHandle::set_extranonce), over all
    /// connections.
    pub extranonces_changed: u64,
    pub difficulty_suggestions: u64,
    pub pings: u64,

    pub shares_received: u64,
    pub shares_accepted: u64,
    pub shares_rejected: u64,
    /// Received while a misbehaviour kept the pool silent.
    pub shares_unanswered: u64,
    /// Rejected by `reject_permille` (code 23).
    pub shares_low_difficulty: u64,
    /// Job, extranonces, ntime, nonce and version bits as in an earlier share (code 22).
    pub shares_duplicate: u64,
    /// For no job that was given out on its connection, or one that a clean job has ended (code 21).
    pub shares_unknown_job: u64,
    /// Params that are not 5 or 6 strings, no hex, a wrong extranonce2 length, version bits outside the mask (code 20).
    pub shares_malformed: u64,
    /// By a user that the connection has not authorized (code 24).
    pub shares_unauthorized: u64,
    /// Before subscribe (code 25).
    pub shares_not_subscribed: u64,
    /// Shares whose ntime or nonce had fewer than eight digits.
    pub shares_unpadded: u64,
    pub shares_with_version_bits: u64,
    /// With [`PoolConfig::hash_shares`](crate::PoolConfig::hash_shares): blocks among the accepted shares.
    pub blocks_accepted: u64,
    /// And among those rejected by `reject_permille`.
    pub blocks_rejected: u64,
    /// The lowest hash of an accepted share, as people write it; empty before the first.
    pub best_hash: String,
    /// Times the oldest shares of a connection were forgotten to bound memory. When 0, `shares_duplicate` is exact.
    pub uniqueness_forgotten: u64,

    /// Jobs made, the first included.
    pub jobs: u64,
    /// Jobs sent, over all connections.
    pub jobs_sent: u64,
    pub bytes_received: u64,
    /// Bytes of answers, jobs and all else that the kernel took.
    pub answers_written_bytes: u64,

    /// Different user names authorized; counts up to 65,536.
    pub users_distinct: u64,
    /// The first 32 of them, in order of arrival.
    pub users: Vec<String>,
    /// Why the pool's thread ended by itself, if it did.
    pub failure: Option<String>,
}
