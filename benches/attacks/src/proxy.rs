//! The proxy under attack: started on a CPU of its own, watched from outside, and asked for what it counted.

use crate::bench::{Arguments, Mode, pin};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
/// So that a trial sees silent connections end.
const HANDSHAKE_TIMEOUT: &str = "server.handshake_timeout=3s";

/// A running proxy. Ends with this value.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    metrics: SocketAddr,
}

impl Proxy {
    pub(crate) fn start(
        arguments: &Arguments,
        program: &Path,
        pool: SocketAddr,
        mode: Mode,
    ) -> anyhow::Result<Proxy> {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // Both are held until both are known, or they could be the same.
        let (first, second) = (listen()?, listen()?);
        let (address, metrics) = (first.local_addr()?, second.local_addr()?);
        drop((first, second));
        let mut command = Command::new(program);
        command
            .args(["--listen", &address.to_string(), "--pool", &pool.to_string(), "--shards", "1"])
            .args(["--cpus", &arguments.proxy_cpu.to_string(), "--log-level", "error"])
            .args(["--set", &format!("metrics.prometheus_port={}", metrics.port())])
            .args(["--set", HANDSHAKE_TIMEOUT])
            // Scanners speak HTTP, and come from the loopback as all attackers here do.
            .args(["--set", "metrics.miner_port_from="]);
        match mode {
            Mode::Guarded => {}
            Mode::Bare => {
                command.args(["--set", "security.enable_ddos_protection=false"]);
            }
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LOKA_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null());
        pin(arguments.proxy_cpu)?;
        let child = command.spawn();
        pin(arguments.load_cpu)?;
        let mut proxy = Proxy { child: child.context("starting the proxy")?, address, metrics };
        proxy.wait_until_ready()?;
        Ok(proxy)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("it is not ready");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Bytes of private memory. None when the process is gone.
    pub(crate) fn anonymous_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }

    /// Seconds of CPU that all its threads have used.
    pub(crate) fn cpu_s(&self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let of = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        threads.into_iter().flatten().flatten().filter_map(of).sum::<f64>() / 1e9
    }

    fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.metrics, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.metrics)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// What it counted, and how many bytes it takes to tell.
    pub(crate) fn counted(&self) -> anyhow::Result<Counted> {
        let text = self.get("/metrics")?;
        let of = |name: &str, label: &str| labelled(&text, name, label);
        Ok(Counted {
            ended: of("loka_stratum_connections_ended_total", "reason"),
            refused: of("loka_stratum_requests_refused_total", "reason"),
            violations: of("loka_stratum_security_violations_total", "kind"),
            metrics_bytes: text.len(),
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the proxy said of an attack.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Counted {
    pub(crate) ended: BTreeMap<String, f64>,
    pub(crate) refused: BTreeMap<String, f64>,
    pub(crate) violations: BTreeMap<String, f64>,
    pub(crate) metrics_bytes: usize,
}

/// The values of one metric by one label, but for zeros.
fn labelled(text: &str, name: &str, label: &str) -> BTreeMap<String, f64> {
    let start = format!("{name}{{{label}=\"");
    let sample = |line: &str| {
        let (value, count) = line.strip_prefix(&start)?.split_once("\"} ")?;
        let count = count.parse::<f64>().ok().filter(|count| *count > 0.0)?;
        Some((value.to_owned(), count))
    };
    text.lines().filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_zeros_left_out() {
        let text = "# TYPE x counter\nx{reason=\"a\"} 3\nx{reason=\"b\"} 0\nxy{reason=\"c\"} 5\n";
        assert_eq!(labelled(text, "x", "reason"), BTreeMap::from([("a".to_owned(), 3.0)]));
    }
}
