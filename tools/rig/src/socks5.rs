//! A SOCKS5 server for tests (RFC 1928, RFC 1929): connects where it is asked to, or refuses or stalls as it is told, and
//! remembers what it was asked.
//!
//! It refuses to resolve names: it knows those of its table. It does no BIND and no UDP.

mod dialogue;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest wait for the next bytes of a connection that is being set up, and for a connect to its destination.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a connection that is set up or stalled; then it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections served at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 256;
/// Requests that are remembered.
const REQUESTS_KEPT_MAX: usize = 4096;
const COPY_BYTES: usize = 16 * 1024;

/// How a [`Socks5Stub`] behaves. `Default` serves everybody on an unused port of 127.0.0.1 and knows no names.
#[derive(Debug, Clone)]
pub struct Socks5Config {
    /// Where to listen; port 0 takes an unused port.
    pub listen: SocketAddr,
    /// User and password it asks for. `None` asks for none, even if they are offered.
    pub login: Option<(String, String)>,
    /// The names it knows, without regard to case. Others are answered with code 4, host unreachable.
    pub names: BTreeMap<String, IpAddr>,
    pub manners: Socks5Manners,
}

impl Default for Socks5Config {
    fn default() -> Self {
        Socks5Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            login: None,
            names: BTreeMap::new(),
            manners: Socks5Manners::Serve,
        }
    }
}

/// What becomes of a connection to the stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socks5Manners {
    Serve,
    /// Takes the request and answers it with this code, 1..=255 (1 general, 2 not allowed, 3 network unreachable, 4 host
    /// unreachable, 5 refused, 6 expired, 7 no such command, 8 no such address type).
    Refuse(u8),
    /// Answers the greeting with "no acceptable method".
    NoMethod,
    /// Reads the greeting and says nothing.
    StallAfterGreeting,
    /// Reads the request and says nothing.
    StallAfterRequest,
}

/// Where a client wanted to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socks5Destination {
    Address(SocketAddr),
    /// A name that the client left for the stub to look up.
    Name(String, u16),
}

/// One request, answered or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socks5Request {
    pub destination: Socks5Destination,
    /// The user that logged in, if a login was asked for.
    pub user: Option<String>,
}

/// What a stub has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Socks5Report {
    pub connections: u64,
    /// Open now.
    pub active: u64,
    /// Connected to their destination.
    pub connected: u64,
    /// Wrong user or password, or none offered though one is asked for.
    pub logins_refused: u64,
    /// What came was no SOCKS5, or ended too early or took too long.
    pub malformed: u64,
    /// The first 4,096 requests, in order.
    pub requests: Vec<Socks5Request>,
}

/// The sockets of one connection, to end it from outside.
struct Ends {
    client: TcpStream,
    destination: Option<TcpStream>,
}

struct State {
    manners: Socks5Manners,
    report: Socks5Report,
    open: BTreeMap<u64, Ends>,
    is_stopping: bool,
}

/// What the threads of a stub share.
struct Shared {
    login: Option<(String, String)>,
    names: BTreeMap<String, IpAddr>,
    state: Mutex<State>,
}

impl Shared {
    /// A thread that panicked has left nothing half done: all changes are single assignments.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running stub. Dropping it stops it and closes its connections.
pub struct Socks5Stub {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Socks5Stub {
    /// Listens and starts the stub's thread.
    ///
    /// # Errors
    /// What binding or spawning said.
    pub fn start(config: Socks5Config) -> io::Result<Socks5Stub> {
        let listener = TcpListener::bind(config.listen)?;
        let addr = listener.local_addr()?;
        let names = config.names.into_iter().map(|(name, addr)| (name.to_ascii_lowercase(), addr)).collect();
        let state = State {
            manners: config.manners,
            report: Socks5Report::default(),
            open: BTreeMap::new(),
            is_stopping: false,
        };
        let shared = Arc::new(Shared { login: config.login, names, state: Mutex::new(state) });
        let own = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("rig-socks5".into()).spawn(move || serve(&listener, &own))?;
        Ok(Socks5Stub { addr, shared, thread: Some(thread) })
    }

