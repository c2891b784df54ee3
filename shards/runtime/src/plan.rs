//! What a shard is told to do. Made by the control plane; a shard only reads it.

use crate::door::HttpDoor;
use crate::poller::Wait;
use crate::socks::{SocksLogin, SocksTarget};
use crate::visitors::Guard;
use ipnet::IpNet;
use loka_proto::{Policy, PoolState};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Bounds of the shell, with the relations between neighbours.
pub mod limits {
    /// Bytes one read may take from a socket, and room for all that is read: the budget of a pool's connection per turn.
    pub const READ_BYTES: usize = 64 * 1024;
    /// The same for the pool's connection of a link that comes or goes: `NEWCOMERS_PER_TURN` of them are served in a turn.
    pub const NEWCOMER_READ_BYTES: usize = 16 * 1024;
    /// The same for a miner: some thirty shares. What many say at once is another miner's delay.
    pub const MINER_READ_BYTES: usize = 4 * 1024;
    /// Sockets with more to read than one read takes, of which as many go on per turn.
    pub const READ_ON_PER_TURN: usize = 4;
    /// Bytes waiting for one side at which the other side is no longer read.
    pub const QUEUE_HIGH_BYTES: usize = 64 * 1024;
    /// Most bytes that can wait for one side: the mark above and the output of one more call.
    pub const QUEUE_BYTES_MAX: usize =
        QUEUE_HIGH_BYTES + loka_proto::limits::OUT_BYTES_MAX + super::LINE_BYTES_MAX;
    /// Microseconds a side may take nothing of what waits for it before its link is closed.
    pub const STALL_US: u64 = 30_000_000;
    /// Microseconds a closed miner gets to read its last bytes and close too.
    pub const CLOSE_LINGER_US: u64 = 1_000_000;
    /// Sockets that are handled before the other work of a turn gets its chance.
    pub const EVENTS_PER_TURN: usize = 512;
    /// Sockets of miners that come or go, handled per turn: each costs several system calls, and miners at work wait for
    /// them.
    pub const NEWCOMERS_PER_TURN: usize = 8;
    /// Timers that are served per turn: thousands of connections that came together run out of time together, and the end of
    /// each costs several system calls.
    pub const TIMERS_PER_TURN: usize = 16;
    /// Connections accepted per turn, and as many more as may wait for their first words to be read.
    pub const ACCEPTS_PER_TURN: usize = 8;
    /// Microseconds between two ticks: commands, timers, reports.
    pub const TICK_US: u64 = 100_000;
    /// Microseconds between two reports: each looks at every link once.
    pub const REPORT_US: u64 = 500_000;
    /// Connections of one shard; glommio counts some references in 16 bits, and one core has enough with these.
    pub const CONNECTIONS_PER_SHARD_MAX: usize = 30_000;
    /// The kernel's queue of connections that wait to be accepted.
    pub const BACKLOG: i32 = 4096;
    /// Commands that may wait for a shard.
    pub const COMMANDS_MAX: usize = 16;
    /// Connections of kicked addresses that end on one tick: ten thousand are gone within four seconds.
    pub const KICKS_PER_TICK: usize = 256;
    /// Questions about a worker's connections that a shard answers at one time, one after another.
    pub const ASKED_MAX: usize = 4;
    /// Links that are looked at in a tick for them: those of a full shard in eight ticks.
    pub const ASKED_LINKS_PER_TICK: usize = 4_096;
    /// Connections of one worker that a shard tells of; of the others it tells the number.
    pub const SESSIONS_TOLD_MAX: usize = 256;
    /// Microseconds that a pool which could not be reached, or did not answer, is left alone; then one connection tries.
    pub const AVOID_US: u64 = 1_000_000;
    /// Microseconds that a connection is kept open for nobody: pools close those that do not subscribe after about a minute.
    pub const WARM_MAX_US: u64 = 20_000_000;
    /// Reads of one of them in a turn; nothing is to be heard there.
    pub const WARM_READS_MAX: usize = 16;
    /// Such connections that are begun in one tick.
    pub const WARM_PER_TICK: usize = 16;
    /// Microseconds after which a pool that closes a connection which worked may have its reasons; one that does so sooner is
    /// not asked again at once.
    pub const SETTLED_US: u64 = 5_000_000;
    /// How often that time doubles for a miner that a pool fails again and again.
    pub const BACKOFF_DOUBLINGS_MAX: u8 = 4;
    /// Microseconds after which the connection that tries such a pool has come to nothing, and another may try.
    pub const TRIAL_US: u64 = 15_000_000;
    /// Microseconds an attempt may take while there is another pool to go to.
    pub const HURRIED_CONNECT_US: u64 = 3_000_000;
    /// Microseconds that a miner with shares in flight is left where it is although another pool is to be preferred.
    pub const SWITCH_PATIENCE_US: u64 = 5_000_000;
    /// Addresses that a shard knows something of.
    pub const VISITORS_MAX: usize = 65_536;
    /// Addresses that one report tells of; the others are told by the next.
    pub const VISITORS_PER_REPORT: usize = 2_048;
    /// Microseconds that a connection is given to say who it is, before it has to make room for another where there is none.
    pub const NEWCOMER_GRACE_US: u64 = 1_000_000;
    /// Connections that are closed in a tick while memory is short.
    pub const SHED_PER_TICK: usize = 64;
    /// Bytes that a miner at work must keep before it is closed because memory is short: to close others would free nothing.
    pub const SHED_WORKER_BYTES_MIN: usize = 8 * 1024;
    /// Workers that one report tells of; the others are told by the next. Each second twice as many: the shares of 32,000 miners
    /// come five seconds apart from each.
    pub const WORKERS_PER_REPORT: usize = 4_096;
    /// Shares that are hashed in a turn, when all else has been done; the others in the next. One takes two to three
    /// microseconds where the CPU has instructions for it, and three to four times as long where not.
    pub const HASHES_PER_TURN: usize = 64;
    /// Shares that are hashed between two ticks: 20,000 a second, five percent of a CPU, or three times that without such
    /// instructions. As many miners as a shard can hold make 6,000; who sends more has figures for some of its shares.
    pub const HASHES_PER_TICK: u32 = 2_000;
    /// Connections that speak HTTP and may wait for the thread that does; each holds a descriptor.
    pub const GUESTS_MAX: usize = 256;
    /// Links on their way to another process that may wait to be sent there, of each shard.
    pub const PARCELS_MAX: usize = 512;
    /// Links that a shard hands over, or takes, on one tick: the others of the shard wait for some milliseconds.
    pub const PARCELS_PER_TICK: usize = 256;
    /// Microseconds that links are waited for which cannot go to another process yet.
    pub const HANDOVER_PATIENCE_US: u64 = 5_000_000;
    /// Ticks of the timer wheel; later deadlines are looked at again when they come near.
    pub const WHEEL_TICKS: u64 = 1024;

