//! The honest miner beside an attack, and what the proxy counted of both.

use crate::support::{PATIENCE, Proxy};
use loka_attacks::{Conduct, CrewConfig};
use loka_rig::{Greeting, Miner, PoolConfig, PoolHandle};
use std::net::SocketAddr;

/// A pool that gives each connection one job.
pub(crate) fn pool() -> PoolHandle {
    PoolHandle::start(PoolConfig { notify_interval: std::time::Duration::ZERO, ..PoolConfig::default() })
        .unwrap()
}

/// One shard, on which all meet, no address is kept out for what it does, and the honest miner may be quick.
pub(crate) fn proxy(pool: &PoolHandle, settings: &[&str]) -> Proxy {
    Proxy::start(pool.addr(), &quick(settings))
}

/// The arguments of such a proxy.
pub(crate) fn quick<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = arguments(settings);
    arguments.extend(["--set", "security.max_requests_per_minute=1000000"]);
    arguments
}

/// The same with the rate limit as it is delivered.
pub(crate) fn arguments<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["--shards", "1", "--set", "security.enable_ddos_protection=false"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    arguments
}

pub(crate) fn crew(proxy: &Proxy, conduct: Conduct, connections: usize) -> CrewConfig {
    CrewConfig::new(proxy.address, conduct, connections)
}

/// How many connections ended for a reason.
pub(crate) fn ended(proxy: &Proxy, reason: &str) -> f64 {
    proxy.labelled(&format!(r#"loka_stratum_connections_ended_total{{reason="{reason}"}}"#))
}

/// How many requests were refused for a reason.
pub(crate) fn refused(proxy: &Proxy, reason: &str) -> f64 {
    proxy.labelled(&format!(r#"loka_stratum_requests_refused_total{{reason="{reason}"}}"#))
}

/// A miner at work, from an address that attackers do not have.
pub(crate) struct Honest {
    pub(crate) miner: Miner,
    work: Greeting,
    pub(crate) shares: u64,
}

impl Honest {
    pub(crate) fn start(proxy: &Proxy) -> Honest {
        let here = SocketAddr::from(([127, 0, 8, 1], 0));
        let mut miner = Miner::connect_from(here, proxy.address).unwrap();
        miner.set_read_timeout(PATIENCE).unwrap();
        let work = miner.handshake("farm.rig").unwrap();
        Honest { miner, work, shares: 0 }
    }

    /// Sends a share, which must be accepted.
    pub(crate) fn share(&mut self) {
        self.shares += 1;
        let id = format!("{}", 100 + self.shares);
        self.miner.submit_for(&self.work, "farm.rig", &id, &format!("{:08x}", self.shares)).unwrap();
        let answer = self.miner.answer_to(&id).unwrap();
        assert!(answer.contains(r#""result":true"#), "{answer}");
    }
}
