//! Watches all pools: what the shards counted, what handshakes of our own find, where their names lead. It decides how far
//! each can be trusted, and says so to the shards, the log, and whoever asks.
//!
//! One thread with a runtime of its own. It moves no byte of a miner, and no shard waits for it.

mod reload;
mod watched;

pub use reload::LookoutReload;
pub use watched::{PoolView, PoolViews};

use super::breaker::{Around, Transition};
use super::chain::Chain;
use super::judge::Figures;
use super::{Change, Findings, ResolveError, Resolver, Target, TargetError, Timeouts, Watch, shake, targets};
use crate::aggregate::{Snapshot, SnapshotReader};
use crate::backoff::chance;
use crate::config::{Config, FailoverConfig, Host};
use loka_proto::message::block_mark;
use loka_proto::{PoolState, Redirect};
use loka_runtime::PoolNow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};
use watched::{Elsewhere, Watched, setting, views_of, watched};

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a pool that asks its miners to go to the same place is not listened to, when it could not be followed.
const ASKED_AGAIN: Duration = Duration::from_secs(60);
/// How often shards are told what they know already: one that could not take a message gets it then, and miners that a
/// shard moved by itself find their way back.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// News that may wait: one handshake and one answer for each pool at a time.
const NEWS_MAX: usize = 64;

/// Why the pools cannot be watched.
#[derive(Debug, Error)]
pub enum LookoutError {
    /// A pool is not described well enough to be dialled.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No name of any pool leads anywhere.
    #[error("{0}\n  fix: {fix}", fix = .0.fix())]
    Resolve(#[from] ResolveError),
    /// The thread or its runtime cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

enum News {
    /// Found by those who began to watch after so many reloads.
    Names(u32, Vec<Change>),
    Probed(Named, Box<Findings>),
    Redirected(Named, Arc<Target>, Vec<SocketAddr>),
    Reload(Box<LookoutReload>),
}

/// A pool that is meant, and not another that has its number since.
#[derive(Debug, Clone, Copy)]
struct Named {
    number: usize,
    born: u32,
}

/// Watches the pools; see [`Lookout::start`].
pub struct Lookout {
    runtime: Runtime,
    state: State,
    names: Watch,
    views: PoolViews,
}

struct State {
    pools: Vec<Watched>,
    limits: FailoverConfig,
    timeouts: Timeouts,
    chain: Chain,
    resolver: Arc<Resolver>,
    publish: watch::Sender<Arc<[PoolView]>>,
    news: mpsc::Sender<News>,
    heard: Option<mpsc::Receiver<News>>,
    /// Redirects before this number have been dealt with.
    redirects_seen: u64,
    told: Vec<PoolNow>,
    told_at: Instant,
    /// How often the configuration was reloaded.
    reload: u32,
    /// Looks names up until the next reload.
    names: Option<JoinHandle<()>>,
}

/// Stands for the running thread, which ends when this is dropped.
pub struct LookoutHandle {
    _stop: watch::Sender<()>,
    news: mpsc::Sender<News>,
}

impl std::fmt::Debug for LookoutHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookoutHandle").finish_non_exhaustive()
    }
}

impl LookoutHandle {
    /// Has it watch something else. False when it has more to do than it can take.
    pub fn reload(&self, reload: LookoutReload) -> bool {
        self.news.try_send(News::Reload(Box::new(reload))).is_ok()
    }
}

