//! The real binary as a test sees it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use loka_rig::{Greeting, Load, Miner, SwarmConfig, SwarmReport};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program, with an environment in which nothing configures it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loka-stratum"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOKA_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

/// The program behind a shell that has lowered a limit for it.
pub(crate) fn limited(limit: &str) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("ulimit {limit} && exec \"$0\" \"$@\""),
        env!("CARGO_BIN_EXE_loka-stratum"),
    ]);
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Thousands of connections at both ends need more than the usual soft limit.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A miner at work that takes a new extranonce, so that it can be moved.
pub(crate) fn movable(address: SocketAddr) -> (Miner, Greeting) {
    let mut miner = Miner::connect(address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    let work = miner.handshake("farm.rig").unwrap();
    miner.request("3", "mining.extranonce.subscribe", "[]").unwrap();
    (miner, work)
}

/// A farm of so many miners that send so many shares.
pub(crate) fn farm(proxy: &Proxy, connections: usize, answers: u64) -> SwarmReport {
    let config = SwarmConfig {
        target: proxy.address,
        connections,
        load: Load::ClosedLoop { in_flight: 2 },
        duration: PATIENCE,
        settle: PATIENCE,
        answers_target: Some(answers),
        ..SwarmConfig::default()
    };
    loka_rig::run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap()
}

/// Waits until `done`, asking again and again.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A running proxy; killed when the test forgets it.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Proxy {
    /// Starts the proxy on free ports and waits until every shard has reported.
    pub(crate) fn start(pool: SocketAddr, arguments: &[&str]) -> Proxy {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], free_port())), pool, arguments)
    }

    /// The same on an address of the test's choice.
    pub(crate) fn start_on(address: SocketAddr, pool: SocketAddr, arguments: &[&str]) -> Proxy {
        Self::spawn(program(), address, pool, arguments)
    }

    /// The same with a limit that is lowered for it.
    pub(crate) fn start_limited(limit: &str, pool: SocketAddr, arguments: &[&str]) -> Proxy {
        Self::spawn(limited(limit), SocketAddr::from(([127, 0, 0, 1], free_port())), pool, arguments)
    }

    /// The same with a program of the test's choice that ends up as the proxy.
    pub(crate) fn start_as(program: Command, pool: SocketAddr, arguments: &[&str]) -> Proxy {
        Self::spawn(program, SocketAddr::from(([127, 0, 0, 1], free_port())), pool, arguments)
    }

    /// The root folder as the proxy sees it.
    pub(crate) fn root(&self) -> std::path::PathBuf {
        format!("/proc/{}/root", self.child.id()).into()
    }

    /// Its files may grow as large as they like from now on.
    pub(crate) fn lift_file_size(&self) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let none = Rlimit { current: None, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, none).unwrap();
    }

    fn spawn(mut program: Command, address: SocketAddr, pool: SocketAddr, arguments: &[&str]) -> Proxy {
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
        program
            .args(["--listen", &address.to_string(), "--pool", &pool.to_string()])
            .args(["--set", &format!("metrics.prometheus_port={}", metrics.port())])
            .args(arguments);
        if !arguments.contains(&"--log-level") {
            program.args(["--log-level", "warn"]);
        }
        Self::ready(&mut program, address, metrics)
    }

    /// Starts a program that is told by its arguments to serve miners and metrics at these addresses, and waits until
    /// every shard has reported.
    pub(crate) fn ready(program: &mut Command, address: SocketAddr, metrics: SocketAddr) -> Proxy {
        let mut proxy = Proxy { child: program.spawn().unwrap(), address, metrics };
        until("the proxy is ready", || {
            assert!(proxy.child.try_wait().unwrap().is_none(), "the proxy ended at its start");
            http(metrics, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        proxy
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end after `terminate`.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let mut status = None;
        until("the proxy ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Bytes of a kind of memory as the kernel counts it, such as `RssAnon` or `VmHWM`.
    pub(crate) fn memory(&self, kind: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = http(self.metrics, "/metrics").unwrap();
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        });
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The value of one labelled metric.
    pub(crate) fn labelled(&self, series: &str) -> f64 {
        let text = http(self.metrics, "/metrics").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series))
            .unwrap_or_else(|| panic!("{series}: not told"));
        line.trim().parse().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One GET; the whole answer, or nothing while nobody answers.
pub(crate) fn http(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Runs a command to its end, which must come by itself.
pub(crate) fn finish(command: &mut Command) -> Output {
    finish_within(PATIENCE, command)
}

/// The same for a command that measures, which takes its time by itself.
pub(crate) fn finish_within(patience: Duration, command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    output
}
