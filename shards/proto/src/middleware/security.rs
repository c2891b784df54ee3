//! Third stage: what is well formed and still must not reach a pool.

use super::{Flow, Request, Stage, StageCx};
use crate::message::{Method, MinerMessage};
use crate::session::{Client, Reject};

/// Refuses methods that only pools use, and shares whose extranonce2 has not the size that the pool gave: no pool
/// accepts those, and some count them against the whole account.
#[derive(Debug, Clone, Copy, Default)]
pub struct Security;

impl Stage for Security {
    fn on_request(&mut self, _: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        match request.message {
            MinerMessage::Submit(submit) if !client.mining.fits(&submit) => {
                Flow::Reject(Reject::BadExtranonce2)
            }
            MinerMessage::Request(method) if is_for_pools(method) => Flow::Reject(Reject::NotForMiners),
            MinerMessage::Submit(_)
            | MinerMessage::Request(_)
            | MinerMessage::Subscribe(_)
            | MinerMessage::Authorize(_)
            | MinerMessage::Configure(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Answer => Flow::Pass,
        }
    }
}

fn is_for_pools(method: Method) -> bool {
    matches!(
        method,
        Method::Notify
            | Method::SetDifficulty
            | Method::SetExtranonce
            | Method::SetVersionMask
            | Method::Reconnect
            | Method::ShowMessage
    )
}