impl Lookout {
    /// Reads what is to be trusted, and looks all names up once.
    ///
    /// # Errors
    /// [`LookoutError`]; a name that leads nowhere is one only when all do.
    pub fn prepare(config: &Config) -> Result<Lookout, LookoutError> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.max_blocking_threads(config.performance.blocking_threads.get()).enable_all();
        let runtime = builder.build()?;
        let targets = plain_targets(config)?;
        let resolver = Arc::new(Resolver::new(&config.failover.dns_servers)?);
        let now = Instant::now();
        let (mut names, mut addresses) = (Watch::default(), Vec::new());
        let mut failed = None;
        for found in runtime.block_on(look_up(&targets, &resolver)) {
            let first = found.map_err(|error| {
                tracing::warn!(%error, "a pool cannot be used until its name leads somewhere");
                failed = Some(error);
            });
            addresses.push(first.clone().map_or_else(|()| Vec::new(), |resolved| resolved.addresses));
            let (host, port) = targets[addresses.len() - 1].dialled();
            names.add(host.clone(), port, first.ok(), now);
        }
        if let Some(error) = failed.filter(|_| addresses.iter().all(Vec::is_empty)) {
            return Err(error.into());
        }
        let pools = targets.into_iter().zip(addresses).zip(&config.pools);
        let pools = pools.map(|((target, addresses), pool)| {
            let weight = pool.weight.get();
            watched(target, addresses, &config.failover, (pool.priority, weight), now)
        });
        let mut pools: Vec<Watched> = pools.collect();
        if pools.len() > 1 {
            pools.iter_mut().for_each(|pool| pool.breaker.look_at_once(now));
        }
        let (publish, views) = watch::channel(views_of(&pools));
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let timeouts = timeouts(config);
        let (limits, told, told_at) = (config.failover.clone(), Vec::new(), now);
        let (chain, heard, redirects_seen) = (Chain::default(), Some(heard), 0);
        let state = State {
            pools,
            limits,
            timeouts,
            chain,
            resolver,
            publish,
            news,
            heard,
            redirects_seen,
            told,
            told_at,
            reload: 0,
            names: None,
        };
        Ok(Lookout { runtime, state, names, views })
    }

    /// What it was told to watch, as one who dials has to know it.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.state.pools.iter().map(|pool| Arc::clone(&pool.target)).collect()
    }

    /// What shards are to know of the pools now.
    pub fn pools_now(&self) -> Vec<PoolNow> {
        self.state.pools_now()
    }

    /// Views of the pools, from now on.
    pub fn views(&self) -> PoolViews {
        self.views.clone()
    }

    /// Begins to watch, on a thread named `pools`. `tell` is called with what shards are to know when it has changed, and the
    /// number of the reload after which it was found; it says whether that was taken.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        self,
        snapshots: SnapshotReader,
        tell: impl Fn(Arc<[PoolNow]>, u32) -> bool + Send + 'static,
    ) -> io::Result<LookoutHandle> {
        let (stop, stopped) = watch::channel(());
        let Lookout { runtime, mut state, names, views: _ } = self;
        state.told = state.pools_now();
        let news = state.news.clone();
        let run =
            move || LocalSet::new().block_on(&runtime, watch_pools(state, names, snapshots, tell, stopped));
        std::thread::Builder::new().name("pools".to_owned()).spawn(run)?;
        Ok(LookoutHandle { _stop: stop, news })
    }
}

/// Some pools close the connection when asked for extranonce changes, and there is nothing to learn from it here.
fn plain_targets(config: &Config) -> Result<Vec<Target>, TargetError> {
    let mut targets = targets(config)?;
    targets.iter_mut().for_each(|target| target.extranonce = false);
    Ok(targets)
}

fn timeouts(config: &Config) -> Timeouts {
    let timeouts = Timeouts {
        connect: config.performance.connection_timeout,
        subscribe: config.failover.handshake_timeout,
        ..Timeouts::default()
    };
    Timeouts { total: timeouts.connect + timeouts.tls + timeouts.subscribe + timeouts.job, ..timeouts }
}

async fn look_up(targets: &[Target], resolver: &Resolver) -> Vec<Result<super::Resolved, ResolveError>> {
    let mut found = Vec::new();
    // One after the other: each is bounded by ten seconds, and the usual farm has two.
    for target in targets {
        let (host, port) = target.dialled();
        found.push(resolver.resolve(host, port).await);
    }
    found
}

async fn watch_pools(
    mut state: State,
    names: Watch,
    snapshots: SnapshotReader,
    tell: impl Fn(Arc<[PoolNow]>, u32) -> bool,
    mut stopped: watch::Receiver<()>,
) {
    let Some(mut heard) = state.heard.take() else { return };
    state.begin_names(names);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = look.tick() => state.look(&snapshots.latest()),
            news = heard.recv() => match news {
                Some(news) => state.hear(news),
                None => return,
            },
            // It changes only by being dropped.
            _ = stopped.changed() => return,
        }
        state.begin_probes();
        state.tell(&tell);
    }
}

async fn watch_names(mut names: Watch, resolver: Arc<Resolver>, news: mpsc::Sender<News>, reload: u32) {
    loop {
        let changes = names.changed(&resolver).await;
        if news.send(News::Names(reload, changes)).await.is_err() {
            return;
        }
    }
}

