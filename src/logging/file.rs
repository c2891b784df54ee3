//! A log file that is put aside when it has grown, and opened anew when somebody else has moved it away.
//!
//! When putting aside or opening fails, lines go on into the file that is open, and it is tried again later. A file that is
//! no regular one, such as a pipe or a device, is written and never renamed.

use crate::config::LogFile;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long after a failure the file is opened or put aside again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Asks the log thread to open its file anew before the next line.
pub(super) type ReopenWish = Arc<AtomicBool>;

/// The open log file.
pub(super) struct RotatingFile {
    path: PathBuf,
    limit: Option<NonZeroU64>,
    keep: u32,
    file: File,
    /// Bytes in it.
    size: u64,
    is_regular: bool,
    /// A line was cut short: the next one must not be written behind its piece.
    is_torn: bool,
    wish: ReopenWish,
    /// Opening it anew has failed, and is tried again then.
    reopen_at: Option<Instant>,
    /// Putting it aside has failed, and is tried again then.
    rotate_at: Option<Instant>,
}

impl RotatingFile {
    /// Opens the file for appending, and creates it if there is none.
    ///
    /// # Errors
    /// It cannot be opened or created.
    pub(super) fn open(log: &LogFile, wish: ReopenWish) -> io::Result<Self> {
        let (file, size, is_regular) = open(&log.path)?;
        let (path, limit, keep) = (log.path.clone(), log.rotate_bytes, log.rotate_keep);
        let (is_torn, reopen_at, rotate_at) = (false, None, None);
        Ok(Self { path, limit, keep, file, size, is_regular, is_torn, wish, reopen_at, rotate_at })
    }

    /// Writes a whole line, into a new file if this one would grow too large.
    ///
    /// # Errors
    /// The line is lost, whole or in part.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.wish.swap(false, Ordering::AcqRel) || is_due(self.reopen_at) {
            self.reopen();
        }
        if self.is_full(line.len()) {
            self.rotate();
        }
        if self.is_torn {
            self.append(b"\n")?;
        }
        let written = self.append(line);
        self.is_torn = written.is_err() && self.size > 0;
        if written.is_err() && self.reopen_at.is_none() {
            // A file system that was away and has come back may need it.
            self.reopen_at = Some(Instant::now() + RETRY_AFTER);
        }
        written
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.size += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.reopen_at = None;
        match open(&self.path) {
            Ok((file, size, is_regular)) => {
                (self.file, self.size, self.is_regular) = (file, size, is_regular);
                self.is_torn = false;
                self.rotate_at = None;
            }
            Err(cause) => {
                self.reopen_at = Some(Instant::now() + RETRY_AFTER);
                let file = self.path.display();
                tracing::warn!(%file, %cause, "the log file cannot be opened anew: the old one is written on");
            }
        }
    }

    /// Whether so many bytes more are too many. An empty file takes any line; one that is to be opened anew may not be
    /// the one that bears the name.
    fn is_full(&self, bytes: usize) -> bool {
        let after = self.size + bytes as u64;
        let is_over = self.limit.is_some_and(|limit| after > limit.get());
        let may_rotate = self.rotate_at.is_none() || is_due(self.rotate_at);
        is_over && self.size > 0 && self.is_regular && self.reopen_at.is_none() && may_rotate
    }

    fn rotate(&mut self) {
        self.rotate_at = None;
        match put_aside(&self.path, self.keep) {
            Ok(()) => self.reopen(),
            Err(cause) => {
                self.rotate_at = Some(Instant::now() + RETRY_AFTER);
                let file = self.path.display();
                tracing::warn!(%file, %cause, "the log file cannot be renamed: it grows on");
            }
        }
    }
}

fn is_due(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at <= Instant::now())
}

fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let about = file.metadata()?;
    Ok((file, about.len(), about.is_file()))
}

