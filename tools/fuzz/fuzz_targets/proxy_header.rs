//! What a connection through a proxy in front begins with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loka_fuzz::front::proxy_header(data));
