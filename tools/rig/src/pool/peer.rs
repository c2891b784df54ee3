//! One connection of the pool.

use mio::net::TcpStream;

use super::shares::Seen;
use crate::net::{Inbox, Outbox};

/// Workers one connection may authorize.
const USERS_PER_PEER_MAX: usize = 64;
/// Bytes a peer may leave unread before it is closed.
pub(super) const OUT_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) inbox: Inbox,
    /// Tells this connection from a later one in the same slot.
    pub(super) serial: u64,
    pub(super) extranonce1: u32,
    /// Bytes of extranonce2 a share must have.
    pub(super) extranonce2_size: usize,
    /// Has asked to be told of a new extranonce.
    pub(super) takes_extranonce: bool,
    pub(super) subscribed: bool,
    /// Difficulty and first job have been sent.
    pub(super) working: bool,
    /// Serial number of the job that was sent first. Older ones are not this connection's.
    pub(super) first_job: u64,
    /// Serial number of the job that was sent last; 0 before the first.
    pub(super) newest_job: u64,
    /// What `mining.configure` was granted.
    pub(super) version_mask: Option<u32>,
    pub(super) seen: Seen,
    pub(super) shares_answered: u64,
    /// Nothing is said any more.
    pub(super) silent: bool,
    outbox: Outbox,
    users: Vec<Box<str>>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream, serial: u64, extranonce1: u32, extranonce2_size: usize) -> Self {
        Peer {
            stream,
            inbox: Inbox::default(),
            serial,
            extranonce1,
            extranonce2_size,
            takes_extranonce: false,
            subscribed: false,
            working: false,
            first_job: u64::MAX,
            newest_job: 0,
            version_mask: None,
            seen: Seen::default(),
            shares_answered: 0,
            silent: false,
            outbox: Outbox::default(),
            users: Vec::new(),
        }
    }

    /// Queues the parts of a message, unless the connection has fallen silent.
    pub(super) fn send(&mut self, parts: &[&[u8]]) {
        if !self.silent {
            for part in parts {
                self.outbox.buffer().extend_from_slice(part);
            }
        }
    }

    pub(super) fn send_result(&mut self, id: &str, result: &str) {
        self.send(&[b"{\"id\":", id.as_bytes(), b",\"result\":", result.as_bytes(), b",\"error\":null}\n"]);
    }

    /// `error` is the text of a JSON value.
    pub(super) fn send_error(&mut self, id: &str, error: &str) {
        self.send(&[b"{\"id\":", id.as_bytes(), b",\"result\":null,\"error\":", error.as_bytes(), b"}\n"]);
    }

    /// Whether the other side reads far too slowly.
    pub(super) fn is_slow(&self) -> bool {
        self.outbox.len() > OUT_BYTES_MAX
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// See [`Outbox::flush`].
    pub(super) fn flush(&mut self, chunk_max: usize, writes_max: usize) -> std::io::Result<usize> {
        self.outbox.flush(&mut self.stream, chunk_max, writes_max)
    }

    pub(super) fn is_authorized(&self, user: &str) -> bool {
        self.users.iter().any(|known| known.as_ref() == user)
    }

    /// False when the connection has too many users already.
    pub(super) fn authorize(&mut self, user: &str) -> bool {
        if self.is_authorized(user) {
            return true;
        }
        let fits = self.users.len() < USERS_PER_PEER_MAX;
        if fits {
            self.users.push(user.into());
        }
        fits
    }

    /// The last worker's authorization is what makes a connection worth a job.
    pub(super) fn has_user(&self) -> bool {
        !self.users.is_empty()
    }
}
