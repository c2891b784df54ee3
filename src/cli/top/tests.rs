//! Screens of several sizes held against what they were when somebody looked at them, keys, and what others say.
//!
//! `LOKA_GOLDEN=write cargo test --lib top::tests` writes the screens anew; look at the difference before you keep it.

use super::answers::{Hashrate, Note, Page, Pool, Shard, Shares, Worker};
use super::asker::{Seen, Sort, Wanted};
use super::draw::{self, Now};
use super::state::{Pane, State, Then};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The time of the screens.
const UNIX: u64 = 1_800_000_000;
const WORKERS: usize = 50;
/// Difficulty of the shares of the last minute.
const MINED: f64 = 78_643_200.0;

fn worker(number: usize) -> Worker {
    let number = number as u64;
    Worker {
        name: format!("farm.rack{}-{number}", number / 10).as_str().into(),
        connections: u64::from(number != 3),
        pool: if number == 3 { "".into() } else { "main".into() },
        hashrate: Hashrate { minute: 1.1e14 + number as f64 * 1e11, quarter: 1.09e14 },
        shares: Shares {
            accepted: 1_000 + number,
            rejected: 50 - number,
            refused: number % 3,
            ..Shares::default()
        },
        difficulty: Some(65_536.0),
        response_ms: (number != 3).then_some(21.4),
        last_share_seconds: (number != 3).then_some(number as f64 * 7.0),
    }
}

fn pool(name: &str, state: &str, cause: &str) -> Pool {
    Pool {
        name: name.into(),
        endpoint: format!("stratum+tcp://{name}.example:3333").as_str().into(),
        state: state.into(),
        cause: cause.into(),
        state_seconds: 7_260,
        connections: 50,
        shares_accepted: 51_225,
        shares_rejected: 525,
    }
}

fn note(ago: u64, kind: &str, text: &str) -> Note {
    Note { unix_seconds: UNIX - ago, kind: kind.into(), text: text.into() }
}

/// What a proxy with two pools, two shards and fifty workers tells.
fn seen(wanted: &Wanted, at: Instant) -> Seen {
    let figures = r#"{"version":"0.1.0","uptime_seconds":187380,"connections":{"active":50,"total":61,"errors":2},
        "performance":{"cpu_usage":3.26,"memory_usage":31457280,"response_time_ms":{"count":9,"p50":20.4,"p99":45.1}},
        "shares":{"accepted":51225,"rejected":1275,"refused":49,"unanswered":3,"accepted_difficulty":3357081600},
        "rates":{"accepted_shares_per_second":24.96}}"#;
    let status = r#"{"status":"degraded","miners_waiting":4,"blocked_addresses":1}"#;
    let shard = |shard, age| Shard {
        shard,
        cpu: Some(shard + 2),
        connections: 25,
        pool_links: 25,
        queued_bytes: 1_536 * shard,
        shares_accepted: 25_612,
        busy_ratio: 0.041,
        report_age_seconds: age,
    };
    let mut seen = Seen {
        at,
        figures: serde_json::from_str(figures).unwrap(),
        status: serde_json::from_str(status).unwrap(),
        pools: Page {
            total: 2,
            items: vec![
                pool("main", "healthy", ""),
                pool("spare", "failed", "3 connections in a row: port refused its connection"),
            ],
            known: 0,
        },
        workers: Page {
            total: WORKERS,
            items: (wanted.offset..WORKERS.min(wanted.offset + wanted.limit)).map(worker).collect(),
            known: WORKERS,
        },
        wanted: wanted.clone(),
        events: Page {
            total: 2,
            items: vec![
                note(65, "pool", "spare: failed (3 connections in a row: port refused its connection)"),
                note(3_700, "log_level", "the level of the log is debug"),
            ],
            known: 0,
        },
    };
    seen.figures.shards = vec![shard(0, Some(0.31)), shard(1, Some(9.0))];
    seen
}

/// A screen after a minute of looks.
fn state(now: Instant) -> State {
    let mut state = State::new("http://127.0.0.1:9090".to_owned(), false, false);
    for (before, mined) in [(60, 0.0), (0, MINED)] {
        let mut seen = seen(&state.wanted, now - Duration::from_secs(before));
        seen.figures.shares.accepted_difficulty += mined;
        state.take(Ok(Box::new(seen)), now);
    }
    state
}

/// Draws twice, as the program does: the first time tells how many workers fit.
fn screen(state: &mut State, now: Instant, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    for _ in 0..2 {
        let mut fits = 0;
        let draw = |area: Rect, buffer: &mut Buffer| {
            fits = draw::draw(state, Now { instant: now, unix: UNIX }, area, buffer);
        };
        let mut draw = Some(draw);
        terminal.draw(|frame| draw.take().unwrap()(frame.area(), frame.buffer_mut())).unwrap();
        state.fits(fits);
        if state.seen.is_some() && state.lost.is_none() {
            let mut next = seen(&state.wanted, now);
            next.figures.shares.accepted_difficulty += MINED;
            state.take(Ok(Box::new(next)), now);
        }
    }
    draw::text_of(terminal.backend().buffer())
}

fn golden(name: &str, shown: &str) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/golden").join(format!("{name}.txt"));
    if std::env::var_os("LOKA_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{name} is\n{shown}\nand was\n{expected}");
}

