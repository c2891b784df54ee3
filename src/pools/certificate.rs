//! What an operator wants to know of a certificate: who, by whom, until when, and its pin.
//!
//! It trusts nothing and checks no signature. webpki does that, but does not tell dates or names of people.

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use std::time::{Duration, UNIX_EPOCH};
use webpki::EndEntityCert;

/// SHA-256 of the public key (`SubjectPublicKeyInfo`) of a certificate.
pub type Pin = [u8; 32];

/// Bytes of a name that are shown; a stranger wrote it.
const NAME_BYTES_MAX: usize = 200;
/// The last second that has a date of four digits: 9999-12-31 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

/// The facts of one certificate. Texts are free of control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who holds it: `CN=pool.example, O=Pool`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Seconds since 1970 from which it is valid.
    pub not_before: u64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: u64,
    /// Whether holder and signer have the same name.
    pub self_signed: bool,
    /// The pin of its key.
    pub pin: Pin,
}

impl Certificate {
    /// Reads an X.509 certificate; `None` when it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
        let key = EndEntityCert::try_from(der).ok()?.subject_public_key_info();
        let mut whole = Der(der.as_ref()).sequence()?;
        let mut fields = whole.sequence()?;
        // The version is optional, in a tag of its own.
        if fields.0.first() == Some(&0xa0) {
            fields.element()?;
        }
        let _serial = fields.element()?;
        let _algorithm = fields.element()?;
        let issuer = fields.sequence()?;
        let mut validity = fields.sequence()?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = fields.sequence()?;
        let self_signed = issuer.0 == subject.0;
        let hash = digest(&SHA256, key.as_ref());
        Some(Certificate {
            subject: subject.name()?,
            issuer: issuer.name()?,
            not_before,
            not_after,
            self_signed,
            pin: hash.as_ref().try_into().ok()?,
        })
    }
}

/// A pin as it is written: `sha256/BASE64`.
pub fn pin_text(pin: &Pin) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "sha256/".to_owned();
    for three in pin.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Seconds since 1970 as `2026-11-24 21:45:00 UTC`.
pub fn date_text(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC")
}

/// What is left to read of a DER text. No input makes it panic.
struct Der<'a>(&'a [u8]);

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
/// The parts of a name that are shown, by the last byte of their id 2.5.4.N.
const PARTS: [(u8, &str); 4] = [(3, "CN"), (10, "O"), (11, "OU"), (6, "C")];

impl<'a> Der<'a> {
    /// The next element: its tag and what is in it.
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..0x80 => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            0x80 | 0x85.. => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn tagged(&mut self, wanted: u8) -> Option<Der<'a>> {
        self.element().filter(|(tag, _)| *tag == wanted).map(|(_, content)| Der(content))
    }

    fn sequence(&mut self) -> Option<Der<'a>> {
        self.tagged(SEQUENCE)
    }

    /// Seconds since 1970, and 0 for what was before.
    fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.element()?;
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = number(year)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERAL_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (number(year)?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 || !rest.is_ascii() {
            return None;
        }
        let part =
            |at: usize, least, most| number(&rest[at..at + 2]).filter(|value| (least..=most).contains(value));
        let days = days_since_1970(year, part(0, 1, 12)?, part(2, 1, 31)?);
        let seconds = part(4, 0, 23)? * 3600 + part(6, 0, 59)? * 60 + part(8, 0, 60)?;
        Some(u64::try_from(days * 86_400 + seconds).unwrap_or(0).min(LAST_SECOND))
    }

    /// The known parts of a name, in their order.
    fn name(self) -> Option<String> {
        let (mut sets, mut parts) = (self, Vec::new());
        while !sets.0.is_empty() {
            let mut set = sets.tagged(SET)?;
            while !set.0.is_empty() {
                let mut pair = set.sequence()?;
                let (id, (_, value)) = (pair.tagged(OBJECT_ID)?, pair.element()?);
                let known = PARTS.iter().find(|(last, _)| id.0 == [0x55, 4, *last]);
                if let Some((_, label)) = known {
                    parts.push(format!("{label}={}", String::from_utf8_lossy(value)));
                }
            }
        }
        Some(plain(&parts.join(", "), NAME_BYTES_MAX))
    }
}

/// A stranger's text for a screen or a log: no control characters, and not for ever.
pub(super) fn plain(text: &str, bytes_max: usize) -> String {
    let mut plain = String::new();
    for letter in text.chars().map(|letter| if letter.is_control() { '?' } else { letter }) {
        if plain.len() + letter.len_utf8() > bytes_max {
            plain.push('…');
            break;
        }
        plain.push(letter);
    }
    plain
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Days of the Gregorian calendar, counted in years that begin in March so that the odd day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn made() -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["pool.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "pool.example\n");
        params.distinguished_name.push(DnType::OrganizationName, "Pool & Söhne");
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        (params.self_signed(&key).unwrap().der().clone(), key)
    }

    #[test]
    fn a_certificate_tells_who_and_until_when() {
        let (der, key) = made();
        let read = Certificate::read(&der).unwrap();
        assert!(
            read.subject.contains("CN=pool.example?") && read.subject.contains("O=Pool & Söhne"),
            "{read:?}"
        );
        assert_eq!((&read.subject, read.self_signed), (&read.issuer, true));
        assert_eq!(date_text(read.not_before), "2024-02-29 00:00:00 UTC");
        assert_eq!(date_text(read.not_after), "2051-01-01 00:00:00 UTC");
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert_eq!(read.pin, digest(&SHA256, &spki).as_ref());
    }

    #[test]
    fn pins_are_written_in_base64() {
        assert_eq!(pin_text(&[0; 32]), format!("sha256/{}=", "A".repeat(43)));
        let counted: Pin = std::array::from_fn(|at| at as u8);
        assert_eq!(pin_text(&counted), "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(pin_text(&[255; 32]), format!("sha256/{}8=", "/".repeat(42)));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERAL_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERAL_TIME, "99991231235959Z", Some(LAST_SECOND)),
            (GENERAL_TIME, "99991231235960Z", Some(LAST_SECOND)),
            (GENERAL_TIME, "20001329120000Z", None),
            (GENERAL_TIME, "200002291200Z", None),
            (UTC_TIME, "70010100000éZ", None),
            (UTC_TIME, "+70101000000Z", None),
            (4, "700101000000Z", None),
        ] {
            let mut der = vec![tag, text.len() as u8];
            der.extend_from_slice(text.as_bytes());
            assert_eq!(Der(&der).time(), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), at in 0_usize..400, byte: u8) {
            let _ = (Der(&bytes).time(), Der(&bytes).name(), Der(&bytes).sequence().and_then(Der::name));
            let (der, _) = made();
            let mut spoilt = der.as_ref().to_vec();
            let place = at % spoilt.len();
            spoilt[place] = byte;
            let _ = Certificate::read(&CertificateDer::from(spoilt));
        }
    }
}
