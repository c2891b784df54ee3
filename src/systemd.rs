//! What systemd is told of this service: that it is ready, what it does, that it lives, that it ends (`sd_notify(3)`).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing happens. Nobody waits longer than [`SEND_MAX`] for systemd, no shard
//! knows of it, and it is never told that a proxy lives whose shards do not report.

mod socket;
#[cfg(test)]
mod tests;

use crate::aggregate::{Snapshot, SnapshotReader};
use crate::supervisor::Leaving;
use loka_proto::PoolState;
use socket::NotifySocket;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The longest time that one message may wait for room in systemd's queue.
const SEND_MAX: Duration = Duration::from_secs(1);
/// How often the state is looked at where systemd does not ask more often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two looks, whatever systemd asks for.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// Within the time after which systemd takes the service for dead it hears of it so often.
const SIGNS_OF_LIFE: u32 = 4;
/// Pools that a status names.
const POOLS_SHOWN: usize = 4;

/// The service manager that started this process.
#[derive(Debug, Clone)]
pub struct Manager {
    socket: Arc<NotifySocket>,
    /// After so long without a sign of life it takes the service for dead; `None`: it does not ask.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment of this process names, if any.
    pub fn from_process() -> Option<Self> {
        Self::new(|name| std::env::var_os(name), std::process::id())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> Option<Self> {
        let name = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let socket = match NotifySocket::open(&name) {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                tracing::warn!(?name, %error, "NOTIFY_SOCKET is no socket that can be used: systemd is told nothing");
                return None;
            }
        };
        let number = |name| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        // The variables may have been meant for a parent of this process.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(own_pid));
        let watchdog = number("WATCHDOG_USEC").filter(|us| is_ours && *us > 0).map(Duration::from_micros);
        Some(Self { socket, watchdog })
    }

    /// Tells that every shard serves miners, and from now on, on a thread named `systemd`, what the service does and that
    /// it lives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn started(&self, snapshots: SnapshotReader) -> io::Result<()> {
        let mut told = status(&snapshots.latest());
        self.tell(&format!("READY=1\nSTATUS={told}"));
        let manager = self.clone();
        let every = self.watchdog.map_or(LOOK_EVERY, |limit| limit / SIGNS_OF_LIFE);
        let every = every.clamp(LOOK_MIN, LOOK_EVERY);
        let watch = move || loop {
            std::thread::sleep(every);
            manager.look(&snapshots.latest(), &mut told);
        };
        std::thread::Builder::new().name("systemd".to_owned()).spawn(watch).map(drop)
    }

    fn look(&self, now: &Snapshot, told: &mut String) {
        let mut message = String::new();
        if self.watchdog.is_some() && is_alive(now) {
            message.push_str("WATCHDOG=1\n");
        }
        let status = status(now);
        if status != *told {
            let _ = writeln!(message, "STATUS={status}");
            *told = status;
        }
        if !message.is_empty() {
            self.tell(message.trim_end());
        }
    }

    /// Tells that the service ends, within this time, or which process is the service from now on.
    pub fn leaving(&self, Leaving { within, successor }: Leaving) {
        if let Some(pid) = successor {
            return self.tell(&format!("MAINPID={pid}"));
        }
        let us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={us}\nSTATUS=draining"));
    }

    fn tell(&self, message: &str) {
        if let Err(error) = self.socket.send(message) {
            tracing::warn!(%error, message, "systemd cannot be told");
        }
    }
}

/// Whether the figures are fresh and every shard has reported lately. A shard that has drained reports no more.
fn is_alive(now: &Snapshot) -> bool {
    now.is_fresh() && (now.draining || !now.shards.iter().any(|shard| shard.is_stalled()))
}

/// One line for `systemctl status`.
fn status(now: &Snapshot) -> String {
    let miners = now.shell(|shell| shell.connections);
    let mut text = if now.draining { "draining: ".to_owned() } else { String::new() };
    let _ = write!(text, "{miners} connections of miners on {} shards; pools:", now.shards.len());
    for (index, pool) in now.pools_shown().take(POOLS_SHOWN).enumerate() {
        let state = match pool.view.state {
            PoolState::Healthy => "healthy",
            PoolState::Degraded => "degraded",
            PoolState::Failed => "failed",
            PoolState::Recovering => "recovering",
        };
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma} {} {state}", pool.view.name);
    }
    if let Some(more) = now.pools_shown().count().checked_sub(POOLS_SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, " and {more} more");
    }
    text
}
