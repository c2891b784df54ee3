//! The screen: a line of title, the figures of the whole, the lists, and a line of keys.

use super::asker::Seen;
use super::panes::{self, Colours};
use super::state::{Lost, Pane, State};
use super::units;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use std::time::Instant;

/// Characters that a figure of the whole takes with its label.
const FIGURE_WIDTH: u16 = 20;
/// Characters of the label.
const LABEL_WIDTH: usize = 9;
/// What the keys do, most wanted first.
const KEYS: &str =
    " q quit  Tab list  / search  r rejects  h hashrate  s silent  b best  n name  PgDn PgUp page  Esc all";

/// The moment that is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    /// Seconds since 1970, UTC.
    pub(super) unix: u64,
}

/// Draws all that fits into `area`. Gives how many workers do.
pub(super) fn draw(state: &State, now: Now, area: Rect, buffer: &mut Buffer) -> usize {
    let mut rest = area;
    line(&mut rest, buffer, &title(state), Style::new().add_modifier(Modifier::REVERSED));
    if let Some(lost) = &state.lost {
        line(&mut rest, buffer, &told(lost, now.instant), Colours(state.colours).bad());
    }
    if !state.is_once && rest.height > 1 {
        let keys = Rect { y: rest.bottom() - 1, height: 1, ..rest };
        rest.height -= 1;
        draw_keys(state, keys, buffer);
    }
    let Some(seen) = &state.seen else {
        if state.lost.is_none() {
            line(&mut rest, buffer, &format!("asking {} ...", state.url), Style::new());
        }
        return 0;
    };
    let lines_max = if state.is_once { u16::MAX } else { (area.height / 4).max(1) };
    draw_figures(&figures(state, seen), lines_max, state.colours, &mut rest, buffer);
    let wanted = panes::wanted(seen);
    let heights = if state.is_once { wanted } else { panes::fit(rest.height, wanted, state.chosen) };
    panes::draw(state, seen, heights, rest, now.unix, buffer);
    panes::workers_in(heights[Pane::Workers.index()])
}

/// How many lines show all that was told, for one who has no keys.
pub(super) fn height_of_all(seen: &Seen, width: u16) -> u16 {
    let per_line = usize::from((width / FIGURE_WIDTH).max(1));
    let figures = u16::try_from(FIGURES.div_ceil(per_line)).unwrap_or(u16::MAX);
    let lists = panes::wanted(seen).iter().fold(0_u16, |sum, height| sum.saturating_add(*height));
    lists.saturating_add(figures).saturating_add(1)
}

/// Takes the first line of `rest`.
fn line(rest: &mut Rect, buffer: &mut Buffer, text: &str, style: Style) {
    if rest.height == 0 {
        return;
    }
    let place = Rect { height: 1, ..*rest };
    buffer.set_style(place, style);
    buffer.set_stringn(place.x, place.y, text, usize::from(place.width), style);
    (rest.y, rest.height) = (rest.y + 1, rest.height - 1);
}

fn title(state: &State) -> String {
    let Some(seen) = &state.seen else { return format!(" loka-stratum  {}", state.url) };
    let Seen { figures, status, .. } = &**seen;
    let up = units::time(figures.uptime_seconds);
    format!(" loka-stratum {}  {}  up {up}  {}", &*figures.version, &*status.status, state.url)
}

fn told(lost: &Lost, now: Instant) -> String {
    let since = units::time(now.saturating_duration_since(lost.since).as_secs());
    format!(" LOST for {since}, trying again: {}", lost.cause)
}

fn draw_keys(state: &State, place: Rect, buffer: &mut Buffer) {
    let text = match &state.typing {
        Some(typed) => format!(" search: {typed}_   Enter: find, Esc: leave it"),
        None => KEYS.to_owned(),
    };
    let style = Style::new().add_modifier(Modifier::REVERSED);
    buffer.set_style(place, style);
    buffer.set_stringn(place.x, place.y, text, usize::from(place.width), style);
}

/// Figures of the whole.
const FIGURES: usize = 16;

/// A label, a figure, and whether it should not be so.
type Figure = (&'static str, String, bool);

/// Those that matter most first: a small screen shows no more.
fn figures(state: &State, seen: &Seen) -> [Figure; FIGURES] {
    let Seen { figures, status, workers, .. } = seen;
    let (shares, answers) = (&figures.shares, &figures.performance.response_time_ms);
    let bad = shares.rejected + shares.refused;
    let answer = |ms: f64| if answers.count == 0 { "-".to_owned() } else { units::milliseconds(ms) };
    let good = |label, text| (label, text, false);
    [
        good("hashrate", state.hashrate().map_or_else(|| "-".to_owned(), units::hashrate)),
        good("miners", units::count(figures.connections.active)),
        good("accepted", units::per_second(figures.rates.accepted_shares_per_second)),
        ("rejects", units::percent(bad, bad + shares.accepted), is_much(bad, shares.accepted)),
        good("answer", answer(answers.p50)),
        good("99 %", answer(answers.p99)),
        good("shares", units::count(shares.accepted)),
        good("rejected", units::count(shares.rejected)),
        good("refused", units::count(shares.refused)),
        good("unansw.", units::count(shares.unanswered.saturating_add(shares.lost))),
        good("workers", units::count(workers.known as u64)),
        ("waiting", units::count(status.miners_waiting), status.miners_waiting > 0),
        good("blocked", units::count(status.blocked_addresses)),
        good("errors", units::count(figures.connections.errors)),
        good("cpu", format!("{:.0} %", figures.performance.cpu_usage)),
        good("memory", units::bytes(figures.performance.memory_usage)),
    ]
}

/// More than two in a hundred.
fn is_much(bad: u64, accepted: u64) -> bool {
    bad.saturating_mul(50) > bad + accepted
}

/// Draws as many lines of figures as `lines_max`, and takes them from `rest`.
fn draw_figures(figures: &[Figure], lines_max: u16, colours: bool, rest: &mut Rect, buffer: &mut Buffer) {
    let per_line = usize::from((rest.width / FIGURE_WIDTH).max(1));
    for row in figures.chunks(per_line).take(usize::from(lines_max.min(rest.height))) {
        for (place, (label, text, is_bad)) in row.iter().enumerate() {
            let x = rest.x + FIGURE_WIDTH * u16::try_from(place).unwrap_or(0);
            let room = usize::from(rest.right().saturating_sub(x).min(FIGURE_WIDTH - 1));
            let bold = Style::new().add_modifier(Modifier::BOLD);
            let style = if *is_bad { Colours(colours).bad() } else { bold };
            buffer.set_stringn(x, rest.y, label, room.min(LABEL_WIDTH), Style::new());
            let indent = LABEL_WIDTH.min(room);
            let after = x + u16::try_from(indent).unwrap_or(0);
            buffer.set_stringn(after, rest.y, text, room - indent, style);
        }
        (rest.y, rest.height) = (rest.y + 1, rest.height - 1);
    }
}

/// The buffer as lines of text, without what is blank at their ends.
pub(super) fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let (mut line, mut x) = (String::new(), buffer.area.left());
        while x < buffer.area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // Behind a wide letter stands a cell that is a part of it.
            x += u16::try_from(ratatui::text::Span::raw(symbol).width().max(1)).unwrap_or(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
