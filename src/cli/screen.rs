//! The terminal. A reader that went away is no failure of ours.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes a line to standard output.
///
/// # Errors
/// It cannot be written, other than because the reader has gone.
pub(super) fn say(text: &dyn Display) -> io::Result<()> {
    match try_say(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The same for one who wants to know that the reader has gone.
///
/// # Errors
/// It cannot be written.
pub(super) fn try_say(text: &dyn Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes a line to standard error, as far as that is possible.
pub(super) fn complain(text: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
