//! Panics as log lines: a bug in one link's handler must not spill raw text over the terminal.

use std::panic::PanicHookInfo;

/// Bytes of a panic's message that are logged.
const MESSAGE_BYTES_MAX: usize = 512;

/// From now on every panic of the process is one ERROR line and nothing else.
pub(super) fn report() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = message(panic);
        tracing::error!(target: "loka_stratum::panic", thread, location, reason, "panic: this is a bug");
    }));
}

fn message<'p>(panic: &'p PanicHookInfo<'_>) -> &'p str {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
    let whole = text.unwrap_or("no message");
    let end = (0..=whole.len().min(MESSAGE_BYTES_MAX)).rev().find(|end| whole.is_char_boundary(*end));
    &whole[..end.unwrap_or(0)]
}
