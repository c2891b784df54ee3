//! What a miner would do at a pool, up to its first job, to find out whether one could work there.
//!
//! It prints nothing, logs nothing and submits nothing, so that a command may call it and a running proxy too.

mod dialogue;
mod lines;
#[cfg(test)]
mod tests;

use super::connect::{self, Stream};
use super::findings::{Findings, Problem};
use super::target::Target;
use dialogue::Dialogue;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long each step of a handshake may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting, with the proxy's part in it.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// The answer to `mining.subscribe`.
    pub subscribe: Duration,
    /// From there to the answer to `mining.authorize` and the first job.
    pub job: Duration,
    /// How long a job is waited for that nobody may expect, since nobody was authorized.
    pub unasked: Duration,
    /// The answer to `mining.extranonce.subscribe`, which some pools never give.
    pub extranonce: Duration,
    /// All of it together.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            tls: Duration::from_secs(5),
            subscribe: Duration::from_secs(10),
            job: Duration::from_secs(15),
            unasked: Duration::from_secs(1),
            extranonce: Duration::from_secs(3),
            total: Duration::from_secs(20),
        }
    }
}

impl Timeouts {
    /// All steps together within `total`. Who allows more than usual allows it for the steps that pools are slow at.
    pub fn within(total: Duration) -> Self {
        let usual = Self::default();
        Self { subscribe: usual.subscribe.max(total / 2), job: usual.job.max(total), total, ..usual }
    }
}

/// Shakes hands with a pool. `addresses` are those of [`Target::dialled`]: the proxy's where there is one. It ends
/// within `limits.total`, and closes the connection.
pub async fn shake(target: &Target, addresses: &[SocketAddr], limits: Timeouts) -> Findings {
    let began = Instant::now();
    let end = began + limits.total;
    let until = |step: Duration| (Instant::now() + step).min(end);
    let connected = match &target.proxy {
        Some(proxy) => connect::through(proxy, target, addresses, until(limits.connect)).await,
        None => connect::race(addresses, until(limits.connect)).await,
    };
    let (stream, address) = match connected {
        Ok(connected) => connected,
        Err(problem) => return Findings::of(problem),
    };
    // A small line must not wait for the answer to the one before it.
    let _ = stream.set_nodelay(true);
    let mut findings =
        Findings { address: Some(address), connect: Some(began.elapsed()), ..Findings::default() };
    let stream: Box<dyn Stream> = match &target.tls {
        None => Box::new(stream),
        Some(tls) => match connect::secure(tls, stream, until(limits.tls)).await {
            Ok((stream, facts)) => {
                findings.tls = Some(facts);
                Box::new(stream)
            }
            Err(problem) => return Findings { problem: Some(problem), ..findings },
        },
    };
    let mut dialogue = Dialogue::new(stream, findings, end);
    let problem = talk(&mut dialogue, target, limits).await.err();
    Findings { problem, ..dialogue.into_findings() }
}

async fn talk(
    dialogue: &mut Dialogue<Box<dyn Stream>>,
    target: &Target,
    limits: Timeouts,
) -> Result<(), Problem> {
    dialogue.subscribe(limits.subscribe).await?;
    match &target.account {
        Some((user, password)) => dialogue.authorize(user, password.reveal(), limits.job).await?,
        None => dialogue.listen(limits.unasked).await?,
    }
    if target.extranonce {
        // Last: it is allowed to end the connection.
        dialogue.subscribe_extranonce(limits.extranonce).await?;
    }
    Ok(())
}
