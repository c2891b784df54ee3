//! What is logged, in which form, and what is not.

use super::*;
use crate::config::LogLevel;
use loka_proto::middleware::MessageLog;
use loka_proto::session::ClientId;
use loka_proto::{Flow, Method, Reject, RejectClass, Verdict};
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged by `happen`.
fn logged(filter: &str, format: LogFormat, happen: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = page.clone();
    let filter = LogFilter::parse(filter).unwrap();
    let (subscriber, _) = subscriber(&filter, format, false, move || writer.clone());
    tracing::subscriber::with_default(subscriber, happen);
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn some_of_each() {
    tracing::info!(target: "loka_stratum::shard", "ours");
    tracing::debug!(target: "loka_stratum::link", "detail");
    tracing::info!(target: "glommio::reactor", "chatter");
    tracing::warn!(target: "glommio::reactor", "trouble");
}

#[test]
fn levels_and_targets() {
    let cases: [(&str, &[&str]); 9] = [
        ("info", &["ours", "trouble"]),
        ("debug", &["ours", "detail", "trouble"]),
        ("error", &[]),
        ("off", &[]),
        // A target stands beside the level.
        ("info,loka_stratum::link=debug", &["ours", "detail", "trouble"]),
        (" warn , loka_stratum::link=debug ,", &["detail", "trouble"]),
        ("glommio=info", &["ours", "chatter", "trouble"]),
        ("loka_stratum=off", &["trouble"]),
        ("off,loka_stratum=info,loka_stratum::shard=off", &[]),
    ];
    for (filter, expected) in cases {
        let text = logged(filter, LogFormat::Text, some_of_each);
        let lines: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').unwrap().1).collect();
        assert_eq!(lines, expected, "{filter:?}");
    }
}

#[test]
fn what_is_logged_changes_while_it_runs() {
    let page = Page::default();
    let writer = page.clone();
    let (subscriber, levels) =
        subscriber(&LogFilter::all(LogLevel::Warn), LogFormat::Text, false, move || writer.clone());
    tracing::subscriber::with_default(subscriber, || {
        some_of_each();
        assert_eq!(levels.set("warn,loka_stratum::link=debug").unwrap(), levels.now().unwrap());
        some_of_each();
        let error = levels.set("warn,loka_stratum::link=loud").unwrap_err().to_string();
        assert!(error.starts_with("log level: \"loud\" in"), "{error}");
        assert_eq!(levels.now().unwrap().to_string(), "warn,loka_stratum::link=debug");
        levels.set("off").unwrap();
        some_of_each();
    });
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(lines, ["trouble", "detail", "trouble"]);
    assert_eq!(LogLevels::default().set("info"), Err(LogLevelError::NoLog));
    assert_eq!(LogLevels::default().now(), None);
}

#[test]
fn text_has_utc_times_and_no_colours() {
    let text = logged("info", LogFormat::Text, || tracing::info!(miners = 3, "hello"));
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.contains('T'), "{text}");
    assert!(rest.contains("INFO") && rest.contains("hello miners=3") && !text.contains('\x1b'), "{text}");
}

#[test]
fn json_is_an_object_a_line() {
    let text = logged("info", LogFormat::Json, || {
        tracing::info!(miners = 3, "two\nlines \"quoted\"");
        tracing::warn!("again");
    });
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["level"], &lines[0]["miners"]), (&"INFO".into(), &3.into()));
    assert_eq!(lines[0]["message"], "two\nlines \"quoted\"");
    assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
}

