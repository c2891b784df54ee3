//! The aggregator: collects the shards' reports, adds them up, and publishes immutable snapshots.
//!
//! It asks no shard for anything and no shard waits for it: it polls the mailboxes on its own thread. Whoever wants
//! numbers reads the latest [`Snapshot`].

mod memory;
mod process;
mod profile;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod totals;
mod workers;

pub use memory::{MemoryFigures, MemoryWatch};
pub use process::ProcessFigures;
pub use snapshot::{PoolService, PoolShown, Rates, ShardFigures, Snapshot};
pub use totals::{ShardTotals, Totals};
pub use workers::{
    AskError, PAGE_MAX, SILENT_NAMED, SilentQuery, SilentWorker, SilentWorkers, WINDOWS, WORKERS_KEPT_MAX,
    Window, WorkerBook, WorkerPage, WorkerQuery, WorkerShares, WorkerSort, WorkerView, WorkersReader,
};

use crate::alerts::AlertCounts;
use crate::guard::{Block, GuardBook, GuardLimits, Wishes};
use crate::logging::DroppedLines;
use crate::pools::PoolViews;
use crate::records::{RecordsFeed, RecordsMeter};
use crate::refusals::ApiRefusals;
use crate::reload::ReloadCounts;
use loka_runtime::{Command, ControlEnd, MemoryLoad, Report, VisitorRule};
use snapshot::Mark;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use workers::{Wake, Waker};

/// The longest time between two looks into the mailboxes, so that the shards always find an empty box.
const POLL_MAX: Duration = Duration::from_millis(250);
/// The shortest time between two looks: a wrong interval must not make a thread spin.
const POLL_MIN: Duration = Duration::from_millis(10);
/// The shortest time that rates are means over: reports come in lumps of half a second.
const RATES_OVER_MIN: Duration = Duration::from_secs(5);
/// Wake-ups and questions that may wait: a page takes a few milliseconds, and shards can wait for a second.
const WAKES_MAX: usize = 16;

/// Addresses that are kept out.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// How often an address was blocked, since the start.
    pub total: u64,
    /// How many are blocked now.
    pub standing: usize,
    /// Those blocked now, the newest first, at most [`BLOCKS_SHOWN`].
    pub newest: Arc<[Block]>,
}

/// Blocked addresses that are shown.
pub const BLOCKS_SHOWN: usize = 1_000;
/// Addresses that one command tells shards of.
const RULES_PER_COMMAND: usize = 4_096;

/// What a reload may change.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What addresses are held to.
    pub guard: GuardLimits,
    /// MiB of memory that the process may use; `None`: what the host has.
    pub max_memory_mib: Option<u32>,
}

/// What is known at the start and does not change.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of this program.
    pub version: &'static str,
    /// When the process began.
    pub started: SystemTime,
    /// CPU of each shard, by the shard's number; shards beyond its end are shown without one.
    pub cpus: Vec<usize>,
    /// What is known of each pool.
    pub pools: PoolViews,
    /// The addresses that are kept out.
    pub blocks: watch::Receiver<Blocks>,
    /// What memory the process uses, of what it may.
    pub memory: watch::Receiver<MemoryFigures>,
    /// Requests to the API that were refused.
    pub refusals: ApiRefusals,
    /// Reloads of the configuration.
    pub reloads: ReloadCounts,
    /// What becomes of alerts.
    pub alerts: AlertCounts,
    /// How it goes with the share records.
    pub records: RecordsMeter,
    /// Log lines that were lost because the log could not be written fast enough.
    pub dropped_lines: DroppedLines,
    /// Whether the allocator's figures are read and logged.
    pub memory_profiling: bool,
}

/// Starts the thread; see [`AggregatorHandle`].
#[derive(Debug)]
pub struct Aggregator;

