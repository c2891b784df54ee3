//! The simulated pool: any number of connections on one thread of its own, realistic messages, and bad manners on demand.
//!
//! It refuses to check proof of work, though it can count blocks. It does check that every share is well formed, for a job it gave out, by a user it
//! authorized, within the version bits it granted, and that no share comes twice.

mod handshake;
mod jobs;
mod peer;
mod report;
mod server;
mod shares;
mod world;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::JobClock;
use crate::control::Control;
pub use report::PoolReport;
use server::Server;

/// The largest extranonce2 the pool can remember for its check of uniqueness, in bytes.
const EXTRANONCE2_BYTES_MAX: usize = 16;
/// What clients of the field can read: more branches would need a block of more than 2^32 transactions.
const MERKLE_BRANCHES_MAX: usize = 32;

/// Longest prefix of job ids, in bytes.
const JOB_ID_PREFIX_BYTES_MAX: usize = 32;

/// How the pool behaves. `Default` is a healthy pool of ordinary size on an unused port of 127.0.0.1.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Where to listen; port 0 takes an unused port.
    pub listen: SocketAddr,
    /// Bytes of extranonce2 the miners may choose, 1..=16.
    pub extranonce2_size: usize,
    /// The version bits that are granted at most. 0 refuses version rolling.
    pub version_mask: u32,
    /// Sent by `mining.set_difficulty` before the first job.
    pub difficulty: f64,
    /// Time between jobs. Zero means that each connection gets one job and no further ones.
    pub notify_interval: Duration,
    /// Branches in a job, 0..=32.
    pub merkle_branches: usize,
    /// The target of a block in the compact form of a header, as it stands in every job.
    pub nbits: u32,
    /// Hash each share that is well formed, to count those that are blocks. Their difficulty is not checked.
    pub hash_shares: bool,
    /// How many of 1,000 good shares are rejected as low difficulty (code 23). Which ones follows from `seed`.
    pub reject_permille: u32,
    /// How long a share's answer is held back.
    pub answer_delay: Duration,
    /// Send `mining.set_version_mask` after the answer to `mining.configure`.
    pub announce_version_mask: bool,
    /// Makes jobs, extranonces and rejections reproducible.
    pub seed: u64,
    pub misbehaviour: Misbehaviour,
    /// Connections beyond this are closed at once and counted as refused.
    pub connections_max: usize,
    /// What all job ids begin with, before eight hex digits that count the jobs: up to 32 printable ASCII characters but
    /// quotes and backslashes. Empty for four hex digits that follow from `seed`. Two pools with the same prefix give out
    /// the same ids.
    pub job_id_prefix: String,
    /// Marked when [`PoolHandle::notify`] begins to send a job.
    pub job_clock: Option<JobClock>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            extranonce2_size: 8,
            version_mask: 0x1fff_e000,
            difficulty: 1024.0,
            notify_interval: Duration::from_secs(30),
            merkle_branches: 12,
            nbits: 0x1703_4219,
            hash_shares: false,
            reject_permille: 0,
            answer_delay: Duration::ZERO,
            announce_version_mask: false,
            seed: 1,
            misbehaviour: Misbehaviour::None,
            connections_max: 32_000,
            job_id_prefix: String::new(),
            job_clock: None,
        }
    }
}

/// One way to be a bad pool. Counts are per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    None,
    /// Closes each connection as soon as it is accepted.
    CloseOnAccept,
    /// Reads everything and never says a word.
    AcceptAndSilent,
    /// Never reads, so that the other side's send queue fills up.
    NeverReads,
    /// Answers so many shares, then closes in good order.
    CloseAfterShares(u64),
    /// Answers so many shares, then resets the connection.
    ResetAfterShares(u64),
    /// Answers so many shares, then ends its own direction and keeps reading.
    HalfCloseAfterShares(u64),
    /// Answers so many shares, then stays connected without another word.
    SilentAfterShares(u64),
    /// Sends a line that is no JSON right after the answer to authorize.
    GarbageLine,
    /// Sends 160 KiB without a newline right after the answer to authorize.
    EndlessLine,
    /// Answers every request with error 20, "Server full".
    ServerFull,
    NoConfigureAnswer,
    NoSubscribeAnswer,
    RejectAuthorize,
    RejectExtranonceSubscribe,
    CloseOnExtranonceSubscribe,
    SilentExtranonceSubscribe,
    /// Sends `mining.set_difficulty` before the answer to subscribe.
    DifficultyBeforeSubscribeAnswer,
    /// Sends difficulty and job before the answer to authorize, as ckpool does.
    JobBeforeAuthorizeAnswer,
    /// Everything is sent one byte per write.
    DribbleBytes,
    /// Every share is answered two times.
    AnswerTwice,
}

