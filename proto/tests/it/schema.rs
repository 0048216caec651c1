//! The messages of the protocol as wire.proto defines them, and frames that are filled from that
//! alone: whatever is added there is tested without being named here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};

const PACKAGE: &str = ".quadrille.v1.wire.";

/// Every message, by its full name with a leading dot.
pub(crate) struct Schema {
    pub(crate) messages: BTreeMap<String, Vec<Field>>,
    /// Numbers of the values of every enumeration.
    enums: BTreeMap<String, Vec<i32>>,
}

#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// As descriptors number them.
    pub(crate) ty: i32,
    pub(crate) type_name: String,
    pub(crate) repeated: bool,
    /// A choice that is not just `optional`.
    pub(crate) oneof: Option<i32>,
    optional: bool,
}

const BYTES: i32 = 12;
const STRING: i32 = 9;
const MESSAGE: i32 = 11;
const ENUM: i32 = 14;
const FIXED64: i32 = 6;
const BOOL: i32 = 8;
const UINT32: i32 = 13;
const UINT64: i32 = 4;
const REPEATED: i32 = 3;

impl Schema {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = protox::compile(["wire.proto"], [root]).unwrap();
        let (mut messages, mut enums) = (BTreeMap::new(), BTreeMap::new());
        for file in &files.file {
            let package = file.package();
            for it in &file.enum_type {
                let numbers = it.value.iter().map(|value| value.number()).collect();
                enums.insert(format!(".{package}.{}", it.name()), numbers);
            }
            for it in &file.message_type {
                let mut fields: Vec<_> = it
                    .field
                    .iter()
                    .map(|f| Field {
                        name: f.name().to_owned(),
                        number: f.number().unsigned_abs(),
                        ty: f.r#type.unwrap(),
                        type_name: f.type_name().to_owned(),
                        repeated: f.label.unwrap() == REPEATED,
                        oneof: f.oneof_index.filter(|_| !f.proto3_optional()),
                        optional: f.proto3_optional(),
                    })
                    .collect();
                fields.sort_by_key(|field| field.number);
                messages.insert(format!(".{package}.{}", it.name()), fields);
            }
        }
        Self { messages, enums }
    }

    /// The names of the protocol's own messages.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.messages.keys().filter_map(|name| name.strip_prefix(PACKAGE)).collect()
    }

    /// The fields of one of its messages.
    pub(crate) fn fields(&self, message: &str) -> &[Field] {
        &self.messages[&format!("{PACKAGE}{message}")]
    }

    /// The choices of a `oneof`: number and type.
    pub(crate) fn choices(&self, message: &str, oneof: i32) -> Vec<(u32, &str)> {
        let fields = self.fields(message).iter().filter(|field| field.oneof == Some(oneof));
        fields.map(|it| (it.number, it.type_name.strip_prefix(PACKAGE).unwrap())).collect()
    }
}

/// Fills messages, all fields or some of them.
pub(crate) struct Filler<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) rng: fastrand::Rng,
    /// Every field, once.
    pub(crate) all: bool,
    /// The messages that were filled.
    pub(crate) seen: BTreeSet<String>,
}

impl<'a> Filler<'a> {
    pub(crate) fn new(schema: &'a Schema, seed: u64, all: bool) -> Self {
        Self { schema, rng: fastrand::Rng::with_seed(seed), all, seen: BTreeSet::new() }
    }

    /// The bytes of a frame, as a writer of protobuf writes them, with this choice at the top.
    pub(crate) fn frame(&mut self, message: &str, choice: u32) -> Vec<u8> {
        self.message(&format!("{PACKAGE}{message}"), Some(choice), 0)
    }

    fn message(&mut self, name: &str, choice: Option<u32>, depth: u32) -> Vec<u8> {
        self.seen.insert(name.to_owned());
        let fields = &self.schema.messages[name];
        let mut chosen = BTreeMap::new();
        for field in fields {
            let Some(oneof) = field.oneof else { continue };
            let siblings: Vec<_> =
                fields.iter().filter(|it| it.oneof == Some(oneof)).map(|it| it.number).collect();
            let asked = choice.is_none_or(|choice| siblings.contains(&choice));
            let number = choice.unwrap_or_else(|| siblings[self.rng.usize(..siblings.len())]);
            chosen.insert(oneof, asked.then_some(number));
        }
        let mut out = Vec::new();
        for field in fields {
            let wanted = match field.oneof {
                Some(oneof) => chosen[&oneof] == Some(field.number),
                // What holds itself ends somewhere.
                None if field.ty == MESSAGE && depth > 5 => false,
                None => self.all || self.rng.bool(),
            };
            if wanted {
                self.field(field, depth, &mut out);
            }
        }
        out
    }

    fn field(&mut self, field: &Field, depth: u32, out: &mut Vec<u8>) {
        let times = if field.repeated && !self.all { self.rng.usize(1..4) } else { 1 };
        if field.repeated && !matches!(field.ty, MESSAGE | STRING | BYTES) {
            let mut packed = Vec::new();
            for _ in 0..times {
                self.number(field, &mut packed);
            }
            encode_key(field.number, WireType::LengthDelimited, out);
            encode_varint(packed.len() as u64, out);
            return out.extend(packed);
        }
        for _ in 0..times {
            let value = match field.ty {
                MESSAGE => self.message(&field.type_name, None, depth + 1),
                STRING => "naïve text".repeat(self.rng.usize(1..3)).into_bytes(),
                BYTES => (0..self.rng.usize(1..40)).map(|_| self.rng.u8(..)).collect(),
                FIXED64 => {
                    encode_key(field.number, WireType::SixtyFourBit, out);
                    out.put_u64_le(self.rng.u64(1..));
                    continue;
                }
                _ => {
                    encode_key(field.number, WireType::Varint, out);
                    self.number(field, out);
                    continue;
                }
            };
            encode_key(field.number, WireType::LengthDelimited, out);
            encode_varint(value.len() as u64, out);
            out.extend(value);
        }
    }

    /// Not 0, which would not be written; but it may be where that says something.
    fn number(&mut self, field: &Field, out: &mut Vec<u8>) {
        let least = u64::from(!field.optional && field.oneof.is_none());
        let number = match field.ty {
            BOOL => 1,
            UINT32 => self.rng.u64(least..=u64::from(u32::MAX)),
            UINT64 => self.rng.u64(least..) >> self.rng.u32(..60),
            ENUM => {
                let numbers = &self.schema.enums[&field.type_name];
                numbers[self.rng.usize(1..numbers.len())].unsigned_abs().into()
            }
            other => panic!("field {} has a type that is not filled: {other}", field.name),
        };
        encode_varint(number.max(least), out);
    }
}
