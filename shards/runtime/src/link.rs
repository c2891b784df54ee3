//! One miner and its pool connection: two sockets, two queues, one session. A plain struct in the shard's slab.

use crate::buffers::{Queue, Spares};
use crate::dial::{self, Dial};
use crate::front::Asks;
use crate::plan::limits::{CLOSE_LINGER_US, QUEUE_HIGH_BYTES, STALL_US};
use crate::poller::{Interest, Readiness};
use crate::quota::CREDIT_BYTES;
use crate::tls::{Tls, TlsError};
use crate::token::Token;
use loka_proto::{Bucket, End, Policy, PoolId, Session, Tick};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// One socket of a link, with the bytes that it did not take yet.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) queue: Queue,
    /// What the poller watches it for now.
    pub(crate) watched: Interest,
    /// What it is ready for and nobody has looked at yet; it stands in a queue of the shard while there is something.
    pub(crate) told: Readiness,
    /// The peer will send nothing more.
    pub(crate) eof: bool,
    /// What is between the socket and the bytes that mean something.
    pub(crate) tls: Option<Box<Tls>>,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes that mean something, which may be none; and whether the socket may have more.
    Bytes(usize, bool),
    Nothing,
    Eof,
    Broken,
    /// What came is no TLS, or not from whom it should be. Whom it concerns has been told.
    TlsFailed,
}

/// The most that a record which is not complete yet adds to what a read decrypts.
const RECORD_BYTES_MAX: usize = 18 * 1024;

impl Side {
    pub(crate) fn new(socket: OwnedFd, watched: Interest) -> Side {
        Side { socket: Some(socket), watched, ..Side::default() }
    }

    /// Reads at most `room` bytes; those that mean something stand in `scratch` then.
    pub(crate) fn read(&mut self, scratch: &mut [u8], room: usize, spares: &mut Spares, now: Tick) -> Read {
        if self.tls.is_some() {
            return self.read_tls(scratch, room, spares, now);
        }
        let room = room.min(scratch.len());
        match self.receive(&mut scratch[..room]) {
            Read::Bytes(count, _) => Read::Bytes(count, count == room),
            other @ (Read::Nothing | Read::Eof | Read::Broken | Read::TlsFailed) => other,
        }
    }

    /// One read of the socket, without TLS.
    pub(crate) fn receive(&mut self, room: &mut [u8]) -> Read {
        let Some(socket) = &self.socket else { return Read::Nothing };
        match rustix::net::recv(socket, &mut *room, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => {
                self.eof = true;
                Read::Eof
            }
            Ok((_, count)) => Read::Bytes(count, count == room.len()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Read::Nothing,
            Err(_) => Read::Broken,
        }
    }

    fn read_tls(&mut self, scratch: &mut [u8], room: usize, spares: &mut Spares, now: Tick) -> Read {
        if self.tls.as_ref().is_some_and(|tls| tls.is_closed_by_peer()) {
            self.eof = true;
            return Read::Eof;
        }
        // What is decrypted goes where the ciphertext stood, with room for a record that had waited for its end.
        let room = room.min(scratch.len() - RECORD_BYTES_MAX);
        let (count, is_full) = match self.receive(&mut scratch[..room]) {
            Read::Bytes(count, is_full) => (count, is_full),
            other @ (Read::Nothing | Read::Eof | Read::Broken | Read::TlsFailed) => return other,
        };
        let mut plain = Vec::new();
        let Ok(()) = self.decrypt(&scratch[..count], &mut plain, spares, now) else { return Read::TlsFailed };
        let Some(place) = scratch.get_mut(..plain.len()) else { return Read::Broken };
        place.copy_from_slice(&plain);
        let is_closed = self.tls.as_ref().is_some_and(|tls| tls.is_closed_by_peer());
        Read::Bytes(plain.len(), is_full || is_closed)
    }

    /// Takes ciphertext, and sends what TLS itself has to say to it.
    ///
    /// # Errors
    /// The connection is of no use any more; the peer is told why.
    pub(crate) fn decrypt(
        &mut self,
        cipher: &[u8],
        plain: &mut Vec<u8>,
        spares: &mut Spares,
        now: Tick,
    ) -> Result<(), TlsError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let received = tls.receive(cipher, plain);
        // A socket that is broken shows it to its next read too.
        let _ = self.send_records(spares, now);
        received
    }

