//! Whatever happens to a link: both sides, time, and pools that come, go and change.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loka_fuzz::links::session(data));
