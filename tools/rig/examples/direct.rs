//! Measures the swarm against the simulated pool without anything between them: the ceiling of what the rig can load.
//!
//! `cargo run --release -p loka-rig --example direct -- [connections] [in flight] [seconds] [shares a second]`
//!
//! A rate of shares makes it an open loop; neither rate nor shares in flight, idle miners.

use std::error::Error;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use loka_rig::{Load, PoolConfig, PoolHandle, SwarmConfig, run};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default: usize| numbers.next().unwrap_or(Ok(default));
    let (connections, in_flight, seconds, rate) = (next(200)?, next(16)?, next(5)?, next(0)?);
    let pool = PoolHandle::start(PoolConfig::default())?;
    let load = match (rate, in_flight) {
        (0, 0) => Load::Idle,
        (0, _) => Load::ClosedLoop { in_flight },
        (_, _) => Load::OpenLoop { per_second: rate as f64 },
    };
    let config = SwarmConfig {
        target: pool.addr(),
        connections,
        load,
        duration: Duration::from_secs(seconds as u64),
        ..SwarmConfig::default()
    };
    let swarm = run(&config, &AtomicBool::new(false), &mut |_| {})?;
    let both = serde_json::json!({ "swarm": swarm, "pool": pool.stop() });
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&both)?)?;
    Ok(())
}
