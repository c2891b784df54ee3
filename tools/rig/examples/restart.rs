//! A pool that is restarted under a farm: how fast the proxy connects again, and when all miners have work.
//!
//! `cargo run --release -p loka-rig --example restart -- PROXY [miners] [connects a second] [seconds away] [how]`
//!
//! `PROXY` is the program to measure, such as `target/release/loka-stratum`. How the pool is away: `refuse` (nobody listens) or
//! `close` (connections are taken and closed). Three processes share the descriptors, of which each may have some 20,000: the
//! proxy and the relay in front of the pool have two for each miner, miners and pool together have two as well.

use std::error::Error;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use loka_rig::{Fault, JobClock, Load, PoolConfig, PoolHandle, Relay, RelayConfig, SwarmConfig, run};
use serde_json::{Value, json};

type Failure = Box<dyn Error + Send + Sync>;

/// How often it is looked whether all are back.
const LOOK: Duration = Duration::from_millis(10);
/// Longer than any farm takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the farm works before the pool goes and after it has come back.
const CALM: Duration = Duration::from_secs(3);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize| arguments.get(index).map(String::as_str);
    let number = |index: usize, default: u64| text(index).map_or(Ok(default), str::parse);
    match text(0) {
        Some("relay") => serve_relay(text(1).ok_or("which target?")?.parse()?),
        Some(proxy) => {
            let plan = Plan {
                miners: usize::try_from(number(1, 9_000)?)?,
                connects_per_second: number(2, 1_000)?,
                away: Duration::from_secs(number(3, 5)?),
                fault: text(4).unwrap_or("refuse").to_owned(),
            };
            measure(proxy, &plan)
        }
        None => Err("usage: restart PROXY [miners] [connects a second] [seconds away] [refuse|close]".into()),
    }
}

struct Plan {
    miners: usize,
    connects_per_second: u64,
    away: Duration,
    fault: String,
}

/// A process of its own that does what its standard input says.
struct Part {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Part {
    fn start(command: &mut Command) -> Result<Part, Failure> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Part { process, input, output })
    }

    /// Says a line, if there is one, and reads the answer.
    fn ask(&mut self, line: Option<&str>) -> Result<Value, Failure> {
        if let (Some(line), Some(input)) = (line, &mut self.input) {
            writeln!(input, "{line}")?;
        }
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The relay's process: tells its address, then does what each line says and answers with its report.
fn serve_relay(target: SocketAddr) -> Result<(), Failure> {
    let relay = Relay::start(RelayConfig::to(target))?;
    writeln!(stdout(), "{}", json!({ "address": relay.addr() }))?;
    for line in stdin().lock().lines() {
        match line?.as_str() {
            "refuse" => relay.set(Fault::RefuseConnections),
            "close" => relay.set(Fault::NoTarget),
            "none" => relay.set(Fault::None),
            _ => {}
        }
        writeln!(stdout(), "{}", serde_json::to_string(&relay.report())?)?;
    }
    Ok(())
}

fn start_proxy(program: &str, pool: SocketAddr, plan: &Plan) -> Result<(Part, SocketAddr), Failure> {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let (address, metrics) = (free()?, free()?);
    let mut command = Command::new(std::fs::canonicalize(program)?);
    command
        .args(["--listen", &address.to_string(), "--pool", &pool.to_string(), "--shards", "2"])
        .args(["--set", &format!("metrics.prometheus_port={}", metrics.port())])
        .args(["--set", &format!("failover.connects_per_second={}", plan.connects_per_second)])
        .current_dir(std::env::temp_dir());
    let part = Part::start(&mut command)?;
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        if began.elapsed() > PATIENCE {
            return Err("the proxy does not listen".into());
        }
        std::thread::sleep(LOOK);
    }
    Ok((part, address))
}

fn measure(program: &str, plan: &Plan) -> Result<(), Failure> {
    // No job but the first: a job tells that a connection is new.
    let pool = PoolHandle::start(PoolConfig { notify_interval: Duration::ZERO, ..PoolConfig::default() })?;
    let itself = std::env::current_exe()?;
    let mut relay = Part::start(Command::new(itself).args(["relay", &pool.addr().to_string()]))?;
    let way: SocketAddr = serde_json::from_value(relay.ask(None)?["address"].take())?;
    let (_proxy, target) = start_proxy(program, way, plan)?;
    let (clock, stop) = (JobClock::default(), AtomicBool::new(false));
    let config = SwarmConfig {
        target,
        connections: plan.miners,
        // A share of each miner every 30 seconds.
        load: Load::OpenLoop { per_second: plan.miners as f64 / 30.0 },
        duration: PATIENCE,
        extranonce: true,
        handshake_timeout: PATIENCE,
        job_clock: Some(clock.clone()),
        ..SwarmConfig::default()
    };
    let (swarm, course) = std::thread::scope(|scope| {
        let swarm = scope.spawn(|| run(&config, &stop, &mut |_| {}));
        let course = drive(&pool, &mut relay, &clock, plan);
        stop.store(true, Ordering::Relaxed);
        (swarm.join(), course)
    });
    let swarm = swarm.map_err(|_| "the swarm panicked")??;
    let Course { came_s, back_s, first_rate_max } = course?;
    let told = json!({
        "miners": plan.miners, "connects_per_second": plan.connects_per_second, "away": plan.fault,
        "all_connected_s": came_s, "all_back_s": back_s,
        "job_after_return_ms": { "first": swarm.job_us.min / 1000, "half": swarm.job_us.p50 / 1000, "last": swarm.job_us.max / 1000 },
        "connects_per_second_max": { "first_connects": first_rate_max, "all": relay.ask(Some("report"))?["connects_per_second_max"] },
        "disconnected": swarm.disconnected, "shares": swarm.shares,
        "pool": { "unknown_job": pool.report().shares_unknown_job, "duplicate": pool.report().shares_duplicate },
    });
    writeln!(stdout(), "{}", serde_json::to_string_pretty(&told)?)?;
    Ok(())
}

struct Course {
    /// Seconds until all miners had their first job.
    came_s: f64,
    /// Seconds from the pool's return until all had the next.
    back_s: f64,
    /// The most connects in a second until then.
    first_rate_max: Value,
}

/// Lets all come, takes the pool away, and waits until all are back.
fn drive(pool: &PoolHandle, relay: &mut Part, clock: &JobClock, plan: &Plan) -> Result<Course, Failure> {
    let until_jobs = |jobs: usize| {
        let began = Instant::now();
        while pool.report().jobs_sent < jobs as u64 {
            if began.elapsed() > PATIENCE {
                return Err(Failure::from(format!("waited in vain for {jobs} jobs: {:?}", pool.report())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(began.elapsed().as_secs_f64())
    };
    let came_s = until_jobs(plan.miners)?;
    std::thread::sleep(CALM);
    let first_rate_max = relay.ask(Some("report"))?["connects_per_second_max"].take();
    relay.ask(Some(&plan.fault))?;
    pool.kill_listener();
    pool.kill_connections();
    std::thread::sleep(plan.away);
    let before = usize::try_from(pool.report().jobs_sent)?;
    pool.listen_again()?;
    clock.mark();
    relay.ask(Some("none"))?;
    let back_s = until_jobs(before + plan.miners)?;
    std::thread::sleep(CALM);
    Ok(Course { came_s, back_s, first_rate_max })
}
