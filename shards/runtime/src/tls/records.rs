//! Leads rustls' unbuffered connection from one record to the next until it waits for something.
//!
//! It keeps nothing between two calls and knows neither sockets nor bounds. The bytes handed in must be those that were
//! left over last time, with new ones behind them: rustls remembers places in them.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

/// Most plain bytes in one record.
const RECORD_PLAIN_BYTES: usize = 16 * 1024;
/// Room that encryption needs beside the plain bytes of one record: header, nonce, type, tag, rounded up.
const RECORD_ROOM_BYTES: usize = 64;

/// What the records at hand have led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The handshake waits for more records; nothing may be sent.
    Blocked,
    /// All that was to be said has been encrypted.
    Ready,
    /// Both sides have said that nothing more comes.
    Over,
}

/// What one call has to do, and where the results go.
pub(super) struct Work<'a> {
    /// Gets the decrypted bytes.
    pub(super) heard: &'a mut Vec<u8>,
    /// Gets the records for the socket.
    pub(super) output: &'a mut Vec<u8>,
    pub(super) is_closed_by_peer: &'a mut bool,
    /// Plain bytes to be encrypted, in this order, once that is allowed.
    pub(super) say: [&'a [u8]; 2],
    /// Whether the close of this side follows them.
    pub(super) says_close: bool,
    /// Bytes of ciphertext that are done with.
    pub(super) taken: usize,
}

/// The two kinds of connections that rustls has no common name for.
pub(super) trait Records {
    type Data;
    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// Whether records wait that [`process`](Records::process) would hand out before it looks at any bytes.
    fn has_output(&self) -> bool;
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

impl Work<'_> {
    /// Takes the records in `bytes` and does what they allow.
    ///
    /// # Errors
    /// What rustls says; the alert that it has for the peer is in `output`.
    pub(super) fn go_on<R: Records>(
        &mut self,
        connection: &mut R,
        bytes: &mut [u8],
    ) -> Result<Pause, rustls::Error> {
        let went = self.take_records(connection, bytes);
        if went.is_err() {
            // Not one step further than the records that wait: rustls would go on with the bytes that it has just refused.
            while connection.has_output() {
                let status = connection.process(&mut bytes[self.taken..]);
                let Ok(ConnectionState::EncodeTlsData(data)) = status.state else { break };
                self.put_out(data)?;
            }
        }
        went
    }

    fn take_records<R: Records>(
        &mut self,
        connection: &mut R,
        bytes: &mut [u8],
    ) -> Result<Pause, rustls::Error> {
        loop {
            let status = connection.process(&mut bytes[self.taken..]);
            self.taken += status.discard;
            match status.state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        self.heard.extend_from_slice(record.payload);
                        self.taken += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(data) => self.put_out(data)?,
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::PeerClosed => *self.is_closed_by_peer = true,
                ConnectionState::Closed => return Ok(Pause::Over),
                ConnectionState::BlockedHandshake => return Ok(Pause::Blocked),
                ConnectionState::WriteTraffic(mut traffic) => {
                    self.speak(&mut traffic)?;
                    return Ok(Pause::Ready);
                }
                // What comes before the handshake ends can be sent again by anybody: no configuration of ours asks for it.
                ConnectionState::ReadEarlyData(_) => {
                    return Err(rustls::Error::General("early data".to_owned()));
                }
                _ => return Err(rustls::Error::General("a state that is not known here".to_owned())),
            }
        }
    }

    fn put_out<D>(&mut self, mut data: EncodeTlsData<'_, D>) -> Result<(), rustls::Error> {
        write_into(self.output, 0, |room| {
            data.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(error) => EncryptError::InsufficientSize(error),
                EncodeError::AlreadyEncoded => EncryptError::EncryptExhausted,
            })
        })
    }

    fn speak<D>(&mut self, traffic: &mut WriteTraffic<'_, D>) -> Result<(), rustls::Error> {
        for bytes in self.say.into_iter().filter(|bytes| !bytes.is_empty()) {
            let records = bytes.len().div_ceil(RECORD_PLAIN_BYTES);
            let room = bytes.len() + records * RECORD_ROOM_BYTES;
            write_into(self.output, room, |room| traffic.encrypt(bytes, room))?;
        }
        if self.says_close {
            write_into(self.output, RECORD_ROOM_BYTES, |room| traffic.queue_close_notify(room))?;
        }
        Ok(())
    }
}

/// Appends what `write` writes, with as much room as it asks for when `room` bytes are too few.
fn write_into(
    output: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), rustls::Error> {
    let start = output.len();
    loop {
        output.resize(start + room, 0);
        match write(&mut output[start..]) {
            Ok(count) => {
                output.truncate(start + count);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(error)) if error.required_size > room => {
                room = error.required_size;
            }
            Err(EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted) => {
                output.truncate(start);
                return Err(rustls::Error::EncryptError);
            }
        }
    }
}
