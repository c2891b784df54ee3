//! Tables that fit: columns stand in the order of their weight, and those that find no room are left out from the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Characters at least.
    pub(super) width: u16,
    pub(super) is_right: bool,
}

impl Column {
    pub(super) const fn left(title: &'static str, width: u16) -> Column {
        Column { title, width, is_right: false }
    }

    pub(super) const fn right(title: &'static str, width: u16) -> Column {
        Column { title, width, is_right: true }
    }
}

/// A text in its style.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, style: Style::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::from(text.to_owned())
    }
}

/// Columns between which a blank stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) columns: &'a [Column],
    /// The column that gets what is left; the first, where there is no room for it.
    pub(super) grows: usize,
    /// Characters that the first column gets at most.
    pub(super) first_max: u16,
}

impl Table<'_> {
    /// The widths of those columns that fit; the first is cut rather than left out.
    fn widths(&self, room: u16) -> Vec<u16> {
        let (mut widths, mut used) = (Vec::new(), 0);
        for column in self.columns {
            let gap = u16::from(!widths.is_empty());
            if !widths.is_empty() && used + gap + column.width > room {
                break;
            }
            used += gap + column.width;
            widths.push(column.width.min(room));
        }
        let grows = if self.grows < widths.len() { self.grows } else { 0 };
        if let Some(width) = widths.get_mut(grows) {
            let grown = *width + room.saturating_sub(used);
            *width = if grows == 0 { grown.min(self.first_max.max(*width)) } else { grown };
        }
        widths
    }

    /// Draws the titles and below them as many rows as fit.
    pub(super) fn draw(&self, rows: &[Vec<Cell>], area: Rect, titles: Style, buffer: &mut Buffer) {
        let widths = self.widths(area.width);
        let title = |column: &Column| Cell { text: column.title.to_owned(), style: titles };
        let head: Vec<Cell> = self.columns.iter().map(title).collect();
        if area.height > 0 {
            buffer.set_style(Rect { height: 1, ..area }, titles);
        }
        for (row, y) in std::iter::once(&head).chain(rows).zip(area.top()..area.bottom()) {
            let mut x = area.left();
            for ((cell, width), column) in row.iter().zip(&widths).zip(self.columns) {
                put(cell, (x, y), *width, column.is_right, buffer);
                x += width + 1;
            }
        }
    }
}

fn put(cell: &Cell, (x, y): (u16, u16), width: u16, is_right: bool, buffer: &mut Buffer) {
    let taken = u16::try_from(Span::raw(&cell.text).width()).unwrap_or(u16::MAX);
    let indent = if is_right { width.saturating_sub(taken) } else { 0 };
    buffer.set_stringn(x + indent, y, &cell.text, usize::from(width - indent), cell.style);
}

/// The style of titles.
pub(super) fn titles(is_chosen: bool) -> Style {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    if is_chosen { bold.add_modifier(Modifier::REVERSED) } else { bold.add_modifier(Modifier::UNDERLINED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[Column::left("name", 10), Column::right("count", 5), Column::left("why", 8)];

    #[test]
    fn columns_that_find_no_room_are_left_out_from_the_right() {
        let widths = |room, grows| Table { columns: COLUMNS, grows, first_max: 40 }.widths(room);
        assert_eq!(widths(40, 2), [10, 5, 23]);
        assert_eq!(widths(25, 2), [10, 5, 8]);
        assert_eq!(widths(24, 2), [18, 5], "what was to grow has gone");
        assert_eq!(widths(15, 0), [15]);
        assert_eq!(widths(4, 0), [4]);
        assert_eq!(widths(0, 0), [0]);
        assert_eq!(widths(200, 0), [40, 5, 8]);
    }

    #[test]
    fn figures_stand_right_and_wide_letters_are_counted_as_such() {
        let area = Rect::new(0, 0, 16, 3);
        let mut buffer = Buffer::empty(area);
        let rows =
            [vec![Cell::from("矿机矿机矿机"), Cell::from("12"), Cell::from("x")], vec![Cell::from("a")]];
        Table { columns: COLUMNS, grows: 0, first_max: 40 }.draw(&rows, area, Style::new(), &mut buffer);
        assert_eq!(buffer[(11, 0)].symbol(), "c");
        assert_eq!(
            (buffer[(8, 1)].symbol(), buffer[(10, 1)].symbol()),
            ("矿", " "),
            "cut where half would fit"
        );
        assert_eq!((buffer[(14, 1)].symbol(), buffer[(15, 1)].symbol()), ("1", "2"));
    }
}