fn dialogue() {
    let mut log = TraceLog;
    let client = ClientId(7);
    log.request(client, Method::Submit, b"{\"id\":1,\x1b[31m\"\xff\n", Flow::Pass);
    log.request(client, Method::Unknown, &[b'a'; 1000], Flow::Reject(Reject::RateLimited));
    log.request(client, Method::Authorize, br#"{"params":["w","hunter2"]}"#, Flow::Pass);
    log.verdict(client, Verdict::Rejected(RejectClass::Stale));
}

#[test]
fn messages_are_logged_when_asked_for() {
    assert_eq!(logged("debug", LogFormat::Text, dialogue), "");
    let text = logged("loka_stratum::protocol=trace", LogFormat::Text, dialogue);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("client=7") && lines[0].contains("method=\"submit\""), "{text}");
    assert!(lines[0].contains(r#"line={"id":1,\x1b[31m"\xff\x0a"#), "{text}");
    assert!(lines[1].contains("outcome=reject rate_limited"), "{text}");
    assert!(lines[1].contains("aaa... (1000 bytes)") && lines[1].len() < 450, "{text}");
    assert!(!text.contains("hunter2") && lines[2].contains("(26 bytes with a password)"), "{text}");
    assert!(lines[3].contains("outcome=\"stale\""), "{text}");
}

fn log_file(path: impl Into<PathBuf>) -> LogFile {
    LogFile { path: path.into(), rotate_bytes: None, rotate_keep: 1 }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = open(&log_file("/nowhere/loka.log"), ReopenWish::default()).err().unwrap().to_string();
    assert!(error.starts_with("cannot open the log file /nowhere/loka.log: "), "{error}");
}

/// Set for the process that [`in_a_process_of_its_own`] is run in again.
const CHILD: &str = "LOKA_TEST_LOG_FILE";

/// Logging belongs to a whole process, so this test runs itself in another one.
#[test]
fn in_a_process_of_its_own() {
    if let Some(path) = std::env::var_os(CHILD) {
        let (level, file) = (LogFilter::all(LogLevel::Error), Some(log_file(path)));
        let config = LoggingConfig { level, format: LogFormat::Json, file };
        let guard = init(&config).unwrap();
        assert!(matches!(init(&LoggingConfig { file: None, ..config }), Err(LogError::Twice)));
        // What other crates log is held back until the level allows it, too.
        tracing_log::log::warn!(target: "glommio", "not yet");
        guard.handle().levels.set("info").unwrap();
        tracing_log::log::warn!(target: "glommio", "from the log crate");
        tracing_log::log::info!(target: "glommio", "chatter");
        let broken = std::thread::Builder::new().name("shard-3".to_owned());
        let broken = broken.spawn(|| panic!("invariant\nbroken: {}", 42)).unwrap();
        assert!(broken.join().is_err());
        assert_eq!(guard.handle().dropped.count(), 0);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loka.log");
    std::fs::write(&path, "{\"message\":\"kept\"}\n").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logging::tests::in_a_process_of_its_own", "--nocapture"])
        .env(CHILD, &path)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert!(!stderr.contains("panicked at") && !stderr.contains("invariant"), "{stderr}");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["kept", "from the log crate", "panic: this is a bug"]);
    let panic = &lines[2];
    assert_eq!((&panic["level"], &panic["thread"]), (&"ERROR".into(), &"shard-3".into()));
    assert_eq!(panic["reason"], "invariant\nbroken: 42");
    assert!(panic["location"].as_str().unwrap().contains("logging/tests.rs:"));
}

#[test]
fn a_full_queue_drops_and_counts() {
    /// Blocks until the test lets go.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Lines for Stuck {
        fn write_line(&mut self, _line: &[u8]) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }
    }

    let (let_go, stuck) = std::sync::mpsc::channel();
    let unwritten = Arc::default();
    let (mut writer, guard) = lossy(Stuck(stuck), &unwritten);
    let dropped = DroppedLines { queue: Some(writer.error_counter()), unwritten };
    for _ in 0..LINES_MAX + 10 {
        writer.write_all(b"line\n").unwrap();
    }
    // One line more may be with the writer than fits the queue.
    assert!((9..=10).contains(&dropped.count()), "{}", dropped.count());
    drop(let_go);
    drop(guard);
}
