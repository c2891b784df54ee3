//! One process hands its work to another of the same host: listening sockets first, then each miner with its pool connection.
//!
//! The old process starts the new one and speaks with it over a socket that it inherits. It goes on as before whenever something
//! goes wrong, and so does what it has not handed over yet. It moves no byte of a miner itself.

mod giver;
mod pools;
mod taker;
mod wire;

pub use giver::{Given, Giver, HandOverError, Successor};
pub use taker::{Inheritance, Predecessor, arrivals};

/// What both sides have to speak alike.
const PROTOCOL: u32 = 1;
/// The variable by which a process learns that another wants to hand its work over: the number of that process, and of the
/// descriptor of the socket between them.
const VARIABLE: &str = "HANDOVER_FROM";
