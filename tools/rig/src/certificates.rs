//! Certificates for tests: an authority made on the spot, and what it issues, good and bad.
//!
//! It refuses to keep anything: keys live as long as the value that holds them, and no file is written.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

/// The name of the authority, and of all it issues.
const AUTHORITY: &str = "loka-rig test authority";
/// Bytes of a SHA-256.
pub const SPKI_SHA256_BYTES: usize = 32;

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Most often a name that is neither an address nor ASCII.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot use the certificate: {0}")]
    Use(#[from] rustls::Error),
}

/// Which versions of TLS a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    Both,
    Only12,
    Only13,
}

impl TlsVersions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            TlsVersions::Both => vec![&version::TLS12, &version::TLS13],
            TlsVersions::Only12 => vec![&version::TLS12],
            TlsVersions::Only13 => vec![&version::TLS13],
        }
    }
}

/// Somebody to trust in a test. Two authorities have the same name and different keys.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// # Errors
    /// When the system gives no randomness for a key.
    pub fn new() -> Result<Authority, CertificateError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// The authority's own certificate, as it stands in a file of trusted ones.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names, which may be IP addresses, that is good from 1975 to 4096.
    ///
    /// # Errors
    /// [`CertificateError::Make`] for a name that is neither an address nor ASCII.
    pub fn issue(&self, names: &[&str]) -> Result<ServerIdentity, CertificateError> {
        self.sign(server_params(names)?)
    }

    /// As [`Authority::issue`], but it was good in the year 2000 only.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_expired(&self, names: &[&str]) -> Result<ServerIdentity, CertificateError> {
        let mut params = server_params(names)?;
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<ServerIdentity, CertificateError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerIdentity::of(&certificate, &key))
    }

    /// A client that trusts this authority and nobody else.
    ///
    /// # Errors
    /// [`CertificateError::Use`] when rustls does not take the authority's certificate.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, CertificateError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&TlsVersions::Both.list())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// What a TLS server shows and proves.
pub struct ServerIdentity {
    pub certificate_pem: String,
    /// PKCS #8.
    pub key_pem: String,
    /// SHA-256 of the SubjectPublicKeyInfo in DER, which is what a pin of a public key names.
    pub spki_sha256: [u8; SPKI_SHA256_BYTES],
    certificate_der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl ServerIdentity {
    /// A certificate that nobody vouches for.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn self_signed(names: &[&str]) -> Result<ServerIdentity, CertificateError> {
        let key = KeyPair::generate()?;
        let certificate = server_params(names)?.self_signed(&key)?;
        Ok(ServerIdentity::of(&certificate, &key))
    }

    fn of(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        let mut spki_sha256 = [0; SPKI_SHA256_BYTES];
        spki_sha256.copy_from_slice(digest.as_ref());
        ServerIdentity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            spki_sha256,
            certificate_der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    /// [`ServerIdentity::spki_sha256`] in 64 lower-case hex digits.
    #[must_use]
    pub fn spki_sha256_hex(&self) -> String {
        self.spki_sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// For a server that speaks TLS 1.2 and 1.3; see [`RelayConfig::tls`](crate::RelayConfig).
    ///
    /// # Errors
    /// [`CertificateError::Use`] when rustls does not take key or certificate.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        self.server_config_for(TlsVersions::Both)
    }

    /// For a server that speaks these versions only.
    ///
    /// # Errors
    /// As [`ServerIdentity::server_config`].
    pub fn server_config_for(&self, versions: TlsVersions) -> Result<Arc<ServerConfig>, CertificateError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions.list())?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate_der.clone()], key)?;
        Ok(Arc::new(config))
    }
}

fn server_params(names: &[&str]) -> Result<CertificateParams, CertificateError> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "loka-rig test server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
