//! What changes under a miner's feet: its extranonce, its jobs, its connection; and the ledgers of both ends afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loka_rig::{
    Fault, Load, Miner, Misbehaviour, Phase, PoolConfig, PoolHandle, PoolReport, Progress, Quirks, Relay,
    RelayConfig, Submit, SwarmConfig, SwarmReport, run,
};

const MINERS: u64 = 30;

fn swarm_for(pool: &PoolHandle) -> SwarmConfig {
    SwarmConfig {
        target: pool.addr(),
        connections: MINERS as usize,
        load: Load::ClosedLoop { in_flight: 2 },
        duration: Duration::from_secs(30),
        settle: Duration::from_secs(10),
        extranonce: true,
        ..SwarmConfig::default()
    }
}

fn assert_balance(swarm: &SwarmReport, pool: &PoolReport) {
    let shares = swarm.shares;
    assert_eq!(shares.sent, shares.accepted + shares.rejected + shares.lost);
    assert_eq!((shares.duplicate_answers, shares.mismatched), (0, 0));
    assert_eq!(swarm.reject_codes.values().sum::<u64>(), shares.rejected);
    let reasons = pool.shares_low_difficulty
        + pool.shares_duplicate
        + pool.shares_unknown_job
        + pool.shares_malformed
        + pool.shares_unauthorized
        + pool.shares_not_subscribed;
    assert_eq!(pool.shares_rejected, reasons);
    assert_eq!(pool.shares_received, pool.shares_accepted + pool.shares_rejected + pool.shares_unanswered);
    assert_eq!((pool.shares_duplicate, pool.malformed_lines), (0, 0));
}

/// Runs until the swarm has had `more` shares accepted after `change`, which is made once the first are.
fn run_through_a_change(config: &SwarmConfig, more: u64, mut change: impl FnMut()) -> SwarmReport {
    let stop = AtomicBool::new(false);
    let mut changed_at = None;
    let swarm = run(config, &stop, &mut |progress: &Progress| {
        let accepted = progress.shares.accepted;
        match changed_at {
            None if progress.phase == Phase::Measure && accepted > 0 => {
                change();
                changed_at = Some(accepted);
            }
            Some(before) if accepted >= before + more => stop.store(true, Ordering::Relaxed),
            None | Some(_) => {}
        }
    });
    assert!(changed_at.is_some() && stop.load(Ordering::Relaxed), "the run ended before its change had");
    swarm.unwrap()
}

#[test]
fn a_new_extranonce_is_followed_from_the_next_job_on() {
    for quirks in [
        Quirks::default(),
        Quirks { pipelined: false, ..Quirks::default() },
        Quirks { mixed: true, ..Quirks::default() },
    ] {
        let pool = PoolHandle::start(PoolConfig::default()).unwrap();
        let config = SwarmConfig { quirks, ..swarm_for(&pool) };
        let mut told = 0;
        let swarm = run_through_a_change(&config, 500, || told = pool.set_extranonce(3).unwrap());
        let pool = pool.stop();
        assert_balance(&swarm, &pool);
        assert_eq!((told, pool.extranonces_changed, swarm.extranonces), (MINERS, MINERS, MINERS));
        assert_eq!((pool.extranonce_subscribes, swarm.shares.lost), (MINERS, 0));
        assert_eq!(
            (swarm.shares.accepted, swarm.shares.rejected),
            (pool.shares_accepted, pool.shares_rejected)
        );
        // Shares of the old size were for jobs that the clean one ended, and those are judged by their job.
        assert_eq!(pool.shares_rejected, pool.shares_unknown_job, "{pool:?}");
        assert_eq!(swarm.reject_codes.get(&21).copied().unwrap_or(0), swarm.shares.rejected);
    }
}

#[test]
fn an_extranonce_nobody_asked_for_is_counted_and_not_followed() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let config = SwarmConfig { extranonce: false, ..swarm_for(&pool) };
    let swarm = run_through_a_change(&config, 100, || {
        assert_eq!(pool.set_extranonce(3).unwrap(), 0, "nobody has subscribed");
        let line = r#"{"id":null,"method":"mining.set_extranonce","params":["0badcafe",2]}"#;
        assert_eq!(pool.broadcast(line), MINERS);
        pool.notify(false);
    });
    let pool = pool.stop();
    assert_balance(&swarm, &pool);
    assert_eq!((swarm.extranonces_unasked, swarm.extranonces, pool.shares_malformed), (MINERS, 0, 0));
}

