//! The table of metrics: name, labels, help, and where the figure comes from. Nothing else knows a name.
//!
//! Names follow the conventions of Prometheus: base units, `_total` for counters. All series of a family are there from
//! the start, at zero, so that rates and alerts work from the first event on.

use super::readings::{allocator, bytes, messages, pools, protocol_errors, rate_limit_hits, shards};
use super::series::{Family, counter, gauge, seconds};
use crate::aggregate::PoolShown;
use crate::records::{CentralFailure, CentralTable, RecordsFailure};
use crate::refusals::ApiRefusal;
use loka_proto::{BlockAnswer, Direction, End, Filtered, PoolLoss, PoolState, Reject, RejectClass};
use loka_runtime::MemoryLoad;
use std::time::{Duration, UNIX_EPOCH};

/// Every metric family there is.
pub static FAMILIES: &[Family] = &[
    // Connections of miners.
    counter("loka_stratum_connections_total", &[], "Connections of miners accepted.", |now, out| {
        out.count(now.shell(|shell| shell.accepted));
    }),
    gauge("loka_stratum_active_connections", &[], "Miners connected now.", |now, out| {
        out.count(now.shell(|shell| shell.connections));
    }),
    counter(
        "loka_stratum_connections_ended_total",
        &["reason"],
        "Connections ended, by reason.",
        |now, out| {
            let ends = &now.stats.counts.ends;
            End::ALL.iter().for_each(|end| out.value(&[end.label()], ends[end.index()] as f64));
        },
    ),
    counter("loka_stratum_connection_errors_total", &[], "Connections ended by a fault.", |now, out| {
        out.count(now.connection_errors());
    }),
    counter("loka_stratum_accept_errors_total", &[], "Failed attempts to accept a miner.", |now, out| {
        out.count(now.shell(|shell| shell.accept_errors));
    }),
    counter(
        "loka_stratum_links_handed_over_total",
        &[],
        "Connections that went on in another process.",
        |now, out| out.count(now.shell(|shell| shell.handed_over)),
    ),
    counter(
        "loka_stratum_links_taken_over_total",
        &["result"],
        "Connections that came from another process.",
        |now, out| {
            let (all, bad) = (now.shell(|shell| shell.taken_over), now.shell(|shell| shell.not_taken_over));
            out.value(&["kept"], all.saturating_sub(bad) as f64);
            out.value(&["closed"], bad as f64);
        },
    ),
    counter(
        "loka_stratum_security_violations_total",
        &["kind"],
        "Connections that ended for what they did, by kind.",
        |now, out| {
            let ends = &now.stats.counts.ends;
            let offences = End::ALL.iter().filter(|end| end.offence(true).is_some());
            offences.for_each(|end| out.value(&[end.label()], ends[end.index()] as f64));
        },
    ),
    counter(
        "loka_stratum_rate_limit_hits_total",
        &["kind"],
        "Times somebody was held to a limit a minute, by limit.",
        rate_limit_hits,
    ),
    counter("loka_stratum_addresses_blocked_total", &[], "Times an address was kept out.", |now, out| {
        out.count(now.blocks.total);
    }),
    gauge("loka_stratum_blocked_addresses", &[], "Addresses kept out now.", |now, out| {
        out.count(now.blocks.standing as u64);
    }),
    gauge("loka_stratum_memory_used_bytes", &[], "Memory that counts towards the limit.", |now, out| {
        out.count(now.memory.used_bytes);
    }),
    gauge(
        "loka_stratum_memory_limit_bytes",
        &[],
        "Memory that the proxy may use; 0: not known.",
        |now, out| {
            out.count(now.memory.limit_bytes);
        },
    ),
    gauge(
        "loka_stratum_memory_load",
        &[],
        "0 when memory is enough; 1: nobody new is let in; 2: connections are closed.",
        |now, out| {
            out.count(match now.memory.load {
                MemoryLoad::Fine => 0,
                MemoryLoad::High => 1,
                MemoryLoad::Critical => 2,
            });
        },
    ),
    gauge("loka_stratum_known_addresses", &[], "Addresses that shards know something of.", |now, out| {
        out.count(now.shell(|shell| shell.visitors));
    }),
    gauge("loka_stratum_workers", &[], "Workers known by name.", |now, out| out.count(now.workers)),
    counter(
        "loka_stratum_workers_unnamed_total",
        &[],
        "Workers that a shard had no room for, counted with others.",
        |now, out| {
            out.count(now.shell(|shell| shell.workers_untold));
        },
    ),
    counter(
        "loka_stratum_api_requests_refused_total",
        &["reason"],
        "Requests to the API refused, by reason.",
        |now, out| {
            let refusals = ApiRefusal::ALL.iter().zip(now.refusals);
            refusals.for_each(|(refusal, count)| out.value(&[refusal.label()], count as f64));
        },
    ),
    // Connections to the pool.
    seconds("loka_stratum_pool_connect_seconds", "Time to open a connection to the pool.", |now, out| {
        out.microseconds(&now.stats.connect_us);
    }),
    counter(
        "loka_stratum_pool_dials_total",
        &[],
        "Attempts to open a connection to the pool.",
        |now, out| {
            out.count(now.shell(|shell| shell.dials));
        },
    ),
    counter("loka_stratum_pool_dial_failures_total", &[], "Attempts that failed.", |now, out| {
        out.count(now.shell(|shell| shell.dial_failures));
    }),
    gauge("loka_stratum_pool_links", &[], "Connections of miners to pools open now.", |now, out| {
        out.count(now.shell(|shell| shell.pool_links));
    }),
    gauge("loka_stratum_miners_waiting", &[], "Miners that wait for a connection to a pool.", |now, out| {
        out.count(now.shell(|shell| shell.waiting));
    }),
    gauge("loka_stratum_warm_links", &[], "Connections to pools open ahead of need.", |now, out| {
        out.count(now.shell(|shell| shell.warm));
    }),
    counter(
        "loka_stratum_miners_moved_total",
        &[],
        "Miners moved to another pool connection.",
        |now, out| {
            out.count(now.stats.counts.moved);
        },
    ),
    gauge(
        "loka_stratum_pool_state",
        &["pool", "state"],
        "1 for the state that the pool is in, 0 for the others.",
        |now, out| {
            for PoolShown { view: pool, .. } in now.pools_shown() {
                for state in PoolState::ALL {
                    out.value(&[&pool.name, state.label()], f64::from(u8::from(pool.state == *state)));
                }
            }
        },
    ),
    counter(
        "loka_stratum_pool_transitions_total",
        &["pool", "state"],
        "Times the pool came into a state.",
        |now, out| {
            for PoolShown { view: pool, .. } in now.pools_shown() {
                for state in PoolState::ALL {
                    out.value(&[&pool.name, state.label()], pool.transitions[state.index()] as f64);
                }
            }
        },
    ),
    gauge(
        "loka_stratum_pool_connections",
        &["pool"],
        "Connections of miners to the pool open now.",
        |now, out| {
            for pool in now.pools_shown() {
                out.value(&[&pool.view.name], pool.links as f64);
            }
        },
    ),
    counter(
        "loka_stratum_pool_connections_opened_total",
        &["pool"],
        "Connections to the pool opened, up to where it can be spoken to.",
        |now, out| pools(now, out, |counts| counts.connected),
    ),
    counter(
        "loka_stratum_pool_connections_lost_total",
        &["pool", "reason"],
        "Connections to the pool lost, or not had, by reason.",
        |now, out| {
            for pool in now.pools_shown() {
                for loss in PoolLoss::ALL {
                    let count = pool.stats.losses[loss.index()];
                    out.value(&[&pool.view.name, loss.label()], count as f64);
                }
            }
        },
    ),
    counter("loka_stratum_pool_jobs_total", &["pool"], "Jobs received, on all connections.", |now, out| {
        pools(now, out, |counts| counts.jobs);
    }),
    counter("loka_stratum_pool_shares_accepted_total", &["pool"], "Shares the pool accepted.", |now, out| {
        pools(now, out, |counts| counts.accepted);
    }),
    counter("loka_stratum_pool_shares_rejected_total", &["pool"], "Shares the pool rejected.", |now, out| {
        pools(now, out, |counts| counts.rejected);
    }),
    counter(
        "loka_stratum_pool_shares_lost_total",
        &["pool"],
        "Shares in flight when their connection was lost, of miners that stayed and were told.",
        |now, out| pools(now, out, |counts| counts.lost),
    ),
    // Messages and bytes.
    counter("loka_stratum_messages_received_total", &["from", "method"], "Messages received.", |now, out| {
        messages(now, out, &[("miner", Direction::FromMiner), ("pool", Direction::FromPool)]);
    }),
    counter("loka_stratum_messages_sent_total", &["to", "method"], "Messages sent.", |now, out| {
        messages(now, out, &[("miner", Direction::ToMiner), ("pool", Direction::ToPool)]);
    }),
    counter("loka_stratum_bytes_received_total", &["from"], "Bytes received.", |now, out| {
        bytes(now, out, &[("miner", Direction::FromMiner), ("pool", Direction::FromPool)]);
    }),
    counter("loka_stratum_bytes_sent_total", &["to"], "Bytes sent.", |now, out| {
        bytes(now, out, &[("miner", Direction::ToMiner), ("pool", Direction::ToPool)]);
    }),
    counter(
        "loka_stratum_protocol_errors_total",
        &["from", "reason"],
        "Messages that do not keep to the protocol: of miners, answered with an error; of pools, not passed on.",
        protocol_errors,
    ),
    counter(
        "loka_stratum_requests_refused_total",
        &["reason"],
        "Requests of miners that the proxy answered with an error.",
        |now, out| {
            let rejects = &now.stats.counts.rejects;
            Reject::ALL.iter().for_each(|why| out.value(&[why.label()], rejects[why.index()] as f64));
        },
    ),
    counter(
        "loka_stratum_pool_messages_filtered_total",
        &["reason"],
        "Messages of pools that were not passed on.",
        |now, out| {
            let filtered = &now.stats.counts.filtered;
            Filtered::ALL.iter().for_each(|why| out.value(&[why.label()], filtered[why.index()] as f64));
        },
    ),
    counter(
        "loka_stratum_configure_answered_total",
        &[],
        "Answers to mining.configure given by the proxy because the pool gave none.",
        |now, out| out.count(now.stats.counts.configure_answered),
    ),
    counter(
        "loka_stratum_backpressure_pauses_total",
        &[],
        "Times a side was not read because the other did not take its bytes.",
        |now, out| out.count(now.shell(|shell| shell.pauses)),
    ),
    gauge("loka_stratum_queued_bytes", &[], "Bytes waiting in queues and sessions.", |now, out| {
        out.count(now.shell(|shell| shell.queued_bytes));
    }),
    // Shares and workers.
    counter("loka_stratum_shares_forwarded_total", &[], "Shares sent to the pool.", |now, out| {
        out.count(now.stats.counts.shares.forwarded);
    }),
    counter("loka_stratum_shares_accepted_total", &[], "Shares accepted by the pool.", |now, out| {
        out.count(now.stats.counts.shares.accepted);
    }),
    counter(
        "loka_stratum_shares_rejected_total",
        &["reason"],
        "Shares rejected by the pool, by reason.",
        |now, out| {
            let rejected = &now.stats.counts.shares.rejected;
            RejectClass::ALL.iter().for_each(|why| out.value(&[why.label()], rejected[why.index()] as f64));
        },
    ),
    counter("loka_stratum_shares_unanswered_total", &[], "Shares the pool never answered.", |now, out| {
        out.count(now.stats.counts.shares.unanswered);
    }),
    counter(
        "loka_stratum_shares_lost_total",
        &[],
        "Shares in flight when their pool connection was lost, of miners that stayed and were told.",
        |now, out| out.count(now.stats.counts.shares.lost),
    ),
    counter(
        "loka_stratum_shares_handed_over_total",
        &[],
        "Shares in flight when their connection went on in another process, which counts them once more.",
        |now, out| out.count(now.stats.counts.shares.handed_over),
    ),
    counter(
        "loka_stratum_shares_refused_total",
        &[],
        "Shares refused by the proxy and never sent to the pool.",
        |now, out| out.count(now.stats.counts.shares.refused),
    ),
    counter(
        "loka_stratum_accepted_difficulty_total",
        &[],
        "Sum of the difficulties of accepted shares; times 2^32 it is the expected number of hashes.",
        |now, out| out.value(&[], now.stats.counts.shares.accepted_difficulty),
    ),
    counter(
        "loka_stratum_shares_below_difficulty_total",
        &[],
        "Shares that the pool answered, though easier by their hash than it asked for.",
        |now, out| out.count(now.stats.counts.shares.below_difficulty),
    ),
    counter(
        "loka_stratum_shares_unhashed_total",
        &[],
        "Answered shares of which no hash was made because there were too many at once.",
        |now, out| out.count(now.stats.counts.shares.unhashed),
    ),
    gauge(
        "loka_stratum_best_share_difficulty",
        &[],
        "Difficulty of the hardest accepted share by its hash, since the start.",
        |now, out| out.value(&[], now.stats.counts.shares.best_difficulty),
    ),
    counter(
        "loka_stratum_block_candidates_total",
        &["answer"],
        "Shares that were blocks by the target of their job, by what the pool said.",
        |now, out| {
            let found = &now.stats.counts.block_candidates;
            BlockAnswer::ALL.iter().for_each(|said| out.value(&[said.label()], found[said.index()] as f64));
        },
    ),
    counter(
        "loka_stratum_authorizations_total",
        &["result"],
        "Answers of the pool to mining.authorize.",
        |now, out| {
            let authorizations = now.stats.counts.authorizations;
            out.value(&["accepted"], authorizations.accepted as f64);
            out.value(&["refused"], authorizations.refused as f64);
        },
    ),
    seconds("loka_stratum_submit_response_seconds", "Time from a share to the pool's answer.", |now, out| {
        out.microseconds(&now.stats.submit_us);
    }),
    // Shards.
    counter("loka_stratum_shard_busy_seconds_total", &["shard"], "Time spent working.", |now, out| {
        shards(now, out, |shard| shard.shell.busy_us as f64 / 1e6);
    }),
    counter("loka_stratum_shard_turns_total", &["shard"], "Turns of the shard's loop.", |now, out| {
        shards(now, out, |shard| shard.shell.turns as f64);
    }),
    counter(
        "loka_stratum_shard_shares_forwarded_total",
        &["shard"],
        "Shares sent on to the pool.",
        |now, out| {
            shards(now, out, |shard| shard.shares_forwarded as f64);
        },
    ),
    gauge("loka_stratum_shard_connections", &["shard"], "Miners on this shard now.", |now, out| {
        shards(now, out, |shard| shard.shell.connections as f64);
    }),
    gauge(
        "loka_stratum_shard_report_age_seconds",
        &["shard"],
        "Age of the shard's last report; +Inf before the first.",
        |now, out| {
            shards(now, out, |shard| shard.report_age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
        },
    ),
    // The program.
    gauge(
        "loka_stratum_ready",
        &[],
        "1 when every shard has reported and the proxy is not draining.",
        |now, out| {
            out.count(u64::from(now.is_ready()));
        },
    ),
    gauge("loka_stratum_draining", &[], "1 when the proxy is about to end.", |now, out| {
        out.count(u64::from(now.draining));
    }),
    gauge("loka_stratum_build_info", &["version"], "Always 1; the version is the label.", |now, out| {
        out.value(&[now.version], 1.0);
    }),
    gauge("loka_stratum_uptime_seconds", &[], "Time since the start.", |now, out| {
        out.value(&[], now.uptime.as_secs_f64());
    }),
    counter(
        "loka_stratum_config_reloads_total",
        &["result"],
        "Times the configuration was read again, by result.",
        |now, out| {
            out.value(&["applied"], now.reloads.applied as f64);
            out.value(&["refused"], now.reloads.refused as f64);
        },
    ),
    gauge(
        "loka_stratum_config_last_reload_successful",
        &[],
        "0 when the last reload was refused, else 1.",
        |now, out| out.count(u64::from(!now.reloads.is_last_refused)),
    ),
    gauge(
        "loka_stratum_config_last_reload_success_timestamp_seconds",
        &[],
        "When the configuration in force was taken, since 1970.",
        |now, out| out.count(now.reloads.applied_unix_seconds),
    ),
    counter(
        "loka_stratum_log_lines_dropped_total",
        &[],
        "Log lines lost to a slow or full log.",
        |now, out| {
            out.count(now.log_lines_dropped);
        },
    ),
    counter(
        "loka_stratum_alerts_sent_total",
        &[],
        "Alert messages that the webhook has taken.",
        |now, out| out.count(now.alerts.sent),
    ),
    counter(
        "loka_stratum_alerts_dropped_total",
        &[],
        "Alert messages given up, which the webhook never got.",
        |now, out| out.count(now.alerts.dropped),
    ),
    counter("loka_stratum_alert_posts_failed_total", &[], "Failed attempts to post alerts.", |now, out| {
        out.count(now.alerts.failed_posts);
    }),
    gauge("loka_stratum_alerts_waiting", &[], "Alert messages that wait to be posted.", |now, out| {
        out.count(now.alerts.waiting);
    }),
    gauge("loka_stratum_alerts_standing", &[], "Alerts that were told and stand.", |now, out| {
        out.count(now.alerts.standing);
    }),
    // Share records.
    gauge("loka_stratum_records_enabled", &[], "1 when share records are kept.", |now, out| {
        out.count(u64::from(now.records.enabled));
    }),
    counter(
        "loka_stratum_records_rows_written_total",
        &["table"],
        "Rows of share records written, by table.",
        |now, out| {
            out.value(&["minutes"], now.records.rows as f64);
            out.value(&["events"], now.records.events as f64);
        },
    ),
    counter(
        "loka_stratum_records_shares_lost_total",
        &["table"],
        "Shares that are missing in share records, by table.",
        |now, out| {
            out.value(&["minutes"], now.records.lost.shares as f64);
            out.value(&["events"], now.records.lost.events as f64);
        },
    ),
    gauge("loka_stratum_records_pending_rows", &[], "Rows that wait to be written.", |now, out| {
        out.count(now.records.pending);
    }),
    gauge(
        "loka_stratum_records_age_seconds",
        &[],
        "Time since all share records were written; 0 when none are kept.",
        |now, out| out.value(&[], now.records.age_seconds),
    ),
    counter(
        "loka_stratum_records_failures_total",
        &["kind"],
        "Failed attempts to write share records, by kind.",
        |now, out| {
            for kind in RecordsFailure::ALL {
                out.value(&[kind.label()], now.records.failures[kind.index()] as f64);
            }
        },
    ),
    gauge("loka_stratum_records_file_bytes", &[], "Size of the file of share records.", |now, out| {
        out.count(now.records.file_bytes);
    }),
    // The same, as they come to the database of a fleet.
    gauge(
        "loka_stratum_records_central_enabled",
        &[],
        "1 when share records are sent to a database.",
        |now, out| {
            out.count(u64::from(now.records.central.enabled));
        },
    ),
    counter(
        "loka_stratum_records_sent_rows_total",
        &["table"],
        "Rows of share records sent to that database, by table.",
        |now, out| {
            for table in CentralTable::ALL {
                out.value(&[table.label()], now.records.central.rows[table.index()] as f64);
            }
        },
    ),
    counter(
        "loka_stratum_records_send_failures_total",
        &["kind"],
        "Failed attempts to send share records, by kind.",
        |now, out| {
            for kind in CentralFailure::ALL {
                out.value(&[kind.label()], now.records.central.failures[kind.index()] as f64);
            }
        },
    ),
    gauge(
        "loka_stratum_records_unsent_minutes",
        &[],
        "Minutes of share records that wait to be sent.",
        |now, out| {
            out.count(now.records.central.waiting);
        },
    ),
    gauge(
        "loka_stratum_records_send_lag_seconds",
        &[],
        "Age of the oldest minute that waits to be sent; 0 when none does.",
        |now, out| out.value(&[], now.records.central.lag_seconds),
    ),
    gauge(
        "loka_stratum_records_sent_timestamp_seconds",
        &[],
        "When all share records had been sent last, Unix time; 0 when not since the start.",
        |now, out| out.count(now.records.central.sent_unix),
    ),
    counter(
        "loka_stratum_records_unsent_lost_rows_total",
        &[],
        "Rows of share records forgotten here before they were sent.",
        |now, out| out.count(now.records.central.forgotten),
    ),
    // The process, under the names that every Prometheus client uses.
    counter("process_cpu_seconds_total", &[], "CPU time used, user and system.", |now, out| {
        out.value(&[], now.process.cpu_seconds);
    }),
    gauge("process_resident_memory_bytes", &[], "Memory in use.", |now, out| {
        out.count(now.process.resident_bytes);
    }),
    gauge("process_virtual_memory_bytes", &[], "Address space in use.", |now, out| {
        out.count(now.process.virtual_bytes);
    }),
    gauge("process_open_fds", &[], "Open file descriptors.", |now, out| out.count(now.process.open_fds)),
    gauge("process_max_fds", &[], "Most file descriptors allowed.", |now, out| {
        out.count(now.process.max_fds)
    }),
    gauge("process_threads", &[], "Threads.", |now, out| out.count(now.process.threads)),
    gauge("process_start_time_seconds", &[], "Start of the process, Unix time.", |now, out| {
        let since = now.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        out.value(&[], since.as_secs_f64());
    }),
    // What the allocator holds: with memory profiling only.
    gauge("loka_stratum_allocator_committed_bytes", &[], "Memory that the allocator holds.", |now, out| {
        allocator(now, out, |figures| figures.committed_bytes);
    }),
    gauge("loka_stratum_allocator_peak_committed_bytes", &[], "The most that it has held.", |now, out| {
        allocator(now, out, |figures| figures.committed_bytes_max);
    }),
    gauge("loka_stratum_peak_resident_memory_bytes", &[], "The most memory that was in use.", |now, out| {
        allocator(now, out, |figures| figures.resident_bytes_max);
    }),
    counter("loka_stratum_major_page_faults_total", &[], "Pages read from a disk.", |now, out| {
        allocator(now, out, |figures| figures.page_faults);
    }),
];
