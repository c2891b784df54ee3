//! T3 and T4: those that say nothing, one byte at a time, or never read.

use crate::honest::{Honest, crew, ended, pool, proxy};
use crate::support::{PATIENCE, Proxy, raise_open_files, until};
use loka_attacks::{Conduct, Crew, CrewConfig};
use loka_rig::PoolHandle;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

#[test]
fn who_says_nothing_or_a_byte_at_a_time_is_evicted_and_an_honest_miner_gets_in() {
    const SILENT: u64 = 300;
    const SLOW: u64 = 100;
    raise_open_files();
    let pool = pool();
    let proxy = proxy(&pool, &["server.handshake_timeout=3s"]);
    let started = [(Conduct::Silent, SILENT), (Conduct::OneByte, SLOW)].map(|(conduct, count)| {
        let config = crew(&proxy, conduct, usize::try_from(count).unwrap());
        Crew::start(CrewConfig { connects_max: Some(count), ..config }).unwrap()
    });
    until("all stand there", || proxy.metric("loka_stratum_active_connections") == (SILENT + SLOW) as f64);
    let mut honest = Honest::start(&proxy);
    honest.share();
    until("all are evicted", || ended(&proxy, "handshake_timeout") == (SILENT + SLOW) as f64);
    for mut crew in started {
        let told = crew.wait().unwrap();
        assert_eq!(told.ended_by_other, told.connects, "each of them was told so");
    }
    honest.share();
    assert_eq!(pool.report().connections_accepted, 1, "the pool never heard of them");
}

/// A job of 20 KB that is like no other.
fn large_job(number: usize) -> String {
    let (hash, coinbase) = ("0".repeat(64), "00".repeat(10_000));
    let job =
        format!(r#""large{number}","{hash}","{coinbase}","00",[],"20000000","1703a30c","5e8c1e2a",false"#);
    format!(r#"{{"id":null,"method":"mining.notify","params":[{job}]}}"#)
}

/// A pool, the proxy, the honest miner and readers that have all had their handshake.
fn with_readers(readers: usize) -> (PoolHandle, Proxy, Honest, Crew) {
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let honest = Honest::start(&proxy);
    let crew = Crew::start(crew(&proxy, Conduct::NeverReads, readers)).unwrap();
    until("all are miners", || pool.report().authorizes == readers as u64 + 1);
    (pool, proxy, honest, crew)
}

#[test]
fn readers_that_never_read_cost_their_queues_and_nobody_else() {
    const READERS: usize = 8;
    /// Two queues of at most 384 KiB each, and what the allocator rounds up.
    const READER_BYTES_MAX: u64 = MIB;
    let (pool, proxy, mut honest, crew) = with_readers(READERS);
    let before = proxy.memory("RssAnon");
    let mut peak = before;
    // The pool gives up on whom it cannot send to: everything between it and the readers is full then.
    let mut jobs = 0;
    until("nothing more goes through to any of them", || {
        for _ in 0..4 {
            jobs += 1;
            pool.broadcast(&large_job(jobs));
        }
        honest.share();
        peak = peak.max(proxy.memory("RssAnon"));
        pool.report().connections_slow == READERS as u64
    });
    let growth = peak - before;
    eprintln!(
        "{READERS} readers cost {growth} bytes while {} bytes were sent",
        pool.report().answers_written_bytes
    );
    assert!(growth < READERS as u64 * READER_BYTES_MAX, "{growth} bytes");
    honest.share();
    crew.stop().unwrap();
}

/// The ends that were counted.
fn told(proxy: &Proxy) -> String {
    let text = crate::support::http(proxy.metrics, "/metrics").unwrap();
    let ended = |line: &&str| line.contains("connections_ended_total{") && !line.ends_with(" 0");
    text.lines().filter(ended).collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "takes 40 s: a reader is given 30 s: cargo test --test threats -- --ignored"]
fn readers_that_never_read_are_evicted() {
    const READERS: usize = 8;
    let (pool, proxy, mut honest, crew) = with_readers(READERS);
    let deadline = Instant::now() + 3 * PATIENCE;
    let mut jobs = 0;
    while ended(&proxy, "slow_reader") < READERS as f64 {
        assert!(Instant::now() < deadline, "waited in vain: {}, {:?}", told(&proxy), pool.report());
        // Enough for the buffers of both kernels and for the queue, and not for the pool to lose its patience.
        if jobs < 300 {
            jobs += 1;
            pool.broadcast(&large_job(jobs));
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
        honest.share();
    }
    crew.stop().unwrap();
}
