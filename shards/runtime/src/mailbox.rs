//! How a shard and the control plane talk: boxes of numbers out, commands in, no lock on either way.
//!
//! A few boxes circulate through two lock-free queues. The shard fills one and swaps it on its tick if another is
//! there; the control plane polls, merges, clears and gives it back. When the control plane is late the shard counts
//! on in the box it has: nothing is lost and nobody waits. A blocking channel would take a lock to wake its reader.

use crate::handover::{Arrivals, HandOver};
use crate::plan::limits::COMMANDS_MAX;
use crate::plan::{PoolNow, ShardPlan};
use crate::question::SessionsQuestion;
use crate::quota::Excess;
use crate::shard::MemoryLoad;
use crate::visitors::{VisitorNews, VisitorRule};
use crossbeam::queue::ArrayQueue;
use loka_proto::limits::POOLS_MAX;
use loka_proto::middleware::RateLimit;
use loka_proto::{ShareEvent, Stats, Tick, WorkerNews};
use rustls::ServerConfig;
use std::net::IpAddr;
use std::sync::Arc;

/// Boxes in circulation: one filling, one on its way, one coming back.
const BOXES: usize = 3;

/// What the shell of a shard counted since its last report, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shell {
    /// Connections accepted, those closed at once included.
    pub accepted: u64,
    /// Links that went on in another process.
    pub handed_over: u64,
    /// Links that came from another process, or came back on the way to one.
    pub taken_over: u64,
    /// Those of them that made no sense, and were closed.
    pub not_taken_over: u64,
    /// Connections that could not be accepted: descriptors or memory were used up, or they were gone already.
    pub accept_errors: u64,
    /// Attempts to open a pool connection.
    pub dials: u64,
    /// Attempts that failed.
    pub dial_failures: u64,
    /// Times a side was not read because the other did not take its bytes.
    pub pauses: u64,
    /// Times a miner was not read for a while because of what it or its address had sent, by [`Excess::index`].
    pub excesses: [u64; Excess::COUNT],
    /// Turns of the loop.
    pub turns: u64,
    /// Microseconds spent in turns, not waiting.
    pub busy_us: u64,
    /// Microseconds that this report covers.
    pub span_us: u64,
    /// Miners connected now.
    pub connections: u64,
    /// Pool connections open now.
    pub pool_links: u64,
    /// The same for each pool.
    pub links_of_pool: [u64; POOLS_MAX],
    /// Miners that wait for a pool connection now.
    pub waiting: u64,
    /// Connections to pools that nobody needs yet, open or on their way.
    pub warm: u64,
    /// Addresses of miners that the shard knows something of.
    pub visitors: u64,
    /// Workers that the shard knows by name.
    pub workers: u64,
    /// Workers that got no name of their own, because there were too many.
    pub workers_untold: u64,
    /// Bytes waiting in queues and sessions now.
    pub queued_bytes: u64,
}

/// One box.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The shard's number.
    pub shard: usize,
    /// What its sessions counted.
    pub stats: Stats,
    /// What its shell counted.
    pub shell: Shell,
    /// Addresses of miners of which something has changed.
    pub visitors: Vec<VisitorNews>,
    /// What was counted of workers, of some of them later.
    pub workers: Vec<WorkerNews>,
    /// Shares that came to nothing, at most [`SHARE_EVENTS_MAX`](loka_proto::limits::SHARE_EVENTS_MAX).
    pub events: Vec<ShareEvent>,
    /// How many more there were.
    pub events_missed: u64,
    /// When the report was finished, by the clock that events are told by.
    pub finished: Tick,
}

impl Report {
    /// Sets everything to zero and keeps the memory.
    pub fn clear(&mut self) {
        self.stats.clear();
        self.shell = Shell::default();
        self.visitors.clear();
        self.workers.clear();
        self.events.clear();
        self.events_missed = 0;
        self.finished = Tick(0);
    }
}

/// What a shard does from now on.
#[derive(Debug, Clone)]
pub struct Reload {
    /// Its plan. It may have more pools than before, never fewer; what it says of listeners, the certificate for miners, spare
    /// buffers, interning and lingering is for the next start.
    pub plan: ShardPlan,
    /// What the messages of a connection are held to; see `Stage::on_reload`.
    pub rate_limit: Option<RateLimit>,
}

