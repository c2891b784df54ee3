//! One shard per core: starts them, watches them, and ends them with a deadline.
//!
//! It moves no byte of a miner. A shard that dies takes the process with it, so that whoever runs it starts it again:
//! half a farm without a proxy would be noticed later and cost more.

mod certificate;
mod errors;
mod plan;
mod reload;
mod shards;
mod signals;
mod upgrade;

pub use errors::{RunError, StartError};
pub use plan::{StandardPipeline, standard_pipeline};
pub use signals::CaughtSignals;
pub use upgrade::Leaving;

use crate::admin::{self, AdminError, AdminHandle, Controls};
use crate::aggregate::{
    Aggregator, AggregatorHandle, Blocks, Facts, Limits, MemoryFigures, Snapshot, SnapshotReader,
};
use crate::alerts::{AlertCounts, Alerts, AlertsError, AlertsHandle, LAST_WORDS_MAX};
use crate::config::{ApiConfig, Config, InForce, ServerTls, Standing};
use crate::guard::{self, GuardDesk};
use crate::handover::{Given, HandOverError, Inheritance};
use crate::logging::{DroppedLines, LogHandle, LogLevels};
use crate::pools::{Lookout, LookoutHandle, PoolViews, Roster};
use crate::records::{self, RecordsHandle, RecordsMeter};
use crate::refusals::ApiRefusals;
use crate::reload::{ReloadCounts, ReloadDesk};
use crate::sessions::SessionsReader;
use certificate::{Certificate, CertificateWatch};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use loka_proto::middleware::Stage;
use loka_runtime::cores::{self, CoresError};
use loka_runtime::preflight::{self, Preflight};
use loka_runtime::{Command, ControlEnd, HttpGuests, PoolNow, ShardError, ShardPlan, ShardSpec};
use reload::{Reloader, Renewal, Untold};
use shards::{mailboxes, start_shards};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use upgrade::Legacy;

/// Events that may wait to be looked at: signals, ended shards, news of pools and certificates.
const EVENTS_MAX: usize = 64;
/// How much longer than its deadline a drain may take before the process ends all the same.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// Two requests to stop within this time are one.
const SAME_WISH: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Event {
    ShardReady,
    Stop(&'static str),
    ShardEnded {
        shard: usize,
        result: Result<(), ShardError>,
    },
    /// Found after so many reloads.
    Pools(Arc<[PoolNow]>, u32),
    Reload(Box<Renewal>),
    /// Somebody wants another process to take over.
    Upgrade,
    /// It has, or it has not.
    HandedOver(Box<Result<Given, HandOverError>>),
    MinerTls(Arc<rustls::ServerConfig>),
}

/// Asks a running proxy to drain; asking twice ends it at once.
#[derive(Debug, Clone)]
pub struct Stopper(Sender<Event>);

impl Stopper {
    /// Says why.
    pub fn stop(&self, cause: &'static str) {
        // Full or gone: it has been asked often enough.
        let _ = self.0.try_send(Event::Stop(cause));
    }

    /// Asks it to let another process take over.
    pub fn upgrade(&self) {
        if self.0.try_send(Event::Upgrade).is_err() {
            tracing::warn!("too much happens for an upgrade now: ask again");
        }
    }
}

/// The shards' mailboxes. Shards that nobody can talk to any more end by themselves.
#[derive(Debug)]
struct Ends(Vec<Arc<ControlEnd>>);

impl Ends {
    /// Whether every shard took it.
    fn tell_all(&self, command: &Command) -> bool {
        let mut is_taken = true;
        for (shard, end) in self.0.iter().enumerate() {
            if end.command(command.clone()).is_err() {
                tracing::warn!(
                    shard,
                    command = command.name(),
                    "the shard takes no commands: too many are waiting"
                );
                is_taken = false;
            }
        }
        is_taken
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.tell_all(&Command::Drain { within_us: 0 });
    }
}

/// Whom to tell that the drain begins.
#[derive(Default)]
struct OnDrain(Option<Box<dyn FnOnce(Leaving) + Send>>);

impl std::fmt::Debug for OnDrain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OnDrain").field(&self.0.is_some()).finish()
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    admin: Option<AdminHandle>,
    aggregator: AggregatorHandle,
    records: Option<RecordsHandle>,
    desk: GuardDesk,
    /// What may be changed while the proxy runs, besides what shards do.
    knobs: Knobs,
    ends: Ends,
    events: (Sender<Event>, Receiver<Event>),
    drain_timeout: Duration,
    on_drain: OnDrain,
    alerts: Option<AlertsHandle>,
    lookout: LookoutHandle,
    certificate: Option<CertificateWatch>,
    /// How many reloads there have been.
    reloads: u32,
    /// The pools by number.
    roster: Roster,
    /// What a process is given that takes over.
    legacy: Legacy,
    host: Preflight,
}

