//! How readiness is learned: one epoll set per shard, whose descriptor is the only thing that glommio polls.
//!
//! The only file that knows the mechanism. glommio 0.9 arms a one-shot poll for each read of each of its streams and
//! moves timers on every turn, which costs about half of a relay's throughput; one set for all links costs one poll a
//! tick. Sockets are told of once for each change (edge-triggered), so that nobody asks again after those that were
//! read; listeners are told of for as long as somebody waits there.

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;

/// How long [`Poller::take`] waits for something to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until something is, which is at the next tick at the latest. Without a time-out: a waiting thread with one makes the
    /// kernel set a timer and take it back for every event, which on a virtual machine took 8 us of the 22 us of CPU that
    /// the event itself takes (measured 2026-11-24).
    ForEvent,
}

/// What a socket is watched for, or ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Interest = Interest { read: true, write: false };
    pub(crate) const BOTH: Interest = Interest { read: true, write: true };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN | EventFlags::RDHUP, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }

    /// Whether a socket that is watched for this must be told to be watched for `wanted` instead. That it becomes
    /// writable is told when it was full and no sooner, so being watched for that too does no harm.
    pub(crate) fn misses(self, wanted: Interest) -> bool {
        self.read != wanted.read || wanted.write && !self.write
    }
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Readiness {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// The peer has sent its last byte: behind what is there to be read stands the end.
    pub(crate) ended: bool,
    /// The socket is broken or closed on both sides, whatever it was watched for.
    pub(crate) hangup: bool,
}

impl Readiness {
    /// Both.
    pub(crate) fn and(self, other: Readiness) -> Readiness {
        Readiness {
            read: self.read | other.read,
            write: self.write | other.write,
            ended: self.ended | other.ended,
            hangup: self.hangup | other.hangup,
        }
    }

    pub(crate) fn is_any(self) -> bool {
        self != Readiness::default()
    }
}

/// A socket that is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) readiness: Readiness,
}

impl From<Event> for Ready {
    fn from(event: Event) -> Self {
        let flags = event.flags;
        let readiness = Readiness {
            read: flags.contains(EventFlags::IN),
            write: flags.contains(EventFlags::OUT),
            ended: flags.contains(EventFlags::RDHUP),
            hangup: flags.intersects(EventFlags::ERR | EventFlags::HUP),
        };
        Ready { token: event.data.u64(), readiness }
    }
}

/// The epoll set of one shard.
pub(crate) struct Poller {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new(events_max: usize) -> io::Result<Poller> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Poller { set, events: Vec::with_capacity(events_max) })
    }

    /// Watches a socket. What is told once is not told again before it changes: whoever is told of bytes reads them all,
    /// or remembers that there are more.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.set, socket, EventData::new_u64(token), interest.flags() | EventFlags::ET)?)
    }

    /// Watches a socket for something else. What it is ready for already is told again.
    pub(crate) fn rearm(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.set, socket, EventData::new_u64(token), interest.flags() | EventFlags::ET)?)
    }

    /// Watches a socket no longer, which somebody else goes on with. One that is closed needs not be told.
    pub(crate) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.set, socket)?)
    }

    /// Watches a listener, which is told of for as long as somebody waits.
    pub(crate) fn add_listener(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.set, socket, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Goes on watching a listener, or does not for a while.
    pub(crate) fn watch_listener(&self, socket: impl AsFd, token: u64, on: bool) -> io::Result<()> {
        let flags = if on { EventFlags::IN } else { EventFlags::empty() };
        Ok(epoll::modify(&self.set, socket, EventData::new_u64(token), flags)?)
    }

    /// Waits until some socket of the set is ready, with the executor free to do other things or to sleep.
    ///
    /// glommio has no public way to wait for a descriptor. A stream made from one arms a poll for it at once, and its
    /// read stays pending until the poll fires; the receive that it then tries fails with ENOTSOCK, which here means
    /// that the set is ready.
    pub(crate) async fn ready(&self) {
        // SAFETY: the descriptor is open for as long as `self` lives, which outlives this future. The stream is never
        // dropped, so it never closes the descriptor: it owns no memory besides a weak reference to the reactor once
        // its poll has fired, and it has fired when this function returns.
        let stream = unsafe { TcpStream::from_raw_fd(self.set.as_raw_fd()) };
        let mut stream = ManuallyDrop::new(stream);
        let mut byte = [0_u8];
        let _ = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut byte)).await;
    }

    /// Takes what is ready, at most as many as fit at once.
    pub(crate) fn take(&mut self, ready: &mut Vec<Ready>, wait: Wait) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let limit = match wait {
            Wait::No => Some(&AT_ONCE),
            Wait::ForEvent => None,
        };
        self.events.clear();
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), limit) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(self.events.iter().copied().map(Ready::from));
        Ok(())
    }
}
