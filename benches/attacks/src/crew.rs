//! A crew of attackers on one thread: as many connections as asked for, made again when the other side ends them.
//!
//! It refuses to attack anything but this machine.

use crate::conduct::{Conduct, Speech};
use crate::documents;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Linux's number for "the connect has begun", which the standard library gives no stable name.
const EINPROGRESS: i32 = 115;
/// Connections that are begun before the others get their turn.
const CONNECTS_PER_TURN: usize = 64;
/// How long the crew sleeps when nobody has anything to do.
const NAP: Duration = Duration::from_millis(5);
/// A receive buffer that is soon full.
const SMALL_RECEIVE_BYTES: usize = 4096;
const READ_BYTES: usize = 64 * 1024;
/// Addresses that a crew comes from.
const SOURCES_MAX: u8 = 250;

/// Who attacks what.
#[derive(Debug, Clone)]
pub struct CrewConfig {
    /// An address of loopback.
    pub target: SocketAddr,
    pub conduct: Conduct,
    /// Connections that are open at one time.
    pub connections: usize,
    /// Connections in all, then the crew waits for the end of the last and ends; `None`: until it is stopped.
    pub connects_max: Option<u64>,
    /// Bytes that the other side's kernel has to take before the crew ends; `None`: until it is stopped.
    pub bytes_max: Option<u64>,
    /// The third octet of 127.0.x.y that it comes from; y runs from 1 to `sources`.
    pub net: u8,
    /// How many addresses it comes from, 1..=250.
    pub sources: u8,
}

impl CrewConfig {
    /// As many connections as asked for, from 250 addresses of 127.0.9.0/24, until it is stopped.
    #[must_use]
    pub fn new(target: SocketAddr, conduct: Conduct, connections: usize) -> CrewConfig {
        let (connects_max, bytes_max) = (None, None);
        CrewConfig { target, conduct, connections, connects_max, bytes_max, net: 9, sources: SOURCES_MAX }
    }
}

/// What a crew has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CrewReport {
    pub connects: u64,
    pub connect_failed: u64,
    /// Connections that the other side ended.
    pub ended_by_other: u64,
    /// Open now.
    pub open: u64,
    /// The most that were open at one time.
    pub open_max: u64,
    /// Whole messages given to the kernel.
    pub messages: u64,
    /// Bytes that the kernel took.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// The most bytes of unfinished lines at one time, over all connections that were open.
    pub held_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Tally {
    connects: AtomicU64,
    connect_failed: AtomicU64,
    ended_by_other: AtomicU64,
    open: AtomicU64,
    open_max: AtomicU64,
    messages: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    held_bytes_max: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Tally {
    fn report(&self) -> CrewReport {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CrewReport {
            connects: of(&self.connects),
            connect_failed: of(&self.connect_failed),
            ended_by_other: of(&self.ended_by_other),
            open: of(&self.open),
            open_max: of(&self.open_max),
            messages: of(&self.messages),
            bytes_sent: of(&self.bytes_sent),
            bytes_received: of(&self.bytes_received),
            held_bytes_max: of(&self.held_bytes_max),
        }
    }
}

/// Lets this thread run only while nobody else wants its CPU, and stop at once when somebody does. Attackers have machines of
/// their own: on the CPU of pool and honest miners each turn of theirs, some milliseconds long with the lowest priority of the
/// ordinary kind, would be measured as if it were the proxy's. A kernel that refuses leaves it as it was.
#[expect(unsafe_code, reason = "neither rustix nor the standard library can ask for this policy")]
fn step_back() {
    let nothing = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads one structure, which outlives it, and concerns this thread only.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const nothing) };
}

