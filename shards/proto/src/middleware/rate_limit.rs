//! Fourth stage: how many messages one connection may send.

use super::{Flow, Request, Stage, StageCx};
use crate::session::{Client, Reject};

const MINUTE_US: u64 = 60_000_000;

/// A token bucket per connection that holds one minute's worth of messages.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    /// Microseconds of the minute that one message uses up.
    cost_us: u64,
}

impl RateLimit {
    /// At most `messages` a minute; zero is taken as one.
    #[must_use]
    pub fn per_minute(messages: u32) -> RateLimit {
        RateLimit { cost_us: MINUTE_US / u64::from(messages.max(1)) }
    }
}

impl Stage for RateLimit {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, _: &Request<'_>) -> Flow {
        let bucket = &mut client.bucket;
        let used_us = bucket.used_us.saturating_sub(cx.now - bucket.at);
        bucket.at = cx.now;
        if used_us + self.cost_us > MINUTE_US {
            bucket.used_us = used_us;
            return Flow::Reject(Reject::RateLimited);
        }
        bucket.used_us = used_us + self.cost_us;
        Flow::Pass
    }
}
