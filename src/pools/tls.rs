//! TLS to pools and from miners: roots, pins, certificates and versions become a configuration of rustls, or an error
//! that names the file. It opens no connection, and offers no way to skip the check of a certificate.

mod explain;
#[cfg(test)]
mod tests;
mod verifier;

pub use explain::{explain, fix};

use super::certificate::Pin;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use thiserror::Error;
use verifier::PoolVerifier;

/// The largest file of certificates or keys that is read. A bundle of all public CAs has 250 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A file is no PEM text.
    #[error("{}: {cause}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A certificate in a file is damaged.
    #[error("{}: certificate {number} is not usable: {cause}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which in it, from 1.
        number: usize,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// The key does not fit the certificate, or neither can be used.
    #[error("{} and {} do not fit each other: {cause}", certificates.display(), key.display())]
    Mismatch {
        /// The file of the certificates.
        certificates: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// The system has no root certificates.
    #[error(
        "this host has no root certificates{cause}\n  fix: install the package ca-certificates, or name a CA file"
    )]
    NoRoots {
        /// `: ` and what was tried, where it failed.
        cause: String,
    },
    /// rustls refuses the settings.
    #[error("cannot set up TLS: {0}")]
    Settings(String),
}

/// A client's side of TLS to a pool. With `ca_file` only the certificates in it are trusted, as roots and as what they
/// are: a pool may show one of them itself, also when it is self-signed. Without one the roots of the system are. With
/// `pins`, the key of the pool's certificate must be one of them on top of that. `min_1_3` refuses TLS 1.2.
///
/// # Errors
/// [`TlsSetupError`]
pub fn client_config(
    ca_file: Option<&Path>,
    pins: &[Pin],
    min_1_3: bool,
) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let (roots, own) = match ca_file {
        Some(path) => roots_of(path)?,
        None => (system_roots()?, Vec::new()),
    };
    let chain = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    let chain = chain.map_err(|error| TlsSetupError::Settings(error.to_string()))?;
    let verifier = Arc::new(PoolVerifier::new(chain, own, pins.to_vec()));
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions(min_1_3));
    let builder = builder.map_err(|error| TlsSetupError::Settings(error.to_string()))?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// The miners' side: a chain of certificates, the first its own, and the key of that one. Miners that come back
/// resume with a ticket, so that no table of sessions is shared between shards.
///
/// # Errors
/// [`TlsSetupError`]
pub fn server_config(
    cert_file: &Path,
    key_file: &Path,
    min_1_3: bool,
) -> Result<Arc<ServerConfig>, TlsSetupError> {
    let settings = |error: rustls::Error| TlsSetupError::Settings(error.to_string());
    let chain = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?);
    let key = key.map_err(|error| TlsSetupError::Pem {
        path: key_file.to_owned(),
        cause: pem_cause(&error, "holds no private key in PEM"),
    })?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(min_1_3));
    let builder = builder.map_err(settings)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|cause| TlsSetupError::Mismatch {
        certificates: cert_file.to_owned(),
        key: key_file.to_owned(),
        cause,
    })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new().map_err(settings)?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The cryptography that all of TLS is made with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

fn versions(min_1_3: bool) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    if min_1_3 { &ONLY_1_3 } else { &BOTH }
}

/// The roots of the system, read once for the life of the process.
fn system_roots() -> Result<Arc<RootCertStore>, TlsSetupError> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(found.certs);
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        if roots.is_empty() {
            let cause = errors.first().map_or_else(String::new, |error| format!(": {error}"));
            return Err(cause);
        }
        if unusable > 0 || !errors.is_empty() {
            tracing::warn!(unusable, errors = errors.join("; "), "some of the system's root certificates");
        }
        Ok(Arc::new(roots))
    });
    roots.clone().map_err(|cause| TlsSetupError::NoRoots { cause })
}

type Roots = (Arc<RootCertStore>, Vec<CertificateDer<'static>>);

fn roots_of(path: &Path) -> Result<Roots, TlsSetupError> {
    let own = certificates(path)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in own.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|cause| TlsSetupError::BadCertificate {
            path: path.to_owned(),
            number: index + 1,
            cause,
        })?;
    }
    Ok((Arc::new(roots), own))
}

/// All certificates in a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    const NONE: &str = "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)";
    let fail = |cause| TlsSetupError::Pem { path: path.to_owned(), cause };
    let text = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| fail(pem_cause(&error, NONE)))?;
    if found.is_empty() { Err(fail(NONE)) } else { Ok(found) }
}

/// Never the text itself: it may be that of a key.
#[allow(clippy::wildcard_enum_match_arm, reason = "the enum is that of the PEM reader, which may add to it")]
fn pem_cause(error: &pem::Error, none: &'static str) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "ends in the middle of a section: it is cut off",
        pem::Error::IllegalSectionStart { .. } => "has a damaged -----BEGIN line",
        pem::Error::Base64Decode(_) => "has a section that is not base64",
        _ => none,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    let mut text = Vec::new();
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    file.map_err(|cause| TlsSetupError::Read { path: path.to_owned(), cause })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let cause = io::Error::other("it is larger than 1 MiB");
        return Err(TlsSetupError::Read { path: path.to_owned(), cause });
    }
    Ok(text)
}
