//! Shards are started one after the other, each with its mailbox, and none of them ends unnoticed.

use super::{Event, StartError};
use crossbeam::channel::{Receiver, Sender};
use loka_proto::middleware::Stage;
use loka_runtime::{
    Clock, ControlEnd, Ready, Report, ShardEnd, ShardHandle, ShardPlan, ShardSpec, Start, mailbox, spawn,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a shard may take to come up.
const START_MAX: Duration = Duration::from_secs(30);

/// What a shard gets of its mailbox.
pub(super) type Post = (ShardEnd, Box<Report>);

/// Element `n` is for shard `n`: what the shard gets, and what stays here.
pub(super) fn mailboxes(shards: usize) -> (Vec<Post>, Vec<Arc<ControlEnd>>) {
    (0..shards)
        .map(|shard| {
            let (mailbox, end, report) = mailbox(shard);
            ((mailbox, report), Arc::new(end))
        })
        .unzip()
}

/// Starts one shard after the other, each with its listeners, and waits until it serves miners.
pub(super) fn start_shards<P: Stage + Send + 'static>(
    posts: impl Iterator<Item = ((ShardSpec, Vec<OwnedFd>), Post)>,
    plan: &ShardPlan,
    clock: Clock,
    pipeline: impl Fn() -> P,
    events: &Sender<Event>,
    heard: &Receiver<Event>,
) -> Result<(), StartError> {
    for ((spec, listeners), (mailbox, report)) in posts {
        let up = events.clone();
        // The queue has room for one such event of each shard that is being started.
        let ready = Ready(Box::new(move || drop(up.send(Event::ShardReady))));
        let (plan, pipeline) = (plan.clone(), pipeline());
        let handle = spawn(Start { spec, plan, clock, listeners, pipeline, mailbox, report, ready })?;
        watch_shard(spec.index, handle, events.clone())?;
        wait_for_shard(heard)?;
    }
    Ok(())
}

/// Waits until the shard that was just spawned serves miners.
fn wait_for_shard(events: &Receiver<Event>) -> Result<(), StartError> {
    let deadline = Instant::now() + START_MAX;
    loop {
        match events.recv_deadline(deadline) {
            Ok(Event::ShardReady) => return Ok(()),
            Ok(Event::ShardEnded { result: Err(cause), .. }) => return Err(cause.into()),
            Ok(
                Event::ShardEnded { result: Ok(()), .. }
                | Event::Stop(_)
                | Event::Pools(..)
                | Event::MinerTls(_)
                | Event::Reload(_)
                | Event::Upgrade
                | Event::HandedOver(_),
            ) => {}
            Err(_) => return Err(StartError::Slow),
        }
    }
}

/// Waits for the shard's end on a thread of its own, so that no death goes unnoticed.
fn watch_shard(shard: usize, handle: ShardHandle, events: Sender<Event>) -> io::Result<()> {
    let watch = move || {
        let result = handle.join();
        // Nobody listens any more once the proxy has ended.
        let _ = events.send(Event::ShardEnded { shard, result });
    };
    std::thread::Builder::new().name(format!("watch{shard}")).spawn(watch).map(drop)
}
