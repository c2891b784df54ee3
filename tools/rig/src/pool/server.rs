//! The pool's thread: one loop over commands, sockets and timers.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::peer::Peer;
use super::world::{After, World};
use super::{Command, Misbehaviour, PoolConfig, PoolReport};
use crate::net::{Port, READ_BYTES, READS_PER_TURN, Received, make_abortive, receive};

const LISTENER: Token = Token(usize::MAX);
const COMMANDS: Token = Token(usize::MAX - 1);
const EVENTS_PER_TURN: usize = 1024;
const ACCEPTS_PER_TURN: usize = 256;
/// Pause after a failed `accept`: without descriptors, trying again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that get a regular job in one turn: answers to shares must not wait until thousands have it.
const JOBS_PER_TURN: usize = 64;
/// Longest line of a miner.
const LINE_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Server {
    poll: Poll,
    port: Port,
    /// `None` while the pool does not listen.
    listener: Option<TcpListener>,
    commands: Receiver<Command>,
    world: World,
    peers: Slab<Peer>,
    scratch: Box<[u8]>,
    /// Connections with more to read or, dribbling, to write than one turn allows.
    again: Vec<usize>,
    next_serial: u64,
    next_notify: Option<Instant>,
    /// The slot from which on the newest job is still to be sent, while a regular job is on its way.
    spreading_from: Option<usize>,
    /// When to try `accept` again without having been told by the poll.
    accept_at: Option<Instant>,
}

impl Server {
    pub(super) fn bind(
        config: PoolConfig,
        commands: Receiver<Command>,
    ) -> io::Result<(Server, SocketAddr, Waker)> {
        let poll = Poll::new()?;
        let port = Port::keep(config.listen)?;
        let waker = Waker::new(poll.registry(), COMMANDS)?;
        let addr = port.addr();
        let interval = config.notify_interval;
        let mut server = Server {
            poll,
            port,
            listener: None,
            commands,
            world: World::new(config),
            peers: Slab::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            again: Vec::new(),
            next_serial: 0,
            next_notify: (!interval.is_zero()).then(|| Instant::now() + interval),
            spreading_from: None,
            accept_at: None,
        };
        server.listen(true)?;
        Ok((server, addr, waker))
    }

    /// Listens or stops listening.
    fn listen(&mut self, wanted: bool) -> io::Result<()> {
        if !wanted {
            self.listener = None;
        } else if self.listener.is_none() {
            let mut listener = self.port.listen()?;
            self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            self.listener = Some(listener);
        }
        Ok(())
    }

