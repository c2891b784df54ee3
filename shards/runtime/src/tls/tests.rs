//! The two sides against each other over every chunking of the bytes, and each of them against what it must refuse.

use super::records::Pause;
use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::unbuffered::ConnectionState;
use rustls::{CertificateError, RootCertStore, SupportedProtocolVersion};

pub(super) const NAME: &str = "pool.example.com";
const SIZES: [usize; 3] = [1, 7, usize::MAX];
pub(super) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

pub(super) struct Pki {
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// A certificate for [`NAME`], by an issuer that clients trust.
pub(super) fn issued() -> Pki {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Pki { roots, chain: vec![leaf.der().clone()], key }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn client_config(pki: &Pki, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(pki.roots.clone()).with_no_client_auth())
}

fn client_of(pki: &Pki, versions: &[&'static SupportedProtocolVersion], name: &str) -> Tls {
    Tls::client(&client_config(pki, versions), &ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

pub(super) fn server_config(pki: &Pki, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let config = config.with_no_client_auth().with_single_cert(pki.chain.clone(), pki.key.clone_key());
    Arc::new(config.unwrap())
}

fn both(versions: &[&'static SupportedProtocolVersion]) -> (Tls, Tls) {
    let pki = issued();
    (client_of(&pki, versions, NAME), Tls::server(&server_config(&pki, versions)).unwrap())
}

/// Carries the records of one side to the other in pieces of `size` bytes. What the other has to say to that waits.
fn carry(from: &mut Tls, to: &mut Tls, size: usize, plain: &mut Vec<u8>) -> Result<(), TlsError> {
    let mut cipher = Vec::new();
    from.take_output(&mut cipher);
    assert!(!from.wants_output());
    cipher.chunks(size.min(cipher.len().max(1))).try_for_each(|piece| to.receive(piece, plain))
}

/// Carries records both ways until neither side has any.
pub(super) fn settle(client: &mut Tls, server: &mut Tls, size: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    while client.wants_output() || server.wants_output() {
        carry(client, server, size, &mut to_server).unwrap();
        carry(server, client, size, &mut to_client).unwrap();
    }
    (to_client, to_server)
}

fn connected(versions: &[&'static SupportedProtocolVersion]) -> (Tls, Tls) {
    let (mut client, mut server) = both(versions);
    settle(&mut client, &mut server, usize::MAX);
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (client, server)
}

fn numbered(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn bytes_go_both_ways_in_every_chunking() {
    for version in VERSIONS {
        for size in SIZES {
            let (mut client, mut server) = both(&[version]);
            assert!(client.wants_output() && !server.wants_output(), "the client begins");
            assert!(client.is_handshaking() && server.is_handshaking());
            settle(&mut client, &mut server, size);
            assert!(!client.is_handshaking() && !server.is_handshaking());
            for round in 0..3 {
                let line = format!("{{\"id\":{round}}}\n");
                client.send(line.as_bytes()).unwrap();
                client.send(b"more\n").unwrap();
                server.send(b"notify\n").unwrap();
                let (to_client, to_server) = settle(&mut client, &mut server, size);
                assert_eq!(to_server, format!("{line}more\n").into_bytes(), "{version:?}, pieces of {size}");
                assert_eq!(to_client, b"notify\n");
            }
        }
    }
}

#[test]
fn a_mebibyte_goes_both_ways_in_order() {
    let (mut client, mut server) = connected(&VERSIONS);
    let sent = numbered(1 << 20);
    for size in [7, 64 * 1024] {
        client.send(&sent).unwrap();
        server.send(&sent).unwrap();
        let (to_client, to_server) = settle(&mut client, &mut server, size);
        assert!(to_client == sent && to_server == sent, "pieces of {size}");
    }
}

/// A pool's greeting costs no round trip more than the handshake: what the client wanted to say goes with its Finished.
#[test]
fn what_is_sent_early_goes_out_with_the_last_flight() {
    for version in VERSIONS {
        for size in SIZES {
            let (mut client, mut server) = both(&[version]);
            client.send(b"subscribe\n").unwrap();
            client.send(b"authorize\n").unwrap();
            let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
            while client.is_handshaking() {
                assert_eq!(to_server, b"");
                carry(&mut client, &mut server, size, &mut to_server).unwrap();
                carry(&mut server, &mut client, size, &mut to_client).unwrap();
            }
            carry(&mut client, &mut server, size, &mut to_server).unwrap();
            assert_eq!(to_server, b"subscribe\nauthorize\n", "{version:?}, pieces of {size}");
        }
    }
}

#[test]
fn a_server_may_speak_early_too() {
    for version in VERSIONS {
        let (mut client, mut server) = both(&[version]);
        server.send(b"notify\n").unwrap();
        assert!(!server.wants_output(), "there is nobody to encrypt it for yet");
        assert_eq!(settle(&mut client, &mut server, 7).0, b"notify\n");
    }
}

#[test]
fn what_is_sent_early_is_bounded() {
    let (mut client, mut server) = both(&VERSIONS);
    let most = numbered(SEND_EARLY_BYTES_MAX);
    client.send(&most[..1]).unwrap();
    assert_eq!(client.send(&most), Err(TlsError::EarlyTooMuch));
    client.send(&most[1..]).unwrap();
    assert_eq!(client.send(b"x"), Err(TlsError::EarlyTooMuch));
    assert!(settle(&mut client, &mut server, usize::MAX).1 == most, "what was refused leaves no gap");
}

#[test]
fn a_peer_that_changes_its_keys_goes_on_being_understood() {
    let (mut client, mut server) = connected(&[&rustls::version::TLS13]);
    for round in 0..3 {
        let TlsEnd::Client(connection) = &mut client.end else { panic!("a client") };
        let status = connection.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(traffic)) = status.state else { panic!("ready to send") };
        traffic.refresh_traffic_keys().unwrap();
        let line = format!("line {round}\n");
        client.send(line.as_bytes()).unwrap();
        assert_eq!(settle(&mut client, &mut server, 7).1, line.as_bytes());
        server.send(line.as_bytes()).unwrap();
        assert_eq!(
            settle(&mut client, &mut server, 7).0,
            line.as_bytes(),
            "with the keys it was asked to change"
        );
    }
}

#[test]
fn each_side_closes_in_order() {
    for version in VERSIONS {
        let (mut client, mut server) = connected(&[version]);
        client.send(b"last\n").unwrap();
        client.close();
        client.close();
        assert_eq!(client.send(b"behind"), Err(TlsError::Closed));
        assert_eq!(settle(&mut client, &mut server, 1).1, b"last\n");
        assert!(server.is_closed_by_peer() && !client.is_closed_by_peer(), "{version:?}");
        server.receive(b"ignored", &mut Vec::new()).unwrap();
        server.send(b"answer\n").unwrap();
        server.close();
        assert!(server.wants_output(), "one side's close leaves the other its word");
        assert_eq!(settle(&mut client, &mut server, 1).0, b"", "who has closed listens no more");
        assert!(!client.wants_output() && !server.wants_output());
    }
}

#[test]
fn a_close_during_the_handshake_comes_behind_what_was_sent() {
    let (mut client, mut server) = both(&VERSIONS);
    client.send(b"all\n").unwrap();
    let shown = format!("{client:?}");
    assert_eq!(shown, "Tls { side: \"client\", is_handshaking: true, failed: None, .. }", "no plain bytes");
    client.close();
    assert_eq!(settle(&mut client, &mut server, 7).1, b"all\n");
    assert!(server.is_closed_by_peer());
}

#[test]
fn who_speaks_no_tls_is_told_so() {
    let garbage: [&[u8]; 3] =
        [b"{\"id\":1,\"method\":\"mining.subscribe\"}\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0xff; 64]];
    for bytes in garbage {
        for size in SIZES {
            let (mut client, mut server) = both(&VERSIONS);
            for tls in [&mut client, &mut server] {
                tls.take_output(&mut Vec::new());
                let mut plain = Vec::new();
                let mut pieces = bytes.chunks(size.min(bytes.len()));
                let error = pieces.try_for_each(|piece| tls.receive(piece, &mut plain)).unwrap_err();
                assert!(matches!(error, TlsError::Handshake(_)), "{error:?}");
                assert!(plain.is_empty());
                assert!(tls.wants_output(), "the alert");
                let mut alert = Vec::new();
                tls.take_output(&mut alert);
                assert_eq!(alert[0], 21, "the type of an alert");
                assert_eq!(tls.receive(b"more", &mut plain), Err(error), "it stays broken");
                assert_eq!(tls.send(b"x"), Err(TlsError::Closed));
                tls.close();
                assert!(!tls.wants_output());
            }
        }
    }
}

/// Lets a client look at the server's certificate; both errors.
fn refused(client: &mut Tls, server: &mut Tls) -> (TlsError, TlsError) {
    let mut plain = Vec::new();
    client.send(b"secret").unwrap();
    carry(client, server, usize::MAX, &mut plain).unwrap();
    let mine = carry(server, client, usize::MAX, &mut plain).unwrap_err();
    let theirs = carry(client, server, usize::MAX, &mut plain).unwrap_err();
    assert!(plain.is_empty(), "nothing is said to whom is not trusted");
    (mine, theirs)
}

#[test]
fn a_certificate_that_proves_nothing_is_refused_and_the_server_hears_why() {
    let (pki, stranger) = (issued(), issued());
    for version in VERSIONS {
        let server = || Tls::server(&server_config(&pki, &[version])).unwrap();
        let (mine, theirs) = refused(&mut client_of(&pki, &[version], "other.example.com"), &mut server());
        assert!(
            matches!(
                mine,
                TlsError::Handshake(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForNameContext { .. }
                ))
            ),
            "{mine:?}"
        );
        assert!(matches!(theirs, TlsError::Handshake(rustls::Error::AlertReceived(_))), "{theirs:?}");
        // The issuers have the same name and different keys.
        let mut client = client_of(&Pki { roots: stranger.roots.clone(), ..issued() }, &[version], NAME);
        let (mine, _) = refused(&mut client, &mut server());
        let forged = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
        assert_eq!(mine, TlsError::Handshake(forged));
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        let own = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let own = Pki { roots: pki.roots.clone(), chain: vec![own.der().clone()], key };
        let mut server = Tls::server(&server_config(&own, &[version])).unwrap();
        let (mine, _) = refused(&mut client_of(&own, &[version], NAME), &mut server);
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(mine, TlsError::Handshake(unknown));
    }
}

#[test]
fn sides_without_a_version_in_common_part() {
    let pki = issued();
    let mut client = client_of(&pki, &[&rustls::version::TLS12], NAME);
    let mut server = Tls::server(&server_config(&pki, &[&rustls::version::TLS13])).unwrap();
    let theirs = carry(&mut client, &mut server, usize::MAX, &mut Vec::new()).unwrap_err();
    assert!(matches!(theirs, TlsError::Handshake(rustls::Error::PeerIncompatible(_))), "{theirs:?}");
    let mine = carry(&mut server, &mut client, usize::MAX, &mut Vec::new()).unwrap_err();
    assert!(matches!(mine, TlsError::Handshake(rustls::Error::AlertReceived(_))), "{mine:?}");
}

#[test]
fn bytes_changed_on_the_way_break_the_connection_and_what_came_before_counts() {
    for version in VERSIONS {
        let (mut client, mut server) = connected(&[version]);
        client.send(b"good\n").unwrap();
        let mut cipher = Vec::new();
        client.take_output(&mut cipher);
        let good = cipher.len();
        client.send(b"bad\n").unwrap();
        client.take_output(&mut cipher);
        cipher[good + 10] ^= 1;
        let mut plain = Vec::new();
        let error = server.receive(&cipher, &mut plain).unwrap_err();
        assert_eq!(error, TlsError::Broken(rustls::Error::DecryptError));
        assert_eq!(plain, b"good\n");
        let heard = carry(&mut server, &mut client, usize::MAX, &mut plain).unwrap_err();
        assert!(matches!(heard, TlsError::Broken(rustls::Error::AlertReceived(_))), "{heard:?}");
    }
}

/// A ClientHello of the largest size that is taken, in records of one byte each: 6 bytes for each byte of it.
#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let (_, mut server) = both(&VERSIONS);
    let hello = [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(0));
    let mut most = 0;
    let error = hello
        .take(0xffff)
        .map(|byte| [22, 3, 1, 0, 1, byte])
        .find_map(|record| {
            most = most.max(server.partial.len());
            server.receive(&record, &mut Vec::new()).err()
        })
        .unwrap();
    assert!(matches!(error, TlsError::Handshake(rustls::Error::InvalidMessage(_))), "{error:?}");
    assert!(most <= PARTIAL_BYTES_MAX, "{most}");
    assert_eq!(server.partial.capacity(), 0);
}

#[test]
fn an_idle_connection_keeps_no_buffer() {
    for version in VERSIONS {
        let (mut client, mut server) = connected(&[version]);
        for size in SIZES {
            client.send(&numbered(40_000)).unwrap();
            server.send(&numbered(40_000)).unwrap();
            settle(&mut client, &mut server, size);
            for tls in [&client, &server] {
                let kept = [&tls.partial, &tls.early, &tls.output].map(Vec::capacity);
                assert_eq!(kept, [0, 0, 0]);
            }
        }
        assert!(matches!(client.go_on(&mut Vec::new(), &[]), Ok(Pause::Ready)));
    }
}

/// Every byte of every flight changed, one at a time: an error or nothing, never a panic, and nothing decrypted that was
/// not sent.
#[test]
fn any_byte_changed_on_the_way_is_survived() {
    for version in VERSIONS {
        let pki = issued();
        let configs = (client_config(&pki, &[version]), server_config(&pki, &[version]));
        let name = ServerName::try_from(NAME).unwrap();
        // How long a run is differs by a few bytes from one to the next: the last positions may meet nothing.
        for at in 0..3000 {
            let (mut client, mut server) =
                (Tls::client(&configs.0, &name).unwrap(), Tls::server(&configs.1).unwrap());
            client.send(b"subscribe\n").unwrap();
            let (mut passed, mut plain) = (0, [Vec::new(), Vec::new()]);
            let mut went = Ok(());
            while went.is_ok() && (client.wants_output() || server.wants_output()) {
                let [to_client, to_server] = &mut plain;
                went = changed(&mut client, &mut server, &mut passed, at, to_server);
                if went.is_ok() {
                    went = changed(&mut server, &mut client, &mut passed, at, to_client);
                }
            }
            if at % 2 == 0 {
                client.close();
                server.close();
            }
            let _ = carry(&mut client, &mut server, 5, &mut plain[1]);
            let _ = carry(&mut server, &mut client, 5, &mut plain[0]);
            assert!(plain[0].is_empty() && b"subscribe\n".starts_with(&plain[1]), "byte {at}");
        }
    }
}

/// Carries all that `from` has, with one bit of the byte at `at` of the whole run changed; `passed` counts the bytes.
fn changed(
    from: &mut Tls,
    to: &mut Tls,
    passed: &mut usize,
    at: usize,
    plain: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let mut cipher = Vec::new();
    from.take_output(&mut cipher);
    if let Some(byte) = at.checked_sub(*passed).and_then(|at| cipher.get_mut(at)) {
        *byte ^= 1 << (at % 8);
    }
    *passed += cipher.len();
    to.receive(&cipher, plain)
}

#[test]
fn garbage_behind_our_own_close_harms_nobody() {
    for version in VERSIONS {
        let (mut client, _) = connected(&[version]);
        client.close();
        client.take_output(&mut Vec::new());
        assert_eq!(client.receive(&[0xff; 100], &mut Vec::new()), Ok(()));
        assert!(!client.wants_output());
    }
}
