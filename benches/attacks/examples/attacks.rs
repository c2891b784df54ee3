//! What honest miners notice of attacks: `cargo run --release -p loka-attacks --example attacks -- --help`.

fn main() -> anyhow::Result<()> {
    loka_attacks::main()
}