#[derive(Debug)]
struct Knobs {
    in_force: watch::Sender<Arc<[InForce]>>,
    limits: watch::Sender<Limits>,
    api: watch::Sender<ApiConfig>,
    levels: LogLevels,
    reload: ReloadDesk,
    counts: ReloadCounts,
    alert_counts: AlertCounts,
}

impl Proxy {
    /// Starts everything that `config` asks for, with the standard middleware.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started by then ends by itself.
    pub fn start(config: &Config, log: LogHandle) -> Result<Proxy, StartError> {
        Self::start_with(config, log, standard_pipeline)
    }

    /// The same with what another process leaves to this one.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started by then ends by itself.
    pub fn start_after(
        config: &Config,
        log: LogHandle,
        inheritance: Inheritance,
    ) -> Result<Proxy, StartError> {
        Self::start_from(config, log, inheritance, standard_pipeline)
    }

    /// The same with middleware of one's own: `pipeline` is called once for each shard.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started by then ends by itself.
    pub fn start_with<P: Stage + Send + 'static>(
        config: &Config,
        log: LogHandle,
        pipeline: impl Fn(&Config) -> P,
    ) -> Result<Proxy, StartError> {
        Self::start_from(config, log, Inheritance::default(), pipeline)
    }

    fn start_from<P: Stage + Send + 'static>(
        config: &Config,
        log: LogHandle,
        mut inheritance: Inheritance,
        pipeline: impl Fn(&Config) -> P,
    ) -> Result<Proxy, StartError> {
        let specs = place(config)?;
        let host = preflight::check(specs.len())?;
        preflight::widen_descriptor_table(host);
        let miner_tls = config.server.tls.as_ref().map(certificate::read).transpose()?;
        let alert_counts = AlertCounts::default();
        let alerts = Alerts::prepare(config, &alert_counts)?;
        let lookout = Lookout::prepare(config)?;
        let pools = lookout.pools_now();
        let shown = miner_tls.as_ref().map(|certificate| Arc::clone(&certificate.config));
        let (http, guests) = plan::http(config).map_err(AdminError::from)?;
        let plan = plan::shard_plan(config, &lookout.targets(), &pools, shown, http, specs.len(), host);
        let (sockets, legacy) = upgrade::listeners(config, &specs, &mut inheritance)?;
        let listen = plan::addresses_of(&sockets);
        let (send, receive) = bounded(EVENTS_MAX);
        let (posts, ends) = mailboxes(specs.len());
        let ends = Ends(ends);
        let cpus = specs.iter().map(|spec| spec.cpu).collect();
        let (refusals, counts) = (ApiRefusals::default(), ReloadCounts::default());
        let mut facts = facts(config, cpus, lookout.views(), log.dropped, refusals.clone());
        (facts.reloads, facts.alerts) = (counts.clone(), alert_counts.clone());
        let (feed, records) = records::start(config, lookout.views(), &facts.records)?.unzip();
        let (limits, held_to) = watch::channel(plan::limits(config));
        let (desk, wishes) = guard::desk();
        let interval = config.metrics.collection_interval;
        let aggregator = Aggregator::start(ends.0.clone(), facts, held_to, wishes, feed, interval)?;
        let (in_force, api) = (watch::Sender::new(Arc::from([])), watch::Sender::new(config.api.clone()));
        let reload = ReloadDesk::default();
        let controls = Controls {
            desk: desk.clone(),
            workers: aggregator.workers(),
            sessions: SessionsReader::new(&ends.0),
            drain: drain_by(Stopper(send.clone())),
            config: in_force.subscribe(),
            api: api.subscribe(),
            refusals,
            levels: log.levels.clone(),
            reload: reload.clone(),
        };
        let admin = start_admin(config, &mut inheritance, guests, &aggregator, controls)?;
        let (changed, is_up) = (send.clone(), Arc::new(AtomicBool::new(false)));
        let are_up = Arc::clone(&is_up);
        // Not before the shards are there to be told. Full: the next look finds the same change.
        let tell = move |pools, reloads| {
            are_up.load(Ordering::Acquire) && changed.try_send(Event::Pools(pools, reloads)).is_ok()
        };
        let lookout = lookout.start(aggregator.snapshots(), tell)?;
        // Last, because from here on miners are served.
        let posts = specs.into_iter().zip(sockets).zip(posts);
        start_shards(posts, &plan, inheritance.clock, || pipeline(config), &send, &receive)?;
        is_up.store(true, Ordering::Release);
        let certificate = watch_certificate(config.server.tls.as_ref(), miner_tls.as_ref(), &send)?;
        let alerts = start_alerts(alerts, &aggregator)?;
        tell_started(config, &listen, admin.as_ref(), &plan, ends.0.len(), host.open_files);
        Ok(Proxy {
            addresses: listen,
            admin,
            aggregator,
            records,
            desk,
            knobs: Knobs { in_force, limits, api, levels: log.levels, reload, counts, alert_counts },
            ends,
            events: (send, receive),
            drain_timeout: config.server.drain_timeout,
            on_drain: OnDrain::default(),
            alerts,
            lookout,
            certificate,
            reloads: 0,
            roster: Roster::new(&config.pools),
            legacy,
            host,
        })
    }

    /// Where miners connect, with the ports that were given for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics are read.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(AdminHandle::addr)
    }

    /// A reader of the figures.
    pub fn snapshots(&self) -> SnapshotReader {
        self.aggregator.snapshots()
    }

    /// Where addresses are blocked, let in again and kicked.
    pub fn guard(&self) -> GuardDesk {
        self.desk.clone()
    }

    /// Tells the configuration in force to whoever asks the API for it.
    pub fn show(&self, in_force: Vec<InForce>) {
        self.knobs.in_force.send_replace(in_force.into());
    }

    /// Lets the configuration be read again, as `standing` says, which this proxy was started with; and tells the API what is
    /// in force.
    ///
    /// # Errors
    /// The thread that reads it cannot be started.
    pub fn reload_from(&self, standing: Standing) -> io::Result<()> {
        self.show(standing.in_force().to_vec());
        let Some(wishes) = self.knobs.reload.open() else { return Ok(()) };
        let reloader = Reloader {
            roster: self.roster.clone(),
            standing,
            number: self.reloads,
            shards: self.ends.0.len(),
            host: self.host,
            snapshots: self.snapshots(),
            counts: self.knobs.counts.clone(),
            alert_counts: self.knobs.alert_counts.clone(),
            events: self.events.0.clone(),
        };
        reloader.start(wishes)
    }

    /// A handle that asks this proxy to drain.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.events.0.clone())
    }

    /// Lets SIGTERM and SIGINT ask for the drain, those too that came since they were caught.
    ///
    /// # Errors
    /// The thread that waits for them cannot be started.
    pub fn stop_on(&self, signals: CaughtSignals) -> io::Result<()> {
        signals.watch(self.stopper(), self.knobs.reload.clone())
    }

    /// Calls `tell` when the drain begins; only the last one given is called.
    pub fn on_drain(&mut self, tell: impl FnOnce(Leaving) + Send + 'static) {
        self.on_drain = OnDrain(Some(Box::new(tell)));
    }

    /// Runs until somebody asks for an end and the drain is done. Gives the last figures.
    ///
    /// # Errors
    /// [`RunError`]; the process is expected to end then.
    pub fn run(mut self) -> Result<Arc<Snapshot>, RunError> {
        let mut untold = Untold::default();
        let cause = loop {
            match self.events.1.recv() {
                Ok(Event::Stop(cause)) => break cause,
                // What was found before a reload may be of pools that have other numbers now.
                Ok(Event::Pools(_, reloads)) if reloads != self.reloads => {}
                Ok(Event::Pools(pools, _)) => {
                    // What could not be told before comes first: it may say which pools there are. These come at least every
                    // ten seconds.
                    untold.tell(&self.ends);
                    self.ends.tell_all(&Command::Pools(pools));
                }
                Ok(Event::MinerTls(config)) => {
                    untold.certificate = Some(Command::MinerTls(config));
                    untold.tell(&self.ends);
                }
                Ok(Event::Reload(renewal)) => self.renew(*renewal, &mut untold),
                Ok(Event::Upgrade) => self.upgrade(),
                Ok(Event::HandedOver(result)) => {
                    if self.handed_over(*result) {
                        break "another process has taken over";
                    }
                }
                Ok(Event::ShardReady) => {}
                Ok(Event::ShardEnded { shard, result: Err(cause) }) => {
                    return Err(self.died(RunError::ShardDied { shard, cause }));
                }
                Ok(Event::ShardEnded { shard, result: Ok(()) }) => {
                    return Err(self.died(RunError::ShardEnded { shard }));
                }
                Err(_) => break "nobody left to ask",
            }
        };
        self.drain(cause)
    }

    /// Tells of it before the process ends.
    fn died(self, error: RunError) -> RunError {
        if let Some(alerts) = self.alerts {
            alerts.shard_died(&error.to_string());
        }
        error
    }

    fn drain(mut self, cause: &str) -> Result<Arc<Snapshot>, RunError> {
        if let Some(tell) = self.on_drain.0.take() {
            // With what alerts and records may need after the shards.
            let within = self.drain_timeout + DRAIN_GRACE + LAST_WORDS_MAX + records::LAST_MAX;
            tell(Leaving { within, successor: self.legacy.successor() });
        }
        let before = self.aggregator.snapshots().latest();
        tracing::info!(cause, timeout = ?self.drain_timeout, connections = before.shell(|shell| shell.connections), "draining");
        self.aggregator.set_draining();
        // Copies that stay open would let the kernel go on queueing miners for nobody.
        self.legacy.close();
        let within_us = u64::try_from(self.drain_timeout.as_micros()).unwrap_or(u64::MAX);
        self.ends.tell_all(&Command::Drain { within_us });
        let began = Instant::now();
        let deadline = began + self.drain_timeout + DRAIN_GRACE;
        let mut running = self.ends.0.len();
        while running > 0 {
            match self.events.1.recv_deadline(deadline) {
                Ok(Event::ShardEnded { result: Ok(()), .. }) => running -= 1,
                Ok(Event::ShardEnded { shard, result: Err(cause) }) => {
                    return Err(RunError::ShardDied { shard, cause });
                }
                // Whoever signals a process and then its group sends one wish twice.
                Ok(Event::Stop(_)) if began.elapsed() > SAME_WISH => return Err(RunError::Impatient),
                Ok(
                    Event::Stop(_)
                    | Event::Pools(..)
                    | Event::MinerTls(_)
                    | Event::Reload(_)
                    | Event::Upgrade
                    | Event::HandedOver(_)
                    | Event::ShardReady,
                ) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(RunError::DrainOverdue);
                }
            }
        }
        let last = self.aggregator.stop();
        if let Some(alerts) = self.alerts {
            alerts.stop();
        }
        if let Some(records) = self.records {
            records.stop();
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
        let shares = &last.stats.counts.shares;
        tracing::info!(
            forwarded = shares.forwarded,
            accepted = shares.accepted,
            rejected = shares.rejected.iter().sum::<u64>(),
            unanswered = shares.unanswered,
            "drained"
        );
        Ok(last)
    }
}

