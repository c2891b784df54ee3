//! One miner under full control, with blocking calls: for tests that need a certain byte at a certain time.
//!
//! Every read has a time-out, so that a test that would hang fails instead.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::wire::{Message, text_of};

/// How long [`Miner::read_line`] waits unless told otherwise.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line a miner takes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Lines kept that were read while waiting for an answer.
const NOTICES_MAX: usize = 4096;

/// A connected miner. Dropping it closes the connection in good order.
pub struct Miner {
    stream: TcpStream,
    buffer: Vec<u8>,
    notices: VecDeque<String>,
}

/// What a miner knows after its handshake.
#[derive(Debug, Clone, PartialEq)]
pub struct Greeting {
    /// Hex, as sent.
    pub extranonce1: String,
    /// In bytes.
    pub extranonce2_size: usize,
    pub difficulty: f64,
    pub job_id: String,
    /// Eight hex digits of the first job.
    pub ntime: String,
}

/// One share. Text fields go out as they are, so that wrong ones can be sent too.
#[derive(Debug, Clone)]
pub struct Submit<'a> {
    /// The id as JSON text: `7`, `"seven"`, `null`.
    pub id: &'a str,
    pub user: &'a str,
    pub job_id: &'a str,
    pub extranonce2: &'a str,
    pub ntime: &'a str,
    pub nonce: &'a str,
    pub version_bits: Option<&'a str>,
}

impl Miner {
    /// # Errors
    /// What the connect said.
    pub fn connect(addr: SocketAddr) -> io::Result<Miner> {
        Miner::from_stream(TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?)
    }

