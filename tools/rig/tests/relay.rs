//! Each fault of the relay, as the two ends of a connection see it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::{PATIENCE, wait_for};
use loka_rig::{
    Fault, Load, PoolConfig, PoolHandle, Relay, RelayConfig, RelayHandle, RelayReport, Shape, SwarmConfig,
    SwarmReport, run,
};

/// How long a test watches that something does not come.
const WATCH: Duration = Duration::from_millis(100);

/// The far end of a relay.
struct Target(TcpListener);

impl Target {
    fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Target(listener)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn accept(&self) -> TcpStream {
        let start = Instant::now();
        loop {
            match self.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    return patient(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(start.elapsed() < PATIENCE, "nobody connected");
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn has_visitor(&self) -> bool {
        self.0.accept().is_ok()
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect(relay: &RelayHandle) -> TcpStream {
    patient(TcpStream::connect_timeout(&relay.addr(), PATIENCE).unwrap())
}

fn relay(fault: Fault) -> (Target, RelayHandle) {
    let target = Target::new();
    let relay = Relay::start(RelayConfig { fault, ..RelayConfig::to(target.addr()) }).unwrap();
    (target, relay)
}

/// A relay and both ends of one connection through it.
fn line(fault: Fault) -> (RelayHandle, Target, TcpStream, TcpStream) {
    let (target, relay) = relay(fault);
    let front = connect(&relay);
    let back = target.accept();
    (relay, target, front, back)
}

fn exact(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    assert_eq!(exact(to, bytes.len()), bytes);
}

fn assert_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "an end, and no byte before it");
}

fn assert_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Nothing comes, neither bytes nor an end.
fn assert_quiet(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(WATCH)).unwrap();
    let error = stream.read(&mut [0; 16]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn without_a_fault_bytes_and_ends_go_through_unchanged() {
    let (relay, _target, mut front, mut back) = line(Fault::None);
    let text: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
    let sent = text.clone();
    let sender = std::thread::spawn(move || {
        front.write_all(&sent).unwrap();
        front.shutdown(Shutdown::Write).unwrap();
        front
    });
    let mut received = Vec::new();
    back.read_to_end(&mut received).unwrap();
    assert_eq!(received, text);
    let mut front = sender.join().unwrap();
    // The other direction is still open, and ends on its own.
    carry(&mut back, &mut front, b"answer");
    drop(back);
    assert_end(&mut front);
    wait_for(|| relay.report(), |report| report.active == 0);
    let report = relay.stop();
    assert_eq!((report.connections, report.bytes_up, report.bytes_down), (1, 200_000, 6));
    assert_eq!((report.bytes_lost, report.resets, report.target_failed), (0, 0, 0));
    assert_eq!(report.failure, None);
}

#[test]
fn a_reset_of_one_side_reaches_the_other() {
    for front_dies in [true, false] {
        let (relay, _target, mut front, mut back) = line(Fault::None);
        carry(&mut front, &mut back, b"x");
        let (dying, left) = if front_dies { (front, &mut back) } else { (back, &mut front) };
        socket2::SockRef::from(&dying).set_linger(Some(Duration::ZERO)).unwrap();
        drop(dying);
        assert_reset(left);
        wait_for(|| relay.report(), |report| report.active == 0);
    }
}

#[test]
fn a_sender_is_slowed_down_when_nobody_reads() {
    let (relay, _target, mut front, mut back) = line(Fault::None);
    front.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let start = Instant::now();
    let mut full_since = None;
    // Full for a while means full: until the buffers of relay and kernel are, the socket takes more every moment.
    while full_since.is_none_or(|since: Instant| since.elapsed() < WATCH) {
        assert!(start.elapsed() < PATIENCE && sent < 64 << 20, "the relay takes bytes without bound");
        match front.write(&[7; 65_536]) {
            Ok(count) => (sent, full_since) = (sent + count, None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full_since.get_or_insert_with(Instant::now);
            }
            Err(error) => panic!("{error}"),
        }
    }
    front.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    back.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent);
    assert_eq!(relay.stop().bytes_lost, 0);
}

#[test]
fn delayed_bytes_come_late_both_ways_and_free_when_the_fault_ends() {
    let delay = Duration::from_millis(40);
    let (relay, _target, mut front, mut back) = line(Fault::Delay(delay));
    let start = Instant::now();
    carry(&mut front, &mut back, b"up");
    carry(&mut back, &mut front, b"down");
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
    relay.set(Fault::Delay(Duration::from_secs(3600)));
    front.write_all(b"late").unwrap();
    front.shutdown(Shutdown::Write).unwrap();
    assert_quiet(&mut back);
    relay.set(Fault::None);
    assert_eq!(exact(&mut back, 4), b"late");
    assert_end(&mut back);
}

#[test]
fn each_direction_can_have_a_shape_of_its_own() {
    let held = Shape { bytes_per_second: Some(0), ..Shape::default() };
    let (relay, _target, mut front, mut back) = line(Fault::Shaped { up: held, down: Shape::default() });
    carry(&mut back, &mut front, b"down");
    front.write_all(b"up").unwrap();
    assert_quiet(&mut back);
    relay.set(Fault::None);
    assert_eq!(exact(&mut back, 2), b"up");
}

#[test]
fn a_throttle_keeps_its_rate() {
    let (relay, _target, mut front, mut back) = line(Fault::Throttle { bytes_per_second: 10_000 });
    let start = Instant::now();
    carry(&mut front, &mut back, &[1; 3_000]);
    // 3,000 bytes take 0.3 s, but for a burst of a twentieth of a second.
    assert!(start.elapsed() >= Duration::from_millis(249), "{:?}", start.elapsed());
    assert_eq!(relay.stop().bytes_up, 3_000);
}

#[test]
fn coalesced_bytes_come_together() {
    let window = Duration::from_millis(200);
    let (_relay, _target, mut front, mut back) = line(Fault::Coalesce { window });
    let start = Instant::now();
    for piece in [b"one", b"two", b"six"] {
        front.write_all(piece).unwrap();
    }
    let mut buffer = [0; 64];
    let count = back.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"onetwosix");
    assert!(start.elapsed() >= window, "{:?}", start.elapsed());
}

#[test]
fn split_bytes_are_segments_of_their_own() {
    let (_relay, _target, mut front, mut back) = line(Fault::Split { bytes: 3 });
    carry(&mut front, &mut back, b"abcdefgh");
    // How many segments came cannot be asked of a socket without unsafe code. The reader is woken by the first of them,
    // and a thousand turns of the relay are not over before it has read.
    front.write_all(&[b'x'; 3_000]).unwrap();
    let mut reads = 0;
    let mut left = 3_000;
    while left > 0 {
        let count = back.read(&mut [0; 4096]).unwrap();
        assert!(count > 0);
        (reads, left) = (reads + 1, left - count);
    }
    assert!(reads > 1, "3,000 bytes in pieces of three came in one read");
}

/// Forty miners through a relay with this fault: nothing is lost, doubled or torn.
fn mine_through(fault: Fault) -> (SwarmReport, RelayReport) {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let relay = Relay::start(RelayConfig { fault, ..RelayConfig::to(pool.addr()) }).unwrap();
    let config = SwarmConfig {
        target: relay.addr(),
        connections: 40,
        load: Load::ClosedLoop { in_flight: 4 },
        duration: Duration::from_secs(30),
        settle: Duration::from_secs(10),
        answers_target: Some(800),
        ..SwarmConfig::default()
    };
    let swarm = run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let (pool, relay) = (pool.stop(), relay.stop());
    assert_eq!((swarm.shares.accepted, swarm.shares.astray()), (800, 0), "{swarm:?}");
    assert_eq!((pool.shares_received, pool.shares_accepted, pool.malformed_lines), (800, 800, 0), "{pool:?}");
    assert_eq!((relay.connections, relay.bytes_up), (40, pool.bytes_received), "{relay:?}");
    assert_eq!(relay.bytes_down, swarm.bytes_received);
    (swarm, relay)
}

#[test]
fn a_swarm_loses_nothing_on_a_way_that_loses_nothing() {
    mine_through(Fault::None);
    mine_through(Fault::Split { bytes: 7 });
    mine_through(Fault::Coalesce { window: Duration::from_millis(5) });
    mine_through(Fault::Throttle { bytes_per_second: 40_000 });
    let (swarm, _) = mine_through(Fault::Delay(Duration::from_millis(10)));
    assert!(swarm.submit_us.min >= 20_000, "both ways take 10 ms: {:?}", swarm.submit_us);
    let up = Shape { split_bytes: Some(11), delay: Duration::from_millis(2), ..Shape::default() };
    let down = Shape { coalesce: Duration::from_millis(3), ..Shape::default() };
    mine_through(Fault::Shaped { up, down });
}

#[test]
fn a_reset_takes_open_and_new_connections_until_it_is_over() {
    let (relay, target, mut front, mut back) = line(Fault::None);
    carry(&mut front, &mut back, b"x");
    relay.set(Fault::Reset);
    assert_reset(&mut front);
    assert_reset(&mut back);
    // The reset may come before the connect has returned, and then it is the connect that tells.
    match TcpStream::connect_timeout(&relay.addr(), PATIENCE) {
        Ok(stream) => assert_reset(&mut patient(stream)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    wait_for(|| relay.report(), |report| report.connections == 2);
    assert!(!target.has_visitor(), "the target never hears of a connection that is reset at once");
    relay.set(Fault::None);
    let mut front = connect(&relay);
    let mut back = target.accept();
    carry(&mut front, &mut back, b"y");
    assert_eq!(relay.reset_all(), 1);
    assert_reset(&mut front);
    assert_reset(&mut back);
    let report = relay.stop();
    assert_eq!((report.connections, report.resets), (3, 3));
}

#[test]
fn a_reset_comes_again_and_again() {
    let (relay, target, mut front, mut back) = line(Fault::None);
    relay.set(Fault::ResetEvery(Duration::from_millis(150)));
    assert_reset(&mut front);
    assert_reset(&mut back);
    let mut front = connect(&relay);
    let mut back = target.accept();
    assert_reset(&mut front);
    assert_reset(&mut back);
    relay.set(Fault::None);
    let mut front = connect(&relay);
    carry(&mut front, &mut target.accept(), b"z");
    assert_eq!(relay.report().resets, 2);
}

#[test]
fn half_closed_the_way_up_stays_open() {
    let (relay, target, mut front, mut back) = line(Fault::None);
    carry(&mut back, &mut front, b"before");
    relay.set(Fault::HalfClose);
    assert_end(&mut front);
    back.write_all(b"into the void").unwrap();
    carry(&mut front, &mut back, b"up");
    let mut second = connect(&relay);
    let mut its_back = target.accept();
    assert_end(&mut second);
    carry(&mut second, &mut its_back, b"up too");
    relay.set(Fault::None);
    // What has ended stays ended.
    front.shutdown(Shutdown::Write).unwrap();
    assert_end(&mut back);
    wait_for(|| relay.report(), |report| report.bytes_lost == 13 && report.active == 1);
}

#[test]
fn a_black_hole_takes_all_and_gives_nothing() {
    let (relay, target, mut front, mut back) = line(Fault::None);
    let mut quiet = connect(&relay);
    let mut quiet_back = target.accept();
    relay.set(Fault::BlackHole);
    front.write_all(b"up").unwrap();
    back.write_all(b"down").unwrap();
    let mut new = connect(&relay);
    let mut late = connect(&relay);
    new.write_all(b"hello").unwrap();
    wait_for(|| relay.report(), |report| report.bytes_lost == 11 && report.active == 4);
    for stream in [&mut front, &mut back, &mut new] {
        assert_quiet(stream);
    }
    assert!(!target.has_visitor());
    relay.set(Fault::None);
    // Those that lost nothing go on; the others would be torn, and stay silent.
    carry(&mut quiet, &mut quiet_back, b"on");
    carry(&mut late, &mut target.accept(), b"late");
    front.write_all(b"more").unwrap();
    assert_quiet(&mut back);
    drop((front, new));
    wait_for(|| relay.report(), |report| report.active == 2);
    assert_end(&mut back);
}

#[test]
fn a_closed_listener_refuses_and_comes_back_at_the_same_port() {
    let (relay, target, mut front, mut back) = line(Fault::None);
    relay.set(Fault::RefuseConnections);
    for _ in 0..3 {
        let error = TcpStream::connect_timeout(&relay.addr(), PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    carry(&mut front, &mut back, b"open ones go on");
    relay.set(Fault::None);
    carry(&mut connect(&relay), &mut target.accept(), b"again");
    let report = relay.stop();
    assert_eq!((report.connections, report.failure), (2, None));
}

#[test]
fn without_a_target_connections_end_in_good_order() {
    let (relay, target, mut front, mut back) = line(Fault::None);
    relay.set(Fault::NoTarget);
    assert_end(&mut front);
    assert_end(&mut back);
    assert_end(&mut connect(&relay));
    assert!(!target.has_visitor());

    // A target that is really down looks the same.
    relay.set(Fault::None);
    drop(target);
    assert_end(&mut connect(&relay));
    wait_for(|| relay.report(), |report| report.target_failed == 1);
    let other = Target::new();
    relay.retarget(other.addr());
    carry(&mut connect(&relay), &mut other.accept(), b"elsewhere");
}

#[test]
fn connects_are_counted_by_the_second() {
    let (target, relay) = relay(Fault::None);
    let streams: Vec<TcpStream> = (0..20).map(|_| connect(&relay)).collect();
    wait_for(|| relay.report(), |report| report.connections == 20);
    let most = relay.report().connects_per_second_max;
    // All within a second, unless this machine took longer for twenty connects.
    assert!((1..=20).contains(&most), "{most}");
    drop((streams, target));
}
