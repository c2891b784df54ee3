//! A corpus of good headers, cut at each byte, and of bad ones with the reason of each; then whatever comes.

use super::*;
use proptest::prelude::*;

fn v2(version_command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE.as_slice(), &[version_command, kind], &length, rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x0f, 0xa0, 0x0d, 0x05];

fn v6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    [source.octets().as_slice(), &Ipv6Addr::LOCALHOST.octets(), &[0x0f, 0xa0, 0x0d, 0x05]].concat()
}

fn line(text: &str) -> Vec<u8> {
    format!("PROXY {text}\r\n").into_bytes()
}

/// Good headers with the address that each tells.
fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let longest = "UNKNOWN ".to_owned() + &"x".repeat(V1_BYTES_MAX - "PROXY UNKNOWN \r\n".len());
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let with_extensions = [V4.as_slice(), &[4, 0, 3, 1, 2, 3]].concat();
    let longest_v2 = [V4.as_slice(), &[0; V2_REST_BYTES_MAX - 12]].concat();
    vec![
        (line("TCP4 192.0.2.7 198.51.100.1 4000 3333"), Some("192.0.2.7:4000")),
        (line("TCP4 255.255.255.255 255.255.255.255 65535 65535"), Some("255.255.255.255:65535")),
        (line("TCP4 0.0.0.0 0.0.0.0 0 0"), Some("0.0.0.0:0")),
        (line("TCP6 2001:db8::7 ::1 4000 3333"), Some("[2001:db8::7]:4000")),
        (
            line(&format!("TCP6 {full} {full} 65535 65535")),
            Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (line("TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4000 3333"), Some("192.0.2.7:4000")),
        (line("UNKNOWN"), None),
        (line("UNKNOWN ffff::1 nonsense  70000"), None),
        (line(&longest), None),
        (v2(0x21, 0x11, &V4), Some("192.0.2.7:4000")),
        (v2(0x21, 0x11, &with_extensions), Some("192.0.2.7:4000")),
        (v2(0x21, 0x11, &longest_v2), Some("192.0.2.7:4000")),
        (v2(0x21, 0x21, &v6("2001:db8::7")), Some("[2001:db8::7]:4000")),
        (v2(0x21, 0x21, &v6("::ffff:192.0.2.7")), Some("192.0.2.7:4000")),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x00, &V4), None),
        (v2(0x21, 0x12, &V4), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &V4), None),
        (v2(0x20, 0xff, &[1, 2, 3]), None),
    ]
}

#[test]
fn a_good_header_is_taken_when_it_is_whole_and_not_before() {
    for (bytes, source) in good() {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let source = source.map(|source| source.parse().unwrap());
        let header = Header { source, length: bytes.len() };
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} bytes of {shown:?}");
        }
        assert_eq!(parse(&bytes), Ok(Some(header)), "{shown:?}");
        for behind in [b"{".as_slice(), b"\r\n", b"\n", b"PROXY ", V2_SIGNATURE, &[0; 1000]] {
            let bytes = [&bytes, behind].concat();
            assert_eq!(parse(&bytes), Ok(Some(header)), "{shown:?} and {behind:x?}");
        }
        assert!(header.length <= HEADER_BYTES_MAX);
    }
}

#[test]
fn a_bad_line_is_refused_with_its_reason() {
    let cases = [
        ("TCP4  192.0.2.7 198.51.100.1 4000 3333", ProxyError::Form),
        (" TCP4 192.0.2.7 198.51.100.1 4000 3333", ProxyError::Form),
        ("TCP4 192.0.2.7 198.51.100.1 4000 3333 ", ProxyError::Form),
        ("TCP4 192.0.2.7 198.51.100.1 4000 3333 x", ProxyError::Form),
        ("TCP4 192.0.2.7 198.51.100.1 4000", ProxyError::Form),
        ("TCP4", ProxyError::Form),
        ("", ProxyError::Form),
        ("TCP4\t192.0.2.7 198.51.100.1 4000 3333", ProxyError::Family),
        ("TCP5 192.0.2.7 198.51.100.1 4000 3333", ProxyError::Family),
        ("tcp4 192.0.2.7 198.51.100.1 4000 3333", ProxyError::Family),
        ("UNKNOWNx", ProxyError::Family),
        ("TCP4 192.0.2.256 198.51.100.1 4000 3333", ProxyError::Address),
        ("TCP4 192.0.2 198.51.100.1 4000 3333", ProxyError::Address),
        ("TCP4 192.0.2.07 198.51.100.1 4000 3333", ProxyError::Address),
        ("TCP4 2001:db8::7 198.51.100.1 4000 3333", ProxyError::Address),
        ("TCP4 192.0.2.7 ::1 4000 3333", ProxyError::Address),
        ("TCP6 192.0.2.7 198.51.100.1 4000 3333", ProxyError::Address),
        ("TCP6 fe80::1%eth0 ::1 4000 3333", ProxyError::Address),
        ("TCP6 [::1] ::1 4000 3333", ProxyError::Address),
        ("TCP4 192.0.2.7 198.51.100.1 65536 3333", ProxyError::Port),
        ("TCP4 192.0.2.7 198.51.100.1 4000 65536", ProxyError::Port),
        ("TCP4 192.0.2.7 198.51.100.1 +4000 3333", ProxyError::Port),
        ("TCP4 192.0.2.7 198.51.100.1 04000 3333", ProxyError::Port),
        ("TCP4 192.0.2.7 198.51.100.1 -1 3333", ProxyError::Port),
        ("TCP4 192.0.2.7 198.51.100.1 4000 0x10", ProxyError::Port),
    ];
    for (text, error) in cases {
        assert_eq!(parse(&line(text)), Err(error), "{text:?}");
    }
    assert_eq!(parse(b"PROXY TCP4 \xff\xfe 198.51.100.1 4000 3333\r\n"), Err(ProxyError::Form));
}

