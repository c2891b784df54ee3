//! Attacks on the real binary, with an honest miner beside them. `tools/e2e/THREATS.md` says which threat each test holds.
//!
//! Addresses are not kept out here unless a test says so: what each connection may do is what is tested.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::print_stderr,
    reason = "a test tells the figures that it holds, for who asks with --nocapture"
)]

#[path = "threats/documents.rs"]
mod documents;
#[path = "threats/floods.rs"]
mod floods;
#[path = "threats/honest.rs"]
mod honest;
#[path = "threats/idlers.rs"]
mod idlers;
#[path = "threats/lines.rs"]
mod lines;
#[path = "threats/names.rs"]
mod names;
#[path = "threats/pools.rs"]
mod pools;
mod support;
#[path = "threats/table.rs"]
mod table;
