//! The swarm against the pool with nothing between them: every count must agree on both sides.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loka_rig::{
    IdStyle, Load, Misbehaviour, Phase, PoolConfig, PoolHandle, PoolReport, Progress, Quirks, SwarmConfig,
    SwarmError, SwarmReport, run,
};

fn swarm_for(pool: &PoolHandle) -> SwarmConfig {
    SwarmConfig {
        target: pool.addr(),
        connections: 50,
        load: Load::ClosedLoop { in_flight: 4 },
        // Only a bound: the runs end by their number of shares.
        duration: Duration::from_secs(30),
        settle: Duration::from_secs(10),
        answers_target: Some(2000),
        ..SwarmConfig::default()
    }
}

fn run_to_end(config: &SwarmConfig) -> SwarmReport {
    run(config, &AtomicBool::new(false), &mut |_| {}).unwrap()
}

fn run_against(pool_config: PoolConfig, change: impl FnOnce(&mut SwarmConfig)) -> (SwarmReport, PoolReport) {
    let pool = PoolHandle::start(pool_config).unwrap();
    let mut config = swarm_for(&pool);
    change(&mut config);
    let swarm = run_to_end(&config);
    (swarm, pool.stop())
}

fn assert_clean(swarm: &SwarmReport, pool: &PoolReport, shares: u64) {
    assert_eq!(swarm.shares.sent, shares, "{swarm:?}");
    assert_eq!(swarm.shares.accepted + swarm.shares.rejected, shares, "{swarm:?}");
    assert_eq!((swarm.shares.lost, swarm.shares.duplicate_answers, swarm.shares.mismatched), (0, 0, 0));
    assert_eq!(swarm.submit_us.count, shares);
    assert_eq!(pool.shares_received, shares, "{pool:?}");
    assert_eq!(pool.shares_accepted, swarm.shares.accepted);
    assert_eq!(pool.shares_rejected, swarm.shares.rejected);
    assert_eq!((pool.shares_duplicate, pool.shares_malformed, pool.malformed_lines), (0, 0, 0));
    assert_eq!(pool.failure, None);
}

#[test]
fn two_hundred_miners_lose_nothing() {
    let (swarm, pool) = run_against(PoolConfig::default(), |config| {
        config.connections = 200;
        config.answers_target = Some(4000);
    });
    assert_clean(&swarm, &pool, 4000);
    assert_eq!((swarm.connected, swarm.ready, swarm.handshakes, swarm.disconnected), (200, 200, 200, 0));
    assert_eq!((pool.connections_accepted, pool.connections_max_seen), (200, 200));
    assert_eq!((pool.subscribes, pool.authorizes, pool.configures), (200, 200, 200));
    assert_eq!((pool.users_distinct, pool.users.len()), (200, 32));
    assert_eq!(pool.shares_with_version_bits, 4000);
    assert_eq!(pool.uniqueness_forgotten, 0);
    assert!(swarm.shares_per_second > 0.0 && swarm.submit_us.p50 > 0);
}

#[test]
fn an_uneven_target_is_met_exactly() {
    let (swarm, pool) = run_against(PoolConfig::default(), |config| {
        config.connections = 7;
        config.answers_target = Some(100);
    });
    assert_clean(&swarm, &pool, 100);
}

#[test]
fn a_miner_with_several_workers_authorizes_each_and_sends_for_each() {
    for pipelined in [true, false] {
        let (swarm, pool) = run_against(PoolConfig::default(), |config| {
            (config.connections, config.workers) = (7, 3);
            config.answers_target = Some(100);
            config.quirks.pipelined = pipelined;
        });
        // A share of a worker that was not authorized would be rejected.
        assert_clean(&swarm, &pool, 100);
        assert_eq!((swarm.shares.accepted, pool.authorizes, pool.users_distinct), (100, 21, 21));
        assert!(pool.users.iter().any(|user| user == "rig.00006-02"), "{:?}", pool.users);
    }
}

#[test]
fn every_id_style_and_handshake_is_understood() {
    for ids in [IdStyle::Unique, IdStyle::AlwaysFour, IdStyle::Strings, IdStyle::Large] {
        for (pipelined, version_bits) in [(true, true), (false, false)] {
            let (swarm, pool) = run_against(PoolConfig::default(), |config| {
                config.quirks = Quirks { ids, pipelined, version_bits, ..Quirks::default() };
            });
            assert_clean(&swarm, &pool, 2000);
            assert_eq!(pool.configures, if version_bits { 50 } else { 0 });
            assert_eq!(pool.shares_with_version_bits, if version_bits { 2000 } else { 0 });
        }
    }
}

