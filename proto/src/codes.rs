//! Every code that an error may have on the wire, with what one can do about it and the facts that
//! come with it, and how such an error is put together and read. When each is said is in
//! PROTOCOL.md.

use crate::wire::{Error, ErrorKind, Fact, fact::Value};

/// A stable word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The word.
    pub name: &'static str,
    /// What one can do about it.
    pub kind: ErrorKind,
    /// The names of its facts; one that is not known is left out.
    pub facts: &'static [(&'static str, Type)],
}

/// What a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A text.
    Text,
    /// A number.
    Number,
}

macro_rules! codes {
    ($($kind:ident: $($name:ident $([$($fact:ident $type:ident),+])?),+;)*) => {
        /// All of them.
        pub const CODES: &[Code] = &[$($(Code {
            name: stringify!($name),
            kind: ErrorKind::$kind,
            facts: &[$($((stringify!($fact), Type::$type)),+)?],
        }),+),*];
    };
}

codes! {
    Input:
        bad_name [name Text, rule Text],
        reserved_name [name Text],
        event_truncated [index Number, why Text],
        event_varint [index Number, why Text],
        event_field_number [index Number, why Text],
        event_wire_type [index Number, why Text],
        event_not_utf8 [index Number, why Text],
        event_field_missing [index Number, why Text],
        event_field_too_long [index Number, why Text],
        event_too_large [index Number, bytes Number, max Number, why Text],
        command_too_large [events Number, bytes Number, max_events Number, max_bytes Number],
        empty_command,
        delay_too_long [delay_ms Number, max_ms Number],
        not_its_turn [event Text],
        several_groups [first Number, other Number],
        start_required [group Text, topic Text, events Number],
        supersede_needs_saga [group Text, has Text],
        bad_config [what Text, why Text],
        replacement_missing,
        bad_request [field Text, why Text];
    NotFound:
        unknown_topic [topic Text, number Number],
        unknown_group [group Text],
        unknown_member [member Number],
        unknown_timer [timer Number],
        unknown_event [event Text, group Text],
        no_dead_letter [group Text, event Text];
    Conflict:
        id_reused [id Text, source Text, topic Text, offset Number],
        sequence_reused [sequence Number],
        sequence_forgotten [sequence Number, confirmed Number],
        settled_otherwise [event Text, how Text],
        group_config_conflict [group Text, field Text, has Text, asked Text],
        topic_config_conflict [topic Text, field Text, has Text, asked Text],
        still_needed [what Text, unsettled Number, dead_letters Number],
        was_superseded [event Text],
        wrong_log [log Text],
        session_taken;
    LeaseLost:
        lease_lost [event Text],
        foreign_token;
    Limit:
        limit_reached [what Text, used Number, max Number, relief Text],
        disk_full [free Number, needed Number],
        answer_too_large [bytes Number, max Number],
        too_many_connections [what Text, max Number];
    Unavailable:
        unavailable [why Text],
        shutting_down;
    Denied:
        unauthenticated,
        forbidden [action Text, resource Text];
    Protocol:
        frame_too_large [bytes Number, max Number],
        frame_too_complex [max Number],
        frame_malformed [why Text],
        frame_truncated,
        hello_expected,
        hello_repeated,
        version_unsupported [min Number, max Number],
        not_understood [features Number],
        unknown_request,
        too_slow [what Text, limit_ms Number];
}

/// The code of that name, if this release knows it.
#[must_use]
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|it| it.name == name)
}

impl Error {
    /// An error with this code and sentence, and the code's kind.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let kind = self::code(code).map_or(ErrorKind::Input, |it| it.kind);
        let (code, message) = (code.to_owned(), message.into());
        Self { code, kind: kind.into(), message, ..Self::default() }
    }

    /// Adds a text.
    #[must_use]
    pub fn with_text(mut self, name: &str, text: impl Into<String>) -> Self {
        let value = Some(Value::Text(text.into()));
        self.facts.push(Fact { name: name.to_owned(), value });
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn with_number(mut self, name: &str, number: u64) -> Self {
        let value = Some(Value::Number(number));
        self.facts.push(Fact { name: name.to_owned(), value });
        self
    }

    /// The text of that name; empty if there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.fact(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// The number of that name; 0 if there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        match self.fact(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    fn fact(&self, name: &str) -> Option<&Value> {
        self.facts.iter().find(|it| it.name == name).and_then(|it| it.value.as_ref())
    }
}
