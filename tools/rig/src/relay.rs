//! A relay between two ends of a test that breaks the way between them on demand: slow, torn, cut, silent, full.
//!
//! It refuses to understand what it carries. What it passes on it passes on unchanged and in order; a connection that lost
//! a byte never passes on another.

mod flow;
mod pair;
mod rate;
mod server;
mod side;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde::Serialize;

use crate::control::Control;
use server::Server;

/// Where a relay listens and what it connects to.
#[derive(Clone)]
pub struct RelayConfig {
    /// Where to listen; port 0 takes an unused port.
    pub listen: SocketAddr,
    /// Where each accepted connection goes on to; see [`RelayHandle::retarget`].
    pub target: SocketAddr,
    /// Speaks TLS with whoever connects, and plain TCP with the target. The target is dialled after the handshake.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The fault it begins with.
    pub fault: Fault,
}

impl RelayConfig {
    /// A faultless relay on an unused port of 127.0.0.1.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        RelayConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            target,
            tls: None,
            fault: Fault::None,
        }
    }
}

/// How the bytes of one direction go on. The parts may be combined; `Default` passes them on as they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Every byte goes on so much later, the end of the direction too.
    pub delay: Duration,
    /// Bytes are held for so long, counted from the first of them, and then go on together.
    pub coalesce: Duration,
    /// At most so many bytes a second for each connection, with bursts of a twentieth of that. Zero holds all bytes until
    /// the next fault.
    pub bytes_per_second: Option<u64>,
    /// Each write has at most so many bytes and becomes a segment of its own. Over TLS these are bytes of TLS, so that
    /// records are torn.
    pub split_bytes: Option<usize>,
}

/// What is wrong with the way. A fault holds for open and for new connections, until the next one is set.
///
/// "Up" is from whoever connects to the target, "down" is the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// [`Shape::delay`] both ways.
    Delay(Duration),
    /// [`Shape::bytes_per_second`] both ways.
    Throttle {
        bytes_per_second: u64,
    },
    /// [`Shape::split_bytes`] both ways.
    Split {
        bytes: usize,
    },
    /// [`Shape::coalesce`] both ways.
    Coalesce {
        window: Duration,
    },
    /// A shape for each direction.
    Shaped {
        up: Shape,
        down: Shape,
    },
    /// Resets (RST) all connections, both sides of each, and each new one right after accept.
    Reset,
    /// Resets all connections every so often. At least one millisecond.
    ResetEvery(Duration),
    /// Ends the direction down in good order, once what was read before has gone on; up stays open.
    HalfClose,
    /// Takes all bytes and passes nothing on, no end either. Sockets stay open; new connections are accepted, get nothing,
    /// and the target never hears of them. A connection that lost a byte this way stays silent when the fault is over; one
    /// that the connecting side ends is closed.
    BlackHole,
    /// Nobody listens: new connects are refused. Open connections go on.
    RefuseConnections,
    /// As a relay whose target is down: all connections end in good order, new ones right after accept.
    NoTarget,
    /// A new connection is accepted and read, and gets no answer, not even to its TLS ClientHello; the target never hears of
    /// it. Over TLS the handshake goes on when the fault is over. Open connections go on.
    StallHandshake,
}

impl Fault {
    /// How the bytes up and down go on.
    fn shapes(self) -> (Shape, Shape) {
        let both = |shape: Shape| (shape, shape);
        match self {
            Fault::Delay(delay) => both(Shape { delay, ..Shape::default() }),
            Fault::Throttle { bytes_per_second } => {
                both(Shape { bytes_per_second: Some(bytes_per_second), ..Shape::default() })
            }
            Fault::Split { bytes } => both(Shape { split_bytes: Some(bytes.max(1)), ..Shape::default() }),
            Fault::Coalesce { window } => both(Shape { coalesce: window, ..Shape::default() }),
            Fault::Shaped { up, down } => (up, down),
            Fault::None
            | Fault::Reset
            | Fault::ResetEvery(_)
            | Fault::HalfClose
            | Fault::BlackHole
            | Fault::RefuseConnections
            | Fault::NoTarget
            | Fault::StallHandshake => both(Shape::default()),
        }
    }
}

/// What a relay has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RelayReport {
    /// Accepted, those included that a fault ended at once.
    pub connections: u64,
    /// Open now.
    pub active: u64,
    /// Plain bytes that the target's socket took, and that the connecting side's socket (or its TLS) took.
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Bytes that were read and not passed on: by a black hole, after a reset, or because the other side was gone.
    pub bytes_lost: u64,
    /// The largest number of accepts within one second, wherever it began. Exact up to 65,536. They are counted when they
    /// are accepted: on a machine that stops the relay's thread, connects that came apart may be counted together.
    pub connects_per_second_max: u64,
    /// Connections that were reset by a fault or by [`RelayHandle::reset_all`].
    pub resets: u64,
    /// Connects to the target that failed; the other side was closed in good order.
    pub target_failed: u64,
    /// TLS handshakes that were finished, and connections that ended by an error of TLS: a certificate that the other side
    /// does not take, no protocol in common, no TLS at all.
    pub tls_handshakes: u64,
    pub tls_failed: u64,
    /// Closed at once because 16,384 were open.
    pub refused: u64,
    /// Failures of `accept`, for example for want of descriptors.
    pub accept_errors: u64,
    /// Why the relay does not listen though it should, or why its thread ended by itself.
    pub failure: Option<String>,
}

/// What the owner of a relay asks its thread to do. Each is acknowledged when done.
enum Command {
    Set { fault: Fault, done: Sender<()> },
    Retarget { target: SocketAddr, done: Sender<()> },
    ResetAll(Sender<u64>),
    Report(Sender<RelayReport>),
    Stop,
}

/// Starts relays.
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Listens and starts the relay's thread.
    ///
    /// # Errors
    /// What binding, polling or spawning said.
    pub fn start(config: RelayConfig) -> io::Result<RelayHandle> {
        let (commands, inbox) = channel();
        let (server, addr, waker) = Server::bind(config, inbox)?;
        let control = Control::start("rig-relay", commands, waker, move || server.run())?;
        Ok(RelayHandle { addr, control })
    }
}

/// A running relay. Dropping it stops the relay and resets its connections.
pub struct RelayHandle {
    addr: SocketAddr,
    control: Control<Command, RelayReport>,
}

impl RelayHandle {
    /// The address it listens on, with the real port. It keeps its port while it refuses connections.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what is wrong with the way. It has taken effect when this returns.
    pub fn set(&self, fault: Fault) {
        let _ = self.control.ask(|done| Command::Set { fault, done });
    }

    /// Sends connections that are accepted from now on elsewhere. Open ones stay where they are.
    pub fn retarget(&self, target: SocketAddr) {
        let _ = self.control.ask(|done| Command::Retarget { target, done });
    }

    /// Resets (RST) both sides of every connection, without changing the fault, and returns how many there were.
    pub fn reset_all(&self) -> u64 {
        self.control.ask(Command::ResetAll).unwrap_or_default()
    }

    /// The counters as the relay's thread sees them now.
    pub fn report(&self) -> RelayReport {
        self.control.ask(Command::Report).unwrap_or_default()
    }

    /// Closes the listener, resets all connections, and returns the last counters.
    pub fn stop(mut self) -> RelayReport {
        self.control.end(Command::Stop).unwrap_or_default()
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        let _ = self.control.end(Command::Stop);
    }
}
