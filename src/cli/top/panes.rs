//! The lists: pools, shards, workers, events. Which of them are shown, how tall, and what stands in their rows.

use super::answers::{Note, Pool, Shard, Worker};
use super::asker::Seen;
use super::state::{Pane, State};
use super::table::{Cell, Column, Table, titles};
use super::units;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// Rows that the chosen list gets before others get any.
const CHOSEN_ROWS: u16 = 8;
/// Characters of a name on a wide screen: figures should not stand far from whom they are of.
const NAME_MAX: u16 = 40;
/// A shard reports twice a second.
const SHARD_SILENT_SECONDS: f64 = 5.0;

const POOLS: &[Column] = &[
    Column::left("POOL", 12),
    Column::left("STATE", 10),
    Column::right("MINERS", 7),
    Column::right("ACCEPTED", 9),
    Column::right("REJECTED", 9),
    Column::right("PART", 7),
    Column::left("WHY", 20),
    Column::right("FOR", 8),
    Column::left("WHERE", 32),
];
const SHARDS: &[Column] = &[
    Column::left("SHARD", 8),
    Column::right("BUSY", 6),
    Column::right("MINERS", 7),
    Column::right("ACCEPTED", 9),
    Column::right("TO POOLS", 9),
    Column::right("QUEUED", 8),
    Column::right("REPORT", 10),
    Column::right("CPU", 4),
];
const WORKERS: &[Column] = &[
    Column::left("WORKER", 14),
    Column::right("REJECTED", 8),
    Column::right("REFUSED", 8),
    Column::right("HASHRATE", 9),
    Column::right("ACCEPTED", 9),
    Column::right("SILENT", 8),
    Column::right("15 MIN", 9),
    Column::right("DIFF", 7),
    Column::right("ANSWER", 8),
    Column::right("CONNS", 5),
    Column::left("POOL", 12),
];
const EVENTS: &[Column] = &[Column::right("AGO", 7), Column::left("EVENT", 9), Column::left("WHAT", 20)];

/// The heights of the lists, by [`Pane::index`]: the chosen one first, then the others in their order, each with a title and a
/// row at least or not at all; what is left is the chosen one's.
pub(super) fn fit(height: u16, wanted: [u16; Pane::ALL.len()], chosen: Pane) -> [u16; Pane::ALL.len()] {
    let mut heights = [0; Pane::ALL.len()];
    let first = wanted[chosen.index()].clamp(2, CHOSEN_ROWS).min(height);
    let mut left = height - first;
    // Workers last, of whom there are most.
    for pane in [Pane::Pools, Pane::Shards, Pane::Events, Pane::Workers] {
        let most = if pane == Pane::Workers { u16::MAX } else { (height / 4).max(3) };
        let share = wanted[pane.index()].min(most).min(left);
        if pane != chosen && share >= 2 {
            heights[pane.index()] = share;
            left -= share;
        }
    }
    heights[chosen.index()] = first + left;
    heights
}

/// The heights that would show all that was told.
pub(super) fn wanted(seen: &Seen) -> [u16; Pane::ALL.len()] {
    let with_title = |rows: usize| u16::try_from(rows.max(1)).unwrap_or(u16::MAX).saturating_add(1);
    // Of workers as many as are asked for; one more line tells which they are.
    let workers = with_title(seen.workers.total.min(seen.wanted.limit.max(usize::from(CHOSEN_ROWS))));
    [
        with_title(seen.pools.items.len()),
        with_title(seen.figures.shards.len()),
        workers.saturating_add(1),
        with_title(seen.events.items.len()),
    ]
}

/// How many workers fit into a list of so many lines.
pub(super) fn workers_in(height: u16) -> usize {
    usize::from(height.saturating_sub(2))
}

/// Draws the lists, and nothing of those that get no height. `unix_now` is in seconds.
pub(super) fn draw(
    state: &State,
    seen: &Seen,
    heights: [u16; 4],
    area: Rect,
    unix_now: u64,
    buffer: &mut Buffer,
) {
    let mut y = area.top();
    for pane in Pane::ALL {
        let height = heights[pane.index()].min(area.bottom().saturating_sub(y));
        let place = Rect { y, height, ..area };
        y += height;
        if height == 0 {
            continue;
        }
        let head = titles(state.chosen == pane && !state.is_once);
        let colours = Colours(state.colours);
        match pane {
            Pane::Pools => {
                let rows: Vec<_> = seen.pools.items.iter().map(|pool| pool_row(pool, colours)).collect();
                Table { columns: POOLS, grows: 6, first_max: NAME_MAX }.draw(&rows, place, head, buffer);
            }
            Pane::Shards => {
                let rows: Vec<_> =
                    seen.figures.shards.iter().map(|shard| shard_row(shard, colours)).collect();
                Table { columns: SHARDS, grows: 0, first_max: 8 }.draw(&rows, place, head, buffer);
            }
            Pane::Workers => draw_workers(state, seen, place, head, buffer),
            Pane::Events => {
                let rows: Vec<_> = seen.events.items.iter().map(|note| note_row(note, unix_now)).collect();
                Table { columns: EVENTS, grows: 2, first_max: 7 }.draw(
                    &or_none(rows, "nothing yet"),
                    place,
                    head,
                    buffer,
                );
            }
        }
    }
}

fn draw_workers(state: &State, seen: &Seen, place: Rect, head: Style, buffer: &mut Buffer) {
    let rows: Vec<_> =
        seen.workers.items.iter().map(|worker| worker_row(worker, Colours(state.colours))).collect();
    let range = which(seen, workers_in(place.height));
    buffer.set_stringn(place.x, place.y, range, usize::from(place.width), Style::new());
    let below = Rect { y: place.y + 1, height: place.height - 1, ..place };
    Table { columns: WORKERS, grows: 0, first_max: NAME_MAX }.draw(&rows, below, head, buffer);
}

