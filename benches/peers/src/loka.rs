//! What this project tells of itself: how its shards shared the work.

use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const SHARES: &str = "loka_stratum_shard_shares_forwarded_total{";

/// Shares that each shard has sent on so far.
pub(crate) fn shares_by_shard(metrics: SocketAddr) -> anyhow::Result<Vec<f64>> {
    let mut stream = TcpStream::connect_timeout(&metrics, TIMEOUT).context("reaching /metrics")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {metrics}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("/metrics answers {}", text.lines().next().unwrap_or("nothing"));
    }
    Ok(shares_in(&text))
}

fn shares_in(text: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| line.starts_with(SHARES));
    lines.filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect()
}

/// What the busiest shard has over the mean; 1 is even. None with one shard, or when none had anything to do.
pub(crate) fn imbalance(shares: &[f64]) -> Option<f64> {
    let total: f64 = shares.iter().sum();
    let busiest = shares.iter().copied().fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss, reason = "there are not that many shards")]
    let mean = total / shares.len().max(1) as f64;
    (shares.len() > 1 && mean > 0.0).then_some(busiest / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_compared() {
        let text = "# TYPE x counter\nloka_stratum_shard_shares_forwarded_total{shard=\"0\"} 30\n\
                    loka_stratum_shard_shares_forwarded_total{shard=\"1\"} 10\nother 5\n";
        assert_eq!(shares_in(text), [30.0, 10.0]);
        assert_eq!(imbalance(&shares_in(text)), Some(1.5));
        assert_eq!((imbalance(&[5.0]), imbalance(&[0.0, 0.0])), (None, None));
    }
}
