//! One JSON object per line, parsed onto a simd-json tape with buffers that are used again for every line.
//!
//! simd-json works in place, so it works on a copy: the line itself stays as it came and can be forwarded.

use crate::limits::{JSON_DEPTH_MAX, MINER_LINE_BYTES_MAX};
use crate::wire::{Id, accepted};
use simd_json::tape::{Node, Tape};
use simd_json::{Buffers, StaticNode};

/// Why a line is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// Not JSON, or nested deeper than [`JSON_DEPTH_MAX`].
    Json,
    /// JSON, but not an object.
    NotObject,
    /// `id`, `method`, `params`, `result` or `error` stands in it twice: readers would disagree on its meaning.
    DuplicateKey,
    /// The id is an array, an object or a boolean.
    Id,
}

/// A range of bytes in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number
    Number,
    /// A string
    Str,
    /// An array
    Array,
    /// An object
    Object,
}

const TRUE: [Node<'static>; 1] = [Node::Static(StaticNode::Bool(true))];
const NULL: [Node<'static>; 1] = [Node::Static(StaticNode::Null)];

/// A value inside a parsed line.
#[derive(Debug, Clone, Copy)]
pub struct Json<'t> {
    nodes: &'t [Node<'t>],
    origin: usize,
    line: &'t [u8],
}

impl<'t> Json<'t> {
    /// Which kind of value this is.
    #[must_use]
    pub fn kind(&self) -> JsonKind {
        match self.nodes[0] {
            Node::String(_) => JsonKind::Str,
            Node::Object { .. } => JsonKind::Object,
            Node::Array { .. } => JsonKind::Array,
            Node::Static(StaticNode::Null) => JsonKind::Null,
            Node::Static(StaticNode::Bool(b)) => JsonKind::Bool(b),
            Node::Static(StaticNode::I64(_) | StaticNode::U64(_) | StaticNode::F64(_)) => JsonKind::Number,
        }
    }

    /// The decoded text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&'t str> {
        if let Node::String(text) = self.nodes[0] { Some(text) } else { None }
    }

    /// An integer that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.nodes[0] {
            Node::Static(StaticNode::I64(n)) => Some(n),
            Node::Static(StaticNode::U64(n)) => i64::try_from(n).ok(),
            Node::Static(StaticNode::F64(_) | StaticNode::Bool(_) | StaticNode::Null)
            | Node::String(_)
            | Node::Array { .. }
            | Node::Object { .. } => None,
        }
    }

    /// Any number, as a float.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "difficulties and waits, where 53 bits are plenty")]
    pub fn as_f64(&self) -> Option<f64> {
        match self.nodes[0] {
            Node::Static(StaticNode::F64(n)) => Some(n),
            Node::Static(StaticNode::I64(n)) => Some(n as f64),
            Node::Static(StaticNode::U64(n)) => Some(n as f64),
            Node::Static(StaticNode::Bool(_) | StaticNode::Null)
            | Node::String(_)
            | Node::Array { .. }
            | Node::Object { .. } => None,
        }
    }

    /// How many elements an array has; zero for anything else.
    #[must_use]
    pub fn len(&self) -> usize {
        if let Node::Array { len, .. } = self.nodes[0] { len } else { 0 }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of an array; none for anything else.
    #[must_use]
    pub fn items(&self) -> Items<'t> {
        let inside = if let Node::Array { .. } = self.nodes[0] {
            &self.nodes[1..nodes_of(&self.nodes[0])]
        } else {
            &[]
        };
        Items { rest: Json { nodes: inside, ..*self } }
    }

    /// Element `index` of an array.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Json<'t>> {
        self.items().nth(index)
    }

    /// The value of `key` in an object: the first, where it stands there twice.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Json<'t>> {
        self.fields().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The keys and values of an object; none for anything else.
    fn fields(&self) -> impl Iterator<Item = (&'t str, Json<'t>)> + use<'t> {
        let inside = if let Node::Object { .. } = self.nodes[0] {
            &self.nodes[1..nodes_of(&self.nodes[0])]
        } else {
            &[]
        };
        let mut items = Items { rest: Json { nodes: inside, ..*self } };
        std::iter::from_fn(move || Some((items.next()?.as_str()?, items.next()?)))
    }

    /// Where the bytes of a string stand in the line, without the quotes.
    #[must_use]
    pub fn string_span(&self) -> Option<Span> {
        let start = self.as_str()?.as_ptr() as usize - self.origin;
        Some(Span { start, end: string_end(self.line, start) })
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub struct Items<'t> {
    rest: Json<'t>,
}

impl<'t> Iterator for Items<'t> {
    type Item = Json<'t>;
    fn next(&mut self) -> Option<Json<'t>> {
        let size = nodes_of(self.rest.nodes.first()?);
        let (head, tail) = self.rest.nodes.split_at(size);
        self.rest.nodes = tail;
        Some(Json { nodes: head, ..self.rest })
    }
}