/// Which shards run on which CPUs.
///
/// # Errors
/// The CPUs asked for cannot be had.
pub(crate) fn place(config: &Config) -> Result<Vec<ShardSpec>, CoresError> {
    let shards = config.performance.worker_threads.map_or(0, std::num::NonZeroUsize::get);
    let wanted = config.server.cpus.as_ref().map_or(&[][..], |cpus| cpus.ids());
    cores::place(shards, wanted, &cores::allowed()?)
}

/// What is known of this process before it has begun.
fn facts(
    config: &Config,
    cpus: Vec<usize>,
    pools: PoolViews,
    dropped_lines: DroppedLines,
    refusals: ApiRefusals,
) -> Facts {
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        started: SystemTime::now(),
        cpus,
        pools,
        // The aggregator puts its own here.
        blocks: watch::channel(Blocks::default()).1,
        memory: watch::channel(MemoryFigures::default()).1,
        dropped_lines,
        records: RecordsMeter::default(),
        refusals,
        reloads: ReloadCounts::default(),
        alerts: AlertCounts::default(),
        memory_profiling: config.performance.enable_memory_profiling,
    }
}

fn tell_started(
    config: &Config,
    listen: &[SocketAddr],
    admin: Option<&AdminHandle>,
    plan: &ShardPlan,
    shards: usize,
    open_files: u64,
) {
    tracing::info!(
        ?listen,
        metrics = admin.and_then(AdminHandle::addr).map_or_else(|| "off".to_owned(), |addr| addr.to_string()),
        pools = ?config.pools.iter().map(|pool| format!("{} {}", pool.name, pool.url())).collect::<Vec<_>>(),
        shards,
        connections_max = plan.connections_max * shards,
        open_files,
        "started"
    );
}

