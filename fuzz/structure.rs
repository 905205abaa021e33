//! Arbitrary messages of a protocol, always valid on the wire: their structure comes from its descriptors, all choices from bytes.
//! Not a crate: who fuzzes a protocol, or sends such messages to a running daemon, includes this file.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Deeper than the messages of either protocol are.
const MOST_DEPTH: usize = 12;
/// What numbers may be that somebody has not thought of.
const NUMBERS: [i64; 16] = [
    0,
    1,
    2,
    -1,
    80,
    1000,
    65_535,
    65_536,
    100_000,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    1 << 53,
    -1_000_000_000,
];
/// The same for texts.
const TEXTS: [&str; 20] = [
    "",
    "a",
    "name",
    "..",
    "../../etc",
    "/",
    "/etc/passwd",
    "/a/b/../c",
    "0",
    "-1",
    "65536",
    "a=b",
    "a:b",
    "a,b",
    "a/b=c",
    "\0",
    "\u{e9}\u{20ac}",
    "line\nline",
    "{\"a\":1}",
    "12345678901234567890",
];

/// The messages of a protocol.
pub(crate) struct Protocol {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, Vec<i32>>,
    /// Each RPC's name and the type of its request, in the descriptors' order.
    pub(crate) requests: Vec<(String, String)>,
}

/// What stands in fields that not everything may stand in.
pub(crate) trait Vocabulary {
    /// `None`: whatever may be. `message` is the type's name without its package.
    fn text(&self, _message: &str, _field: &str, _choice: u8) -> Option<String> {
        None
    }
    fn number(&self, _message: &str, _field: &str, _choice: u8) -> Option<i64> {
        None
    }
    /// Whether the field may be set at all.
    fn takes(&self, _message: &str, _field: &str) -> bool {
        true
    }
}

/// Everything may stand everywhere.
#[allow(dead_code)] // A running daemon is not sent everything.
pub(crate) struct Anything;

impl Vocabulary for Anything {}

/// Bytes that decide; 0 when they are used up, which ends every message.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    pub(crate) fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn text(&mut self) -> String {
        match self.next() {
            listed if usize::from(listed) < TEXTS.len() => TEXTS[usize::from(listed)].to_owned(),
            long @ 250.. => "x".repeat(1 << (long - 243)),
            length => String::from_utf8_lossy(self.take(usize::from(length % 32))).into_owned(),
        }
    }

    fn number(&mut self) -> i64 {
        match self.next() {
            listed if usize::from(listed) < NUMBERS.len() => NUMBERS[usize::from(listed)],
            other => i64::from(other) << (self.next() % 56),
        }
    }
}

impl Protocol {
    /// # Panics
    /// If it is no `FileDescriptorSet`.
    pub(crate) fn new(descriptors: &[u8]) -> Self {
        let files = FileDescriptorSet::decode(descriptors).expect("descriptors");
        let mut protocol = Self { messages: HashMap::new(), enums: HashMap::new(), requests: Vec::new() };
        for file in files.file {
            let package = format!(".{}", file.package());
            for service in &file.service {
                let request =
                    |m: &prost_types::MethodDescriptorProto| (m.name().to_owned(), m.input_type().to_owned());
                protocol.requests.extend(service.method.iter().map(request));
            }
            protocol.add_enums(&package, &file.enum_type);
            file.message_type.into_iter().for_each(|message| protocol.add(&package, message));
        }
        protocol
    }

    fn add(&mut self, outer: &str, message: DescriptorProto) {
        let name = format!("{outer}.{}", message.name());
        self.add_enums(&name, &message.enum_type);
        message.nested_type.iter().for_each(|nested| self.add(&name, nested.clone()));
        self.messages.insert(name, message);
    }

    fn add_enums(&mut self, outer: &str, enums: &[prost_types::EnumDescriptorProto]) {
        for found in enums {
            let numbers = found.value.iter().map(|value| value.number()).collect();
            self.enums.insert(format!("{outer}.{}", found.name()), numbers);
        }
    }

    /// Whether the type `name` has a field at `path`, `config.mounts[3].host_path`.
    #[allow(dead_code)] // Not everybody who includes this has such paths.
    pub(crate) fn has_field(&self, name: &str, path: &str) -> bool {
        let mut at = Some(name.to_owned());
        path.split('.').all(|part| {
            let part = part.split('[').next().unwrap_or_default();
            let message = at.as_ref().and_then(|name| self.messages.get(name));
            let field = message.and_then(|message| message.field.iter().find(|field| field.name() == part));
            at = field.map(|field| field.type_name().to_owned());
            field.is_some()
        })
    }

