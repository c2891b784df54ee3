//! What is shown, and what each key changes of it. It draws nothing and asks nobody.

use super::asker::{Looked, Seen, Sort, Wanted};
use super::trend::Trend;
use loka_proto::HASHES_OF_ONE;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Instant;

/// Characters of a search.
const SEARCH_MAX: usize = 64;
/// Workers asked for before it is known how many fit.
pub(super) const PAGE_FIRST: usize = 20;
/// Workers on a page at most.
pub(super) const PAGE_MAX: usize = 200;

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Pools,
    Shards,
    Workers,
    Events,
}

impl Pane {
    /// In the order in which they stand.
    pub(super) const ALL: [Pane; 4] = [Pane::Pools, Pane::Shards, Pane::Workers, Pane::Events];

    pub(super) fn index(self) -> usize {
        match self {
            Pane::Pools => 0,
            Pane::Shards => 1,
            Pane::Workers => 2,
            Pane::Events => 3,
        }
    }

    fn moved(self, by: usize) -> Pane {
        Pane::ALL[(self.index() + by) % Pane::ALL.len()]
    }
}

/// The proxy does not answer.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) since: Instant,
    pub(super) cause: String,
}

/// All that the screen is made of.
#[derive(Debug)]
pub(super) struct State {
    pub(super) url: String,
    pub(super) seen: Option<Box<Seen>>,
    pub(super) lost: Option<Lost>,
    pub(super) chosen: Pane,
    pub(super) wanted: Wanted,
    /// What is being typed, while a search is.
    pub(super) typing: Option<String>,
    /// Whether the terminal is to show colours.
    pub(super) colours: bool,
    /// One look for a script, with nobody at the keys.
    pub(super) is_once: bool,
    trend: Trend,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Quit,
}

impl State {
    pub(super) fn new(url: String, colours: bool, is_once: bool) -> State {
        State {
            url,
            seen: None,
            lost: None,
            chosen: Pane::Workers,
            wanted: Wanted { limit: PAGE_FIRST, ..Wanted::default() },
            typing: None,
            colours,
            is_once,
            trend: Trend::default(),
        }
    }

    /// Takes what came of a look.
    pub(super) fn take(&mut self, looked: Looked, now: Instant) {
        match looked {
            Ok(seen) => {
                self.lost = None;
                self.trend.add(seen.at, seen.figures.shares.accepted_difficulty);
                let is_past_the_end = seen.workers.items.is_empty() && seen.wanted.offset > 0;
                if is_past_the_end && seen.wanted == self.wanted {
                    self.wanted.offset = 0;
                }
                self.seen = Some(seen);
            }
            Err(cause) => {
                let since = self.lost.as_ref().map_or(now, |lost| lost.since);
                self.lost = Some(Lost { since, cause });
            }
        }
    }

    /// Hashes per second: lately, or since the start where there was only one look.
    pub(super) fn hashrate(&self) -> Option<f64> {
        let seen = self.seen.as_ref()?;
        let whole =
            seen.figures.shares.accepted_difficulty * HASHES_OF_ONE / seen.figures.uptime_seconds as f64;
        if self.is_once { Some(whole).filter(|whole| whole.is_finite()) } else { self.trend.hashrate() }
    }

    /// So many workers fit on the screen.
    pub(super) fn fits(&mut self, rows: usize) {
        // Not shown at all, they are still asked for.
        let limit = if rows == 0 { PAGE_FIRST } else { rows.min(PAGE_MAX) };
        if limit != self.wanted.limit {
            self.wanted.limit = limit;
            self.wanted.offset -= self.wanted.offset % limit;
        }
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Then {
        let is_held = |modifier| key.modifiers.contains(modifier);
        if is_held(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return Then::Quit;
        }
        if is_held(KeyModifiers::CONTROL) || is_held(KeyModifiers::ALT) {
            return Then::GoOn;
        }
        match self.typing.take() {
            Some(typed) => self.type_on(typed, key.code),
            None => return self.command(key.code),
        }
        Then::GoOn
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "most keys of a keyboard mean nothing here")]
    fn type_on(&mut self, mut typed: String, code: KeyCode) {
        match code {
            KeyCode::Enter => return self.search(typed),
            KeyCode::Esc => return,
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(letter) if typed.chars().count() < SEARCH_MAX && !letter.is_control() => {
                typed.push(letter);
            }
            _ => {}
        }
        self.typing = Some(typed);
    }

    fn search(&mut self, search: String) {
        self.wanted = Wanted { search, offset: 0, ..self.wanted.clone() };
        self.chosen = Pane::Workers;
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "most keys of a keyboard mean nothing here")]
    fn command(&mut self, code: KeyCode) -> Then {
        match code {
            KeyCode::Char('q' | 'Q') => return Then::Quit,
            KeyCode::Char('/') => self.typing = Some(self.wanted.search.clone()),
            KeyCode::Esc => self.search(String::new()),
            KeyCode::Char('r') => self.sort(Sort::Rejects),
            KeyCode::Char('h') => self.sort(Sort::Hashrate),
            KeyCode::Char('s') => self.sort(Sort::Silent),
            KeyCode::Char('n') => self.sort(Sort::Name),
            KeyCode::Tab => self.chosen = self.chosen.moved(1),
            KeyCode::BackTab => self.chosen = self.chosen.moved(3),
            KeyCode::PageDown | KeyCode::Down | KeyCode::Char(' ') => self.turn(true),
            KeyCode::PageUp | KeyCode::Up => self.turn(false),
            KeyCode::Home => self.wanted.offset = 0,
            _ => {}
        }
        Then::GoOn
    }

    fn sort(&mut self, sort: Sort) {
        self.wanted = Wanted { sort, offset: 0, ..self.wanted.clone() };
        self.chosen = Pane::Workers;
    }

    fn turn(&mut self, is_on: bool) {
        let Wanted { offset, limit, .. } = self.wanted;
        let total = self.seen.as_ref().map_or(0, |seen| seen.workers.total);
        if !is_on {
            self.wanted.offset = offset.saturating_sub(limit);
        } else if offset + limit < total {
            self.wanted.offset = offset + limit;
        }
    }
}
