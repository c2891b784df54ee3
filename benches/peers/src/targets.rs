//! The proxies that are measured: which there are, and how each is started in front of a pool.

use crate::machine;
use crate::{Arguments, usage};
use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use serde::Serialize;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Connections each proxy is set up for.
const CONNECTIONS_MAX: usize = 20_000;
const TOKIO_LINE_PROXY: &str = "tokio-line-proxy";
/// How long a proxy may take until it listens.
const START_MAX: Duration = Duration::from_secs(10);

/// One kind of proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Nothing between miners and pool
    Direct,
    /// This project
    Loka,
    /// HAProxy in TCP mode: forwards bytes and parses nothing
    Haproxy,
    /// nginx with its stream module: the same
    Nginx,
    /// A plain line proxy on Tokio: a stand-in of ours for proxies that are not published
    Tokio,
}

/// A proxy that can be measured here.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) version: String,
    program: PathBuf,
    /// Further options, of a variant of this project.
    options: Vec<String>,
}

impl Target {
    /// Whether it chooses its CPUs itself, instead of having the one of all proxies.
    pub(crate) fn chooses_cpus(&self) -> bool {
        self.options.iter().any(|option| option == "--cpus")
    }
}

/// Those that were asked for; of those that were not, those that are installed.
pub(crate) fn find(arguments: &Arguments) -> anyhow::Result<Vec<Target>> {
    let wanted = |kind: Kind| arguments.target.is_empty() || arguments.target.contains(&kind);
    let mut targets = Vec::new();
    for kind in Kind::value_variants().iter().copied().filter(|kind| wanted(*kind)) {
        match program_of(kind, arguments)? {
            Some(program) => targets.push(Target {
                kind,
                name: format!("{kind:?}").to_lowercase(),
                version: version_of(kind, &program),
                program,
                options: Vec::new(),
            }),
            None if arguments.target.contains(&kind) => bail!("{kind:?} is not installed"),
            None => {}
        }
    }
    for (number, program) in arguments.also.iter().enumerate() {
        targets.push(Target {
            kind: Kind::Loka,
            name: format!("loka{}", number + 2),
            version: program.display().to_string(),
            program: whole(program)?,
            options: Vec::new(),
        });
    }
    for variant in &arguments.variant {
        targets.push(variant_of(&targets, variant)?);
    }
    Ok(targets)
}

fn variant_of(targets: &[Target], variant: &str) -> anyhow::Result<Target> {
    let (name, options) = variant.split_once('=').context("--variant takes NAME=OPTIONS")?;
    let loka = targets.iter().find(|target| target.kind == Kind::Loka);
    let loka = loka.context("--variant needs loka among the targets")?;
    Ok(Target {
        name: name.to_owned(),
        version: format!("{} {options}", loka.version),
        options: options.split_whitespace().map(str::to_owned).collect(),
        ..loka.clone()
    })
}

/// All of them, beginning with another one in each round, so that none always runs on a machine that is warm.
pub(crate) fn in_turn(targets: &[Target], round: u32) -> impl Iterator<Item = &Target> {
    let from = round as usize % targets.len().max(1);
    targets.iter().cycle().skip(from).take(targets.len())
}

fn program_of(kind: Kind, arguments: &Arguments) -> anyhow::Result<Option<PathBuf>> {
    let installed = |paths: &[&str]| paths.iter().map(PathBuf::from).find(|path| path.is_file());
    match kind {
        Kind::Direct => Ok(Some(PathBuf::new())),
        Kind::Haproxy => Ok(installed(&["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"])),
        Kind::Nginx => {
            Ok(installed(&["/usr/sbin/nginx"]).filter(|_| Path::new(NGINX_STREAM_MODULE).is_file()))
        }
        Kind::Tokio => {
            build(&["-p", "loka-peers", "--example", TOKIO_LINE_PROXY])?;
            built(TOKIO_LINE_PROXY).map(Some)
        }
        Kind::Loka => loka_program(arguments.loka.as_deref()).map(Some),
    }
}

/// The loka-stratum that is given, or that of this checkout, built now.
pub(crate) fn loka_program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(program) => whole(program),
        None => {
            build(&["-p", "loka-stratum", "--bin", "loka-stratum"])?;
            built("loka-stratum")
        }
    }
}

/// A path that still holds in another folder.
fn whole(program: &Path) -> anyhow::Result<PathBuf> {
    program.canonicalize().with_context(|| format!("no program at {}", program.display()))
}

/// A program of this workspace, built by [`build`]: this one is an example, which stands in a folder of its own.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let examples = me.parent().context("this program stands nowhere")?;
    let places = [examples.join(name), examples.with_file_name(name)];
    places.into_iter().find(|place| place.is_file()).with_context(|| format!("{name} was not built"))
}

fn build(arguments: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo).args(["build", "--release"]).args(arguments).status();
    if !done.context("running cargo")?.success() {
        bail!("cargo build --release {} failed", arguments.join(" "));
    }
    Ok(())
}

fn version_of(kind: Kind, program: &Path) -> String {
    let flag = match kind {
        Kind::Direct => return "no proxy".to_owned(),
        Kind::Tokio => return "a stand-in of this project".to_owned(),
        Kind::Loka => "--version",
        Kind::Haproxy | Kind::Nginx => "-v",
    };
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}