/// A crew at work. It stops when this is dropped.
#[derive(Debug)]
pub struct Crew {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Crew {
    /// Starts it on a thread of its own that runs while nobody else wants the CPU, so that it takes none from honest miners.
    ///
    /// # Errors
    /// `InvalidInput` for a target that is not loopback or a crew of nobody; otherwise what poll or thread said.
    pub fn start(config: CrewConfig) -> io::Result<Crew> {
        if !config.target.ip().is_loopback() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "only loopback may be attacked"));
        }
        if config.connections == 0 || !(1..=SOURCES_MAX).contains(&config.sources) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a crew needs connections and 1..=250 sources",
            ));
        }
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
        let poll = Poll::new()?;
        let mut work = Work::new(config, poll, Arc::clone(&tally), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("attackers".to_owned()).spawn(move || {
            step_back();
            work.run()
        })?;
        Ok(Crew { stop, tally, thread: Some(thread) })
    }

    /// What it has done so far.
    #[must_use]
    pub fn report(&self) -> CrewReport {
        self.tally.report()
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Closes all connections.
    ///
    /// # Errors
    /// What poll said, if that ended the crew before.
    pub fn stop(mut self) -> io::Result<CrewReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until it has done what it was to do.
    ///
    /// # Errors
    /// As [`Crew::stop`].
    pub fn wait(&mut self) -> io::Result<CrewReport> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| io::Error::other("the attackers panicked"))??;
        }
        Ok(self.tally.report())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Caller {
    stream: TcpStream,
    speech: Speech,
    out: Vec<u8>,
    /// Of `out`, what the kernel has taken.
    sent: usize,
    /// What the kernel took in all.
    taken: u64,
    /// Nothing more can be written until the kernel says so.
    is_full: bool,
    next_at: Instant,
}

/// What became of a connection in its turn.
#[derive(PartialEq, Eq)]
enum Turn {
    Idle,
    Busy,
    Ended,
}

struct Work {
    config: CrewConfig,
    poll: Poll,
    callers: Slab<Caller>,
    documents: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    /// Unfinished bytes on open connections.
    held: u64,
}

