//! The relay's thread: one loop over commands, sockets and times.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConnection;
use slab::Slab;

use super::pair::{Next, Pair, Turn};
use super::rate::ConnectRate;
use super::side::Side;
use super::{Command, Fault, RelayConfig, RelayReport};
use crate::net::{Port, READ_BYTES, make_abortive};

const LISTENER: Token = Token(usize::MAX);
const COMMANDS: Token = Token(usize::MAX - 1);
const EVENTS_PER_TURN: usize = 1024;
const ACCEPTS_PER_TURN: usize = 256;
/// Pause after a failed `accept` or `listen`: without descriptors, trying again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that may be open at a time.
const CONNECTIONS_MAX: usize = 16_384;
const RESET_EVERY_MIN: Duration = Duration::from_millis(1);

pub(super) struct Server {
    poll: Poll,
    port: Port,
    /// `None` while connections are refused.
    listener: Option<TcpListener>,
    commands: Receiver<Command>,
    config: RelayConfig,
    report: RelayReport,
    rate: ConnectRate,
    /// Connection `n` has the tokens `2n` (whoever connected) and `2n + 1` (the target).
    pairs: Slab<Pair>,
    scratch: Box<[u8]>,
    /// Connections with more to do than one turn allows.
    again: Vec<usize>,
    /// When to try `accept` or `listen` again without having been told by the poll.
    accept_at: Option<Instant>,
    next_reset: Option<Instant>,
}

impl Server {
    pub(super) fn bind(
        config: RelayConfig,
        commands: Receiver<Command>,
    ) -> io::Result<(Server, SocketAddr, Waker)> {
        let poll = Poll::new()?;
        let port = Port::keep(config.listen)?;
        let waker = Waker::new(poll.registry(), COMMANDS)?;
        let addr = port.addr();
        let fault = config.fault;
        let mut server = Server {
            poll,
            port,
            listener: None,
            commands,
            config,
            report: RelayReport::default(),
            rate: ConnectRate::default(),
            pairs: Slab::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            again: Vec::new(),
            accept_at: None,
            next_reset: None,
        };
        server.listen()?;
        server.set(fault);
        Ok((server, addr, waker))
    }

