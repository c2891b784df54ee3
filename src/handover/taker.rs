//! The new process: what it is given before it starts, and the miners that come to it then.

use super::pools::{Mark, mark_of};
use super::wire::{LinkWord, Wire, Word, unexpected};
use super::{PROTOCOL, VARIABLE};
use crate::config::PoolConfig;
use crossbeam::queue::ArrayQueue;
use loka_proto::{PackedSession, PoolId};
use loka_runtime::{Arrivals, Clock, Parcel, address_of, limits};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// How long the old process is waited for at any one step.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a link waits before its shard is asked again for room.
const ROOM_AGAIN: Duration = Duration::from_millis(5);
/// Listening sockets that may be offered.
const LISTENERS_MAX: usize = 4_096;

/// The process that started this one to hand its work over.
#[derive(Debug)]
pub struct Predecessor(Wire);

/// What a process is given before it starts; nothing, where it is the first.
#[derive(Debug)]
pub struct Inheritance {
    /// The clock by which links tell the time.
    pub clock: Clock,
    /// Where miners connect: by shard and address.
    listeners: HashMap<(usize, SocketAddr), OwnedFd>,
    /// The metrics port.
    admin: Option<(SocketAddr, TcpListener)>,
}

impl Default for Inheritance {
    fn default() -> Self {
        Inheritance { clock: Clock::start(), listeners: HashMap::new(), admin: None }
    }
}

impl Inheritance {
    /// The listening sockets of so many shards at these addresses, where all of them are there; else none, and they are to
    /// be bound beside those of the old process.
    pub fn take_listeners(&mut self, addresses: &[SocketAddr], shards: usize) -> Option<Vec<Vec<OwnedFd>>> {
        let all: Vec<(usize, SocketAddr)> =
            (0..shards).flat_map(|shard| addresses.iter().map(move |address| (shard, *address))).collect();
        let is_same = all.len() == self.listeners.len();
        if !is_same || !all.iter().all(|key| self.listeners.contains_key(key)) {
            return None;
        }
        let mut of_shard: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
        for (shard, address) in all {
            of_shard[shard].extend(self.listeners.remove(&(shard, address)));
        }
        Some(of_shard)
    }

    /// Whether another process listens where this one is to.
    pub fn is_any(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// The socket of the metrics port, where it is at this address.
    pub fn take_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.admin.take_if(|(there, _)| *there == address).map(|(_, listener)| listener)
    }
}

impl Predecessor {
    /// The process that the environment of this one names, and whose socket is its standard input; and what it offers.
    ///
    /// # Errors
    /// It does not speak as it should.
    pub fn from_process() -> io::Result<Option<(Predecessor, Inheritance)>> {
        let Some(named) = std::env::var_os(VARIABLE) else { return Ok(None) };
        // The variable may have been meant for a parent of this process.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
        if named.to_str() != parent.as_deref() {
            return Ok(None);
        }
        let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
        let greeted = socket.and_then(|socket| Wire::new(socket, PATIENCE)).and_then(Self::greet);
        greeted.map(Some).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{VARIABLE} names a process that hands nothing over: {error}"),
            )
        })
    }

    fn greet(mut wire: Wire) -> io::Result<(Predecessor, Inheritance)> {
        let (format, version) = (PackedSession::FORMAT, env!("CARGO_PKG_VERSION").to_owned());
        wire.say(&Word::Hello { protocol: PROTOCOL, format, version }, &[])?;
        let (word, _) = wire.hear()?;
        let Word::Offer { clock_origin_us, listeners: count } = word else { return Err(unexpected(&word)) };
        let mut listeners = HashMap::new();
        let mut admin = None;
        for _ in 0..=count.min(LISTENERS_MAX) + 1 {
            let (word, mut sockets) = wire.hear()?;
            match (word, sockets.pop()) {
                (Word::Listener { shard }, Some(socket)) => {
                    if let Some(address) = address_of(&socket) {
                        listeners.insert((shard, address), socket);
                    }
                }
                (Word::Admin { address }, Some(socket)) => admin = Some((address, socket.into())),
                (Word::End, None) => {
                    let clock = Clock::following(clock_origin_us);
                    return Ok((Predecessor(wire), Inheritance { clock, listeners, admin }));
                }
                (word, _) => return Err(unexpected(&word)),
            }
        }
        Err(unexpected(&Word::Done))
    }

    /// Takes the old process's links from now on, on a thread named `takeover`, which ends with the last of them. This
    /// process serves miners already.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn take_over(self, pools: &[PoolConfig], shards: Vec<Arrivals>) -> io::Result<()> {
        let marks: Vec<Mark> = pools.iter().map(mark_of).collect();
        let take = move || match self.take(marks, &shards) {
            Ok(count) => tracing::info!(links = count, "all miners of the old process are here"),
            // Those that it has not handed over it keeps.
            Err(error) => tracing::error!(%error, "the old process hands no more miners over"),
        };
        std::thread::Builder::new().name("takeover".to_owned()).spawn(take).map(drop)
    }

    fn take(mut self, pools: Vec<Mark>, shards: &[Arrivals]) -> io::Result<u64> {
        let count = pools.len();
        self.0.say(&Word::Ready { pools }, &[])?;
        let mut taken = 0;
        loop {
            let (word, sockets) = self.0.hear()?;
            match (word, <[OwnedFd; 2]>::try_from(sockets)) {
                (Word::Link(link), Ok(sockets)) if link.pool < count => {
                    let number = link.number;
                    arrive(*link, sockets, shards);
                    taken += 1;
                    self.0.say(&Word::Arrived { number }, &[])?;
                }
                (Word::Done, Err(_)) => {
                    self.0.say(&Word::Done, &[])?;
                    return Ok(taken);
                }
                (word, _) => return Err(unexpected(&word)),
            }
        }
    }
}

/// Leaves a link where a shard finds it: they get them in turn, whatever shards the old process had.
fn arrive(link: LinkWord, sockets: [OwnedFd; 2], shards: &[Arrivals]) {
    let LinkWord { number, pool, session, queued, address, since, has_worked, was_at_work } = link;
    let pool = PoolId::of(pool);
    let parcel = Parcel { session, pool, sockets, queued, address, since, has_worked, was_at_work };
    let turn = usize::try_from(number).unwrap_or_default() % shards.len().max(1);
    if let Some(shard) = shards.get(turn) {
        leave(shard, Box::new(parcel));
    }
}

/// Leaves a link where shards look for some, when there is room.
pub(super) fn leave(arrivals: &Arrivals, mut parcel: Box<Parcel>) {
    while let Err(back) = arrivals.push(parcel) {
        parcel = back;
        std::thread::sleep(ROOM_AGAIN);
    }
}

/// Where links arrive, one for each shard.
pub fn arrivals(shards: usize) -> Vec<Arrivals> {
    (0..shards).map(|_| Arc::new(ArrayQueue::new(limits::PARCELS_MAX))).collect()
}
