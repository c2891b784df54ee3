//! A socket is told of once for each change: what stands behind the first read, behind the connect, or in a queue must not
//! be forgotten. Each test makes the shard find everything at once, or leaves it a rest that nobody will tell of again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{PATIENCE, Proxy, Setup, gate, submit};
use loka_proto::{Direction, End, Method, Stats};
use loka_rig::{Miner, PoolConfig, PoolHandle};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const HOLD: &str = r#"{"id":77,"method":"mining.get_transactions","params":[]}"#;
const SUBSCRIBE: &str = r#"{"id":1,"method":"mining.subscribe","params":[]}"#;

fn messages(stats: &Stats, direction: Direction, method: Method) -> u64 {
    stats.counts.messages[direction.index()][method.index()]
}

/// The next connection, within a bound: a shard that does not dial must not hold the test up for ever.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "nobody connects: {error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_end_behind_the_last_bytes_is_seen() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let (gate, keeper) = gate();
    let setup = Setup { gate: Some(gate), ..Setup::default() };
    let mut proxy = Proxy::start_with(setup, pool.addr(), |_| {});
    let mut guard = Miner::connect(proxy.address).unwrap();
    guard.handshake("farm.guard").unwrap();
    let mut leaver = Miner::connect(proxy.address).unwrap();
    leaver.handshake("farm.leaver").unwrap();
    guard.send_line(HOLD).unwrap();
    keeper.wait();
    leaver.submit(&submit("5")).unwrap();
    leaver.shutdown_write().unwrap();
    keeper.open();
    proxy.until("the miner has left", |stats, _| stats.counts.ends[End::MinerLeft.index()] == 1);
}

#[test]
fn bytes_beyond_one_read_are_read_too() {
    const LINES: u64 = 150;
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let (gate, keeper) = gate();
    let setup = Setup { gate: Some(gate), receive_bytes: Some(400_000), ..Setup::default() };
    let mut proxy = Proxy::start_with(setup, pool.addr(), |_| {});
    let mut guard = Miner::connect(proxy.address).unwrap();
    guard.handshake("farm.guard").unwrap();
    let mut talker = Miner::connect(proxy.address).unwrap();
    talker.handshake("farm.talker").unwrap();
    guard.send_line(HOLD).unwrap();
    keeper.wait();
    // The proxy refuses these itself: nothing that the pool says could wake the shard for this miner again.
    let line = format!(
        "{{\"id\":9,\"method\":\"mining.extranonce.subscribe\",\"params\":[],\"pad\":\"{}\"}}\n",
        "x".repeat(1000)
    );
    talker.send_bytes(line.repeat(150).as_bytes()).unwrap();
    keeper.open();
    proxy.until("every line is read", |stats, _| {
        messages(stats, Direction::FromMiner, Method::ExtranonceSubscribe) == LINES
    });
}

#[test]
fn what_the_pool_says_before_its_connection_is_looked_at_is_read() {
    let pool = TcpListener::bind("127.0.0.1:0").unwrap();
    let (gate, keeper) = gate();
    let setup = Setup { gate: Some(gate), ..Setup::default() };
    let mut proxy = Proxy::start_with(setup, pool.local_addr().unwrap(), |_| {});
    let mut first = Miner::connect(proxy.address).unwrap();
    first.send_line(HOLD).unwrap();
    keeper.wait();
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.send_line(SUBSCRIBE).unwrap();
    let mut last = Miner::connect(proxy.address).unwrap();
    last.send_line(HOLD).unwrap();
    keeper.open();
    // The miner's pool connection was begun in the turn that the shard is held up in now.
    keeper.wait();
    let mut connection = accept(&pool);
    let line = b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[8]}\n";
    connection.write_all(line).unwrap();
    keeper.open();
    proxy.until("it is heard", |stats, _| messages(stats, Direction::FromPool, Method::SetDifficulty) == 1);
}

/// A miner that the kernel keeps few bytes for.
fn narrow_miner(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn what_a_miner_did_not_take_at_once_follows_when_it_reads() {
    const LINES: u64 = 10;
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let setup = Setup { send_bytes: Some(4096), ..Setup::default() };
    let mut proxy = Proxy::start_with(setup, pool.addr(), |_| {});
    let mut miner = narrow_miner(proxy.address);
    let greeting = format!(
        "{SUBSCRIBE}\n{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"farm.rig\",\"x\"]}}\n"
    );
    miner.write_all(greeting.as_bytes()).unwrap();
    proxy.until("the miner has its job", |stats, _| messages(stats, Direction::ToMiner, Method::Notify) == 1);
    let text = "x".repeat(4000);
    for _ in 0..LINES {
        pool.broadcast(&format!(
            "{{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"hi\"],\"more\":\"{text}\"}}"
        ));
    }
    proxy.until("the pool was heard", |stats, _| {
        messages(stats, Direction::FromPool, Method::ShowMessage) == LINES
    });
    proxy.until("some of it waits", |_, shells| shells[0].queued_bytes > 0);
    let lines = BufReader::new(miner).lines().map(Result::unwrap);
    assert_eq!(
        lines.filter(|line| line.contains("show_message")).take(LINES as usize).count(),
        LINES as usize
    );
}

/// A pool that answers what it is told to, on one connection.
struct Pool {
    lines: BufReader<TcpStream>,
}

impl Pool {
    /// Takes the connection of a miner and answers its greeting.
    fn accept(listener: &TcpListener) -> Pool {
        let stream = accept(listener);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut pool = Pool { lines: BufReader::new(stream) };
        assert!(pool.hear().contains("mining.subscribe"));
        pool.say(r#"{"id":1,"result":[[],"abcd",4],"error":null}"#);
        assert!(pool.hear().contains("mining.authorize"));
        pool.say(r#"{"id":2,"result":true,"error":null}"#);
        pool
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn say(&mut self, line: &str) {
        self.lines.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

fn share_on(proxy: &Proxy, listener: &TcpListener) -> (Miner, Pool) {
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.send_line(SUBSCRIBE).unwrap();
    miner.send_line(r#"{"id":2,"method":"mining.authorize","params":["farm.rig","x"]}"#).unwrap();
    let mut pool = Pool::accept(listener);
    miner.answer_to("2").unwrap();
    miner
        .send_line(
            r#"{"id":3,"method":"mining.submit","params":["farm.rig","1","00000000","00000000","00000000"]}"#,
        )
        .unwrap();
    assert!(pool.hear().contains("mining.submit"));
    (miner, pool)
}

#[test]
fn a_pool_that_owes_nothing_is_reset_and_leaves_no_port_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), 1, |_| {});
    let (mut miner, mut pool) = share_on(&proxy, &listener);
    pool.say(r#"{"id":3,"result":true,"error":null}"#);
    miner.answer_to("3").unwrap();
    drop(miner);
    let end = pool.lines.read(&mut [0; 16]);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_pool_that_owes_an_answer_is_closed_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), 1, |_| {});
    let (_miner, mut pool) = share_on(&proxy, &listener);
    let stats = proxy.drain(Duration::ZERO);
    assert_eq!(stats.counts.shares.unanswered, 1);
    assert_eq!(pool.lines.read(&mut [0; 16]).unwrap(), 0, "the end, and no reset");
}
