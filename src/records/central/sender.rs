//! What the thread does: looks every `records.send_every` for minutes that are over and not sent, and sends them, the oldest
//! first; after a failure it tries again after pauses that grow to half a minute, shortened by chance.
//!
//! It refuses to remember rows: they stand in the file, and are read again whenever they are needed. Nobody waits for it.

use super::client::{Client, Target};
use super::error::CentralError;
use super::figures::{CentralFailure, CentralMeter, CentralTable};
use super::local::{Cursor, Local, START, Unsent};
use super::statements::Batch;
use crate::backoff::{Backoff, chance};
use crate::records::feed::unix_ms;
use crate::records::store::Sent;
use crossbeam::channel::{Sender as Channel, TrySendError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Rows of one statement: with names of full length some 400 KiB.
const BATCH_ROWS: usize = 1_000;
/// Pauses after failures.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// How long it is waited for room to tell the writer what is sent.
const ROOM_PAUSE: Duration = Duration::from_millis(500);
/// How often what waits is counted while much of it is sent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the last of all may take.
pub(super) const LAST_MAX: Duration = Duration::from_secs(3);

/// It cannot send at present.
#[derive(Debug)]
struct Trouble {
    kind: CentralFailure,
    since: Instant,
    failures: u32,
}

/// How far a minute has come, so that a connection that breaks again and again gets on all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    unsent: Unsent,
    table: CentralTable,
    after: Cursor,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) path: PathBuf,
    pub(super) target: Target,
    pub(super) every: Duration,
    pub(super) meter: CentralMeter,
    /// Where the writer is told what is sent.
    pub(super) to: Channel<Sent>,
    local: Option<Local>,
    client: Option<Client>,
    /// Minutes that are sent up to a change, which the file may not say yet.
    handed: BTreeMap<i64, i64>,
    progress: Option<Progress>,
    trouble: Option<Trouble>,
}

impl Sender {
    pub(super) fn new(
        path: PathBuf,
        target: Target,
        every: Duration,
        meter: CentralMeter,
        to: Channel<Sent>,
    ) -> Sender {
        let handed = BTreeMap::new();
        Sender {
            path,
            target,
            every,
            meter,
            to,
            local: None,
            client: None,
            handed,
            progress: None,
            trouble: None,
        }
    }