impl Aggregator {
    /// Starts collecting from `ends` on a thread named `aggregator`. `ends[n]` is the end of shard `n`; nobody else may
    /// collect from it. Boxes are collected and a snapshot is published every `interval`, but at least four times a
    /// second; rates are means over `interval`, or five seconds if
    /// that is shorter.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        ends: Vec<Arc<ControlEnd>>,
        mut facts: Facts,
        mut limits: watch::Receiver<Limits>,
        wishes: Wishes,
        mut records: Option<RecordsFeed>,
        interval: Duration,
    ) -> io::Result<AggregatorHandle> {
        let Limits { guard, max_memory_mib } = *limits.borrow_and_update();
        let mut book = GuardBook::new(guard, Instant::now());
        let mut watcher = MemoryWatch::new(max_memory_mib);
        let (blocks, seen) = watch::channel(Blocks::default());
        facts.blocks = seen;
        let (memory, seen) = watch::channel(MemoryFigures::default());
        facts.memory = seen;
        let mut told = vec![MemoryLoad::Fine; ends.len()];
        let shards = ends.len();
        let collect = move |merge: &mut dyn FnMut(&Report)| {
            let (now, clock) = (Instant::now(), SystemTime::now());
            if limits.has_changed().unwrap_or(false) {
                let Limits { guard, max_memory_mib } = *limits.borrow_and_update();
                book.hold_to(guard);
                watcher.hold_to(max_memory_mib);
            }
            for end in &ends {
                end.collect(|report| {
                    book.add(report.shard, &report.visitors, now);
                    merge(report);
                    if let Some(records) = &mut records {
                        records.take(report, clock);
                    }
                });
            }
            if let Some(records) = &mut records {
                records.send();
            }
            let figures = watcher.look(now);
            memory.send_replace(figures);
            for (told, end) in told.iter_mut().zip(&ends).filter(|(told, _)| **told != figures.load) {
                if end.command(Command::Memory(figures.load)).is_ok() {
                    *told = figures.load;
                }
            }
            // Every shard is told, also when one before it takes nothing.
            let tell = |command: &Command| {
                let refused = ends.iter().filter(|end| end.command(command.clone()).is_err()).count();
                refused == 0
            };
            wishes.grant(&mut book, now, &mut |address| tell(&Command::Kick(address)));
            let rules = book.take_rules(now);
            for chunk in rules.chunks(RULES_PER_COMMAND) {
                let rules: Arc<[VisitorRule]> = chunk.into();
                // A shard that takes none goes by what it saw itself, and is told when the address is news again.
                let _ = tell(&Command::Visitors(rules));
            }
            blocks.send_replace(Blocks {
                total: book.blocks(),
                newest: book.blocked(0, BLOCKS_SHOWN, now).into(),
                standing: book.standing(),
            });
        };
        start(Box::new(collect), shards, facts, interval.max(RATES_OVER_MIN))
    }
}

/// Hands every waiting report to its argument and gives the boxes back.
type Collect = Box<dyn FnMut(&mut dyn FnMut(&Report)) + Send>;

fn start(collect: Collect, shards: usize, facts: Facts, interval: Duration) -> io::Result<AggregatorHandle> {
    let (state, snapshots) = State::new(collect, shards, facts, interval, Instant::now());
    let draining = Arc::clone(&state.draining);
    let (wake, woken) = sync_channel(WAKES_MAX);
    let wake = Arc::new(wake);
    let thread =
        std::thread::Builder::new().name("aggregator".to_owned()).spawn(move || state.run(&woken))?;
    Ok(AggregatorHandle { snapshots, draining, wake, thread })
}

/// Stands for the running thread, which ends when this is dropped.
#[derive(Debug)]
pub struct AggregatorHandle {
    snapshots: SnapshotReader,
    draining: Arc<AtomicBool>,
    wake: Waker,
    thread: JoinHandle<()>,
}

impl AggregatorHandle {
    /// A reader of what the thread publishes.
    pub fn snapshots(&self) -> SnapshotReader {
        self.snapshots.clone()
    }

    /// Whoever wants to know about workers asks this.
    pub fn workers(&self) -> WorkersReader {
        WorkersReader::new(&self.wake)
    }

    /// From now on a snapshot is published, and rates are means, as [`Aggregator::start`] says of `interval`.
    pub fn set_interval(&self, interval: Duration) {
        // Full: sixteen questions wait, and the next reload sets it. It is about looks, and loses no number.
        let _ = self.wake.try_send(Wake::Every(interval.max(RATES_OVER_MIN)));
    }

