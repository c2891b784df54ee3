//! TLS to the database, in the words of PostgreSQL: `verify-full` checks chain and name as everywhere else in this program;
//! `prefer` and `require` keep out who only listens, and check nobody. `check` warns of that.

use crate::config::{DatabasePlace, Host, SslMode};
use crate::pools::tls::{TlsSetupError, client_config, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

/// Begins TLS where the database is ready for it.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    /// What `mode` asks for; `None` where no TLS is spoken.
    ///
    /// # Errors
    /// [`TlsSetupError`]; or the host is no name that a certificate can be for.
    pub(super) fn new(
        mode: SslMode,
        place: &DatabasePlace,
        ca_file: Option<&Path>,
    ) -> Result<Option<Connector>, TlsSetupError> {
        let DatabasePlace::Tcp { host, .. } = place else { return Ok(None) };
        let settings = |error: &dyn std::fmt::Display| TlsSetupError::Settings(error.to_string());
        let config = match mode {
            SslMode::Disable => return Ok(None),
            SslMode::VerifyFull => client_config(ca_file, &[], false)?,
            SslMode::Prefer | SslMode::Require => {
                let builder =
                    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
                let builder = builder.map_err(|error| settings(&error))?.dangerous();
                Arc::new(builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth())
            }
        };
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| settings(&error))?,
        };
        Ok(Some(Connector { config, name }))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = Spoken<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Spoken<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Connector { config, name } = self;
        Box::pin(async move { TlsConnector::from(config).connect(name, stream).await.map(Spoken) })
    }
}

/// A connection in TLS.
pub(super) struct Spoken<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Spoken<S> {
    /// None: with `verify-full` the certificate says more.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Takes any certificate whose key the other side has.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _shown: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
