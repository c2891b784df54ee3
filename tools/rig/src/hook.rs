//! A receiver of webhooks that keeps what it gets, and can behave badly: answer errors, say nothing, hang up, send elsewhere.
//!
//! A thread for each connection, one request a connection. It refuses bodies beyond [`BODY_BYTES_MAX`], and verifies nothing:
//! that is the test's business.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest body.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a sender may take, and a receiver that says nothing holds on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the receiver does with a request that it has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookManners {
    /// Answers this status, with headers of its own, and a text.
    Answer { status: u16, headers: String, text: String },
    /// Says nothing.
    Hang,
    /// Closes the connection.
    HangUp,
    /// Answers what is no HTTP.
    Nonsense,
}

impl HookManners {
    /// A status and nothing else.
    #[must_use]
    pub fn status(status: u16) -> HookManners {
        HookManners::Answer { status, headers: String::new(), text: String::new() }
    }
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRequest {
    /// `POST /path HTTP/1.1`.
    pub line: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

#[derive(Debug)]
struct Shared {
    manners: Mutex<HookManners>,
    requests: Mutex<Vec<HookRequest>>,
    is_over: AtomicBool,
}

/// A receiver that listens; ends when it is dropped.
#[derive(Debug)]
pub struct HookReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl HookReceiver {
    /// Listens on a port of the system's choice, in TLS where a configuration is given, and answers 200.
    ///
    /// # Errors
    /// The address cannot be bound, or no thread started.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> io::Result<HookReceiver> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), tls)
    }

    /// The same on an address of the test's choice.
    ///
    /// # Errors
    /// As [`HookReceiver::start`].
    pub fn start_on(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<HookReceiver> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manners: Mutex::new(HookManners::status(200)),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        let accepting = move || {
            for stream in listener.incoming() {
                if ours.is_over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (tls, shared) = (tls.clone(), Arc::clone(&ours));
                std::thread::spawn(move || {
                    // A sender that goes away is no matter of the receiver's.
                    let _ = serve(stream, tls, &shared);
                });
            }
        };
        let thread = std::thread::Builder::new().name("hook".to_owned()).spawn(accepting)?;
        Ok(HookReceiver { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// From now on it behaves like this.
    pub fn set_manners(&self, manners: HookManners) {
        *self.shared.manners.lock().unwrap_or_else(PoisonError::into_inner) = manners;
    }

    /// All requests so far, the answered and the others.
    #[must_use]
    pub fn requests(&self) -> Vec<HookRequest> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for HookReceiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes it, so that it sees that.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    match tls {
        None => speak(stream, shared),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            speak(StreamOwned::new(connection, stream), shared)
        }
    }
}

fn speak(stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    if length > BODY_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = HookRequest { line: line.trim_end().to_owned(), headers, body };
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let manners = shared.manners.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut stream = reader.into_inner();
    match manners {
        HookManners::Answer { status, headers, text } => {
            let length = text.len();
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{text}")?;
        }
        // Until the sender has had enough.
        HookManners::Hang => drop(stream.read(&mut [0; 1])),
        HookManners::HangUp => {}
        HookManners::Nonsense => write!(stream, "220 mail.example ESMTP\r\n")?,
    }
    stream.flush()
}