#[test]
fn mixed_quirks_and_short_extranonces() {
    let config = PoolConfig { extranonce2_size: 2, version_mask: 0x00c0_0000, ..PoolConfig::default() };
    let (swarm, pool) = run_against(config, |config| config.quirks.mixed = true);
    assert_clean(&swarm, &pool, 2000);
    assert!(pool.configures > 0 && pool.configures < 50);
}

#[test]
fn rejections_follow_the_seed() {
    let rejected = |seed| {
        let config = PoolConfig { reject_permille: 250, seed, ..PoolConfig::default() };
        let (swarm, pool) = run_against(config, |_| {});
        assert_clean(&swarm, &pool, 2000);
        assert_eq!(pool.shares_low_difficulty, pool.shares_rejected);
        assert_eq!(swarm.reject_codes.get(&23), Some(&swarm.shares.rejected));
        swarm.shares.rejected
    };
    let first = rejected(1);
    assert_eq!(first, rejected(1));
    assert!((400..600).contains(&first), "a quarter of 2000 is about 500, not {first}");
}

#[test]
fn delayed_answers_take_their_time_and_arrive() {
    let config = PoolConfig { answer_delay: Duration::from_millis(20), ..PoolConfig::default() };
    let (swarm, pool) = run_against(config, |config| config.answers_target = Some(400));
    assert_clean(&swarm, &pool, 400);
    assert!(swarm.submit_us.min >= 20_000, "{:?}", swarm.submit_us);
}

#[test]
fn an_open_loop_keeps_its_schedule_in_round_robin() {
    let (swarm, pool) = run_against(PoolConfig::default(), |config| {
        config.load = Load::OpenLoop { per_second: 4000.0 };
        config.answers_target = Some(1000);
    });
    assert_clean(&swarm, &pool, 1000);
    assert_eq!(swarm.not_sent, 0);
    assert_eq!(swarm.send_lag_us.count, 1000);
    // A share is never sent before it is due: the last of 1,000 is due after 999 / 4,000 s.
    assert!(swarm.elapsed_s >= 0.249, "{}", swarm.elapsed_s);
}

#[test]
fn dribbled_bytes_are_put_together() {
    let config = PoolConfig { misbehaviour: Misbehaviour::DribbleBytes, ..PoolConfig::default() };
    let (swarm, pool) = run_against(config, |config| {
        config.connections = 5;
        config.answers_target = Some(50);
    });
    assert_clean(&swarm, &pool, 50);
}

#[test]
fn answers_given_twice_are_seen() {
    for ids in [IdStyle::Unique, IdStyle::Strings] {
        let config = PoolConfig { misbehaviour: Misbehaviour::AnswerTwice, ..PoolConfig::default() };
        let (swarm, pool) = run_against(config, |config| {
            config.quirks.ids = ids;
            config.connections = 10;
            config.answers_target = Some(100);
        });
        assert_eq!((swarm.shares.accepted, swarm.shares.lost, swarm.shares.mismatched), (100, 0, 0));
        assert_eq!(swarm.shares.duplicate_answers, 100, "{:?}", swarm.shares);
        assert_eq!((swarm.disconnected, pool.connections_ended_by_peer), (0, 10));
    }
}

