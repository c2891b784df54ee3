//! Another process takes over: what it is given, and what becomes of this one then.

use super::{Event, Proxy, plan};
use crate::config::Config;
use crate::handover::{Given, Giver, HandOverError, Inheritance, Predecessor, Successor, arrivals};
use crate::pools::Roster;
use loka_runtime::{Clock, Command, ListenError, ShardSpec, bind_all, bind_beside};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub struct Leaving {
    /// The longest time that it may take.
    pub within: Duration,
    /// The process that has taken over, if one has.
    pub successor: Option<u32>,
}

/// What a process leaves to the one that takes over.
#[derive(Debug)]
pub(super) struct Legacy {
    clock: Clock,
    /// Copies of the listening sockets, by shard.
    listeners: Vec<Vec<OwnedFd>>,
    /// What is started to take over; `None`: nothing.
    heir: Option<Successor>,
    is_under_way: bool,
    successor: Option<u32>,
}

impl Legacy {
    fn new(clock: Clock, sockets: &[Vec<OwnedFd>]) -> Legacy {
        Legacy { clock, listeners: copies(sockets), heir: None, is_under_way: false, successor: None }
    }

    pub(super) fn successor(&self) -> Option<u32> {
        self.successor
    }

    pub(super) fn close(&mut self) {
        self.listeners.clear();
    }
}

/// Further descriptors of the same sockets.
fn copies(sockets: &[Vec<OwnedFd>]) -> Vec<Vec<OwnedFd>> {
    let copy =
        |of_shard: &Vec<OwnedFd>| of_shard.iter().filter_map(|socket| socket.try_clone().ok()).collect();
    sockets.iter().map(copy).collect()
}

/// Where miners connect: the sockets of the process before this one, if there is one, so that nobody is turned away between
/// the two; and what is kept for the process after this one.
pub(super) fn listeners(
    config: &Config,
    specs: &[ShardSpec],
    inheritance: &mut Inheritance,
) -> Result<(Vec<Vec<OwnedFd>>, Legacy), ListenError> {
    let sockets = listen(config, specs, inheritance)?;
    let legacy = Legacy::new(inheritance.clock, &sockets);
    Ok((sockets, legacy))
}

fn listen(
    config: &Config,
    specs: &[ShardSpec],
    inheritance: &mut Inheritance,
) -> Result<Vec<Vec<OwnedFd>>, ListenError> {
    let (addresses, steering) = (plan::listen(&config.server), config.server.steering);
    if let Some(sockets) = inheritance.take_listeners(&addresses, specs.len()) {
        return Ok(sockets);
    }
    if inheritance.is_any() {
        if !do_queues_migrate() {
            tracing::warn!(
                "the old process listens elsewhere, or has another number of shards: who stands in its queues when they \
                 close is turned away, because net.ipv4.tcp_migrate_req is not 1"
            );
        }
        return bind_beside(&addresses, specs, steering);
    }
    bind_all(&addresses, specs, steering)
}

/// Whether the kernel gives those in the queue of a listening socket that closes to another one of the same port.
fn do_queues_migrate() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|value| value.trim() == "1")
}

impl Proxy {
    /// What is started when an upgrade is asked for; without it there is none.
    pub fn upgrade_to(&mut self, successor: Successor) {
        self.legacy.heir = Some(successor);
    }

    /// Takes over what the process before this one has.
    ///
    /// # Errors
    /// The thread that does it cannot be started.
    pub fn take_over(&self, predecessor: Predecessor) -> io::Result<()> {
        let arrivals = arrivals(self.ends.0.len());
        for (end, arrivals) in self.ends.0.iter().zip(&arrivals) {
            end.command(Command::Arrivals(arrivals.clone()))
                .map_err(|_| io::Error::other("a shard takes no commands"))?;
        }
        predecessor.take_over(&self.roster.pools(), arrivals)
    }

    /// Begins to let another process take over, on a thread named `upgrade`.
    pub(super) fn upgrade(&mut self) {
        let Some(successor) = self.legacy.heir.clone().filter(|_| !self.legacy.is_under_way) else {
            return tracing::warn!("there is no upgrade: one is under way, or this process cannot have one");
        };
        let giver = Giver {
            successor,
            clock: self.legacy.clock,
            listeners: copies(&self.legacy.listeners),
            admin: self.admin.as_ref().and_then(crate::admin::AdminHandle::listener),
            pools: configured(&self.roster),
        };
        let (ends, events) = (self.ends.0.clone(), self.events.0.clone());
        let give = move || {
            let result =
                giver.hand_over(&|command| ends.iter().all(|end| end.command(command.clone()).is_ok()));
            // Nobody listens any more once the proxy has ended.
            let _ = events.send(Event::HandedOver(Box::new(result)));
        };
        match std::thread::Builder::new().name("upgrade".to_owned()).spawn(give) {
            Ok(_) => self.legacy.is_under_way = true,
            Err(error) => tracing::error!(%error, "there is no upgrade"),
        }
    }

    /// Whether this process has nothing more to do.
    pub(super) fn handed_over(&mut self, result: Result<Given, HandOverError>) -> bool {
        self.legacy.is_under_way = false;
        match result {
            Ok(Given { pid, links, kept }) => {
                tracing::info!(pid, links, kept, "another process has taken over");
                self.legacy.successor = Some(pid);
                // Whoever asks for figures from now on asks the other one.
                if let Some(admin) = self.admin.take() {
                    admin.stop();
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "the upgrade has failed: this process goes on");
                false
            }
        }
    }
}

/// By number; those that are not configured any more are nobody's.
fn configured(roster: &Roster) -> Vec<Option<crate::config::PoolConfig>> {
    let one = |place: &crate::pools::Place| place.is_configured.then(|| place.pool.clone());
    roster.places().iter().map(one).collect()
}
