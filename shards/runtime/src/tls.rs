//! One TLS connection without a socket: ciphertext in and out, plain bytes in and out, for both of its sides.
//!
//! It refuses to touch sockets, clocks and files, and to choose what is trusted: that is in the configuration it is
//! given. It works on rustls' unbuffered connection, because the buffered one keeps 4 KiB for reading in every idle
//! connection. What is kept here between two calls is the bytes of an unfinished record, the bytes that may not go out
//! before the handshake ends, and the records nobody has taken yet; each of them gives its memory back when empty.
//!
//! An idle connection holds 4.1 KB as a client and 3.4 KB as a server with TLS 1.3 (3.8 and 3.3 KB with 1.2), of which
//! the struct is 1.2 KB and the peer's certificates, here one of 0.4 KB, a client's share. A handshake with P-256 takes a
//! client 0.14 ms and a server 0.08 ms; a line of 100 bytes takes 0.22 us to encrypt and 0.29 us to decrypt with
//! AES-256-GCM. (2026-11-24, virtual machine on an AMD EPYC, dev profile, the command in
//! `tls/cost.rs`; the memory is held to a bound there.)

#[cfg(test)]
mod cost;
mod records;
#[cfg(test)]
mod tests;

use records::{Pause, Work};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Bytes that may wait for the end of the handshake before they are encrypted.
pub(crate) const SEND_EARLY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of ciphertext that may wait for the rest of their record or of their handshake message: the largest handshake
/// message that rustls takes, and one record behind it.
const PARTIAL_BYTES_MAX: usize = 0xffff + RECORD_BYTES_MAX;
/// The largest record there is: header, content, and what encryption may add.
const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;

/// Why a TLS connection is of no use.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum TlsError {
    /// The two sides did not come to terms: versions, certificates, names, or the peer speaks no TLS.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[source] rustls::Error),
    /// What the peer sent behind the handshake is no TLS or was changed on its way.
    #[error("TLS connection broken: {0}")]
    Broken(#[source] rustls::Error),
    /// More than [`SEND_EARLY_BYTES_MAX`] were to wait for the end of the handshake.
    #[error("more than {SEND_EARLY_BYTES_MAX} bytes were to be sent before the TLS handshake ended")]
    EarlyTooMuch,
    /// Something was to be sent after the connection was closed by this side or failed.
    #[error("the TLS connection takes no more bytes")]
    Closed,
}

/// One TLS connection. Large: whoever keeps many puts it in a box.
///
/// After each call that may have produced records ([`client`](Tls::client), [`receive`](Tls::receive),
/// [`send`](Tls::send), [`close`](Tls::close)) these wait for [`take_output`](Tls::take_output). So it is after an error
/// too: then they hold the alert that tells the peer, if there is one.
pub(crate) struct Tls {
    end: TlsEnd,
    /// Ciphertext whose record or handshake message is not complete. Handed to rustls in every call: it remembers
    /// places in it.
    partial: Vec<u8>,
    /// Plain bytes that wait for the end of the handshake.
    early: Vec<u8>,
    /// Records that wait for the socket.
    output: Vec<u8>,
    /// Why it ended.
    failed: Option<TlsError>,
    /// This side has nothing more to say.
    is_closed: bool,
    /// The peer has not been told so yet.
    close_is_due: bool,
    is_closed_by_peer: bool,
}

