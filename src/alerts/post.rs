//! One attempt to post something: a connection, a request, an answer, all within [`ATTEMPT_MAX`].
//!
//! It follows no redirect, keeps no connection, and reads no more than [`ANSWER_BYTES_MAX`] of an answer. No error holds the
//! path of the receiver or the secret.

use super::sign::Signer;
use crate::config::{Host, Webhook};
use crate::pools::resolve::{ResolveError, Resolver};
use crate::pools::{TlsTarget, connect};
use axum::body::{Body, to_bytes};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long an attempt may take, from the look-up of the name to the end of the answer.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
pub(super) const ANSWER_BYTES_MAX: usize = 4_096;
/// Bytes that the head of an answer may take.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines of such a head.
const HEADERS_MAX: usize = 64;
/// The longest wait that a receiver may ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Headers that a receiver verifies a post by.
pub(super) const TIMESTAMP_HEADER: &str = "x-loka-timestamp";
/// See [`Signer::sign`].
pub(super) const SIGNATURE_HEADER: &str = "x-loka-signature";
/// The same at every attempt to deliver the same thing.
pub(super) const DELIVERY_HEADER: &str = "idempotency-key";

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum PostError {
    /// Its name leads nowhere.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// It cannot be connected to, or does not show who it is.
    #[error("{0}")]
    Connect(String),
    /// The connection ended, or what was said was no HTTP.
    #[error("no answer: {0}")]
    Http(String),
    /// It takes too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Slow(Duration),
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it asks to be left alone, bounded.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of what it says; strangers wrote it.
    pub(super) text: String,
}

/// Where posts go, and how they are signed.
#[derive(Debug)]
pub(super) struct Receiver {
    webhook: Webhook,
    tls: Option<TlsTarget>,
    signer: Signer,
    resolver: Resolver,
    agent: String,
    /// How long an attempt may take.
    pub(super) patience: Duration,
}

impl Receiver {
    /// `tls` as far as `webhook` asks for it.
    pub(super) fn new(
        webhook: Webhook,
        tls: Option<Arc<rustls::ClientConfig>>,
        signer: Signer,
        resolver: Resolver,
        agent: String,
    ) -> Result<Receiver, rustls::pki_types::InvalidDnsNameError> {
        let server_name = match &webhook.host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone())?,
        };
        let tls = tls.map(|config| TlsTarget { config, server_name, is_name_given: false });
        Ok(Receiver { webhook, tls, signer, resolver, agent, patience: ATTEMPT_MAX })
    }

    /// One attempt, at `unix_seconds`.
    pub(super) async fn post(
        &self,
        delivery: &str,
        body: &str,
        unix_seconds: u64,
    ) -> Result<Answer, PostError> {
        let until = Instant::now() + self.patience;
        let request = self.request(delivery, body, unix_seconds)?;
        timeout_at(until, self.exchange(request, until)).await.unwrap_or(Err(PostError::Slow(self.patience)))
    }

    fn request(&self, delivery: &str, body: &str, unix_seconds: u64) -> Result<Request<Body>, PostError> {
        let Webhook { tls, host, port, path } = &self.webhook;
        let is_usual = *port == if *tls { 443 } else { 80 };
        let authority = match host {
            Host::Name(name) if is_usual => name.clone(),
            Host::Name(_) | Host::Ip(_) => host.with_port(*port),
        };
        let mut request = Request::post(path.reveal())
            .header(HOST, authority)
            .header(USER_AGENT, &self.agent)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, body.len())
            .header(CONNECTION, "close")
            .header(DELIVERY_HEADER, delivery);
        if let Some(signature) = self.signer.sign(unix_seconds, body) {
            request = request.header(TIMESTAMP_HEADER, unix_seconds).header(SIGNATURE_HEADER, signature);
        }
        // Its error would name what is wrong with the path.
        request
            .body(Body::from(body.to_owned()))
            .map_err(|_| PostError::Http("the request cannot be written".to_owned()))
    }

    async fn exchange(&self, request: Request<Body>, until: Instant) -> Result<Answer, PostError> {
        let resolved = self.resolver.resolve(&self.webhook.host, self.webhook.port).await?;
        let told = |problem: crate::pools::Problem| PostError::Connect(problem.to_string());
        let (stream, _) = connect::race(&resolved.addresses, until).await.map_err(told)?;
        match &self.tls {
            None => speak(stream, request).await,
            Some(tls) => {
                let (stream, _) = connect::secure(tls, stream, until).await.map_err(told)?;
                speak(stream, request).await
            }
        }
    }
}

/// Drives a connection for as long as it is held.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Body>,
) -> Result<Answer, PostError> {
    let http = |error: hyper::Error| PostError::Http(error.to_string());
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
    let _driver = Driver(tokio::spawn(async move {
        // What goes wrong with it is what the request fails with.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    // The status says it all; a long or broken text changes nothing.
    let read = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX);
    let text = read.await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(Answer { status, retry_after, text })
}
