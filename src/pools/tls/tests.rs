//! Every kind of certificate that a pool may show, against every way to trust one. Both ends talk through memory.

use super::*;
use crate::pools::certificate::{Certificate, pin_text};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use std::io::Write;
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "pool.example";

/// A directory with the files of a test.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        File::create(&path).unwrap().write_all(text.as_ref()).unwrap();
        path
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A pool's side: its configuration and the certificate it shows.
struct Pool {
    config: Arc<ServerConfig>,
    pem: String,
    pin: Pin,
}

fn pool(files: &Files, params: CertificateParams, issuer: Option<&Ca>, only_1_2: bool) -> Pool {
    let key = KeyPair::generate().unwrap();
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let (chain, secret) =
        (files.write("pool.pem", certificate.pem()), files.write("pool.key", key.serialize_pem()));
    let mut config = server_config(&chain, &secret, false).unwrap();
    if only_1_2 {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&version::TLS12]).unwrap().with_no_client_auth();
        let secret = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], secret).unwrap());
    }
    let pin = Certificate::read(certificate.der()).unwrap().pin;
    Pool { config, pem: certificate.pem(), pin }
}

/// `Ok` is the version that was agreed on.
fn shake(client: Arc<ClientConfig>, pool: &Pool) -> Result<String, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = duplex(64 * 1024);
        let acceptor = TlsAcceptor::from(Arc::clone(&pool.config));
        let server = tokio::spawn(async move {
            if let Ok(mut stream) = acceptor.accept(theirs).await {
                let _ = stream.shutdown().await;
            }
        });
        let name = ServerName::try_from(NAME).unwrap();
        let shaken = TlsConnector::from(client).connect(name, ours).await;
        let shaken = shaken.map(|stream| format!("{:?}", stream.get_ref().1.protocol_version().unwrap()));
        server.abort();
        shaken.map_err(|error| error.into_inner().unwrap().downcast_ref::<Error>().unwrap().clone())
    })
}

use rustls::Error;

#[track_caller]
fn refused(client: Arc<ClientConfig>, pool: &Pool, words: &[&str], remedy: &str) {
    let error = shake(client, pool).unwrap_err();
    let text = explain(&error);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(fix(&error).contains(remedy), "{remedy:?} is not in: {}", fix(&error));
}

#[test]
fn a_good_certificate_is_taken_with_and_without_its_pin() {
    let files = Files::new();
    let root = ca("Farm CA");
    let path = files.write("ca.pem", root.pem());
    let pool = pool(&files, params(NAME), Some(&root), false);
    assert_eq!(shake(client_config(Some(&path), &[], false).unwrap(), &pool).unwrap(), "TLSv1_3");
    let pins = [[7; 32], pool.pin];
    assert_eq!(shake(client_config(Some(&path), &pins, true).unwrap(), &pool).unwrap(), "TLSv1_3");
    let wrong = client_config(Some(&path), &[[7; 32]], false).unwrap();
    refused(wrong, &pool, &["pins", &pin_text(&pool.pin)], "new pin");
}

#[test]
fn a_pin_is_no_substitute_for_trust() {
    let files = Files::new();
    let path = files.write("ca.pem", ca("Farm CA").pem());
    let pool = pool(&files, params(NAME), None, false);
    refused(client_config(Some(&path), &[pool.pin], false).unwrap(), &pool, &["self-signed"], "ca_file");
}

#[test]
fn a_self_signed_certificate_is_trusted_only_when_it_is_the_ca_file() {
    let files = Files::new();
    let other = files.write("ca.pem", ca("Farm CA").pem());
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = params(NAME);
        params.is_ca = is_ca;
        let pool = pool(&files, params, None, false);
        let words = ["self-signed", "CN=pool.example", &pin_text(&pool.pin)];
        refused(client_config(Some(&other), &[], false).unwrap(), &pool, &words, "ca_file");
        let own = files.write("own.pem", &pool.pem);
        assert!(shake(client_config(Some(&own), &[pool.pin], false).unwrap(), &pool).is_ok());
        let pinned = client_config(Some(&own), &[[7; 32]], false).unwrap();
        refused(pinned, &pool, &["pins"], "new pin");
    }
}

