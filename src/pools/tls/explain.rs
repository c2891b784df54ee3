//! Errors of TLS in the words of one who has to do something about them.
#![allow(clippy::wildcard_enum_match_arm, reason = "the enums are rustls', which adds to them")]

use super::verifier::Distrust;
use crate::pools::certificate::{date_text, plain};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Bytes of a stranger's names that are shown.
const NAMES_BYTES_MAX: usize = 300;

const CLOCK: &str = "compare the clock of this host with the date of the certificate";
const TRUST: &str = "put the certificate of the CA that signs for this pool, or the pool's own when it is self-signed, \
                     into a file and name it as the pool's ca_file";
const NAME: &str =
    "dial the pool by a name that its certificate holds, or set that name as the pool's server_name";
const PINS: &str =
    "ask the pool whether it has changed its key; if it has, take the new pin into the configuration";
const VERSION: &str = "allow TLS 1.2 for this pool, or ask it for TLS 1.3";
const PORT: &str = "check the port: pools usually have one for TLS and another for plain TCP";
const GENERAL: &str = "check the pool's host, its port for TLS, and its certificate";

/// What is wrong, as one sentence without a full stop.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(cause) => of_certificate(cause),
        Error::InvalidMessage(_) => "the other side does not speak TLS on this port".to_owned(),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the other side speaks no version of TLS that is allowed here (it refused ours)".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => "the other side speaks no version of TLS that is allowed here".to_owned(),
        Error::AlertReceived(alert) => format!("the other side refused the TLS handshake ({alert:?})"),
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        other => plain(&format!("TLS failed: {other}"), NAMES_BYTES_MAX),
    }
}

/// What to do about it.
pub fn fix(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(cause) => match cause {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => CLOCK,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => NAME,
            CertificateError::UnknownIssuer => TRUST,
            CertificateError::Other(other) => match other.0.downcast_ref::<Distrust>() {
                Some(Distrust::SelfSigned { .. } | Distrust::UnknownIssuer { .. }) => TRUST,
                Some(Distrust::WrongPin { .. }) => PINS,
                None => GENERAL,
            },
            _ => GENERAL,
        },
        Error::InvalidMessage(_) => PORT,
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => VERSION,
        _ => GENERAL,
    }
}

fn of_certificate(cause: &CertificateError) -> String {
    match cause {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate has expired, on {}", date_text(not_after.as_secs()))
        }
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not yet valid, only from {}", date_text(not_before.as_secs()))
        }
        CertificateError::NotValidYet => "the certificate is not yet valid".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() {
                "it holds no name at all".to_owned()
            } else {
                format!("it is for {}", presented.join(", "))
            };
            let text = format!("the certificate is not for {}: {names}", expected.to_str());
            plain(&text, NAMES_BYTES_MAX)
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::UnknownIssuer => "the certificate's issuer is not trusted here".to_owned(),
        CertificateError::BadEncoding => "the certificate is damaged".to_owned(),
        CertificateError::BadSignature => "the certificate's signature is wrong".to_owned(),
        CertificateError::Revoked => "the certificate has been revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for servers".to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<Distrust>() {
            Some(distrust) => distrust.to_string(),
            None => plain(&format!("the certificate is not good: {}", other.0), NAMES_BYTES_MAX),
        },
        other => plain(&format!("the certificate is not good: {other}"), NAMES_BYTES_MAX),
    }
}
