//! Messages that wait for the receiver, and the batch that is on its way. Pure; nobody waits for room in it.
//!
//! At most [`WAITING_MAX`] wait. When there is no room the oldest is given up, counted, and the receiver is told how many it
//! missed. A batch that was begun keeps its body and its name, so that a receiver can drop what it got twice.

use super::counts::AlertCounts;
use super::message::{FORM_VERSION, Message, Post};
use crate::config::AlertFormat;
use std::collections::VecDeque;
use std::time::Instant;

/// Messages that may wait.
pub(super) const WAITING_MAX: usize = 256;
/// Messages of one post.
pub(super) const BATCH_MAX: usize = 20;
/// Of what is told of one proxy, no more stands at one time: 16 pools, and each other kind once.
const _: () = assert!(WAITING_MAX > 4 * BATCH_MAX);

/// What every post says of who sends it.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) program: String,
    pub(super) source: String,
    /// Another one after each start.
    pub(super) instance: String,
    pub(super) format: AlertFormat,
}

/// A batch on its way.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Its name, which no other has.
    pub(super) delivery: String,
    pub(super) body: String,
    /// When it was begun.
    pub(super) begun: Instant,
    messages: usize,
    /// How many lost messages it tells of.
    tells_dropped: u64,
}

/// All that is not yet delivered.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: Sender,
    counts: AlertCounts,
    waiting: VecDeque<Message>,
    standing: Vec<String>,
    on_its_way: Option<Batch>,
    batches: u64,
    /// Lost messages that no delivered post has told of.
    dropped: u64,
}

impl Outbox {
    pub(super) fn new(sender: Sender, counts: AlertCounts) -> Outbox {
        let (waiting, standing) = (VecDeque::new(), Vec::new());
        Outbox { sender, counts, waiting, standing, on_its_way: None, batches: 0, dropped: 0 }
    }

    /// Takes messages, and the names of all alerts that stand.
    pub(super) fn take(&mut self, messages: Vec<Message>, standing: Vec<String>) {
        self.counts.standing(standing.len());
        self.standing = standing;
        for message in messages {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.pop_front();
                self.lose(1);
            }
            self.waiting.push_back(message);
        }
        self.tell_waiting();
    }

    /// Takes a message that says the last of this process.
    pub(super) fn take_last(&mut self, message: Message) {
        let mut standing = self.standing.clone();
        standing.push(message.id.clone());
        self.take(vec![message], standing);
    }

    /// Whether there is something to post.
    pub(super) fn has_work(&self) -> bool {
        self.on_its_way.is_some() || !self.waiting.is_empty()
    }

    /// The batch on its way, or a new one with the oldest messages.
    pub(super) fn batch(&mut self, now: Instant) -> Option<Batch> {
        if self.on_its_way.is_none() && !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH_MAX);
            let alerts: Vec<Message> = self.waiting.drain(..count).collect();
            self.batches += 1;
            let delivery = format!("{}-{}", self.sender.instance, self.batches);
            let post = Post {
                version: FORM_VERSION,
                program: &self.sender.program,
                source: &self.sender.source,
                instance: &self.sender.instance,
                delivery: &delivery,
                dropped: self.dropped,
                standing: &self.standing,
                alerts: &alerts,
            };
            let body = post.body(self.sender.format);
            let (messages, tells_dropped) = (alerts.len(), self.dropped);
            self.on_its_way = Some(Batch { delivery, body, begun: now, messages, tells_dropped });
        }
        self.on_its_way.clone()
    }

    /// The receiver has taken the batch on its way.
    pub(super) fn delivered(&mut self) {
        if let Some(batch) = self.on_its_way.take() {
            self.dropped = self.dropped.saturating_sub(batch.tells_dropped);
            self.counts.sent(batch.messages);
        }
        self.tell_waiting();
    }

    /// The batch on its way is given up.
    pub(super) fn give_up(&mut self) {
        if let Some(batch) = self.on_its_way.take() {
            self.lose(batch.messages);
        }
        self.tell_waiting();
    }

    fn lose(&mut self, messages: usize) {
        self.dropped += messages as u64;
        self.counts.dropped(messages);
    }

    fn tell_waiting(&self) {
        let on_its_way = self.on_its_way.as_ref().map_or(0, |batch| batch.messages);
        self.counts.waiting(self.waiting.len() + on_its_way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn outbox() -> (Outbox, AlertCounts) {
        let (counts, text) = (AlertCounts::default(), str::to_owned);
        let sender = Sender {
            program: text("loka-stratum 1.2.3"),
            source: text("hall 1"),
            instance: text("0123456789abcdef"),
            format: AlertFormat::Json,
        };
        (Outbox::new(sender, counts.clone()), counts)
    }

    /// Messages with a number each as their time.
    fn messages(from: u64, to: u64) -> Vec<Message> {
        (from..to).map(Message::test).collect()
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        let body: Value = serde_json::from_str(&batch.body).unwrap();
        body["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["at_unix_seconds"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn a_batch_is_the_same_until_it_is_delivered() {
        let (mut outbox, counts) = outbox();
        let now = Instant::now();
        assert!(!outbox.has_work() && outbox.batch(now).is_none());
        outbox.take(messages(0, 3), vec!["test".to_owned()]);
        let first = outbox.batch(now).unwrap();
        outbox.take(messages(3, 30), Vec::new());
        let again = outbox.batch(now).unwrap();
        assert_eq!((&first.body, &first.delivery), (&again.body, &again.delivery));
        assert_eq!((numbers(&first), counts.now().waiting), (vec![0, 1, 2], 30));
        outbox.delivered();
        let second = outbox.batch(now).unwrap();
        assert_ne!(first.delivery, second.delivery);
        assert_eq!(numbers(&second), (3..23).collect::<Vec<_>>());
        outbox.delivered();
        assert_eq!((counts.now().sent, counts.now().waiting), (23, 7));
        let body: Value = serde_json::from_str(&first.body).unwrap();
        assert_eq!((&body["standing"][0], &body["source"]), (&"test".into(), &"hall 1".into()));
        assert_eq!((&body["version"], &body["dropped"]), (&1.into(), &0.into()));
    }

    #[test]
    fn the_oldest_are_lost_and_the_receiver_is_told_how_many() {
        let (mut outbox, counts) = outbox();
        let now = Instant::now();
        let told = |batch: &Batch| serde_json::from_str::<Value>(&batch.body).unwrap()["dropped"].as_u64();
        outbox.take(messages(0, 1), Vec::new());
        outbox.batch(now).unwrap();
        outbox.take(messages(1, 1 + WAITING_MAX as u64 + 5), Vec::new());
        assert_eq!((counts.now().dropped, counts.now().waiting), (5, WAITING_MAX as u64 + 1));
        outbox.give_up();
        assert_eq!(counts.now().dropped, 6);
        let next = outbox.batch(now).unwrap();
        assert_eq!((numbers(&next)[0], told(&next)), (6, Some(6)));
        // Lost as well: its message, and what it would have told.
        outbox.give_up();
        let next = outbox.batch(now).unwrap();
        assert_eq!(told(&next), Some(6 + BATCH_MAX as u64));
        outbox.delivered();
        assert_eq!(told(&outbox.batch(now).unwrap()), Some(0));
        assert_eq!(counts.now().dropped, 6 + BATCH_MAX as u64);
    }
}
