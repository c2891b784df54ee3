//! Where connections come from: the port of metrics, and the door of the shards, at which those stand who speak HTTP where
//! miners connect. It reads none of their bytes.

use loka_runtime::{Guest, HttpGuests};
use std::io;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Pause after a failed accept: it fails because descriptors or memory are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where somebody has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// At the port of metrics.
    Own,
    /// Where miners connect.
    Miners,
}

/// A connection that is to be served.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    /// What was read of it already.
    pub(super) said: Vec<u8>,
    pub(super) port: Port,
}

/// All that is listened at; one of both at least.
#[derive(Debug)]
pub(super) struct Doors {
    listener: Option<TcpListener>,
    guests: Option<Guests>,
}

impl Doors {
    /// Needs a runtime around it.
    ///
    /// # Errors
    /// The system takes no more descriptors to be waited for.
    pub(super) fn new(
        listener: Option<std::net::TcpListener>,
        guests: Option<HttpGuests>,
    ) -> io::Result<Doors> {
        let listener = listener.map(TcpListener::from_std).transpose()?;
        Ok(Doors { listener, guests: guests.map(Guests::new).transpose()? })
    }

    /// The next who comes, whichever way. Given up while it waits, it has taken nobody.
    pub(super) async fn next(&self) -> Arrival {
        tokio::select! {
            stream = accept(self.listener.as_ref()) => {
                Arrival { stream, said: Vec::new(), port: Port::Own }
            }
            arrival = fetch(self.guests.as_ref()) => arrival,
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept an admin connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn fetch(guests: Option<&Guests>) -> Arrival {
    match guests {
        Some(guests) => guests.next().await,
        None => std::future::pending().await,
    }
}

/// Who stands at the shards' door, with an ear for its bell.
#[derive(Debug)]
struct Guests {
    waiting: HttpGuests,
    bell: Receiver,
}

impl Guests {
    fn new(waiting: HttpGuests) -> io::Result<Guests> {
        let bell = Receiver::from_owned_fd(waiting.bell().try_clone_to_owned()?)?;
        Ok(Guests { waiting, bell })
    }

    async fn next(&self) -> Arrival {
        loop {
            while let Some(Guest { socket, said }) = self.waiting.next() {
                match TcpStream::from_std(socket) {
                    Ok(stream) => return Arrival { stream, said, port: Port::Miners },
                    Err(error) => tracing::debug!(%error, "cannot serve a connection that was handed in"),
                }
            }
            if self.bell.readable().await.is_err() {
                // The runtime ends.
                return std::future::pending().await;
            }
            while matches!(self.bell.try_read(&mut [0; 64]), Ok(1..)) {}
        }
    }
}
