//! Last stage: counts what came, whatever was decided on it.

use super::{Flow, Request, Stage, StageCx};
use crate::session::Client;
use crate::stats::Direction;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Metrics;

impl Stage for Metrics {
    fn on_outcome(&mut self, cx: &mut StageCx<'_>, _: &Client, request: &Request<'_>, _: Flow) {
        cx.stats.message(Direction::FromMiner, request.method);
    }
}
