//! Where the log thread writes: a line is written or counted as lost, and trouble ends when its cause does.
//!
//! Only the log thread comes here, so nobody but it waits for a disk or a pipe.

use super::file::RotatingFile;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes whole lines, and never says that it failed: the thread that writes must go on whatever happens.
pub(super) struct Sink<W> {
    to: W,
    lost: Arc<AtomicU64>,
    /// Lines lost since the last that was written, and why the first of them was.
    trouble: Option<(u64, io::Error)>,
}

/// Something that takes whole lines.
pub(super) trait Lines {
    /// All of it is written, or the line is lost.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;
}

impl Lines for io::Stderr {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }
}

impl Lines for RotatingFile {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        RotatingFile::write_line(self, line)
    }
}

impl<W> Sink<W> {
    /// Lines that are lost are added to `lost`.
    pub(super) fn new(to: W, lost: Arc<AtomicU64>) -> Self {
        Self { to, lost, trouble: None }
    }
}

impl<W: Lines> Write for Sink<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.to.write_line(line) {
            Ok(()) => {
                if let Some((lost, cause)) = self.trouble.take() {
                    // This line goes the way of all others: into the queue, which this thread empties.
                    tracing::warn!(lost, %cause, "log lines could not be written; they can again");
                }
            }
            Err(cause) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                let (lost, _) = self.trouble.get_or_insert((0, cause));
                *lost += 1;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails for lines that say so.
    struct Moody(Vec<u8>);

    impl Lines for Moody {
        fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
            if line == b"full\n" {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write_all(line)
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_next_is_tried() {
        let lost = Arc::new(AtomicU64::new(0));
        let mut sink = Sink::new(Moody(Vec::new()), Arc::clone(&lost));
        for line in ["a\n", "full\n", "full\n", "b\n"] {
            sink.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!((sink.to.0.as_slice(), lost.load(Ordering::Relaxed)), (b"a\nb\n".as_slice(), 2));
        assert!(sink.trouble.is_none());
    }
}