    const _: () = {
        assert!(QUEUE_HIGH_BYTES <= loka_proto::limits::OUT_BYTES_MAX);
        assert!(READ_BYTES >= loka_proto::limits::POOL_LINE_BYTES_MAX);
        assert!(MINER_READ_BYTES <= NEWCOMER_READ_BYTES && NEWCOMER_READ_BYTES <= READ_BYTES);
        assert!(CLOSE_LINGER_US < STALL_US && TICK_US < CLOSE_LINGER_US);
        assert!(CONNECTIONS_PER_SHARD_MAX <= i16::MAX as usize);
        assert!(WHEEL_TICKS.is_power_of_two());
        assert!(AVOID_US > TICK_US && HURRIED_CONNECT_US > AVOID_US);
    };
}

const LINE_BYTES_MAX: usize = loka_proto::limits::POOL_LINE_BYTES_MAX;

/// Which shard, and where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSpec {
    /// Its number, from zero.
    pub index: usize,
    /// The CPU it is pinned to.
    pub cpu: usize,
}

/// How a pool is reached, and when it is chosen.
#[derive(Debug, Clone)]
pub struct PoolPlan {
    /// Its addresses, or those of the proxy on the way to it, in the order they are tried.
    pub addresses: Arc<[SocketAddr]>,
    /// How far it can be trusted.
    pub state: PoolState,
    /// Lower is preferred.
    pub priority: u32,
    /// Pools of one priority share the miners in this proportion.
    pub weight: NonZeroU32,
    /// How the pool shows who it is, where it must.
    pub tls: Option<PoolTls>,
    /// What a SOCKS5 proxy is asked for, where one stands at the addresses.
    pub socks: Option<SocksRoute>,
}