    /// Sends what TLS has ready.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn send_records(&mut self, spares: &mut Spares, now: Tick) -> io::Result<()> {
        let mut records = Vec::new();
        match &mut self.tls {
            Some(tls) if tls.wants_output() => tls.take_output(&mut records),
            Some(_) | None => return Ok(()),
        }
        self.send_as_it_is(spares, &records, now)
    }

    /// Sends `bytes` behind what waits already, as far as the socket takes them now; the rest waits.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn send(&mut self, spares: &mut Spares, bytes: &[u8], now: Tick) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(tls) = &mut self.tls else { return self.send_as_it_is(spares, bytes, now) };
        if let Err(error) = tls.send(bytes) {
            return Err(io::Error::other(error));
        }
        self.send_records(spares, now)
    }

    /// The same for bytes that go to the socket without TLS.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn send_as_it_is(&mut self, spares: &mut Spares, bytes: &[u8], now: Tick) -> io::Result<()> {
        if bytes.is_empty() || self.socket.is_none() {
            return Ok(());
        }
        let taken = if self.queue.is_empty() { self.send_now(bytes)? } else { 0 };
        if taken < bytes.len() {
            self.queue.push(spares, &bytes[taken..], now);
        }
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it now.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn flush(&mut self, spares: &mut Spares, now: Tick) -> io::Result<()> {
        if !self.queue.is_empty() {
            let taken = self.send_now(self.queue.waiting())?;
            if taken > 0 {
                self.queue.advance(spares, taken, now);
            }
        }
        Ok(())
    }

    /// How many of `bytes` go to this side: none when its socket is closed.
    pub(crate) fn takes(&self, bytes: &[u8]) -> u64 {
        if self.socket.is_some() { bytes.len() as u64 } else { 0 }
    }

    /// When the bytes that wait have waited too long.
    fn stalls_at(&self) -> Tick {
        self.queue.stalled_since().map_or(Tick::NEVER, |since| since + STALL_US)
    }

    /// Whether nothing of what waits was taken for too long.
    pub(crate) fn is_stalled(&self, now: Tick) -> bool {
        now >= self.stalls_at()
    }

    fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(socket) = &self.socket else { return Ok(bytes.len()) };
        match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn finish_sending(&mut self, spares: &mut Spares, now: Tick) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            // A few bytes for a socket that has room; where it has none the peer learns it from the end of the stream.
            let _ = self.send_records(spares, now);
        }
        if let Some(socket) = &self.socket {
            // A peer that is gone already needs not be told.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
        }
    }

    /// Makes the closing that follows a reset. In an orderly one the side that closes first keeps the local port for another
    /// minute; a farm that connects again as a whole would run out of ports for its pool.
    pub(crate) fn close_by_reset(&self) {
        if let Some(socket) = &self.socket {
            // Where it cannot be set the connection is closed in the ordinary way.
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
    }

    /// Closes the socket, which also takes it out of the poller's set.
    pub(crate) fn close(&mut self, spares: &mut Spares) {
        self.socket = None;
        self.tls = None;
        self.queue.clear(spares);
    }
}

/// The first bytes of a miner's connection, of which it is not known yet whether a proxy, TLS, HTTP or Stratum begins.
#[derive(Debug)]
pub(crate) struct Front {
    /// At most [`FRONT_BYTES_MAX`](crate::front::FRONT_BYTES_MAX) and one read.
    pub(crate) bytes: Vec<u8>,
    pub(crate) asks: Asks,
    /// What follows is TLS in any case.
    pub(crate) is_tls: bool,
}

