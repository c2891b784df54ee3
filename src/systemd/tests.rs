//! What is told of which state.

use super::*;
use crate::aggregate::tests::{report, running, wait_for};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

fn snapshot() -> Snapshot {
    let (post, handle) = running(2);
    post.send(report(0));
    post.send(report(1));
    let both = wait_for(handle.snapshots(), |now| !now.is_starting());
    handle.stop();
    (*both).clone()
}

#[test]
fn a_silent_shard_is_no_sign_of_life_but_in_a_drain() {
    let mut now = snapshot();
    assert!(is_alive(&now));
    now.shards[1].report_age = Some(Duration::from_secs(6));
    assert!(!is_alive(&now));
    now.draining = true;
    assert!(is_alive(&now));
    now.taken -= Duration::from_secs(6);
    assert!(!is_alive(&now));
}

#[test]
fn the_status_is_one_line() {
    let mut now = snapshot();
    let miners = now.shell(|shell| shell.connections);
    let expected = format!("{miners} connections of miners on 2 shards; pools: pool healthy");
    assert_eq!(status(&now), expected);
    let mut failed = now.pools[0].clone();
    failed.state = PoolState::Failed;
    now.pools = (0..6).map(|_| failed.clone()).collect();
    now.draining = true;
    let text = status(&now);
    assert!(
        text.starts_with("draining: ") && text.ends_with("pool failed, pool failed and 2 more"),
        "{text}"
    );
}

fn variables(list: &[(&str, &str)]) -> Option<Manager> {
    let list: Vec<(String, OsString)> =
        list.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    Manager::new(|name| list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()), 42)
}

#[test]
fn the_environment_says_whom_to_tell_and_how_often() {
    assert!(variables(&[]).is_none());
    assert!(variables(&[("NOTIFY_SOCKET", "")]).is_none());
    assert!(variables(&[("NOTIFY_SOCKET", "relative/path")]).is_none());
    assert!(variables(&[("NOTIFY_SOCKET", "@")]).is_none());
    let socket = ("NOTIFY_SOCKET", "/run/nobody");
    let watchdog = |list: &[(&str, &str)]| variables(list).unwrap().watchdog;
    assert_eq!(watchdog(&[socket]), None);
    let usec = ("WATCHDOG_USEC", "30000000");
    assert_eq!(watchdog(&[socket, usec]), Some(Duration::from_secs(30)));
    assert_eq!(watchdog(&[socket, usec, ("WATCHDOG_PID", "42")]), Some(Duration::from_secs(30)));
    assert_eq!(watchdog(&[socket, usec, ("WATCHDOG_PID", "43")]), None);
    assert_eq!(watchdog(&[socket, ("WATCHDOG_USEC", "0")]), None);
    assert_eq!(watchdog(&[socket, ("WATCHDOG_USEC", "often")]), None);
}

#[test]
fn signs_of_life_and_news_are_sent_and_a_dead_shard_is_not_covered_up() {
    let name = format!("loka-stratum-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let manager = variables(&[("NOTIFY_SOCKET", &format!("@{name}")), ("WATCHDOG_USEC", "1")]).unwrap();
    let received = || {
        let mut buffer = [0; 1024];
        socket.recv(&mut buffer).ok().map(|count| String::from_utf8(buffer[..count].to_vec()).unwrap())
    };
    let (mut now, mut told) = (snapshot(), String::new());
    manager.look(&now, &mut told);
    assert_eq!(received().unwrap(), format!("WATCHDOG=1\nSTATUS={}", status(&now)));
    manager.look(&now, &mut told);
    assert_eq!(received().unwrap(), "WATCHDOG=1");
    now.shards[0].report_age = Some(Duration::from_secs(6));
    manager.look(&now, &mut told);
    assert_eq!(received(), None);
    let within = Duration::from_millis(1500);
    manager.leaving(Leaving { within, successor: None });
    assert_eq!(received().unwrap(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=draining");
    manager.leaving(Leaving { within, successor: Some(4711) });
    assert_eq!(received().unwrap(), "MAINPID=4711", "the service goes on: it is another process");
}
