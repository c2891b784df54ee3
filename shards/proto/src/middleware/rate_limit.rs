//! Fourth stage: how many messages one connection may send, and how many of them may be shares and authorizations.

use super::{Flow, Request, Stage, StageCx};
use crate::bucket::cost_us;
use crate::message::Method;
use crate::session::{Client, Reject};
use std::num::NonZeroU32;

const MINUTE_US: u64 = 60_000_000;

/// Token buckets per connection. Each holds what its limit allows in one window.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    window_us: u64,
    /// Microseconds in which one message flows in.
    message_us: u64,
    /// The same for a share, where there is a limit of its own.
    submit_us: Option<u64>,
    /// The same for an authorization.
    authorize_us: Option<u64>,
}

/// A limit of none is taken as one.
fn cost_of_one(per_minute: u32) -> u64 {
    cost_us(1, NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN))
}

impl RateLimit {
    /// At most `messages` a minute, which may come at once.
    #[must_use]
    pub fn per_minute(messages: u32) -> RateLimit {
        RateLimit {
            window_us: MINUTE_US,
            message_us: cost_of_one(messages),
            submit_us: None,
            authorize_us: None,
        }
    }

    /// Of which at most so many are shares.
    #[must_use]
    pub fn with_submits(self, per_minute: Option<u32>) -> RateLimit {
        RateLimit { submit_us: per_minute.map(cost_of_one), ..self }
    }

    /// Of which at most so many are authorizations.
    #[must_use]
    pub fn with_authorizations(self, per_minute: Option<u32>) -> RateLimit {
        RateLimit { authorize_us: per_minute.map(cost_of_one), ..self }
    }

    /// What a limit allows in this time may come at once; one message always may.
    #[must_use]
    pub fn with_window(self, window_us: u64) -> RateLimit {
        RateLimit { window_us, ..self }
    }

    fn depth_us(&self, cost_us: u64) -> u64 {
        self.window_us.max(cost_us)
    }
}

impl Stage for RateLimit {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        if !client.messages.take(self.message_us, self.depth_us(self.message_us), cx.now) {
            return Flow::Reject(Reject::RateLimited);
        }
        if let Some(cost_us) = self.submit_us.filter(|_| request.method == Method::Submit)
            && !client.submits.take(cost_us, self.depth_us(cost_us), cx.now)
        {
            return Flow::Reject(Reject::SubmitRate);
        }
        if let Some(cost_us) = self.authorize_us.filter(|_| request.method == Method::Authorize)
            && !client.authorizations.take(cost_us, self.depth_us(cost_us), cx.now)
        {
            return Flow::Reject(Reject::AuthorizeRate);
        }
        Flow::Pass
    }
}

/// A rate limit, or room for one: where the configuration sets it, a reload may switch it on, off, or change it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewable(pub(super) Option<RateLimit>);

impl Stage for Renewable {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        self.0.on_request(cx, client, request)
    }

    fn on_reload(&mut self, limit: Option<RateLimit>) {
        self.0 = limit;
    }
}
