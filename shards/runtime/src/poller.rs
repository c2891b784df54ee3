//! How readiness is learned: one epoll set per shard, whose descriptor is the only thing that glommio polls.
//!
//! The only file that knows the mechanism. glommio 0.9 arms a one-shot poll for each read of each of its streams and
//! moves timers on every turn, which costs about half of a relay's throughput; one set for all links costs one poll a
//! turn. The set is edge-free (level-triggered): whatever was not read is told again.

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;

/// How long the poller waits in the kernel before the shard goes back to its executor. Other tasks of the shard can bear it.
const LINGER: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// What a socket is watched for, or ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Interest = Interest { read: true, write: false };
    pub(crate) const WRITE: Interest = Interest { read: false, write: true };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// A socket that is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// The socket is broken or closed on both sides, whatever it was watched for.
    pub(crate) hangup: bool,
}

impl From<Event> for Ready {
    fn from(event: Event) -> Self {
        let flags = event.flags;
        Ready {
            token: event.data.u64(),
            read: flags.contains(EventFlags::IN),
            write: flags.contains(EventFlags::OUT),
            hangup: flags.intersects(EventFlags::ERR | EventFlags::HUP),
        }
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

    pub(crate) fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.set, socket, EventData::new_u64(token), interest.flags())?)
    }

    pub(crate) fn rearm(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.set, socket, EventData::new_u64(token), interest.flags())?)
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

    /// Takes what is ready, at most as many as fit at once. Waits up to [`LINGER`] for it: a busy shard finds the next
    /// event in that time and is spared a turn of the reactor, with its four system calls.
    pub(crate) fn take(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.events.clear();
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), Some(&LINGER)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(self.events.iter().copied().map(Ready::from));
        Ok(())
    }
}
