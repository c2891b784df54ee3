//! Which connections a worker has: what a shard answers, how much of it, and that it is nothing to the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{PATIENCE, Proxy, Setup, gate};
use loka_proto::{PoolId, WorkerState};
use loka_rig::{Greeting, Miner, PoolConfig, PoolHandle};
use loka_runtime::limits::{ASKED_LINKS_PER_TICK, ASKED_MAX, SESSIONS_TOLD_MAX};
use loka_runtime::{Command, SessionView, SessionsFound, SessionsQuestion};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

fn ask(proxy: &Proxy, worker: &str) -> Arc<SessionsQuestion> {
    let question = SessionsQuestion::new(worker.to_owned(), proxy.ends.len());
    for end in &proxy.ends {
        end.command(Command::Sessions(Arc::clone(&question))).unwrap();
    }
    question
}

fn wait_for(question: &SessionsQuestion) -> SessionsFound {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = question.next_answer() {
            return found;
        }
        assert!(Instant::now() < deadline, "no answer");
        std::thread::yield_now();
    }
}

/// What the only shard has found, the connections in the order in which they came.
fn found(proxy: &Proxy, worker: &str) -> SessionsFound {
    let mut found = wait_for(&ask(proxy, worker));
    found.sessions.sort_by_key(|session| session.client.0);
    found
}

fn counts(session: &SessionView) -> [u32; 3] {
    [session.tally.accepted, session.tally.rejected, session.tally.refused]
}

fn connect(proxy: &Proxy, source: &str, worker: &str) -> (Miner, Greeting) {
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    let mut miner = Miner::connect_from(source, proxy.address).unwrap();
    let work = miner.handshake(worker).unwrap();
    (miner, work)
}

fn share(miner: &mut Miner, work: &Greeting, nonce: &str) {
    miner.submit_for(work, "farm.one", "7", nonce).unwrap();
    miner.answer_to("7").unwrap();
}

#[test]
fn each_connection_of_a_worker_is_told_with_what_it_is() {
    let pool = PoolHandle::start(PoolConfig { reject_permille: 300, ..PoolConfig::default() }).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let (mut one, work) = connect(&proxy, "127.0.0.2", "farm.one");
    let (_two, _) = connect(&proxy, "127.0.0.3", "farm.two");
    let (mut three, _) = connect(&proxy, "127.0.0.4", "farm.two");
    three.request("8", "mining.authorize", r#"["farm.one","x"]"#).unwrap();
    (0..20).for_each(|number| share(&mut one, &work, &format!("{number:08x}")));
    // The same once more, which the proxy refuses.
    (0..3).for_each(|_| share(&mut one, &work, "00000000"));

    let answer = found(&proxy, "farm.one");
    assert_eq!((answer.shard, answer.connections, answer.sessions.len()), (0, 2, 2));
    let [first, last] = &answer.sessions[..] else { panic!("{answer:?}") };
    let (seen, shares) = (pool.report(), counts(first));
    assert_eq!(shares.map(u64::from), [seen.shares_accepted, seen.shares_rejected, 3]);
    assert!(shares[0] > 0 && shares[1] > 0, "the pool rejects some: {shares:?}");
    assert_eq!(first.address, Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))));
    assert_eq!((first.agent.as_deref(), first.state), (Some("loka-rig/0.1"), WorkerState::Authorized));
    assert_eq!((first.pool, first.difficulty, first.is_tls), (Some(PoolId::of(0)), work.difficulty, false));
    assert!(first.accepted_ago_us.is_some_and(|ago| ago <= first.age_us), "{first:?}");
    assert_eq!((counts(last), last.accepted_ago_us), ([0; 3], None));
    assert_eq!(last.address, Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4))));
    assert!(first.client.0 < last.client.0);

    // Whoever has gone is not told any more, and a worker that nobody has is on no connection.
    drop(one);
    proxy.until("it has left", |stats, _| stats.counts.ends.iter().sum::<u64>() == 1);
    let answer = found(&proxy, "farm.one");
    let clients: Vec<_> = answer.sessions.iter().map(|session| session.client).collect();
    assert_eq!((answer.connections, clients), (1, vec![last.client]));
    assert_eq!(found(&proxy, "nobody"), SessionsFound::default());
}

#[test]
fn a_worker_on_many_connections_is_told_in_part_and_counted_whole() {
    const MORE: usize = 20;
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = Proxy::start(pool.addr(), 1, |_| {});
    let miners: Vec<_> =
        (0..SESSIONS_TOLD_MAX + MORE).map(|_| connect(&proxy, "127.0.0.1", "farm.one")).collect();
    let answer = found(&proxy, "farm.one");
    assert_eq!((answer.connections, answer.sessions.len()), (miners.len(), SESSIONS_TOLD_MAX));
    let mut clients: Vec<_> = answer.sessions.iter().map(|session| session.client).collect();
    clients.dedup();
    assert_eq!(clients.len(), SESSIONS_TOLD_MAX, "each once");
}

#[test]
fn a_shard_with_many_links_is_searched_a_part_at_a_time() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut proxy = Proxy::start(pool.addr(), 1, |_| {});
    let silent: Vec<TcpStream> =
        (0..ASKED_LINKS_PER_TICK).map(|_| TcpStream::connect(proxy.address).unwrap()).collect();
    proxy.until("all are there", |_, shells| shells[0].connections == silent.len() as u64);
    let (_miner, _) = connect(&proxy, "127.0.0.1", "farm.last");
    let answer = found(&proxy, "farm.last");
    assert_eq!((answer.connections, answer.sessions.len()), (1, 1));
}

#[test]
fn questions_beyond_the_bound_and_those_given_up_are_dropped() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let (gate, keeper) = gate();
    let proxy = Proxy::start_with(Setup { gate: Some(gate), ..Setup::default() }, pool.addr(), |_| {});
    let (mut miner, _) = connect(&proxy, "127.0.0.1", "farm.one");
    miner.send_line(r#"{"id":9,"method":"mining.get_transactions","params":[]}"#).unwrap();
    keeper.wait();
    let questions: Vec<_> = (0..=ASKED_MAX).map(|_| ask(&proxy, "farm.one")).collect();
    questions[0].give_up();
    keeper.open();
    for question in &questions[1..ASKED_MAX] {
        assert_eq!(wait_for(question).sessions.len(), 1);
    }
    for question in [&questions[0], &questions[ASKED_MAX]] {
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(question) > 1 {
            assert!(Instant::now() < deadline, "the shard keeps it");
            std::thread::yield_now();
        }
        assert_eq!(question.next_answer(), None);
    }
}
