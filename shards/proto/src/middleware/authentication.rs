//! Second stage: a share needs a subscription and a worker; subscribe and configure need neither.

use super::{Flow, Request, Stage, StageCx};
use crate::message::MinerMessage;
use crate::session::{Client, Reject};

/// The pool decides who is authorized; this stage keeps shares back that no pool could accept, and bounds how many
/// workers one connection may try.
#[derive(Debug, Clone, Copy, Default)]
pub struct Authentication;

impl Stage for Authentication {
    fn on_request(&mut self, _: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        match request.message {
            MinerMessage::Submit(_) if !client.subscribed => Flow::Reject(Reject::NotSubscribed),
            MinerMessage::Submit(_) if !client.may_submit() => Flow::Reject(Reject::Unauthorized),
            MinerMessage::Authorize(authorize) => {
                let name = authorize.user.as_str().unwrap_or_default();
                if client.has_room_for(name) { Flow::Pass } else { Flow::Reject(Reject::TooManyWorkers) }
            }
            MinerMessage::Submit(_)
            | MinerMessage::Subscribe(_)
            | MinerMessage::Configure(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => Flow::Pass,
        }
    }
}
