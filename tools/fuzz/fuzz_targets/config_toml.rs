//! A configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loka_fuzz::files::config_toml(data));
