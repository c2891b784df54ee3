//! Lists of CPUs, `2-5,8`.

use std::fmt;

use super::key::{Form, must_be};
use super::value::Given;

/// The kernel's fixed CPU set, which the executors' pinning uses, ends here.
const CPU_MAX: u32 = 1023;

/// CPU numbers as the kernel counts them: at least one, ascending, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// The CPU numbers, ascending.
    pub fn ids(&self) -> &[usize] {
        &self.0
    }

    /// The list of these CPUs, in whatever order they come. `None` for none at all, or a CPU above 1023.
    pub fn of(ids: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut ids: Vec<usize> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.last().is_some_and(|last| *last <= CPU_MAX as usize).then_some(Self(ids))
    }

    /// Reads `2-5,8`. `None` for an empty list, a range that runs backwards, or a CPU above 1023.
    pub fn parse(text: &str) -> Option<Self> {
        let mut ids = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu(first)?, cpu(last)?);
            if first > last || ids.len() > CPU_MAX as usize {
                return None;
            }
            ids.extend((first..=last).map(|id| id as usize));
        }
        Self::of(ids)
    }
}

fn cpu(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= CPU_MAX)
}

impl fmt::Display for CpuList {
    /// Writes the list the way [`CpuList::parse`] reads it, neighbours joined to ranges.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for run in self.0.chunk_by(|a, b| a + 1 == *b) {
            match run {
                [] => {}
                [id] => write!(f, "{separator}{id}")?,
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// A CPU list, or an empty text for all CPUs.
pub(super) struct Cpus;

impl Form for Cpus {
    type Out = Option<CpuList>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Option<CpuList>, String> {
        let text = given.text().ok_or_else(|| must_be(self))?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        CpuList::parse(text).map(Some).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        format!("a list of CPU numbers from 0 to {CPU_MAX}, such as \"2-5,8\", or \"\" for all allowed CPUs")
    }

    fn default_value(&self, _default: &()) -> Option<CpuList> {
        None
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("\"\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::CpuList;
    use proptest::prelude::*;

    #[test]
    fn lists() {
        assert_eq!(CpuList::parse("2-5,8").as_ref().map(CpuList::ids), Some(&[2, 3, 4, 5, 8][..]));
        assert_eq!(CpuList::parse(" 8 , 3-2").as_ref().map(CpuList::ids), None);
        assert_eq!(CpuList::parse("1,1,0").as_ref().map(CpuList::ids), Some(&[0, 1][..]));
        for text in ["", "a", "1-", "-1", "+1", "1024", "0-4294967295", "1,,2", "1--2", "0-1-2"] {
            assert_eq!(CpuList::parse(text), None, "{text}");
        }
        assert_eq!(CpuList::of([8, 2, 3, 2]).map(|list| list.to_string()), Some("2-3,8".to_owned()));
        assert_eq!((CpuList::of([]), CpuList::of([0, 1024])), (None, None));
        assert_eq!(CpuList::parse(&"0-1023,".repeat(10_000)), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ids in proptest::collection::btree_set(0..1024_usize, 1..40)) {
            let list = CpuList(ids.into_iter().collect());
            prop_assert_eq!(CpuList::parse(&list.to_string()), Some(list));
        }

        #[test]
        fn no_text_panics(text in "[0-9,\\- ]{0,40}") {
            let _ = CpuList::parse(&text);
        }
    }
}