    /// Connects from a given local address; port 0 takes any port.
    ///
    /// # Errors
    /// What bind or connect said.
    pub fn connect_from(source: SocketAddr, addr: SocketAddr) -> io::Result<Miner> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&source.into())?;
        socket.connect_timeout(&addr.into(), CONNECT_TIMEOUT)?;
        Miner::from_stream(socket.into())
    }

    fn from_stream(stream: TcpStream) -> io::Result<Miner> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Miner { stream, buffer: Vec::new(), notices: VecDeque::new() })
    }

    /// # Errors
    /// When the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Changes how long [`Miner::read_line`] waits; not zero.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }

    /// Sends a line; the newline is added.
    ///
    /// # Errors
    /// When the connection is gone or does not take bytes for 10 s.
    pub fn send_line(&mut self, line: &str) -> io::Result<()> {
        self.send_bytes(format!("{line}\n").as_bytes())
    }

    /// Sends exactly these bytes.
    ///
    /// # Errors
    /// As [`Miner::send_line`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next line from the wire, without its newline. Lines set aside by [`Miner::answer_to`] are not given again; see
    /// [`Miner::notices`].
    ///
    /// # Errors
    /// `UnexpectedEof` after the end; `WouldBlock` or `TimedOut` when nothing came in time; `InvalidData` for a line over
    /// 1 MiB or one that is no UTF-8; otherwise what the socket said (`ConnectionReset`).
    pub fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return String::from_utf8(line)
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "a line of more than 1 MiB"));
            }
            let mut chunk = [0_u8; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until the other side ends, and returns the lines that came. A reset counts as an end.
    ///
    /// # Errors
    /// As [`Miner::read_line`], but for the end itself.
    pub fn read_to_end(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            match self.read_line() {
                Ok(line) => lines.push(line),
                Err(error)
                    if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
                {
                    return Ok(lines);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until the answer with this id (JSON text, compared byte for byte) and returns that line. All other lines are
    /// set aside as notices.
    ///
    /// # Errors
    /// As [`Miner::read_line`]; `InvalidData` for a line that is no JSON object.
    pub fn answer_to(&mut self, id: &str) -> io::Result<String> {
        self.read_until(|message| message.method.is_none() && message.id_text() == id)
    }

    /// Reads until a request or notice with this method and returns that line; others are set aside.
    ///
    /// # Errors
    /// As [`Miner::answer_to`].
    pub fn notice(&mut self, method: &str) -> io::Result<String> {
        let kept = self.notices.iter().position(|line| is_notice(line, method));
        if let Some(line) = kept.and_then(|index| self.notices.remove(index)) {
            return Ok(line);
        }
        self.read_until(|message| message.method_name() == Some(method))
    }

    /// The lines set aside so far, oldest first.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.notices.iter().map(String::as_str)
    }

    fn read_until(&mut self, wanted: impl Fn(&Message<'_>) -> bool) -> io::Result<String> {
        loop {
            let line = self.read_line()?;
            let message = Message::parse(line.as_bytes())
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("{error} in {line:?}")))?;
            if wanted(&message) {
                return Ok(line);
            }
            if self.notices.len() == NOTICES_MAX {
                self.notices.pop_front();
            }
            self.notices.push_back(line);
        }
    }

    /// Sends a request with `params` as JSON text and returns the line that answers it.
    ///
    /// # Errors
    /// As [`Miner::answer_to`].
    pub fn request(&mut self, id: &str, method: &str, params: &str) -> io::Result<String> {
        self.send_line(&format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}"))?;
        self.answer_to(id)
    }

    /// Subscribes (id 1), authorizes `user` (id 2) and waits for the first difficulty and job.
    ///
    /// # Errors
    /// As [`Miner::answer_to`]; `InvalidData` when the pool refuses or an answer has not the right shape;
    /// `PermissionDenied` when the user is not authorized.
    pub fn handshake(&mut self, user: &str) -> io::Result<Greeting> {
        let subscribed = self.request("1", "mining.subscribe", "[\"loka-rig/0.1\"]")?;
        let (extranonce1, extranonce2_size) = read_subscription(&subscribed)
            .ok_or_else(|| bad(format!("no subscription in {subscribed:?}")))?;
        let user = serde_json::Value::from(user);
        let authorized = self.request("2", "mining.authorize", &format!("[{user},\"x\"]"))?;
        if !Message::parse(authorized.as_bytes()).is_ok_and(|message| message.is_accepted()) {
            return Err(io::Error::new(ErrorKind::PermissionDenied, authorized));
        }
        let difficulty = self.notice("mining.set_difficulty")?;
        let difficulty = parse_params(&difficulty)
            .first()
            .and_then(serde_json::Value::as_f64)
            .ok_or_else(|| bad(format!("no difficulty in {difficulty:?}")))?;
        let job = parse_params(&self.notice("mining.notify")?);
        let text = |index: usize| job.get(index).and_then(|value| value.as_str()).map(str::to_owned);
        let (Some(job_id), Some(ntime)) = (text(0), text(7)) else {
            return Err(bad("a job without id or ntime".to_owned()));
        };
        Ok(Greeting { extranonce1, extranonce2_size, difficulty, job_id, ntime })
    }

    /// Sends a share without waiting for its answer; see [`Miner::answer_to`].
    ///
    /// # Errors
    /// As [`Miner::send_line`].
    pub fn submit(&mut self, share: &Submit<'_>) -> io::Result<()> {
        let Submit { id, user, job_id, extranonce2, ntime, nonce, version_bits } = share;
        let mut params = vec![*user, *job_id, *extranonce2, *ntime, *nonce];
        params.extend(*version_bits);
        let params = serde_json::Value::from(params);
        self.send_line(&format!("{{\"id\":{id},\"method\":\"mining.submit\",\"params\":{params}}}"))
    }

    /// Sends a share for the job of a handshake, with an extranonce2 of zeros, without waiting for its answer.
    ///
    /// # Errors
    /// As [`Miner::send_line`].
    pub fn submit_for(&mut self, work: &Greeting, user: &str, id: &str, nonce: &str) -> io::Result<()> {
        self.submit(&Submit {
            id,
            user,
            job_id: &work.job_id,
            extranonce2: &"0".repeat(2 * work.extranonce2_size),
            ntime: &work.ntime,
            nonce,
            version_bits: None,
        })
    }

    /// Ends the miner's direction; the other one stays open.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes with an RST, as when the miner loses power.
    pub fn reset(self) {
        // A socket that the other side has reset cannot take the option, and does not need it.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn bad(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

fn is_notice(line: &str, method: &str) -> bool {
    Message::parse(line.as_bytes()).is_ok_and(|message| message.method_name() == Some(method))
}

fn parse_params(line: &str) -> Vec<serde_json::Value> {
    Message::parse(line.as_bytes())
        .ok()
        .and_then(|message| serde_json::from_str(message.params?.get()).ok())
        .unwrap_or_default()
}

/// extranonce1 and the size of extranonce2 of a subscribe answer.
pub(crate) fn read_subscription(line: &str) -> Option<(String, usize)> {
    let message = Message::parse(line.as_bytes()).ok()?;
    let result: Vec<&serde_json::value::RawValue> = serde_json::from_str(message.result?.get()).ok()?;
    let extranonce1 = text_of(result.get(1)?)?.into_owned();
    let size = result.get(2)?.get().parse().ok()?;
    Some((extranonce1, size))
}
