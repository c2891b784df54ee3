//! The table of workers, against a ledger of what was counted: whatever is told when, nothing is lost and nothing is kept.

use super::*;
use crate::verdict::RejectClass;
use proptest::prelude::*;

fn here() -> (PoolId, Tick) {
    (PoolId::of(1), Tick(1_000))
}

fn told(workers: &mut Workers) -> Vec<WorkerNews> {
    let mut news = Vec::new();
    workers.tell(usize::MAX, Tick(5_000), &mut news);
    news
}

#[test]
fn a_worker_on_two_connections_is_one_and_goes_with_the_last() {
    let mut workers = Workers::default();
    let (one, two) = (workers.join("farm.rig"), workers.join("farm.rig"));
    assert_eq!((one, workers.len()), (two, 1));
    let agent = workers.agent(AgentId::default(), Some("bosminer"));
    workers.answered(one, true, agent, here().0);
    workers.verdict(one, Verdict::Accepted, 512.0, 300, here());
    workers.verdict(two, Verdict::Rejected(RejectClass::Stale), 512.0, 100, here());
    let news = told(&mut workers);
    let [news] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!((news.name.as_deref(), news.agent.as_deref()), (Some("farm.rig"), Some("bosminer")));
    assert_eq!((news.sessions, news.accepted_ago_us), (2, Some(4_000)));
    assert_eq!((news.counts.accepted, news.counts.rejected[RejectClass::Stale.index()]), (1, 1));
    assert_eq!((news.counts.accepted_difficulty, news.counts.waited_us), (512.0, 400));
    assert_eq!((news.counts.is_granted, news.counts.pool), (Some(true), Some(here().0)));
    workers.refused(one, Reject::StaleJob, None, Tick(2_000));
    let mut events = Vec::new();
    assert_eq!(workers.tell_events(&mut events), 0);
    let fates: Vec<_> = events.iter().map(|event| (event.worker.as_deref(), event.fate, event.at)).collect();
    let (rejected, refused) = (ShareFate::Rejected(RejectClass::Stale), ShareFate::Refused(Reject::StaleJob));
    assert_eq!(fates, [(Some("farm.rig"), rejected, Tick(1_000)), (Some("farm.rig"), refused, Tick(2_000))]);
    assert_eq!((events[0].difficulty, events[0].waited_us, events[0].pool), (512.0, 100, Some(here().0)));
    assert_eq!(told(&mut workers).len(), 1, "the refused share");
    workers.leave(one);
    assert_eq!(told(&mut workers).iter().map(|news| news.sessions).collect::<Vec<_>>(), [-1]);
    workers.leave(two);
    assert_eq!(workers.len(), 1, "not before it has been told");
    assert_eq!(told(&mut workers).iter().map(|news| news.sessions).collect::<Vec<_>>(), [-1]);
    assert_eq!((workers.len(), told(&mut workers).len()), (0, 0));
}

#[test]
fn a_name_that_no_pool_answered_is_never_told_and_not_kept() {
    let mut workers = Workers::default();
    for number in 0..1_000_000 {
        let id = workers.join(&format!("invented.{number}"));
        workers.leave(id);
    }
    assert_eq!((workers.len(), workers.entries.len(), told(&mut workers).len()), (0, 2, 0));
}

#[test]
fn a_million_names_find_an_end_and_are_counted_together() {
    let mut workers = Workers::default();
    let over = 1_000_000 - WORKERS_PER_SHARD_MAX as u64;
    for number in 0..1_000_000 {
        let id = workers.join(&format!("invented.{number}"));
        workers.verdict(id, Verdict::Accepted, 1.0, 1, here());
    }
    assert_eq!(
        (workers.len(), workers.take_untold(), workers.take_untold()),
        (WORKERS_PER_SHARD_MAX, over, 0)
    );
    assert_eq!(workers.changes.len(), WORKERS_PER_SHARD_MAX + 1, "one change each, however often");
    let news = told(&mut workers);
    let others = news.iter().find(|news| news.name.is_none()).expect("others");
    assert_eq!((u64::from(others.counts.accepted), others.sessions), (over, 0));
    assert!(news.iter().all(|news| news.name.is_none() || news.counts.accepted == 1));
}

