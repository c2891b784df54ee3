//! One socket of a relayed connection, with TLS on it or without.
//!
//! It refuses to keep plain bytes: what the kernel does not take stays with the caller. Only bytes that are encrypted
//! already are kept, at most one record beyond what the caller gives at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustls::ServerConnection;
use socket2::SockRef;

use crate::net::make_abortive;

/// Linux's flag of `send` for "never put this and what follows into one segment", which the standard library does not name.
const MSG_EOR: i32 = 0x80;

/// What one read brought.
#[derive(Debug)]
pub(super) enum Took {
    Bytes(usize),
    Nothing,
    /// The other side has ended its direction.
    Ended,
    Reset,
    /// The connect has failed.
    Unreachable,
    /// What came is no TLS, or the other side has refused ours.
    Broken,
}

pub(super) struct Side {
    pub(super) stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// This side's direction ends as soon as TLS has nothing left to send.
    is_ending: bool,
    is_ended: bool,
    /// Nothing can be sent to it any more; what it has sent may still be there to read.
    pub(super) is_broken: bool,
    /// Its own direction has ended; there is nothing more to read.
    pub(super) is_over: bool,
}

impl Side {
    pub(super) fn new(stream: TcpStream, tls: Option<ServerConnection>) -> Self {
        Side {
            stream,
            tls: tls.map(Box::new),
            is_ending: false,
            is_ended: false,
            is_broken: false,
            is_over: false,
        }
    }

    /// Whether the TLS handshake is not done yet. Never without TLS.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the kernel has all that was given, the end included.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_broken || (!self.is_ending && !self.tls.as_ref().is_some_and(|tls| tls.wants_write()))
    }

    /// Reads at most `buffer.len()` plain bytes.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Took {
        let Some(tls) = &mut self.tls else { return took(self.stream.read(buffer)) };
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Took::Ended,
                Ok(count) => return Took::Bytes(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The other side has ended without saying so in TLS, as many do.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Took::Ended,
                Err(_) => return Took::Broken,
            }
            match took(tls.read_tls(&mut self.stream)) {
                Took::Bytes(_) => {
                    if tls.process_new_packets().is_err() {
                        return Took::Broken;
                    }
                }
                other @ (Took::Nothing | Took::Ended | Took::Reset | Took::Unreachable | Took::Broken) => {
                    return other;
                }
            }
        }
    }

    /// Reads at most `buffer.len()` bytes as they are on the wire, for those who throw them away.
    pub(super) fn take_raw(&mut self, buffer: &mut [u8]) -> Took {
        took(self.stream.read(buffer))
    }

    /// Sends bytes and returns how many of them need no second try. A full socket is not an error. With a `segment` no
    /// write is larger than that, and only one is made.
    pub(super) fn give(&mut self, bytes: &[u8], segment: Option<usize>) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return write_once(&self.stream, bytes, segment) };
        if tls.wants_write() || tls.is_handshaking() {
            return Ok(0);
        }
        tls.writer().write(bytes)
    }

    /// Sends what TLS has to say. Returns whether the socket took some of it, which may have made room for more.
    pub(super) fn flush(&mut self, segment: Option<usize>) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut has_sent = false;
        while tls.wants_write() {
            match tls.write_tls(&mut Wire { stream: &self.stream, segment }) {
                Ok(_) if segment.is_some() => return Ok(true),
                Ok(_) => has_sent = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(has_sent),
                Err(error) => return Err(error),
            }
        }
        if self.is_ending {
            self.shut_down();
        }
        Ok(has_sent)
    }

    /// Ends this side's direction in good order, once what was given before has been sent.
    pub(super) fn end(&mut self) {
        if let Some(tls) = self.tls.as_mut().filter(|tls| !tls.is_handshaking()) {
            tls.send_close_notify();
            self.is_ending = true;
        } else {
            self.shut_down();
        }
    }

    /// As [`Side::end`], but without waiting for a socket that takes nothing now.
    pub(super) fn end_at_once(&mut self) {
        self.end();
        if self.flush(None).is_err() || self.is_ending {
            self.shut_down();
        }
    }

    fn shut_down(&mut self) {
        if !std::mem::replace(&mut self.is_ended, true) {
            // Fails only on a connection that is gone, and then the next read says so.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        self.is_ending = false;
    }

    /// Makes the coming close a reset.
    pub(super) fn make_abortive(&self) {
        make_abortive(&self.stream);
    }
}

fn took(outcome: io::Result<usize>) -> Took {
    match outcome {
        Ok(0) => Took::Ended,
        Ok(count) => Took::Bytes(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Took::Nothing,
        Err(error) if is_unreachable(error.kind()) => Took::Unreachable,
        Err(_) => Took::Reset,
    }
}

/// Whether a socket says this of a connect that failed.
pub(super) fn is_unreachable(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
    )
}

/// Zero when the socket takes nothing now.
fn write_once(mut stream: &TcpStream, bytes: &[u8], segment: Option<usize>) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let written = match segment {
        None => stream.write(bytes),
        Some(most) => SockRef::from(stream).send_with_flags(&bytes[..bytes.len().min(most.max(1))], MSG_EOR),
    };
    match written {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The socket as TLS writes to it.
struct Wire<'a> {
    stream: &'a TcpStream,
    segment: Option<usize>,
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match write_once(self.stream, bytes, self.segment)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
