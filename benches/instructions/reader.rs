//! What is counted of parsing: one line, read by a parser that has read it before.

use loka_proto::Parser;
use loka_proto::message::MinerMessage;
use loka_proto::wire::Envelope;

/// A parser, and a line that it has read once.
pub(crate) struct Reader {
    parser: Parser,
    line: &'static [u8],
    view: fn(&Envelope<'_>) -> bool,
    understood: bool,
}

impl Reader {
    pub(crate) fn warm(line: &'static [u8], view: fn(&Envelope<'_>) -> bool) -> Box<Reader> {
        let mut reader = Box::new(Reader { parser: Parser::default(), line, view, understood: false });
        reader.read();
        reader
    }

    pub(crate) fn read(&mut self) {
        self.understood = self.parser.read(self.line, |envelope| (self.view)(envelope)) == Ok(true);
    }

    /// What was measured is what was meant.
    #[allow(clippy::boxed_local, reason = "it takes what the measurement gives back")]
    pub(crate) fn check(self: Box<Reader>) {
        assert!(self.understood);
    }
}

/// The envelope alone.
pub(crate) fn bare(envelope: &Envelope<'_>) -> bool {
    envelope.id.is_some()
}

/// With the typed view of a miner's message.
pub(crate) fn checked(envelope: &Envelope<'_>) -> bool {
    MinerMessage::read(envelope).is_ok()
}
