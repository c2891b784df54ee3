//! Trouble with the file: a full disk, a limit, a lock, a broken file, a process that is killed. Miners never notice.

use super::*;
use rusqlite::Connection;
use rustix::process::Signal;
use std::process::Command;

fn failures(proxy: &Proxy, kind: &str) -> f64 {
    proxy.labelled(&format!("loka_stratum_records_failures_total{{kind=\"{kind}\"}}"))
}

/// Miners work as if nothing was, and all that they did is written when the trouble is over.
fn works_on(proxy: &Proxy, pool: &PoolHandle) {
    let before = pool.report().shares_received;
    // Their rows need more room than the small disks of these tests have.
    let swarm = farm(proxy, 500, 2_000);
    assert_eq!((swarm.disconnected, swarm.shares.lost), (0, 0));
    assert_eq!(pool.report().shares_received, before + swarm.shares.sent);
}

fn all_is_written(proxy: &Proxy, pool: &PoolHandle, file: &Path) {
    until("all is written", || {
        let ledger = pool.report();
        summary(file)["accepted"].as_u64() == Some(ledger.shares_accepted)
    });
    assert_eq!(proxy.metric("loka_stratum_records_shares_lost_total"), 0.0);
}

#[test]
fn a_lock_of_another_program_costs_nothing() {
    let place = place();
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = recording(&pool, &place.file, &[]);
    until("the file is there", || proxy.metric("loka_stratum_records_file_bytes") > 0.0);
    let other = Connection::open(&place.file).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    works_on(&proxy, &pool);
    until("it was tried", || failures(&proxy, "busy") > 0.0);
    assert!(proxy.metric("loka_stratum_records_pending_rows") > 0.0);
    other.execute_batch("COMMIT").unwrap();
    all_is_written(&proxy, &pool, &place.file);
}

/// The file may not grow beyond some KiB: the kernel refuses, as it does for a quota.
#[test]
fn a_file_that_may_not_grow_costs_nothing() {
    raise_open_files();
    let place = place();
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let file = format!("records.file={}", place.file.display());
    // In blocks of 512 bytes: what the tables need, and not more.
    let proxy = Proxy::start_limited("-S -f 112", pool.addr(), &["--set", &file, "--shards", "2"]);
    until("it was tried", || {
        works_on(&proxy, &pool);
        failures(&proxy, "io") + failures(&proxy, "full") > 0.0
    });
    proxy.lift_file_size();
    all_is_written(&proxy, &pool, &place.file);
}

/// A disk of a few hundred KiB, which only a user namespace can give a test; where there is none this says so and ends.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn a_full_disk_costs_nothing() {
    let place = place();
    let disk = place.file.parent().unwrap().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=300k tmpfs {}", disk.display());
    let probe = finish(Command::new("unshare").args(["-rm", "sh", "-c", &mount]));
    if !probe.status.success() {
        return eprintln!("left out: no file system can be mounted here");
    }
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut small = Command::new("unshare");
    let run = format!("{mount} && exec \"$0\" \"$@\"");
    small.args(["-rm", "sh", "-c", &run, env!("CARGO_BIN_EXE_loka-stratum")]);
    let file = disk.join("records.sqlite");
    let setting = format!("records.file={}", file.display());
    let proxy = Proxy::start_as(small, pool.addr(), &["--set", &setting, "--shards", "2"]);
    // The disk as the process sees it.
    let seen = proxy.root().join(file.strip_prefix("/").unwrap());
    until("the file is there", || seen.exists());
    let filler = seen.with_file_name("filler");
    until("the disk is full", || std::fs::write(&filler, vec![b'x'; 4_096]).is_err() || fill(&filler));
    until("it was tried", || {
        works_on(&proxy, &pool);
        failures(&proxy, "full") + failures(&proxy, "io") > 0.0
    });
    std::fs::remove_file(&filler).unwrap();
    until("all is written", || copied(&proxy, &seen, &place.file) == Some(pool.report().shares_accepted));
    assert_eq!(proxy.metric("loka_stratum_records_shares_lost_total"), 0.0);
}

/// What a copy tells that is made while the proxy stands still: SQLite itself finds no way onto a disk of another namespace.
fn copied(proxy: &Proxy, from: &Path, to: &Path) -> Option<u64> {
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    proxy.signal(Signal::STOP);
    std::fs::copy(from, to).unwrap();
    std::fs::copy(log(from), log(to)).unwrap();
    proxy.signal(Signal::CONT);
    let accepted = summary(to)["accepted"].as_u64();
    // The index of the log belongs to this copy.
    let _ = std::fs::remove_file(format!("{}-shm", to.display()));
    accepted
}

/// True when nothing more can be written.
fn fill(file: &Path) -> bool {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    while file.write_all(&[b'x'; 512]).is_ok() {}
    true
}

#[test]
fn a_broken_file_is_put_aside_and_a_new_one_begun() {
    let place = place();
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    std::fs::write(&place.file, vec![0xab; 20_000]).unwrap();
    let proxy = recording(&pool, &place.file, &[]);
    works_on(&proxy, &pool);
    all_is_written(&proxy, &pool, &place.file);
    assert_eq!(failures(&proxy, "corrupt"), 1.0);
    let names = std::fs::read_dir(place.file.parent().unwrap()).unwrap().flatten();
    let aside = names.filter(|name| name.file_name().to_string_lossy().contains(".broken-"));
    assert_eq!(aside.map(|name| std::fs::metadata(name.path()).unwrap().len()).collect::<Vec<_>>(), [20_000]);
}

/// Killed in the middle of writing, again and again: what was committed is there, nothing is there twice, and the file is whole.
#[test]
fn a_process_that_is_killed_leaves_a_whole_file() {
    let place = place();
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut committed = 0;
    for round in 0..3_u64 {
        let proxy = recording(&pool, &place.file, &[]);
        let before = proxy.labelled(ROWS);
        farm(&proxy, 100, 3_000);
        if round > 0 {
            until("something was written", || proxy.labelled(ROWS) > before);
            committed = summary(&place.file)["accepted"].as_u64().unwrap();
            assert!(committed > 0);
        }
        farm(&proxy, 100, 1_000);
        proxy.signal(Signal::KILL);
        assert!(!proxy.wait().success());
        let file = Connection::open(&place.file).unwrap();
        let whole: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        drop(file);
        let there = summary(&place.file);
        let accepted = there["accepted"].as_u64().unwrap();
        assert!((committed..=pool.report().shares_accepted).contains(&accepted), "{committed} {accepted}");
        let work = PoolConfig::default().difficulty * accepted as f64;
        assert_eq!(there["difficulty"].as_f64(), Some(work));
    }
}
