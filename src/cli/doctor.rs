//! `doctor`: asks every pool of the configuration for work, as a miner would, and looks at what the host gives. It
//! changes nothing, and needs no proxy to run or to be stopped.

mod host;
mod json;
mod table;

use super::{Failure, screen};
use crate::config::{self, Loaded, Overrides, Sources};
use crate::pools::{Findings, Problem, Resolver, Target, Timeouts, shake, targets};
use crate::records;
use clap::Args;
use host::{Check, Facts, Grade, Wants};
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a pool may take when nobody says otherwise.
const TIMEOUT: &str = "20s";
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long a pool may take to give a job, 100ms to 10m
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout)]
    timeout: Duration,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { json: false, timeout: Timeouts::default().total }
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).ok();
    let timeout = timeout.filter(|timeout| (TIMEOUT_MIN..=TIMEOUT_MAX).contains(timeout));
    timeout.ok_or_else(|| "expected a time from 100ms to 10m, such as 20s".to_owned())
}

/// What was found out about one pool.
struct Patient {
    name: String,
    endpoint: String,
    /// Where its name leads (or that of its proxy).
    addresses: Vec<SocketAddr>,
    /// How long it took to look the name up.
    resolve: Duration,
    has_account: bool,
    findings: Findings,
}

impl Patient {
    fn is_good(&self) -> bool {
        self.findings.is_good(self.has_account)
    }
}

/// What was found out about everything.
struct Report {
    pools: Vec<Patient>,
    host: Vec<Check>,
}

impl Report {
    fn host_is_good(&self) -> bool {
        self.host.iter().all(|check| check.grade != Grade::Bad)
    }

    /// The verdict: one pool that has work is enough to mine.
    fn verdict(&self) -> Result<(), &'static str> {
        match (self.pools.iter().any(Patient::is_good), self.host_is_good()) {
            (true, true) => Ok(()),
            (false, true) => Err("no pool gives work"),
            (true, false) => Err("this host cannot run the shards"),
            (false, false) => Err("no pool gives work, and this host cannot run the shards"),
        }
    }
}

pub(super) fn execute(overrides: Overrides, arguments: &Arguments) -> Result<(), Failure> {
    let Loaded { config, file: _, warnings, in_force: _ } = config::load(&Sources::from_process(overrides))?;
    for warning in &warnings {
        screen::complain(&format_args!("warning: {warning}"));
    }
    let mut targets = targets(&config)?;
    // Asked for in any case: whoever has it switched off wants to know whether the pool could.
    targets.iter_mut().for_each(|target| target.extranonce = true);
    if io::stderr().is_terminal() {
        let timeout = humantime::format_duration(arguments.timeout);
        screen::complain(&format_args!("asking {} pool(s) for work, for up to {timeout} ...", targets.len()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pools = runtime.block_on(examine_all(targets, &config.failover.dns_servers, arguments.timeout))?;
    let mut host = host::judge(&Facts::read(&config), &Wants::of(&config));
    if let Some(database) = &config.records.database {
        let examined = runtime.block_on(records::examine(&config, database));
        host.push(Check::of_database(database, examined.err().as_ref()));
    }
    let report = Report { pools, host };
    if arguments.json {
        screen::say(&json::object(&report))?;
    } else {
        screen::say(&table::text(&report))?;
    }
    report.verdict().map_err(|verdict| Failure::Run(anyhow::anyhow!(verdict)))
}

/// All pools at the same time; in the order of the configuration.
async fn examine_all(
    targets: Vec<Target>,
    servers: &[IpAddr],
    timeout: Duration,
) -> anyhow::Result<Vec<Patient>> {
    let resolver = Arc::new(Resolver::new(servers)?);
    let mut examined = JoinSet::new();
    for (index, target) in targets.into_iter().enumerate() {
        let resolver = Arc::clone(&resolver);
        examined.spawn(async move { (index, examine(&target, &resolver, timeout).await) });
    }
    let mut patients = Vec::new();
    while let Some(done) = examined.join_next().await {
        patients.push(done?);
    }
    patients.sort_by_key(|(index, _)| *index);
    Ok(patients.into_iter().map(|(_, patient)| patient).collect())
}

async fn examine(target: &Target, resolver: &Resolver, timeout: Duration) -> Patient {
    let began = Instant::now();
    let (host, port) = target.dialled();
    let resolved = resolver.resolve(host, port).await;
    let resolve = began.elapsed();
    let (addresses, findings) = match resolved {
        Ok(resolved) => {
            let findings = shake(target, &resolved.addresses, Timeouts::within(timeout)).await;
            (resolved.addresses, findings)
        }
        Err(error) => (Vec::new(), Findings::of(Problem::Dns { text: error.to_string(), fix: error.fix() })),
    };
    let (name, endpoint) = (target.name.clone(), target.endpoint());
    Patient { name, endpoint, addresses, resolve, has_account: target.account.is_some(), findings }
}
