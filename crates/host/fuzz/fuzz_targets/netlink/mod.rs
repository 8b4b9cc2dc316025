//! Datagrams in the kernel's format, so that fuzzing gets past the framing.

use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// A datagram.
#[derive(Debug, Arbitrary)]
pub enum Datagram {
    /// Any bytes.
    Raw(Vec<u8>),
    /// Messages, one after the other.
    Messages(Vec<Message>),
}

/// A message with any of the types that are read.
#[derive(Debug, Arbitrary)]
pub struct Message {
    kind: u8,
    flags: u16,
    family: u8,
    resource: u16,
    attributes: Vec<Attribute>,
}

/// An attribute (struct nlattr).
#[derive(Debug, Arbitrary)]
pub enum Attribute {
    /// Contains bytes.
    Leaf(u8, Vec<u8>),
    /// Contains attributes.
    Nested(u8, Vec<Attribute>),
    /// Has a wrong length.
    Lying(u8, u16),
}

impl Datagram {
    /// The datagram's bytes; `kinds`: the types that are read.
    pub fn bytes(&self, kinds: &[u16]) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Messages(messages) => messages.iter().flat_map(|m| m.bytes(kinds)).collect(),
        }
    }
}

impl Message {
    fn bytes(&self, kinds: &[u16]) -> Vec<u8> {
        let mut body = vec![self.family, 0];
        body.extend(self.resource.to_be_bytes());
        for attribute in &self.attributes {
            attribute.append(&mut body);
        }
        let kind = kinds[usize::from(self.kind) % kinds.len()];
        let mut message = u32::try_from(body.len() + 16).unwrap().to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(self.flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        message
    }
}

impl Attribute {
    fn append(&self, to: &mut Vec<u8>) {
        let (kind, length, content) = match self {
            Self::Leaf(kind, bytes) => (u16::from(kind % 32), bytes.len() + 4, bytes.clone()),
            Self::Nested(kind, attributes) => {
                let mut content = Vec::new();
                attributes.iter().for_each(|attribute| attribute.append(&mut content));
                (u16::from(kind % 32) | 0x8000, content.len() + 4, content)
            }
            Self::Lying(kind, length) => (u16::from(kind % 32), usize::from(*length), Vec::new()),
        };
        to.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        to.extend(kind.to_ne_bytes());
        to.extend(content);
        to.resize(to.len().next_multiple_of(4), 0);
    }
}
