//! The check of a pool's certificate: chain, name and dates by webpki, and on top of it what webpki does not know:
//! pins, and certificates that are trusted as they are.

use crate::pools::certificate::{Certificate, Pin, pin_text};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::sync::Arc;

/// Why a certificate is not trusted, where rustls has no word for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Distrust {
    #[error("the certificate is self-signed ({subject}, {pin}) and not in the CA file")]
    SelfSigned { subject: String, pin: String },
    #[error("the certificate of {subject} was issued by {issuer}, which is not trusted here")]
    UnknownIssuer { subject: String, issuer: String },
    #[error("the certificate's key is not one of the pins: its pin is {found}")]
    WrongPin { found: String },
}

impl From<Distrust> for Error {
    fn from(distrust: Distrust) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
    }
}

#[derive(Debug)]
pub(super) struct PoolVerifier {
    chain: Arc<WebPkiServerVerifier>,
    /// Certificates of the CA file. webpki refuses one as a server's own when it says that it is a CA, which those that
    /// people make for themselves usually say.
    own: Vec<CertificateDer<'static>>,
    /// Empty: any key will do.
    pins: Vec<Pin>,
}

impl PoolVerifier {
    pub(super) fn new(
        chain: Arc<WebPkiServerVerifier>,
        own: Vec<CertificateDer<'static>>,
        pins: Vec<Pin>,
    ) -> Self {
        Self { chain, own, pins }
    }

    fn check_own(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let facts = Certificate::read(shown).ok_or(CertificateError::BadEncoding)?;
        if now.as_secs() < facts.not_before {
            let not_before = UnixTime::since_unix_epoch(std::time::Duration::from_secs(facts.not_before));
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now.as_secs() > facts.not_after {
            let not_after = UnixTime::since_unix_epoch(std::time::Duration::from_secs(facts.not_after));
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)
    }
}

impl ServerCertVerifier for PoolVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.iter().any(|own| own == end_entity) {
            self.check_own(end_entity, server_name, now)?;
        } else {
            let chain = &self.chain;
            let checked =
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            checked.map_err(|error| name_the_issuer(error, end_entity))?;
        }
        if self.pins.is_empty() {
            return Ok(ServerCertVerified::assertion());
        }
        let facts = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
        if self.pins.contains(&facts.pin) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Distrust::WrongPin { found: pin_text(&facts.pin) }.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// An unknown issuer gets its name; webpki's word for a self-signed CA (it must not be a server's own) is no help.
fn name_the_issuer(error: Error, shown: &CertificateDer<'_>) -> Error {
    // A signature that does not fit is that of an issuer with the name of a trusted one: one that made a new key.
    let unknown = matches!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
    );
    let other = matches!(error, Error::InvalidCertificate(CertificateError::Other(_)));
    match Certificate::read(shown) {
        Some(facts) if facts.self_signed && (unknown || other) => {
            Distrust::SelfSigned { subject: facts.subject, pin: pin_text(&facts.pin) }.into()
        }
        Some(facts) if unknown => {
            Distrust::UnknownIssuer { subject: facts.subject, issuer: facts.issuer }.into()
        }
        Some(_) | None => error,
    }
}
