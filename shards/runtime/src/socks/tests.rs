//! Dialogues with a proxy in every chunking, and every way in which a proxy can be wrong.

use super::*;
use proptest::prelude::*;

const POOL: &str = "pool.example.com";
const OK_V4: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0x1f, 0x90];

fn name() -> SocksTarget {
    SocksTarget::Name(POOL.to_owned(), 3333)
}

fn login() -> SocksLogin {
    SocksLogin::new("farm".to_owned(), "s3cret".to_owned()).unwrap()
}

fn start(target: &SocksTarget, login: Option<&SocksLogin>) -> (Socks, Vec<u8>) {
    let mut out = Vec::new();
    (Socks::start(target, login, &mut out).unwrap(), out)
}

fn request_for_name() -> Vec<u8> {
    [&[5, 1, 0, 3, 16], POOL.as_bytes(), &3333_u16.to_be_bytes()].concat()
}

/// Hands bytes over in pieces until it is done or fails; `unread` counts what was not handed over too. And what was said.
fn hears(socks: &mut Socks, bytes: &[u8], size: usize) -> (Result<Progress, SocksError>, Vec<u8>) {
    let (mut last, mut out) = (Ok(Progress::More), Vec::new());
    for (at, piece) in bytes.chunks(size).enumerate() {
        last = socks.receive(piece, &mut out);
        if let Ok(Progress::Done { unread }) = last {
            let given = at * size + piece.len();
            return (Ok(Progress::Done { unread: bytes.len() - given + unread }), out);
        }
        if last.is_err() {
            return (last, out);
        }
    }
    (last, out)
}

#[test]
fn a_target_is_asked_for_in_the_form_of_its_kind() {
    let cases = [
        (name(), request_for_name()),
        (SocksTarget::Address("192.0.2.7:3333".parse().unwrap()), vec![5, 1, 0, 1, 192, 0, 2, 7, 0x0d, 0x05]),
        (
            SocksTarget::Address("[2001:db8::7]:3333".parse().unwrap()),
            vec![5, 1, 0, 4, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x0d, 0x05],
        ),
    ];
    for (target, request) in cases {
        let (mut socks, greeting) = start(&target, None);
        assert_eq!(greeting, [5, 1, 0]);
        assert_eq!(hears(&mut socks, &[5, 0], 2), (Ok(Progress::More), request));
        assert_eq!(hears(&mut socks, OK_V4, 10), (Ok(Progress::Done { unread: 0 }), Vec::new()));
    }
}

#[test]
fn every_chunking_of_the_replies_means_the_same() {
    let of_name = [&[5, 0, 0, 3, 255], [b'n'; 255].as_slice(), &[0, 0]].concat();
    assert_eq!(of_name.len(), REPLY_BYTES_MAX);
    let of_v6 = [&[5, 0, 0, 4], [0; 18].as_slice()].concat();
    let of_no_name: &[u8] = &[5, 0, 0, 3, 0, 0, 0];
    let behind = b"{\"id\":null,\"method\":\"mining.notify\"}\n";
    for reply in [OK_V4, &of_name, &of_v6, of_no_name] {
        for tunnel in [b"".as_slice(), behind] {
            for size in 1..=reply.len() + behind.len() + 4 {
                let (mut socks, _) = start(&name(), None);
                let bytes = [&[5, 0], reply, tunnel].concat();
                let done = Ok(Progress::Done { unread: tunnel.len() });
                assert_eq!(hears(&mut socks, &bytes, size), (done, request_for_name()), "pieces of {size}");
                let (mut socks, greeting) = start(&name(), Some(&login()));
                assert_eq!(greeting, [5, 2, 0, 2]);
                let bytes = [&[5, 2, 1, 0], reply, tunnel].concat();
                let said = [b"\x01\x04farm\x06s3cret".as_slice(), &request_for_name()].concat();
                assert_eq!(hears(&mut socks, &bytes, size), (done, said), "pieces of {size}");
                let more = socks.receive(b"more", &mut Vec::new());
                assert_eq!(more, Ok(Progress::Done { unread: 4 }), "what comes later is the tunnel's");
            }
        }
    }
}

#[test]
fn a_proxy_that_wants_no_login_gets_none() {
    let (mut socks, _) = start(&name(), Some(&login()));
    assert_eq!(hears(&mut socks, &[5, 0], 1), (Ok(Progress::More), request_for_name()));
}

