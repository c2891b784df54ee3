//! Request ids in the styles of the field, and which share an answer is for.

use std::collections::VecDeque;

use crate::wire::push_decimal;

/// What miners put into `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdStyle {
    /// 1, 2, 3, ...
    Unique,
    /// cpuminer: subscribe 1, authorize 2, every share 4.
    AlwaysFour,
    /// `"rig-1"`, `"rig-2"`, ...
    Strings,
    /// Above 2^40.
    Large,
}

/// Serial numbers of the greeting's requests. Shares follow.
pub(super) const EXTRANONCE: u64 = 0;
pub(super) const SUBSCRIBE: u64 = 1;
pub(super) const AUTHORIZE: u64 = 2;
pub(super) const CONFIGURE: u64 = 3;
pub(super) const FIRST_SHARE: u64 = 4;

const LARGE_BASE: u64 = 1 << 40;
const STRING_START: &str = "\"rig-";

impl IdStyle {
    /// Appends the id of the request with this serial number.
    pub(super) fn write(self, out: &mut Vec<u8>, serial: u64) {
        match self {
            IdStyle::Unique => push_decimal(out, serial),
            IdStyle::AlwaysFour => push_decimal(out, serial.min(FIRST_SHARE)),
            IdStyle::Large => push_decimal(out, LARGE_BASE + serial),
            IdStyle::Strings => {
                out.extend_from_slice(STRING_START.as_bytes());
                push_decimal(out, serial);
                out.push(b'"');
            }
        }
    }

    /// The serial number of an id that is written exactly as [`IdStyle::write`] does. For [`IdStyle::AlwaysFour`] every
    /// share has [`FIRST_SHARE`].
    pub(super) fn read(self, id: &str) -> Option<u64> {
        match self {
            IdStyle::Unique => read_decimal(id),
            IdStyle::AlwaysFour => read_decimal(id).filter(|&serial| serial <= FIRST_SHARE),
            IdStyle::Large => read_decimal(id)?.checked_sub(LARGE_BASE),
            IdStyle::Strings => read_decimal(id.strip_prefix(STRING_START)?.strip_suffix('"')?),
        }
    }
}

/// Refuses signs and leading zeros, which `parse` would take.
fn read_decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A share that waits for its answer. Times are nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) serial: u64,
    pub(super) due_ns: u64,
}

/// Which share an answer belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Match {
    Share(Pending),
    /// The share was answered before.
    Again,
    /// Nothing was sent with this id.
    Foreign,
}

/// The shares in flight of one miner, oldest first. Its length is bounded by whoever sends.
#[derive(Default)]
pub(super) struct InFlight {
    shares: VecDeque<Pending>,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.shares.len()
    }

    pub(super) fn push(&mut self, share: Pending) {
        self.shares.push_back(share);
    }

    /// Forgets all, and returns how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.shares.len() as u64;
        self.shares.clear();
        count
    }

    /// Finds the share that the answer with this serial is for; `next` is the first serial that was not sent yet.
    pub(super) fn take(&mut self, style: IdStyle, serial: u64, next: u64) -> Match {
        let index = match style {
            // One id for all: the oldest is meant.
            IdStyle::AlwaysFour => (!self.shares.is_empty()).then_some(0),
            IdStyle::Unique | IdStyle::Strings | IdStyle::Large => {
                self.shares.iter().position(|share| share.serial == serial)
            }
        };
        match index.and_then(|index| self.shares.remove(index)) {
            Some(share) => Match::Share(share),
            None if serial < next => Match::Again,
            None => Match::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLES: [IdStyle; 4] = [IdStyle::Unique, IdStyle::AlwaysFour, IdStyle::Strings, IdStyle::Large];

    #[test]
    fn ids_are_read_back_only_as_written() {
        for style in STYLES {
            for serial in [1, 4, 17, 1_000_000] {
                let mut id = Vec::new();
                style.write(&mut id, serial);
                let expected = if style == IdStyle::AlwaysFour { serial.min(4) } else { serial };
                assert_eq!(style.read(std::str::from_utf8(&id).unwrap()), Some(expected));
            }
        }
        assert_eq!(IdStyle::Unique.read("+4"), None);
        assert_eq!(IdStyle::Unique.read("04"), None);
        assert_eq!(IdStyle::Unique.read("4.0"), None);
        assert_eq!(IdStyle::Unique.read(""), None);
        assert_eq!(IdStyle::Unique.read("\"4\""), None);
        assert_eq!(IdStyle::Strings.read("4"), None);
        assert_eq!(IdStyle::Large.read("4"), None);
    }

    #[test]
    fn answers_find_their_share_in_any_order() {
        let mut flight = InFlight::default();
        for serial in 4..8 {
            flight.push(Pending { serial, due_ns: serial });
        }
        assert_eq!(flight.take(IdStyle::Unique, 6, 8), Match::Share(Pending { serial: 6, due_ns: 6 }));
        assert_eq!(flight.take(IdStyle::Unique, 6, 8), Match::Again);
        assert_eq!(flight.take(IdStyle::Unique, 9, 8), Match::Foreign);
        assert_eq!(flight.take(IdStyle::AlwaysFour, 4, 8), Match::Share(Pending { serial: 4, due_ns: 4 }));
        assert_eq!(flight.clear(), 2);
        assert_eq!(flight.take(IdStyle::AlwaysFour, 4, 8), Match::Again);
    }
}
