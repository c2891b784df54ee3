//! How others ask the aggregator's thread about workers: through its bounded queue of wake-ups, with the answer coming back
//! on a channel of one place. Whoever finds the queue full is told so, and nobody waits for room.

use super::{SilentQuery, SilentWorkers, WorkerBook, WorkerPage, WorkerQuery, WorkerView};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::oneshot;

/// What wakes the aggregator before its time.
#[derive(Debug)]
pub(in crate::aggregate) enum Wake {
    /// Something in its flags has changed.
    Look,
    /// From now on rates are means over this time.
    Every(Duration),
    /// Somebody asks.
    Ask(Question),
}

/// What is asked.
#[derive(Debug)]
pub(in crate::aggregate) enum Question {
    Page(Box<WorkerQuery>, oneshot::Sender<WorkerPage>),
    Worker(String, oneshot::Sender<Option<WorkerView>>),
    Silent(SilentQuery, oneshot::Sender<SilentWorkers>),
}

impl Question {
    /// Answers. Who asked may have gone; then nobody hears it.
    pub(in crate::aggregate) fn answer(self, book: &WorkerBook, now: Instant) {
        match self {
            Question::Page(query, to) => drop(to.send(book.page(&query, now))),
            Question::Worker(name, to) => drop(to.send(book.worker(&name, now))),
            Question::Silent(query, to) => drop(to.send(book.silent(&query, now))),
        }
    }
}

/// Whoever holds this keeps the aggregator running.
pub(in crate::aggregate) type Waker = Arc<SyncSender<Wake>>;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AskError {
    /// Too many questions wait already.
    #[error("too many questions wait to be answered")]
    Busy,
    /// The aggregator has ended.
    #[error("the aggregator has ended")]
    Ended,
}

/// Asks about workers; cheap to clone, from any thread. It does not keep the aggregator running.
#[derive(Debug, Clone)]
pub struct WorkersReader {
    wake: Weak<SyncSender<Wake>>,
}

impl WorkersReader {
    pub(in crate::aggregate) fn new(waker: &Waker) -> WorkersReader {
        WorkersReader { wake: Arc::downgrade(waker) }
    }

    /// The page that is asked for.
    ///
    /// # Errors
    /// [`AskError`]: there is no answer.
    pub async fn page(&self, query: WorkerQuery) -> Result<WorkerPage, AskError> {
        self.ask(|to| Question::Page(Box::new(query), to)).await
    }

    /// The worker of this name.
    ///
    /// # Errors
    /// [`AskError`]: there is no answer.
    pub async fn worker(&self, name: String) -> Result<Option<WorkerView>, AskError> {
        self.ask(|to| Question::Worker(name, to)).await
    }

    /// The workers that are silent.
    ///
    /// # Errors
    /// [`AskError`]: there is no answer.
    pub async fn silent(&self, query: SilentQuery) -> Result<SilentWorkers, AskError> {
        self.ask(|to| Question::Silent(query, to)).await
    }

    async fn ask<A>(&self, question: impl FnOnce(oneshot::Sender<A>) -> Question) -> Result<A, AskError> {
        let (send, receive) = oneshot::channel();
        let wake = self.wake.upgrade().ok_or(AskError::Ended)?;
        let asked = wake.try_send(Wake::Ask(question(send)));
        drop(wake);
        asked.map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(_) => AskError::Busy,
            std::sync::mpsc::TrySendError::Disconnected(_) => AskError::Ended,
        })?;
        receive.await.map_err(|_| AskError::Ended)
    }
}