#[test]
fn each_step_waits_for_the_one_before() {
    let (mut socks, _) = start(&name(), Some(&login()));
    for bytes in [[5].as_slice(), &[2, 1], &[0, 5, 0, 0, 1, 0, 0, 0, 0, 0]] {
        assert_eq!(socks.receive(bytes, &mut Vec::new()), Ok(Progress::More));
    }
    assert_eq!(socks.receive(&[], &mut Vec::new()), Ok(Progress::More));
    assert_eq!(socks.receive(&[0, b'{'], &mut Vec::new()), Ok(Progress::Done { unread: 1 }));
}

#[test]
fn a_wrong_answer_is_an_error_that_stays() {
    let plain: [(&[u8], SocksError); 9] = [
        (b"HTTP/1.1 400", SocksError::Version(b'H')),
        (&[4, 0], SocksError::Version(4)),
        (&[5, 0xff], SocksError::NoMethod),
        (&[5, 2], SocksError::Method(2)),
        (&[5, 1], SocksError::Method(1)),
        (&[5, 0, 4], SocksError::Version(4)),
        (&[5, 0, 5, 5], SocksError::Refused(5)),
        (&[5, 0, 5, 0, 0, 2], SocksError::AddressKind(2)),
        (&[5, 0, 5, 0, 0, 0], SocksError::AddressKind(0)),
    ];
    let with_login: [(&[u8], SocksError); 4] = [
        (&[5, 3], SocksError::Method(3)),
        (&[5, 2, 1, 1], SocksError::Login),
        (&[5, 2, 1, 0xff], SocksError::Login),
        (&[5, 2, 5, 0], SocksError::Version(5)),
    ];
    let plain = plain.map(|(bytes, error)| (None, bytes, error));
    let with_login = with_login.map(|(bytes, error)| (Some(login()), bytes, error));
    for (login, bytes, error) in plain.into_iter().chain(with_login) {
        for size in [1, bytes.len(), 1000] {
            let (mut socks, _) = start(&name(), login.as_ref());
            assert_eq!(hears(&mut socks, bytes, size).0, Err(error), "{bytes:x?}");
            let again = socks.receive(&[5, 0], &mut Vec::new());
            assert_eq!(again, Err(error));
        }
    }
}

#[test]
fn errors_say_what_the_code_means() {
    let words: Vec<String> = (1..=9).map(|code| SocksError::Refused(code).to_string()).collect();
    assert_eq!(words[1], "the SOCKS proxy refused: not allowed by its rules");
    assert_eq!(words[4], "the SOCKS proxy refused: connection refused");
    assert_eq!(words[8], "the SOCKS proxy refused: unknown reply code");
    let mut different = words.clone();
    different.dedup();
    assert_eq!(different, words);
    assert!(SocksError::Version(0x48).to_string().ends_with("begins with 0x48"));
}

#[test]
fn what_does_not_fit_into_a_message_is_refused() {
    let text = |bytes| "x".repeat(bytes);
    for (bytes, fits) in [(0, false), (1, true), (255, true), (256, false)] {
        let length = if fits { Ok(()) } else { Err(SocksError::LoginLength) };
        assert_eq!(SocksLogin::new(text(bytes), text(1)).map(|_| ()), length);
        assert_eq!(SocksLogin::new(text(1), text(bytes)).map(|_| ()), length);
        let mut out = Vec::new();
        let target = SocksTarget::Name(text(bytes), 1);
        let started = Socks::start(&target, None, &mut out).map(|_| ());
        assert_eq!(started, if fits { Ok(()) } else { Err(SocksError::NameLength) });
        assert_eq!(out.is_empty(), !fits, "nothing is said to the proxy");
    }
}

#[test]
fn the_password_is_never_shown() {
    let shown = format!("{:?}", login());
    assert!(shown.contains("farm") && !shown.contains("s3cret"), "{shown}");
    let bytes = format!("{:?}", b"s3cret");
    let shown = format!("{:?}", start(&name(), Some(&login())).0);
    assert!(shown.contains("Method") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn whatever_a_proxy_says_any_split_means_the_same(
        begins in prop::sample::select(vec![vec![], vec![5, 0], vec![5, 2, 1, 0], vec![5, 0, 5, 0, 0, 3]]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..400,
    ) {
        let bytes = [begins, rest].concat();
        let (mut one, _) = start(&name(), Some(&login()));
        let (mut other, _) = start(&name(), Some(&login()));
        let whole = hears(&mut one, &bytes, bytes.len().max(1));
        prop_assert_eq!(hears(&mut other, &bytes, size), whole);
        prop_assert!(other.held.len() <= REPLY_BYTES_MAX);
    }
}
