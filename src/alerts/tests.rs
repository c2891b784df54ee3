//! The rules over made-up figures, and posts to a real receiver that behaves badly.

use super::book::{AlertBook, GROWN_PAUSE, Moment, Times};
use super::post::{DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use super::rules::{Rules, Seen, Sighting};
use super::*;
use crate::aggregate::tests::running;
use crate::aggregate::{SilentWorker, SilentWorkers, Snapshot};
use crate::config::{Secret, parse_str};
use loka_proto::{End, PoolState};
use loka_rig::{HookManners, HookReceiver, HookRequest};
use loka_runtime::MemoryLoad;
use serde_json::Value;
use std::time::Instant;

const SECRET: &str = "0123456789abcdef";
/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// `[alerts]` with these lines.
fn config(lines: &str) -> Config {
    let text = format!("[pool]\nhost = \"pool.example\"\n[alerts]\n{lines}\n");
    parse_str("farm.toml", &text, &[], &crate::config::Overrides::default()).unwrap().config
}

fn figures() -> Snapshot {
    let (_post, aggregator) = running(2);
    Snapshot::clone(&aggregator.snapshots().latest())
}

/// What the rules say of one id.
fn seen(rules: &mut Rules, figures: &Snapshot, silent: Option<&SilentWorkers>, id: &str) -> Seen {
    let all = rules.look(figures, silent, figures.taken);
    all.into_iter().find(|sighting| sighting.id == id).unwrap_or_else(|| panic!("no {id}")).seen
}

#[track_caller]
fn title(seen: Seen) -> String {
    match seen {
        Seen::Bad(trouble) => format!("{:?}: {} ({})", trouble.severity, trouble.title, trouble.text),
        Seen::Well(_) | Seen::Unclear => panic!("{seen:?}"),
    }
}

fn is_well(seen: &Seen) -> bool {
    matches!(seen, Seen::Well(_))
}

#[test]
fn pools_shards_and_resources() {
    let mut rules = Rules::new(config("").alerts);
    let mut now = figures();
    let silent = SilentWorkers::default();
    let all = rules.look(&now, Some(&silent), now.taken);
    assert!(all.iter().all(|sighting| is_well(&sighting.seen)), "{all:#?}");
    let ids: Vec<&str> = all.iter().map(|sighting| sighting.id.as_str()).collect();
    let expected =
        ["pool/pool", "no_pool", "shards_silent", "panics", "figures_old", "memory", "descriptors"];
    assert_eq!(ids, [&expected[..], &["rejects", "workers_silent"]].concat());

    let mut pool = now.pools[0].clone();
    (pool.state, pool.cause) = (PoolState::Failed, "it is away".to_owned());
    now.pools = Arc::from([pool.clone()]);
    assert_eq!(
        title(seen(&mut rules, &now, None, "pool/pool")),
        "Critical: pool pool is failed (it is away)"
    );
    assert!(title(seen(&mut rules, &now, None, "no_pool")).starts_with("Critical: no pool can be used"));
    assert_eq!(seen(&mut rules, &now, Some(&silent), "workers_silent"), Seen::Unclear, "nobody can work");
    pool.state = PoolState::Recovering;
    now.pools = Arc::from([pool.clone()]);
    assert_eq!(seen(&mut rules, &now, None, "pool/pool"), Seen::Unclear);
    assert_eq!(seen(&mut rules, &now, None, "no_pool"), Seen::Unclear);
    pool.state = PoolState::Degraded;
    now.pools = Arc::from([pool]);
    assert!(title(seen(&mut rules, &now, None, "pool/pool")).starts_with("Warning: "));
    assert!(is_well(&seen(&mut rules, &now, None, "no_pool")));

    now.shards[1].report_age = Some(Duration::from_secs(60));
    assert!(title(seen(&mut rules, &now, None, "shards_silent")).starts_with("Critical: 1 shard is silent"));
    now.memory.load = MemoryLoad::High;
    assert!(title(seen(&mut rules, &now, None, "memory")).starts_with("Warning: memory is short"));
    now.memory.load = MemoryLoad::Critical;
    assert!(title(seen(&mut rules, &now, None, "memory")).contains("connections are closed"));
    for (open, is_short) in [(899, false), (900, true), (800, true), (799, false), (850, false)] {
        (now.process.open_fds, now.process.max_fds) = (open, 1_000);
        assert_eq!(!is_well(&seen(&mut rules, &now, None, "descriptors")), is_short, "{open}");
    }
    now.process.max_fds = u64::MAX;
    assert!(is_well(&seen(&mut rules, &now, None, "descriptors")), "no limit");
    let mut none = Rules::new(
        config("pools = false\nshards = false\nresources = false\nreject_percent = 0\nsilent_for = 0").alerts,
    );
    assert!(none.look(&now, Some(&silent), now.taken).is_empty());
}

#[test]
fn panics_and_old_figures() {
    let mut rules = Rules::new(config("").alerts);
    let mut now = figures();
    now.stats.counts.ends[End::Panicked.index()] = 3;
    let sighted = |rules: &mut Rules, now: &Snapshot, id: &str, seconds: u64| {
        let at = now.taken + Duration::from_secs(seconds);
        // The figures are always new, but for those that are to be old.
        let figures = if id == "figures_old" { now.clone() } else { Snapshot { taken: at, ..now.clone() } };
        rules.look(&figures, None, at).into_iter().find(|sighting| sighting.id == id).unwrap().seen
    };
    assert!(title(sighted(&mut rules, &now, "panics", 0)).contains("3 connections ended by a bug"));
    assert!(!is_well(&sighted(&mut rules, &now, "panics", 599)));
    assert!(is_well(&sighted(&mut rules, &now, "panics", 600)));
    now.stats.counts.ends[End::Panicked.index()] = 4;
    assert!(!is_well(&sighted(&mut rules, &now, "panics", 700)));
    assert!(is_well(&sighted(&mut rules, &now, "figures_old", 10)));
    assert!(title(sighted(&mut rules, &now, "figures_old", 60)).contains("60 s old"));
    let old = rules.look(&now, None, now.taken + Duration::from_secs(60));
    let others = old.iter().filter(|sighting| sighting.id != "figures_old");
    assert!(others.clone().count() > 5 && others.clone().all(|sighting| sighting.seen == Seen::Unclear));
}

#[test]
fn rejects_of_the_window_and_not_of_the_past() {
    let mut rules = Rules::new(config("reject_percent = 10\nreject_window = \"60s\"").alerts);
    let mut now = figures();
    let mut at = |accepted: u64, rejected: u64, refused: u64, seconds: u64| {
        let shares = &mut now.stats.counts.shares;
        (shares.accepted, shares.rejected[0], shares.refused) = (accepted, rejected, refused);
        let figures = Snapshot { taken: now.taken + Duration::from_secs(seconds), ..now.clone() };
        seen(&mut rules, &figures, None, "rejects")
    };
    assert!(is_well(&at(1_000, 900, 0, 0)), "what was before counts not");
    assert!(is_well(&at(1_000, 905, 4, 10)), "9 shares say nothing");
    assert!(is_well(&at(1_091, 905, 4, 20)), "9 of 100 were bad");
    let told = title(at(1_108, 907, 5, 30));
    assert_eq!(
        told,
        "Warning: 10 percent of the shares are bad (within 1m pools rejected 7 and the proxy refused 5 of 120 shares)"
    );
    assert!(is_well(&at(2_000, 907, 5, 200)));
}

#[test]
fn silent_workers_are_one_message_with_a_few_names() {
    let mut rules = Rules::new(config("silent_for = \"60s\"\nsilent_min = 2").alerts);
    let now = figures();
    let worker = |number: usize, seconds: u64| SilentWorker {
        name: format!("farm.{number}").into(),
        silence: Duration::from_secs(seconds),
    };
    let silent = |count: usize, latest: &[SilentWorker]| SilentWorkers {
        count,
        worked: 1_000,
        latest: latest.to_vec(),
    };
    let two = silent(2, &[worker(1, 60), worker(2, 90)]);
    assert!(is_well(&seen(&mut rules, &now, Some(&silent(1, &[worker(1, 60)])), "workers_silent")));
    assert_eq!(seen(&mut rules, &now, None, "workers_silent"), Seen::Unclear, "nobody knows");
    let Seen::Bad(trouble) = seen(&mut rules, &now, Some(&two), "workers_silent") else { panic!() };
    assert_eq!((trouble.title.as_str(), trouble.names.len()), ("2 workers are silent", 2));
    assert!(trouble.text.ends_with("of 1000 workers that worked lately"), "{}", trouble.text);

    // One more becomes silent 200 s after it was told: nobody is told before five minutes have passed.
    let times = Times { fire_after: Duration::ZERO, resolve_after: Duration::ZERO, repeat: None };
    let mut book = AlertBook::new(times);
    let mut told = |silent: &SilentWorkers, seconds: u64| {
        let at = now.taken + Duration::from_secs(seconds);
        let figures = Snapshot { taken: at, ..now.clone() };
        let sightings: Vec<Sighting> = rules.look(&figures, Some(silent), at);
        let messages = book.look(&sightings, Moment { now: at, unix: seconds });
        messages.iter().map(|message| (message.again, message.value, message.more_names)).collect::<Vec<_>>()
    };
    assert_eq!(told(&two, 0), [(false, Some(2.0), 0)]);
    let three = |silence| silent(3, &[worker(3, silence), worker(1, 260)]);
    assert!(told(&three(60), 200).is_empty());
    let pause = GROWN_PAUSE.as_secs();
    assert_eq!(told(&three(60 + pause - 200), pause), [(true, Some(3.0), 1)]);
    assert!(told(&three(60 + 2 * pause - 200), 2 * pause).is_empty(), "none has stopped since");
}

/// A receiver, and a courier to it, in a runtime of their own.
struct Way {
    hook: HookReceiver,
    counts: AlertCounts,
    outbox: RefCell<Outbox>,
    courier: Courier,
    runtime: tokio::runtime::Runtime,
}

impl Way {
    fn new(hook: HookReceiver, lines: &str) -> Way {
        let url = format!("url = \"http://{}/hook?token=hunter2\"\nsource = \"hall 1\"", hook.addr());
        let counts = AlertCounts::default();
        let alerts = Alerts::prepare(&config(&format!("{url}\nsecret = \"{SECRET}\"\n{lines}")), &counts)
            .unwrap()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut receiver = runtime.block_on(async { alerts.receiver() }).unwrap();
        receiver.patience = Duration::from_secs(2);
        let outbox = RefCell::new(Outbox::new(alerts.sender, counts.clone()));
        let courier = Courier { receiver, every: Duration::ZERO, counts: counts.clone() };
        Way { hook, counts, outbox, courier, runtime }
    }

    fn take(&self, message: Message) {
        self.outbox.borrow_mut().take(vec![message], Vec::new());
    }

    /// Delivers until there is nothing left, while `meanwhile` goes on in a thread.
    fn flush(&self, meanwhile: impl FnOnce(&HookReceiver) + Send) {
        let hook = &self.hook;
        std::thread::scope(|scope| {
            scope.spawn(move || meanwhile(hook));
            let flushed = self
                .runtime
                .block_on(async { tokio::time::timeout(PATIENCE, self.courier.flush(&self.outbox)).await });
            flushed.expect("all is delivered or given up");
        });
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::yield_now();
    }
}

/// What a receiver does that knows the secret.
fn verify(request: &HookRequest) -> Value {
    let timestamp = &request.headers[TIMESTAMP_HEADER];
    let signed = format!("{timestamp}.{}", request.body);
    let tag = request.headers[SIGNATURE_HEADER].strip_prefix("v1=").unwrap();
    let tag: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    ring::hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
    assert!(unix_now().abs_diff(timestamp.parse().unwrap()) < 300);
    serde_json::from_str(&request.body).unwrap()
}

#[test]
fn a_post_is_signed_and_says_who_sends_what() {
    let way = Way::new(HookReceiver::start(None).unwrap(), "");
    way.take(Message::test(7));
    way.flush(|_| {});
    let requests = way.hook.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(request.line, "POST /hook?token=hunter2 HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["host"], way.hook.addr().to_string());
    let body = verify(request);
    assert_eq!((&body["source"], &body["alerts"][0]["id"]), (&"hall 1".into(), &"test".into()));
    assert_eq!(body["delivery"], request.headers[DELIVERY_HEADER].as_str());
    assert_eq!((way.counts.now().sent, way.counts.now().failed_posts), (1, 0));
}

/// Each way to behave badly, then a good answer: the same post comes again, and once more only.
#[test]
fn what_is_not_taken_is_posted_again_under_the_same_name() {
    for bad in [
        HookManners::status(500),
        HookManners::status(302),
        HookManners::HangUp,
        HookManners::Nonsense,
        HookManners::Hang,
        HookManners::Answer {
            status: 503,
            headers: "Retry-After: 1\r\nLocation: http://127.0.0.1:1/\r\n".to_owned(),
            text: "x".repeat(100_000),
        },
    ] {
        let way = Way::new(HookReceiver::start(None).unwrap(), "");
        way.hook.set_manners(bad.clone());
        way.take(Message::test(7));
        way.flush(|hook| {
            until(|| !hook.requests().is_empty());
            hook.set_manners(HookManners::status(204));
        });
        let requests = way.hook.requests();
        assert!(requests.len() >= 2, "{bad:?}");
        for request in &requests {
            verify(request);
            assert_eq!(
                (&request.body, &request.headers[DELIVERY_HEADER]),
                (&requests[0].body, &requests[0].headers[DELIVERY_HEADER])
            );
        }
        let told = way.counts.now();
        assert_eq!(
            (told.sent, told.dropped, told.failed_posts, told.waiting),
            (1, 0, requests.len() as u64 - 1, 0)
        );
    }
}

#[test]
fn what_is_refused_is_given_up_and_the_next_message_tells() {
    let way = Way::new(HookReceiver::start(None).unwrap(), "");
    way.hook.set_manners(HookManners::status(404));
    way.take(Message::test(1));
    way.flush(|_| {});
    way.hook.set_manners(HookManners::status(200));
    way.take(Message::test(2));
    way.flush(|_| {});
    let requests = way.hook.requests();
    let told: Vec<Value> = requests.iter().map(|request| verify(request)["dropped"].clone()).collect();
    assert_eq!(told, [0, 1]);
    assert_eq!((way.counts.now().sent, way.counts.now().dropped), (1, 1));
}

#[test]
fn a_receiver_that_comes_up_later_gets_what_waited() {
    let hook = HookReceiver::start(None).unwrap();
    let address = hook.addr();
    let mut way = Way::new(hook, "");
    // Nobody listens any more: refused.
    way.hook = HookReceiver::start(None).unwrap();
    way.take(Message::test(1));
    let counts = way.counts.clone();
    let came = std::sync::Mutex::new(None);
    way.flush(|_| {
        until(|| counts.now().failed_posts >= 1);
        *came.lock().unwrap() = Some(HookReceiver::start_on(address, None).unwrap());
    });
    let late = came.into_inner().unwrap().unwrap();
    assert_eq!((late.requests().len(), way.counts.now().sent), (1, 1));
}

#[test]
fn in_tls_the_receiver_must_be_who_it_says() {
    let authority = loka_rig::Authority::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good.pem", &authority.pem());
    let other = file("other.pem", &loka_rig::Authority::new().unwrap().pem());
    let identity = authority.issue(&["127.0.0.1"]).unwrap();
    let hook = HookReceiver::start(Some(identity.server_config().unwrap())).unwrap();
    let test = |ca_file: &str, host: &str| {
        let port = hook.addr().port();
        let lines = format!(
            "url = \"https://{host}:{port}/hunter2\"\nca_file = \"{ca_file}\"\nsecret = \"{SECRET}\""
        );
        Alerts::prepare(&config(&lines), &AlertCounts::default()).unwrap().unwrap().test()
    };
    let tested = test(&good, "127.0.0.1").unwrap();
    assert_eq!((tested.status, tested.receiver), (200, format!("https://{}", hook.addr())));
    verify(&hook.requests()[0]);
    let error = test(&other, "127.0.0.1").unwrap_err().to_string();
    assert!(matches!(test(&other, "127.0.0.1"), Err(TestError::Unanswered(_))), "{error}");
    assert!(test(&good, "localhost").is_err(), "another name");
    let missing = Alerts::prepare(
        &config("url = \"https://a.example/\"\nca_file = \"/nowhere/ca.pem\""),
        &AlertCounts::default(),
    );
    assert!(missing.unwrap_err().to_string().starts_with("alerts.ca_file: cannot read /nowhere/ca.pem"));
    hook.set_manners(HookManners::Answer { status: 401, headers: String::new(), text: "who?".to_owned() });
    let refused = test(&good, "127.0.0.1").unwrap_err();
    assert_eq!(refused.to_string(), "the receiver answers 401");
    assert_eq!(hook.requests().len(), 2, "others got no request");
}

#[test]
fn no_secret_is_shown() {
    let lines = format!("url = \"https://hooks.example/hunter2\"\nsecret = \"{SECRET}\"");
    let all = config(&lines);
    let alerts = Alerts::prepare(&all, &AlertCounts::default()).unwrap().unwrap();
    let receiver = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { alerts.receiver().unwrap() });
    let told = format!("{all:?} {alerts:?} {receiver:?} {}", alerts.webhook);
    assert!(told.contains("hooks.example") && !told.contains("hunter2") && !told.contains(SECRET), "{told}");
    assert_eq!(Secret::new("x").reveal(), "x");
}

/// The example of the document is what the program sends, and its recipe gives the signature that the program makes.
#[test]
fn the_document_shows_what_is_sent() {
    let text = include_str!("../../config/ALERTS.md");
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    let trouble = Trouble {
        text: "no share was accepted for 10m or longer, of 480 workers that worked lately".to_owned(),
        value: Some(3.0),
        names: vec!["farm.rack07-12".to_owned(), "farm.rack07-13".to_owned()],
        more_names: 1,
        ..Trouble::new(Severity::Warning, "3 workers are silent")
    };
    let firing = Message::firing(
        "workers_silent",
        TroubleKind::WorkersSilent,
        &trouble,
        (1_700_000_000, 1_700_000_000),
        false,
    );
    let resolved = Message::resolved(
        "pool/main",
        TroubleKind::Pool,
        Severity::Critical,
        "pool main is healthy again",
        (1_699_999_000, 1_700_000_000),
    );
    let sender = Sender {
        program: "loka-stratum 0.1.0".to_owned(),
        source: "hall-1".to_owned(),
        instance: "8f14e45fceea167a".to_owned(),
        format: crate::config::AlertFormat::Json,
    };
    let mut outbox = Outbox::new(sender, AlertCounts::default());
    outbox.take(vec![firing, resolved], vec!["workers_silent".to_owned()]);
    let sent: Value = serde_json::from_str(&outbox.batch(Instant::now()).unwrap().body).unwrap();
    assert_eq!(example, sent, "{sent:#}");
    for kind in TroubleKind::ALL {
        assert!(text.contains(&format!("`{}`", kind.label())), "{} is not documented", kind.label());
    }
    let signature = Signer::new(&Secret::new(SECRET)).sign(1_700_000_000, "{\"text\":\"x\"}").unwrap();
    assert!(text.contains(&signature), "{signature}");
    for header in [TIMESTAMP_HEADER, SIGNATURE_HEADER, DELIVERY_HEADER] {
        assert!(text.to_lowercase().contains(header), "{header}");
    }
}