impl State {
    fn pools_now(&self) -> Vec<PoolNow> {
        let now = |pool: &Watched| PoolNow {
            // Nobody gets one that is not configured any more, and its miners are moved as if it had failed.
            addresses: if pool.is_configured { Arc::clone(pool.addresses()) } else { [].into() },
            state: if pool.is_configured { pool.breaker.state() } else { PoolState::Failed },
            place: pool.place,
            server_name: pool
                .elsewhere
                .as_ref()
                .and_then(|elsewhere| elsewhere.target.tls.as_ref().map(|tls| tls.server_name.clone())),
        };
        self.pools.iter().map(now).collect()
    }

    fn around(&self, pool: usize) -> Around {
        let mut others = self.pools.iter().enumerate().filter(|(index, _)| *index != pool);
        let has_other = others.any(|(_, other)| other.is_usable());
        let configured = self.pools.iter().filter(|pool| pool.is_configured).count();
        Around { has_other, watches_idle: configured > 1, chance: chance() }
    }

    /// Looks at what the shards counted.
    fn look(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        for index in 0..self.pools.len() {
            let figures = Figures {
                counts: snapshot.stats.pools.get(index).cloned().unwrap_or_default(),
                links: snapshot.links_of_pool(index),
            };
            let block = figures.counts.prev_hash;
            let pool = &mut self.pools[index];
            let is_configured = pool.is_configured;
            let mut seen = pool.judge.look(&figures, &self.limits, now);
            if !is_configured {
                continue;
            }
            if figures.links > 0 && block != 0 && pool.judge.heard() == now {
                self.chain.show(index, block, now);
            }
            if pool.addresses().is_empty() {
                seen.is_away = Some("its name leads nowhere".to_owned());
            }
            if self.chain.is_behind(index, self.limits.behind_for) {
                seen.is_bad = Some(format!(
                    "it builds on an older block than the others for {:?}",
                    self.limits.behind_for
                ));
            }
            let around = self.around(index);
            let changed = self.pools[index].breaker.observe(seen, around, now);
            self.note(index, changed);
        }
        self.follow_redirects(snapshot);
    }

    fn follow_redirects(&mut self, snapshot: &Snapshot) {
        for (number, redirect) in snapshot.redirects.iter() {
            if *number < self.redirects_seen {
                continue;
            }
            self.redirects_seen = number + 1;
            self.follow(redirect.clone());
        }
    }

