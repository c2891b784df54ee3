//! Cuts a byte stream into lines, with the length cap applied before anything is parsed.

use crate::tick::Tick;
use std::borrow::Cow;

/// The line passed its cap before its end was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

/// The unfinished last line of one direction. Empty, and without memory of its own, while no line is split.
#[derive(Debug, Default)]
pub struct Carry {
    bytes: Vec<u8>,
    since: Tick,
}

impl Carry {
    /// When the unfinished line began, if there is one.
    #[must_use]
    pub fn since(&self) -> Option<Tick> {
        (!self.bytes.is_empty()).then_some(self.since)
    }

    /// Counts the age of an unfinished line from `now` on.
    pub fn touch(&mut self, now: Tick) {
        self.since = now;
    }

    /// The unfinished line, with the time when it began.
    pub(crate) fn parts(&self) -> (&[u8], Tick) {
        (&self.bytes, self.since)
    }

    /// An unfinished line of a direction in which lines have at most `cap` bytes; `None` for what is none.
    pub(crate) fn of_parts(bytes: Vec<u8>, since: Tick, cap: usize) -> Option<Carry> {
        let is_unfinished = bytes.len() < cap && memchr::memchr(b'\n', &bytes).is_none();
        is_unfinished.then_some(Carry { bytes, since })
    }

    /// Bytes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no line is unfinished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next whole line, its `\n` included, off the front of `rest`; keeps an unfinished end.
    /// Only a line that began in an earlier read owns its bytes.
    ///
    /// # Errors
    /// [`LineTooLong`] when the line, finished or not, has more than `cap` bytes.
    pub fn next_line<'a>(
        &mut self,
        rest: &mut &'a [u8],
        cap: usize,
        now: Tick,
    ) -> Result<Option<Cow<'a, [u8]>>, LineTooLong> {
        let bytes = *rest;
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            return self.keep(rest, cap, now).map(|()| None);
        };
        let (line, after) = bytes.split_at(end + 1);
        *rest = after;
        if self.bytes.len() + line.len() > cap {
            return Err(LineTooLong);
        }
        if self.bytes.is_empty() {
            return Ok(Some(Cow::Borrowed(line)));
        }
        let mut joined = std::mem::take(&mut self.bytes);
        joined.extend_from_slice(line);
        Ok(Some(Cow::Owned(joined)))
    }

    fn keep(&mut self, rest: &mut &[u8], cap: usize, now: Tick) -> Result<(), LineTooLong> {
        if rest.is_empty() {
            return Ok(());
        }
        if self.bytes.len() + rest.len() >= cap {
            return Err(LineTooLong);
        }
        if self.bytes.is_empty() {
            self.since = now;
        }
        self.bytes.extend_from_slice(rest);
        *rest = &[];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(carry: &mut Carry, mut bytes: &[u8], cap: usize) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut found = Vec::new();
        loop {
            match carry.next_line(&mut bytes, cap, Tick(7))? {
                Some(line) => found.push(line.to_vec()),
                None => return Ok(found),
            }
        }
    }

    #[test]
    fn one_line_over_many_reads_and_many_in_one() {
        let mut carry = Carry::default();
        assert_eq!(lines(&mut carry, b"ab", 16), Ok(vec![]));
        assert_eq!(carry.since(), Some(Tick(7)));
        assert_eq!(
            lines(&mut carry, b"c\nd\r\n\ne", 16),
            Ok(vec![b"abc\n".to_vec(), b"d\r\n".to_vec(), b"\n".to_vec()])
        );
        assert_eq!(carry.len(), 1);
        assert_eq!(lines(&mut carry, b"\n", 16), Ok(vec![b"e\n".to_vec()]));
        assert_eq!(carry.since(), None);
    }

    #[test]
    fn the_cap_holds_for_finished_and_unfinished_lines() {
        assert_eq!(lines(&mut Carry::default(), b"1234567\n", 8), Ok(vec![b"1234567\n".to_vec()]));
        assert_eq!(lines(&mut Carry::default(), b"12345678\n", 8), Err(LineTooLong));
        assert_eq!(lines(&mut Carry::default(), b"12345678", 8), Err(LineTooLong));
        let mut carry = Carry::default();
        assert_eq!(lines(&mut carry, b"12345", 8), Ok(vec![]));
        assert_eq!(lines(&mut carry, b"678\n", 8), Err(LineTooLong));
    }
}