/// Which of the two sides this is.
enum TlsEnd {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl fmt::Debug for Tls {
    /// Keys and plain bytes are never shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match &self.end {
            TlsEnd::Client(_) => "client",
            TlsEnd::Server(_) => "server",
        };
        let mut shown = formatter.debug_struct("Tls");
        shown.field("side", &side).field("is_handshaking", &self.is_handshaking());
        shown.field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Tls {
    /// The side that speaks first. The first records are ready at once.
    ///
    /// # Errors
    /// [`TlsError::Handshake`] when the configuration does not allow any handshake.
    pub(crate) fn client(config: &Arc<ClientConfig>, name: &ServerName<'static>) -> Result<Tls, TlsError> {
        let connection = UnbufferedClientConnection::new(Arc::clone(config), name.clone());
        let mut tls = Tls::new(TlsEnd::Client(connection.map_err(TlsError::Handshake)?));
        tls.go_on(&mut Vec::new(), &[])?;
        Ok(tls)
    }

    /// Whether records are ready for the socket; after an error, whether an alert is.
    pub(crate) fn wants_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Why it is of no use, once it is.
    pub(crate) fn failure(&self) -> Option<&TlsError> {
        self.failed.as_ref()
    }

    /// The side that waits for the other to begin.
    ///
    /// # Errors
    /// [`TlsError::Handshake`] when the configuration does not allow any handshake.
    pub(crate) fn server(config: &Arc<ServerConfig>) -> Result<Tls, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config));
        Ok(Tls::new(TlsEnd::Server(connection.map_err(TlsError::Handshake)?)))
    }

    fn new(end: TlsEnd) -> Tls {
        Tls {
            end,
            partial: Vec::new(),
            early: Vec::new(),
            output: Vec::new(),
            failed: None,
            is_closed: false,
            close_is_due: false,
            is_closed_by_peer: false,
        }
    }

    /// Takes ciphertext that was read, of any length. Decrypted bytes are appended to `plain`: fewer than the ciphertext
    /// given and that of one unfinished record (`RECORD_BYTES_MAX`) that waited for it. Whatever must be answered is kept
    /// until [`take_output`](Tls::take_output). Bytes that come after the peer's close are ignored, and so are all that
    /// come after this side has said its own.
    ///
    /// # Errors
    /// [`TlsError::Handshake`] or [`TlsError::Broken`]; `plain` has what came in order before. The connection is over, and
    /// every later call gives the same error.
    pub(crate) fn receive(&mut self, cipher: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // Behind our own close rustls has no alert left for what is wrong, and its assertions say so by a panic.
        let close_is_said = self.is_closed && !self.close_is_due;
        if self.is_closed_by_peer || close_is_said {
            return Ok(());
        }
        self.partial.extend_from_slice(cipher);
        self.go_on(plain, &[]).map(|_| ())
    }

    /// Encrypts bytes. During the handshake they are kept and go out as soon as it allows.
    ///
    /// # Errors
    /// [`TlsError::EarlyTooMuch`] when they are too many to be kept: none of them is sent, and the connection goes on.
    /// [`TlsError::Closed`] after [`close`](Tls::close) or a failure. [`TlsError::Broken`] when the keys are used up.
    pub(crate) fn send(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        if self.is_closed || self.failed.is_some() {
            return Err(TlsError::Closed);
        }
        if plain.is_empty() {
            return Ok(());
        }
        if self.is_handshaking() {
            if plain.len() > SEND_EARLY_BYTES_MAX - self.early.len() {
                return Err(TlsError::EarlyTooMuch);
            }
            self.early.extend_from_slice(plain);
            return Ok(());
        }
        // All that was received has been decrypted already, so nothing comes out here.
        match self.go_on(&mut Vec::new(), plain)? {
            Pause::Ready => Ok(()),
            Pause::Blocked | Pause::Over => Err(TlsError::Closed),
        }
    }

    /// Appends the records that are ready for the socket.
    pub(crate) fn take_output(&mut self, cipher: &mut Vec<u8>) {
        cipher.extend_from_slice(&self.output);
        // An idle connection keeps no room for records.
        self.output = Vec::new();
    }

    /// Whether the two sides have not come to terms yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        match &self.end {
            TlsEnd::Client(connection) => connection.is_handshaking(),
            TlsEnd::Server(connection) => connection.is_handshaking(),
        }
    }

    /// The peer has said in order that nothing more comes (close_notify). An end of the bytes without this may be
    /// somebody else's cut.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        self.is_closed_by_peer
    }

    /// Says in order that nothing more comes (close_notify), once, behind all that was sent. During the handshake it is
    /// said when that ends. Nothing is received any more: a session that waits for answers has not closed yet.
    pub(crate) fn close(&mut self) {
        if self.is_closed || self.failed.is_some() {
            return;
        }
        self.is_closed = true;
        self.close_is_due = true;
        // A failure is kept, and known to whoever calls next; there is nothing else to be done here.
        let _ = self.go_on(&mut Vec::new(), &[]);
    }

    /// Goes on with the records at hand as far as they lead, and encrypts what waits and `say` if that is allowed by then.
    fn go_on(&mut self, heard: &mut Vec<u8>, say: &[u8]) -> Result<Pause, TlsError> {
        let Tls { end, partial, early, output, is_closed_by_peer, .. } = self;
        let says_close = self.close_is_due;
        let mut work = Work { heard, output, is_closed_by_peer, say: [early, say], says_close, taken: 0 };
        let went = match end {
            TlsEnd::Client(connection) => work.go_on(connection, partial),
            TlsEnd::Server(connection) => work.go_on(connection, partial),
        };
        let taken = work.taken;
        self.forget(taken);
        match went {
            Ok(_) if self.partial.len() > PARTIAL_BYTES_MAX => {
                let too_large = rustls::InvalidMessage::HandshakePayloadTooLarge;
                Err(self.fail(rustls::Error::InvalidMessage(too_large)))
            }
            Ok(pause) => {
                if matches!(pause, Pause::Ready) {
                    self.early = Vec::new();
                    self.close_is_due = false;
                }
                Ok(pause)
            }
            Err(cause) => Err(self.fail(cause)),
        }
    }

    /// Drops ciphertext that is done with, and the memory it had.
    fn forget(&mut self, taken: usize) {
        if taken >= self.partial.len() || self.is_closed_by_peer {
            self.partial = Vec::new();
        } else if taken > 0 {
            self.partial = self.partial[taken..].to_vec();
        }
    }

    fn fail(&mut self, cause: rustls::Error) -> TlsError {
        let error = if self.is_handshaking() { TlsError::Handshake(cause) } else { TlsError::Broken(cause) };
        self.failed = Some(error.clone());
        self.partial = Vec::new();
        self.early = Vec::new();
        error
    }
}
