//! Whatever a pool sends, in whatever reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loka_fuzz::links::pool_line(data));