/// TLS to a pool.
#[derive(Debug, Clone)]
pub struct PoolTls {
    /// Whom to trust. Each shard keeps sessions to resume of its own.
    pub config: Arc<ClientConfig>,
    /// The name that the pool's certificate must have; see [`PoolNow::server_name`].
    pub server_name: ServerName<'static>,
}

/// The way to a pool through a SOCKS5 proxy.
#[derive(Debug, Clone)]
pub struct SocksRoute {
    /// Where the proxy is to connect to.
    pub target: SocksTarget,
    /// Who asks, where the proxy wants to know.
    pub login: Option<SocksLogin>,
}

/// What miners speak on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Stratum as it is.
    Plain,
    /// Stratum in TLS.
    Tls,
    /// The first bytes decide.
    Either,
}

impl PoolPlan {
    /// A pool at this address, with nothing special about it.
    #[must_use]
    pub fn at(address: SocketAddr) -> PoolPlan {
        PoolPlan {
            addresses: [address].into(),
            state: PoolState::Healthy,
            priority: 1,
            weight: NonZeroU32::MIN,
            tls: None,
            socks: None,
        }
    }
}

/// HTTP where miners connect.
#[derive(Debug, Clone)]
pub struct HttpPlan {
    /// Who may ask; for others it is a port of miners and nothing else.
    pub from: Vec<IpNet>,
    /// Where their connections are handed in.
    pub door: HttpDoor,
}

/// What the control plane says of a pool while shards run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolNow {
    /// See [`PoolPlan::addresses`].
    pub addresses: Arc<[SocketAddr]>,
    /// See [`PoolPlan::state`].
    pub state: PoolState,
    /// Changes when connections to the pool are to be made anew, because it sent its miners elsewhere.
    pub place: u32,
    /// The name that its certificate must have there, where it is not the one planned.
    pub server_name: Option<ServerName<'static>>,
}

/// What a shard does.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    /// The pools: element `n` is how pool `n` of the policy is reached.
    pub pools: Vec<PoolPlan>,
    /// New connections this shard makes to one pool in a second; `None`: as many as miners need.
    pub connects_per_second: Option<NonZeroU32>,
    /// What holds for every session.
    pub policy: Policy,
    /// Microseconds that a miner stays where it is before it goes back to a pool that is preferred.
    pub stable_us: u64,
    /// Connections that are opened ahead of need to the pool that is chosen first.
    pub warm_links: usize,
    /// What the addresses of miners are held to.
    pub guard: Guard,
    /// What miners speak on each listener; plain Stratum on those that are not named.
    pub speaks: Vec<Speaks>,
    /// The proxy's own certificate for miners that speak TLS; without one they are not understood.
    pub miner_tls: Option<Arc<ServerConfig>>,
    /// Connections from these networks must begin with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// Who may speak HTTP on plain listeners; `None`: nobody.
    pub http: Option<HttpPlan>,
    /// Microseconds an attempt to reach the pool may take.
    pub connect_us: u64,
    /// Miners this shard may hold, at most [`limits::CONNECTIONS_PER_SHARD_MAX`].
    pub connections_max: usize,
    /// Spare buffers that the shard keeps for queues.
    pub spare_buffers: usize,
    /// Whether a job that came before, to any miner of the shard, is passed on without being checked again.
    pub interns_jobs: bool,
    /// Whether answered shares are hashed, to know the best of them and those that are blocks.
    pub hashes_shares: bool,
    /// Whether the shard waits for its sockets itself between two ticks, instead of in its executor every time.
    pub linger: bool,
}

impl ShardPlan {
    pub(crate) fn wait(&self) -> Wait {
        if self.linger { Wait::ForEvent } else { Wait::No }
    }
}