#[test]
fn those_that_wait_longest_are_told_first_and_changes_wait_behind() {
    let mut workers = Workers::default();
    let ids = ["a", "b", "c"].map(|name| workers.join(name));
    ids.iter().for_each(|id| workers.unanswered(*id));
    let mut news = Vec::new();
    workers.tell(1, Tick(0), &mut news);
    workers.lost(ids[0]);
    workers.lost(ids[2]);
    workers.tell(2, Tick(0), &mut news);
    workers.tell(9, Tick(0), &mut news);
    let names: Vec<&str> = news.iter().filter_map(|news| news.name.as_deref()).collect();
    assert_eq!(names, ["a", "b", "c", "a"]);
    assert_eq!(news.iter().map(|news| news.counts.lost).collect::<Vec<_>>(), [0, 0, 1, 1]);
}

#[test]
fn numbers_of_changes_that_come_round_confuse_nothing() {
    let mut workers = Workers { first: u32::MAX - 1, ..Workers::default() };
    let ids = ["a", "b", "c", "d"].map(|name| workers.join(name));
    for round in 1..=3 {
        ids.iter().for_each(|id| workers.unanswered(*id));
        ids.iter().for_each(|id| workers.unanswered(*id));
        let news = told(&mut workers);
        assert_eq!(
            news.iter().map(|news| news.counts.unanswered).collect::<Vec<_>>(),
            [2; 4],
            "round {round}"
        );
    }
}

#[test]
fn what_a_worker_costs_is_known() {
    assert_eq!((size_of::<Entry>(), size_of::<AgentId>()), (32, 1));
    assert!(size_of::<Change>() <= 256, "{}", size_of::<Change>());
    assert!(size_of::<WorkerNews>() <= 272, "{}", size_of::<WorkerNews>());
}

/// What can happen to workers of one shard.
#[derive(Debug, Clone)]
enum Deed {
    Join(usize),
    /// The newest connection of this worker ends.
    Leave(usize),
    Answered(usize, bool),
    Accepted(usize, u16),
    Rejected(usize, usize),
    Refused(usize, usize),
    Unanswered(usize),
    Lost(usize),
    Tell(usize),
}

const NAMES: [&str; 4] = ["", "farm.a", "farm.b", "fa\u{301}rm"];

fn deed() -> impl Strategy<Value = Deed> {
    let name = 0..NAMES.len();
    prop_oneof![
        name.clone().prop_map(Deed::Join),
        name.clone().prop_map(Deed::Leave),
        (name.clone(), any::<bool>()).prop_map(|(name, granted)| Deed::Answered(name, granted)),
        (name.clone(), any::<u16>()).prop_map(|(name, difficulty)| Deed::Accepted(name, difficulty)),
        (name.clone(), 0..RejectClass::COUNT).prop_map(|(name, class)| Deed::Rejected(name, class)),
        (name.clone(), 0..Reject::COUNT).prop_map(|(name, reject)| Deed::Refused(name, reject)),
        name.clone().prop_map(Deed::Unanswered),
        name.prop_map(Deed::Lost),
        (0..4_usize).prop_map(Deed::Tell),
    ]
}

/// What is true of each name: its connections, and what was counted.
#[derive(Debug, Default)]
struct Truth {
    ids: Vec<WorkerId>,
    counts: WorkerCounts,
}

