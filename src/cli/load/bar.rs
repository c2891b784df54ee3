//! The progress of a load on the terminal. Where there is no terminal it draws nothing.

use super::Kind;
use indicatif::{ProgressBar, ProgressStyle};
use loka_rig::{Phase, Progress};
use std::time::Duration;

pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(kind: Kind, path: &str, drawn: bool) -> Bar {
        if !drawn {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{prefix:<16} {bar:30} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{kind:?} {path}"));
        Bar(bar)
    }

    pub(super) fn show(&self, progress: &Progress, duration: Duration) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.0.set_length(ms(duration));
        self.0.set_position(if progress.phase == Phase::Ramp { 0 } else { ms(progress.elapsed) });
        self.0.set_message(format!(
            "{:?}: {} miners, {} shares, {} handshakes, p99 {} us",
            progress.phase, progress.ready, progress.shares.sent, progress.handshakes, progress.submit_p99_us
        ));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
