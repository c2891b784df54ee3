//! Recognizes the line that a pool says most: the answer `true` to a share, in any order of its keys and with any blanks.
//!
//! A relay reads one such line for each share, and a tape for it costs more than all else that is done with it. It refuses
//! to judge: a line that is anything else in the least, be it better or worse, is left to the tape.

use super::read::Span;

/// An answer whose result is `true` and whose error, if it has one, is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) id: Span,
    pub(super) has_error: bool,
}

/// Such an answer has less than 50 bytes, with a long id perhaps 80. A share is longer, and spared the look.
const BYTES_MAX: usize = 96;

/// Reads `line` if it is such an answer.
pub(super) fn read(line: &[u8]) -> Option<Accepted> {
    if line.len() > BYTES_MAX {
        return None;
    }
    let mut at = expect(line, blanks(line, 0), b"{")?;
    let (mut id, mut has_result, mut has_error) = (None, false, false);
    loop {
        at = blanks(line, at);
        // Each key may stand here once; what a second one means is for the tape to say.
        match line.get(at + 1)? {
            b'i' if id.is_none() => {
                let span = scalar(line, key(line, at, b"\"id\"")?)?;
                at = span.end;
                id = Some(span);
            }
            b'r' if !has_result => {
                at = expect(line, key(line, at, b"\"result\"")?, b"true")?;
                has_result = true;
            }
            b'e' if !has_error => {
                at = expect(line, key(line, at, b"\"error\"")?, b"null")?;
                has_error = true;
            }
            _ => return None,
        }
        at = blanks(line, at);
        match line.get(at)? {
            b',' => at += 1,
            b'}' => break,
            _ => return None,
        }
    }
    let is_whole = blanks(line, at + 1) == line.len();
    Some(Accepted { id: id.filter(|_| has_result && is_whole)?, has_error })
}

/// The position behind a key, its colon and the blanks around that.
fn key<const N: usize>(line: &[u8], at: usize, name: &[u8; N]) -> Option<usize> {
    let colon = blanks(line, expect(line, at, name)?);
    Some(blanks(line, expect(line, colon, b":")?))
}

/// The position behind `text`, if it stands at `at`.
fn expect<const N: usize>(line: &[u8], at: usize, text: &[u8; N]) -> Option<usize> {
    (line.get(at..at + N)? == text).then_some(at + N)
}

fn blanks(line: &[u8], from: usize) -> usize {
    let mut at = from;
    while matches!(line.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// A whole number without a sign, or a string of plain characters with its quotes.
fn scalar(line: &[u8], start: usize) -> Option<Span> {
    let mut end = start;
    match line.get(start)? {
        b'0' => end += 1,
        b'1'..=b'9' => {
            while line.get(end).is_some_and(u8::is_ascii_digit) {
                end += 1;
            }
        }
        b'"' => {
            end += 1;
            while matches!(line.get(end)?, b' '..=b'~') && !matches!(line[end], b'"' | b'\\') {
                end += 1;
            }
            end = expect(line, end, b"\"")?;
        }
        _ => return None,
    }
    Some(Span { start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_answers_are_seen_in_every_spelling() {
        for (line, id, has_error) in [
            (r#"{"id":4,"result":true,"error":null}"#, "4", true),
            ("{\"result\": true, \"error\": null, \"id\": 17}\r\n", "17", true),
            (r#" { "id" : "a b" , "result" : true } "#, r#""a b""#, false),
            (r#"{"error":null,"result":true,"id":0}"#, "0", true),
        ] {
            let accepted = read(line.as_bytes()).unwrap();
            assert_eq!((&line[accepted.id.start..accepted.id.end], accepted.has_error), (id, has_error));
        }
    }

    #[test]
    fn everything_else_is_left_to_the_tape() {
        for line in [
            "",
            "{",
            "{}",
            r#"{"id":4,"result":true,"error":null"#,
            r#"{"id":4,"result":true,"error":null}}"#,
            r#"{"id":4,"result":true,"error":null,}"#,
            r#"{"id":4,"result":true,"error":null} {"#,
            r#"{"id":4,"result":false,"error":null}"#,
            r#"{"id":4,"result":trueish,"error":null}"#,
            r#"{"id":4,"result":true,"error":[23,"low",null]}"#,
            r#"{"id":4,"id":5,"result":true}"#,
            r#"{"id":04,"result":true,"error":null}"#,
            r#"{"id":-4,"result":true,"error":null}"#,
            r#"{"id":4.0,"result":true,"error":null}"#,
            r#"{"id":null,"result":true,"error":null}"#,
            r#"{"id":"a\"b","result":true,"error":null}"#,
            r#"{"id":"é","result":true,"error":null}"#,
            r#"{"id":"open,"result":true}"#,
            r#"{"result":true,"error":null}"#,
            r#"{"id":4,"error":null}"#,
            r#"{"id":4,"result":true,"error":null,"reject-reason":"x"}"#,
            r#"{"id":4,"method":"mining.submit","params":[]}"#,
        ] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }
}
