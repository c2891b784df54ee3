//! The miner swarm: many simulated miners on the caller's thread, and exact counts of what became of their shares.
//!
//! It refuses to flatter: in an open loop the time of a share runs from when it was due, not from when it was sent, and a
//! share without an answer is lost whatever the reason.

mod dial;
mod engine;
mod greeting;
mod ids;
mod link;
mod phases;
mod report;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::JobClock;
use engine::Engine;
pub use ids::IdStyle;
pub use report::{Percentiles, ShareCounts, SwarmReport};

/// Longest user name prefix, in bytes.
const USER_PREFIX_BYTES_MAX: usize = 256;
/// Answers a closed loop may leave open per miner.
const IN_FLIGHT_MAX: usize = 1024;
/// Workers of a miner.
const WORKERS_MAX: usize = 100;

/// What the swarm does. `Default` is 50 idle miners on port 3333 of this host for ten seconds.
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    pub target: SocketAddr,
    /// Miners. In a storm, see [`Load::Storm`].
    pub connections: usize,
    /// Connects are spread evenly over this time; zero is as fast as possible.
    pub ramp: Duration,
    pub load: Load,
    /// The measured phase; it starts when every miner has its first job.
    pub duration: Duration,
    /// Miner number `i` authorizes as `{prefix}.{i:05}`.
    pub user_prefix: String,
    /// Workers that each miner authorizes, 1..=100: beside its own name `{prefix}.{i:05}-{k:02}`. Its shares are theirs in turn.
    pub workers: usize,
    pub password: String,
    /// Connect from many addresses of 127.0.0.0/8. Does nothing unless the target is an IPv4 loopback address.
    pub spread_sources: bool,
    pub quirks: Quirks,
    /// Send `mining.extranonce.subscribe` after subscribe, and follow `mining.set_extranonce` from the next job on. Without
    /// it a new extranonce is counted and not followed.
    pub extranonce: bool,
    pub pacing: Pacing,
    /// Makes nonces and mixed quirks reproducible.
    pub seed: u64,
    /// How long to wait for the last answers after the measured phase; it ends as soon as all are there.
    pub settle: Duration,
    /// How long miners stay connected after the last answer, sending nothing; `stop` ends it.
    pub stay: Duration,
    /// Ends the measured phase early, when so many shares have been sent in all. Each miner sends an equal part; the
    /// part of a miner that is gone stays unsent.
    pub answers_target: Option<u64>,
    /// From connect to first job; a miner that takes longer is given up (or dialled again, see [`Quirks::reconnect`]).
    pub handshake_timeout: Duration,
    /// The clock of a pool in this process: how long its jobs take to reach miners that are at work.
    pub job_clock: Option<JobClock>,
}

impl Default for SwarmConfig {
    fn default() -> Self {
        SwarmConfig {
            target: SocketAddr::from((Ipv4Addr::LOCALHOST, 3333)),
            connections: 50,
            ramp: Duration::ZERO,
            load: Load::Idle,
            duration: Duration::from_secs(10),
            user_prefix: "rig".to_owned(),
            workers: 1,
            password: "x".to_owned(),
            spread_sources: true,
            quirks: Quirks::default(),
            extranonce: false,
            pacing: Pacing::Sleep,
            seed: 1,
            settle: Duration::from_secs(5),
            stay: Duration::ZERO,
            answers_target: None,
            handshake_timeout: Duration::from_secs(15),
            job_clock: None,
        }
    }
}

/// How the miners load the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Connect, take jobs, send nothing.
    Idle,
    /// So many shares a second over the whole swarm, round robin, whether or not earlier ones are answered.
    OpenLoop { per_second: f64 },
    /// Every miner keeps so many shares unanswered, 1..=1024: the most the target can do.
    ClosedLoop { in_flight: usize },
    /// Connect, shake hands, wait for the first job, close, again; `connects` in all, `concurrency` at a time. Ends early
    /// after `duration`.
    Storm { connects: u64, concurrency: usize },
}

