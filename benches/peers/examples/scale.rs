//! The proxy with 100,000 workers on 9,000 connections: `cargo run --release -p loka-peers --example scale -- --help`.

fn main() -> anyhow::Result<()> {
    loka_peers::scale::main()
}
