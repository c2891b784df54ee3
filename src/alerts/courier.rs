//! Brings batches to the receiver, one after the other: retried with growing pauses where it cannot take them, given up where
//! it will not, or after [`GIVE_UP_AFTER`].

use super::outbox::{Batch, Outbox};
use super::post::{Answer, PostError, Receiver};
use super::{AlertCounts, unix_now};
use crate::backoff::{Backoff, chance};
use std::cell::RefCell;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Pauses after attempts that failed.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) };
/// A batch that cannot be delivered for so long is given up: what it says is old.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3_600);

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The receiver has taken it.
    Delivered,
    /// It is tried again after so long.
    Again(Duration),
    /// The receiver will never take it, or it is too old.
    GiveUp,
}

/// Decides it: `failures` in a row before this one, `age` of the batch, and a number from 0 to 1.
pub(super) fn next(result: &Result<Answer, PostError>, failures: u32, age: Duration, chance: f64) -> Next {
    let asked = match result {
        Ok(answer) if answer.status.is_success() => return Next::Delivered,
        // Too busy, too early or too many: it asks for patience. Any other such answer says that the request is wrong.
        Ok(answer)
            if answer.status.is_client_error() && ![408, 425, 429].contains(&answer.status.as_u16()) =>
        {
            return Next::GiveUp;
        }
        Ok(answer) => answer.retry_after,
        Err(PostError::Name(_) | PostError::Connect(_) | PostError::Http(_) | PostError::Slow(_)) => None,
    };
    if age >= GIVE_UP_AFTER {
        return Next::GiveUp;
    }
    Next::Again(asked.unwrap_or(Duration::ZERO).max(PAUSES.pause(failures, chance)))
}

/// Posts what is in the outbox.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) receiver: Receiver,
    /// The shortest time from one post to the next.
    pub(super) every: Duration,
    pub(super) counts: AlertCounts,
}

impl Courier {
    /// Goes on for ever.
    pub(super) async fn run(&self, outbox: &RefCell<Outbox>, news: &Notify) {
        loop {
            let batch = outbox.borrow_mut().batch(Instant::now());
            match batch {
                None => news.notified().await,
                Some(batch) => {
                    let begun = tokio::time::Instant::now();
                    self.deliver(&batch, outbox).await;
                    tokio::time::sleep_until(begun + self.every).await;
                }
            }
        }
    }

    /// What is left, without pauses between batches; until there is nothing more, or nobody waits for it any longer.
    pub(super) async fn flush(&self, outbox: &RefCell<Outbox>) {
        while outbox.borrow().has_work() {
            let batch = outbox.borrow_mut().batch(Instant::now());
            if let Some(batch) = batch {
                self.deliver(&batch, outbox).await;
            }
        }
    }

    async fn deliver(&self, batch: &Batch, outbox: &RefCell<Outbox>) {
        let mut failures = 0;
        loop {
            let result = self.receiver.post(&batch.delivery, &batch.body, unix_now()).await;
            match next(&result, failures, batch.begun.elapsed(), chance()) {
                Next::Delivered => {
                    outbox.borrow_mut().delivered();
                    if failures > 0 {
                        tracing::info!(failures, "alerts are delivered again");
                    }
                    return;
                }
                Next::GiveUp => {
                    self.counts.failed_post();
                    tracing::warn!(cause = told(&result), delivery = batch.delivery, "alerts were given up");
                    outbox.borrow_mut().give_up();
                    return;
                }
                Next::Again(pause) => {
                    self.counts.failed_post();
                    if failures == 0 {
                        tracing::warn!(cause = told(&result), "alerts cannot be delivered, trying again");
                    } else {
                        tracing::debug!(cause = told(&result), failures, "alerts cannot be delivered");
                    }
                    failures += 1;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// Why it was not taken. What the receiver says is not logged: anybody may have written it.
fn told(result: &Result<Answer, PostError>) -> String {
    match result {
        Ok(answer) => format!("the receiver answers {}", answer.status.as_u16()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn answer(status: u16, retry_after: Option<u64>) -> Result<Answer, PostError> {
        let retry_after = retry_after.map(Duration::from_secs);
        Ok(Answer { status: StatusCode::from_u16(status).unwrap(), retry_after, text: String::new() })
    }

    #[test]
    fn what_follows_from_an_answer() {
        let seconds = Duration::from_secs;
        let after = |result, failures| next(&result, failures, Duration::ZERO, 1.0);
        for status in [200, 202, 204] {
            assert_eq!(after(answer(status, None), 0), Next::Delivered);
        }
        for status in [400, 401, 403, 404, 410, 413] {
            assert_eq!(after(answer(status, None), 0), Next::GiveUp, "{status}");
        }
        for status in [301, 307, 408, 425, 429, 500, 502, 503] {
            assert_eq!(after(answer(status, None), 0), Next::Again(seconds(2)), "{status}");
        }
        assert_eq!(after(answer(429, Some(30)), 0), Next::Again(seconds(30)));
        assert_eq!(after(answer(503, Some(1)), 5), Next::Again(seconds(60)), "no less than the pause");
        assert_eq!(after(Err(PostError::Slow(Duration::ZERO)), 0), Next::Again(seconds(2)));
        assert_eq!(next(&Err(PostError::Slow(Duration::ZERO)), 0, GIVE_UP_AFTER, 1.0), Next::GiveUp);
        assert_eq!(next(&answer(200, None), 0, GIVE_UP_AFTER, 1.0), Next::Delivered);
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_chance_halves_them() {
        let pause = |failures, chance| match next(
            &Err(PostError::Slow(Duration::ZERO)),
            failures,
            Duration::ZERO,
            chance,
        ) {
            Next::Again(pause) => pause.as_millis(),
            Next::Delivered | Next::GiveUp => 0,
        };
        let pauses: Vec<u128> = (0..8).map(|failures| pause(failures, 1.0)).collect();
        assert_eq!(pauses, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!((pause(0, 0.0), pause(7, 0.0), pause(u32::MAX, 1.0)), (1_000, 30_000, 60_000));
    }
}