    /// Goes on until somebody asks for the end, or nobody is left to; then sends what there is by then, minutes too that are
    /// not over, for [`LAST_MAX`] at most.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<()>) {
        loop {
            let pause = tokio::select! {
                pause = self.turn(this_minute()) => pause,
                _ = &mut end => break,
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = &mut end => break,
            }
        }
        let last = timeout(LAST_MAX, self.turn(i64::MAX)).await;
        if last.is_err() || self.trouble.is_some() {
            tracing::warn!(database = %self.target.database, "the last records were not sent: that is done at the next start");
        }
    }

    /// Sends all that is due, and gives the time until the next turn.
    async fn turn(&mut self, before: i64) -> Duration {
        match self.send_all(before).await {
            Ok(()) => {
                self.tell_recovered();
                self.meter.all_sent(SystemTime::now());
                self.every
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Sends every minute before this one that is not sent as it is.
    async fn send_all(&mut self, before: i64) -> Result<(), CentralError> {
        self.look(before)?;
        self.connect().await?;
        let (mut after, mut kept, mut looked) = (i64::MIN, BTreeMap::new(), Instant::now());
        loop {
            let next = self.local.as_ref().map(|local| local.next(after, before)).transpose()?.flatten();
            let Some(unsent) = next else { break };
            after = unsent.minute;
            if self.handed.get(&unsent.minute) != Some(&unsent.change) {
                self.send(unsent).await?;
                self.hand_back(unsent).await;
                if looked.elapsed() >= LOOK_EVERY {
                    self.look(before)?;
                    looked = Instant::now();
                }
            }
            kept.insert(unsent.minute, unsent.change);
        }
        // Of the others the file knows by now.
        self.handed = kept;
        Ok(())
    }

    /// Opens the file where that is to be done, and tells how much waits in it.
    fn look(&mut self, before: i64) -> Result<(), CentralError> {
        if self.local.as_ref().is_none_or(|local| !local.is_at(&self.path)) {
            self.local = Local::open(&self.path)?;
            // What was sent of another file says nothing of this one.
            self.handed.clear();
            self.progress = None;
        }
        let Some(local) = &self.local else { return Ok(()) };
        let (count, oldest) = local.waiting(before, &self.handed)?;
        self.meter.waiting(count, oldest);
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), CentralError> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = None;
            self.client = Some(Client::open(&self.target).await?);
        }
        Ok(())
    }

    /// Sends all rows of a minute, from where the last attempt ended if it has not changed since.
    async fn send(&mut self, unsent: Unsent) -> Result<(), CentralError> {
        let begun = self.progress.filter(|progress| progress.unsent == unsent);
        let mut progress = begun.unwrap_or(Progress { unsent, table: CentralTable::Minutes, after: START });
        loop {
            let (Some(local), Some(client)) = (&self.local, &self.client) else { return Ok(()) };
            let (batch, last) = read(local, unsent.minute, progress)?;
            let rows = batch.len();
            if rows > 0 {
                client.put(&self.target, &local.origin, batch).await?;
                self.meter.rows(progress.table, rows);
                progress.after = last;
            }
            if rows < BATCH_ROWS {
                match CentralTable::ALL.get(progress.table.index() + 1) {
                    Some(table) => (progress.table, progress.after) = (*table, START),
                    None => break,
                }
            }
            self.progress = Some(progress);
        }
        self.progress = None;
        Ok(())
    }

    /// Tells the writer. It looks every few seconds, and the channel holds more than a day; after a long time away it may
    /// have to be waited for.
    async fn hand_back(&mut self, Unsent { minute, change }: Unsent) {
        self.handed.insert(minute, change);
        let Some(origin) = self.local.as_ref().map(|local| local.origin.clone()) else { return };
        let mut sent = Sent { origin, minute, change };
        while let Err(TrySendError::Full(back)) = self.to.try_send(sent) {
            sent = back;
            sleep(ROOM_PAUSE).await;
        }
    }

    /// Counts and tells what is wrong, and gives the time until the next attempt.
    fn failed(&mut self, error: &CentralError) -> Duration {
        self.meter.failed(error.kind);
        self.client = None;
        if error.kind == CentralFailure::File {
            self.local = None;
        }
        let before = self.trouble.take();
        if before.as_ref().is_none_or(|before| before.kind != error.kind) {
            let database = &self.target.database;
            tracing::warn!(%database, kind = error.kind.label(), cause = %error, "records cannot be sent: they wait in their file");
        }
        let failures = before.as_ref().map_or(0, |before| before.failures);
        let since = before.map_or_else(Instant::now, |before| before.since);
        self.trouble = Some(Trouble { kind: error.kind, since, failures: failures.saturating_add(1) });
        PAUSES.pause(failures, chance())
    }

    fn tell_recovered(&mut self) {
        let Some(Trouble { kind, since, failures }) = self.trouble.take() else { return };
        let (database, seconds) = (&self.target.database, since.elapsed().as_secs());
        tracing::warn!(%database, kind = kind.label(), seconds, failures, "records are sent again");
    }
}

/// The minute that is not over yet.
fn this_minute() -> i64 {
    unix_ms(SystemTime::now()).div_euclid(60_000)
}

fn read(local: &Local, minute: i64, progress: Progress) -> Result<(Batch, Cursor), CentralError> {
    let Progress { table, after, .. } = progress;
    Ok(match table {
        CentralTable::Minutes => {
            let (rows, last) = local.minutes(minute, after, BATCH_ROWS)?;
            (Batch::Minutes(minute, rows), last)
        }
        CentralTable::Reasons => {
            let (rows, last) = local.reasons(minute, after, BATCH_ROWS)?;
            (Batch::Reasons(minute, rows), last)
        }
        CentralTable::Events => {
            let (rows, last) = local.events(minute, after, BATCH_ROWS)?;
            (Batch::Events(rows), last)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_differ() {
        let whole: Vec<u64> = (0..9).map(|failures| PAUSES.pause(failures, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
        assert_eq!((PAUSES.pause(u32::MAX, 0.0), PAUSES.pause(0, 9.0)), (PAUSES.longest / 2, PAUSES.first));
        assert!((0..100).map(|_| chance()).all(|chance| (0.0..=1.0).contains(&chance)));
    }
}
