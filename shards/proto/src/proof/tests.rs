//! Answers that are known: blocks that are in the chain, and shares that miners' firmware is tested with.

use super::hash::{Proof, of_header};
use super::work::{Extranonce1, Trial, Work};
use super::works::Works;
use crate::limits::{WORKS_BYTES_MAX, WORKS_MAX, WORKS_MIN};
use crate::message::{MinerMessage, Submit};
use crate::tick::Tick;
use crate::wire::Parser;

/// The coinbase of the first block, cut where an extranonce could be: `coinbase1`, `extranonce1`, `extranonce2`, `coinbase2`.
const GENESIS: [&str; 4] = [
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104",
    "45546865",
    "2054696d",
    "65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062\
     616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef\
     38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000",
];
/// That of block 170, in which the first payment stands.
const BLOCK_170: [&str; 4] = [
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff0704ff",
    "ff",
    "001d",
    "0102FFFFFFFF0100f2052a01000000434104d46c4968bde02899d2aa0963367c7a6ce34eec332b32e42e5f3407e052d64ac625da6f0718e7b302\
     140434bd725706957c092db53805b821a85b23a7ac61725bac00000000",
];
const PAYMENT_170: &str = "169e1e83e930853391bc6f35f605c6754cfead57cf8387639d3b4096c54f18f4";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn shown(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The prevhash of a job as pools write it.
fn words(hash: &str) -> String {
    let mut bytes = hex(hash);
    bytes.reverse();
    bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    shown(&bytes)
}

fn work(params: &str) -> Work {
    let mut work = Work::default();
    let line = format!("{{\"method\":\"mining.notify\",\"params\":[{params}]}}");
    let read =
        Parser::default().read(line.as_bytes(), |envelope| work.read(envelope.params.unwrap(), Tick(1)));
    assert_eq!(read, Ok(true), "{params}");
    work
}

fn submit<R>(params: &str, then: impl FnOnce(&Submit<'_>) -> R) -> R {
    let line = format!("{{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"a.b\",\"j\",{params}]}}");
    let read = Parser::default().read(line.as_bytes(), |envelope| match MinerMessage::read(envelope) {
        Ok((_, MinerMessage::Submit(submit))) => then(&submit),
        other => panic!("{other:?}"),
    });
    read.unwrap()
}

/// A job and its share: the hash of the block, and of what it must be.
struct Case {
    coinbase: [&'static str; 4],
    branches: &'static str,
    /// As people write it.
    prev_hash: &'static str,
    version: u32,
    nbits: u32,
    /// Time and nonce, and perhaps version bits, as a miner writes them.
    share: &'static str,
    mask: u32,
}

impl Case {
    fn genesis() -> Case {
        Case {
            coinbase: GENESIS,
            branches: "",
            prev_hash: "0000000000000000000000000000000000000000000000000000000000000000",
            version: 1,
            nbits: 0x1d00_ffff,
            share: r#""495fab29","7c2bac1d""#,
            mask: 0,
        }
    }

    fn prove(&self) -> (Proof, Work) {
        let Case { coinbase, branches, prev_hash, version, nbits, share, mask } = self;
        let [coinbase1, extranonce1, extranonce2, coinbase2] = coinbase.map(|part| part.replace(' ', ""));
        let prev_hash = words(prev_hash);
        let work = work(&format!(
            r#""j","{prev_hash}","{coinbase1}","{coinbase2}",[{branches}],"{version:08x}","{nbits:08x}","00000000",true"#
        ));
        let id = Works::default().keep(Work::default()).unwrap();
        let trial = submit(&format!("\"{extranonce2}\",{share}"), |submit| {
            Trial::of(submit, id, work.version, *mask, 0).unwrap()
        });
        (work.prove(&trial, &Extranonce1::read(extranonce1.as_bytes()).unwrap()), work)
    }
}

#[test]
fn blocks_of_the_chain_have_their_hashes() {
    let genesis = Case::genesis();
    let (proof, work) = genesis.prove();
    assert_eq!(shown(&proof.hash()), "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f");
    assert!((proof.difficulty() - 2_536.426_298_445_310_3).abs() < 1e-9, "{}", proof.difficulty());
    assert!(proof.meets(work.nbits) && !proof.meets(0x1b00_ffff));

    let branch = format!("\"{PAYMENT_170}\"").leak();
    let second = Case {
        coinbase: BLOCK_170,
        branches: branch,
        prev_hash: "000000002a22cfee1f2c846adbd12b3e183d4f97683f85dad08a79780a84bd55",
        share: r#""496AB951","709e3e28""#,
        ..Case::genesis()
    };
    let (proof, work) = second.prove();
    assert_eq!(shown(&proof.hash()), "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee");
    assert!(proof.meets(work.nbits));
    let other = Case { share: r#""496ab951","709e3e29""#, ..second };
    assert!(!other.prove().0.meets(work.nbits), "with the next nonce it is none");
}

#[test]
fn version_bits_are_taken_within_the_mask() {
    // The version of the first block is one: here it is made of another and of what the miner rolls.
    let rolled = Case {
        version: 0x0000_2000,
        share: r#""495fab29","7c2bac1d","00000001""#,
        mask: 0x0000_2001,
        ..Case::genesis()
    };
    assert_eq!(rolled.prove().0, Case::genesis().prove().0);
    let outside = submit(r#""00","0","0","4""#, |submit| {
        let id = Works::default().keep(Work::default()).unwrap();
        (Trial::of(submit, id, 1, 3, 0), Trial::of(submit, id, 1, 7, 0).is_some())
    });
    assert_eq!(outside, (None, true));
    let half_a_byte = submit(r#""000","0","0""#, |submit| {
        Trial::of(submit, Works::default().keep(Work::default()).unwrap(), 1, 0, 0)
    });
    assert_eq!(half_a_byte, None);
}

#[test]
fn headers_that_are_known_have_their_difficulty() {
    for (header, difficulty) in [
        // Block 125,552, as it is explained everywhere.
        (
            "0100000081cd02ab7e569e8bcd9317e2fe99f2de44d49ab2b8851ba4a308000000000000e320b6c2fffc8d750423db8b1eb942ae710e951e\
             d797f7affc8892b0f1fc122bc7f5d74df2b9441a42a14695",
            35_987_218_905.508_736,
        ),
        // Of the tests of ESP-Miner.
        (
            "040000204595850c738349a3fa5274a511b72ec265a4f23d5243050000000000000000005bdc1968499c3393873edf8e07a1c3a50a97fc3a\
             9d1a376bbf77087dd63778ebb52570643aae0517d19e020a",
            683.510_936_731_298_2,
        ),
        (
            "04000020fc102bd0ea11470daf05a8e133a8a8505e21a2122b7f010000000000000000006d0359c451434605c52a5a9ce074340be47c2c63\
             840731f9edf1db3f26b1cdd9a9f16f643aae051747896e27",
            18.043_465_815_769_544,
        ),
    ] {
        let found = Proof(of_header(&hex(header).try_into().unwrap())).difficulty();
        assert!((found / difficulty - 1.0).abs() < 1e-15, "{found} {difficulty}");
    }
}

/// A job that is another for each number.
fn numbered(number: usize, bytes: usize, at: u64) -> Work {
    let mut work = work(&format!(
        r#""j","{}","{:08x}","{}",[],"20000000","1d00ffff","00000000",true"#,
        "00".repeat(32),
        number,
        "00".repeat(bytes)
    ));
    work.at = Tick(at);
    work
}

#[test]
fn jobs_are_kept_within_their_bounds_and_the_oldest_are_forgotten() {
    let mut works = Works::default();
    let first = works.keep(numbered(0, 10, 0)).unwrap();
    for number in 1..=WORKS_MAX {
        assert!(works.keep(numbered(number, 10, 1)).is_some());
        works.make_room(Tick(1), 100, 0);
    }
    assert!(works.sizes().0 < WORKS_MAX && works.get(first).is_none());
    let newest = works.keep(numbered(9_999, 10, 2)).unwrap();
    works.make_room(Tick(500), 100, 0);
    assert_eq!(
        (works.sizes().0, works.get(newest).is_some()),
        (WORKS_MIN - 1, true),
        "some are kept however old"
    );
    for number in 0..200 {
        works.make_room(Tick(3), 100, 20_000);
        works.keep(numbered(number, 20_000, 3));
        assert!(works.sizes().1 <= WORKS_BYTES_MAX);
    }
    assert!(works.sizes().1 > WORKS_BYTES_MAX / 2 && works.get(newest).is_none());
}

#[test]
fn a_job_that_comes_again_is_the_same_whatever_its_id() {
    let mut works = Works::default();
    let mut learn = |id: &str, coinbase: &str| {
        let params = format!(
            r#"{{"params":["{id}","{}","{coinbase}","",[],"20000000","1d00ffff","00000000",true]}}"#,
            "00".repeat(32)
        );
        let learned = Parser::default()
            .read(params.as_bytes(), |envelope| works.learn(envelope.params.unwrap(), Tick(1), 100).unwrap());
        let id = learned.unwrap();
        (id, works.get(id).unwrap().job.clone())
    };
    let one = learn("one", "01");
    assert_eq!((learn("one", "01"), one.1.as_str()), (one.clone(), "one"));
    let other = learn("two", "02");
    assert_ne!(one.0, other.0);
    assert_eq!(learn("three", "01"), (one.0, String::new()), "under which of two ids is not known");
    assert_eq!(other.1, "two");
}

#[test]
fn what_a_share_in_flight_costs_is_known() {
    assert_eq!(size_of::<Option<Trial>>(), 36);
    assert!(size_of::<super::Claim>() <= 104, "{}", size_of::<super::Claim>());
}

#[test]
fn what_is_no_hexadecimal_is_no_extranonce() {
    for digits in ["", "00", "aAfF", &"00".repeat(28)] {
        assert!(Extranonce1::read(digits.as_bytes()).is_some(), "{digits}");
    }
    for digits in ["0", "0g", "g0", "\u{e9}", " 0", &"00".repeat(29)] {
        assert!(Extranonce1::read(digits.as_bytes()).is_none(), "{digits}");
    }
}