#[test]
fn killed_connections_lose_their_shares() {
    // The delay is far longer than the test: every share is in flight when the pool dies.
    let config = PoolConfig { answer_delay: Duration::from_secs(600), ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let config = SwarmConfig { answers_target: None, ..swarm_for(&pool) };
    let mut killed = 0;
    let swarm = run(&config, &AtomicBool::new(false), &mut |_| {
        if killed == 0 && pool.report().shares_received == 200 {
            killed = pool.kill_connections();
        }
    });
    let swarm = swarm.unwrap();
    assert_eq!(killed, 50);
    assert_eq!((swarm.shares.sent, swarm.shares.lost, swarm.disconnected), (200, 200, 50));
    assert_eq!(pool.stop().connections_killed, 50);
}

#[test]
fn a_target_out_of_reach_ends_the_run() {
    let config = PoolConfig { misbehaviour: Misbehaviour::CloseAfterShares(10), ..PoolConfig::default() };
    let (swarm, pool) = run_against(config, |config| {
        config.connections = 4;
        config.load = Load::ClosedLoop { in_flight: 1 };
        config.answers_target = Some(400);
    });
    assert_eq!((swarm.shares.accepted, swarm.disconnected, pool.shares_accepted), (40, 4, 40));
    assert!(swarm.elapsed_s < 10.0);
}

#[test]
fn lost_connections_are_dialled_again() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let mut config = swarm_for(&pool);
    config.answers_target = None;
    config.quirks.reconnect = true;
    let stop = AtomicBool::new(false);
    let mut killed = false;
    let swarm = run(&config, &stop, &mut |progress: &Progress| {
        if !killed && progress.phase == Phase::Measure {
            killed = pool.kill_connections() == 50;
        } else if killed && progress.handshakes == 100 && progress.ready == 50 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let (swarm, pool) = (swarm.unwrap(), pool.stop());
    assert_eq!((swarm.reconnects, swarm.handshakes, swarm.disconnected), (50, 100, 50));
    assert_eq!((pool.connections_accepted, pool.shares_duplicate), (100, 0));
    assert!(swarm.stopped);
    let shares = swarm.shares;
    assert_eq!(shares.sent, shares.accepted + shares.rejected + shares.lost);
}

#[test]
fn a_storm_shakes_every_hand() {
    let (swarm, pool) = run_against(PoolConfig::default(), |config| {
        config.load = Load::Storm { connects: 500, concurrency: 32 };
        config.quirks.mixed = true;
    });
    assert_eq!((swarm.handshakes, swarm.connected, swarm.connect_failed), (500, 500, 0));
    assert_eq!((swarm.handshake_us.count, swarm.disconnected), (500, 0));
    assert_eq!(pool.connections_accepted, 500);
    assert!(pool.connections_max_seen <= 64 && swarm.handshakes_per_second > 0.0);
}

#[test]
fn idle_miners_stay_and_take_jobs() {
    let config = PoolConfig { notify_interval: Duration::from_millis(50), ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let config = SwarmConfig { load: Load::Idle, ramp: Duration::from_millis(50), ..swarm_for(&pool) };
    let stop = AtomicBool::new(false);
    let swarm = run(&config, &stop, &mut |_| {
        stop.store(pool.report().jobs >= 12, Ordering::Relaxed);
    });
    let swarm = swarm.unwrap();
    assert_eq!((swarm.ready, swarm.disconnected, swarm.shares.sent), (50, 0, 0));
    assert!(swarm.jobs_received >= 50, "{}", swarm.jobs_received);
    assert!(pool.stop().jobs_sent >= swarm.jobs_received);
}

#[test]
fn a_share_for_an_ended_job_is_unknown_not_lost() {
    let config = PoolConfig { notify_interval: Duration::from_millis(1), ..PoolConfig::default() };
    let (swarm, pool) = run_against(config, |_| {});
    assert_clean(&swarm, &pool, 2000);
    assert_eq!(pool.shares_rejected, pool.shares_unknown_job);
}

#[test]
fn a_pool_that_is_down_or_full_is_an_error_with_the_reason() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let config = SwarmConfig { connections: 3, ..swarm_for(&pool) };
    drop(pool);
    let error = run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("3 connects failed"), "{error}");

    let config = PoolConfig { misbehaviour: Misbehaviour::ServerFull, ..PoolConfig::default() };
    let pool = PoolHandle::start(config).unwrap();
    let config = SwarmConfig { connections: 3, ..swarm_for(&pool) };
    let error = run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(matches!(error, SwarmError::NobodyReady { refused: 3, .. }), "{error}");
    assert!(error.to_string().contains("Server full"), "{error}");
}

#[test]
fn connections_over_the_limit_are_refused() {
    let config = PoolConfig { connections_max: 10, ..PoolConfig::default() };
    let (swarm, pool) = run_against(config, |config| {
        config.connections = 15;
        config.load = Load::Idle;
        config.duration = Duration::from_millis(1);
        config.answers_target = None;
    });
    assert_eq!((swarm.ready, swarm.disconnected), (10, 5));
    assert_eq!((pool.connections_refused, pool.connections_max_seen), (5, 10));
}

#[test]
fn configs_out_of_range_are_refused() {
    let refused = |config: PoolConfig| PoolHandle::start(config).is_err();
    assert!(refused(PoolConfig { extranonce2_size: 0, ..PoolConfig::default() }));
    assert!(refused(PoolConfig { merkle_branches: 33, ..PoolConfig::default() }));
    assert!(refused(PoolConfig { reject_permille: 1001, ..PoolConfig::default() }));
    assert!(refused(PoolConfig { difficulty: f64::NAN, ..PoolConfig::default() }));
    for load in [
        Load::OpenLoop { per_second: 0.0 },
        Load::ClosedLoop { in_flight: 0 },
        Load::Storm { connects: 0, concurrency: 1 },
    ] {
        let config = SwarmConfig { load, ..SwarmConfig::default() };
        let error = run(&config, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
        assert!(matches!(error, SwarmError::Config(_)), "{error}");
    }
}
