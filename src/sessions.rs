//! Asks the shards which connections a worker has now.
//!
//! It is the one question that goes to shards: connections are too many, and too short-lived, to be reported. It changes
//! nothing, each shard answers on its ticks, and nobody waits longer than [`ANSWERS_WITHIN`]. Few questions go at one time, those
//! included that a shard which hangs has not taken yet, so that they never fill its queue of commands.

use loka_runtime::limits::{ASKED_MAX, COMMANDS_MAX};
use loka_runtime::{Command, ControlEnd, SessionsFound, SessionsQuestion};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long shards may take: they look at a question on their ticks, and a full one needs a few of them.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether they have answered: shards wake nobody.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const _: () = assert!(2 * ASKED_MAX <= COMMANDS_MAX);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SessionsError {
    /// As many questions as may be are not answered yet.
    #[error("too many questions wait to be answered")]
    Busy,
    /// A shard takes no commands, or has not answered in time.
    #[error("a shard did not answer in time")]
    Late,
}

/// Asks; cheap to clone, from any thread but those of shards.
#[derive(Debug, Clone)]
pub struct SessionsReader {
    ends: Arc<[Arc<ControlEnd>]>,
    /// Questions that somebody still has.
    asked: Arc<Mutex<Vec<Weak<SessionsQuestion>>>>,
    within: Duration,
}

/// Tells shards that nobody waits any more, however that comes.
struct Asking(Arc<SessionsQuestion>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl SessionsReader {
    /// Asks the shards at the other side of these.
    #[must_use]
    pub fn new(ends: &[Arc<ControlEnd>]) -> SessionsReader {
        SessionsReader { ends: ends.into(), asked: Arc::default(), within: ANSWERS_WITHIN }
    }

    /// What each shard that still runs has found, by its number.
    ///
    /// # Errors
    /// [`SessionsError`]: there is no answer.
    pub async fn of(&self, worker: String) -> Result<Vec<SessionsFound>, SessionsError> {
        let asking = Asking(self.ask(worker)?);
        let deadline = Instant::now() + self.within;
        let mut found: Vec<Option<SessionsFound>> = vec![None; self.ends.len()];
        loop {
            // Looked at before the answers: a shard may give its last one and end.
            let ended: Vec<bool> = self.ends.iter().map(|end| end.is_deserted()).collect();
            while let Some(answer) = asking.0.next_answer() {
                if let Some(place) = found.get_mut(answer.shard) {
                    *place = Some(answer);
                }
            }
            if found.iter().zip(ended).all(|(found, ended)| found.is_some() || ended) {
                return Ok(found.into_iter().flatten().collect());
            }
            if Instant::now() >= deadline {
                return Err(SessionsError::Late);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn ask(&self, worker: String) -> Result<Arc<SessionsQuestion>, SessionsError> {
        let question = {
            // Whoever held it can have left nothing half done.
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|question| question.strong_count() > 0);
            if asked.len() >= ASKED_MAX {
                return Err(SessionsError::Busy);
            }
            let question = SessionsQuestion::new(worker, self.ends.len());
            asked.push(Arc::downgrade(&question));
            question
        };
        for end in self.ends.iter().filter(|end| !end.is_deserted()) {
            if end.command(Command::Sessions(Arc::clone(&question))).is_err() {
                question.give_up();
                return Err(SessionsError::Late);
            }
        }
        Ok(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loka_runtime::{ShardEnd, mailbox};

    fn shards(count: usize) -> (Vec<ShardEnd>, SessionsReader) {
        let (shards, ends): (Vec<_>, Vec<_>) = (0..count)
            .map(|shard| {
                let (mailbox, end, _) = mailbox(shard);
                (mailbox, Arc::new(end))
            })
            .unzip();
        let reader = SessionsReader::new(&ends);
        (shards, reader)
    }

    fn question(shard: &ShardEnd) -> Arc<SessionsQuestion> {
        match shard.next_command() {
            Some(Command::Sessions(question)) => question,
            other => panic!("no question: {other:?}"),
        }
    }

    fn within<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test)
    }

    #[test]
    fn every_shard_is_asked_and_one_that_has_ended_is_not_waited_for() {
        let (mut shards, reader) = shards(3);
        within(async {
            let (found, ()) = tokio::join!(reader.of("farm.one".to_owned()), async {
                for (number, shard) in shards.iter().enumerate().take(2).rev() {
                    let question = question(shard);
                    assert_eq!(question.worker(), "farm.one");
                    let connections = number + 1;
                    question.answer(SessionsFound { shard: number, connections, sessions: Vec::new() });
                }
                shards.pop();
            });
            let told: Vec<_> = found.unwrap().iter().map(|found| (found.shard, found.connections)).collect();
            assert_eq!(told, [(0, 1), (1, 2)]);
        });
    }

    #[test]
    fn questions_are_bounded_while_a_shard_takes_none() {
        let (shards, mut reader) = shards(1);
        reader.within = Duration::ZERO;
        within(async {
            for _ in 0..ASKED_MAX {
                assert_eq!(reader.of("farm.one".to_owned()).await, Err(SessionsError::Late));
            }
            assert_eq!(reader.of("farm.one".to_owned()).await, Err(SessionsError::Busy));
            assert!(question(&shards[0]).is_over(), "nobody waits for it any more");
            assert_eq!(reader.of("farm.one".to_owned()).await, Err(SessionsError::Late));
        });
    }
}
