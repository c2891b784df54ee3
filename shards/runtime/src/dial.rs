//! Opens pool connections without waiting for them. Names were resolved elsewhere.

pub(crate) mod route;

use crate::poller::Readiness;
use crate::socks::Socks;
use loka_proto::{PoolId, PoolLoss, Tick};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long a silent peer is left alone before the kernel asks whether it is still there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// How long it waits between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How far a pool connection has come.
#[derive(Debug)]
pub(crate) enum Step {
    /// The socket is being connected.
    Connecting,
    /// A proxy is asked to connect to the pool.
    Asking(Socks),
    /// The pool shows who it is.
    Handshaking,
}

impl Step {
    /// What it means when this takes too long.
    pub(crate) fn timed_out(&self) -> PoolLoss {
        match self {
            Step::Connecting => PoolLoss::ConnectTimeout,
            Step::Asking(_) => PoolLoss::ProxyFailed,
            Step::Handshaking => PoolLoss::TlsFailed,
        }
    }

    /// How far that is, to be compared.
    pub(crate) fn reach(&self) -> u8 {
        match self {
            Step::Connecting => 0,
            Step::Asking(_) => 1,
            Step::Handshaking => 2,
        }
    }
}

/// What came of a pool's addresses that were tried before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    /// How many there were.
    pub(crate) tried: usize,
    /// When the first was.
    pub(crate) since: Tick,
    /// How the attempt that came furthest was lost, and how far that was. Another address that nobody listens on says
    /// less about what is wrong with the pool.
    pub(crate) furthest: Option<(u8, PoolLoss)>,
}

impl Before {
    /// An attempt was lost here.
    pub(crate) fn lost(&mut self, reach: u8, loss: PoolLoss) {
        self.furthest = self.furthest.filter(|(before, _)| *before > reach).or(Some((reach, loss)));
    }
}

/// One pool connection on its way.
#[derive(Debug)]
pub(crate) struct Dial {
    /// How far it has come.
    pub(crate) step: Step,
    /// The pool that is dialled.
    pub(crate) pool: PoolId,
    /// Which of the pool's addresses is being tried.
    pub(crate) at: usize,
    /// What came of those before.
    pub(crate) before: Before,
    /// When this attempt is given up.
    pub(crate) due: Tick,
}

/// Sends small messages at once. Failing to set one of these costs comfort, not correctness.
pub(crate) fn send_at_once(socket: impl AsFd) {
    let fd = socket.as_fd();
    let _ = SockRef::from(&fd).set_tcp_nodelay(true);
}

/// Notices dead peers. Not for a socket that is yet to connect: the kernel would give up its connection after the user
/// time-out too. Four system calls, so a link gets them at its first timer, and one of a storm, which is gone by then,
/// never.
pub(crate) fn keep_alive(socket: impl AsFd) {
    let fd = socket.as_fd();
    let socket = SockRef::from(&fd);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

/// Starts a connection. The socket becomes writable when it is open or has failed.
pub(crate) fn start(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Whether a socket that became ready is open; then it is made ready for use. A connection that could not be had shows as
/// a hang-up, and only then is the system asked why.
pub(crate) fn finish(socket: impl AsFd, readiness: Readiness) -> io::Result<()> {
    if readiness.hangup {
        rustix::net::sockopt::socket_error(&socket)??;
    }
    send_at_once(socket);
    Ok(())
}

/// Whether descriptors, ports or memory are used up.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().unwrap_or(0);
    let resources = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    resources.iter().any(|errno| errno.raw_os_error() == code)
}

/// What a failed attempt means for the miner.
pub(crate) fn loss_of(error: &io::Error) -> PoolLoss {
    if is_shortage(error) {
        PoolLoss::NoResources
    } else if error.kind() == io::ErrorKind::TimedOut {
        PoolLoss::ConnectTimeout
    } else {
        PoolLoss::Unreachable
    }
}