    /// A message of the type `name`, which begins with a dot.
    ///
    /// # Panics
    /// If there is no such type.
    pub(crate) fn message(&self, name: &str, choices: &mut Choices<'_>, words: &dyn Vocabulary) -> Vec<u8> {
        Maker { protocol: self, choices, words }.message(name, MOST_DEPTH)
    }
}

/// One message in the making.
struct Maker<'m, 'c> {
    protocol: &'m Protocol,
    choices: &'m mut Choices<'c>,
    words: &'m dyn Vocabulary,
}

impl<'m> Maker<'m, '_> {
    fn message(&mut self, name: &str, depth: usize) -> Vec<u8> {
        let protocol: &'m Protocol = self.protocol;
        let message = protocol.messages.get(name).unwrap_or_else(|| panic!("no message {name}"));
        let mut wire = Vec::new();
        while depth > 0 && !message.field.is_empty() {
            let choice = usize::from(self.choices.next());
            let Some(choice) = choice.checked_sub(1) else { break };
            let field = &message.field[choice % message.field.len()];
            if self.words.takes(message.name(), field.name()) {
                self.field(message.name(), field, depth, &mut wire);
            }
        }
        wire
    }

    fn field(&mut self, message: &str, field: &FieldDescriptorProto, depth: usize, wire: &mut Vec<u8>) {
        let tag = |kind: u64| (u64::from(field.number().unsigned_abs()) << 3) | kind;
        let kind = field.r#type();
        let bytes = match kind {
            Type::Message => self.message(field.type_name(), depth - 1),
            Type::String | Type::Bytes => self.text(message, field),
            _ => {
                let number = self.number(message, field);
                match kind {
                    Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                        varint(tag(1), wire);
                        wire.extend(number.to_le_bytes());
                    }
                    Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                        varint(tag(5), wire);
                        wire.extend((number as i32).to_le_bytes());
                    }
                    _ if field.label() == Label::Repeated => {
                        // Packed, as proto3 has it; readers take both.
                        let mut packed = Vec::new();
                        varint(number.cast_unsigned(), &mut packed);
                        varint(tag(2), wire);
                        varint(packed.len() as u64, wire);
                        wire.extend(packed);
                    }
                    _ => {
                        varint(tag(0), wire);
                        varint(number.cast_unsigned(), wire);
                    }
                }
                return;
            }
        };
        varint(tag(2), wire);
        varint(bytes.len() as u64, wire);
        wire.extend(bytes);
    }

    /// Of a string or of bytes.
    fn text(&mut self, message: &str, field: &FieldDescriptorProto) -> Vec<u8> {
        let next = Choices(self.choices.0).next();
        match self.words.text(message, field.name(), next) {
            Some(text) => {
                self.choices.next();
                text.into_bytes()
            }
            None if field.r#type() == Type::String => self.choices.text().into_bytes(),
            None => {
                let length = usize::from(self.choices.next() % 16);
                self.choices.take(length).to_vec()
            }
        }
    }

    fn number(&mut self, message: &str, field: &FieldDescriptorProto) -> i64 {
        let next = Choices(self.choices.0).next();
        if let Some(number) = self.words.number(message, field.name(), next) {
            self.choices.next();
            return number;
        }
        match field.r#type() {
            Type::Bool => i64::from(self.choices.next() & 1),
            Type::Enum => match self.choices.next() {
                255 => -1,
                254 => 4711,
                choice => {
                    let known = &self.protocol.enums[field.type_name()];
                    i64::from(known[usize::from(choice) % known.len()])
                }
            },
            // As protobuf has it: what is narrower is cut by the reader, so that it may as well be said right.
            Type::Int32 => i64::from(self.choices.number() as i32),
            Type::Uint32 => i64::from(self.choices.number() as u32),
            Type::Sint32 | Type::Sint64 => {
                let number = self.choices.number();
                (number << 1) ^ (number >> 63)
            }
            _ => self.choices.number(),
        }
    }
}

fn varint(mut value: u64, wire: &mut Vec<u8>) {
    while value >= 0x80 {
        wire.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    wire.push(value as u8);
}