#[test]
fn a_trusted_self_signed_certificate_must_still_be_in_date_and_for_the_name() {
    let files = Files::new();
    let mut old = params(NAME);
    old.not_after = rcgen::date_time_ymd(2021, 5, 6);
    let mut early = params(NAME);
    early.not_before = rcgen::date_time_ymd(3000, 1, 2);
    for (params, words) in [
        (old, ["expired", "2021-05-06"]),
        (early, ["not yet valid", "3000-01-02"]),
        (params("other.example"), ["not for pool.example", "other.example"]),
    ] {
        let pool = pool(&files, params, None, false);
        let own = files.write("own.pem", &pool.pem);
        refused(client_config(Some(&own), &[], false).unwrap(), &pool, &words, "");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let files = Files::new();
    let root = ca("Farm CA");
    let path = files.write("ca.pem", root.pem());
    let config = || client_config(Some(&path), &[], false).unwrap();
    let mut old = params(NAME);
    old.not_after = rcgen::date_time_ymd(2021, 5, 6);
    refused(config(), &pool(&files, old, Some(&root), false), &["expired", "2021-05-06"], "clock");
    let mut early = params(NAME);
    early.not_before = rcgen::date_time_ymd(3000, 1, 2);
    let early = pool(&files, early, Some(&root), false);
    refused(config(), &early, &["not yet valid", "3000-01-02"], "clock");
    let other = pool(&files, params("other.example"), Some(&root), false);
    refused(config(), &other, &["not for pool.example", "other.example"], "server_name");
    let stranger = pool(&files, params(NAME), Some(&ca("Strange CA")), false);
    refused(config(), &stranger, &["CN=Strange CA", "not trusted"], "ca_file");
}

#[test]
fn tls_1_2_is_taken_unless_1_3_is_demanded() {
    let files = Files::new();
    let root = ca("Farm CA");
    let path = files.write("ca.pem", root.pem());
    let pool = pool(&files, params(NAME), Some(&root), true);
    assert_eq!(shake(client_config(Some(&path), &[], false).unwrap(), &pool).unwrap(), "TLSv1_2");
    refused(client_config(Some(&path), &[], true).unwrap(), &pool, &["no version of TLS"], "1.2");
}

#[test]
fn a_port_without_tls_is_recognized() {
    let files = Files::new();
    let path = files.write("ca.pem", ca("Farm CA").pem());
    let config = client_config(Some(&path), &[], false).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async {
        let (ours, mut theirs) = duplex(64 * 1024);
        theirs.write_all(b"{\"id\":1,\"result\":true,\"error\":null}\n").await.unwrap();
        TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), ours).await.unwrap_err()
    });
    let error = error.into_inner().unwrap();
    let text = explain(error.downcast_ref::<Error>().unwrap());
    assert!(text.contains("does not speak TLS"), "{text}");
}

#[test]
fn files_that_are_no_use_are_named() {
    let files = Files::new();
    let root = ca("Farm CA");
    let good = files.write("good.pem", root.pem());
    let key = files.write("key.pem", KeyPair::generate().unwrap().serialize_pem());
    let cut: String = root.pem().lines().take(3).collect::<Vec<_>>().join("\n");
    let spoilt = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (name, text, words) in [
        ("empty.pem", String::new(), "no certificate"),
        ("key-only.pem", KeyPair::generate().unwrap().serialize_pem(), "no certificate"),
        ("cut.pem", cut, "cut off"),
        ("base64.pem", spoilt.replace("MAA=", "!"), "base64"),
        ("second.pem", format!("{}{spoilt}", root.pem()), "certificate 2"),
        ("huge.pem", "#\n".repeat(600_000), "larger than"),
    ] {
        let path = files.write(name, text);
        let error = client_config(Some(&path), &[], false).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
    let missing = files.0.path().join("missing.pem");
    let error = client_config(Some(&missing), &[], false).unwrap_err().to_string();
    assert!(error.contains("missing.pem") && error.contains("No such file"), "{error}");
    let error = server_config(&good, &good, false).unwrap_err().to_string();
    assert!(error.contains("good.pem") && error.contains("no private key"), "{error}");
    let error = server_config(&good, &key, false).unwrap_err().to_string();
    assert!(error.contains("good.pem") && error.contains("key.pem"), "{error}");
}
