//! Bytes to lines, lines to JSON, JSON to lines. Nothing here knows what a message means.

mod accepted;
pub mod frame;
pub mod id;
pub mod read;
pub mod write;

pub use frame::{Carry, LineTooLong};
pub use id::Id;
pub(crate) use id::fingerprint;
pub use read::{Envelope, Json, JsonKind, Parser, ReadError, Span};
