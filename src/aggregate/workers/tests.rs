//! The book of workers: what shards told, in any order, is what is shown; questions of every kind; bounds.

use super::*;
use loka_proto::Reject;
use proptest::prelude::*;

fn news(name: &str, sessions: i32) -> WorkerNews {
    let counts = WorkerCounts::default();
    WorkerNews { name: Some(name.into()), agent: None, sessions, accepted_ago_us: None, counts }
}

/// So many shares of difficulty 100 were accepted, the last just now.
fn accepted(name: &str, shares: u32) -> WorkerNews {
    let mut news = news(name, 0);
    news.accepted_ago_us = Some(0);
    news.counts.accepted = shares;
    (news.counts.accepted_difficulty, news.counts.difficulty) = (f64::from(shares) * 100.0, 100.0);
    news.counts.waited_us = u64::from(shares) * 2_000;
    news.counts.pool = Some(PoolId::of(0));
    news
}

fn names(page: &WorkerPage) -> Vec<&str> {
    page.workers.iter().map(|worker| worker.name.as_deref().unwrap_or("-")).collect()
}

fn sorted(sort: WorkerSort, descending: bool) -> WorkerQuery {
    WorkerQuery { sort, descending, ..WorkerQuery::default() }
}

#[test]
fn a_worker_on_several_shards_is_one() {
    let begin = Instant::now();
    let mut book = WorkerBook::new(begin);
    let mut first = accepted("farm.rig", 2);
    (first.sessions, first.agent) = (1, Some("bosminer".into()));
    first.counts.is_granted = Some(true);
    let mut second = accepted("farm.rig", 1);
    (second.sessions, second.counts.unanswered, second.counts.lost) = (2, 3, 4);
    second.accepted_ago_us = Some(1_500_000);
    second.counts.refused[Reject::StaleJob.index()] = 5;
    second.counts.rejected[RejectClass::Stale.index()] = 6;
    book.add(&[first], begin + Duration::from_secs(10));
    book.add(&[second], begin + Duration::from_secs(10));
    let worker = book.worker("farm.rig", begin + Duration::from_secs(12)).unwrap();
    assert_eq!((book.len(), worker.sessions, worker.agent.as_deref()), (1, 3, Some("bosminer")));
    let shares = &worker.shares;
    assert_eq!((shares.accepted, shares.rejections(), shares.refusals()), (3, 6, 5));
    assert_eq!((shares.refused(Reject::StaleJob), shares.refused(Reject::NoPool)), (5, 0));
    assert_eq!((shares.unanswered, shares.lost, shares.accepted_difficulty), (3, 4, 300.0));
    assert_eq!((worker.is_granted, worker.pool, worker.difficulty), (Some(true), Some(PoolId::of(0)), 100.0));
    assert_eq!(worker.last_share_ago, Some(Duration::from_secs(2)), "the newest of both");
    assert_eq!(worker.known_for, Duration::from_secs(2));
    assert!(book.worker("farm", begin).is_none());
}