/// Which workers are shown, of how many, and by what they are sorted.
fn which(seen: &Seen, rows: usize) -> String {
    let (wanted, workers) = (&seen.wanted, &seen.workers);
    let shown = workers.items.len().min(rows);
    let search =
        if wanted.search.is_empty() { String::new() } else { format!(" with \"{}\"", wanted.search) };
    if shown == 0 {
        return format!("workers{search}: none");
    }
    let (from, to) = (wanted.offset + 1, wanted.offset + shown);
    format!("workers {from}-{to} of {}{search}, by {}", workers.total, wanted.sort.told())
}

fn or_none(rows: Vec<Vec<Cell>>, none: &str) -> Vec<Vec<Cell>> {
    if rows.is_empty() { vec![vec![Cell::from("-"), Cell::from("-"), Cell::from(none)]] } else { rows }
}

/// The sixteen colours that any terminal has, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours(pub(super) bool);

impl Colours {
    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) fn doubtful(self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn coloured(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    /// The style of a state.
    pub(super) fn of(self, state: &str) -> Style {
        match state {
            "healthy" | "ready" => self.good(),
            "failed" => self.bad(),
            _ => self.doubtful(),
        }
    }
}

/// A count that should be zero.
fn fault(count: u64, colours: Colours) -> Cell {
    let style = if count > 0 { colours.bad() } else { Style::new() };
    Cell { text: units::count(count), style }
}

fn pool_row(pool: &Pool, colours: Colours) -> Vec<Cell> {
    let answered = pool.shares_accepted + pool.shares_rejected;
    let cause = if pool.cause.is_empty() { "-" } else { &*pool.cause };
    vec![
        Cell::from(&*pool.name),
        Cell { text: pool.state.to_string(), style: colours.of(&pool.state) },
        units::count(pool.connections).into(),
        units::count(pool.shares_accepted).into(),
        units::count(pool.shares_rejected).into(),
        units::percent(pool.shares_rejected, answered).into(),
        Cell::from(cause),
        units::time(pool.state_seconds).into(),
        Cell::from(&*pool.endpoint),
    ]
}

fn shard_row(shard: &Shard, colours: Colours) -> Vec<Cell> {
    let age = shard.report_age_seconds;
    let is_silent = age.is_none_or(|age| age > SHARD_SILENT_SECONDS);
    let report = age.map_or_else(|| "none yet".to_owned(), |age| format!("{age:.1} s ago"));
    vec![
        shard.shard.to_string().into(),
        format!("{:.0} %", 100.0 * shard.busy_ratio.clamp(0.0, 1.0)).into(),
        units::count(shard.connections).into(),
        units::count(shard.shares_accepted).into(),
        units::count(shard.pool_links).into(),
        units::bytes(shard.queued_bytes).into(),
        Cell { text: report, style: if is_silent { colours.bad() } else { Style::new() } },
        shard.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()).into(),
    ]
}

fn worker_row(worker: &Worker, colours: Colours) -> Vec<Cell> {
    let silent = worker.last_share_seconds.map_or_else(|| "never".to_owned(), |ago| units::time(ago as u64));
    let connections = units::count(worker.connections);
    vec![
        Cell::from(&*worker.name),
        fault(worker.shares.rejected, colours),
        fault(worker.shares.refused, colours),
        units::hashrate(worker.hashrate.minute).into(),
        units::count(worker.shares.accepted).into(),
        silent.into(),
        units::hashrate(worker.hashrate.quarter).into(),
        units::difficulty(worker.difficulty).into(),
        worker.response_ms.map_or_else(|| "-".to_owned(), units::milliseconds).into(),
        Cell {
            text: connections,
            style: if worker.connections == 0 { colours.doubtful() } else { Style::new() },
        },
        Cell::from(if worker.pool.is_empty() { "-" } else { &*worker.pool }),
    ]
}

fn note_row(note: &Note, unix_now: u64) -> Vec<Cell> {
    let ago = units::time(unix_now.saturating_sub(note.unix_seconds));
    vec![ago.into(), note.kind.replace('_', " ").into(), Cell::from(&*note.text)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_list_comes_first_and_others_get_a_title_and_a_row_or_nothing() {
        // Pools, shards, workers, events.
        let wanted = [3, 3, 52, 21];
        assert_eq!(fit(17, wanted, Pane::Workers), [3, 3, 8, 3]);
        assert_eq!(fit(44, wanted, Pane::Workers), [3, 3, 27, 11]);
        assert_eq!(fit(17, wanted, Pane::Events), [3, 3, 3, 8]);
        assert_eq!(fit(8, wanted, Pane::Workers), [0, 0, 8, 0]);
        assert_eq!(fit(10, wanted, Pane::Workers), [2, 0, 8, 0]);
        assert_eq!(fit(9, wanted, Pane::Workers), [0, 0, 9, 0]);
        assert_eq!(fit(1, wanted, Pane::Pools), [1, 0, 0, 0]);
        assert_eq!(fit(0, wanted, Pane::Pools), [0; 4]);
        assert_eq!(
            fit(40, [60, 60, 52, 21], Pane::Workers),
            [10, 10, 10, 10],
            "nobody takes more than a quarter"
        );
        for height in 0..200 {
            for chosen in Pane::ALL {
                assert_eq!(fit(height, wanted, chosen).iter().sum::<u16>(), height);
            }
        }
    }
}
