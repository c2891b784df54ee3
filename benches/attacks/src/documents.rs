//! Several hundred documents that are no Stratum: cut short, nested, doubled, of wrong bytes, of absurd numbers.
//!
//! Each is one line without its end. None of them is a request that a pool may ever see.

/// A request from which others are made by damage.
const WHOLE: &str =
    r#"{"id":4,"method":"mining.submit","params":["farm.rig","4f","00000000","5e8c1e2a","0000ab12"]}"#;
/// The same for the beginning of a connection.
const FIRST: &str = r#"{"id":"a\"b","method":"mining.authorize","params":["farm.\u0072ig","x"]}"#;
/// Nesting that a parser with a stack of its own may not survive.
const DEPTHS: [usize; 6] = [17, 64, 512, 2_000, 4_000, 8_000];
/// Digits of one number.
const DIGITS: [usize; 5] = [20, 40, 309, 4_000, 16_000];

/// All of them, each beginning with a brace, so that none is taken for something else than Stratum at its first byte.
#[must_use]
pub fn malformed() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    cut_short(&mut all);
    nested(&mut all);
    numbers(&mut all);
    doubled_keys(&mut all);
    wrong_bytes(&mut all);
    wrong_shapes(&mut all);
    all
}

fn cut_short(all: &mut Vec<Vec<u8>>) {
    for whole in [WHOLE, FIRST] {
        all.extend((1..whole.len()).map(|end| whole.as_bytes()[..end].to_vec()));
    }
    // One byte taken out: some of these are still JSON, but none is a share that names a job.
    let structural = |byte: u8| matches!(byte, b'{' | b'}' | b'[' | b']' | b'"' | b':' | b',');
    for (at, byte) in WHOLE.bytes().enumerate().skip(1) {
        if structural(byte) {
            let mut damaged = WHOLE.as_bytes().to_vec();
            damaged.remove(at);
            all.push(damaged);
        }
    }
}

fn nested(all: &mut Vec<Vec<u8>>) {
    for depth in DEPTHS {
        let open = format!(r#"{{"id":1,"method":"mining.ping","params":{}"#, "[".repeat(depth));
        all.push(open.clone().into_bytes());
        if 2 * depth < 16_000 {
            all.push(format!("{open}{}}}", "]".repeat(depth)).into_bytes());
        }
        if 5 * depth < 16_000 {
            all.push(format!("{}1", r#"{"a":"#.repeat(depth)).into_bytes());
        }
    }
}

fn numbers(all: &mut Vec<Vec<u8>>) {
    for digits in DIGITS {
        let number = "9".repeat(digits);
        all.push(format!(r#"{{"id":1,"method":"mining.submit","params":{number}}}"#).into_bytes());
        all.push(format!(r#"{{"id":1,"method":{number}}}"#).into_bytes());
    }
    for number in
        ["1e999999", "-", "+1", "01", "0x10", "1.", ".5", "NaN", "Infinity", "-Infinity", "1e", "1e+"]
    {
        all.push(format!(r#"{{"id":1,"method":"mining.submit","params":[{number}]}}"#).into_bytes());
        all.push(format!(r#"{{"id":{number},"method":7}}"#).into_bytes());
    }
}

fn doubled_keys(all: &mut Vec<Vec<u8>>) {
    for key in [r#""id":2"#, r#""method":"mining.ping""#, r#""params":[]"#, r#""method":null"#] {
        all.push(format!(r#"{{"id":1,"method":"mining.submit","params":[],{key}}}"#).into_bytes());
    }
    all.push(br#"{"id":1,"method":"mining.submit","params":[],"\u006dethod":"mining.ping"}"#.to_vec());
}

fn wrong_bytes(all: &mut Vec<Vec<u8>>) {
    let inside: [&[u8]; 16] = [
        b"\x80",
        b"\xff",
        b"\xfe\xff",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\x00",
        b"\x01",
        b"\x1b[31m",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"\\u12",
        b"\\x41",
        b"\t",
    ];
    for bytes in inside {
        for (before, behind) in [
            (&br#"{"id":1,"method":"mining."#[..], &br#"","params":[]}"#[..]),
            (br#"{"id":1,"method":"mining.submit","params":[""#, br#""]}"#),
            (br#"{"id":1,"method":"mining.submit","params":[],"#, br#"}"#),
        ] {
            all.push([before, bytes, behind].concat());
        }
    }
}

fn wrong_shapes(all: &mut Vec<Vec<u8>>) {
    for params in ["null", "7", "true", "\"farm\"", "{}", "[]", "[null]", "[[],[],[],[],[]]", "[1,2,3,4,5]"] {
        all.push(format!(r#"{{"id":1,"method":"mining.submit","params":{params}}}"#).into_bytes());
    }
    for method in ["null", "7", "true", "[]", "{}"] {
        all.push(format!(r#"{{"id":1,"method":{method},"params":[]}}"#).into_bytes());
    }
    for id in ["[]", "{}", "true", "[1]"] {
        all.push(format!(r#"{{"id":{id},"method":"mining.submit","params":[]}}"#).into_bytes());
    }
    for document in [
        "{}",
        r#"{"id":1}"#,
        r#"{"method":"mining.submit"}"#,
        r#"{"id":1,"method":"mining.submit","params":[]}{"id":2}"#,
        r#"{"id":1,"method":"mining.submit","params":[]} trailing"#,
        r#"{"id":1 "method":"mining.submit"}"#,
        r#"{'id':1,'method':'mining.submit'}"#,
        r#"{"id":1,"method":"mining.submit","params":[],}"#,
        "{/* note */}",
    ] {
        all.push(document.as_bytes().to_vec());
    }
    for method in ["mining.notify", "mining.set_difficulty", "mining.set_extranonce", "client.reconnect"] {
        all.push(format!(r#"{{"id":1,"method":"{method}","params":[]}}"#).into_bytes());
    }
    all.push(format!(r#"{{"id":1,"method":"{}","params":[]}}"#, "m".repeat(15_000)).into_bytes());
    all.push(
        format!(r#"{{"id":"{}","method":"mining.submit","params":[]}}"#, "i".repeat(15_000)).into_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_hundreds_of_single_lines_that_begin_with_a_brace() {
        let all = malformed();
        assert!(all.len() >= 300, "{}", all.len());
        assert!(all.iter().all(|document| document.starts_with(b"{") && !document.contains(&b'\n')));
        assert!(
            all.iter().all(|document| document.len() < 16 * 1024 - 1),
            "the cap of lines is not what these test"
        );
    }
}
