//! What the two processes say: frames of JSON, with the descriptors that belong to them.
//!
//! The other side is trusted no more than a file: a frame has an end, and what it says is checked by whoever reads it.

use super::pools::Mark;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Bytes of a frame: a session, and what waits for its two sockets.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Descriptors that one frame may bring.
const DESCRIPTORS_MAX: usize = 2;

/// One thing that is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Word {
    /// The new process is there.
    Hello { protocol: u32, format: u32, version: String },
    /// What the old one offers: so many listening sockets, which follow, and its clock.
    Offer { clock_origin_us: u64, listeners: usize },
    /// A socket where miners connect, of this shard.
    Listener { shard: usize },
    /// The socket of the metrics port.
    Admin { address: SocketAddr },
    /// That was all.
    End,
    /// The new one serves miners, and can go on with the links of these pools.
    Ready { pools: Vec<Mark> },
    /// A link; its sockets are the miner's and the pool's.
    Link(Box<LinkWord>),
    /// The link of this number has arrived.
    Arrived { number: u64 },
    /// No further ones come.
    Done,
}

/// A link as it is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkWord {
    /// Counts links from 0.
    pub(super) number: u64,
    /// The place of its pool in [`Word::Ready`].
    pub(super) pool: usize,
    pub(super) session: loka_proto::PackedSession,
    /// Bytes that the miner's socket and the pool's did not take yet.
    pub(super) queued: [Vec<u8>; 2],
    pub(super) address: Option<IpAddr>,
    pub(super) since: loka_proto::Tick,
    pub(super) has_worked: bool,
    pub(super) was_at_work: bool,
}

/// One end of the socket between the two.
#[derive(Debug)]
pub(super) struct Wire(UnixStream);

impl Word {
    /// What it is, without what it says: links hold what miners said, passwords among it.
    fn name(&self) -> &'static str {
        match self {
            Word::Hello { .. } => "hello",
            Word::Offer { .. } => "offer",
            Word::Listener { .. } => "listener",
            Word::Admin { .. } => "admin",
            Word::End => "end",
            Word::Ready { .. } => "ready",
            Word::Link(_) => "link",
            Word::Arrived { .. } => "arrived",
            Word::Done => "done",
        }
    }
}

fn wrong(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The other process said something else than it had to.
pub(super) fn unexpected(word: &Word) -> io::Error {
    wrong(format!("the other process says {:?} where it should not", word.name()))
}

/// What is no word. The text of the error would quote it.
fn no_word(error: &serde_json::Error) -> io::Error {
    wrong(format!(
        "the other process says what is no word of the hand-over: {:?} at {}",
        error.classify(),
        error.column()
    ))
}

impl Wire {
    /// Nothing that the other side does or leaves is waited for any longer than `patience`.
    pub(super) fn new(socket: UnixStream, patience: Duration) -> io::Result<Wire> {
        socket.set_nonblocking(false)?;
        let wire = Wire(socket);
        wire.set_patience(patience)?;
        Ok(wire)
    }

    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(patience))?;
        self.0.set_write_timeout(Some(patience))
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Says it; the descriptors stay open here too.
    pub(super) fn say(&mut self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(word).map_err(|error| no_word(&error))?;
        let length = u32::try_from(body.len()).ok().filter(|length| *length as usize <= FRAME_BYTES_MAX);
        let head = length.ok_or_else(|| wrong("a frame is too long"))?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(wrong("a frame has too many descriptors"));
        }
        // Descriptors go with the first byte of the head.
        let sent = loop {
            match sendmsg(&self.0, &[IoSlice::new(&head)], &mut control, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        self.0.write_all(&head[sent..])?;
        self.0.write_all(&body)
    }

    /// Waits for the next.
    pub(super) fn hear(&mut self) -> io::Result<(Word, Vec<OwnedFd>)> {
        let mut head = [0; 4];
        let mut descriptors = Vec::new();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let count = loop {
            let flags = RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut head)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?.bytes,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                descriptors.extend(sent);
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read_exact(&mut head[count..])?;
        let length = u32::from_le_bytes(head) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(wrong("a frame is too long"));
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((serde_json::from_slice(&body).map_err(|error| no_word(&error))?, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn pair() -> (Wire, Wire, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        let raw = one.try_clone().unwrap();
        let patience = Duration::from_secs(5);
        (Wire::new(one, patience).unwrap(), Wire::new(other, patience).unwrap(), raw)
    }

    #[test]
    fn descriptors_come_with_their_word() {
        let (mut one, mut other, _) = pair();
        let (here, mut there) = UnixStream::pair().unwrap();
        one.say(&Word::Offer { clock_origin_us: u64::MAX, listeners: 1 }, &[]).unwrap();
        one.say(&Word::Listener { shard: 3 }, &[here.as_fd(), here.as_fd()]).unwrap();
        one.say(&Word::End, &[]).unwrap();
        let (word, none) = other.hear().unwrap();
        assert!(matches!(word, Word::Offer { clock_origin_us: u64::MAX, listeners: 1 }) && none.is_empty());
        let (word, mut two) = other.hear().unwrap();
        assert!(matches!(word, Word::Listener { shard: 3 }) && two.len() == 2);
        assert_ne!(two[0].as_raw_fd(), here.as_raw_fd());
        drop((here, two.pop()));
        UnixStream::from(two.pop().unwrap()).write_all(b"x").unwrap();
        let mut said = String::new();
        there.read_to_string(&mut said).unwrap();
        assert_eq!(said, "x");
        assert!(matches!(other.hear().unwrap().0, Word::End));
    }

    #[test]
    fn an_error_quotes_nothing_that_was_said() {
        for bytes in [r#"{"Link":"hunter2"}"#, r#"{"hunter2":1}"#, r#""hunter2"#] {
            let (_one, mut other, mut raw) = pair();
            raw.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
            raw.write_all(bytes.as_bytes()).unwrap();
            let error = other.hear().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let version = "hunter2".to_owned();
        let error = unexpected(&Word::Hello { protocol: 1, format: 1, version });
        assert_eq!(error.to_string(), "the other process says \"hello\" where it should not");
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0{}", b"\x05\0\0\0\"End", b"\x01", b""] {
            let (_one, mut other, mut raw) = pair();
            raw.write_all(bytes).unwrap();
            raw.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(other.hear().is_err(), "{bytes:?}");
        }
    }
}
