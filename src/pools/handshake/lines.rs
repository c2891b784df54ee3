//! Lines of a stream, none longer than a pool may send.

use crate::pools::findings::Problem;
use loka_proto::limits::POOL_LINE_BYTES_MAX;
use std::io::ErrorKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const READ_BYTES: usize = 4096;

pub(super) struct Lines<S> {
    stream: S,
    /// What has been read and not been given out; never longer than a line and a read.
    unread: Vec<u8>,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lines<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new(), ended: false }
    }

    /// The next line, without its end; `None` when the other side has closed. What stands before the close counts as a
    /// line. A call that is given up loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.unread[seen..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=seen + end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.unread.len() > POOL_LINE_BYTES_MAX {
                return Err(Problem::Garbage(format!("a line of more than {POOL_LINE_BYTES_MAX} bytes")));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.unread);
                return Ok((!rest.is_empty()).then_some(rest));
            }
            seen = self.unread.len();
            let mut bytes = [0_u8; READ_BYTES];
            match self.stream.read(&mut bytes).await {
                Ok(0) => self.ended = true,
                Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Reset or cut off without a farewell: gone is gone.
                Err(_) => self.ended = true,
            }
        }
    }

    /// Sends a text; a failure shows in what is read next.
    pub(super) async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
        let _ = self.stream.flush().await;
    }
}
