//! What the tests of the simulated parts share.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until a part's report shows what the test waits for.
pub(crate) fn wait_for<R: Debug>(report: impl Fn() -> R, seen: impl Fn(&R) -> bool) {
    let start = Instant::now();
    loop {
        let now = report();
        if seen(&now) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{now:?}");
        std::thread::yield_now();
    }
}