/// What a shard can be told while it runs.
#[derive(Debug, Clone)]
pub enum Command {
    /// Where the pools are and how far they can be trusted has changed: one element for each pool of the plan.
    Pools(Arc<[PoolNow]>),
    /// What is known of addresses over all shards.
    Visitors(Arc<[VisitorRule]>),
    /// How much of the memory that there is for the process is used.
    Memory(MemoryLoad),
    /// The configuration has changed.
    Reload(Arc<Reload>),
    /// All connections of this address, as [`host_of`](crate::host_of) gives it, are to end.
    Kick(IpAddr),
    /// Another process serves miners from now on: this shard hands its links over.
    HandOver(HandOver),
    /// That process is not there any more: the shard keeps what links it has, and accepts again.
    Stay,
    /// Links come from another process.
    Arrivals(Arrivals),
    /// Which connections a worker has is to be told to whoever asks.
    Sessions(Arc<SessionsQuestion>),
    /// Miners that connect from now on are shown this certificate.
    MinerTls(Arc<ServerConfig>),
    /// Accept no more, answer the shares in flight, close; be done after this many microseconds at the latest.
    Drain {
        /// Microseconds until what is left is closed.
        within_us: u64,
    },
}

impl Command {
    /// What it is, without what it says: that may hold names and passwords of pools.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Command::Pools(_) => "pools",
            Command::Visitors(_) => "visitors",
            Command::Memory(_) => "memory",
            Command::Reload(_) => "reload",
            Command::Kick(_) => "kick",
            Command::Sessions(_) => "sessions",
            Command::MinerTls(_) => "miner_tls",
            Command::HandOver(_) => "hand_over",
            Command::Stay => "stay",
            Command::Arrivals(_) => "arrivals",
            Command::Drain { .. } => "drain",
        }
    }
}

#[derive(Debug)]
struct Shared {
    full: ArrayQueue<Box<Report>>,
    empty: ArrayQueue<Box<Report>>,
    commands: ArrayQueue<Command>,
}

/// The shard's end.
#[derive(Debug)]
pub struct ShardEnd(Arc<Shared>);

/// The control plane's end.
#[derive(Debug)]
pub struct ControlEnd(Arc<Shared>);

/// A mailbox for one shard, and the box it begins with.
#[must_use]
pub fn mailbox(shard: usize) -> (ShardEnd, ControlEnd, Box<Report>) {
    let report = || Box::new(Report { shard, ..Report::default() });
    let shared = Arc::new(Shared {
        full: ArrayQueue::new(BOXES),
        empty: ArrayQueue::new(BOXES),
        commands: ArrayQueue::new(COMMANDS_MAX),
    });
    for _ in 1..BOXES {
        // The queue has room for every box there is.
        let _ = shared.empty.push(report());
    }
    (ShardEnd(Arc::clone(&shared)), ControlEnd(shared), report())
}

impl ShardEnd {
    /// Whether a box has come back, so that a full one can be sent.
    #[must_use]
    pub fn can_exchange(&self) -> bool {
        !self.0.empty.is_empty()
    }

    /// Sends the box in use and goes on with an empty one, if there is one.
    pub fn exchange(&self, current: &mut Box<Report>) {
        if let Some(empty) = self.0.empty.pop() {
            let full = std::mem::replace(current, empty);
            // There are no more boxes than places: this cannot fail.
            let _ = self.0.full.push(full);
        }
    }

    /// Sends the last box of a shard that ends.
    pub(crate) fn send_last(&self, report: Box<Report>) {
        let _ = self.0.full.push(report);
    }

    /// The command that has waited longest, if one waits.
    #[must_use]
    pub fn next_command(&self) -> Option<Command> {
        self.0.commands.pop()
    }
}

impl ControlEnd {
    /// Hands each waiting report to `merge` and gives the boxes back.
    pub fn collect(&self, mut merge: impl FnMut(&Report)) {
        // Bounded, so that a shard that is as fast as this loop cannot hold it.
        for _ in 0..BOXES {
            let Some(mut report) = self.0.full.pop() else { break };
            merge(&report);
            report.clear();
            let _ = self.0.empty.push(report);
        }
    }

    /// Whether the shard has ended: nobody takes commands any more, and no report follows those that wait.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Leaves a command for the shard's next tick. Gives it back when [`COMMANDS_MAX`] are waiting already.
    ///
    /// # Errors
    /// The command, when the shard takes none.
    pub fn command(&self, command: Command) -> Result<(), Command> {
        self.0.commands.push(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_the_reader_is_late() {
        let (shard, control, mut current) = mailbox(3);
        let mut total = 0;
        for round in 0..100 {
            current.shell.accepted += 1;
            shard.exchange(&mut current);
            if round % 7 == 0 {
                control.collect(|report| {
                    assert_eq!(report.shard, 3);
                    total += report.shell.accepted;
                });
            }
        }
        shard.send_last(current);
        control.collect(|report| total += report.shell.accepted);
        assert_eq!(total, 100);
    }

    #[test]
    fn commands_are_bounded() {
        let (shard, control, _) = mailbox(0);
        for _ in 0..COMMANDS_MAX {
            assert!(control.command(Command::Drain { within_us: 1 }).is_ok());
        }
        assert!(control.command(Command::Drain { within_us: 1 }).is_err());
        assert!(shard.next_command().is_some());
        assert!(control.command(Command::Drain { within_us: 1 }).is_ok());
    }
}
