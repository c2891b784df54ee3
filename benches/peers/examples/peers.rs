//! Compares this proxy with its peers: `cargo run --release -p loka-peers --example peers -- --help`.

fn main() -> anyhow::Result<()> {
    loka_peers::main()
}
