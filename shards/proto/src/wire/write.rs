//! Writes the few lines that the proxy itself says, and splices changes into lines that it relays.

use super::read::{Envelope, Span};

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

/// Appends the line of a message with this id in the place of its own.
pub fn with_id(out: &mut Vec<u8>, envelope: &Envelope<'_>, id: &[u8]) {
    match envelope.id {
        Some(span) => splice(out, envelope.line, &[(span, id)]),
        None => insert_id(out, envelope.line, id),
    }
}

/// Appends a notification; LuxOS wants an `id` in it, be it null, so one that is missing is put in.
pub fn with_some_id(out: &mut Vec<u8>, envelope: &Envelope<'_>) {
    match envelope.id {
        Some(_) => out.extend_from_slice(envelope.line),
        None => insert_id(out, envelope.line, b"null"),
    }
}

fn insert_id(out: &mut Vec<u8>, line: &[u8], id: &[u8]) {
    match line.iter().position(|byte| *byte == b'{') {
        Some(brace) => {
            let inside = Span { start: brace + 1, end: brace + 1 };
            splice(out, line, &[(inside, b"\"id\":"), (inside, id), (inside, b",")]);
        }
        None => out.extend_from_slice(line),
    }
}

/// Appends `mining.set_version_mask`.
pub fn set_version_mask(out: &mut Vec<u8>, mask: u32) {
    let line =
        format!("{{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"{mask:08x}\"]}}\n");
    out.extend_from_slice(line.as_bytes());
}

/// Appends `mining.set_extranonce`; `extranonce1` in hexadecimal, `size` in bytes.
pub fn set_extranonce(out: &mut Vec<u8>, extranonce1: &[u8], size: u8) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"");
    out.extend_from_slice(extranonce1);
    out.extend_from_slice(format!("\",{size}]}}\n").as_bytes());
}

/// Appends `mining.set_difficulty` with the difficulty that Stratum begins with.
pub fn set_difficulty_one(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}\n");
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