    /// From the next snapshot on, which comes at once, the proxy is shown as draining and not ready.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        // Full: it wakes up anyway. Disconnected: it has ended, and nobody wants more snapshots.
        let _ = self.wake.try_send(Wake::Look);
    }

    /// Collects what the shards left, ends the thread and gives the last snapshot. To be called when the shards have
    /// ended: what they count later is lost.
    pub fn stop(self) -> Arc<Snapshot> {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the aggregator panicked: the last figures are incomplete");
        }
        self.snapshots.latest()
    }
}

/// Reads snapshots; cheap to clone, from any thread.
#[derive(Debug, Clone)]
pub struct SnapshotReader {
    latest: watch::Receiver<Arc<Snapshot>>,
}

impl SnapshotReader {
    /// The newest snapshot.
    pub fn latest(&self) -> Arc<Snapshot> {
        self.latest.borrow().clone()
    }

    /// Waits for a snapshot that this reader has not seen by this function, and gives the newest. `None`: the
    /// aggregator has ended and there will be no other.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        self.latest.changed().await.ok()?;
        Some(self.latest.borrow_and_update().clone())
    }
}

struct State {
    collect: Collect,
    facts: Facts,
    interval: Duration,
    totals: Totals,
    workers: WorkerBook,
    mark: Mark,
    rates: Rates,
    process: ProcessFigures,
    memory: profile::MemoryProfile,
    draining: Arc<AtomicBool>,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl State {
    fn new(
        collect: Collect,
        shards: usize,
        facts: Facts,
        interval: Duration,
        now: Instant,
    ) -> (Self, SnapshotReader) {
        let totals = Totals::new(shards);
        let workers = WorkerBook::new(now);
        let mut memory = profile::MemoryProfile::new(facts.memory_profiling);
        let process = memory.read(now);
        let mark = Mark::new(now, &totals, &process);
        let rates = Rates::none(shards);
        let first = Snapshot::new(now, &facts, (&totals, &workers), &rates, process, false);
        let (publish, latest) = watch::channel(Arc::new(first));
        let draining = Arc::default();
        let state = Self {
            collect,
            facts,
            interval,
            totals,
            workers,
            mark,
            rates,
            process,
            memory,
            draining,
            publish,
        };
        (state, SnapshotReader { latest })
    }

    fn run(mut self, woken: &Receiver<Wake>) {
        loop {
            let poll = self.interval.clamp(POLL_MIN, POLL_MAX);
            let stopped = self.wait(woken, Instant::now() + poll);
            self.tick(Instant::now(), stopped);
            if stopped {
                return;
            }
        }
    }

    /// Answers questions until the next look is due, or wanted at once. True when nobody wants more of them.
    fn wait(&mut self, woken: &Receiver<Wake>, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match woken.recv_timeout(left) {
                Ok(Wake::Ask(question)) => question.answer(&self.workers, Instant::now()),
                Ok(Wake::Every(interval)) => self.interval = interval,
                Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
            if left.is_zero() {
                // Questions that follow one another do not put the look off.
                return false;
            }
        }
    }

    fn tick(&mut self, now: Instant, last: bool) {
        let (totals, workers) = (&mut self.totals, &mut self.workers);
        (self.collect)(&mut |report| {
            totals.add(report, now);
            workers.add(&report.workers, now);
        });
        // Process figures cost a listing of all descriptors: they are read once an interval, not on every look.
        if last || now.duration_since(self.mark.at) >= self.interval {
            self.process = self.memory.read(now);
            let mark = Mark::new(now, &self.totals, &self.process);
            self.rates = Rates::between(&self.mark, &mark);
            self.mark = mark;
        }
        let draining = self.draining.load(Ordering::Relaxed);
        let snapshot = Snapshot::new(
            now,
            &self.facts,
            (&self.totals, &self.workers),
            &self.rates,
            self.process,
            draining,
        );
        self.publish.send_replace(Arc::new(snapshot));
    }
}
