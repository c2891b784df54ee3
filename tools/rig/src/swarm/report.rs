//! What a run measured.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is told apart: 60 s. Longer ones count as this.
const TIME_US_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Different error codes that are counted apart.
const CODES_MAX: usize = 64;

/// The distribution of a time, in microseconds. All zero when nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub mean: f64,
}

/// What became of the shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ShareCounts {
    /// Always the sum of `accepted`, `rejected`, `lost` and those still in flight; at the end none are in flight.
    pub sent: u64,
    pub accepted: u64,
    pub rejected: u64,
    /// Never answered.
    pub lost: u64,
    /// Answers to a request that had been answered before.
    pub duplicate_answers: u64,
    /// Answers with an id that was never sent, or not written in this way.
    pub mismatched: u64,
}

impl ShareCounts {
    /// Shares and answers that went astray: never answered, answered twice, or answers to nothing. One is one too many.
    #[must_use]
    pub fn astray(&self) -> u64 {
        self.lost + self.duplicate_answers + self.mismatched
    }

    pub(super) fn answered(&self) -> u64 {
        self.accepted + self.rejected
    }
}

/// The outcome of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SwarmReport {
    /// TCP connects that succeeded and failed, dials after a lost connection included.
    pub connected: u64,
    pub connect_failed: u64,
    /// The first failure, in words.
    pub first_error: Option<String>,
    /// Connections that the other side ended during the run.
    pub disconnected: u64,
    /// Connections whose subscribe or authorize was refused.
    pub refused: u64,
    /// Connections that got no job within the handshake time-out.
    pub handshake_timeouts: u64,
    /// Miners that had a job when the measured phase began.
    pub ready: u64,
    /// Dials after a lost connection, failed ones included.
    pub reconnects: u64,
    /// Handshakes up to the first job.
    pub handshakes: u64,
    /// Over the time in which they happened: the ramp, or the whole of a storm.
    pub handshakes_per_second: f64,
    /// From the start of the connect to the first job.
    pub handshake_us: Percentiles,
    /// From when a share was due (open loop) or sent (closed loop) to its answer.
    pub submit_us: Percentiles,
    /// Open loop only: from when a share was due to when it was given to the kernel. The swarm's own part of `submit_us`.
    pub send_lag_us: Percentiles,
    /// With [`SwarmConfig::job_clock`](super::SwarmConfig): from when the pool began to send a job to everybody to when a
    /// miner at work had it.
    pub job_us: Percentiles,
    pub shares: ShareCounts,
    /// Open loop only: shares that were due but not sent, because no miner was ready or all had too many in flight.
    pub not_sent: u64,
    /// Rejected shares by error code; those without a code count as 0.
    pub reject_codes: BTreeMap<i64, u64>,
    pub jobs_received: u64,
    /// New extranonces that were followed from the next job on, and ones that came though
    /// [`SwarmConfig::extranonce`](super::SwarmConfig) was off.
    pub extranonces: u64,
    pub extranonces_unasked: u64,
    /// Lines that are no Stratum message, and new extranonces that are of no use.
    pub malformed_lines: u64,
    pub bytes_received: u64,
    /// The measured phase and, if later, until the last answer.
    pub elapsed_s: f64,
    /// Answered shares over `elapsed_s`.
    pub shares_per_second: f64,
    /// The caller stopped the run early.
    pub stopped: bool,
}

/// A histogram of times.
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, TIME_US_MAX, SIGNIFICANT_DIGITS);
        // Fails only for bounds or digits out of range, and these are constants (the test below builds one).
        Times(histogram.expect("constant bounds"))
    }

    pub(super) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1000).max(1));
    }

    /// Microseconds.
    pub(super) fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: self.0.len(),
            min: self.0.min(),
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: self.0.max(),
            mean: self.0.mean(),
        }
    }
}

/// The counters of a run while it runs.
pub(super) struct Tally {
    pub(super) report: SwarmReport,
    pub(super) handshake: Times,
    pub(super) submit: Times,
    pub(super) send_lag: Times,
    pub(super) job: Times,
    pub(super) last_answer_ns: u64,
    pub(super) last_handshake_ns: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally {
            report: SwarmReport::default(),
            handshake: Times::new(),
            submit: Times::new(),
            send_lag: Times::new(),
            job: Times::new(),
            last_answer_ns: 0,
            last_handshake_ns: 0,
        }
    }

    pub(super) fn note_error(&mut self, error: impl ToString) {
        self.report.first_error.get_or_insert_with(|| error.to_string());
    }

    pub(super) fn count_reject(&mut self, code: Option<i64>) {
        self.report.shares.rejected += 1;
        let codes = &mut self.report.reject_codes;
        let code = code.unwrap_or(0);
        if codes.len() < CODES_MAX || codes.contains_key(&code) {
            *codes.entry(code).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_microseconds_and_saturate() {
        let mut times = Times::new();
        times.record_ns(500);
        times.record_ns(2_000_000);
        times.record_ns(u64::MAX);
        let seen = times.percentiles();
        assert_eq!((seen.count, seen.min, seen.p50), (3, 1, 2000));
        assert!(seen.max >= TIME_US_MAX);
    }

    #[test]
    fn codes_are_bounded() {
        let mut tally = Tally::new();
        for code in 0..1000 {
            tally.count_reject(Some(code));
        }
        assert_eq!(tally.report.reject_codes.len(), CODES_MAX);
        assert_eq!(tally.report.shares.rejected, 1000);
    }
}
