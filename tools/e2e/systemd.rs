//! The real binary as a service of systemd: what it says on the notification socket, and when.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_rig::{Miner, PoolConfig, PoolHandle};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use support::{PATIENCE, Proxy, free_port, program, until};

/// Stands for systemd: keeps what it is told, and whether miners were served when it heard that they are.
struct Manager {
    messages: Arc<Mutex<Vec<String>>>,
    proxy: Proxy,
    _folder: tempfile::TempDir,
    _pool: PoolHandle,
}

impl Manager {
    fn start(watchdog: &[(&str, &str)]) -> Self {
        let pool = PoolHandle::start(PoolConfig::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, metrics) = (local(free_port()), local(free_port()));
        let messages = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&messages);
        // Ends when nobody has sent anything for long, or with the test.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = socket.recv(&mut buffer) {
                let mut text = String::from_utf8(buffer[..count].to_vec()).unwrap();
                if text.contains("READY=1") && TcpStream::connect(address).is_err() {
                    text.push_str("\ntoo early");
                }
                heard.lock().unwrap().push(text);
            }
        });
        let mut program = program();
        program.args(["--listen", &address.to_string(), "--pool", &pool.addr().to_string(), "--shards", "2"]);
        program.args([
            "--set",
            &format!("metrics.prometheus_port={}", metrics.port()),
            "--log-level",
            "warn",
        ]);
        program.env("NOTIFY_SOCKET", &path).envs(watchdog.iter().copied());
        let proxy = Proxy::ready(&mut program, address, metrics);
        Self { messages, proxy, _folder: folder, _pool: pool }
    }

    fn heard(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.heard().iter().filter(|message| message.lines().any(|found| found.starts_with(line))).count()
    }
}

#[test]
fn it_tells_when_it_is_ready_what_it_does_that_it_lives_and_that_it_ends() {
    let manager = Manager::start(&[("WATCHDOG_USEC", "400000")]);
    until("it is ready", || manager.count("READY=1") == 1);
    assert!(!manager.heard()[0].contains("too early"), "miners are served before it is told");
    let mut miner = Miner::connect(manager.proxy.address).unwrap();
    miner.handshake("farm.rig").unwrap();
    until("the status follows", || {
        manager.count("STATUS=1 connections of miners on 2 shards; pools: pool healthy") > 0
    });
    let signs = manager.count("WATCHDOG=1");
    until("it gives more signs of life", || manager.count("WATCHDOG=1") > signs + 2);
    assert_eq!(manager.count("STOPPING=1"), 0);
    manager.proxy.terminate();
    let Manager { messages, proxy, .. } = manager;
    assert!(proxy.wait().success());
    let heard = messages.lock().unwrap().clone();
    let stopping: Vec<&String> = heard.iter().filter(|message| message.starts_with("STOPPING=1\n")).collect();
    // The drain's 30 s, a grace of 3 s, 3 s for the last alerts, 8.5 s for the last records.
    assert_eq!(stopping, ["STOPPING=1\nEXTEND_TIMEOUT_USEC=44500000\nSTATUS=draining"]);
    assert_eq!(heard.iter().filter(|message| message.contains("READY=1")).count(), 1);
}

#[test]
fn a_watchdog_for_another_process_gets_no_sign_of_life() {
    let manager = Manager::start(&[("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")]);
    until("it is ready", || manager.count("READY=1") == 1);
    manager.proxy.terminate();
    let Manager { messages, proxy, .. } = manager;
    assert!(proxy.wait().success());
    assert!(messages.lock().unwrap().iter().all(|message| !message.contains("WATCHDOG")));
}

#[test]
fn a_socket_that_is_not_there_ends_nothing() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (address, metrics) = (local(free_port()), local(free_port()));
    let mut program = program();
    program.args(["--listen", &address.to_string(), "--pool", &pool.addr().to_string()]);
    program.args(["--set", &format!("metrics.prometheus_port={}", metrics.port()), "--log-level", "error"]);
    program.env("NOTIFY_SOCKET", "/nowhere/notify").env("WATCHDOG_USEC", "1000000");
    let proxy = Proxy::ready(&mut program, address, metrics);
    Miner::connect(proxy.address).unwrap().handshake("farm.rig").unwrap();
    proxy.terminate();
    assert!(proxy.wait().success());
}