    /// Serves until it is told to stop or polling fails.
    pub(super) fn run(mut self) -> PoolReport {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let wait = self.wait(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != ErrorKind::Interrupted
            {
                self.world.report.failure = Some(format!("the simulated pool cannot poll: {error}"));
                break;
            }
            let mut again = std::mem::take(&mut self.again);
            again.sort_unstable();
            again.dedup();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    COMMANDS => {
                        if self.obey().is_break() {
                            return self.snapshot();
                        }
                    }
                    Token(slot) => self.serve(slot, Some(event)),
                }
            }
            for slot in again {
                self.serve(slot, None);
            }
            self.run_timers(Instant::now());
        }
        self.snapshot()
    }

    /// How long the poll may sleep.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if !self.again.is_empty() || self.spreading_from.is_some() {
            return Some(Duration::ZERO);
        }
        let until = |due: Option<Instant>| due.map(|due| due.saturating_duration_since(now));
        [until(self.next_notify), until(self.accept_at), self.world.next_due(now)].into_iter().flatten().min()
    }

    fn accept(&mut self) {
        self.accept_at = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.world.report.accept_errors += 1;
                    self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        self.accept_at = Some(Instant::now());
    }

    fn welcome(&mut self, mut stream: TcpStream) {
        let report = &mut self.world.report;
        if self.peers.len() >= self.world.config.connections_max {
            report.connections_refused += 1;
            return;
        }
        let entry = self.peers.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if stream.set_nodelay(true).is_err()
            || self.poll.registry().register(&mut stream, Token(entry.key()), interest).is_err()
        {
            report.accept_errors += 1;
            return;
        }
        report.connections_accepted += 1;
        self.next_serial += 1;
        if self.world.config.misbehaviour == Misbehaviour::CloseOnAccept {
            return;
        }
        let extranonce1 = self.world.next_extranonce1();
        let extranonce2_size = self.world.config.extranonce2_size;
        entry.insert(Peer::new(stream, self.next_serial, extranonce1, extranonce2_size));
        let report = &mut self.world.report;
        report.connections_max_seen = report.connections_max_seen.max(self.peers.len() as u64);
    }

    /// Reads and answers what one connection sent. Without an event it goes on where the last turn stopped.
    fn serve(&mut self, slot: usize, event: Option<&Event>) {
        if self.world.config.misbehaviour == Misbehaviour::NeverReads {
            return;
        }
        if event.is_none_or(|event| event.is_readable() || event.is_read_closed() || event.is_error())
            && !self.read(slot, event.is_some_and(Event::is_read_closed))
        {
            return;
        }
        self.flush(slot);
    }

    /// False when the connection is gone.
    fn read(&mut self, slot: usize, to_the_end: bool) -> bool {
        for _ in 0..READS_PER_TURN {
            let Some(peer) = self.peers.get_mut(slot) else { return false };
            let count = match receive(&mut peer.stream, &mut self.scratch) {
                Received::Bytes(count) => count,
                Received::Nothing => return true,
                Received::Ended => {
                    self.world.report.connections_ended_by_peer += 1;
                    self.peers.remove(slot);
                    return false;
                }
            };
            self.world.report.bytes_received += count as u64;
            if !self.take_lines(slot, count) {
                return false;
            }
            // A short read has emptied the socket; the next segment or the end brings an event of its own.
            if count < self.scratch.len() && !to_the_end {
                return true;
            }
        }
        self.again.push(slot);
        true
    }

    /// False when the connection is gone.
    fn take_lines(&mut self, slot: usize, count: usize) -> bool {
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        if self.world.config.misbehaviour == Misbehaviour::AcceptAndSilent {
            return true;
        }
        let mut after = After::Continue;
        let mut inbox = std::mem::take(&mut peer.inbox);
        let world = &mut self.world;
        let outcome = inbox.feed(&self.scratch[..count], LINE_BYTES_MAX, |line| {
            let asked = world.handle_line(slot, peer, line);
            if asked != After::Continue {
                after = asked;
            }
            match asked {
                After::Continue | After::HalfClose => ControlFlow::Continue(()),
                After::Close | After::Reset => ControlFlow::Break(()),
            }
        });
        peer.inbox = inbox;
        if outcome.is_err() {
            self.world.report.lines_too_long += 1;
            after = After::Close;
        }
        self.act(slot, after)
    }

    /// False when the connection is gone.
    fn act(&mut self, slot: usize, after: After) -> bool {
        match after {
            After::Continue => return true,
            After::Close => {
                self.flush(slot);
                self.peers.try_remove(slot);
            }
            After::Reset => {
                self.flush(slot);
                if let Some(peer) = self.peers.try_remove(slot) {
                    make_abortive(&peer.stream);
                    self.world.report.connections_killed += 1;
                }
            }
            After::HalfClose => {
                self.flush(slot);
                if let Some(peer) = self.peers.get(slot) {
                    // Fails only on a connection that is gone, and then the read says so.
                    let _ = peer.stream.shutdown(std::net::Shutdown::Write);
                    return true;
                }
            }
        }
        false
    }

    /// Sends what is queued, and closes a connection that cannot be sent to or does not read.
    fn flush(&mut self, slot: usize) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.has_unsent() {
            return;
        }
        let dribble = self.world.config.misbehaviour == Misbehaviour::DribbleBytes;
        let (chunk_max, writes_max) = if dribble { (1, 1) } else { (usize::MAX, 4) };
        match peer.flush(chunk_max, writes_max) {
            Ok(count) => {
                self.world.report.answers_written_bytes += count as u64;
                if peer.is_slow() {
                    self.world.report.connections_slow += 1;
                    self.peers.remove(slot);
                } else if dribble && count > 0 && peer.has_unsent() {
                    self.again.push(slot);
                }
            }
            Err(_) => {
                self.world.report.connections_ended_by_peer += 1;
                self.peers.remove(slot);
            }
        }
    }

    fn run_timers(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept();
        }
        while let Some(delayed) = self.world.pop_due(now) {
            let peer = self.peers.get_mut(delayed.slot).filter(|peer| peer.serial == delayed.serial);
            if let Some(peer) = peer {
                peer.send(&[&delayed.answer]);
                self.flush(delayed.slot);
            }
        }
        // One job after the other, or the last connections would never get one when jobs come too fast.
        if self.spreading_from.is_none() && self.next_notify.is_some_and(|at| at <= now) {
            self.next_notify = Some(now + self.world.config.notify_interval);
            self.world.make_job(self.world.jobs.next_is_clean());
            self.spreading_from = Some(0);
        }
        if let Some(from) = self.spreading_from {
            let end = self.peers.capacity().min(from + JOBS_PER_TURN);
            self.spread_job(from, end);
            self.spreading_from = (end < self.peers.capacity()).then_some(end);
        }
    }

    /// Makes a job and sends it to all before anything else happens.
    fn notify(&mut self, clean: bool) -> u64 {
        self.world.make_job(clean);
        if let Some(clock) = &self.world.config.job_clock {
            clock.mark();
        }
        self.spreading_from = None;
        self.spread_job(0, self.peers.capacity())
    }

    /// Sends the newest job to the connections of these slots and returns how many got it.
    fn spread_job(&mut self, from: usize, end: usize) -> u64 {
        let mut count = 0;
        for slot in from..end {
            let due = self.peers.get_mut(slot).is_some_and(|peer| self.world.send_job(peer));
            if due {
                self.flush(slot);
                count += 1;
            }
        }
        count
    }

    fn send_to_all(&mut self, line: &[u8], working_only: bool) -> u64 {
        let mut count = 0;
        for slot in 0..self.peers.capacity() {
            let chosen = self.peers.get_mut(slot).filter(|peer| peer.working || !working_only);
            if let Some(peer) = chosen {
                peer.send(&[line]);
                self.flush(slot);
                count += 1;
            }
        }
        count
    }

    /// Carries out all waiting commands. `Break` means to stop.
    fn obey(&mut self) -> ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            // An owner that no longer waits for the answer is no reason to fail.
            let _ = match command {
                Command::Report(answer) => answer.send(self.snapshot()).is_ok(),
                Command::KillConnections(done) => done.send(self.kill_connections()).is_ok(),
                Command::Notify { clean, done } => done.send(self.notify(clean)).is_ok(),
                Command::Broadcast { line, done } => done.send(self.send_to_all(&line, false)).is_ok(),
                Command::Misbehave { misbehaviour, done } => done.send(self.misbehave(misbehaviour)).is_ok(),
                Command::Difficulty { difficulty, done } => {
                    done.send(self.set_difficulty(difficulty)).is_ok()
                }
                Command::Extranonce { size, done } => done.send(self.set_extranonce(size)).is_ok(),
                Command::Listen { wanted, done } => done.send(self.listen(wanted)).is_ok(),
                Command::Stop => return ControlFlow::Break(()),
            };
        }
        ControlFlow::Continue(())
    }

    fn kill_connections(&mut self) -> u64 {
        let mut count = 0;
        for peer in self.peers.drain() {
            make_abortive(&peer.stream);
            count += 1;
        }
        self.world.report.connections_killed += count;
        count
    }

    fn misbehave(&mut self, misbehaviour: Misbehaviour) -> u64 {
        self.world.config.misbehaviour = misbehaviour;
        // What arrived while the pool did not read, or was held back byte by byte, had its event already.
        self.again = self.peers.iter().map(|(slot, _)| slot).collect();
        self.again.len() as u64
    }

    /// The clean job that follows ends all shares of the old extranonce.
    fn set_extranonce(&mut self, size: usize) -> u64 {
        let world = &mut self.world;
        let changed =
            self.peers.iter_mut().filter_map(|(_, peer)| world.send_extranonce(peer, size).then_some(()));
        let count = changed.count() as u64;
        self.notify(true);
        count
    }

    fn set_difficulty(&mut self, difficulty: f64) -> u64 {
        self.world.config.difficulty = difficulty;
        let line =
            format!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{difficulty}]}}\n");
        self.send_to_all(line.as_bytes(), true)
    }

    fn snapshot(&self) -> PoolReport {
        PoolReport { connections_active: self.peers.len() as u64, ..self.world.report.clone() }
    }
}
