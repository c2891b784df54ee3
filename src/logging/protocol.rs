//! Each message at TRACE, for looking at one miner: `RUST_LOG=loka_stratum::protocol=trace`.

use loka_proto::middleware::MessageLog;
use loka_proto::session::ClientId;
use loka_proto::{Flow, Method, Verdict};
use std::fmt::{self, Write};

/// Bytes of a line that are shown.
const SHOWN_BYTES_MAX: usize = 256;

/// Logs requests and verdicts at TRACE with the target `loka_stratum::protocol`. When that is off, a call costs one
/// comparison.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLog;

impl MessageLog for TraceLog {
    fn request(&mut self, client: ClientId, method: Method, line: &[u8], flow: Flow) {
        tracing::trace!(
            target: "loka_stratum::protocol",
            client = client.0,
            method = method.label(),
            outcome = %Outcome(flow),
            line = %Shown { method, line },
            "request"
        );
    }

    fn verdict(&mut self, client: ClientId, verdict: Verdict) {
        let outcome = match verdict {
            Verdict::Accepted => "accepted",
            Verdict::Rejected(class) => class.label(),
        };
        tracing::trace!(target: "loka_stratum::protocol", client = client.0, outcome, "share");
    }
}

struct Outcome(Flow);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Flow::Pass => f.write_str("pass"),
            Flow::Reject(reason) => write!(f, "reject {reason}"),
            Flow::Close(end) => write!(f, "close {end}"),
        }
    }
}

/// A line as printable ASCII, cut short. The line of an authorization holds a password and is not shown.
struct Shown<'l> {
    method: Method,
    line: &'l [u8],
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method == Method::Authorize {
            return write!(f, "({} bytes with a password)", self.line.len());
        }
        let shown = &self.line[..self.line.len().min(SHOWN_BYTES_MAX)];
        for byte in shown {
            match byte {
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        if shown.len() < self.line.len() {
            write!(f, "... ({} bytes)", self.line.len())?;
        }
        Ok(())
    }
}
