//! The door through which connections that speak HTTP leave a shard: a lock-free queue and a bell.
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
struct Shared {
    waiting: ArrayQueue<Guest>,
    /// The end of the bell that is rung.
    rope: OwnedFd,
    /// Nobody fetches guests any more.
    is_shut: AtomicBool,
}

/// The shards' side.
#[derive(Debug, Clone)]
pub struct HttpDoor(Arc<Shared>);

/// The side of the thread that speaks HTTP; when it is dropped, the door is shut.
#[derive(Debug)]
pub struct HttpGuests {
    shared: Arc<Shared>,
    bell: OwnedFd,
}

/// A door with both its sides.
///
/// # Errors
/// No descriptor is left for the bell.
pub fn http_door() -> io::Result<(HttpDoor, HttpGuests)> {
    let (bell, rope) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    let shared =
        Arc::new(Shared { waiting: ArrayQueue::new(GUESTS_MAX), rope, is_shut: AtomicBool::new(false) });
    Ok((HttpDoor(Arc::clone(&shared)), HttpGuests { shared, bell }))
}

impl HttpDoor {
    /// Hands a connection in. Gives it back when [`GUESTS_MAX`] wait already, or nobody comes for them.
    ///
    /// # Errors
    /// The connection, when it is not taken.
    pub fn hand_in(&self, guest: Guest) -> Result<(), Guest> {
        if self.0.is_shut.load(Ordering::Acquire) {
            return Err(guest);
        }
        self.0.waiting.push(guest)?;
        // Fails when it has been rung thousands of times without being heard: then it rings all the same.
        let _ = rustix::io::write(&self.0.rope, &[0]);
        Ok(())
    }
}

impl HttpGuests {
    /// Who has waited longest.
    pub fn next(&self) -> Option<Guest> {
        self.shared.waiting.pop()
    }

    /// A pipe that does not block: there is something to be read from it when somebody has been handed in. Who reads it until
    /// it is empty, and looks for guests then, misses none.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for HttpGuests {
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
