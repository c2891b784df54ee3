//! The messages that are measured, and the miner that sends them: the same for `core.rs` and for `instructions/`.
#![allow(dead_code, reason = "each bench uses its part of it")]

mod bench;

pub(crate) use bench::{Bench, Lends, account, standard};

pub(crate) const SUBSCRIBE: &[u8] =
    b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"bench/1.0\"]}\n";
pub(crate) const AUTHORIZE: &[u8] =
    b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"farm.w0042\",\"x\"]}\n";
pub(crate) const AUTHORIZED: &[u8] = b"{\"id\":2,\"result\":true,\"error\":null}\n";
pub(crate) const SUBSCRIBED: &[u8] = include_bytes!("subscribed.txt");
pub(crate) const SUBMIT: &[u8] = include_bytes!("submit.txt");
pub(crate) const ACCEPTED: &[u8] = include_bytes!("accepted.txt");
pub(crate) const REJECTED: &[u8] = include_bytes!("rejected.txt");
pub(crate) const NOTIFY: &[u8] = include_bytes!("notify.txt");
