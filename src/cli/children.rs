//! Parts of `bench` and `tune` in processes of their own: the pool and the proxy, so that the CPU and memory of each can be told.
//!
//! A child tells its address in the first line of its standard output, answers each line of its standard input with
//! one line of figures, and ends when its standard input does: it never outlives its parent.

use super::{Failure, Options, screen};
use crate::aggregate::ProcessFigures;
use crate::config::{self, Sources};
use crate::logging;
use crate::supervisor::{Proxy, Stopper};
use anyhow::{Context, anyhow};
use clap::{Subcommand, ValueEnum};
use loka_rig::{PoolConfig, PoolHandle};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What a child tells when it is ready.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    address: SocketAddr,
}

/// What a child has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shape {
    /// Jobs now and then, as in a farm.
    Steady,
    /// No job but the first.
    Quiet,
}

#[derive(Debug, Subcommand)]
pub(super) enum Child {
    /// The simulated pool
    Pool { shape: Shape },
    /// The proxy, in front of the pool that `--pool` names
    Proxy,
}

pub(super) fn execute(options: &Options, child: &Child) -> Result<(), Failure> {
    match child {
        Child::Pool { shape } => pool(*shape),
        Child::Proxy => proxy(options),
    }
}

fn pool(shape: Shape) -> Result<(), Failure> {
    let notify_interval = match shape {
        Shape::Steady => Duration::from_secs(30),
        Shape::Quiet => Duration::ZERO,
    };
    let pool = PoolHandle::start(PoolConfig { notify_interval, ..PoolConfig::default() })?;
    answer(pool.addr())?;
    pool.stop();
    Ok(())
}

fn proxy(options: &Options) -> Result<(), Failure> {
    // The environment configures the proxy that a farm uses, not one that is measured; it may say what is logged.
    let env = std::env::vars_os().filter(|(name, _)| name == "RUST_LOG").collect();
    let sources = Sources { search: Vec::new(), ..Sources::new(options.overrides(), env) };
    let mut config = config::load(&sources)?.config;
    config.server.addresses = vec![Ipv4Addr::LOCALHOST.into()];
    // Any free port: several measurements may run on one machine.
    config.server.port = 0;
    config.metrics.prometheus_port = 0;
    // The load generator is one farm on a few addresses, and faster than any.
    config.security.enable_rate_limiting = false;
    config.security.enable_ddos_protection = false;
    config.failover.connects_per_second = None;
    config.logging.file = None;
    let log = logging::init(&config.logging)?;
    let proxy = Proxy::start(&config, log.handle())?;
    let address = *proxy.addresses().first().context("the proxy listens nowhere")?;
    let stopper = proxy.stopper();
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || serve_parent(address, &stopper))?;
    proxy.run()?;
    Ok(())
}

fn serve_parent(address: SocketAddr, stopper: &Stopper) {
    if let Err(error) = answer(address) {
        screen::complain(&error);
    }
    stopper.stop("the measurement is over");
}

/// Tells the address, then answers until the parent closes its end.
fn answer(address: SocketAddr) -> anyhow::Result<()> {
    screen::say(&serde_json::to_string(&Ready { address })?)?;
    for line in io::stdin().lock().lines() {
        line?;
        let figures = ProcessFigures::read();
        let usage = Usage { cpu_seconds: figures.cpu_seconds, resident_bytes: figures.resident_bytes };
        screen::say(&serde_json::to_string(&usage)?)?;
    }
    Ok(())
}

/// A running child, as its parent sees it. Ends with this value.
#[derive(Debug)]
pub(super) struct Running {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(super) address: SocketAddr,
}

impl Running {
    /// Starts a simulated pool.
    pub(super) fn pool(shape: Shape) -> anyhow::Result<Running> {
        let shape = shape.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        Self::start(&["pool".to_owned(), shape])
    }

    /// Starts this program again as a child, with these arguments behind `child`.
    pub(super) fn start(arguments: &[String]) -> anyhow::Result<Running> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut process = Command::new(program)
            .arg("child")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start this program again")?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("the child has no output")?);
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut running = Running { process, input, output, address: unknown };
        running.address = running
            .line::<Ready>()
            .with_context(|| {
                // Arguments may hold a password: only which child it is may be told.
                format!(
                    "starting the {} of the measurement",
                    arguments.first().map_or("child", String::as_str)
                )
            })?
            .address;
        Ok(running)
    }

    /// What the child has used so far.
    pub(super) fn usage(&mut self) -> anyhow::Result<Usage> {
        let input = self.input.as_mut().context("the child is ending")?;
        input.write_all(b"usage\n").context("the child ended")?;
        self.line()
    }

    fn line<T: for<'a> Deserialize<'a>>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(anyhow!("the child ended; what it said of it stands above"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        self.input = None;
        let _ = self.process.wait();
    }
}