#[test]
fn a_line_ends_with_one_cr_and_lf_or_not_at_all() {
    let ends: [&[u8]; 5] = [b"\n", b"\r\r\n", b"\rx", b"\n\r", b"\r\0"];
    for end in ends {
        let bytes = [b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 3333", end].concat();
        assert_eq!(parse(&bytes), Err(ProxyError::LineEnd), "{end:?}");
    }
    let too_long = Err(ProxyError::TooLong(V1_BYTES_MAX));
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(parse(&endless[..V1_BYTES_MAX - 1]), Ok(None));
    assert_eq!(parse(&endless[..V1_BYTES_MAX]), too_long);
    assert_eq!(parse(&endless), too_long);
    // One byte more than the longest: the end of the line would be the 108th.
    let mut bytes = endless[..V1_BYTES_MAX - 1].to_vec();
    bytes.push(b'\r');
    assert_eq!(parse(&bytes), too_long);
    bytes.push(b'\n');
    assert_eq!(parse(&bytes), too_long);
}

#[test]
fn a_bad_binary_header_is_refused_with_its_reason() {
    let cases = [
        (v2(0x11, 0x11, &V4), ProxyError::Version(1)),
        (v2(0x31, 0x11, &V4), ProxyError::Version(3)),
        (v2(0x22, 0x11, &V4), ProxyError::Command(2)),
        (v2(0x2f, 0x11, &V4), ProxyError::Command(15)),
        (v2(0x21, 0x13, &V4), ProxyError::Family),
        (v2(0x21, 0x41, &V4), ProxyError::Family),
        (v2(0x21, 0xff, &V4), ProxyError::Family),
        (v2(0x21, 0x11, &V4[..11]), ProxyError::TooShort),
        (v2(0x21, 0x11, &[]), ProxyError::TooShort),
        (v2(0x21, 0x21, &V4), ProxyError::TooShort),
        (v2(0x21, 0x21, &[0; 35]), ProxyError::TooShort),
        (v2(0x21, 0x11, &[0; V2_REST_BYTES_MAX + 1]), ProxyError::TooLong(HEADER_BYTES_MAX)),
        (v2(0x20, 0x00, &[0; 65_535]), ProxyError::TooLong(HEADER_BYTES_MAX)),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(&bytes), Err(error), "{:x?}", &bytes[..16]);
        assert_eq!(parse(&bytes[..16]), Err(error), "its first 16 bytes tell");
    }
}

#[test]
fn what_is_no_header_is_seen_at_its_first_wrong_byte() {
    let signatures: [&[u8]; 2] = [V1_SIGNATURE, V2_SIGNATURE];
    for signature in signatures {
        for at in 0..signature.len() {
            let mut bytes = signature[..=at].to_vec();
            assert_eq!(parse(&bytes), Ok(None));
            bytes[at] ^= 0x20;
            assert_eq!(parse(&bytes), Err(ProxyError::Absent), "{bytes:x?}");
        }
    }
    assert_eq!(parse(b"PROXY\r\n"), Err(ProxyError::Absent));
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("TCP4".to_owned()),
        Just("TCP6".to_owned()),
        Just("UNKNOWN".to_owned()),
        Just("\r\n".to_owned()),
        "[0-9a-f:.]{0,20}",
        "[ -~]{0,5}",
    ];
    let text =
        prop::collection::vec(word, 0..8).prop_map(|words| [b"PROXY ", words.join(" ").as_bytes()].concat());
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    let binary = (0x1f_u8..0x24, prop_oneof![Just(0x11), Just(0x21), any::<u8>()], bytes.clone())
        .prop_map(|(command, kind, rest)| v2(command, kind, &rest));
    prop_oneof![text, binary, bytes]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// What was said of some bytes holds for whatever comes behind them.
    #[test]
    fn more_bytes_take_nothing_back(bytes in anything(), cut in any::<prop::sample::Index>()) {
        let part = &bytes[..cut.index(bytes.len() + 1)];
        let (said, later) = (parse(part), parse(&bytes));
        if said != Ok(None) {
            prop_assert_eq!(said, later);
        } else {
            prop_assert!(part.len() < HEADER_BYTES_MAX);
        }
        if let Ok(Some(header)) = later {
            prop_assert!(header.length <= bytes.len().min(HEADER_BYTES_MAX));
            prop_assert_eq!(parse(&bytes[..header.length - 1]), Ok(None));
        }
    }
}
