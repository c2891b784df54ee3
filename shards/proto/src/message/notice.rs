//! What a pool may ask a miner, or tell it, besides its work.
//!
//! Firmware copies what it reads into buffers that it has taken measure of only in its author's mind. It gets nothing here
//! that Stratum does not know, and nothing that is longer, or of another shape, than Stratum has it.

use crate::limits::SHOWN_BYTES_MAX;
use crate::message::is_hex_text;
use crate::wire::{Json, JsonKind};

/// Parameters that a request without any may be sent with.
const BARE_MAX: usize = 4;
/// Versions that `mining.multi_version` may name: the firmware that knows it has room for these.
const VERSIONS_MAX: usize = 4;

/// `client.show_message`: one text, to be shown on a line.
pub(super) fn is_text(params: Option<Json<'_>>) -> bool {
    let params = params.filter(|params| params.len() == 1);
    params.and_then(|params| params.at(0)).and_then(|text| text.as_str()).is_some_and(is_shown)
}

/// `client.get_version`, `mining.ping` and `pong`, which have no parameters; a few scalars hurt nobody.
pub(super) fn is_bare(params: Option<Json<'_>>) -> bool {
    let Some(params) = params else { return true };
    match params.kind() {
        JsonKind::Null => true,
        JsonKind::Array => params.len() <= BARE_MAX && params.items().all(is_scalar),
        JsonKind::Bool(_) | JsonKind::Number | JsonKind::Str | JsonKind::Object => false,
    }
}

/// `mining.multi_version`, by which Antminers learned of version bits before BIP310: versions as numbers or in hexadecimal.
pub(super) fn is_versions(params: Option<Json<'_>>) -> bool {
    let is_version = |version: Json<'_>| match version.as_str() {
        Some(text) => (1..=8).contains(&text.len()) && is_hex_text(text),
        None => version.as_i64().is_some_and(|number| u32::try_from(number).is_ok()),
    };
    params.is_some_and(|params| (1..=VERSIONS_MAX).contains(&params.len()) && params.items().all(is_version))
}

fn is_scalar(value: Json<'_>) -> bool {
    match value.kind() {
        JsonKind::Null | JsonKind::Bool(_) | JsonKind::Number => true,
        JsonKind::Str => value.as_str().is_some_and(is_shown),
        JsonKind::Array | JsonKind::Object => false,
    }
}

/// A text that fits, and that does nothing to a terminal.
fn is_shown(text: &str) -> bool {
    text.len() <= SHOWN_BYTES_MAX && !text.chars().any(char::is_control)
}