/// How far the closing of a link has come. Its session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The miner's last bytes are still to be sent.
    Flushing { until: Tick },
    /// All was sent; what the miner still says is read and forgotten, because closing a socket with unread bytes would
    /// throw away what the miner has not read yet.
    Lingering { until: Tick },
}

/// One miner and its pool connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: Session,
    pub(crate) miner: Side,
    pub(crate) pool: Side,
    pub(crate) dial: Option<Box<Dial>>,
    pub(crate) closing: Option<Closing>,
    /// Nothing is left to do: the slab drops it at the end of the turn.
    pub(crate) gone: bool,
    /// It has been noticed that one side does not keep up.
    pub(crate) paused: bool,
    /// The pool's socket notices a dead peer.
    pub(crate) is_kept_alive: bool,
    /// What the miner's connection begins with is not known yet.
    pub(crate) front: Option<Box<Front>>,
    /// Where the miner is, as it or a trusted proxy in front of it showed; counted among its connections.
    pub(crate) address: Option<IpAddr>,
    /// When it was accepted.
    pub(crate) since: Tick,
    /// The miner has had all that it needs at some time.
    pub(crate) has_worked: bool,
    /// Why the session ended, once it has.
    pub(crate) end: Option<End>,
    /// It stands in the queue of those that wait for a pool.
    pub(crate) waits: bool,
    /// This pool connection was open before the miner came: that it is closed at once says nothing of the pool.
    pub(crate) is_from_warm: bool,
    /// This pool connection has brought the miner all that it needs.
    pub(crate) was_at_work: bool,
    /// Since when it has this pool connection.
    pub(crate) pool_since: Tick,
    /// The pool that failed this miner last.
    pub(crate) avoids: Option<PoolId>,
    /// When it did so.
    pub(crate) failed_at: Tick,
    /// How often in a row pools have failed this miner, without its having come to work at one that had.
    pub(crate) failures: u8,
    /// Where the pool was when it was dialled; see [`PoolNow::place`](crate::PoolNow::place).
    pub(crate) place: u32,
    /// Bytes that it may still send before its accounts are looked at.
    pub(crate) credit: i32,
    /// What it may send in a minute.
    pub(crate) sent: Bucket,
    /// Until then its miner is not read, because it has sent too much; never, where it has not.
    pub(crate) resume_at: Tick,
    /// The turn in which the pool's socket was made: what is told of a socket in that turn is of the one before.
    pub(crate) pool_turn: u64,
}

impl Link {
    pub(crate) fn new(session: Session, miner: OwnedFd) -> Link {
        Link {
            session,
            miner: Side::new(miner, Interest::READ),
            pool: Side::default(),
            dial: None,
            closing: None,
            gone: false,
            paused: false,
            is_kept_alive: false,
            front: None,
            address: None,
            since: Tick(0),
            has_worked: false,
            end: None,
            waits: false,
            is_from_warm: false,
            was_at_work: false,
            pool_since: Tick(0),
            avoids: None,
            failed_at: Tick(0),
            failures: 0,
            place: 0,
            credit: CREDIT_BYTES,
            sent: Bucket::default(),
            resume_at: Tick::NEVER,
            pool_turn: 0,
        }
    }

    /// Whether it is not at work yet or not any more, with this known of one of its sockets: others are served before it.
    pub(crate) fn comes_or_goes(&self, told: Readiness) -> bool {
        !self.session.is_at_work() || told.ended || told.hangup
    }

    /// The side that this names, if it names one.
    pub(crate) fn side(&mut self, token: Token) -> Option<&mut Side> {
        match token {
            Token::Miner(_) => Some(&mut self.miner),
            Token::Pool(_) => Some(&mut self.pool),
            Token::Tick | Token::Listener(_) | Token::Warm(_) => None,
        }
    }

    /// Whether one side's bytes pile up so that the other is not read.
    pub(crate) fn is_congested(&self) -> bool {
        self.miner.queue.len() >= QUEUE_HIGH_BYTES || self.pool.queue.len() >= QUEUE_HIGH_BYTES
    }

