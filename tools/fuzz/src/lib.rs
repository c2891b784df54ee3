//! The bodies of the fuzz targets: each takes any bytes, and panics when the proxy breaks a promise.
//!
//! libFuzzer calls them from `fuzz_targets/`, and `tools/e2e/fuzz_corpus.rs` with each file of the corpus.

pub mod links;
mod pair;

#[cfg(feature = "whole")]
pub mod files;
#[cfg(feature = "whole")]
pub mod front;
