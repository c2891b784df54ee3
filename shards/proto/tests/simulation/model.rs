//! What a session should know and count, written a second time in the simplest way.
//!
//! Of a pool that is lost, nothing is known any more but what the miner still works with.

use crate::credit::Credit;
use loka_proto::{Policy, Stats};

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Verdicts that the session should have counted.
    pub(crate) expected: Stats,
    next_difficulty: f64,
    difficulty: f64,
    pub(crate) credit: Credit,
    /// Subscribes that the pool was sent and that are not answered yet.
    subscribes: u32,
    /// No subscribe was answered since the first of them was sent.
    is_first_line_due: bool,
    /// A pool took a subscribe; a miner that sends another goes on working meanwhile.
    pub(crate) is_subscribed: bool,
    has_work: bool,
    /// The next job is the first of a pool connection that the miner is moved to.
    pub(crate) is_job_first: bool,
}

impl Model {
    /// Takes a line of the pool that answers nothing. Lines that are no JSON end the session and change nothing here.
    pub(crate) fn pool_says(&mut self, line: &[u8], policy: &Policy, now: u64) {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { return };
        let params = &message["params"];
        match message["method"].as_str() {
            Some("mining.set_difficulty") => {
                let given = params[0].as_f64().filter(|difficulty| *difficulty > 0.0);
                self.next_difficulty = given.unwrap_or(self.next_difficulty);
            }
            Some("mining.notify") => {
                // Whole ones name the block before; the others here are of a wrong size and must be filtered.
                let is_whole = params[1].as_str().is_some_and(|hash| hash.len() == 64);
                let Some(list) = params.as_array().filter(|_| is_whole) else { return };
                let is_first = std::mem::take(&mut self.is_job_first);
                if is_first && self.next_difficulty == 0.0 {
                    self.next_difficulty = 1.0;
                }
                self.difficulty = self.next_difficulty;
                self.has_work = true;
                let is_clean = is_first || list.last().is_some_and(|clean_jobs| clean_jobs == true);
                self.credit.gives(params, is_clean, self.difficulty, (policy, now));
            }
            Some(_) | None => {}
        }
    }

    /// Whether the pool has given work.
    pub(crate) fn has_job(&self) -> bool {
        self.has_work
    }

    /// What a share on this job is worth.
    pub(crate) fn difficulty_of(&self, job: &str) -> f64 {
        self.credit.difficulty_of(job).unwrap_or(self.difficulty)
    }

    /// The pool connection is lost, and the miner stays.
    pub(crate) fn lose_pool(&mut self) {
        self.credit.lose_pool(self.is_subscribed);
        self.has_work = false;
        self.next_difficulty = 0.0;
        self.subscribes = 0;
        self.is_first_line_due = false;
        self.is_job_first = self.is_subscribed;
    }

    /// The proxy subscribes the miner to its next pool: until that answers, the miner hears of nothing.
    pub(crate) fn subscribe_said_again(&mut self) {
        self.is_first_line_due = true;
    }

    pub(crate) fn subscribe_sent(&mut self) {
        self.is_first_line_due |= self.subscribes == 0 && !self.is_subscribed;
        self.subscribes += 1;
    }

    pub(crate) fn subscribe_answered(&mut self, is_granted: bool) {
        self.subscribes -= 1;
        self.is_first_line_due = false;
        self.is_subscribed |= is_granted;
    }

    pub(crate) fn subscribe_said_again_answered(&mut self) {
        self.is_first_line_due = false;
    }

    /// Between the first subscribe and an answer to one, no notification may go to the miner.
    pub(crate) fn check_notification(&self) {
        assert!(!self.is_first_line_due, "a notification went out before the subscribe answer");
    }

    /// Whether notifications are being held back.
    pub(crate) fn holds_early(&self) -> bool {
        self.subscribes > 0 && !self.is_subscribed
    }
}