/// Nodes that a value takes on the tape, its own included.
fn nodes_of(node: &Node<'_>) -> usize {
    match node {
        Node::Array { count, .. } | Node::Object { count, .. } => count + 1,
        Node::String(_) | Node::Static(_) => 1,
    }
}

/// The top level of one message.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'t> {
    /// The line as it came, line ending included.
    pub line: &'t [u8],
    /// Where the id stands, if there is one.
    pub id: Option<Span>,
    /// `method`; one that is `null` counts as none
    pub method: Option<&'t str>,
    /// Whether there is a method that is no string
    pub odd_method: bool,
    /// `params`
    pub params: Option<Json<'t>>,
    /// `result`
    pub result: Option<Json<'t>>,
    /// `error`
    pub error: Option<Json<'t>>,
    /// `reject-reason`, which some pools send beside the result
    pub reject_reason: Option<Json<'t>>,
}

impl<'t> Envelope<'t> {
    fn empty(line: &'t [u8]) -> Envelope<'t> {
        Envelope {
            line,
            id: None,
            method: None,
            odd_method: false,
            params: None,
            result: None,
            error: None,
            reject_reason: None,
        }
    }

    /// The id as it was written; `null` where there is none.
    #[must_use]
    pub fn id_raw(&self) -> &'t [u8] {
        self.id.map_or(b"null".as_slice(), |span| &self.line[span.start..span.end])
    }

    /// The id to keep.
    #[must_use]
    pub fn id_owned(&self) -> Id {
        Id::from_raw(self.id_raw())
    }

    /// An answer that [`accepted`] has read.
    fn accepted(line: &'t [u8], answer: accepted::Accepted) -> Envelope<'t> {
        let value = |nodes| Json { nodes, origin: 0, line };
        Envelope {
            id: Some(answer.id),
            result: Some(value(&TRUE)),
            error: answer.has_error.then(|| value(&NULL)),
            ..Envelope::empty(line)
        }
    }

    fn read(line: &'t [u8], top: Json<'t>) -> Result<Envelope<'t>, ReadError> {
        if top.kind() != JsonKind::Object {
            return Err(ReadError::NotObject);
        }
        let mut envelope = Envelope::empty(line);
        for (key, value) in top.fields() {
            let seen = match key {
                "id" => envelope.id.replace(id_span(line, top.origin, key, value)?).is_some(),
                "method" if value.kind() == JsonKind::Null => false,
                "method" => {
                    envelope.odd_method |= value.as_str().is_none();
                    envelope.method.replace(value.as_str().unwrap_or_default()).is_some()
                }
                "params" => envelope.params.replace(value).is_some(),
                "result" => envelope.result.replace(value).is_some(),
                "error" => envelope.error.replace(value).is_some(),
                "reject-reason" => envelope.reject_reason.replace(value).is_some(),
                _ => false,
            };
            if seen {
                return Err(ReadError::DuplicateKey);
            }
        }
        Ok(envelope)
    }
}

/// Finds the bytes of the id: numbers carry no position on the tape, but the key before them does.
fn id_span(line: &[u8], origin: usize, key: &str, value: Json<'_>) -> Result<Span, ReadError> {
    let key_end = string_end(line, key.as_ptr() as usize - origin) + 1;
    let gap = line[key_end..].iter().take_while(|b| matches!(b, b':' | b' ' | b'\t' | b'\r' | b'\n')).count();
    let start = key_end + gap;
    let end = match value.kind() {
        JsonKind::Str => string_end(line, start + 1) + 1,
        JsonKind::Number | JsonKind::Null => {
            let ends = |b: &u8| matches!(b, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
            start + line[start..].iter().position(ends).unwrap_or(line.len() - start)
        }
        JsonKind::Bool(_) | JsonKind::Array | JsonKind::Object => return Err(ReadError::Id),
    };
    Ok(Span { start, end })
}

/// The position of the quote that closes the string whose first byte is at `start`.
fn string_end(line: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &line[at.min(line.len())..]) {
        at += found;
        if line[at] == b'"' {
            return at;
        }
        at += 2;
    }
    line.len()
}

/// The parser of one shard: its buffers are used again for every line.
pub struct Parser {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Parser {
    fn default() -> Self {
        Parser {
            scratch: Vec::with_capacity(MINER_LINE_BYTES_MAX),
            buffers: Buffers::with_max_depth(MINER_LINE_BYTES_MAX, JSON_DEPTH_MAX),
            tape: Tape(Vec::with_capacity(64)),
        }
    }
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").field("scratch", &self.scratch.capacity()).finish_non_exhaustive()
    }
}