/// How the open loop waits for the next share that is due in less than a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// Naps of about 0.1 ms: adds up to that much to what is measured, and costs little CPU.
    Sleep,
    /// Polls without a pause: exact, and takes a whole core.
    Spin,
}

/// Habits of miners, from those seen in the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    pub ids: IdStyle,
    /// Send configure, subscribe and authorize back to back instead of one after the other's answer.
    pub pipelined: bool,
    /// Ask for version rolling, and submit six params when it is granted.
    pub version_bits: bool,
    /// Pick `ids`, `pipelined` and `version_bits` by the miner's number instead.
    pub mixed: bool,
    /// Dial again after a lost connection. Shares that were in flight on it are lost.
    pub reconnect: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Quirks { ids: IdStyle::Unique, pipelined: true, version_bits: true, mixed: false, reconnect: false }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Connecting and shaking hands.
    Ramp,
    Measure,
    /// Waiting for the last answers.
    Settle,
    /// All is answered, and miners are still connected.
    Stay,
}

/// A glance at a run, given to the caller about five times a second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub phase: Phase,
    /// Since the phase began.
    pub elapsed: Duration,
    /// Miners with a connection now, and those of them that have a job.
    pub connected: usize,
    pub ready: usize,
    pub shares: ShareCounts,
    pub in_flight: u64,
    pub handshakes: u64,
    pub disconnected: u64,
    /// Microseconds; 0 before the first answer.
    pub submit_p50_us: u64,
    pub submit_p99_us: u64,
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    #[error("{0}")]
    Config(&'static str),
    #[error("no miner got a job from {target}: {connect_failed} connects failed, {refused} were refused by the pool, {timed_out} got no job in time, {disconnected} were disconnected{}", .first_error.as_ref().map(|error| format!(" (first error: {error})")).unwrap_or_default())]
    NobodyReady {
        target: SocketAddr,
        connect_failed: u64,
        refused: u64,
        timed_out: u64,
        disconnected: u64,
        first_error: Option<String>,
    },
    #[error("the swarm cannot poll its sockets: {0}")]
    Poll(#[from] io::Error),
}

/// Runs the swarm on this thread until its load is done or `stop` becomes true, which still waits up to one second for
/// answers. `progress` is called about five times a second and must be quick.
///
/// # Errors
/// [`SwarmError::Config`] for a config out of its ranges, [`SwarmError::NobodyReady`] when not one miner got a job,
/// [`SwarmError::Poll`] when the system has no descriptors for the poll itself.
pub fn run(
    config: &SwarmConfig,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<SwarmReport, SwarmError> {
    check(config)?;
    Engine::new(config, stop)?.run(progress)
}

fn check(config: &SwarmConfig) -> Result<(), SwarmError> {
    if config.user_prefix.len() > USER_PREFIX_BYTES_MAX {
        return Err(SwarmError::Config("the user prefix is longer than 256 bytes"));
    }
    if !(1..=WORKERS_MAX).contains(&config.workers) {
        return Err(SwarmError::Config("the workers of a miner must be 1..=100"));
    }
    match config.load {
        Load::Idle => {}
        Load::OpenLoop { per_second } => {
            if !(per_second.is_finite() && per_second > 0.0) {
                return Err(SwarmError::Config("the rate of shares must be above 0"));
            }
        }
        Load::ClosedLoop { in_flight } => {
            if !(1..=IN_FLIGHT_MAX).contains(&in_flight) {
                return Err(SwarmError::Config("shares in flight must be 1..=1024"));
            }
        }
        Load::Storm { connects, concurrency } => {
            if connects == 0 || concurrency == 0 {
                return Err(SwarmError::Config(
                    "a storm needs at least one connect and a concurrency of one",
                ));
            }
        }
    }
    if config.connections == 0 {
        return Err(SwarmError::Config("a swarm needs at least one connection"));
    }
    Ok(())
}
