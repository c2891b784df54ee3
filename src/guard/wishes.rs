//! What an operator wishes of the book of addresses: each wish waits in a bounded queue until the thread that owns the book
//! looks at it, and is answered once.
//!
//! It refuses to wait for a place in the queue, so that nobody who wishes can hold up another, and it knows no HTTP.

use super::{Block, GuardBook};
use loka_runtime::host_of;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Wishes that may wait.
const WISHES_MAX: usize = 256;
/// Blocks that one answer may show.
pub const PAGE_MAX: usize = 1_000;

/// Why a wish was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// [`WISHES_MAX`] wait already.
    #[error("too many requests wait already: try again")]
    Busy,
    /// The proxy ends.
    #[error("the proxy is about to end")]
    Ended,
    /// The book knows as many addresses as it may, and all of them matter.
    #[error("no more addresses can be remembered")]
    Full,
    /// A shard has more to do than it can take.
    #[error("a shard takes no commands now: try again")]
    Untold,
}

/// A part of the list of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockPage {
    /// Addresses kept out now.
    pub total: usize,
    /// Those of the page, that which came last first.
    pub blocks: Vec<Block>,
}

/// What became of a kick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kicked {
    /// The address, or the first of its /64.
    pub address: IpAddr,
    /// Connections that it had, as far as shards had told.
    pub connections: u32,
}

type Answer<T> = oneshot::Sender<Result<T, WishError>>;

#[derive(Debug)]
enum Wish {
    Block { address: IpAddr, term: Option<Duration>, answer: Answer<Block> },
    Unblock { address: IpAddr, answer: Answer<bool> },
    List { offset: usize, limit: usize, answer: Answer<BlockPage> },
    Kick { address: IpAddr, answer: Answer<Kicked> },
}

/// Speaks to the thread that owns the book; cheap to clone, from any thread. An answer comes when that thread looks next,
/// which is within a quarter of a second.
#[derive(Debug, Clone)]
pub struct GuardDesk(SyncSender<Wish>);

/// What the thread that owns the book holds.
#[derive(Debug)]
pub struct Wishes(Receiver<Wish>);

/// A desk and the wishes that are made at it.
pub fn desk() -> (GuardDesk, Wishes) {
    let (send, receive) = sync_channel(WISHES_MAX);
    (GuardDesk(send), Wishes(receive))
}

impl GuardDesk {
    /// Keeps an address out, an IPv6 address with its /64: for `term`, or for one that grows with each offence.
    ///
    /// # Errors
    /// [`WishError`]
    pub async fn block(&self, address: IpAddr, term: Option<Duration>) -> Result<Block, WishError> {
        self.ask(|answer| Wish::Block { address: host_of(address), term, answer }).await
    }

    /// Lets an address in again. False when it was not kept out.
    ///
    /// # Errors
    /// [`WishError`]
    pub async fn unblock(&self, address: IpAddr) -> Result<bool, WishError> {
        self.ask(|answer| Wish::Unblock { address: host_of(address), answer }).await
    }

    /// The addresses that are kept out, those that came last first; at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// [`WishError`]
    pub async fn blocks(&self, offset: usize, limit: usize) -> Result<BlockPage, WishError> {
        self.ask(|answer| Wish::List { offset, limit: limit.min(PAGE_MAX), answer }).await
    }

    /// Ends all connections of an address, an IPv6 address with its /64, on all shards.
    ///
    /// # Errors
    /// [`WishError`]
    pub async fn kick(&self, address: IpAddr) -> Result<Kicked, WishError> {
        self.ask(|answer| Wish::Kick { address: host_of(address), answer }).await
    }

    async fn ask<T>(&self, wish: impl FnOnce(Answer<T>) -> Wish) -> Result<T, WishError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(wish(answer)).map_err(|error| match error {
            TrySendError::Full(_) => WishError::Busy,
            TrySendError::Disconnected(_) => WishError::Ended,
        })?;
        answered.await.unwrap_or(Err(WishError::Ended))
    }
}

impl Wishes {
    /// Does what is wished for. `kick` tells all shards, and whether all of them took it.
    pub fn grant(&self, book: &mut GuardBook, now: Instant, kick: &mut dyn FnMut(IpAddr) -> bool) {
        // Bounded, so that somebody who wishes without end cannot hold the thread.
        for wish in self.0.try_iter().take(WISHES_MAX) {
            // Who has gone meanwhile misses the answer.
            match wish {
                Wish::Block { address, term, answer } => {
                    let _ = answer.send(book.block(address, term, now).ok_or(WishError::Full));
                }
                Wish::Unblock { address, answer } => {
                    let _ = answer.send(Ok(book.unblock(address, now)));
                }
                Wish::List { offset, limit, answer } => {
                    let blocks = book.blocked(offset, limit, now);
                    let _ = answer.send(Ok(BlockPage { total: book.standing(), blocks }));
                }
                Wish::Kick { address, answer } => {
                    let kicked = Kicked { address, connections: book.connections_of(address) };
                    let _ = answer.send(if kick(address) { Ok(kicked) } else { Err(WishError::Untold) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::GuardLimits;
    use loka_runtime::VisitorNews;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const TERM: Duration = Duration::from_secs(3600);

    fn now_or_not<T>(future: impl Future<Output = T>, between: impl FnOnce()) -> T {
        let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        between();
        match future.poll(&mut cx) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("not answered"),
        }
    }

    #[test]
    fn wishes_are_granted_and_answered() {
        let (desk, wishes) = desk();
        let now = Instant::now();
        let mut book = GuardBook::new(GuardLimits { connections_max: None, term: TERM }, now);
        let one: IpAddr = "2001:db8::17".parse().unwrap();
        let host: IpAddr = "2001:db8::".parse().unwrap();
        let told = VisitorNews { address: host, connections: 3, is_blocked: false };
        book.add(0, &[told], now);
        let mut kicked = Vec::new();
        let mut grant = |book: &mut GuardBook| {
            wishes.grant(book, now, &mut |address| {
                kicked.push(address);
                kicked.len() < 2
            });
        };
        let block = now_or_not(desk.block(one, None), || grant(&mut book)).unwrap();
        assert_eq!((block.address, block.until), (host, now + TERM));
        let page = now_or_not(desk.blocks(0, 10), || grant(&mut book)).unwrap();
        assert_eq!((page.total, page.blocks.as_slice()), (1, &[block][..]));
        let kick = now_or_not(desk.kick(one), || grant(&mut book));
        assert_eq!(kick, Ok(Kicked { address: host, connections: 3 }));
        assert_eq!(now_or_not(desk.kick(one), || grant(&mut book)), Err(WishError::Untold));
        assert_eq!(now_or_not(desk.unblock(one), || grant(&mut book)), Ok(true));
        assert_eq!(now_or_not(desk.unblock(one), || grant(&mut book)), Ok(false));
        assert_eq!(kicked, [host, host]);
    }

    #[test]
    fn the_queue_is_bounded_and_an_end_is_told() {
        let (desk, wishes) = desk();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..WISHES_MAX).map(|_| Box::pin(desk.blocks(0, 1))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut cx).is_pending()));
        assert_eq!(now_or_not(desk.blocks(0, 1), || {}), Err(WishError::Busy));
        drop(wishes);
        for mut one in waiting {
            assert_eq!(one.as_mut().poll(&mut cx), Poll::Ready(Err(WishError::Ended)));
        }
        assert_eq!(now_or_not(desk.blocks(0, 1), || {}), Err(WishError::Ended));
    }
}