    /// The address it listens on, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes its manners, for steps that have not been reached yet of connections that are open too.
    pub fn set(&self, manners: Socks5Manners) {
        self.shared.state().manners = manners;
    }

    /// What it has seen so far.
    pub fn report(&self) -> Socks5Report {
        let state = self.shared.state();
        Socks5Report { active: state.open.len() as u64, ..state.report.clone() }
    }

    /// Closes listener and connections, and returns what it has seen.
    pub fn stop(mut self) -> Socks5Report {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.state().is_stopping = true;
        // Wakes the thread from its accept. If nobody accepts any more, it has ended already.
        let _ = TcpStream::connect_timeout(&self.addr, HANDSHAKE_TIMEOUT);
        let _ = thread.join();
    }
}

impl Drop for Socks5Stub {
    fn drop(&mut self) {
        self.end();
    }
}

/// Accepts until it is told to stop, then ends all connections.
fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let mut number = 0;
    while let Ok((client, _)) = listener.accept() {
        if shared.state().is_stopping {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        number += 1;
        shared.state().report.connections += 1;
        if threads.len() >= CONNECTIONS_MAX || !open(shared, number, &client) {
            continue;
        }
        let own = Arc::clone(shared);
        let spawned = thread::Builder::new().name("rig-socks5-c".into()).spawn(move || {
            converse(&own, number, client);
            own.state().open.remove(&number);
        });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(_) => drop(shared.state().open.remove(&number)),
        }
    }
    for ends in shared.state().open.values() {
        for stream in [Some(&ends.client), ends.destination.as_ref()].into_iter().flatten() {
            // Fails on one that has ended by itself, which is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Notes a new connection. False when it is gone already.
fn open(shared: &Shared, number: u64, client: &TcpStream) -> bool {
    let Ok(clone) = client.try_clone() else { return false };
    shared.state().open.insert(number, Ends { client: clone, destination: None });
    set_patience(client, HANDSHAKE_TIMEOUT)
}

/// False when the socket is gone.
fn set_patience(stream: &TcpStream, patience: Duration) -> bool {
    stream.set_nodelay(true).is_ok()
        && stream.set_read_timeout(Some(patience)).is_ok()
        && stream.set_write_timeout(Some(patience)).is_ok()
}

/// The whole life of one connection.
fn converse(shared: &Shared, number: u64, mut client: TcpStream) {
    match dialogue::negotiate(shared, &mut client) {
        Ok(dialogue::Outcome::Connected(destination)) => {
            if set_patience(&client, IDLE_TIMEOUT) && set_patience(&destination, IDLE_TIMEOUT) {
                relay(shared, number, &client, &destination);
            }
        }
        Ok(dialogue::Outcome::Stalled) => {
            if set_patience(&client, IDLE_TIMEOUT) {
                // Reads on, so that the end of the client's patience is seen.
                let _ = io::copy(&mut client, &mut io::sink());
            }
        }
        Ok(dialogue::Outcome::Refused) => {}
        Err(_) => shared.state().report.malformed += 1,
    }
}

/// Passes on bytes both ways until both directions have ended.
fn relay(shared: &Shared, number: u64, client: &TcpStream, destination: &TcpStream) {
    {
        let Ok(clone) = destination.try_clone() else { return };
        let mut state = shared.state();
        if state.is_stopping {
            return;
        }
        state.report.connected += 1;
        if let Some(ends) = state.open.get_mut(&number) {
            ends.destination = Some(clone);
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| copy(destination, client));
        copy(client, destination);
    });
}

/// One direction. An end is passed on as an end; anything else that stops it ends both.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = [0; COPY_BYTES];
    loop {
        let copied = from.read(&mut buffer).and_then(|count| to.write_all(&buffer[..count]).map(|()| count));
        match copied {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(_) => {}
            Err(_) => {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    }
}