    /// A pool sends its miners elsewhere, within what the configuration allows.
    fn follow(&mut self, redirect: Redirect) {
        let (index, now) = (redirect.pool.index(), Instant::now());
        let Some(pool) = self.pools.get_mut(index) else { return };
        let host = match redirect.host.parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(redirect.host.to_ascii_lowercase()),
        };
        let port = redirect.port.unwrap_or(pool.target.port);
        let place = host.with_port(port);
        // A pool that sends each of its miners to another place would have all of them move for each.
        let is_settling = pool.asked.as_ref().is_some_and(|(_, at)| now < *at + self.limits.stable_for);
        if is_settling || !pool.is_news(&place, now) {
            return;
        }
        pool.asked = Some((place, now));
        let name = pool.target.name.as_str();
        if pool.target.proxy.is_some() {
            return tracing::warn!(
                pool = name,
                host = redirect.host,
                "client.reconnect is not followed through a proxy"
            );
        }
        let moved = match pool.target.moved(host.clone(), port) {
            Ok(moved) => Arc::new(moved),
            Err(error) => return tracing::warn!(pool = name, %error, "client.reconnect is not followed"),
        };
        let (resolver, news) = (Arc::clone(&self.resolver), self.news.clone());
        let (name, index) = (name.to_owned(), Named { number: index, born: pool.born });
        tokio::task::spawn_local(async move {
            match resolver.resolve(&host, port).await {
                Ok(resolved) => {
                    let _ = news.send(News::Redirected(index, moved, resolved.addresses)).await;
                }
                Err(error) => tracing::warn!(pool = name, %error, "client.reconnect is not followed"),
            }
        });
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Names(reload, _) if reload != self.reload => {}
            News::Names(_, changes) => {
                for Change { index, addresses } in changes {
                    let Some(pool) = self.pools.get_mut(index) else { continue };
                    tracing::info!(pool = pool.target.name, ?addresses, "the pool's addresses have changed");
                    pool.configured = addresses.into();
                }
            }
            News::Redirected(named, target, addresses) => {
                let Some(pool) = self.pools.get_mut(named.number) else { return };
                if pool.born != named.born || !pool.is_configured {
                    return;
                }
                let to = target.endpoint();
                tracing::info!(pool = target.name, to, "the pool sends its miners elsewhere: followed");
                pool.elsewhere = Some(Elsewhere { target, addresses: addresses.into() });
                pool.place = pool.place.wrapping_add(1);
            }
            News::Probed(named, findings) => self.probed(named, &findings),
            News::Reload(reload) => self.renew(*reload),
        }
    }

    /// Looks names up from now on, and no others.
    fn begin_names(&mut self, names: Watch) {
        if let Some(before) = self.names.take() {
            before.abort();
        }
        let (resolver, news) = (Arc::clone(&self.resolver), self.news.clone());
        self.names = Some(tokio::task::spawn_local(watch_names(names, resolver, news, self.reload)));
    }

    fn probed(&mut self, named: Named, findings: &Findings) {
        let (now, index) = (Instant::now(), named.number);
        if self.pools.get(index).is_none_or(|pool| pool.born != named.born || !pool.is_configured) {
            return;
        }
        if let Some(hash) = &findings.prev_hash {
            self.chain.show(index, block_mark(hash), now);
        }
        let pool = &self.pools[index];
        let outcome = match &findings.problem {
            Some(problem) => Err(problem.to_string()),
            None if !findings.is_good(pool.target.account.is_some()) => Err("it gave no work".to_owned()),
            None if self.chain.is_behind(index, self.limits.behind_for) => {
                Err("it builds on an older block than the others".to_owned())
            }
            None => Ok(()),
        };
        let around = self.around(index);
        let pool = &mut self.pools[index];
        if outcome.is_ok() {
            pool.judge.forgive();
        }
        if outcome.is_err() && pool.breaker.state() == PoolState::Failed {
            // Where it has sent its miners it is not either: the next attempt goes to the place in the configuration.
            pool.elsewhere = None;
        }
        let before = pool.breaker.cause().to_owned();
        let changed = pool.breaker.probed(outcome, around, now);
        let cause = pool.breaker.cause();
        if changed.is_none() && pool.breaker.state() == PoolState::Failed && before != cause {
            tracing::warn!(pool = pool.target.name, cause, "the pool still fails");
        }
        self.note(index, changed);
    }

    /// One line for each change of state.
    fn note(&mut self, index: usize, changed: Option<Transition>) {
        let Some(Transition { from, to, cause }) = changed else { return };
        let pool = &mut self.pools[index];
        pool.transitions[to.index()] += 1;
        let name = pool.target.name.as_str();
        match to {
            PoolState::Healthy | PoolState::Recovering => {
                tracing::info!(pool = name, %from, %to, cause, "the pool's state has changed");
            }
            PoolState::Degraded | PoolState::Failed => {
                tracing::warn!(pool = name, %from, %to, cause, "the pool's state has changed");
            }
        }
        if to == PoolState::Failed {
            pool.elsewhere = None;
            pool.asked = None;
            pool.judge.forgive();
            self.chain.forget(index);
        }
    }

    fn begin_probes(&mut self) {
        let now = Instant::now();
        for (index, pool) in self.pools.iter_mut().enumerate() {
            if !pool.is_configured || !pool.breaker.take_probe(now) {
                continue;
            }
            let named = Named { number: index, born: pool.born };
            let (target, addresses) = (Arc::clone(pool.target_now()), Arc::clone(pool.addresses()));
            let (news, timeouts) = (self.news.clone(), self.timeouts);
            tokio::task::spawn_local(async move {
                let findings = shake(&target, &addresses, timeouts).await;
                let _ = news.send(News::Probed(named, Box::new(findings))).await;
            });
        }
    }

    /// Tells the shards and whoever looks, where something has changed.
    fn tell(&mut self, tell: &impl Fn(Arc<[PoolNow]>, u32) -> bool) {
        self.publish.send_replace(views_of(&self.pools));
        let now = self.pools_now();
        let is_due = now != self.told || self.told_at.elapsed() >= TELL_AGAIN;
        if is_due && tell(now.as_slice().into(), self.reload) {
            (self.told, self.told_at) = (now, Instant::now());
        }
    }
}