impl Parser {
    /// Parses `line`, which passed its length cap, and lends the message to `then`.
    ///
    /// # Errors
    /// [`ReadError`] when the line is not one JSON object of the shape that JSON-RPC asks for.
    pub fn read<R>(&mut self, line: &[u8], then: impl FnOnce(&Envelope<'_>) -> R) -> Result<R, ReadError> {
        match accepted::read(line) {
            Some(accepted) => Ok(then(&Envelope::accepted(line, accepted))),
            None => self.read_tape(line, then),
        }
    }

    fn read_tape<R>(&mut self, line: &[u8], then: impl FnOnce(&Envelope<'_>) -> R) -> Result<R, ReadError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(line);
        let origin = self.scratch.as_ptr() as usize;
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled = simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape);
        let outcome = match filled {
            Ok(()) => {
                Envelope::read(line, Json { nodes: &tape.0, origin, line }).map(|envelope| then(&envelope))
            }
            Err(_) => Err(ReadError::Json),
        };
        self.tape = tape.reset();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<R>(line: &str, then: impl FnOnce(&Envelope<'_>) -> R) -> Result<R, ReadError> {
        Parser::default().read(line.as_bytes(), then)
    }

    #[test]
    fn ids_are_found_as_they_were_written() {
        for id in ["1", "0", "-7", "4294967297", "1.50", "1e2", "null", r#""abc""#, r#""a\"b\\""#, r#""""#] {
            for text in [
                format!("{{\"id\":{id}}}"),
                format!("{{ \"method\" : \"m\" , \"id\" : {id} , \"x\":[1] }}\n"),
            ] {
                assert_eq!(with(&text, |e| e.id_raw().to_vec()), Ok(id.as_bytes().to_vec()), "{text}");
            }
        }
        assert_eq!(with(r#"{"\u0069d":5,"method":"m"}"#, |e| e.id_raw().to_vec()), Ok(b"5".to_vec()));
    }

    /// All that a session can see of a message.
    fn seen(e: &Envelope<'_>) -> String {
        let kind = |value: Option<Json<'_>>| value.map(|value| value.kind());
        let id = String::from_utf8_lossy(e.id_raw()).into_owned();
        let values = [e.params, e.result, e.error, e.reject_reason].map(kind);
        format!("{id} {:?} {} {values:?}", e.method, e.odd_method)
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_without_a_tape_is_what_the_tape_says(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", ",", ":", " ", "\r\n", "\"id\"", "\"result\"", "\"error\"", "true", "null", "false", "7",
                    "0", "1e3", "\"x\"", "\"id\":7", "\"id\":123456789012345678901234567890", "\"result\":true", "\"error\":null", "\"error\" : null", "\"k\":1",
                ]),
                0..12,
            ),
            framed in proptest::bool::ANY,
        ) {
            let line = if framed { format!("{{{}}}", parts.join(",")) } else { parts.concat() };
            if let Some(answer) = accepted::read(line.as_bytes()) {
                let tape = Parser::default().read_tape(line.as_bytes(), seen);
                proptest::prop_assert_eq!(Ok(seen(&Envelope::accepted(line.as_bytes(), answer))), tape);
            }
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        let deep =
            format!("{{\"params\":{}{}}}", "[".repeat(JSON_DEPTH_MAX + 1), "]".repeat(JSON_DEPTH_MAX + 1));
        let cases = [
            ("", ReadError::Json),
            ("{", ReadError::Json),
            ("{} {}", ReadError::Json),
            ("\u{0}", ReadError::Json),
            (deep.as_str(), ReadError::Json),
            ("[]", ReadError::NotObject),
            ("1", ReadError::NotObject),
            (r#"{"id":1,"id":2}"#, ReadError::DuplicateKey),
            (r#"{"id":[1]}"#, ReadError::Id),
            (r#"{"id":true}"#, ReadError::Id),
        ];
        for (text, error) in cases {
            assert_eq!(with(text, |_| ()), Err(error), "{text}");
        }
    }

    #[test]
    fn values_are_reached_by_index_and_key_with_their_bytes() {
        let text = r#"{"params":["a\u0062c",[1,[2,3]],{"k":{"l":-1},"m":"x"},null,true,2.5]}"#;
        with(text, |e| {
            let params = e.params.unwrap();
            assert_eq!(params.len(), 6);
            let first = params.at(0).unwrap();
            let span = first.string_span().unwrap();
            assert_eq!((first.as_str(), &text[span.start..span.end]), (Some("abc"), r"a\u0062c"));
            assert_eq!(params.at(1).unwrap().at(1).unwrap().at(1).unwrap().as_i64(), Some(3));
            assert_eq!(params.at(2).unwrap().get("m").unwrap().as_str(), Some("x"));
            assert_eq!(params.at(2).unwrap().get("k").unwrap().get("l").unwrap().as_i64(), Some(-1));
            assert_eq!(params.at(3).unwrap().kind(), JsonKind::Null);
            assert_eq!(params.at(5).unwrap().as_f64(), Some(2.5));
            assert!(params.at(6).is_none() && params.at(0).unwrap().at(0).is_none());
        })
        .unwrap();
    }
}