/// A running proxy. Ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    /// Where this project tells its metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// Its configuration, for as long as it runs.
    _folder: TempDir,
}

impl Running {
    /// Starts a proxy pinned to its CPU, in front of `pool`.
    pub(crate) fn start(target: &Target, arguments: &Arguments, pool: SocketAddr) -> anyhow::Result<Running> {
        let folder = tempfile::tempdir()?;
        if target.kind == Kind::Direct {
            return Ok(Running { child: None, address: pool, metrics: None, _folder: folder });
        }
        let (address, metrics) = unused_addresses()?;
        let mut command = Command::new(&target.program);
        match target.kind {
            Kind::Direct => {}
            Kind::Loka => loka(&mut command, arguments, target, [address, metrics, pool]),
            Kind::Haproxy => haproxy(&mut command, folder.path(), address, pool)?,
            Kind::Nginx => nginx(&mut command, folder.path(), address, pool)?,
            Kind::Tokio => {
                command.args([address.to_string(), pool.to_string()]);
            }
        }
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if target.chooses_cpus() {
            machine::unpin()?;
        } else {
            machine::pin(arguments.target_cpu)?;
        }
        let child = command.spawn();
        machine::pin(arguments.load_cpu)?;
        let child = child.with_context(|| format!("starting {}", target.name))?;
        let metrics = (target.kind == Kind::Loka).then_some(metrics);
        let mut running = Running { child: Some(child), address, metrics, _folder: folder };
        running.wait_until_it_listens(target.kind)?;
        Ok(running)
    }

    fn wait_until_it_listens(&mut self, kind: Kind) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let began = Instant::now();
        // nginx listens before the worker is there that accepts.
        let workers = if kind == Kind::Nginx { 2 } else { 1 };
        while TcpStream::connect(self.address).is_err() || usage::family(child.id()).len() < workers {
            if let Some(status) = child.try_wait()? {
                return Err(anyhow!("it ended with {status}"));
            }
            if began.elapsed() > START_MAX {
                return Err(anyhow!("it does not listen on {}", self.address));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its processes; none where nothing runs.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.child.as_ref().map(|child| usage::family(child.id())).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // nginx ends its worker only when it is asked to end, not when it is killed.
            let asked = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
            let _ = asked.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
            let began = Instant::now();
            while began.elapsed() < START_MAX {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Two free ports of loopback, both held until both are known, or they could be the same. Somebody else could take one
/// before the proxy does; then the proxy says so and ends.
pub(crate) fn unused_addresses() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (first, second) = (listen()?, listen()?);
    Ok((first.local_addr()?, second.local_addr()?))
}

fn loka(
    command: &mut Command,
    arguments: &Arguments,
    target: &Target,
    [address, metrics, pool]: [SocketAddr; 3],
) {
    command.args(["run", "--listen", &address.to_string(), "--pool", &pool.to_string()]);
    if !target.chooses_cpus() {
        command.args(["--shards", "1", "--cpus", &arguments.target_cpu.to_string()]);
    }
    command.args(["--log-level", "error"]);
    // As it is run: with its metrics on.
    command.arg("--set").arg(format!("metrics.prometheus_port={}", metrics.port()));
    // The load generator is one farm on a few addresses, and faster than any.
    command.args(["--set", "security.enable_rate_limiting=false", "--set", "server.drain_timeout=1s"]);
    // The others connect to the pool as fast as they can too.
    command.args(["--set", "failover.connects_per_second=0"]);
    command.args(&target.options);
}

/// Two descriptors a miner, within what this process may open and hands on. HAProxy refuses to start with more.
fn connections_max() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    CONNECTIONS_MAX.min(files.saturating_sub(200) / 2)
}

fn haproxy(
    command: &mut Command,
    folder: &Path,
    address: SocketAddr,
    pool: SocketAddr,
) -> anyhow::Result<()> {
    let most = connections_max();
    let text = format!(
        "global\n    nbthread 1\n    maxconn {most}\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\
         frontend miners\n    bind {address} backlog 4096\n    maxconn {most}\n    default_backend pool\n\
         backend pool\n    server pool {pool} maxconn {most}\n"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    command.arg("-db").arg("-f").arg(file);
    Ok(())
}

const NGINX_STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn nginx(command: &mut Command, folder: &Path, address: SocketAddr, pool: SocketAddr) -> anyhow::Result<()> {
    let here = folder.display();
    let text = format!(
        "load_module {NGINX_STREAM_MODULE};\ndaemon off;\nworker_processes 1;\npid {here}/nginx.pid;\n\
         error_log {here}/error.log crit;\nevents {{ worker_connections {}; use epoll; }}\n\
         stream {{\n  access_log off;\n  server {{\n    listen {address} backlog=4096;\n    proxy_pass {pool};\n\
         \x20   proxy_connect_timeout 5s;\n    proxy_timeout 1h;\n    tcp_nodelay on;\n  }}\n}}\n",
        2 * CONNECTIONS_MAX
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    command.arg("-p").arg(folder).arg("-c").arg(file);
    Ok(())
}
