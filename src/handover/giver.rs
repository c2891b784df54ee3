//! The old process: starts the new one, offers it what it needs, and hands miners over. Until the other side says that a link
//! has arrived it is kept here, and goes on here if the other process ends.

use super::pools::{Mark, mark_of};
use super::taker::{arrivals, leave};
use super::wire::{LinkWord, Wire, Word, unexpected};
use super::{PROTOCOL, VARIABLE};
use crate::config::PoolConfig;
use loka_proto::PackedSession;
use loka_runtime::{Clock, Command, HandOver, Parcel, Parting, Waiting, door, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};
use thiserror::Error;

/// How long the new process may take to serve miners: it may have to wait for name servers.
const START_MAX: Duration = Duration::from_secs(90);
/// How long it may leave a link unanswered from then on.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long all of the hand-over may take.
const HAND_OVER_MAX: Duration = Duration::from_secs(600);
/// Links on their way that have not arrived.
const UNDERWAY_MAX: usize = 64;
/// How long a look at the door lasts where nobody stands there.
const LOOK_MS: i64 = 50;
/// How long shards are given to hear that the hand-over has failed.
const STAY: Duration = Duration::from_millis(500);

/// Why the new process has not taken over. The old one goes on.
#[derive(Debug, Error)]
pub enum HandOverError {
    /// It cannot be started.
    #[error("the new program {program} cannot be started: {cause}")]
    Start {
        /// Its file.
        program: String,
        /// What the system said.
        cause: io::Error,
    },
    /// It ended, or hung.
    #[error("the new program did not take over: {0}")]
    Lost(#[from] io::Error),
    /// It speaks in another way.
    #[error("the new program, version {0}, cannot take over links of this one: drain and restart instead")]
    Foreign(String),
    /// It took too long.
    #[error("the hand-over took too long")]
    Late,
}

/// What the new process is started as.
#[derive(Debug, Clone)]
pub struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Successor {
    /// The same command as that of this process. To be asked for at the start: a package may put another file in its place
    /// later, and that one is meant.
    ///
    /// # Errors
    /// The system does not tell which file this is.
    pub fn of_process() -> io::Result<Successor> {
        let program = std::env::current_exe()?;
        Ok(Successor { program, arguments: std::env::args_os().skip(1).collect() })
    }

    fn start(&self, socket: UnixStream) -> Result<Child, HandOverError> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::from(OwnedFd::from(socket)));
        command.env(VARIABLE, std::process::id().to_string()).env_remove("WATCHDOG_PID");
        let fail = |cause| HandOverError::Start { program: self.program.display().to_string(), cause };
        command.spawn().map_err(fail)
    }
}

/// What the old process hands over.
#[derive(Debug)]
pub struct Giver {
    /// Whom to start.
    pub successor: Successor,
    /// What shards tell the time by.
    pub clock: Clock,
    /// Copies of the listening sockets, by shard.
    pub listeners: Vec<Vec<OwnedFd>>,
    /// A copy of the socket of the metrics port.
    pub admin: Option<(SocketAddr, TcpListener)>,
    /// The pools by number; `None` for those that are not configured any more.
    pub pools: Vec<Option<PoolConfig>>,
}

/// A hand-over that is done.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// The new process.
    pub pid: u32,
    /// Links that it has.
    pub links: u64,
    /// Links that stayed.
    pub kept: usize,
}

/// The new process, which ends if it is not wanted any more.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            match child.wait() {
                Ok(status) => tracing::error!(%status, "the new program has ended"),
                Err(error) => tracing::error!(%error, "what became of the new program is not known"),
            }
        }
    }
}

impl Giver {
    /// Starts the new process and hands everything over that it can take. `tell` tells all shards.
    ///
    /// # Errors
    /// [`HandOverError`]; this process goes on as before then, with all that has not arrived at the other.
    pub fn hand_over(self, tell: &dyn Fn(&Command) -> bool) -> Result<Given, HandOverError> {
        let (here, there) = UnixStream::pair()?;
        let mut wire = Wire::new(here, START_MAX)?;
        let mut child = Starting(Some(self.successor.start(there)?));
        let pid = child.0.as_ref().map_or(0, Child::id);
        tracing::info!(pid, program = %self.successor.program.display(), "a new process is to take over");
        let ready = self.offer(&mut wire)?;
        wire.set_patience(ANSWER_MAX)?;
        let marks: Vec<Option<usize>> = self.places(&ready);
        let shards = self.listeners.len();
        let mut way = Way::new(wire, marks, shards)?;
        match way.go(tell) {
            Ok(()) => {
                child.0 = None;
                Ok(Given { pid, links: way.arrived, kept: way.kept })
            }
            Err(error) => {
                // It ends before its links go on here: two processes are not to speak on one connection.
                drop(child);
                way.come_back(tell);
                Err(error)
            }
        }
    }

    /// Where each pool stands in the list of the other process.
    fn places(&self, ready: &[Mark]) -> Vec<Option<usize>> {
        let place = |pool: &Option<PoolConfig>| {
            let mark = mark_of(pool.as_ref()?);
            ready.iter().position(|other| *other == mark)
        };
        self.pools.iter().map(place).collect()
    }