/// Serves HTTP, where that is asked for, at a port of its own or where miners connect.
fn start_admin(
    config: &Config,
    inheritance: &mut Inheritance,
    guests: Option<HttpGuests>,
    aggregator: &AggregatorHandle,
    controls: Controls,
) -> Result<Option<AdminHandle>, AdminError> {
    let address = config.metrics.listen();
    let inherited = address.and_then(|address| inheritance.take_admin(address));
    let is_asked_for = address.is_some() || guests.is_some();
    let start = || admin::start(address, inherited, guests, aggregator.snapshots(), controls);
    is_asked_for.then(start).transpose()
}

/// Begins to tell what is wrong, where somebody wants to be told.
fn start_alerts(
    alerts: Option<Alerts>,
    aggregator: &AggregatorHandle,
) -> Result<Option<AlertsHandle>, AlertsError> {
    let start = |alerts: Alerts| alerts.start(aggregator.snapshots(), aggregator.workers());
    alerts.map(start).transpose()
}

fn drain_by(stopper: Stopper) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || stopper.stop("API"))
}

/// Looks after the certificate that miners are shown, where there is one.
fn watch_certificate(
    tls: Option<&ServerTls>,
    first: Option<&Certificate>,
    events: &Sender<Event>,
) -> io::Result<Option<CertificateWatch>> {
    let (Some(tls), Some(first)) = (tls, first) else { return Ok(None) };
    let events = events.clone();
    CertificateWatch::start(tls, first, move |config| events.try_send(Event::MinerTls(config)).is_ok())
        .map(Some)
}
