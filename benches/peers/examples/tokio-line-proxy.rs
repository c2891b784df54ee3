//! A plain line proxy on Tokio, as one writes it in an afternoon: one task a direction, a buffered reader, a write a line.
//!
//! A stand-in for proxies of this kind that are not published. It parses nothing and checks nothing.

use std::io;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(pool)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: tokio-line-proxy LISTEN POOL");
    };
    let listener = TcpListener::bind(&listen).await?;
    loop {
        let (miner, _) = listener.accept().await?;
        let pool = pool.clone();
        tokio::spawn(async move {
            // A link that breaks ends; nobody is told.
            let _ = relay(miner, &pool).await;
        });
    }
}

async fn relay(miner: TcpStream, pool: &str) -> io::Result<()> {
    let pool = TcpStream::connect(pool).await?;
    miner.set_nodelay(true)?;
    pool.set_nodelay(true)?;
    let (miner_in, miner_out) = miner.into_split();
    let (pool_in, pool_out) = pool.into_split();
    tokio::spawn(async move {
        let _ = copy_lines(miner_in, pool_out).await;
    });
    copy_lines(pool_in, miner_out).await
}

async fn copy_lines(from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).await? > 0 {
        to.write_all(&line).await?;
        line.clear();
    }
    to.shutdown().await
}
