//! The API of the real binary.
fn main() {}
