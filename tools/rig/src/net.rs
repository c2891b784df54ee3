//! Bytes of one socket: lines in, a bounded queue out. Never blocks and never grows past its bound.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// A buffer of a quiet connection that is larger than this is given back, so that idle connections stay small.
const KEEP_CAPACITY_BYTES: usize = 1024;

/// Pending connects the kernel may hold for the simulated pool.
const BACKLOG: i32 = 4096;

/// Bytes one read may take; shared by all connections of a thread.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// Reads of one connection in one turn, so that a firehose does not starve its neighbours.
pub(crate) const READS_PER_TURN: usize = 8;

/// A port to listen on that stays ours while nobody listens on it, so that it can be listened on again.
pub(crate) struct Port {
    addr: SocketAddr,
    /// Bound and never listening: connects are refused, and the kernel gives the port to nobody else.
    _kept: Socket,
}

impl Port {
    /// Port 0 takes an unused port.
    pub(crate) fn keep(addr: SocketAddr) -> io::Result<Port> {
        let kept = bound(addr)?;
        let no_inet = || io::Error::new(ErrorKind::Unsupported, "no IP socket");
        let addr = kept.local_addr()?.as_socket().ok_or_else(no_inet)?;
        Ok(Port { addr, _kept: kept })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A listening socket, ready for many connects at once.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.addr)?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from_std(socket.into()))
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A pool that is stopped and started again must get its port back while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Makes the coming close an RST: what is unsent is thrown away, as when a host dies.
pub(crate) fn make_abortive(stream: &TcpStream) {
    // A socket that the peer has reset meanwhile cannot take the option, and does not need it.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// A line passed the cap.
#[derive(Debug)]
pub(crate) struct LineTooLong;

/// The unfinished line of one connection.
#[derive(Default)]
pub(crate) struct Inbox {
    partial: Vec<u8>,
}

impl Inbox {
    /// Cuts `bytes` into lines and hands each to `on_line` without `\n` and `\r`; blank lines are skipped. Keeps the rest,
    /// at most `line_max` bytes. `Break` from `on_line` throws the rest away.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        line_max: usize,
        mut on_line: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, LineTooLong> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.partial.len() + line.len() > line_max {
                return Err(LineTooLong);
            }
            let flow = if self.partial.is_empty() {
                give(line, &mut on_line)
            } else {
                self.partial.extend_from_slice(line);
                let flow = give(&self.partial, &mut on_line);
                self.partial = Vec::new();
                flow
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        if self.partial.len() + rest.len() > line_max {
            return Err(LineTooLong);
        }
        self.partial.extend_from_slice(rest);
        Ok(ControlFlow::Continue(()))
    }
}

fn give(line: &[u8], on_line: &mut impl FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
    let line = line.trim_ascii();
    if line.is_empty() { ControlFlow::Continue(()) } else { on_line(line) }
}

/// The bytes that wait to be sent on one connection.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Where to append. The owner compares [`Outbox::len`] with its cap afterwards.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes not yet taken by the kernel.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends what the kernel takes, at most `chunk_max` bytes a write and `writes_max` writes.
    ///
    /// Returns the number of bytes sent. A full socket is not an error: bytes stay queued until it is writable.
    pub(crate) fn flush(
        &mut self,
        stream: &mut impl Write,
        chunk_max: usize,
        writes_max: usize,
    ) -> io::Result<usize> {
        let mut total = 0;
        for _ in 0..writes_max {
            if self.is_empty() {
                break;
            }
            let end = self.bytes.len().min(self.sent.saturating_add(chunk_max));
            match stream.write(&self.bytes[self.sent..end]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    total += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.reclaim();
        Ok(total)
    }

    fn reclaim(&mut self) {
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > KEEP_CAPACITY_BYTES {
                self.bytes = Vec::new();
            }
        } else if self.sent > READ_BYTES {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// What one read brought.
pub(crate) enum Received {
    /// So many bytes; more may be there when the buffer was filled.
    Bytes(usize),
    Nothing,
    Ended,
}

/// One read that treats a peer's reset like an end, because both mean that nothing more will come.
pub(crate) fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> Received {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Received::Ended,
            Ok(count) => return Received::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Received::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], line_max: usize) -> Result<Vec<String>, LineTooLong> {
        let mut inbox = Inbox::default();
        let mut found = Vec::new();
        for chunk in chunks {
            let _ = inbox.feed(chunk, line_max, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
                ControlFlow::Continue(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn any_split_gives_the_same_lines() {
        let whole = b"one\r\n\n  two \nthree\n";
        for cut in 0..whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(lines(&[left, right], 16).unwrap(), ["one", "two", "three"]);
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(lines(&single, 16).unwrap(), ["one", "two", "three"]);
    }

    #[test]
    fn the_cap_holds_with_and_without_a_newline() {
        assert!(lines(&[b"12345678\n"], 8).is_ok());
        assert!(lines(&[b"123456789\n"], 8).is_err());
        assert!(lines(&[b"12345", b"6789"], 8).is_err());
    }

    #[test]
    fn outbox_sends_in_chunks_and_keeps_the_rest() {
        let mut outbox = Outbox::default();
        outbox.buffer().extend_from_slice(b"abcdef");
        let mut wire = Vec::new();
        assert_eq!(outbox.flush(&mut wire, 2, 2).unwrap(), 4);
        assert_eq!((wire.as_slice(), outbox.len()), (b"abcd".as_slice(), 2));
        assert_eq!(outbox.flush(&mut wire, usize::MAX, 1).unwrap(), 2);
        assert_eq!(wire, b"abcdef");
    }
}
