//! A connection to a pool: whichever address answers first, through a SOCKS5 proxy and TLS where they are asked for.
//! It sends nothing of Stratum.

use super::certificate::Certificate;
use super::findings::{Problem, TlsFacts};
use super::target::{Socks5, Target, TlsTarget};
use super::{socks, tls};
use rustls::ProtocolVersion;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;

/// How long an address has for itself before the next one is dialled too (RFC 8305).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// What Stratum is spoken on.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to one of `addresses`, which are dialled in their order with a head start each; the first to answer wins.
pub(crate) async fn race(
    addresses: &[SocketAddr],
    until: Instant,
) -> Result<(TcpStream, SocketAddr), Problem> {
    let mut attempts = JoinSet::new();
    let mut rest = addresses.iter().copied();
    let mut failed = None;
    loop {
        let next = rest.next();
        if let Some(address) = next {
            attempts.spawn(async move { (TcpStream::connect(address).await, address) });
        }
        if attempts.is_empty() {
            let nowhere = || Problem::Unreachable("there is no address to connect to".to_owned());
            return Err(failed.unwrap_or_else(nowhere));
        }
        let more = rest.len() > 0;
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok((Ok(stream), address)) => return Ok((stream, address)),
                Ok((Err(error), _)) => failed = Some(of_connect(&error)),
                Err(_) => {}
            },
            () = sleep(NEXT_AFTER), if more => {}
            () = sleep_until(until) => return Err(Problem::ConnectTimeout),
        }
    }
}

fn of_connect(error: &io::Error) -> Problem {
    let kind = error.kind();
    if kind == ErrorKind::ConnectionRefused {
        Problem::ConnectionRefused
    } else if kind == ErrorKind::TimedOut {
        Problem::ConnectTimeout
    } else {
        Problem::Unreachable(error.to_string())
    }
}

/// The same up to the pool, when the addresses are those of a proxy.
pub(super) async fn through(
    proxy: &Socks5,
    target: &Target,
    addresses: &[SocketAddr],
    until: Instant,
) -> Result<(TcpStream, SocketAddr), Problem> {
    let to_proxy = race(addresses, until).await;
    let (mut stream, address) = to_proxy.map_err(|problem| Problem::Proxy(problem.to_string()))?;
    let asked = socks::ask(&mut stream, &target.host, target.port, proxy.credentials.as_ref());
    match timeout_at(until, asked).await {
        Ok(Ok(())) => Ok((stream, address)),
        Ok(Err(error)) => Err(Problem::Proxy(error.to_string())),
        Err(_) => Err(Problem::Proxy("it does not answer in time".to_owned())),
    }
}

/// Speaks TLS on a connection.
pub(crate) async fn secure(
    tls: &TlsTarget,
    stream: TcpStream,
    until: Instant,
) -> Result<(tokio_rustls::client::TlsStream<TcpStream>, TlsFacts), Problem> {
    const NO_TLS: &str = "check the port: pools usually have one for TLS and another for plain TCP";
    let connector = TlsConnector::from(tls.config.clone());
    match timeout_at(until, connector.connect(tls.server_name.clone(), stream)).await {
        Ok(Ok(stream)) => {
            let facts = facts(stream.get_ref().1);
            Ok((stream, facts))
        }
        Ok(Err(error)) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(cause) => Err(Problem::Tls { text: tls::explain(cause), fix: tls::fix(cause) }),
            None => Err(Problem::Tls {
                text: format!("the connection ended during the TLS handshake: {error}"),
                fix: NO_TLS,
            }),
        },
        Err(_) => {
            Err(Problem::Tls { text: "it does not answer the TLS greeting in time".to_owned(), fix: NO_TLS })
        }
    }
}

fn facts(connection: &rustls::ClientConnection) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let cipher = connection.negotiated_cipher_suite();
    let cipher = cipher.map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
    let shown = connection.peer_certificates().and_then(<[_]>::first).and_then(Certificate::read);
    // The certificate has just been verified, so it can be read; were it not so, its facts would merely be empty.
    let (subject, issuer, expires, pin) = shown.map_or_else(Default::default, |certificate| {
        (certificate.subject, certificate.issuer, certificate.not_after, certificate.pin)
    });
    TlsFacts { version, cipher, subject, issuer, expires, pin }
}
