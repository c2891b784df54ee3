//! The loads: what miners and pool do while a proxy is measured, and which figures that gives.

use clap::ValueEnum;
use loka_rig::{JobClock, PoolConfig, Quirks, SwarmConfig};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// Miners of the loads with one share in flight each.
const MINERS: usize = 1000;
/// Miners that a new block is sent to.
const BURST_MINERS: usize = 5000;
/// Miners that say nothing.
const IDLE_MINERS: usize = 9000;
/// Branches that make a job of about 2 KB.
const BRANCHES_OF_2_KB: usize = 20;
/// Connections of a storm, and how many of them are made at a time.
const STORM: u64 = 10_000;
const STORM_CONCURRENCY: usize = 200;
/// The same while established miners are at work.
const SIEGE: u64 = 20_000;
pub(crate) const ESTABLISHED: usize = 500;
const ESTABLISHED_PER_SECOND: f64 = 2000.0;

/// One way to load a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// One miner with one share in flight: what a proxy adds to a message that is alone
    Lone,
    /// 5,000 shares a second from 1,000 miners, whether or not earlier ones are answered
    Open5k,
    /// The same with 20,000
    Open20k,
    /// 1,000 miners with one share in flight each
    Closed,
    /// 200 miners with 16 shares in flight each
    Deep,
    /// New blocks, each a job of 2 KB to 5,000 miners at once
    Burst,
    /// 10,000 connections, each from connect to first job, 200 at a time
    Storm,
    /// 20,000 such connections while 500 established miners send 2,000 shares a second
    Siege,
    /// 9,000 miners that say nothing after their handshake
    Idle,
}

impl Load {
    pub(crate) const ALL: [Load; 9] = [
        Load::Lone,
        Load::Open5k,
        Load::Open20k,
        Load::Closed,
        Load::Deep,
        Load::Burst,
        Load::Storm,
        Load::Siege,
        Load::Idle,
    ];

    /// Miners that must be there when the measured phase begins; none in a storm.
    pub(crate) fn asked(self) -> usize {
        match self {
            Load::Lone => 1,
            Load::Open5k | Load::Open20k | Load::Closed => MINERS,
            Load::Deep => 200,
            Load::Burst => BURST_MINERS,
            Load::Idle => IDLE_MINERS,
            Load::Storm | Load::Siege => 0,
        }
    }

    /// Connections of a storm.
    pub(crate) fn connects(self) -> u64 {
        match self {
            Load::Storm => STORM,
            Load::Siege => SIEGE,
            Load::Lone
            | Load::Open5k
            | Load::Open20k
            | Load::Closed
            | Load::Deep
            | Load::Burst
            | Load::Idle => 0,
        }
    }

    pub(crate) fn pool(self, clock: &JobClock) -> PoolConfig {
        let (branches, job_clock) = match self {
            Load::Burst => (BRANCHES_OF_2_KB, Some(clock.clone())),
            Load::Lone
            | Load::Open5k
            | Load::Open20k
            | Load::Closed
            | Load::Deep
            | Load::Storm
            | Load::Siege
            | Load::Idle => (PoolConfig::default().merkle_branches, None),
        };
        // No job but the first: one that came by in one proxy's turn and not in another's would favour somebody.
        PoolConfig {
            notify_interval: Duration::ZERO,
            merkle_branches: branches,
            job_clock,
            ..PoolConfig::default()
        }
    }

    pub(crate) fn swarm(self, target: SocketAddr, seconds: u64, clock: &JobClock) -> SwarmConfig {
        let load = match self {
            Load::Open5k => loka_rig::Load::OpenLoop { per_second: 5000.0 },
            Load::Open20k => loka_rig::Load::OpenLoop { per_second: 20_000.0 },
            Load::Lone | Load::Closed => loka_rig::Load::ClosedLoop { in_flight: 1 },
            Load::Deep => loka_rig::Load::ClosedLoop { in_flight: 16 },
            Load::Burst | Load::Idle => loka_rig::Load::Idle,
            Load::Storm | Load::Siege => {
                loka_rig::Load::Storm { connects: self.connects(), concurrency: STORM_CONCURRENCY }
            }
        };
        let storms = matches!(self, Load::Storm | Load::Siege);
        // A storm ends with its last connection; the time only bounds one that hangs.
        let duration = Duration::from_secs(if storms { 60 } else { seconds });
        let ramp = Duration::from_millis(self.asked() as u64 / 4);
        let job_clock = (self == Load::Burst).then(|| clock.clone());
        let connections = self.asked().max(1);
        SwarmConfig { target, connections, ramp, load, duration, job_clock, ..SwarmConfig::default() }
    }
}

/// The miners that go on working while others storm the proxy, until they are stopped.
pub(crate) fn established(target: SocketAddr) -> SwarmConfig {
    SwarmConfig {
        target,
        connections: ESTABLISHED,
        load: loka_rig::Load::OpenLoop { per_second: ESTABLISHED_PER_SECOND },
        duration: Duration::from_secs(120),
        user_prefix: "established".to_owned(),
        // A miner that is dropped and comes back must not pass for one that was never dropped.
        quirks: Quirks { reconnect: false, ..Quirks::default() },
        ..SwarmConfig::default()
    }
}