    /// Says what there is, and waits until the other process serves miners. Gives the marks of its pools.
    fn offer(&self, wire: &mut Wire) -> Result<Vec<Mark>, HandOverError> {
        let (word, _) = wire.hear()?;
        let Word::Hello { protocol, format, version } = word else { return Err(unexpected(&word).into()) };
        if (protocol, format) != (PROTOCOL, PackedSession::FORMAT) {
            return Err(HandOverError::Foreign(version));
        }
        let listeners = self.listeners.iter().flatten().count();
        wire.say(&Word::Offer { clock_origin_us: self.clock.origin_us(), listeners }, &[])?;
        for (shard, sockets) in self.listeners.iter().enumerate() {
            for socket in sockets {
                wire.say(&Word::Listener { shard }, &[socket.as_fd()])?;
            }
        }
        if let Some((address, listener)) = &self.admin {
            wire.say(&Word::Admin { address: *address }, &[listener.as_fd()])?;
        }
        wire.say(&Word::End, &[])?;
        let (word, _) = wire.hear()?;
        if let Word::Ready { pools } = word { Ok(pools) } else { Err(unexpected(&word).into()) }
    }
}

/// The way from the shards of this process to the other.
struct Way {
    wire: Wire,
    /// By the number of a pool here: its place there.
    places: Vec<Option<usize>>,
    door: loka_runtime::Door<Parting>,
    waiting: Waiting<Parting>,
    /// Those that have been sent and not arrived, the oldest first.
    underway: VecDeque<Box<Parcel>>,
    arrived: u64,
    kept: usize,
    shards: usize,
    /// Shards that have handed over all that they could.
    done: usize,
}

impl Way {
    fn new(wire: Wire, places: Vec<Option<usize>>, shards: usize) -> io::Result<Way> {
        let (door, waiting) = door(limits::PARCELS_MAX)?;
        let underway = VecDeque::new();
        Ok(Way { wire, places, door, waiting, underway, arrived: 0, kept: 0, shards, done: 0 })
    }

    fn go(&mut self, tell: &dyn Fn(&Command) -> bool) -> Result<(), HandOverError> {
        let pools: Arc<[bool]> = self.places.iter().map(Option::is_some).collect();
        let command = Command::HandOver(HandOver { door: self.door.clone(), pools });
        let deadline = Instant::now() + HAND_OVER_MAX;
        if !tell(&command) {
            return Err(HandOverError::Late);
        }
        while self.done < self.shards {
            if Instant::now() > deadline {
                return Err(HandOverError::Late);
            }
            match self.waiting.next() {
                Some(Parting::Link(parcel)) => self.send(parcel)?,
                Some(Parting::Done { kept }) => {
                    self.kept += kept;
                    self.done += 1;
                }
                None => self.wait()?,
            }
        }
        while !self.underway.is_empty() {
            self.hear_of_one()?;
        }
        self.wire.say(&Word::Done, &[])?;
        let (word, _) = self.wire.hear()?;
        if matches!(word, Word::Done) { Ok(()) } else { Err(unexpected(&word).into()) }
    }

    fn send(&mut self, parcel: Box<Parcel>) -> Result<(), HandOverError> {
        while self.underway.len() >= UNDERWAY_MAX {
            self.hear_of_one()?;
        }
        let number = self.arrived + self.underway.len() as u64;
        // Shards hand over links of these pools only.
        let pool = self.places.get(parcel.pool.index()).copied().flatten().unwrap_or(usize::MAX);
        let word = Word::Link(Box::new(LinkWord {
            number,
            pool,
            session: parcel.session.clone(),
            queued: parcel.queued.clone(),
            address: parcel.address,
            since: parcel.since,
            has_worked: parcel.has_worked,
            was_at_work: parcel.was_at_work,
        }));
        self.underway.push_back(parcel);
        let sockets = self.underway.back().map(|parcel| &parcel.sockets);
        let Some([miner, pool]) = sockets else { return Ok(()) };
        Ok(self.wire.say(&word, &[miner.as_fd(), pool.as_fd()])?)
    }

    fn hear_of_one(&mut self) -> Result<(), HandOverError> {
        let (word, _) = self.wire.hear()?;
        let is_next = matches!(word, Word::Arrived { number } if number == self.arrived);
        if !is_next || self.underway.pop_front().is_none() {
            return Err(unexpected(&word).into());
        }
        self.arrived += 1;
        Ok(())
    }

    /// Until somebody stands at the door, or the other process says something, or for a moment.
    fn wait(&mut self) -> Result<(), HandOverError> {
        let bell = self.waiting.bell();
        let wire = self.wire.socket();
        let mut both = [PollFd::new(&bell, PollFlags::IN), PollFd::new(&wire, PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: LOOK_MS * 1_000_000 };
        match poll(&mut both, Some(&moment)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let (rings, speaks) = (!both[0].revents().is_empty(), !both[1].revents().is_empty());
        if rings {
            let _ = rustix::io::read(self.waiting.bell(), &mut [0; 4_096]);
        }
        if speaks { self.hear_of_one() } else { Ok(()) }
    }

    /// Has everything that has not arrived go on here.
    fn come_back(&mut self, tell: &dyn Fn(&Command) -> bool) {
        let Some(back) = arrivals(1).pop() else { return };
        // All shards look there; whichever is first takes a link.
        while !(tell(&Command::Stay) && tell(&Command::Arrivals(Arc::clone(&back)))) {
            thread::sleep(STAY);
        }
        let until = Instant::now() + STAY;
        let mut count = 0;
        for parcel in self.underway.drain(..) {
            leave(&back, parcel);
            count += 1;
        }
        while Instant::now() < until {
            match self.waiting.next() {
                Some(Parting::Link(parcel)) => {
                    leave(&back, parcel);
                    count += 1;
                }
                Some(Parting::Done { .. }) => {}
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        tracing::warn!(links = count, "miners that were on their way go on here");
    }
}