fn press(state: &mut State, code: KeyCode) -> Then {
    state.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn typed(state: &mut State, text: &str) {
    for letter in text.chars() {
        assert_eq!(press(state, KeyCode::Char(letter)), Then::GoOn);
    }
}

#[test]
fn screens_of_several_sizes() {
    let now = Instant::now();
    for (width, height) in [(80, 24), (40, 12), (200, 50)] {
        golden(&format!("{width}x{height}"), &screen(&mut state(now), now, width, height));
    }
    let mut chosen = state(now);
    chosen.chosen = Pane::Events;
    golden("80x24-events", &screen(&mut chosen, now, 80, 24));
    let mut lost = state(now);
    lost.take(Err("no proxy answers at http://127.0.0.1:9090: Connection refused".to_owned()), now);
    lost.take(Err("no proxy answers at http://127.0.0.1:9090: Connection refused".to_owned()), now);
    golden("80x24-lost", &screen(&mut lost, now + Duration::from_secs(75), 80, 24));
    let mut nothing = State::new("http://farm:9090".to_owned(), true, false);
    golden("40x12-asking", &screen(&mut nothing, now, 40, 12));
}

#[test]
fn once_all_is_told_but_further_pages() {
    let now = Instant::now();
    let mut once = State::new("http://127.0.0.1:9090".to_owned(), false, true);
    let told = seen(&once.wanted, now);
    let area = Rect::new(0, 0, 100, draw::height_of_all(&told, 100));
    once.take(Ok(Box::new(told)), now);
    let mut buffer = Buffer::empty(area);
    draw::draw(&once, Now { instant: now, unix: UNIX }, area, &mut buffer);
    golden("once", &format!("{}\n", draw::text_of(&buffer).trim_end()));
}

#[test]
fn no_size_and_no_text_makes_it_panic() {
    let now = Instant::now();
    for width in (0..45).chain([80, 500]) {
        for height in (0..25).chain([100]) {
            for chosen in Pane::ALL {
                let mut state = state(now);
                state.chosen = chosen;
                state.take(Err("gone".to_owned()), now);
                let mut seen = seen(&state.wanted, now);
                seen.workers.items[0].name = "矿机\u{1f3ed}\u{200d}\u{301}".into();
                seen.workers.items[1].hashrate.minute = f64::NAN;
                seen.workers.items[2].last_share_seconds = Some(f64::INFINITY);
                seen.figures.performance.cpu_usage = f64::NEG_INFINITY;
                seen.figures.shards[0].busy_ratio = f64::NAN;
                state.seen = Some(Box::new(seen));
                let area = Rect::new(0, 0, width, height);
                let mut buffer = Buffer::empty(area);
                draw::draw(&state, Now { instant: now, unix: 0 }, area, &mut buffer);
                let text = draw::text_of(&buffer);
                assert_eq!(text.lines().count(), usize::from(height));
            }
        }
    }
}

#[test]
fn without_colours_none_is_asked_of_the_terminal() {
    let now = Instant::now();
    let area = Rect::new(0, 0, 120, 40);
    let colours = |are_on: bool| {
        let mut state = state(now);
        state.colours = are_on;
        let mut buffer = Buffer::empty(area);
        draw::draw(&state, Now { instant: now, unix: UNIX }, area, &mut buffer);
        let is_coloured = |cell: &&ratatui::buffer::Cell| {
            cell.fg != ratatui::style::Color::Reset || cell.bg != ratatui::style::Color::Reset
        };
        buffer.content.iter().filter(is_coloured).count()
    };
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 10);
}

#[test]
fn keys_sort_search_turn_pages_and_quit() {
    let now = Instant::now();
    let mut state = state(now);
    state.fits(20);
    for (key, sort) in [('h', Sort::Hashrate), ('s', Sort::Silent), ('n', Sort::Name), ('r', Sort::Rejects)] {
        typed(&mut state, &key.to_string());
        assert_eq!(state.wanted.sort, sort);
    }
    for offset in [20, 40, 40] {
        press(&mut state, KeyCode::PageDown);
        assert_eq!(state.wanted.offset, offset, "no further than the last page");
    }
    state.fits(15);
    assert_eq!((state.wanted.offset, state.wanted.limit), (30, 15), "pages begin where pages begin");
    press(&mut state, KeyCode::Up);
    assert_eq!(state.wanted.offset, 15);
    // What is typed is a search, whatever the letters mean elsewhere.
    typed(&mut state, "/rqs");
    press(&mut state, KeyCode::Backspace);
    assert_eq!((state.typing.as_deref(), &*state.wanted.search), (Some("rq"), ""));
    press(&mut state, KeyCode::Enter);
    assert_eq!((&*state.wanted.search, state.wanted.offset, state.wanted.sort), ("rq", 0, Sort::Rejects));
    typed(&mut state, "/x");
    press(&mut state, KeyCode::Esc);
    assert_eq!((state.typing.as_deref(), &*state.wanted.search), (None, "rq"), "left, the old one stays");
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.wanted.search, "");
    typed(&mut state, &format!("/{}", "y".repeat(1_000)));
    assert_eq!(state.typing.as_ref().unwrap().len(), 64);
    assert_eq!(state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Then::Quit);
    press(&mut state, KeyCode::Esc);
    let order = [Pane::Events, Pane::Pools, Pane::Shards, Pane::Workers];
    for pane in order {
        press(&mut state, KeyCode::Tab);
        assert_eq!(state.chosen, pane);
    }
    press(&mut state, KeyCode::BackTab);
    assert_eq!((state.chosen, press(&mut state, KeyCode::Char('q'))), (Pane::Shards, Then::Quit));
}

#[test]
fn a_page_that_has_gone_leads_back_to_the_first() {
    let now = Instant::now();
    let mut state = state(now);
    state.wanted.offset = 40;
    let mut empty = seen(&state.wanted, now);
    empty.workers = Page::default();
    state.take(Ok(Box::new(empty)), now);
    assert_eq!(state.wanted.offset, 0);
}
