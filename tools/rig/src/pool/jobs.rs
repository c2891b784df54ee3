//! Jobs of realistic size. Their contents are noise, which can be hashed like any other.

use std::collections::VecDeque;

use crate::seed::mix;
use crate::wire::push_hex;

/// Jobs a share may still be for.
const JOBS_KEPT: usize = 8;
/// Every so many jobs a block was found and the older jobs end.
const JOBS_PER_BLOCK: u64 = 10;
/// Bytes of the coinbase halves, as seen from large pools: height, tag and merge-mining commitment in front, outputs behind.
const COINBASE1_BYTES: usize = 72;
const COINBASE2_BYTES: usize = 180;
/// 2026-01-01, in seconds. Times in jobs are made up, so that a run is reproducible.
const FIRST_NTIME: u64 = 1_767_225_600;

pub(super) struct Jobs {
    seed: u64,
    /// What all ids begin with.
    prefix: String,
    branches: usize,
    nbits: u32,
    made: u64,
    /// Serial number of the last clean job.
    clean_since: u64,
    live: VecDeque<Job>,
    /// The `mining.notify` line of the newest job, with its newline.
    line: Vec<u8>,
}

struct Job {
    id: String,
    serial: u64,
    line: Box<[u8]>,
}

impl Jobs {
    /// Starts with one job, which is clean. An empty prefix stands for four hex digits that follow from the seed.
    pub(super) fn new(seed: u64, branches: usize, prefix: &str, nbits: u32) -> Self {
        let prefix =
            if prefix.is_empty() { format!("{:04x}", mix(seed, 0) & 0xffff) } else { prefix.to_owned() };
        let mut jobs = Jobs {
            seed,
            prefix,
            branches,
            nbits,
            made: 0,
            clean_since: 0,
            live: VecDeque::with_capacity(JOBS_KEPT),
            line: Vec::new(),
        };
        jobs.make(true);
        jobs
    }

    /// Whether the next regular job should be a clean one.
    pub(super) fn next_is_clean(&self) -> bool {
        self.made.is_multiple_of(JOBS_PER_BLOCK)
    }

    /// Makes a new job. A clean one ends all others.
    pub(super) fn make(&mut self, clean: bool) {
        self.made += 1;
        if clean {
            self.live.clear();
            self.clean_since = self.made;
        } else if self.live.len() == JOBS_KEPT {
            self.live.pop_front();
        }
        let id = format!("{}{:08x}", self.prefix, self.made);
        self.line = self.render(&id, clean);
        self.live.push_back(Job { id, serial: self.made, line: self.line.as_slice().into() });
    }

    pub(super) fn made(&self) -> u64 {
        self.made
    }

    pub(super) fn clean_since(&self) -> u64 {
        self.clean_since
    }

    /// The serial number of a job that shares may still be for.
    pub(super) fn find(&self, id: &str) -> Option<u64> {
        self.live.iter().rev().find(|job| job.id == id).map(|job| job.serial)
    }

    /// The `mining.notify` line of such a job.
    pub(super) fn line_of(&self, id: &str) -> Option<&[u8]> {
        self.live.iter().rev().find(|job| job.id == id).map(|job| job.line.as_ref())
    }

    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// `[job id, previous hash, coinbase 1, coinbase 2, branches, version, nbits, ntime, clean]`.
    fn render(&self, id: &str, clean: bool) -> Vec<u8> {
        let mut line = Vec::with_capacity(1024 + self.branches * 70);
        line.extend_from_slice(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"");
        line.extend_from_slice(id.as_bytes());
        line.extend_from_slice(b"\",\"");
        let block = self.made / JOBS_PER_BLOCK;
        self.noise(&mut line, block.wrapping_mul(31), 32);
        line.extend_from_slice(b"\",\"");
        self.noise(&mut line, self.made.wrapping_mul(37), COINBASE1_BYTES);
        line.extend_from_slice(b"\",\"");
        self.noise(&mut line, self.made.wrapping_mul(41), COINBASE2_BYTES);
        line.extend_from_slice(b"\",[");
        for branch in 0..self.branches {
            line.extend_from_slice(if branch == 0 { b"\"" } else { b",\"" });
            self.noise(&mut line, self.made.wrapping_mul(43) ^ ((branch as u64) << 32), 32);
            line.push(b'"');
        }
        line.extend_from_slice(b"],\"20000000\",\"");
        push_hex(&mut line, u128::from(self.nbits), 8);
        line.extend_from_slice(b"\",\"");
        push_hex(&mut line, u128::from(FIRST_NTIME + self.made * 30), 8);
        line.extend_from_slice(if clean { b"\",true]}\n" } else { b"\",false]}\n" });
        line
    }

    fn noise(&self, line: &mut Vec<u8>, salt: u64, bytes: usize) {
        for index in 0..bytes {
            push_hex(line, u128::from(mix(self.seed ^ salt, index as u64) & 0xff), 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_nine_params_of_the_right_lengths() {
        let jobs = Jobs::new(5, 12, "", 0x1703_4219);
        let notify: serde_json::Value = serde_json::from_slice(jobs.line()).unwrap();
        let params = notify["params"].as_array().unwrap();
        assert_eq!(params.len(), 9);
        assert_eq!(params[1].as_str().unwrap().len(), 64);
        assert_eq!(params[4].as_array().unwrap().len(), 12);
        assert_eq!(params[8], true);
        assert!(jobs.line().len() > 1400, "a realistic line has {} bytes", jobs.line().len());
    }

    #[test]
    fn jobs_stay_known_until_a_clean_one() {
        let mut jobs = Jobs::new(5, 0, "", 0x1703_4219);
        let first = jobs.live[0].id.clone();
        jobs.make(false);
        assert_eq!(jobs.find(&first), Some(1));
        jobs.make(true);
        assert_eq!(jobs.find(&first), None);
        for _ in 0..100 {
            jobs.make(false);
        }
        assert_eq!(jobs.live.len(), JOBS_KEPT);
    }
}
