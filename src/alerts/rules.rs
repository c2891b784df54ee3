//! What is wrong, by the figures of one moment. Pure: a snapshot, silent workers and a time come in, sightings go out; how
//! long something has to last before it is told is decided by the book.

use super::blocks::Blocks;
use super::message::Severity;
use super::rejects::{RejectWindow, Shares};
use crate::aggregate::{SilentWorkers, Snapshot};
use crate::config::AlertsConfig;
use crate::pools::PoolView;
use loka_proto::{End, PoolState};
use loka_runtime::MemoryLoad;
use std::time::{Duration, Instant};

/// Fewer shares within the window say nothing.
const SHARES_MIN: u64 = 20;
/// How long a panic stays worth an alert: nobody can see that it will not come again.
const PANIC_STANDS: Duration = Duration::from_secs(600);
/// Figures this old tell that the aggregator hangs.
const FIGURES_OLD: Duration = Duration::from_secs(10);
/// Percent of the descriptors from which on they are short, and below which they are enough again.
const DESCRIPTORS_SHORT: (u64, u64) = (90, 80);
/// Shards that are named.
const SHARDS_NAMED: usize = 20;
const MIB: u64 = 1024 * 1024;

loka_proto::labels! {
    /// What an alert is about.
    pub enum TroubleKind {
        /// One pool is degraded or has failed.
        Pool => "pool",
        /// No pool can be used.
        NoPool => "no_pool",
        /// Workers that worked do not any more.
        WorkersSilent => "workers_silent",
        /// Many shares are bad.
        Rejects => "rejects",
        /// Shards do not report.
        ShardsSilent => "shards_silent",
        /// The handler of a link panicked.
        Panics => "panics",
        /// A shard died, and the process ends.
        ShardDied => "shard_died",
        /// The aggregator hangs: what is wrong with the rest is not known.
        FiguresOld => "figures_old",
        /// Memory is short.
        Memory => "memory",
        /// File descriptors are short.
        Descriptors => "descriptors",
        /// A block was found.
        BlockFound => "block_found",
        /// A pool did not take a block.
        BlockLost => "block_lost",
        /// Nothing is wrong.
        Test => "test",
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trouble {
    pub(super) severity: Severity,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) value: Option<f64>,
    pub(super) names: Vec<String>,
    pub(super) more_names: usize,
    /// When it last grew; whoever was told before is told again.
    pub(super) grew: Option<Instant>,
}

impl Trouble {
    pub(super) fn new(severity: Severity, title: impl Into<String>) -> Trouble {
        let (title, text) = (title.into(), String::new());
        Trouble { severity, title, text, value: None, names: Vec::new(), more_names: 0, grew: None }
    }
}

/// What was seen of one thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Bad(Trouble),
    /// It is well; said when it was not before.
    Well(String),
    /// It cannot be told, or goes neither way: whatever was before stands.
    Unclear,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sighting {
    /// Stays the same for the same thing.
    pub(super) id: String,
    pub(super) kind: TroubleKind,
    pub(super) seen: Seen,
}

/// Looks at the figures, and remembers what it needs for that.
#[derive(Debug)]
pub(super) struct Rules {
    config: AlertsConfig,
    rejects: RejectWindow,
    panics: Option<(u64, Instant)>,
    panics_seen: u64,
    descriptors_short: bool,
    blocks: Blocks,
}

impl Rules {
    pub(super) fn new(config: AlertsConfig) -> Rules {
        let (rejects, blocks) = (RejectWindow::default(), Blocks::default());
        Rules { config, rejects, panics: None, panics_seen: 0, descriptors_short: false, blocks }
    }

    /// What these figures have counted was told by others before, or was before anybody was to be told.
    pub(super) fn know(&mut self, figures: &Snapshot) {
        self.panics_seen = figures.stats.counts.ends[End::Panicked.index()];
        self.blocks.know(figures);
    }

    /// Looks at everything. `silent` is `None` where nobody knows who is.
    pub(super) fn look(
        &mut self,
        figures: &Snapshot,
        silent: Option<&SilentWorkers>,
        now: Instant,
    ) -> Vec<Sighting> {
        let age = now.saturating_duration_since(figures.taken);
        let is_old = age > FIGURES_OLD;
        let mut all: Vec<Sighting> = Vec::new();
        let mut add = |id: &str, kind: TroubleKind, seen: Seen| {
            // Old figures show nothing of now.
            let is_shown = !is_old || kind == TroubleKind::FiguresOld;
            all.push(Sighting { id: id.to_owned(), kind, seen: if is_shown { seen } else { Seen::Unclear } });
        };
        if self.config.pools {
            for pool in figures.pools.iter() {
                add(&format!("pool/{}", pool.name), TroubleKind::Pool, of_pool(pool));
            }
            add("no_pool", TroubleKind::NoPool, of_all_pools(&figures.pools));
        }
        if self.config.shards {
            add("shards_silent", TroubleKind::ShardsSilent, of_shards(figures));
            add("panics", TroubleKind::Panics, self.of_panics(figures, now));
            add("figures_old", TroubleKind::FiguresOld, of_age(is_old, age));
        }
        if self.config.resources {
            add("memory", TroubleKind::Memory, of_memory(figures));
            add("descriptors", TroubleKind::Descriptors, self.of_descriptors(figures));
        }
        if self.config.blocks {
            add("block_found", TroubleKind::BlockFound, self.blocks.found(figures, now));
            add("block_lost", TroubleKind::BlockLost, self.blocks.lost(figures, now));
        }
        if let Some(percent) = self.config.reject_percent {
            add("rejects", TroubleKind::Rejects, self.of_rejects(figures, percent.get(), now));
        }
        if let Some(silent_for) = self.config.silent_for {
            // Without a pool nobody can work: that is told already.
            let seen = match silent {
                Some(silent) if usable(&figures.pools) => self.of_silent(silent, silent_for, now),
                Some(_) | None => Seen::Unclear,
            };
            add("workers_silent", TroubleKind::WorkersSilent, seen);
        }
        all
    }

    fn of_panics(&mut self, figures: &Snapshot, now: Instant) -> Seen {
        let count = figures.stats.counts.ends[End::Panicked.index()];
        if count > self.panics_seen {
            self.panics_seen = count;
            self.panics = Some((count, now));
        }
        match self.panics {
            Some((count, at)) if now.saturating_duration_since(at) < PANIC_STANDS => Seen::Bad(Trouble {
                text: format!(
                    "{count} connections ended by a bug since the start; the log says where, please report it"
                ),
                value: Some(count as f64),
                grew: Some(at),
                ..Trouble::new(Severity::Warning, "a handler of connections panicked")
            }),
            Some(_) | None => Seen::Well("no handler panicked for 10 minutes".to_owned()),
        }
    }

    fn of_descriptors(&mut self, figures: &Snapshot) -> Seen {
        let (open, max) = (figures.process.open_fds, figures.process.max_fds);
        let percent = if max == 0 || max == u64::MAX { 0 } else { open.saturating_mul(100) / max };
        let (short, enough) = DESCRIPTORS_SHORT;
        self.descriptors_short = percent >= if self.descriptors_short { enough } else { short };
        if !self.descriptors_short {
            return Seen::Well("file descriptors are enough again".to_owned());
        }
        Seen::Bad(Trouble {
            text: format!(
                "{open} of {max} are open; raise the limit of open files, or lower server.max_connections"
            ),
            value: Some(percent as f64),
            ..Trouble::new(Severity::Warning, "file descriptors run short")
        })
    }

    fn of_rejects(&mut self, figures: &Snapshot, percent_max: u32, now: Instant) -> Seen {
        let shares = &figures.stats.counts.shares;
        let counted = Shares {
            accepted: shares.accepted,
            rejected: shares.rejected.iter().sum(),
            refused: shares.refused,
        };
        let window = self.config.reject_window;
        let lately = self.rejects.look(counted, window, now);
        let percent = lately.bad_percent();
        if lately.all() < SHARES_MIN || percent < f64::from(percent_max) {
            return Seen::Well("shares are accepted again".to_owned());
        }
        let window = humantime::format_duration(window);
        let Shares { rejected, refused, .. } = lately;
        Seen::Bad(Trouble {
            text: format!(
                "within {window} pools rejected {rejected} and the proxy refused {refused} of {} shares",
                lately.all()
            ),
            value: Some((percent * 10.0).round() / 10.0),
            ..Trouble::new(Severity::Warning, format!("{percent:.0} percent of the shares are bad"))
        })
    }

    fn of_silent(&self, silent: &SilentWorkers, silent_for: Duration, now: Instant) -> Seen {
        let SilentWorkers { count, worked, latest } = silent;
        if *count < self.config.silent_min.get() as usize {
            let told = if *count == 0 {
                "workers send shares again"
            } else {
                "fewer workers are silent than is told of"
            };
            return Seen::Well(told.to_owned());
        }
        let first = latest.first().map(|worker| worker.silence.saturating_sub(silent_for));
        let are = if *count == 1 { "worker is" } else { "workers are" };
        Seen::Bad(Trouble {
            text: format!(
                "no share was accepted for {} or longer, of {worked} workers that worked lately",
                humantime::format_duration(silent_for)
            ),
            value: Some(*count as f64),
            names: latest.iter().map(|worker| worker.name.to_string()).collect(),
            more_names: count.saturating_sub(latest.len()),
            // When the last of them became silent.
            grew: first.and_then(|ago| now.checked_sub(ago)),
            ..Trouble::new(Severity::Warning, format!("{count} {are} silent"))
        })
    }
}

fn of_pool(pool: &PoolView) -> Seen {
    let severity = match pool.state {
        PoolState::Healthy => return Seen::Well(format!("pool {} is healthy again", pool.name)),
        // On its way, and nobody knows yet where to.
        PoolState::Recovering => return Seen::Unclear,
        PoolState::Degraded => Severity::Warning,
        PoolState::Failed => Severity::Critical,
    };
    let title = format!("pool {} is {}", pool.name, pool.state.label());
    Seen::Bad(Trouble { text: pool.cause.clone(), ..Trouble::new(severity, title) })
}

fn usable(pools: &[PoolView]) -> bool {
    pools.is_empty() || pools.iter().any(|pool| pool.state != PoolState::Failed)
}

fn of_all_pools(pools: &[PoolView]) -> Seen {
    // One that recovers takes nobody yet.
    let takes = |pool: &PoolView| matches!(pool.state, PoolState::Healthy | PoolState::Degraded);
    if pools.is_empty() || pools.iter().any(takes) {
        return Seen::Well("a pool can be used again".to_owned());
    }
    if usable(pools) {
        return Seen::Unclear;
    }
    let count = pools.len();
    Seen::Bad(Trouble {
        text: format!("{count} of {count} pools have failed: miners wait, and earn nothing"),
        value: Some(count as f64),
        ..Trouble::new(Severity::Critical, "no pool can be used")
    })
}

fn of_shards(figures: &Snapshot) -> Seen {
    let silent: Vec<usize> =
        figures.shards.iter().filter(|shard| shard.is_stalled()).map(|shard| shard.shard).collect();
    if silent.is_empty() {
        return Seen::Well("all shards report again".to_owned());
    }
    let count = silent.len();
    let are = if count == 1 { "shard is" } else { "shards are" };
    Seen::Bad(Trouble {
        text: format!("of {} shards; their miners may be served no more", figures.shards.len()),
        value: Some(count as f64),
        names: silent.iter().take(SHARDS_NAMED).map(|shard| format!("shard {shard}")).collect(),
        more_names: count.saturating_sub(SHARDS_NAMED),
        ..Trouble::new(Severity::Critical, format!("{count} {are} silent"))
    })
}

fn of_age(is_old: bool, age: Duration) -> Seen {
    if !is_old {
        return Seen::Well("the aggregator works again".to_owned());
    }
    let text = format!("the newest figures are {} s old: what else is wrong is not known", age.as_secs());
    Seen::Bad(Trouble { text, ..Trouble::new(Severity::Critical, "the aggregator hangs") })
}

fn of_memory(figures: &Snapshot) -> Seen {
    let memory = &figures.memory;
    let (severity, told) = match memory.load {
        MemoryLoad::Fine => return Seen::Well("memory is enough again".to_owned()),
        MemoryLoad::High => (Severity::Warning, "nobody new is let in"),
        MemoryLoad::Critical => (Severity::Critical, "connections are closed"),
    };
    let (used, limit) = (memory.used_bytes / MIB, memory.limit_bytes / MIB);
    Seen::Bad(Trouble {
        text: format!("{used} of {limit} MiB are used: {told}"),
        value: Some(100.0 * memory.used_bytes as f64 / memory.limit_bytes.max(1) as f64),
        ..Trouble::new(severity, "memory is short")
    })
}