    /// Serves until it is told to stop or polling fails.
    pub(super) fn run(mut self) -> RelayReport {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let wait = self.wait(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != ErrorKind::Interrupted
            {
                self.report.failure = Some(format!("the relay cannot poll: {error}"));
                break;
            }
            let mut ready = std::mem::take(&mut self.again);
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    COMMANDS => {
                        if self.obey().is_break() {
                            self.reset_all();
                            return self.snapshot();
                        }
                    }
                    Token(token) => ready.push(token / 2),
                }
            }
            self.add_due(&mut ready);
            ready.sort_unstable();
            ready.dedup();
            for slot in ready {
                self.serve(slot);
            }
            self.run_timers(Instant::now());
        }
        self.reset_all();
        self.snapshot()
    }

    /// Whether bytes wait for a time and not for a socket.
    fn is_shaping(&self) -> bool {
        let (up, down) = self.config.fault.shapes();
        let waits = |shape: super::Shape| shape != super::Shape::default();
        waits(up) || waits(down)
    }

    /// How long the poll may sleep.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let mut due: Option<Instant> = [self.accept_at, self.next_reset].into_iter().flatten().min();
        if self.is_shaping() {
            let (up, down) = self.config.fault.shapes();
            let pairs = self.pairs.iter().filter_map(|(_, pair)| pair.next_due(now, &up, &down));
            due = pairs.chain(due).min();
        }
        due.map(|due| due.saturating_duration_since(now))
    }

    /// Adds the connections whose bytes have waited long enough.
    fn add_due(&self, ready: &mut Vec<usize>) {
        if self.is_shaping() {
            let now = Instant::now();
            let (up, down) = self.config.fault.shapes();
            let is_due = |pair: &Pair| pair.next_due(now, &up, &down).is_some_and(|due| due <= now);
            ready.extend(self.pairs.iter().filter(|(_, pair)| is_due(pair)).map(|(slot, _)| slot));
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        let mut listener = self.port.listen()?;
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(())
    }

    fn accept(&mut self) {
        self.accept_at = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.report.accept_errors += 1;
                    self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        self.accept_at = Some(Instant::now());
    }

    fn welcome(&mut self, mut stream: TcpStream) {
        let now = Instant::now();
        self.report.connections += 1;
        self.rate.note(now);
        if self.config.fault == Fault::Reset {
            make_abortive(&stream);
            self.report.resets += 1;
            return;
        }
        if self.pairs.len() >= CONNECTIONS_MAX {
            self.report.refused += 1;
            return;
        }
        let tls = match &self.config.tls {
            None => None,
            Some(config) => match ServerConnection::new(config.clone()) {
                Ok(tls) => Some(tls),
                Err(_) => {
                    self.report.tls_failed += 1;
                    return;
                }
            },
        };
        let entry = self.pairs.vacant_entry();
        let (slot, interest) = (entry.key(), Interest::READABLE | Interest::WRITABLE);
        if stream.set_nodelay(true).is_err()
            || self.poll.registry().register(&mut stream, Token(slot * 2), interest).is_err()
        {
            self.report.accept_errors += 1;
            return;
        }
        let pair = entry.insert(Pair::new(Side::new(stream, tls), now));
        if self.config.fault == Fault::NoTarget {
            pair.retire(&mut self.report);
        }
        self.serve(slot);
    }

    /// Does what one connection has to do now.
    fn serve(&mut self, slot: usize) {
        self.dial_if_wanted(slot);
        match self.step(slot) {
            Next::Wait => {}
            Next::Again => self.again.push(slot),
            Next::Close => {
                self.pairs.try_remove(slot);
                return;
            }
            Next::Reset => {
                if let Some(pair) = self.pairs.try_remove(slot) {
                    pair.make_abortive();
                }
                return;
            }
        }
        // A handshake that has just been done makes it time for the target, whose socket tells when there is more to do.
        self.dial_if_wanted(slot);
    }

    fn step(&mut self, slot: usize) -> Next {
        let (up, down) = self.config.fault.shapes();
        let Some(pair) = self.pairs.get_mut(slot) else { return Next::Wait };
        pair.step(&mut Turn {
            now: Instant::now(),
            fault: self.config.fault,
            up,
            down,
            scratch: &mut self.scratch,
            report: &mut self.report,
        })
    }

    fn dial_if_wanted(&mut self, slot: usize) {
        let Some(pair) = self.pairs.get_mut(slot).filter(|pair| pair.wants_target(self.config.fault)) else {
            return;
        };
        let registry = self.poll.registry();
        let dialled = TcpStream::connect(self.config.target).and_then(|mut stream| {
            stream.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(slot * 2 + 1), interest)?;
            Ok(stream)
        });
        match dialled {
            Ok(stream) => pair.back = Some(Side::new(stream, None)),
            Err(_) => {
                self.report.target_failed += 1;
                pair.retire(&mut self.report);
                self.again.push(slot);
            }
        }
    }

    fn run_timers(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.listen_if_wanted();
            self.accept();
        }
        if let (Some(at), Fault::ResetEvery(interval)) = (self.next_reset, self.config.fault)
            && at <= now
        {
            self.next_reset = Some(now + interval.max(RESET_EVERY_MIN));
            self.reset_all();
        }
    }

    /// Carries out all waiting commands. `Break` means to stop.
    fn obey(&mut self) -> ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            // An owner that no longer waits for the answer is no reason to fail.
            let _ = match command {
                Command::Set { fault, done } => {
                    self.set(fault);
                    done.send(()).is_ok()
                }
                Command::Retarget { target, done } => {
                    self.config.target = target;
                    done.send(()).is_ok()
                }
                Command::ResetAll(done) => done.send(self.reset_all()).is_ok(),
                Command::Report(answer) => answer.send(self.snapshot()).is_ok(),
                Command::Stop => return ControlFlow::Break(()),
            };
        }
        ControlFlow::Continue(())
    }

    fn set(&mut self, fault: Fault) {
        self.config.fault = fault;
        self.listen_if_wanted();
        self.next_reset = None;
        match fault {
            Fault::Reset => {
                self.reset_all();
            }
            Fault::ResetEvery(interval) => {
                self.next_reset = Some(Instant::now() + interval.max(RESET_EVERY_MIN));
            }
            Fault::NoTarget => {
                for (_, pair) in &mut self.pairs {
                    pair.retire(&mut self.report);
                }
            }
            Fault::None
            | Fault::Delay(_)
            | Fault::Throttle { .. }
            | Fault::Split { .. }
            | Fault::Coalesce { .. }
            | Fault::Shaped { .. }
            | Fault::HalfClose
            | Fault::BlackHole
            | Fault::RefuseConnections
            | Fault::StallHandshake => {}
        }
        let (up, down) = fault.shapes();
        let now = Instant::now();
        for (slot, pair) in &mut self.pairs {
            let (scratch, report) = (&mut self.scratch[..], &mut self.report);
            pair.take_fault(&mut Turn { now, fault, up, down, scratch, report });
            // What waited for the old fault to end has had its event already.
            self.again.push(slot);
        }
        // A fault that is told of is in effect: what can be done about it at once has been done.
        for slot in std::mem::take(&mut self.again) {
            self.serve(slot);
        }
    }

    /// Listens or not, as the fault has it; tries again later when that fails.
    fn listen_if_wanted(&mut self) {
        if self.config.fault == Fault::RefuseConnections {
            self.listener = None;
            return;
        }
        if self.listener.is_some() {
            return;
        }
        self.report.failure = self.listen().err().map(|error| format!("the relay cannot listen: {error}"));
        if self.report.failure.is_some() {
            self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
        }
    }

    fn reset_all(&mut self) -> u64 {
        let mut count = 0;
        for pair in self.pairs.drain() {
            pair.make_abortive();
            count += 1;
        }
        self.report.resets += count;
        count
    }

    fn snapshot(&self) -> RelayReport {
        RelayReport {
            active: self.pairs.len() as u64,
            connects_per_second_max: self.rate.largest(),
            ..self.report.clone()
        }
    }
}