fn act(
    workers: &mut Workers,
    truths: &mut BTreeMap<&'static str, Truth>,
    deed: &Deed,
    told: &mut Vec<WorkerNews>,
) {
    let (Deed::Join(at)
    | Deed::Leave(at)
    | Deed::Answered(at, _)
    | Deed::Accepted(at, _)
    | Deed::Rejected(at, _)
    | Deed::Refused(at, _)
    | Deed::Unanswered(at)
    | Deed::Lost(at)) = deed
    else {
        let Deed::Tell(max) = deed else { unreachable!() };
        return workers.tell(*max, Tick(9), told);
    };
    let truth = truths.entry(NAMES[*at]).or_default();
    if let Deed::Join(_) = deed {
        return truth.ids.push(workers.join(NAMES[*at]));
    }
    let Some(id) = truth.ids.last().copied() else { return };
    let mut one = WorkerCounts::default();
    match deed {
        Deed::Join(_) | Deed::Tell(_) => {}
        Deed::Leave(_) => {
            truth.ids.pop();
            return workers.leave(id);
        }
        Deed::Answered(_, granted) => {
            (one.granted, one.denied) = (u32::from(*granted), u32::from(!granted));
            (one.is_granted, one.pool) = (Some(*granted), Some(here().0));
            workers.answered(id, *granted, AgentId::default(), here().0);
        }
        Deed::Accepted(_, difficulty) => {
            let difficulty = f64::from(*difficulty);
            one = WorkerCounts { accepted: 1, accepted_difficulty: difficulty, difficulty, ..one };
            (one.waited_us, one.pool) = (7, Some(here().0));
            workers.verdict(id, Verdict::Accepted, difficulty, 7, here());
        }
        Deed::Rejected(_, class) => {
            one.rejected[*class] = 1;
            (one.difficulty, one.waited_us, one.pool) = (2.0, 5, Some(here().0));
            workers.verdict(id, Verdict::Rejected(RejectClass::ALL[*class]), 2.0, 5, here());
        }
        Deed::Refused(_, reject) => {
            one.refused[*reject] = 1;
            workers.refused(id, Reject::ALL[*reject], None, Tick(0));
        }
        Deed::Unanswered(_) => {
            one.unanswered = 1;
            workers.unanswered(id);
        }
        Deed::Lost(_) => {
            one.lost = 1;
            workers.lost(id);
        }
    }
    truth.counts.merge(&one);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However it is split into reports, what was told is what happened; and who has no connection is forgotten.
    #[test]
    fn what_is_told_adds_up_to_what_happened(deeds in prop::collection::vec(deed(), 0..120)) {
        let (mut workers, mut truths, mut news) = (Workers::default(), BTreeMap::new(), Vec::new());
        for deed in &deeds {
            act(&mut workers, &mut truths, deed, &mut news);
            let is_named = |(name, truth): (&&str, &Truth)| truth.ids.iter().all(|id| workers.is_named(*id, name));
            prop_assert!(truths.iter().all(is_named), "ids mean what they meant");
        }
        for truth in truths.values_mut() {
            // A connection that has only asked is told with the next that happens.
            if let Some(id) = truth.ids.last() {
                workers.unanswered(*id);
                truth.counts.unanswered += 1;
            }
        }
        workers.tell(usize::MAX, Tick(9), &mut news);
        for (name, truth) in &truths {
            let own: Vec<&WorkerNews> = news.iter().filter(|news| news.name.as_deref() == Some(*name)).collect();
            let mut counts = WorkerCounts::default();
            own.iter().for_each(|news| counts.merge(&news.counts));
            prop_assert_eq!(counts, truth.counts, "{}", name);
            let sessions: i32 = own.iter().map(|news| news.sessions).sum();
            prop_assert_eq!(usize::try_from(sessions), Ok(truth.ids.len()), "{}", name);
        }
        let connected = truths.values().filter(|truth| !truth.ids.is_empty()).count();
        prop_assert_eq!(workers.len(), connected);
        prop_assert_eq!(workers.free.len() + workers.len() + 1, workers.entries.len());
    }
}