#[test]
fn pages_are_sorted_filtered_and_searched() {
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    let mut book = WorkerBook::new(begin);
    book.add(&[accepted("Farm.b", 5), accepted("farm.c", 1), news("farm.a", 1)], at(100));
    let mut late = accepted("late.d", 3);
    (late.sessions, late.counts.pool) = (1, Some(PoolId::of(1)));
    late.counts.refused[0] = 2;
    book.add(&[late], at(200));
    let page = |query: WorkerQuery| book.page(&query, at(210));
    let minute = WorkerSort::Hashrate(Window::Minute);
    for (sort, descending, expected) in [
        (WorkerSort::Name, false, ["Farm.b", "farm.a", "farm.c", "late.d"]),
        (WorkerSort::Name, true, ["late.d", "farm.c", "farm.a", "Farm.b"]),
        (minute, true, ["late.d", "Farm.b", "farm.c", "farm.a"]),
        (WorkerSort::Rejects, true, ["late.d", "Farm.b", "farm.a", "farm.c"]),
        (WorkerSort::LastShare, false, ["farm.a", "Farm.b", "farm.c", "late.d"]),
    ] {
        let query = sorted(sort, descending);
        assert_eq!(names(&page(query.clone())), expected, "{sort:?}");
        for skip in 0..5 {
            let one = page(WorkerQuery { skip, take: 1, ..query.clone() });
            let expected: Vec<&str> = expected.iter().copied().skip(skip).take(1).collect();
            assert_eq!((names(&one), one.known, one.matching), (expected, 4, 4), "{sort:?}");
        }
    }
    let filtered = |change: fn(&mut WorkerQuery)| {
        let mut query = WorkerQuery::default();
        change(&mut query);
        let page = page(query);
        assert_eq!(page.matching, page.workers.len());
        names(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(filtered(|query| query.search = Some("FARM.".into())), ["Farm.b", "farm.a", "farm.c"]);
    assert_eq!(filtered(|query| query.search = Some("x".into())), [""; 0]);
    assert_eq!(filtered(|query| query.silent_for = Some(Duration::from_secs(60))).len(), 3);
    assert_eq!(filtered(|query| query.pool = Some(PoolId::of(1))), ["late.d"]);
    assert_eq!(filtered(|query| query.connected = Some(true)), ["farm.a", "late.d"]);
    assert_eq!(filtered(|query| query.take = usize::MAX).len(), 4);
    assert!(page(WorkerQuery { skip: usize::MAX, ..WorkerQuery::default() }).workers.is_empty());
}

#[test]
fn a_million_invented_names_find_an_end_push_nobody_out_who_is_there_and_lose_no_share() {
    let begin = Instant::now();
    let mut book = WorkerBook::new(begin);
    let honest: Vec<WorkerNews> = (0..1_000).map(|number| news(&format!("farm.{number}"), 1)).collect();
    book.add(&honest, begin);
    let second = Duration::from_secs(1);
    for round in 0..100_u32 {
        let names = (0..10_000).map(|number| accepted(&format!("invented.{round}.{number}"), 1));
        let flood: Vec<WorkerNews> = names.collect();
        book.add(&flood, begin + second * round);
        assert!(book.len() <= WORKERS_KEPT_MAX && book.places.len() == book.len());
    }
    let now = begin + second * 100;
    assert!(honest.iter().all(|news| book.worker(news.name.as_deref().unwrap(), now).is_some()));
    assert!(book.forgotten() > 100_000 && book.worker("invented.0.1", now).is_none(), "{}", book.forgotten());
    let own: u64 = book.records.iter().map(|record| record.shares.accepted).sum();
    assert_eq!(own + book.others.shares.accepted, 1_000_000);
    assert!(
        book.places.iter().all(|(name, place)| book.records[*place as usize].name.as_ref() == Some(name))
    );
}

#[test]
fn connections_that_were_counted_with_others_leave_there() {
    let begin = Instant::now();
    let mut book = WorkerBook::new(begin);
    let mut nameless = news("", 2);
    nameless.name = None;
    book.add(&[nameless, news("came late", -1)], begin);
    let page = book.page(&WorkerQuery::default(), begin);
    assert_eq!((page.workers[0].sessions, page.others.sessions, page.known), (0, 1, 1));
}

#[test]
fn what_a_worker_costs_is_known() {
    assert!(size_of::<Record>() <= 272, "{}", size_of::<Record>());
    assert_eq!(size_of::<Means>(), 48);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In which order the reports of shards come makes no difference.
    #[test]
    fn reports_may_come_in_any_order(
        shards in prop::collection::vec(prop::collection::vec((0..3_usize, 1..9_u32, 0..3_i32), 1..8), 2..4),
    ) {
        let begin = Instant::now();
        let later = begin + Duration::from_secs(60);
        let report = |told: &Vec<(usize, u32, i32)>| -> Vec<WorkerNews> {
            let news = told.iter().map(|(name, shares, sessions)| WorkerNews {
                sessions: *sessions,
                ..accepted(["a", "b", "c"][*name], *shares)
            });
            news.collect()
        };
        let (mut one, mut other) = (WorkerBook::new(begin), WorkerBook::new(begin));
        shards.iter().for_each(|told| one.add(&report(told), later));
        shards.iter().rev().for_each(|told| other.add(&report(told), later));
        let query = WorkerQuery::default();
        let (one, other) = (one.page(&query, later), other.page(&query, later));
        prop_assert_eq!(one.workers, other.workers);
        let told: u32 = shards.iter().flatten().map(|(_, shares, _)| shares).sum();
        let shown: u64 = other.others.shares.accepted;
        prop_assert_eq!(shown, 0);
        prop_assert!(told > 0);
    }
}

#[test]
fn questions_are_answered_by_the_thread_and_end_with_it() {
    let (post, handle) = crate::aggregate::tests::running(1);
    let reader = handle.workers();
    let mut report = crate::aggregate::tests::report(0);
    report.workers = vec![news("farm.rig", 2), accepted("farm.other", 7)];
    post.send(report);
    let now = crate::aggregate::tests::wait_for(handle.snapshots(), |now| now.workers == 2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let page = runtime.block_on(reader.page(sorted(WorkerSort::LastShare, true))).unwrap();
    assert_eq!((names(&page), now.workers), (vec!["farm.other", "farm.rig"], 2));
    let one = runtime.block_on(reader.worker("farm.rig".to_owned())).unwrap().unwrap();
    assert_eq!(one.sessions, 2);
    assert_eq!(runtime.block_on(reader.worker("nobody".to_owned())), Ok(None));
    handle.stop();
    assert_eq!(runtime.block_on(reader.worker("farm.rig".to_owned())), Err(AskError::Ended));
}

#[test]
fn who_finds_the_queue_full_is_told_so() {
    let (wake, woken) = std::sync::mpsc::sync_channel(1);
    let wake = Arc::new(wake);
    wake.send(Wake::Look).unwrap();
    let reader = WorkersReader::new(&wake);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(reader.worker("farm.rig".to_owned())), Err(AskError::Busy));
    drop(woken);
    assert_eq!(runtime.block_on(reader.worker("farm.rig".to_owned())), Err(AskError::Ended));
}

#[test]
fn names_that_attack_whoever_shows_them_are_escaped() {
    let begin = Instant::now();
    let mut book = WorkerBook::new(begin);
    let name = "a\"},{\u{202e}<script>\u{7f}";
    let mut told = accepted(name, 3);
    (told.counts.refused[Reject::StaleJob.index()], told.counts.lost) = (2, 1);
    book.add(&[told], begin);
    let snapshot = crate::aggregate::tests::running(1).1.stop();
    let page = book.page(&WorkerQuery::default(), begin);
    let text = serde_json::to_string(&crate::export::WorkersFigures::of(&page, 0, &snapshot)).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    let worker = &read["items"][0];
    assert_eq!((worker["name"].as_str(), worker["pool"].as_str()), (Some(name), Some("pool")));
    let shares = &worker["shares"];
    assert_eq!((shares["accepted"].as_u64(), shares["lost"].as_u64()), (Some(3), Some(1)));
    assert_eq!(shares["refused_by"], serde_json::json!({"stale_job": 2}));
    assert!(read["others"]["name"].is_null() && worker["last_share_seconds"] == 0.0);
}