/// `log` becomes `log.1`, that one `log.2`, and so on; the last is overwritten.
fn put_aside(path: &Path, keep: u32) -> io::Result<()> {
    for number in (1..keep).rev() {
        match fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside(path, 1))
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &Path, bytes: u64, keep: u32) -> LogFile {
        LogFile { path: path.to_owned(), rotate_bytes: NonZeroU64::new(bytes), rotate_keep: keep }
    }

    fn write(file: &mut RotatingFile, lines: &[&str]) {
        for line in lines {
            file.write_line(line.as_bytes()).unwrap();
        }
    }

    /// The files of a folder by name, with what stands in them.
    fn found(folder: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| {
                (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    #[track_caller]
    fn expect(folder: &Path, expected: &[(&str, &str)]) {
        let found = found(folder);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_has_grown_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let mut file = RotatingFile::open(&log(&path, 10, 2), ReopenWish::default()).unwrap();
        // What stands there counts; ten bytes fit.
        write(&mut file, &["12345\n"]);
        expect(folder.path(), &[("log", "old\n12345\n")]);
        write(&mut file, &["a\n", "a line longer than any file\n", "b\n"]);
        expect(
            folder.path(),
            &[("log", "b\n"), ("log.1", "a line longer than any file\n"), ("log.2", "a\n")],
        );
        let mut file = RotatingFile::open(&log(&path, 0, 2), ReopenWish::default()).unwrap();
        write(&mut file, &["not limited\n", "at all\n"]);
        assert_eq!(found(folder.path()).len(), 3);
    }

    #[test]
    fn a_wish_opens_the_file_anew_and_a_failure_goes_on_with_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("moved"));
        let wish = ReopenWish::default();
        let mut file = RotatingFile::open(&log(&path, 0, 1), Arc::clone(&wish)).unwrap();
        write(&mut file, &["1\n"]);
        fs::rename(&path, &moved).unwrap();
        write(&mut file, &["2\n"]);
        wish.store(true, Ordering::Release);
        write(&mut file, &["3\n"]);
        expect(folder.path(), &[("log", "3\n"), ("moved", "1\n2\n")]);
        // A directory in its place cannot be opened.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        wish.store(true, Ordering::Release);
        write(&mut file, &["into nowhere\n"]);
        assert!(file.reopen_at.is_some());
        fs::remove_dir(&path).unwrap();
        file.reopen_at = Some(Instant::now());
        write(&mut file, &["4\n"]);
        expect(folder.path(), &[("log", "4\n"), ("moved", "1\n2\n")]);
    }

    #[test]
    fn a_file_that_cannot_be_renamed_grows_on_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        // A file is not renamed onto a directory.
        fs::create_dir(folder.path().join("log.1")).unwrap();
        let mut file = RotatingFile::open(&log(&path, 4, 1), ReopenWish::default()).unwrap();
        write(&mut file, &["1\n", "2\n", "3\n", "4\n"]);
        expect(folder.path(), &[("log", "1\n2\n3\n4\n")]);
        fs::remove_dir(folder.path().join("log.1")).unwrap();
        write(&mut file, &["5\n"]);
        file.rotate_at = Some(Instant::now());
        write(&mut file, &["6\n"]);
        expect(folder.path(), &[("log", "6\n"), ("log.1", "1\n2\n3\n4\n5\n")]);
    }

    #[test]
    fn a_device_is_written_and_never_renamed() {
        let mut file = RotatingFile::open(&log(Path::new("/dev/null"), 1, 1), ReopenWish::default()).unwrap();
        write(&mut file, &["1\n", "2\n"]);
        assert!(!Path::new("/dev/null.1").exists());
        // Linux keeps one that is always full.
        let full = Path::new("/dev/full");
        if full.exists() {
            let mut file = RotatingFile::open(&log(full, 0, 1), ReopenWish::default()).unwrap();
            assert_eq!(file.write_line(b"1\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(file.reopen_at.is_some());
        }
    }

    #[test]
    fn a_line_that_was_cut_short_stays_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = RotatingFile::open(&log(&path, 0, 1), ReopenWish::default()).unwrap();
        write(&mut file, &["1\n"]);
        file.append(b"hal").unwrap();
        file.is_torn = true;
        write(&mut file, &["2\n", "3\n"]);
        expect(folder.path(), &[("log", "1\nhal\n2\n3\n")]);
    }
}