impl Work {
    fn new(config: CrewConfig, poll: Poll, tally: Arc<Tally>, stop: Arc<AtomicBool>) -> Work {
        Work {
            config,
            poll,
            callers: Slab::new(),
            documents: documents::malformed(),
            buffer: vec![0; READ_BYTES],
            tally,
            stop,
            held: 0,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.stop.load(Ordering::Relaxed) && !self.is_done() {
            let begun = self.connect_more();
            let busy = self.has_gathered() && self.speak();
            let nap = if begun || busy { Duration::ZERO } else { NAP };
            match self.poll.poll(&mut events, Some(nap)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => other?,
            }
            for event in &events {
                let key = event.token().0;
                if event.is_writable()
                    && let Some(caller) = self.callers.get_mut(key)
                {
                    caller.is_full = false;
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    let is_over = event.is_read_closed() || event.is_error();
                    self.listen(key, is_over);
                }
            }
        }
        self.callers.clear();
        self.tally.open.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn is_done(&self) -> bool {
        let told = self.tally.report();
        let said_all = self.config.bytes_max.is_some_and(|max| told.bytes_sent >= max);
        said_all || (self.is_full_house() && self.callers.is_empty())
    }

    /// All have been connected once: they begin together, however fast the other side ends them.
    fn has_gathered(&self) -> bool {
        self.is_full_house() || self.tally.report().connects >= self.config.connections as u64
    }

    /// No further connection is to be made.
    fn is_full_house(&self) -> bool {
        let made =
            self.tally.connects.load(Ordering::Relaxed) + self.tally.connect_failed.load(Ordering::Relaxed);
        self.config.connects_max.is_some_and(|max| made >= max)
    }

    /// Whether any was begun.
    fn connect_more(&mut self) -> bool {
        let mut begun = false;
        for _ in 0..CONNECTS_PER_TURN {
            if self.callers.len() >= self.config.connections || self.is_full_house() {
                break;
            }
            begun = true;
            let number = self.tally.connects.load(Ordering::Relaxed);
            match self.connect(number) {
                Ok(()) => add(&self.tally.connects, 1),
                Err(_) => {
                    // Out of descriptors or ports: others have to end first.
                    add(&self.tally.connect_failed, 1);
                    return false;
                }
            }
        }
        let open = self.callers.len() as u64;
        self.tally.open.store(open, Ordering::Relaxed);
        self.tally.open_max.fetch_max(open, Ordering::Relaxed);
        begun
    }

    fn connect(&mut self, number: u64) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(self.config.target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.config.conduct.never_reads() {
            socket.set_recv_buffer_size(SMALL_RECEIVE_BYTES)?;
        }
        if self.config.target.is_ipv4() {
            let host = 1 + u8::try_from(number % u64::from(self.config.sources)).unwrap_or(0);
            socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, self.config.net, host), 0)).into())?;
        }
        match socket.connect(&self.config.target.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        let entry = self.callers.vacant_entry();
        self.poll.registry().register(
            &mut stream,
            Token(entry.key()),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        entry.insert(Caller {
            stream,
            speech: Speech::new(self.config.conduct, number),
            out: Vec::new(),
            sent: 0,
            taken: 0,
            is_full: true,
            next_at: Instant::now(),
        });
        Ok(())
    }

    /// Gives everybody a turn. Whether somebody has more to say.
    fn speak(&mut self) -> bool {
        let mut busy = false;
        let now = Instant::now();
        let keys: Vec<usize> = self
            .callers
            .iter()
            .filter(|(_, caller)| !caller.is_full && caller.next_at <= now)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            match self.speak_one(key, now) {
                Turn::Idle => {}
                Turn::Busy => busy = true,
                Turn::Ended => self.end(key),
            }
        }
        busy
    }

    fn speak_one(&mut self, key: usize, now: Instant) -> Turn {
        let Some(caller) = self.callers.get_mut(key) else { return Turn::Idle };
        if self.config.conduct.resets() {
            // A socket that the other side has reset cannot take the option, and does not need it.
            let _ = SockRef::from(&caller.stream).set_linger(Some(Duration::ZERO));
            return Turn::Ended;
        }
        if caller.sent == caller.out.len() {
            caller.out.clear();
            caller.sent = 0;
            add(&self.tally.messages, caller.speech.go_on(&mut caller.out, &self.documents));
            if caller.out.is_empty() {
                return Turn::Idle;
            }
        }
        match caller.stream.write(&caller.out[caller.sent..]) {
            Ok(count) => {
                caller.sent += count;
                caller.taken += count as u64;
                caller.next_at = now + caller.speech.pace();
                add(&self.tally.bytes_sent, count as u64);
                if self.config.conduct.leaves_lines_open() {
                    self.held += count as u64;
                    self.tally.held_bytes_max.fetch_max(self.held, Ordering::Relaxed);
                }
                if caller.speech.pace().is_zero() { Turn::Busy } else { Turn::Idle }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                caller.is_full = true;
                Turn::Idle
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Turn::Busy,
            Err(_) => {
                add(&self.tally.ended_by_other, 1);
                Turn::Ended
            }
        }
    }

    /// Reads what came, unless it never reads: then only the end is noticed.
    fn listen(&mut self, key: usize, is_over: bool) {
        let Some(caller) = self.callers.get_mut(key) else { return };
        if self.config.conduct.never_reads() {
            if is_over {
                add(&self.tally.ended_by_other, 1);
                self.end(key);
            }
            return;
        }
        // Until nothing is left: the kernel tells of each change once.
        loop {
            match caller.stream.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    add(&self.tally.bytes_received, count as u64);
                    caller.speech.hear(&self.buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        add(&self.tally.ended_by_other, 1);
        self.end(key);
    }

    fn end(&mut self, key: usize) {
        let Some(caller) = self.callers.try_remove(key) else { return };
        if self.config.conduct.leaves_lines_open() {
            self.held = self.held.saturating_sub(caller.taken);
        }
        self.tally.open.store(self.callers.len() as u64, Ordering::Relaxed);
    }
}
