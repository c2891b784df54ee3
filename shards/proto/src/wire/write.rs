//! Writes the few lines that the proxy itself says, and splices changes into lines that it relays.

use super::read::Span;

/// Appends `{"id":…,"result":<result>,"error":<error>}` and a line feed.
pub fn answer(out: &mut Vec<u8>, id: &[u8], result: &[u8], error: &[u8]) {
    for part in [b"{\"id\":".as_slice(), id, b",\"result\":", result, b",\"error\":", error, b"}\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends `[code,"text",null]`. `text` is one of our own constants and needs no escaping.
#[must_use]
pub fn error(code: i32, text: &str) -> String {
    format!("[{code},\"{text}\",null]")
}

/// Appends `line` with each span replaced by its new bytes. Spans are in rising order and do not overlap.
pub fn splice(out: &mut Vec<u8>, line: &[u8], changes: &[(Span, &[u8])]) {
    let mut from = 0;
    for (span, bytes) in changes {
        debug_assert!(from <= span.start && span.start <= span.end && span.end <= line.len());
        out.extend_from_slice(&line[from..span.start]);
        out.extend_from_slice(bytes);
        from = span.end;
    }
    out.extend_from_slice(&line[from..]);
}

/// Appends `text` as the inside of a JSON string.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}