#[test]
fn a_useless_extranonce_is_not_taken() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let swarm = run_through_a_change(&swarm_for(&pool), 100, || {
        for params in [r#"["0badcafe",0]"#, r#"["0badcafe",17]"#, r#"["",4]"#, r#"["xyz",4]"#, "[]", "[7,4]"]
        {
            pool.broadcast(&format!(r#"{{"id":null,"method":"mining.set_extranonce","params":{params}}}"#));
        }
        pool.notify(false);
    });
    assert_balance(&swarm, &pool.stop());
    assert_eq!((swarm.extranonces, swarm.malformed_lines), (0, 6 * MINERS));
}

#[test]
fn a_pool_without_extranonce_subscription_is_mined_for_all_the_same() {
    for misbehaviour in [Misbehaviour::RejectExtranonceSubscribe, Misbehaviour::SilentExtranonceSubscribe] {
        for pipelined in [true, false] {
            let pool = PoolHandle::start(PoolConfig { misbehaviour, ..PoolConfig::default() }).unwrap();
            let quirks = Quirks { pipelined, ..Quirks::default() };
            let config = SwarmConfig { quirks, answers_target: Some(300), ..swarm_for(&pool) };
            let swarm = run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap();
            assert_eq!((swarm.shares.accepted, swarm.refused), (300, 0));
            assert_eq!(pool.set_extranonce(4).unwrap(), 0);
        }
    }
}

#[test]
fn an_extranonce_size_out_of_range_is_refused() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    assert!(pool.set_extranonce(0).is_err() && pool.set_extranonce(17).is_err());
}

#[test]
fn lost_connections_leave_ledgers_that_agree() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let relay = Relay::start(RelayConfig::to(pool.addr())).unwrap();
    let quirks = Quirks { reconnect: true, ..Quirks::default() };
    let config = SwarmConfig { target: relay.addr(), quirks, ..swarm_for(&pool) };
    let swarm = run_through_a_change(&config, 500, || {
        relay.set(Fault::RefuseConnections);
        assert_eq!(relay.reset_all(), MINERS);
        relay.set(Fault::None);
    });
    let (pool, relay) = (pool.stop(), relay.stop());
    assert_balance(&swarm, &pool);
    assert_eq!((swarm.disconnected, swarm.handshakes), (MINERS, 2 * MINERS), "{swarm:?}");
    assert_eq!((swarm.reconnects, relay.connections), (MINERS, 2 * MINERS));
    // A lost share may have reached the pool; nothing else may be counted there and not here.
    assert!(pool.shares_accepted >= swarm.shares.accepted);
    assert!(pool.shares_accepted - swarm.shares.accepted <= swarm.shares.lost, "{swarm:?} {pool:?}");
    assert!(swarm.shares.lost <= 2 * MINERS, "no more than were in flight");
}

#[test]
fn job_ids_of_two_pools_collide_or_not_as_asked() {
    let first_job = |seed, prefix: &str| {
        let config = PoolConfig { seed, job_id_prefix: prefix.to_owned(), ..PoolConfig::default() };
        let pool = PoolHandle::start(config).unwrap();
        Miner::connect(pool.addr()).unwrap().handshake("farm.a").unwrap().job_id
    };
    assert_eq!(first_job(1, "j-"), "j-00000001");
    assert_eq!(first_job(1, "j-"), first_job(2, "j-"));
    assert_ne!(first_job(1, ""), first_job(2, ""));
    for prefix in ["quo\"te", "back\\slash", "new\nline", "ümlaut", &"x".repeat(33)] {
        let config = PoolConfig { job_id_prefix: prefix.to_owned(), ..PoolConfig::default() };
        assert!(PoolHandle::start(config).is_err(), "{prefix:?}");
    }
}

#[test]
fn a_job_of_another_connection_is_unknown() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut early = Miner::connect(pool.addr()).unwrap();
    let old = early.handshake("farm.a").unwrap();
    assert_eq!(pool.notify(false), 1);
    let mut late = Miner::connect(pool.addr()).unwrap();
    let new = late.handshake("farm.a").unwrap();
    let share = |job_id| Submit {
        id: "9",
        user: "farm.a",
        job_id,
        extranonce2: "0000000000000001",
        ntime: &old.ntime,
        nonce: "00000001",
        version_bits: None,
    };
    let answer = |miner: &mut Miner, job_id| {
        miner.submit(&share(job_id)).unwrap();
        miner.answer_to("9").unwrap()
    };
    assert!(answer(&mut late, &old.job_id).contains("[21,"), "it was given out before this connection came");
    assert!(answer(&mut early, &old.job_id).contains("true"));
    assert!(answer(&mut early, &new.job_id).contains("true"));
    assert!(answer(&mut late, &new.job_id).contains("true"));
    assert_eq!(pool.stop().shares_unknown_job, 1);
}