    /// Whether the miner is not read although it might have something to say.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_congested() || self.is_held_back()
    }

    /// What the miner's socket is to be watched for.
    pub(crate) fn miner_interest(&self) -> Interest {
        let listens = match self.closing {
            Some(_) => true,
            None => self.session.listens_to_miner() && !self.is_paused(),
        };
        Interest { read: listens && !self.miner.eof, write: !self.miner.queue.is_empty() }
    }

    /// What the pool's socket is to be watched for.
    pub(crate) fn pool_interest(&self) -> Interest {
        if self.dial.is_some() {
            return Interest::BOTH;
        }
        let listens = self.closing.is_none() && !self.pool.eof && self.miner.queue.len() < QUEUE_HIGH_BYTES;
        Interest { read: listens, write: !self.pool.queue.is_empty() }
    }

    /// When somebody must look at this link, if nothing else happens before.
    pub(crate) fn deadline(&self, policy: &Policy) -> Tick {
        let mut due = self.session.poll_timeout(policy).unwrap_or(Tick::NEVER);
        due = due.min(self.resume_at);
        due = due.min(self.miner.stalls_at()).min(self.pool.stalls_at());
        if let Some(dial) = &self.dial {
            due = due.min(dial.due);
        }
        match self.closing {
            Some(Closing::Flushing { until } | Closing::Lingering { until }) => due.min(until),
            None => due,
        }
    }

    /// Makes the pool's socket notice a dead peer, once it is open. A link that lives long enough for its first timer is
    /// one that lasts.
    pub(crate) fn keep_pool_alive(&mut self) {
        if let Some(socket) = self.pool.socket.as_ref().filter(|_| self.dial.is_none() && !self.is_kept_alive)
        {
            dial::keep_alive(socket);
            self.is_kept_alive = true;
        }
    }

    /// Closes the pool's side.
    pub(crate) fn leave_pool(&mut self, spares: &mut Spares) {
        if self.dial.is_none() && self.session.leaves_settled() && self.pool.queue.is_empty() {
            self.pool.close_by_reset();
        }
        self.pool.close(spares);
        self.dial = None;
        self.is_kept_alive = false;
    }

    /// Begins to close: the pool's side at once, the miner's when it has its last bytes.
    pub(crate) fn begin_closing(&mut self, spares: &mut Spares, now: Tick) {
        self.leave_pool(spares);
        if self.closing.is_none() {
            self.credit = CREDIT_BYTES;
            self.closing = Some(Closing::Flushing { until: now + STALL_US });
        }
        self.go_on_closing(spares, now);
    }

    /// Takes the closing as far as it goes now.
    pub(crate) fn go_on_closing(&mut self, spares: &mut Spares, now: Tick) {
        if matches!(self.closing, Some(Closing::Flushing { .. })) && self.miner.queue.is_empty() {
            if !self.miner.eof {
                self.miner.finish_sending(spares, now);
            }
            self.closing = Some(Closing::Lingering { until: now + CLOSE_LINGER_US });
        }
        let is_done = match self.closing {
            Some(Closing::Flushing { until }) => now >= until,
            Some(Closing::Lingering { until }) => self.miner.eof || now >= until,
            None => false,
        };
        if is_done {
            self.drop_miner(spares);
        }
    }

    /// Closes the miner's socket without ado.
    pub(crate) fn drop_miner(&mut self, spares: &mut Spares) {
        self.miner.close(spares);
        self.pool.close(spares);
        self.gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle miner costs this struct and two kernel sockets; a field that makes it larger shows here. The allocator has
    /// blocks of 640 and of 768 bytes and none between them.
    #[test]
    fn a_link_stays_small() {
        // SAFETY: it counts, and touches no memory.
        assert_eq!(unsafe { libmimalloc_sys::mi_good_size(641) }, 768);
        assert!(
            size_of::<Link>() <= 768,
            "{} bytes, of which the session {}",
            size_of::<Link>(),
            size_of::<Session>()
        );
    }
}
