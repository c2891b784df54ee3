//! `top` of the real binary on a terminal of its own, which is read as a user would see it, against the real demo.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use support::{PATIENCE, finish, free_port, http, program, until};

const MINERS: &str = "7";

/// A demo on ports of its own; killed when the test forgets it.
struct Demo {
    child: Child,
    metrics: SocketAddr,
}

impl Demo {
    fn start() -> Demo {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], free_port())))
    }

    fn start_at(metrics: SocketAddr) -> Demo {
        // Another one than that of the metrics, which may be free again.
        let held = TcpListener::bind(metrics);
        let listen = format!("127.0.0.1:{}", free_port());
        drop(held);
        let port = format!("metrics.prometheus_port={}", metrics.port());
        let mut command = program();
        command.args(["demo", "--miners", MINERS, "--rate", "50", "--shards", "1"]);
        command.args(["--listen", &listen, "--set", &port]).stdout(Stdio::null());
        let mut demo = Demo { child: command.spawn().unwrap(), metrics };
        until("the demo mines", || {
            assert!(demo.child.try_wait().unwrap().is_none(), "the demo ended at its start");
            http(metrics, "/health").is_some_and(|told| told.contains(&format!("\"connections\":{MINERS},")))
        });
        demo
    }

    fn url(&self) -> String {
        format!("http://{}", self.metrics)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

/// A terminal with `top` on it.
struct Desk {
    child: Child,
    keyboard: File,
    /// Held, so that the terminal can be asked for its settings.
    terminal: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<vt100::Parser>>,
}

impl Desk {
    fn start(url: &str, columns: u16, rows: u16, variables: &[(&str, &str)]) -> Desk {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // A session of its own, with this terminal and not that of whoever runs the test.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_loka-stratum"), "top", "--url", url]);
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (mut screen, drawn) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        // Ends when the terminal has gone.
        std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..count]);
            }
        });
        Desk { child, keyboard: File::from(master), terminal, before, shown }
    }

    fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    fn until(&self, what: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.text().contains(what) {
            assert!(std::time::Instant::now() < deadline, "{what:?} is not shown:\n{}", self.text());
            std::thread::yield_now();
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.shown.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).unwrap();
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, after which the terminal must be as it was.
    fn ends(mut self) -> ExitStatus {
        let mut status = None;
        until("top ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        until("the terminal is given back", || {
            let shown = self.shown.lock().unwrap();
            !shown.screen().alternate_screen() && !shown.screen().hide_cursor()
        });
        let after = tcgetattr(&self.terminal).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes, "echo and lines are as they were");
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status.unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_figures_are_shown_keys_do_what_they_say_and_q_ends_it() {
    let demo = Demo::start();
    let mut desk = Desk::start(&demo.url(), 80, 24, &[]);
    desk.until(&format!("miners   {MINERS} "));
    desk.until("healthy");
    desk.until(&format!("workers 1-{MINERS} of {MINERS}, by most rejects"));
    assert_ne!(tcgetattr(&desk.terminal).unwrap().local_modes, desk.before.local_modes, "keys come at once");
    assert!(desk.shown.lock().unwrap().screen().alternate_screen());
    for (key, told) in
        [("h", "highest hashrate"), ("s", "longest silent"), ("n", "name"), ("r", "most rejects")]
    {
        desk.press(key);
        desk.until(&format!(", by {told}"));
    }
    desk.press("/no such worker");
    desk.until("search: no such worker_");
    desk.press("\r");
    desk.until("workers with \"no such worker\": none");
    desk.press("\u{1b}");
    desk.until(&format!("of {MINERS}, by"));
    // Small, then large: nothing of the size before is left.
    desk.resize(40, 12);
    desk.until("workers 1-5 of 7");
    assert!(!desk.text().contains("SHARD"), "{}", desk.text());
    desk.resize(160, 40);
    desk.until("SHARD");
    desk.until("WHERE");
    let (name, accepted) = (desk.text(), http(demo.metrics, "/metrics").unwrap());
    assert!(name.lines().count() <= 40 && accepted.contains("loka_stratum_shares_accepted_total"));
    desk.press("q");
    assert_eq!(desk.ends().code(), Some(0));
}

#[test]
fn whatever_ends_it_the_terminal_is_given_back() {
    let demo = Demo::start();
    for ending in [None, Some(Signal::TERM), Some(Signal::INT), Some(Signal::HUP)] {
        let mut desk = Desk::start(&demo.url(), 80, 24, &[]);
        desk.until("miners");
        match ending {
            // As the user types it: the terminal makes no signal of it.
            None => desk.press("\u{3}"),
            Some(signal) => desk.signal(signal),
        }
        assert_eq!(desk.ends().code(), Some(0), "{ending:?}");
    }
}

#[test]
fn a_proxy_that_goes_is_told_and_one_that_comes_back_is_shown() {
    let demo = Demo::start();
    let (url, metrics) = (demo.url(), demo.metrics);
    let mut desk = Desk::start(&url, 100, 30, &[("NO_COLOR", "1")]);
    desk.until(&format!("miners   {MINERS} "));
    drop(demo);
    desk.until("LOST for");
    desk.until(&format!("no proxy answers at {url}"));
    assert!(desk.text().contains("miners"), "what was told last stays");
    let _demo = Demo::start_at(metrics);
    let is_shown = || !desk.text().contains("LOST") && desk.text().contains("up ");
    until("it is shown again", is_shown);
    desk.press("q");
    assert_eq!(desk.ends().code(), Some(0));
}

#[test]
fn once_is_text_and_without_a_terminal_nothing_else_is_to_be_had() {
    let demo = Demo::start();
    let url = demo.url();
    let output = finish(program().args(["top", "--once", "--url", &url]));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in [&format!("miners   {MINERS} "), "POOL ", "SHARD ", "WORKER ", "EVENT ", "workers 1-7 of 7"] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "no escape sequence");
    let output = finish(program().args(["top", "--url", &url]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = finish(program().args(["top", "--once", "--url", &nobody]));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains(&format!("no proxy answers at http://{nobody}")), "{complaint}");
    assert_eq!(finish(program().args(["top", "--url", "https://farm"])).status.code(), Some(2));
}
