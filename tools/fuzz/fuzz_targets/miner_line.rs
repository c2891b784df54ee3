//! Whatever a miner sends, in whatever reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loka_fuzz::links::miner_line(data));