/// What the owner of a pool asks its thread to do. Each is acknowledged when done.
enum Command {
    Report(Sender<PoolReport>),
    KillConnections(Sender<u64>),
    Notify { clean: bool, done: Sender<u64> },
    Broadcast { line: Vec<u8>, done: Sender<u64> },
    Misbehave { misbehaviour: Misbehaviour, done: Sender<u64> },
    Difficulty { difficulty: f64, done: Sender<u64> },
    Extranonce { size: usize, done: Sender<u64> },
    Listen { wanted: bool, done: Sender<io::Result<()>> },
    Stop,
}

/// A running pool. Dropping it stops the pool and closes its connections.
pub struct PoolHandle {
    addr: SocketAddr,
    control: Control<Command, PoolReport>,
}

impl PoolHandle {
    /// Listens and starts the pool's thread.
    ///
    /// # Errors
    /// `InvalidInput` for a config out of its ranges; otherwise what binding, polling or spawning said.
    pub fn start(config: PoolConfig) -> io::Result<PoolHandle> {
        check(&config)?;
        let (commands, inbox) = channel();
        let (server, addr, waker) = Server::bind(config, inbox)?;
        let control = Control::start("rig-pool", commands, waker, move || server.run())?;
        Ok(PoolHandle { addr, control })
    }

    /// The address it listens on, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The counters as the pool's thread sees them now.
    pub fn report(&self) -> PoolReport {
        self.control.ask(Command::Report).unwrap_or_default()
    }

    /// Resets (RST) every live connection, as when the pool's host dies, and returns how many there were. It keeps
    /// listening.
    pub fn kill_connections(&self) -> u64 {
        self.control.ask(Command::KillConnections).unwrap_or_default()
    }

    /// Stops listening: new connects are refused, open connections go on. The port stays the pool's.
    pub fn kill_listener(&self) {
        let _ = self.control.ask(|done| Command::Listen { wanted: false, done });
    }

    /// Listens on the same port again after [`PoolHandle::kill_listener`].
    ///
    /// # Errors
    /// What listening said; `BrokenPipe` when the pool's thread is gone.
    pub fn listen_again(&self) -> io::Result<()> {
        self.control
            .ask(|done| Command::Listen { wanted: true, done })
            .unwrap_or(Err(ErrorKind::BrokenPipe.into()))
    }

    /// Gives every working connection a new job now; `clean` makes all older jobs unknown. Returns how many got it.
    pub fn notify(&self, clean: bool) -> u64 {
        self.control.ask(|done| Command::Notify { clean, done }).unwrap_or_default()
    }

    /// Sends one line (the newline is added) to every live connection and returns how many there were.
    pub fn broadcast(&self, line: &str) -> u64 {
        let line = format!("{line}\n").into_bytes();
        self.control.ask(|done| Command::Broadcast { line, done }).unwrap_or_default()
    }

    /// Changes the manners of the running pool, for connections that are open too.
    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        let _ = self.control.ask(|done| Command::Misbehave { misbehaviour, done });
    }

    /// Gives every working connection that has subscribed to extranonce changes a new extranonce1 and this size of
    /// extranonce2 (`mining.set_extranonce`), then everybody a new clean job. Returns how many got a new extranonce.
    ///
    /// # Errors
    /// `InvalidInput` for a size out of 1..=16.
    pub fn set_extranonce(&self, size: usize) -> io::Result<u64> {
        check_extranonce2(size)?;
        Ok(self.control.ask(|done| Command::Extranonce { size, done }).unwrap_or_default())
    }

    /// Sends a new difficulty to every working connection and returns how many got it.
    pub fn set_difficulty(&self, difficulty: f64) -> u64 {
        self.control.ask(|done| Command::Difficulty { difficulty, done }).unwrap_or_default()
    }

    /// Closes the listener and all connections, and returns the last counters.
    pub fn stop(mut self) -> PoolReport {
        self.control.end(Command::Stop).unwrap_or_default()
    }
}

impl Drop for PoolHandle {
    fn drop(&mut self) {
        let _ = self.control.end(Command::Stop);
    }
}

fn refuse(message: &str) -> io::Result<()> {
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

fn check_extranonce2(size: usize) -> io::Result<()> {
    if !(1..=EXTRANONCE2_BYTES_MAX).contains(&size) {
        return refuse("extranonce2_size must be 1..=16");
    }
    Ok(())
}

fn check(config: &PoolConfig) -> io::Result<()> {
    check_extranonce2(config.extranonce2_size)?;
    if config.merkle_branches > MERKLE_BRANCHES_MAX {
        return refuse("merkle_branches must be 0..=32");
    }
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if config.job_id_prefix.len() > JOB_ID_PREFIX_BYTES_MAX || !config.job_id_prefix.bytes().all(is_plain) {
        return refuse("job_id_prefix must be up to 32 printable ASCII characters without quotes");
    }
    if config.reject_permille > 1000 {
        return refuse("reject_permille must be 0..=1000");
    }
    if !(config.difficulty.is_finite() && config.difficulty > 0.0) {
        return refuse("difficulty must be above 0");
    }
    Ok(())
}
