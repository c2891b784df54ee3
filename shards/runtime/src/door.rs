//! The door through which connections leave a shard, those that speak HTTP and those that go to another process: a lock-free
//! queue and a bell.
//!
//! It reads no byte of them. A shard hands a socket in, with what it has read of it, and forgets it. It waits for nobody:
//! where too many stand at the door already it is given the connection back. The bell is a pipe, which a thread that waits
//! for descriptors hears without a lock on the shard's side.

use crate::plan::limits::GUESTS_MAX;
use crossbeam::queue::ArrayQueue;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A connection that speaks HTTP.
#[derive(Debug)]
pub struct Guest {
    /// Its socket, which does not block.
    pub socket: TcpStream,
    /// What it has said so far.
    pub said: Vec<u8>,
}

#[derive(Debug)]
struct Shared<T> {
    waiting: ArrayQueue<T>,
    /// The end of the bell that is rung.
    rope: OwnedFd,
    /// Nobody fetches guests any more.
    is_shut: AtomicBool,
}

/// The shards' side.
#[derive(Debug)]
pub struct Door<T>(Arc<Shared<T>>);

/// The side of the thread that fetches what is handed in; when it is dropped, the door is shut.
#[derive(Debug)]
pub struct Waiting<T> {
    shared: Arc<Shared<T>>,
    bell: OwnedFd,
}

/// Where those who speak HTTP leave.
pub type HttpDoor = Door<Guest>;
/// Those who have left there.
pub type HttpGuests = Waiting<Guest>;

/// A door with both its sides, at which so many may wait.
///
/// # Errors
/// No descriptor is left for the bell.
pub fn door<T>(waiting_max: usize) -> io::Result<(Door<T>, Waiting<T>)> {
    let (bell, rope) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    let waiting = ArrayQueue::new(waiting_max);
    let shared = Arc::new(Shared { waiting, rope, is_shut: AtomicBool::new(false) });
    Ok((Door(Arc::clone(&shared)), Waiting { shared, bell }))
}

/// The door for HTTP, at which [`GUESTS_MAX`] may wait.
///
/// # Errors
/// As [`door`].
pub fn http_door() -> io::Result<(HttpDoor, HttpGuests)> {
    door(GUESTS_MAX)
}

impl<T> Clone for Door<T> {
    fn clone(&self) -> Self {
        Door(Arc::clone(&self.0))
    }
}

impl<T> Door<T> {
    /// Hands one in. Gives it back when as many wait already as may, or nobody comes for them.
    ///
    /// # Errors
    /// What was handed in, when it is not taken.
    pub fn hand_in(&self, one: T) -> Result<(), T> {
        if self.0.is_shut.load(Ordering::Acquire) {
            return Err(one);
        }
        self.0.waiting.push(one)?;
        // Fails when it has been rung thousands of times without being heard: then it rings all the same.
        let _ = rustix::io::write(&self.0.rope, &[0]);
        Ok(())
    }
}

impl<T> Waiting<T> {
    /// Who has waited longest.
    pub fn next(&self) -> Option<T> {
        self.shared.waiting.pop()
    }

    /// A pipe that does not block: there is something to be read from it when somebody has been handed in. Who reads it until
    /// it is empty, and looks for guests then, misses none.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.shared.is_shut.store(true, Ordering::Release);
        while self.shared.waiting.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::net::TcpListener;

    fn guest(said: &str) -> Guest {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Guest { socket, said: said.into() }
    }

    fn rings(guests: &HttpGuests) -> bool {
        let bell = guests.bell();
        poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn guests_come_in_order_and_the_bell_rings_until_it_is_heard() {
        let (door, guests) = http_door().unwrap();
        assert!(!rings(&guests));
        for said in ["one", "two"] {
            door.clone().hand_in(guest(said)).unwrap();
        }
        assert!(rings(&guests));
        assert_eq!(rustix::io::read(guests.bell(), &mut [0; 64]).unwrap(), 2);
        assert!(!rings(&guests));
        assert_eq!(guests.next().unwrap().said, b"one");
        assert_eq!(guests.next().unwrap().said, b"two");
        assert!(guests.next().is_none());
    }

    #[test]
    fn no_more_than_the_bound_wait_and_a_shut_door_takes_nobody() {
        let (door, guests) = http_door().unwrap();
        for _ in 0..GUESTS_MAX {
            door.hand_in(guest("")).unwrap();
        }
        assert_eq!(door.hand_in(guest("one too many")).unwrap_err().said, b"one too many");
        guests.next().unwrap();
        door.hand_in(guest("")).unwrap();
        drop(guests);
        assert!(door.0.waiting.is_empty(), "who waits when the door is shut is let go");
        assert!(door.hand_in(guest("")).is_err());
    }
}
