//! Looks at the figures twice a second, and puts into the outbox what is to be told of them.
//!
//! It reads snapshots, and asks the aggregator for silent workers, which it never waits for longer than [`ANSWER_MAX`]. While
//! the proxy starts or drains nothing is wrong.

use super::book::{AlertBook, Moment, Times};
use super::outbox::Outbox;
use super::rules::Rules;
use super::unix_now;
use crate::aggregate::{SilentQuery, SilentWorkers, SnapshotReader, WorkersReader};
use crate::config::AlertsConfig;
use std::cell::RefCell;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the figures are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Silent workers are asked for ten times in the time after which they are silent, within these bounds.
const SILENT_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long the aggregator may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Who looks.
pub(super) struct Lookout {
    snapshots: SnapshotReader,
    workers: WorkersReader,
    rules: Rules,
    book: AlertBook,
    silent: Option<SilentQuery>,
    asked: Option<Instant>,
    known: Option<SilentWorkers>,
}

impl Lookout {
    pub(super) fn new(config: &AlertsConfig, snapshots: SnapshotReader, workers: WorkersReader) -> Lookout {
        let AlertsConfig { fire_after, resolve_after, repeat, silent_for, silent_forget, .. } = *config;
        let times = Times { fire_after, resolve_after, repeat };
        let silent = silent_for.map(|silent_for| SilentQuery { silent_for, forget: silent_forget });
        let (mut rules, book) = (Rules::new(config.clone()), AlertBook::new(times));
        rules.know(&snapshots.latest());
        Lookout { snapshots, workers, rules, book, silent, asked: None, known: None }
    }

    /// Goes on for ever.
    pub(super) async fn run(&mut self, outbox: &RefCell<Outbox>, news: &Notify) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.snapshots.latest().is_ready() {
                continue;
            }
            self.ask().await;
            // Asking took its time: what is newest counts.
            let figures = self.snapshots.latest();
            if !figures.is_ready() {
                continue;
            }
            let moment = Moment { now: Instant::now(), unix: unix_now() };
            let sightings = self.rules.look(&figures, self.known.as_ref(), moment.now);
            let messages = self.book.look(&sightings, moment);
            let has_news = !messages.is_empty();
            for message in &messages {
                tracing::info!(id = message.id, status = ?message.status, again = message.again, title = message.title, "alert");
            }
            outbox.borrow_mut().take(messages, self.book.standing());
            if has_news {
                news.notify_one();
            }
        }
    }

    /// Asks who is silent, if it is time.
    async fn ask(&mut self) {
        let Some(query) = self.silent else { return };
        let (least, most) = SILENT_EVERY;
        let every = (query.silent_for / 10).clamp(least, most);
        if self.asked.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.asked = Some(Instant::now());
        // Who does not answer is asked again at the next time; until then it is not known who is silent.
        self.known = timeout(ANSWER_MAX, self.workers.silent(query)).await.ok().and_then(Result::ok);
    }
}
